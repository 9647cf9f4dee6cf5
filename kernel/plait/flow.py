"""The compiled graph: run, stream, state, history."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self

import anyio
import anyio.abc
from typing_extensions import TypeVar

from .blame import Blame, Blamer
from .commands import StartTimer
from .draw import draw_mermaid
from .errors import (
    InterruptError,
    StoreError,
    ThreadError,
    ThreadExists,
    ThreadNotFound,
    ThreadUnfinished,
    format_path,
)
from .events import (
    BranchPath,
    ChannelName,
    Event,
    GraphAdopted,
    Interrupt,
    InterruptId,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeInterrupted,
    NodeName,
    Outcomes,
    RunCompleted,
    RunStarted,
    StateUpdated,
    ThreadId,
    TimerFired,
    Writes,
)
from .executor import Executor, Interrupts, Listener
from .machine import INPUT, UPDATE, Machine
from .node import check_declared
from .plan import Plan
from .policy import Places
from .replay import PastReader
from .state import NodeWrites
from .store import (
    UNNAMED,
    Durability,
    Journal,
    JournalFormat,
    LeasedJournal,
    MemoryStore,
    Past,
    Store,
)
from .trace import Step, Tracer

if TYPE_CHECKING:
    from .codec import TypeRegistry

__all__ = ["BranchView", "Flow", "RunResult", "RunStream", "Snapshot"]

S = TypeVar("S", default=Any)


@dataclass(frozen=True, slots=True)
class RunResult(Generic[S]):
    """What a run came to."""

    state: S
    """The final state: an instance of the schema; a dict for a TypedDict. Of a suspended run, what
    all that finished nodes wrote makes so far."""
    status: Literal["completed", "suspended"]
    """``"suspended"``: nothing goes on before somebody answers; ``resume`` with the answers."""
    outcomes: Mapping[NodeName, Outcomes]
    """For each sync point that opened, its outcomes, one for each generation. ``END`` is among them
    if a branch failed that no sync point has named."""
    thread_id: ThreadId
    interrupts: tuple[Interrupt, ...] = ()
    """What waits for an answer: in path order, then in the order in which it was asked."""


@dataclass(frozen=True, slots=True)
class BranchView:
    """A branch that is alive at a position of the journal."""

    path: BranchPath
    node: NodeName
    """Where it stands."""
    status: str
    """``"running"``, ``"routing"``, ``"held"``, ``"waiting"`` or ``"parked"``."""


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[S]):
    """A thread at one position of its journal."""

    thread_id: ThreadId
    position: int
    """How many events of the journal led here."""
    state: S
    """What the run would return if it ended here: all that finished nodes wrote, in path order."""
    status: Literal["completed", "running", "suspended"]
    """``"running"``: the run is not finished here (it may be going on, or have failed);
    ``"suspended"``: nor does it go on before somebody answers."""
    branches: tuple[BranchView, ...] = ()
    """The branches that are alive, in path order."""
    outcomes: Mapping[NodeName, Outcomes] = field(default_factory=dict)
    event: JournalEvent | None = None
    """The last event before this position."""
    interrupts: tuple[Interrupt, ...] = ()
    """What waits for an answer, in path order."""

    @property
    def next(self) -> tuple[NodeName, ...]:
        """The nodes that are to run next."""
        return tuple(branch.node for branch in self.branches if branch.status == "running")


_UNNAMED_THREADS = 1_000
"""How many finished threads that nobody named a Flow's own store keeps: a service that runs one
for each request would otherwise fill its memory with journals."""

_UNNAMED_EVENTS = 10_000
"""And how many events these have together: the journals of a thousand wide forks are gigabytes, and
work for each full garbage collection."""


class Flow(Generic[S]):
    """A compiled graph. Made by ``Graph.compile``; may run any number of threads at once."""

    def __init__(
        self,
        plan: Plan,
        store: Store | str | None = None,
        *,
        durability: Durability = "sync",
        types: Sequence[type] | TypeRegistry = (),
        interrupt_before: Collection[NodeName] = (),
        interrupt_after: Collection[NodeName] = (),
        max_interrupts: int = 2_000,
        max_concurrency: int | None = None,
        pools: Mapping[str, int | anyio.CapacityLimiter | Places] | None = None,
        debug: bool = False,
    ) -> None:
        self.plan = plan
        self.name: str = plan.name
        if store is None:
            self.store: Store = MemoryStore(
                unnamed=_UNNAMED_THREADS, unnamed_events=_UNNAMED_EVENTS
            )
        elif isinstance(store, str):
            from .durable import open_store

            self.store = open_store(store)
        elif hasattr(store, "lease"):
            self.store = store
        else:
            raise TypeError(f"store={store!r:.80} must be a store, its URL or None")
        self._shares = store is not None  # whether other graphs may use the store, or later code
        self._owns = isinstance(store, str)
        self._past = PastReader(plan, self.store, durability, types)
        if not self._shares:
            self._past.format = JournalFormat(plan.name)
        self.interrupts: Interrupts = Interrupts(interrupt_before, interrupt_after, max_interrupts)
        self.max_concurrency = max_concurrency
        self.pools: dict[str, anyio.CapacityLimiter | Places] = {
            name: anyio.CapacityLimiter(pool) if isinstance(pool, int) else pool
            for name, pool in (pools or {}).items()
        }
        self.debug = debug

    def with_store(self, store: Store | str) -> Flow[S]:
        """The same graph, with the same options, on another store."""
        return Flow(
            self.plan,
            store,
            durability=self._past.durability,
            types=self._past.types,
            interrupt_before=self.interrupts.before,
            interrupt_after=self.interrupts.after,
            max_interrupts=self.interrupts.limit,
            max_concurrency=self.max_concurrency,
            pools=self.pools,
            debug=self.debug,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the store, if it was given as a URL; whoever passed one in closes it."""
        if self._owns:
            await self.store.close()

    # -- running ------------------------------------------------------------------------------

    async def run(
        self,
        input: Any = None,  # noqa: A002 - the word that the field uses
        thread_id: ThreadId | None = None,
        context: Any = None,
        *,
        new: bool = False,
    ) -> RunResult[S]:
        """Run the graph to its end.

        Args:
            input: a mapping of channels to values, or an instance of the schema. It is folded over
                the thread's state like any other writes.
            thread_id: the thread to append the run to, of 1 to 512 bytes that can be printed; by
                default a new one, named in the result. A store in memory that the Flow made for
                itself keeps the last thousand of these that are finished, or fewer if they have
                more than ten thousand events together, and the last one always; any other keeps
                them until they are deleted, so that a run nobody named can be looked at and
                resumed as well.
            context: for the nodes, as ``ctx.context``; not part of the state.
            new: only if there is no such thread yet. Of several who begin one at the same time, or
                after an outcome that they do not know, one does; the others go on with ``resume``.

        Raises:
            ThreadExists: there is such a thread, and it was to be ``new``. Nothing has run.
            InputError: the input does not fit the schema. Nothing has run.
            NodeError: a node failed; its own exception is the ``__cause__``.
            ConflictError, ReducerError: branches that met cannot be merged.
            SyncPointError: a sync point cannot go on.
            ThreadBusy: another run holds the thread.
            ThreadUnfinished: the thread's last run has failed, was cut off or waits for an answer:
                ``resume`` it.
            LimitError: more would wait for an answer than may (``compile(max_interrupts=...)``).
        """
        return await self._run(input, thread_id, context, None, new=new)

    async def resume(
        self,
        thread_id: ThreadId,
        answers: Mapping[InterruptId, Any] | None = None,
        context: Any = None,
        *,
        migrate: bool = False,
    ) -> RunResult[S]:
        """Go on with a run that is suspended, has failed, was cancelled, or whose process has died.

        A node whose completion is durable is never called again. One that was running is called
        again, with the same ``ctx.idempotency_key``; so is one that has asked for something, from
        its top, when all that it asked is answered.

        Args:
            answers: by the ids of ``RunResult.interrupts``, one or several; what is not answered
                stays open. All are taken, or none. Deadlines that passed in the meantime
                (``clock_on_interrupt="run"``) come before the answers.
            context: for the nodes, as ``ctx.context``.
            migrate: go on although the graph has changed by more than additions; the run is
                replayed on this graph, which may turn out to be impossible.

        Raises:
            ThreadNotFound: no run is known under this id.
            InterruptError: an id is not open: it has been answered, its branch is gone, or there
                was none. Nothing has changed.
            GraphChanged: another graph began the run; says what differs.
            and what ``run`` raises.
        """
        return await self._resume(thread_id, answers, context, None, migrate=migrate)

    def stream(
        self,
        input: Any = None,  # noqa: A002 - the word that the field uses
        thread_id: ThreadId | None = None,
        context: Any = None,
        *,
        new: bool = False,
        buffer: int = 100,
    ) -> RunStream[S]:
        """Run the graph and read its events while it runs.

        ``async with flow.stream(...) as events: async for event in events: ...`` ends the run when
        the block is left. On asyncio, ``async for`` alone works as well; the run is then cancelled
        when the stream is closed or forgotten.

        Args:
            new: only if there is no such thread yet, as for ``run``.
            buffer: how many events the run may be ahead of the reader before it waits.
        """
        return RunStream(
            lambda listener: self._run(input, thread_id, context, listener, new=new), buffer
        )

    def resume_stream(
        self,
        thread_id: ThreadId,
        answers: Mapping[InterruptId, Any] | None = None,
        context: Any = None,
        *,
        migrate: bool = False,
        buffer: int = 100,
    ) -> RunStream[S]:
        """Go on with a run as ``resume`` does, and read its events as ``stream`` gives them.

        The first of them is the first that happens now: what the journal held before is to be had
        by ``journal``.
        """
        return RunStream(
            lambda listener: self._resume(thread_id, answers, context, listener, migrate=migrate),
            buffer,
        )

    async def _run(
        self,
        given: Any,
        thread_id: ThreadId | None,
        context: Any,
        listener: Listener | None,
        *,
        new: bool,
    ) -> RunResult[S]:
        if thread_id is None:
            thread_id = UNNAMED + os.urandom(16).hex()
        fingerprint = await self._past.fingerprint() if self._shares else ""
        async with self.store.lease(thread_id, self._past.format) as journal:
            past = journal.past
            machine = Machine(self.plan)
            if past.snapshot is not None or past.events:
                if new:
                    raise ThreadExists(
                        thread_id, "exists: `resume` it, or give the new one another id"
                    )
                machine, _ = await self._past.replay(past)
            if machine.running:
                journal.status = _status(machine)
                raise _unfinished(thread_id, machine)
            journal.status = "completed"
            machine.plan = self.plan
            writes = self.plan.schema.check_input(machine.values, given)
            if writes:  # a reducer that cannot take them says so before they are recorded
                self.plan.schema.fold(machine.values, (NodeWrites(INPUT, writes),))
            executor = self._executor(machine, journal, thread_id, context, listener)
            started = RunStarted(executor.now(), (machine.runs,), writes, fingerprint)
            if self._past.format.codec is not None:
                self._watch(executor, journal)
            journal.status = "running"
            await executor.run(started)
            return self._result(executor, journal, listener)

    async def _resume(
        self,
        thread_id: ThreadId,
        answers: Mapping[InterruptId, Any] | None,
        context: Any,
        listener: Listener | None,
        *,
        migrate: bool,
    ) -> RunResult[S]:
        if answers is not None and not isinstance(answers, Mapping):
            raise TypeError(f"answers={answers!r:.80} must be a mapping of interrupt ids to values")
        fingerprint = await self._past.fingerprint() if self._shares else ""
        async with self.store.lease(thread_id, self._past.format) as journal:
            past = _known_past(journal, thread_id)
            try:
                machine, begun_by = await self._past.replay(past)
            except StoreError as error:
                await self._past.check_graph(past, error)
                raise
            journal.status = _status(machine)
            changed = machine.running and begun_by and begun_by != fingerprint
            if changed:
                machine = await self._past.adopt(past, machine, begun_by, migrate=migrate)
            if machine.failure is not None:
                raise machine.failure
            executor = self._executor(machine, journal, thread_id, context, listener)
            if changed:
                await executor.record(GraphAdopted(executor.now(), fingerprint))
            if answers:
                await self._answer(executor, answers, past.events)
            if not machine.running:
                return self._result(executor, journal, None)
            if self._past.format.codec is not None:
                self._watch(executor, journal)
            journal.status = "running"
            await executor.run(None)
            return self._result(executor, journal, listener)

    def _executor(
        self,
        machine: Machine,
        journal: Journal,
        thread_id: ThreadId,
        context: Any,
        listener: Listener | None,
    ) -> Executor:
        return Executor(
            machine,
            journal,
            thread_id,
            context=context,
            listener=listener,
            max_concurrency=self.max_concurrency,
            pools=self.pools,
            debug=self.debug,
            interrupts=self.interrupts,
        )

    async def _answer(
        self,
        executor: Executor,
        answers: Mapping[InterruptId, Any],
        events: Sequence[JournalEvent],
    ) -> None:
        """Check answers and take them; what has come to pass before them comes first."""
        machine, now = executor.machine, executor.now()
        news: list[JournalEvent] = []
        while overdue := _overdue(machine, now):
            news.append(overdue)
            machine.handle(overdue)
        if machine.failure is not None:
            await executor.record(*news)
            raise machine.failure
        known = {interrupt.id: None for interrupt in machine.interrupts}
        unknown = [name for name in answers if name not in known]
        if unknown:
            problem = _why_not_open(unknown, events)
            raise InterruptError(executor.thread_id, problem, unknown, tuple(known))
        news.append(InterruptsAnswered(now, tuple(answers.items())))
        machine.handle(news[-1])
        await executor.record(*news)
        if machine.failure is not None:
            raise machine.failure

    def _watch(self, executor: Executor, journal: LeasedJournal) -> None:
        journal.watch(
            lambda: self._past.snapshot(executor.machine), executor.is_alone, executor.fail
        )

    def _result(
        self, executor: Executor, journal: LeasedJournal, listener: Listener | None
    ) -> RunResult[S]:
        """What the run came to, for the caller, the list of threads, and the reader of a stream."""
        machine = executor.machine
        result: RunResult[S] = RunResult(
            state=self.plan.schema.instance(machine.current_values()),
            status="suspended" if machine.running else "completed",
            outcomes=dict(machine.outcomes),
            thread_id=executor.thread_id,
            interrupts=machine.interrupts if machine.running else (),
        )
        journal.status = result.status
        if listener is not None:
            listener.put(
                RunCompleted(executor.now(), executor.thread_id, result.status, result.state)
            )
        return result

    # -- changing a thread from outside -------------------------------------------------------

    async def update(
        self,
        thread_id: ThreadId,
        values: Mapping[ChannelName, Any],
        as_node: NodeName | None = None,
        *,
        branch: BranchPath | None = None,
    ) -> Snapshot[S]:
        """Write to the state of a thread that is not running, through the reducers.

        On a finished thread, the writes are folded over its final state, from which its next run
        begins. On an unfinished one (suspended, failed or cut off) they are those of one of its
        branches: its node sees them when the run is resumed, and they are merged like its own.

        Args:
            values: what a node would return: channels and values, ``Overwrite`` to replace.
            as_node: the node in whose name it is recorded; what it may write is then checked.
            branch: the path of the branch that is to have the writes, where several are alive.

        Returns:
            The thread behind the update. Without values, nothing is recorded.

        Raises:
            ThreadNotFound: no run is known under this id.
            ThreadError: it is not clear which branch is meant; names those that are alive.
            WriteError, ReducerError: the state cannot take the values.
            ThreadBusy: somebody is running the thread.
            ValueError: ``as_node`` is no node.
        """
        writes = self._check_update(values, as_node)
        async with self.store.lease(thread_id, self._past.format) as journal:
            past = _known_past(journal, thread_id)
            machine, _ = await self._past.replay(past)
            if machine.failure is not None:
                raise machine.failure
            path = _branch_to_update(machine, thread_id, branch)
            executor = self._executor(machine, journal, thread_id, None, None)
            position = past.position + len(past.events)
            event: JournalEvent | None = past.events[-1] if past.events else None
            if writes:
                event = StateUpdated(executor.now(), path, as_node or UPDATE, writes)
                position += 1
                machine.handle(event)
                machine.current_values()  # a reducer that raises does so before it is recorded
                if machine.failure is not None:
                    raise machine.failure
                await executor.record(event)
            return self._snapshot(machine, thread_id, position, event)

    def _check_update(self, values: Mapping[ChannelName, Any], as_node: NodeName | None) -> Writes:
        writes = self.plan.schema.check_writes(as_node or UPDATE, values)
        if as_node is not None:
            vertex = self.plan.vertices.get(as_node)
            if vertex is None or vertex.node is None:
                raise ValueError(f"as_node={as_node!r} is no node of graph {self.name!r}")
            check_declared(vertex.node, writes)
        return writes

    async def fork(self, thread_id: ThreadId, at: int, new_thread_id: ThreadId) -> Snapshot[S]:
        """Begin a thread with what another one was at a position of its journal.

        From there on they have nothing to do with each other. A run that was not finished at that
        position goes on in the new thread with ``resume``.

        Raises:
            ThreadNotFound: no run is known under this id.
            ThreadExists: there is a thread with the new id.
            ValueError: the journal has no such position; the first is 1.
        """
        _check_whole("at", at)
        thread = await self.store.thread(thread_id)
        if thread is not None and thread.position and not 1 <= at <= thread.position:
            raise ValueError(f"thread {thread_id!r} has positions 1 to {thread.position}, not {at}")
        snapshot = await self.state(thread_id, at)  # whether it can be read
        await self.store.fork(thread_id, at, new_thread_id)
        return replace(snapshot, thread_id=new_thread_id)

    # -- looking back -------------------------------------------------------------------------

    async def blame(
        self, thread_id: ThreadId, channel: ChannelName, at: int | None = None
    ) -> tuple[Blame, ...]:
        """Who wrote to a channel, and what became of it; by default at the end of the journal.

        Returns:
            Every write to the channel up to there that was not pruned, oldest first: those that
            make its value, those that later ones replaced, and those that were dropped with their
            branch.

        Raises:
            ThreadNotFound: no run is known under this id.
            ValueError: there is no such position or channel.
        """
        if channel not in self.plan.schema.channels:
            known = ", ".join(map(repr, self.plan.schema.channels))
            raise ValueError(f"graph {self.name!r} has no channel {channel!r}; it has {known}")
        past = await self._read(thread_id, at, whole=True)
        exclusive = channel in self.plan.schema.exclusive
        blamer = Blamer(channel, exclusive=exclusive, start=past.position)
        machine, _ = await self._past.replay(past, blamer.note, keep_delta=True)
        return blamer.result(machine)

    async def trace(self, thread_id: ThreadId, at: int | None = None) -> tuple[Step, ...]:
        """What followed from what: the events of a thread that are kept, each with its cause.

        Returns:
            One step for each event, oldest first. Steps and their causes are positions of the
            journal; from the last step, the chain of causes is what the run's time was spent on.

        Raises:
            ThreadNotFound: no run is known under this id.
            ValueError: the journal has no such position.
        """
        past = await self._read(thread_id, at, whole=True)
        tracer = Tracer(past.position)
        await self._past.replay(past, tracer.note)
        return tuple(tracer.steps)

    async def state(self, thread_id: ThreadId, at: int | None = None) -> Snapshot[S]:
        """The thread at a position of its journal; by default at its end.

        Raises:
            ThreadNotFound: no run is known under this id.
            ValueError: the journal has no such position.
        """
        past = await self._read(thread_id, at)
        end = past.position + len(past.events)
        machine, _ = await self._past.replay(past)
        return self._snapshot(machine, thread_id, end, past.events[-1] if past.events else None)

    async def journal(self, thread_id: ThreadId, at: int | None = None) -> Past:
        """The events of a thread that are kept, oldest first, up to a position of its journal.

        Raises:
            ThreadNotFound: no run is known under this id.
            ValueError: the journal has no such position.
        """
        return await self._read(thread_id, at, whole=True)

    async def history(self, thread_id: ThreadId) -> AsyncIterator[Snapshot[S]]:
        """The thread at each position of its journal that is kept, newest first.

        Raises:
            ThreadNotFound: no run is known under this id.
        """
        past = await self._read(thread_id, None, whole=True)
        snapshots: list[Snapshot[S]] = []
        position = past.position
        if past.snapshot is not None:  # what was pruned led here
            machine, _ = await self._past.replay(past, until=position)
            snapshots.append(self._snapshot(machine, thread_id, position, None))

        def note(machine: Machine, event: JournalEvent, commands: object) -> None:
            nonlocal position
            position += 1
            snapshots.append(self._snapshot(machine, thread_id, position, event))

        await self._past.replay(past, note)
        for snapshot in reversed(snapshots):
            yield snapshot

    async def prune(
        self, thread_id: ThreadId, keep: int | None = None, *, keep_bytes: int | None = None
    ) -> int:
        """Give up the older history of a thread; what is kept stays loadable, position by position.

        Args:
            keep: how many of the last events to keep.
            keep_bytes: how many bytes of events to keep at most; with both, the smaller counts.

        Returns:
            The first position that can still be looked at.

        Raises:
            ThreadNotFound: no run is known under this id.
            ThreadBusy: a run holds the thread.
            StoreError: a fork begins in what would be given up, or the store is in memory.
            ValueError: neither is given, or one is below 0.
        """
        for name, value in (("keep", keep), ("keep_bytes", keep_bytes)):
            if value is not None:
                _check_whole(name, value)
                if value < 0:
                    raise ValueError(f"{name}={value!r} must be 0 or more")
        if keep is None and keep_bytes is None:
            raise ValueError("say how much to keep: keep=..., keep_bytes=... or both")
        async with self.store.lease(thread_id, self._past.format) as journal:
            whole = await self._read(thread_id, None, whole=True)
            machine, _ = await self._past.replay(journal.past)
            journal.status = _status(machine)
            cut = await journal.find_cut(keep, keep_bytes)
            if cut > whole.position:
                # On the graph that carried the run out in the end, though that came later.
                machine, graph = await self._past.replay(whole, until=cut)
                await journal.prune(cut, self._past.snapshot(machine, graph))
            return cut

    async def _read(self, thread_id: ThreadId, upto: int | None, *, whole: bool = False) -> Past:
        upper = upto
        if upto is not None:
            _check_whole("at", upto)
            upper = min(max(upto, 0), _LAST)  # which every store can look for
        past = await self.store.past(thread_id, self._past.format, upper, whole=whole)
        if past is None:
            raise ThreadNotFound(thread_id)
        if upto is not None and upto != past.position + len(past.events):
            everything = await self._read(thread_id, None)
            last = everything.position + len(everything.events)
            raise ValueError(f"thread {thread_id!r} has positions 0 to {last}, not {upto}")
        return past

    def _snapshot(
        self,
        machine: Machine,
        thread_id: ThreadId,
        position: int,
        event: JournalEvent | None,
    ) -> Snapshot[S]:
        return Snapshot(
            thread_id=thread_id,
            position=position,
            state=self.plan.schema.instance(machine.current_values()),
            status=_status(machine),
            branches=tuple(
                BranchView(path, branch.place, branch.status)
                for path, branch in sorted(machine.branches.items())
                if branch.is_leaf
            ),
            outcomes={name: Outcomes(found) for name, found in machine.outcomes.items()},
            event=event,
            interrupts=machine.interrupts,
        )

    def draw_mermaid(self) -> str:
        """The graph as a Mermaid flowchart: forks, sync points with their policy, routers."""
        return draw_mermaid(self.plan)

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}: {len(self.plan.vertices) - 2} vertices>"


