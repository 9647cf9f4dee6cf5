"""The lock-step machine: what the writes of a step do to the channels, and what runs next.

No waiting, no clock, no store: writes in, tasks out. A step's tasks see the channels as they were
before it; when all have finished, their writes are applied in the order of the tasks' paths, and
the channels that changed trigger the next step. (The model is bulk-synchronous: Valiant, *A
bridging model for parallel computation*, CACM 1990.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

from plait_adapters.langgraph.channels.base import BaseChannel
from plait_adapters.langgraph.channels.untracked_value import UntrackedValue
from plait_adapters.langgraph.managed.base import ManagedValueSpec

from ._constants import INPUT, MISSING, RESERVED, TASKS, UNAPPLIED_WRITES
from ._ids import path_key

logger = logging.getLogger(__name__)

_key = attrgetter("key")

Write: TypeAlias = tuple[str, Any]
NextVersion: TypeAlias = Callable[[Any, None], Any]
"""Makes a version that is larger than the one it is given; a saver's ``get_next_version``."""


class Written(Protocol):
    """What the machine wants to know of a task that has finished."""

    @property
    def path(self) -> tuple[Any, ...]:
        """Where it stands in its step."""
        ...

    @property
    def key(self) -> str:
        """Its path as text that sorts as the writes of a step are applied."""
        ...

    @property
    def name(self) -> str:
        """The name of its node."""
        ...

    @property
    def writes(self) -> Sequence[Write]:
        """What it wrote."""
        ...

    @property
    def triggers(self) -> Sequence[str]:
        """The channels that triggered it."""
        ...


class Given(NamedTuple):
    """Writes that no task made: an input, or an update from outside."""

    path: tuple[Any, ...]
    name: str
    writes: Sequence[Write]
    triggers: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Its path as text that sorts as the writes of a step are applied."""
        return path_key(self.path)


def input_of(writes: Sequence[Write]) -> Given:
    """Writes of the run's input."""
    return Given((), INPUT, writes)


class Layout:
    """What a graph's channels and triggers are, worked out once for all runs.

    Attributes:
        specs: the channels by name, each as its spec.
        managed: the managed values by name.
        triggers: the nodes that a channel triggers.
        restless: the channels that may change at a step without writes to them.
        consumed: the channels that hear when what they triggered has run.
        finishers: the channels that hear when nothing is left to run.
        untracked: the channels that are never stored.
    """

    __slots__ = ("consumed", "finishers", "managed", "restless", "specs", "triggers", "untracked")

    def __init__(
        self,
        channels: Mapping[str, BaseChannel[Any, Any, Any] | ManagedValueSpec],
        triggers: Mapping[str, Sequence[str]],
    ) -> None:
        self.specs: dict[str, BaseChannel[Any, Any, Any]] = {
            name: spec for name, spec in channels.items() if isinstance(spec, BaseChannel)
        }
        self.managed: dict[str, ManagedValueSpec] = {
            name: spec for name, spec in channels.items() if not isinstance(spec, BaseChannel)
        }
        self.triggers: Mapping[str, Sequence[str]] = triggers
        specs = self.specs.items()
        self.restless: frozenset[str] = frozenset(
            # A subclass may change something at a step without writes, whatever its base says.
            name
            for name, spec in specs
            if not vars(type(spec)).get("lives_on", False)
        )
        self.consumed: frozenset[str] = frozenset(
            name
            for name, spec in specs
            if name not in RESERVED and type(spec).consume is not BaseChannel.consume
        )
        self.untracked: frozenset[str] = frozenset(
            name for name, spec in specs if isinstance(spec, UntrackedValue)
        )
        self.finishers: tuple[str, ...] = tuple(
            name for name, spec in specs if type(spec).finish is not BaseChannel.finish
        )


class Channels(dict[str, BaseChannel[Any, Any, Any]]):
    """The living channels of a run; one that nobody has touched yet is made when it is."""

    __slots__ = ("specs",)

    def __init__(self, specs: Mapping[str, BaseChannel[Any, Any, Any]]) -> None:
        super().__init__()
        self.specs: Mapping[str, BaseChannel[Any, Any, Any]] = specs

    def __missing__(self, name: str) -> BaseChannel[Any, Any, Any]:
        channel = self[name] = self.specs[name].from_checkpoint(MISSING)
        return channel


