"""What runs put into memory: packed, and of a step what it has moved.

A checkpoint names the versions of all channels, and those that each node has seen, and a step moves
few of them. So a step is kept as what is new in it; and whole as soon as what it is put together of
takes twice the memory of the last whole one. Neither memory nor reading then costs more than a few
times the least. Values and writes are packed when they are put, since whoever has given them may go
on to change them; what readers get of all this is made when somebody reads.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from plait.codec.encoder import PLAIN, is_plain
from plait_adapters.langgraph.checkpoint._steps import Step, bare_checkpoint
from plait_adapters.langgraph.checkpoint.base import get_checkpoint_metadata
from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

if TYPE_CHECKING:
    from . import InMemorySaver

__all__ = ["Found", "Item", "Keeping", "Kept", "KeptWrite", "Line"]


class Found(NamedTuple):
    """A step as a checkpoint."""

    checkpoint: dict[str, Any]
    """Without values."""
    metadata: dict[str, Any]
    parent_id: str | None


class Item(NamedTuple):
    """A value as it was kept."""

    is_typed: bool
    """Whether ``content`` is how bytes were made of it, and these; else it is the value."""
    content: Any


class KeptWrite(NamedTuple):
    """One write of a task."""

    task_id: str
    task_path: str
    number: int
    """Where it is among those that were put with it."""
    channel: str
    item: Item


class Kept:
    """What runs have put into one namespace of a thread.

    Args:
        serde: makes bytes of what cannot be packed as it is.
    """

    __slots__ = (
        "_limit",
        "_pack",
        "_typed",
        "_unpack",
        "_values",
        "_writes",
        "is_live",
        "runs",
        "steps",
    )

    def __init__(self, serde: JsonPlusSerializer) -> None:
        self._pack, self._unpack = serde.pack, serde.unpack
        self._typed = serde.dumps_typed
        self._limit = serde.max_value_bytes
        self.is_live = True
        """Whether readers find it here still."""
        self.steps: dict[str, bytes] = {}
        """By checkpoint."""
        self.runs: list[Mapping[str, Any]] = []
        """For each run, what it was configured with, as metadata of its checkpoints."""
        self._values: dict[Any, bytes] = {}
        """By version, those of the channels that have it: one step gave it to them."""
        self._writes: dict[str, list[bytes]] = {}
        """By checkpoint, those of each task."""

    # -- putting -------------------------------------------------------------------------------

    def put(self, step: Step, run: int, *, whole: bool) -> int:
        """Keep a step.

        Args:
            step: the step.
            run: the index of its run.
            whole: keep all of it; else the one that it follows must be here.

        Returns:
            How many bytes it took beside its values; 0: it cannot be packed, and is not kept.

        Raises:
            EncodingError: a value cannot be stored.
        """
        versions, seen = step.versions, step.seen
        if whole:
            new, read = versions, seen
        else:
            new = {name: versions[name] for name in step.moved}
            read = {node: seen[node] for node in step.ran}
        packed = self._pack(
            (whole, step.parent_id, run, step.made, step.metadata, step.updated, new, read)
        )
        if packed is None:
            return 0
        for version, values in _by_version(step.values, versions):
            content = self._pack_values(values)
            if content is None:
                return 0
            self._values[version] = content
        self.steps[step.id] = packed
        return len(packed)

    def put_writes(
        self, checkpoint_id: str, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> bool:
        """Keep what a task has written. False: it cannot be packed, and is not kept.

        Raises:
            EncodingError: a value cannot be stored.
        """
        limit = self._limit
        for _, value in writes:
            if type(value) not in PLAIN and not is_plain(value, limit):
                packed = None
                break
        else:
            packed = self._pack((task_id, path, writes))
        if packed is None or len(packed) > limit:
            packed = self._pack((task_id, path, [(c, *self._typed(v)) for c, v in writes]))
            if packed is None:
                return False
        found = self._writes.get(checkpoint_id)
        if found is None:
            self._writes[checkpoint_id] = [packed]
        else:
            found.append(packed)
        return True

    def _pack_values(self, values: Mapping[str, Any]) -> bytes | None:
        """A dict of values; or a list of how bytes were made of each, and these."""
        limit = self._limit
        for value in values.values():
            if type(value) not in PLAIN and not is_plain(value, limit):
                break
        else:
            packed = self._pack(values)
            if packed is not None and len(packed) <= limit:
                return packed
        return self._pack([(name, *self._typed(value)) for name, value in values.items()])

    # -- reading -------------------------------------------------------------------------------

    def find(self, checkpoint_id: str) -> Found:
        """The checkpoint of a step that is kept."""
        unpack = self._unpack
        record = unpack(self.steps[checkpoint_id])
        parent_id, made, updated = record[1], record[3], record[5]
        whole, before, *_, versions, seen = record
        later = []
        while not whole:
            later.append((versions, seen))
            whole, before, *_, versions, seen = unpack(self.steps[before])
        for moved, ran in reversed(later):
            versions.update(moved)
            seen.update(ran)
        checkpoint = bare_checkpoint(checkpoint_id, made, versions, seen, updated)
        return Found(checkpoint, self._metadata(record), parent_id)

    def metadata(self, checkpoint_id: str) -> dict[str, Any]:
        """The metadata of a step that is kept."""
        return self._metadata(self._unpack(self.steps[checkpoint_id]))

    def _metadata(self, record: Sequence[Any]) -> dict[str, Any]:
        own: dict[str, Any] = record[4]
        return own | {name: fact for name, fact in self.runs[record[2]].items() if name not in own}

    def values(self, versions: Iterable[Any]) -> dict[Any, dict[str, Item]]:
        """By version, the values of the channels that have got it."""
        found = {}
        for version in versions:
            if version in self._values and version not in found:
                found[version] = self._unpacked(self._values[version])
        return found

    @property
    def versions(self) -> Iterable[Any]:
        """Those that a value was kept with."""
        return self._values

    def _unpacked(self, content: bytes) -> dict[str, Item]:
        values = self._unpack(content)
        if type(values) is dict:
            return {name: Item(False, value) for name, value in values.items()}
        return {name: Item(True, (how, data)) for name, how, data in values}

    def writes(self, checkpoint_id: str) -> Iterator[KeptWrite]:
        """Those that were put for a checkpoint, in this order."""
        for content in self._writes.get(checkpoint_id, ()):
            task_id, path, writes = self._unpack(content)
            for index, (channel, *parts) in enumerate(writes):
                item = Item(False, parts[0]) if len(parts) == 1 else Item(True, tuple(parts))
                yield KeptWrite(task_id, path, index, channel, item)

    @property
    def written(self) -> Collection[str]:
        """The checkpoints for which something was put."""
        return self._writes.keys()


def _by_version(
    values: dict[str, Any], versions: Mapping[str, Any]
) -> Iterable[tuple[Any, dict[str, Any]]]:
    """Values in groups that have one version; most steps give one."""
    version = None
    for name in values:
        if version is None:
            version = versions[name]
        elif versions[name] != version:
            break
    else:
        return ((version, values),) if values else ()
    groups: dict[Any, dict[str, Any]] = {}
    for name, value in values.items():
        groups.setdefault(versions[name], {})[name] = value
    return groups.items()


class Keeping:
    """What runs have put into a saver, and into those that have its checkpoints too."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # LangGraph calls savers from several threads
        self.is_over = False
        """Whether nothing more is kept here, since somebody looks at what the saver has."""
        self.threads: dict[str, dict[str, Kept]] = {}
        """By thread and namespace."""

    def take(self, thread_id: str) -> dict[str, Kept]:
        """Keep nothing more of a thread where it was; what there is, by namespace."""
        namespaces = self.threads.pop(thread_id, {})
        for kept in namespaces.values():
            kept.is_live = False
        return namespaces

    def find(self, thread_id: str, namespace: str) -> Kept | None:
        """What is kept of a namespace, if anything was."""
        namespaces = self.threads.get(thread_id)
        return None if namespaces is None else namespaces.get(namespace)