_LAST = 2**63 - 1


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be a whole number")


def _known_past(journal: LeasedJournal, thread_id: ThreadId) -> Past:
    """What a journal holds. Raises ``ThreadNotFound`` if that is nothing."""
    past = journal.past
    if past.snapshot is None and not past.events:
        raise ThreadNotFound(thread_id)
    return past


def _branch_to_update(
    machine: Machine, thread_id: ThreadId, branch: BranchPath | None
) -> BranchPath:
    """The branch that is to have an update; empty on a finished thread."""
    alive = [path for path, each in sorted(machine.branches.items()) if each.is_leaf]
    if branch is None and len(alive) < 2:
        return alive[0] if alive else ()
    if branch in alive:
        return branch
    if not alive:
        problem = "has no run that is not finished, and so no branch to update: leave branch= out"
    else:
        listed = ", ".join(f"{path} at {machine.branches[path].place!r}" for path in alive[:10]) + (
            f" and {len(alive) - 10} more" if len(alive) > 10 else ""
        )
        named = "" if branch is None else f", and {format_path(branch)} is none of them"
        problem = f"has these branches alive{named}; say which is meant with branch=: {listed}"
    raise ThreadError(thread_id, problem)


def _status(machine: Machine) -> Literal["completed", "running", "suspended"]:
    if not machine.running:
        return "completed"
    return "suspended" if machine.suspended else "running"