class Machine:
    """The channels of one run, and the versions by which a checkpoint knows what has been seen.

    Args:
        layout: of the graph.
        versions: the version of each channel, in a run that makes checkpoints; else ``None``, and
            what triggers a task is just what changed.
        seen: for each node, the versions of its triggers at its last run.
        next_version: makes versions.

    Attributes:
        channels: the living channels.
        changed: what the last step changed and made available; ``None`` where that is not known.
        moved: the channels that got a new version since somebody emptied this, in order.
        ran: the nodes that have seen something since then, in order.
    """

    __slots__ = (
        "_latest",
        "_news",
        "_passing",
        "changed",
        "channels",
        "layout",
        "moved",
        "next_version",
        "ran",
        "seen",
        "versions",
    )

    def __init__(
        self,
        layout: Layout,
        *,
        versions: dict[str, Any] | None = None,
        seen: dict[str, dict[str, Any]] | None = None,
        next_version: NextVersion | None = None,
    ) -> None:
        self.layout: Layout = layout
        self.channels: Channels = Channels(layout.specs)
        self.versions: dict[str, Any] | None = versions
        self.seen: dict[str, dict[str, Any]] = {} if seen is None else seen
        self.next_version: NextVersion | None = next_version
        self.changed: set[str] | None = None
        self.moved: dict[str, None] = {}
        self.ran: dict[str, None] = {}
        self._latest: Any = max(versions.values()) if versions else None
        self._passing: set[str] = set()
        self._news: set[str] = set()
        """What the last step changed, so that no node has seen it yet."""

    def restore(self, channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> None:
        """Begin with these channels."""
        self.channels.update(channels)
        restless = self.layout.restless
        self._passing = {
            name
            for name, channel in channels.items()
            if name in restless and channel.is_available()
        }

    def adopt(self, versions: dict[str, Any], seen: dict[str, dict[str, Any]]) -> None:
        """Go on with versions that a checkpoint has moved."""
        self.versions, self.seen = dict(versions), seen
        self._latest = max(versions.values()) if versions else None

    # -- applying writes ----------------------------------------------------------------------

    def apply(self, tasks: Iterable[Written]) -> set[str]:
        """Take the writes of a step's tasks. Returns the channels that changed and hold a value.

        Raises:
            InvalidUpdateError: a channel cannot take the writes that the step made to it.
        """
        tasks = list(tasks)
        if len(tasks) > 1:
            tasks.sort(key=_key)
        is_step = False
        layout, channels, versions = self.layout, self.channels, self.versions
        version: Any = None
        if versions is not None:
            for task in tasks:
                self.ran[task.name] = None
                seen = self.seen.setdefault(task.name, {})
                for trigger in task.triggers:
                    if trigger in versions:
                        seen[trigger] = versions[trigger]
            if self.next_version is not None:
                version = self.next_version(self._latest, None)
        touched: set[str] = set()
        consumed = layout.consumed
        writes: dict[str, list[Any]] = {}
        specs = layout.specs
        for task in tasks:
            for trigger in task.triggers:
                is_step = True
                if trigger in consumed and trigger not in touched:
                    touched.add(trigger)
                    if channels[trigger].consume() and version is not None:
                        self._set_version(trigger, version)
        for task in tasks:
            for name, value in task.writes:
                values = writes.get(name)
                if values is not None:
                    values.append(value)
                elif name in specs:
                    writes[name] = [value]
                elif name not in UNAPPLIED_WRITES:
                    logger.warning(
                        "Task %s with path %s wrote to unknown channel %s, ignoring it.",
                        task.name,
                        task.path,
                        name,
                    )
        changed: set[str] = set()
        restless, passing = layout.restless, self._passing
        for name, values in writes.items():
            channel = channels[name]
            if channel.update(values):
                if version is not None:
                    self._set_version(name, version)
                if channel.is_available():
                    changed.add(name)
                    if name in restless:
                        passing.add(name)
        if is_step:
            if passing:
                for name in passing - changed if changed else tuple(passing):
                    self._pass(name, version, changed)
            if layout.finishers and changed.isdisjoint(layout.triggers):
                for name in layout.finishers:
                    channel = channels[name]
                    if channel.finish():
                        if version is not None:
                            self._set_version(name, version)
                        if channel.is_available():
                            changed.add(name)
        self._news = changed
        return changed

    def forget(self) -> None:
        """Empty the channels whose values live for one step, also those that were just written.

        LangGraph shows the state of a half-done step so.
        """
        for name in self.layout.restless:
            if self.channels[name].is_available():
                self.channels[name].update(())

    def _pass(self, name: str, version: Any, changed: set[str]) -> None:
        """Tell a channel that a step has passed without a write to it."""
        channel = self.channels[name]
        if not channel.is_available():
            self._passing.discard(name)
        elif channel.update(()):
            if version is not None:
                self._set_version(name, version)
            if channel.is_available():
                changed.add(name)
            else:
                self._passing.discard(name)

    def _set_version(self, name: str, version: Any) -> None:
        self.versions[name] = self._latest = version  # type: ignore[index]
        self.moved[name] = None

    # -- what runs next -----------------------------------------------------------------------

    def sends(self) -> Sequence[Any]:
        """The Sends that the last step made."""
        channel = self.channels.get(TASKS)
        return channel.get() if channel is not None and channel.is_available() else ()

    def triggered(self, nodes: Mapping[str, Any]) -> Sequence[str]:
        """The nodes that run next because a channel of theirs changed, in the order of their names.

        Args:
            nodes: every node, in the order in which they are asked where nothing else is known.
        """
        changed, triggers = self.changed, self.layout.triggers
        if changed is not None and self.versions is None:
            if len(changed) == 1:
                (only,) = changed
                return sorted(triggers.get(only, ()))
            names = {
                name for channel in changed if channel in triggers for name in triggers[channel]
            }
            return sorted(names)
        if changed and triggers:
            candidates: Collection[str] = sorted(
                {name for channel in changed if channel in triggers for name in triggers[channel]}
            )
        elif self.versions:
            candidates = list(nodes)
        else:
            return ()
        if changed and changed is self._news and self.next_version is not None:
            return [name for name in candidates if name in nodes]
        return [name for name in candidates if name in nodes and self._is_due(name, nodes[name])]

    def _is_due(self, name: str, node: Any) -> bool:
        """Whether a trigger of a node holds something that the node has not seen."""
        channels, versions, seen = self.channels, self.versions or {}, self.seen.get(name)
        for trigger in node.triggers:
            if not channels[trigger].is_available():
                continue
            if seen is None:
                return True
            version = versions.get(trigger)
            if version is not None and (trigger not in seen or version > seen[trigger]):
                return True
        return False

    # -- reading ------------------------------------------------------------------------------

    def read(self, select: str | Sequence[str]) -> Any:
        """The value of one channel (``None`` if it has none), or those that several have."""
        channels = self.channels
        if isinstance(select, str):
            value = channels[select].peek()
            return None if value is MISSING else value
        values: dict[str, Any] = {}
        for name in select:
            value = channels[name].peek()
            if value is not MISSING:
                values[name] = value
        return values

    def read_with(self, select: str | Sequence[str], writes: Sequence[Write]) -> Any:
        """As :meth:`read`, but as a task sees it after its own writes."""
        names = (select,) if isinstance(select, str) else select
        own: dict[str, list[Any]] = {}
        for name, value in writes:
            if name in names:
                own.setdefault(name, []).append(value)
        values: dict[str, Any] = {}
        for name in names:
            channel = self.channels[name]
            if name in own or name in self._passing:
                channel = channel.copy()
                channel.update(own.get(name, ()))
            value = channel.peek()
            if value is not MISSING:
                values[name] = value
        return values.get(select) if isinstance(select, str) else values