class Line:
    """A namespace of a thread, as one run puts into it.

    Args:
        saver: where to.
        config: of the run.
        thread_id, namespace: the place.
    """

    def __init__(self, saver: InMemorySaver, config: Any, thread_id: str, namespace: str) -> None:
        self._saver = saver
        self._config = config
        self._place = (thread_id, namespace)
        serde = cast("JsonPlusSerializer", saver.serde)
        known = get_checkpoint_metadata(config, {})
        self._known: Mapping[str, Any] = serde.loads_typed(serde.dumps_typed(known))
        self._kept: Kept | None = None
        self._run = 0
        self._last: str | None = None
        """The step that was put last."""
        self._whole = self._since = 0
        """How many bytes the last whole step took, and all those after it."""

    def put(self, step: Step) -> None:
        """Keep a step. Raises ``EncodingError``."""
        saver = self._saver
        with saver._keeping.lock:
            kept = self._find()
            if kept is not None:
                follows = step.parent_id == self._last and self._last in kept.steps
                if not follows:
                    self._run = len(kept.runs)
                    kept.runs.append(self._known)
                whole = not follows or self._since > 2 * self._whole
                size = kept.put(step, self._run, whole=whole)
                if size:
                    self._last = step.id
                    if whole:
                        self._whole, self._since = size, 0
                    else:
                        self._since += size
                    return
            checkpoint: Any = {**step.bare(), "channel_values": step.values}
            versions = {name: step.versions[name] for name in step.moved}
            metadata: Any = step.metadata
            saver.put(self._config_at(step.parent_id), checkpoint, metadata, versions)

    def put_writes(
        self, checkpoint_id: str, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> None:
        """Keep what a task has written. Raises ``EncodingError``."""
        saver = self._saver
        with saver._keeping.lock:
            kept = self._find()
            if kept is None or not kept.put_writes(checkpoint_id, writes, task_id, path):
                saver.put_writes(self._config_at(checkpoint_id), writes, task_id, path)

    def _find(self) -> Kept | None:
        kept = self._kept
        if kept is None or not kept.is_live:
            kept = self._kept = self._saver._kept_for(*self._place)
        return kept

    def _config_at(self, checkpoint_id: str | None) -> Any:
        thread_id, namespace = self._place
        place = {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
        return {**self._config, "configurable": {**self._config["configurable"], **place}}