def _unfinished(thread_id: ThreadId, machine: Machine) -> ThreadUnfinished:
    names = [interrupt.id for interrupt in machine.interrupts]
    if not names:
        way_out = "is not finished: go on with it by resume(thread_id)"
    else:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        way_out = f"waits for an answer: resume(thread_id, {{{names[0]!r}: ...}}){more}"
    return ThreadUnfinished(thread_id, f"has a run that {way_out}, or begin another thread")


def _overdue(machine: Machine, now: float) -> TimerFired | None:
    """The deadline that has passed, the first of them, if one has."""
    timers = [each for each in machine.outstanding() if isinstance(each, StartTimer)]
    first = min(timers, key=lambda timer: timer.due, default=None)
    return TimerFired(now, first.timer) if first is not None and first.due <= now else None


def _why_not_open(unknown: Sequence[InterruptId], events: Sequence[JournalEvent]) -> str:
    """Why there is nothing to answer under these ids."""
    answered = {
        name
        for event in events
        if isinstance(event, InterruptsAnswered)
        for name, _ in event.answers
    }
    asked = {
        interrupt.id
        for event in events
        if isinstance(event, (NodeInterrupted, NodeCompleted))
        for interrupt in event.interrupts
    }
    reasons = []
    for name in unknown:
        if name in answered:
            reasons.append(f"interrupt {name!r} has been answered already")
        elif name in asked:
            reasons.append(f"interrupt {name!r} is gone with its branch")
        else:
            reasons.append(f"there is no interrupt {name!r}")
    return "takes no answer: " + "; ".join(reasons)


