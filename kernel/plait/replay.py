"""What a store has kept of a thread, replayed: a machine as it was at a position of its journal.

A journal outlives the code that wrote it, so each run is replayed on the graph that carried it out,
and a snapshot is used where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from .commands import Command
from .errors import GraphChanged, StoreError, ThreadNotFound, format_path
from .events import (
    GraphAdopted,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeRetried,
    Routed,
    RunStarted,
    StateUpdated,
)
from .machine import Machine
from .plan import Plan
from .store import Durability, JournalFormat, Past, Store

if TYPE_CHECKING:
    from .codec import Codec, TypeRegistry

__all__ = ["PastReader"]


class PastReader:
    """Makes a machine of what a store has kept, whatever graphs wrote it."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        durability: Durability,
        types: Sequence[type] | TypeRegistry,
    ) -> None:
        self.plan = plan
        self._store = store
        self.durability: Durability = durability
        self.types = types
        self._snapshot_codec: Codec | None = None
        self._fingerprint = ""
        self._description = b""
        self._plans: dict[str, Plan] = {"": plan}

    @cached_property
    def format(self) -> JournalFormat:
        """How the journals of this graph are kept. Raises ``RegistrationError``."""
        codec = self._store.make_codec(self._registry)
        if codec is not None:  # a snapshot's size is bounded by that of the thread
            self._snapshot_codec = type(codec)(codec.registry, max_value_bytes=_UNBOUNDED)
        return JournalFormat(self.plan.name, codec, self.durability)

    def _registry(self) -> TypeRegistry:
        from .codec import TypeRegistry
        from .snapshots import register_types

        types = self.types
        registry = types if isinstance(types, TypeRegistry) else TypeRegistry()
        register_types(registry)
        if not isinstance(types, TypeRegistry):
            for type_ in types:
                registry.register(type_)
        functions = [vertex.node.fn for vertex in self.plan.vertices.values() if vertex.node]
        registry.register_annotations(self.plan.schema.type, *functions)
        return registry

    async def fingerprint(self) -> str:
        """What journals call this graph; its description is in the store from then on."""
        if not self._fingerprint:
            from .fingerprint import describe, fingerprint_of

            self._description = describe(self.plan)
            fingerprint = fingerprint_of(self._description)
            await self._store.save_plan(fingerprint, self._description)
            self._fingerprint = fingerprint
            self._plans[fingerprint] = self.plan
        return self._fingerprint

    async def _plan(self, fingerprint: str) -> Plan:
        plan = self._plans.get(fingerprint)
        if plan is None:
            from .fingerprint import rebuild

            plan = self._plans[fingerprint] = rebuild(
                await self._description_of(fingerprint), self.plan.schema
            )
        return plan

    async def _description_of(self, fingerprint: str) -> bytes:
        description = await self._store.load_plan(fingerprint)
        if description is None:
            raise StoreError(
                f"a journal names graph {fingerprint}, and the store does not have its description"
            )
        from .fingerprint import fingerprint_of

        if fingerprint_of(description) != fingerprint:
            raise StoreError(f"the description of graph {fingerprint} is that of another graph")
        return description

    async def replay(
        self,
        past: Past,
        note: Callable[[Machine, JournalEvent, Sequence[Command]], None] | None = None,
        *,
        last: str | None = None,
        until: int | None = None,
        keep_delta: bool = False,
    ) -> tuple[Machine, str]:
        """Replay a journal, each run on the graph that carried it out in the end.

        Args:
            past: what is to be replayed.
            note: called after every event of it, with what the machine made of it.
            keep_delta: as for ``Machine``.
            last: the fingerprint of the graph for the last run, in place of its own.
            until: the position after which to stop, not before that of its snapshot.

        Returns:
            The machine, and the fingerprint of the graph of its last run.

        Raises:
            StoreError: an event does not follow from those before it.
        """
        machine, graph = Machine(self.plan, keep_delta=keep_delta), ""
        graphs = self._graphs(past.events, last)
        begin = past.position
        if past.snapshot is not None:
            inside = bool(past.events) and type(past.events[0]) is not RunStarted
            wanted = graphs[0] if inside else last if not past.events else ""
            restored = await self._restore(past, wanted, keep_delta=keep_delta)
            if restored is None:
                past = await self._whole(past)
                graphs = self._graphs(past.events, last)
                if past.snapshot is not None:
                    restored = await self._restore(past, wanted, pruned=True, keep_delta=keep_delta)
            if restored is not None:
                machine, graph = restored
        position = past.position
        for event, found in zip(past.events, graphs, strict=True):
            if position == until:
                break
            position += 1
            if type(event) is RunStarted:
                machine.plan, graph = await self._plan(found), found
            else:
                graph = found or graph
            try:
                _check_follows(machine, event)
                commands = machine.handle(event)
            except Exception as error:
                raise StoreError(
                    f"event {position} of thread {past.thread_id!r} does not follow from those "
                    f"before it ({type(error).__name__}: {error}): rows were changed by hand or "
                    "come from elsewhere, or the schema's reducers are not those that wrote them"
                ) from error
            if note is not None and position > begin:
                note(machine, event, commands)
        return machine, graph

    async def _restore(
        self, past: Past, wanted: str | None, *, pruned: bool = False, keep_delta: bool
    ) -> tuple[Machine, str] | None:
        """The machine of a snapshot, and the fingerprint of its graph.

        ``None`` if another Plait took it, or it was taken on another graph than the one that is
        ``wanted``; where what led to it was ``pruned``, that may serve as well.
        """
        from .codec import DecodingError
        from .snapshots import Outdated, header_of, restore

        assert self._snapshot_codec is not None
        assert past.snapshot is not None
        try:
            content = self._snapshot_codec.decode(past.snapshot)
            header = header_of(content)
            if wanted and wanted != header.plan and not pruned:
                return None
            graph = wanted or header.plan
            plan = await self._plan(graph)
            if header.bits != {spec.name: spec.bit for spec in plan.sync_points.values()}:
                raise StoreError("it was taken on a graph with other sync points")
            return restore(content, plan, keep_delta=keep_delta), graph
        except (StoreError, DecodingError) as error:
            if isinstance(error, Outdated) and not pruned:
                return None
            raise StoreError(
                f"the snapshot at position {past.position} of thread {past.thread_id!r} cannot be "
                f"read: {error}"
            ) from error

    async def _whole(self, past: Past) -> Past:
        """The same past with as few events replaced by a snapshot as possible."""
        end = past.position + len(past.events)
        whole = await self._store.past(past.thread_id, self.format, end, whole=True)
        if whole is None:
            raise ThreadNotFound(past.thread_id, "was deleted meanwhile")
        return whole

    @staticmethod
    def _graphs(events: Sequence[JournalEvent], last: str | None = None) -> list[str]:
        """For each event, the graph that carried out its run in the end; empty where only an
        earlier event says it."""
        found: list[str] = []
        graph = last
        for event in reversed(events):
            if graph is None and isinstance(event, RunStarted | GraphAdopted):
                graph = event.plan
            found.append(graph or "")
            if type(event) is RunStarted:
                graph = None
        return found[::-1]

    async def check_graph(self, past: Past, error: StoreError) -> None:
        """Raise ``GraphChanged`` where that may be why a journal cannot be replayed."""
        from .fingerprint import differences

        graph = next((each for each in reversed(self._graphs(past.events)) if each), "")
        if graph and graph != self._fingerprint:
            old = await self._description_of(graph)
            if changed := differences(old, self._description):
                raise GraphChanged(past.thread_id, [*changed, str(error)]) from error

    async def adopt(self, past: Past, machine: Machine, begun_by: str, *, migrate: bool) -> Machine:
        """Replay a journal so that its last run, on ``machine``, goes on with this graph.

        Raises ``GraphChanged`` where it cannot, or should not without ``migrate``.
        """
        from .fingerprint import differences

        thread_id = past.thread_id
        old = await self._description_of(begun_by)
        changed = differences(old, self._description)
        if changed and not migrate:
            raise GraphChanged(thread_id, changed)
        try:
            adopted, _ = await self.replay(past, last=self._fingerprint)
        except StoreError as error:
            problem = f"it cannot be replayed on this graph: {error}"
            raise GraphChanged(thread_id, [*changed, problem]) from error
        if adopted.failure is not None and machine.failure is None:
            problem = f"on this graph it fails: {adopted.failure}"
            raise GraphChanged(thread_id, [*changed, problem]) from adopted.failure
        return adopted

    def snapshot(self, machine: Machine, begun_by: str | None = None) -> bytes:
        """The machine as bytes, for a store that wants a snapshot."""
        from .snapshots import take

        assert self._snapshot_codec is not None
        return take(machine, begun_by or self._fingerprint, self._snapshot_codec)


_UNBOUNDED = 1 << 40

_OF_A_NODE = (NodeCompleted, NodeFailed, NodeInterrupted, NodeRetried, Routed)
"""Events of a branch that stands at a node, a sync point or START, and of a run that goes on."""


def _check_follows(machine: Machine, event: JournalEvent) -> None:
    """Refuse an event that cannot have happened next. Raises ``ValueError``."""
    if isinstance(event, (RunStarted, NodeCompleted, StateUpdated)):
        for channel, _ in event.writes:
            if channel not in machine.schema.channels:
                raise ValueError(f"there is no channel {channel!r}")
    if machine.failure is not None and isinstance(event, (*_OF_A_NODE, RunStarted)):
        raise ValueError(f"the run has failed: {machine.failure}")
    if isinstance(event, _OF_A_NODE):
        branch = machine.branches.get(event.branch)
        name = f"branch {format_path(event.branch)}"
        if branch is None:
            raise ValueError(f"there is no {name}")
        if branch.place != event.node:
            raise ValueError(f"{name} stands at {branch.place!r}, not at {event.node!r}")
        if branch.status != ("routing" if type(event) is Routed else "running"):
            raise ValueError(f"{name} is {branch.status} at {branch.place!r}")