class RunStream(Generic[S]):
    """A run, and its events as they come; see ``Flow.stream``.

    Attributes:
        result: what the run came to; there once all events have been read.
    """

    def __init__(self, start: Callable[[Listener], Any], buffer: int) -> None:
        self.result: RunResult[S] | None = None
        self._job = _Job(start, buffer)
        self._group: anyio.abc.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RunStream[S]:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._job.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        assert self._group is not None
        self._job.listener.close()
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup:  # the body's own error, which leaves as it is
            if error is None:
                raise
        finally:
            self.result = self._job.result
        return False

    def __aiter__(self) -> RunStream[S]:
        return self

    async def __anext__(self) -> Event:
        if self._group is None and self._task is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise RuntimeError("use `async with flow.stream(...) as events:` here") from None
            # Not in a task group: the stream itself owns it, and ends it with its own life.
            self._task = loop.create_task(self._job.run())
        event = await self._job.listener.get()
        if event is not None:
            return event
        self.result = self._job.result
        if self._job.error is not None:
            raise self._job.error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel the run, and wait until all of it has ended."""
        self._job.listener.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        elif self._group is not None:
            self._group.cancel_scope.cancel()

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()


class _Job:
    """The running side of a stream; it does not know the stream, which may be forgotten."""

    def __init__(self, start: Callable[[Listener], Any], buffer: int) -> None:
        self.listener = Listener(buffer)
        self.result: Any = None
        self.error: Exception | None = None
        self._start = start

    async def run(self) -> None:
        try:
            self.result = await self._start(self.listener)
        except Exception as error:  # given to the reader, after the last event
            self.error = error
        finally:
            self.listener.close()
