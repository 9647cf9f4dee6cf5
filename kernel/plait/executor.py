"""Drives a machine: tasks, timers, journal. The one place that waits for user code.

Tasks are workers on demand. A worker takes the next branch that is ready and stays with it for as
long as it goes on; one more worker stands by and takes over when all others are suspended. So
branches that never suspend share one task, and branches that wait side by side have one each.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import threading
import time
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from contextvars import copy_context
from typing import Any, Final, Literal, NamedTuple

import anyio
import anyio.from_thread
import anyio.lowlevel

from .backend import Transaction
from .commands import (
    CancelBranch,
    Command,
    Fail,
    Finish,
    JudgeQuorum,
    Notify,
    RouteBranch,
    RunNode,
    StartTimer,
)
from .crew import Crew, GroupCrew, TaskCrew
from .errors import (
    CodecError,
    LimitError,
    MutationError,
    NodeError,
    RoutingError,
    StoreError,
    format_path,
)
from .events import (
    NO_ARGUMENT,
    BranchPath,
    Emitted,
    Event,
    Interrupt,
    InterruptId,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeName,
    NodeRetried,
    NodeStarted,
    QuorumJudged,
    Routed,
    RunStarted,
    Target,
    ThreadId,
    TimerFired,
    TimerKey,
    Writes,
    new_record,
)
from .machine import INPUT, Machine
from .node import (
    NodeContext,
    NodeRunner,
    Parked,
    ParkedInVain,
    begin,
    call_node,
    check_output,
    find_targets,
    go_on,
    sort_out,
)
from .plan import NodeSpec, Plan, Vertex
from .policy import Places
from .state import Values, deep_copy
from .store import Journal
from .tree import LIVE, Branch

__all__ = ["Executor", "Interrupts", "Listener"]

_STEPS_BETWEEN_CHECKPOINTS = 32
"""A branch whose nodes never suspend lets the event loop turn after this many of them. A turn costs
about as much as half a node, so the price is one or two percent."""


class Listener:
    """A bounded buffer of events between a run and the reader of its stream.

    The run may go over the bound by what one step gives, and then waits for the reader.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._events: deque[Event] = deque()
        self._wake_reader = anyio.Event()
        self._wake_writers = anyio.Event()
        self.closed: bool = False

    def put(self, event: Event) -> None:
        """Add an event; does not wait."""
        self._events.append(event)
        self._wake_reader.set()

    async def wait_for_room(self) -> None:
        """Wait until the reader has caught up."""
        while len(self._events) > self._size and not self.closed:
            self._wake_writers = (
                anyio.Event() if self._wake_writers.is_set() else self._wake_writers
            )
            await self._wake_writers.wait()

    def close(self) -> None:
        """No more events will come, or nobody will read them."""
        self.closed = True
        self._wake_reader.set()
        self._wake_writers.set()

    async def get(self) -> Event | None:
        """The next event; ``None`` once the buffer is closed and empty."""
        while not self._events:
            if self.closed:
                return None
            self._wake_reader = anyio.Event()
            await self._wake_reader.wait()
        event = self._events.popleft()
        if len(self._events) <= self._size:
            self._wake_writers.set()
        return event


_FAULTS_OF_THE_PROGRAM = (RoutingError, MutationError, ParkedInVain)
"""What is not a matter of luck, and so not tried again."""


class Interrupts(NamedTuple):
    """Where a run stops to ask, and how much it may ask."""

    before: Collection[NodeName] = ()
    after: Collection[NodeName] = ()
    limit: int = 2_000
    """How many interrupts may wait for an answer at the same time."""


_NOWHERE = Interrupts()
_NO_ANSWERS: Mapping[InterruptId, Any] = {}


class Executor:
    """Carries out one run, or what is left of it.

    Args:
        machine: the state of the thread.
        journal: where events go before their consequences are carried out.
        thread_id: for the nodes' contexts and for logs.
        context: for ``ctx.context``.
        listener: the reader of the stream, if there is one.
        max_concurrency: how many nodes may be running at the same time.
        pools: the limiters that nodes name.
        debug: log every event, and check that nodes leave their state as it was.
        interrupts: where it stops to ask.
        prefix: what a subgraph's node names begin with in the stream.
        scope: what the ids of a subgraph's interrupts begin with.
        answers: what has been answered to a subgraph, which begins anew to hear it.
        runner: calls a node's function.
    """

    # A service may have thousands of runs at once, and so many attributes take a kilobyte less so.
    __slots__ = (
        "_alone",
        "_check_lease",
        "_crew",
        "_earlier_timer",
        "_error",
        "_first",
        "_judgements",
        "_max_workers",
        "_may_cancel",
        "_quiet",
        "_ready",
        "_scopes",
        "_standby",
        "_steps",
        "_stops",
        "_thread",
        "_timer_scope",
        "_timers",
        "_transactions",
        "_variables",
        "_workers",
        "answers",
        "context",
        "debug",
        "interrupts",
        "journal",
        "listener",
        "log",
        "machine",
        "now",
        "plan",
        "pools",
        "prefix",
        "runner",
        "scope",
        "thread_id",
    )

    def __init__(
        self,
        machine: Machine,
        journal: Journal,
        thread_id: ThreadId,
        *,
        context: Any = None,
        listener: Listener | None = None,
        max_concurrency: int | None = None,
        pools: Mapping[str, anyio.CapacityLimiter | Places] | None = None,
        debug: bool = False,
        interrupts: Interrupts = _NOWHERE,
        prefix: str = "",
        scope: str = "",
        answers: Mapping[InterruptId, Any] = _NO_ANSWERS,
        runner: NodeRunner = call_node,
    ) -> None:
        self.machine: Machine = machine
        self.plan: Plan = machine.plan
        self.journal: Journal = journal
        self._check_lease = journal.check_lease
        self.thread_id: ThreadId = thread_id
        self.context: Any = context
        self.listener: Listener | None = listener
        self.pools: Mapping[str, anyio.CapacityLimiter | Places] = pools or {}
        self.debug: bool = debug
        self.interrupts: Interrupts = interrupts
        self._stops = bool(interrupts.before or interrupts.after)
        self.prefix: str = prefix
        self.scope: str = scope
        self.answers: Mapping[InterruptId, Any] = answers
        self.runner: NodeRunner = runner
        loop: asyncio.AbstractEventLoop | None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another backend
            loop = None
        self._crew: Crew = GroupCrew() if loop is None else TaskCrew(loop)
        self.now: Callable[[], float] = _clock(loop, machine.at)
        self.log: Any | None = _logger(thread_id) if debug else None
        self._quiet = machine.quiet = listener is None and self.log is None
        self._variables = copy_context()
        self._thread = threading.get_ident()
        self._max_workers = max_concurrency or float("inf")
        self._workers = 0
        self._first: tuple[RunStarted | None, ...] = ()  # what the first of them begins with
        self._steps = 0
        self._standby = False
        self._ready: deque[RunNode | RouteBranch] | None = None  # a chain needs none
        self._judgements: tuple[JudgeQuorum, ...] = ()
        self._scopes: dict[BranchPath, anyio.CancelScope] = {}
        self._may_cancel = machine.plan.may_cancel
        self._timers: list[tuple[float, TimerKey]] = []
        self._timer_scope: anyio.CancelScope | None = None
        self._earlier_timer: anyio.Event | None = None
        self._error: BaseException | None = None
        self._transactions: dict[BranchPath, _Held] = {}
        self._alone: anyio.Event | None = None  # set when a commit in a transaction is over

    async def run(self, event: RunStarted | None) -> None:
        """Run until the machine has finished. ``event`` begins; ``None`` goes on where it stands.

        Raises:
            PlaitError: why the run failed. Everything that has finished is in the journal.
        """
        self._workers, self._standby = 1, True  # the first, which is about to start
        self._first = (event,)
        error = await self._crew.run(self._work)
        # Workers report what nodes raise as events, so what they raise themselves is ours.
        self._error = self._error or error
        if self._error is not None:
            raise self._error
        if self.machine.running and not self.machine.open_interrupts:
            raise self.machine.standstill()

    async def record(self, *events: JournalEvent) -> None:
        """Journal events that come from outside, and that the machine has taken in.

        What follows from them is what it then has outstanding: ``run(None)``.
        """
        durable = [self.journal.append(event) for event in events]
        with anyio.CancelScope(shield=True):
            for each in durable:
                if each is not None:
                    await each
        if not self._quiet:
            for event in events:
                self._tell(event)

    def is_alone(self) -> bool:
        """Whether no branch but that of who asks is being carried on, or is about to be."""
        return self._workers <= 1 and not self._ready

    # -- workers ------------------------------------------------------------------------------

    async def _work(self, scope: anyio.CancelScope) -> None:
        """Carry branches that are ready as far as they go, one after another.

        Args:
            scope: what cancels this worker, and so the branch it is at.
        """
        begin, self._first = self._first, ()
        command: RunNode | RouteBranch | None = None
        machine, crew, may_cancel = self.machine, self._crew, self._may_cancel
        try:
            with scope:
                if begin and not crew.ending:
                    command = await self._begin(*begin)
                self._standby = False
                # In a run that is ending, what runs may finish, but nothing new begins.
                while not crew.ending:
                    if command is None:
                        if not self._ready:
                            break
                        command = self._ready.popleft()
                        if machine.failure is not None:
                            command = None
                            continue
                    if self._ready and not self._standby:
                        self._call_standby()
                    if may_cancel and not self._may_begin(command, scope):
                        command = None
                        continue
                    path = command.branch
                    try:
                        if type(command) is RunNode:
                            command = await self._run_node(command)
                        elif type(command) is RouteBranch:
                            command = await self._route(command)
                    finally:
                        if may_cancel:
                            del self._scopes[path]
                        if self._transactions:
                            await self._roll_back(path)
                    self._steps += 1
                    if self._steps % _STEPS_BETWEEN_CHECKPOINTS == 0:
                        await anyio.lowlevel.checkpoint()
                    if may_cancel and scope.cancel_called:  # the branch is gone
                        break
        finally:
            self._workers -= 1
            if self._ready:  # the scope was used up by the last branch
                self._call_standby()
            if self._timers and self._is_suspended():
                self._wake_timers()  # they need not wait any more

    def _may_begin(self, command: RunNode | RouteBranch, scope: anyio.CancelScope) -> bool:
        """Whether a command is still wanted; if so, cancelling its branch cancels ``scope``."""
        if not self.machine.expects(command):
            return False
        self._scopes[command.branch] = scope
        return True

    async def _begin(self, event: RunStarted | None) -> RunNode | RouteBranch | None:
        """Carry out what the run begins with; the command with which its first branch goes on."""
        if event is not None:
            return await self._dispatch(event, event.branch)
        self._carry_out(self.machine.outstanding(), None)  # all of it goes to the workers
        if self._judgements:
            await self._judge(None)
        return None

    def _call_standby(self) -> None:
        """Have one worker start as soon as all others are suspended."""
        if self._standby or self._crew.ending:
            return
        if self._workers < self._max_workers:
            if self._timers and self._timer_scope is None:  # they were left alone for a while
                self._watch()
            self._standby = True
            self._workers += 1
            self._crew.start(self._work)

    # -- one step -----------------------------------------------------------------------------

    async def _run_node(self, command: RunNode) -> RunNode | RouteBranch | None:
        """Call a node, with its retries, and hand what came of it to the machine."""
        machine = self.machine
        branch = machine.branches[command.branch]
        vertex = self.plan.vertices[command.node]
        spec = vertex.node
        assert spec is not None
        path, name = branch.path, spec.name
        attempt = 1 if branch.questions is None else branch.questions.attempt
        if (
            self._stops
            and name in self.interrupts.before
            and not self._is_answered(command, "before")
        ):
            return await self._park(command, spec, 0, (self._stop(command, "before"),))
        writes: Writes = ()
        goto: Any = ()
        while True:
            if self._check_lease is not None and (held := self._check_lease()) is not None:
                await held
                if not machine.expects(command):
                    return None
            started = self.now()
            if not self._quiet:
                self._tell(NodeStarted(started, path, name, attempt))
            facts = (
                self.thread_id,
                path,
                name,
                branch.members[0].id if branch.members else None,
                attempt,
                branch.step,
                self.context,
                branch.outcome,
                branch.error,
                self,
            )
            context = new_record(NodeContext, facts)
            try:
                call, variables = self._call(branch, spec, context), self._variables.copy()
                try:
                    waiting = begin(call, context, variables)
                except StopIteration as ended:
                    output = ended.value
                else:
                    output = await go_on(call, waiting, variables)
                    if self._is_unwanted(command):
                        return None
                if context.asked:
                    raise ParkedInVain(
                        "the node caught the signal by which interrupt() parks its branch, and "
                        "went on: catch Exception, not BaseException"
                    )
                writes, goto = check_output(self.plan.schema, spec, output)
                break
            except BaseException as raised:
                if self._transactions:
                    await self._roll_back(path)
                reason = sort_out(raised, context)
                result = await self._came_to_nothing(command, spec, attempt, reason)
                if not isinstance(result, NodeRetried):
                    return result
            await self._dispatch(result)
            await anyio.sleep(result.delay)
            attempt += 1
        targets = vertex.targets
        if targets is None or goto != ():
            try:
                targets = await self._choose(branch, vertex, writes, goto)
            except Exception as error:
                return await self._failed(command, spec, attempt, error)
            if self._is_unwanted(command):  # a router may have waited
                return None
        completed = new_record(
            NodeCompleted, (self.now(), path, name, attempt, writes, targets, started, ())
        )
        if (
            self._stops
            and name in self.interrupts.after
            and not self._is_answered(command, "after")
        ):
            if not self._may_ask(command, 1):
                return None
            completed = completed._replace(interrupts=(self._stop(command, "after"),))
        try:
            if self._transactions and path in self._transactions:
                return await self._complete_within(command, completed)
            return await self._dispatch(completed, path)
        except CodecError as error:  # what it wrote cannot be stored, and is not in the journal
            return await self._failed(command, spec, attempt, error)

    def _is_unwanted(self, command: RunNode) -> bool:
        """Whether a branch has been cancelled meanwhile, or the run has failed."""
        return (self._may_cancel or self.machine.failure is not None) and not self.machine.expects(
            command
        )

    # -- transactions -------------------------------------------------------------------------

    async def begin(self, context: NodeContext) -> Any:
        """The connection of the transaction in which the call's completion is recorded."""
        held = self._transactions.get(context.branch)
        if held is None:
            stack = AsyncExitStack()
            transaction = await stack.enter_async_context(self.journal.transaction())
            held = self._transactions[context.branch] = _Held(transaction, stack)
        return held.transaction.connection

    async def _complete_within(
        self, command: RunNode, completed: NodeCompleted
    ) -> RunNode | RouteBranch | None:
        """Commit what a node did in its transaction together with its completion."""
        await self._wait_alone()
        if not self.machine.expects(command):
            return None
        held = self._transactions[command.branch]
        # Events enter the journal in the order in which the machine takes them in. This one may
        # yet turn out not to happen, so that all others wait.
        self._alone = anyio.Event()
        stored = False
        commands: list[Command] = []
        try:
            with anyio.CancelScope(shield=True):
                stored = await self.journal.append_within(held.transaction, completed)
                if stored:
                    commands = self.machine.handle(completed)
        finally:
            self._alone.set()
            self._alone = None
            await self._roll_back(command.branch)
        if not stored:  # nothing has happened: the node is called again
            return command
        return await self._dispatch(completed, command.branch, commands)

    async def _roll_back(self, path: BranchPath) -> None:
        """End the transaction of a branch, if it has one; what is not committed is undone."""
        held = self._transactions.pop(path, None)
        if held is not None:
            with anyio.CancelScope(shield=True):
                await held.stack.aclose()

    async def _wait_alone(self) -> None:
        """Wait until no commit in a transaction is under way."""
        while self._alone is not None:
            await self._alone.wait()

    def _is_current(self, event: JournalEvent) -> bool:
        """Whether an event that had to wait still fits where its branch stands."""
        if isinstance(event, NodeCompleted | NodeRetried | NodeFailed | NodeInterrupted | Routed):
            branch = self.machine.branches.get(event.branch)
            return branch is not None and branch.status in LIVE and branch.place == event.node
        return True

    # -- asking -------------------------------------------------------------------------------

    def ask(self, context: NodeContext, value: Any) -> Any:
        """Return the answer to what a call asks, or raise ``Parked``; on any thread."""
        name = f"{self.scope}{format_path(context.branch)}:{context.step}:{context.asking}"
        context.asking += 1
        branch = self.machine.branches.get(context.branch)
        if branch is not None:  # it may be cancelled, while its worker thread goes on
            answers = self._given(branch)
            if name in answers:
                return answers[name]
        asked = Interrupt(name, value, context.branch, self.prefix + context.node)
        context.asked = (*context.asked, asked)
        raise Parked(context.asked)

    def _given(self, branch: Branch) -> Mapping[InterruptId, Any]:
        """What has been answered to the node at which a branch stands."""
        return self.answers if branch.questions is None else branch.questions.answers

    def _stop(self, command: RunNode, when: Literal["before", "after"]) -> Interrupt:
        """The interrupt for which a branch stops before or after a node."""
        name = f"{self.scope}{format_path(command.branch)}:{command.step}:{when}"
        return Interrupt(name, None, command.branch, self.prefix + command.node, when)

    def _is_answered(self, command: RunNode, when: Literal["before", "after"]) -> bool:
        branch = self.machine.branches[command.branch]
        return self._stop(command, when).id in self._given(branch)

    def _may_ask(self, command: RunNode, count: int) -> bool:
        """Whether so many more interrupts may wait; if not, the run ends."""
        pending, limit = self.machine.open_interrupts, self.interrupts.limit
        if pending + count <= limit:
            return True
        self.fail(
            LimitError(
                "max_interrupts",
                f"node {self.prefix + command.node!r} in branch {format_path(command.branch)} asks "
                f"for {count} more, while {pending:,} interrupts of thread {self.thread_id!r} wait "
                f"for an answer, and {limit:,} may: answer some by resume(thread_id, answers)",
            )
        )
        return False

    async def _park(
        self, command: RunNode, spec: NodeSpec, attempt: int, asked: tuple[Interrupt, ...]
    ) -> RunNode | RouteBranch | None:
        """Journal what a node asks; its branch goes on when there is an answer."""
        if not self._may_ask(command, len(asked)):
            return None
        event = NodeInterrupted(self.now(), command.branch, command.node, attempt, asked)
        try:
            return await self._dispatch(event, command.branch)
        except CodecError as error:  # what it asks cannot be stored
            return await self._failed(command, spec, attempt, error)

    # -- within a step ------------------------------------------------------------------------

    def _choose(
        self, branch: Branch, vertex: Vertex, writes: Writes, goto: Any
    ) -> Awaitable[tuple[Target, ...]]:
        """Where a branch goes on, once it has written."""

        def seen() -> Any:
            return self.plan.schema.instance(self.machine.view_after(branch, writes))

        return find_targets(self.plan, vertex, seen, goto)

    def _call(
        self, branch: Branch, spec: NodeSpec, context: NodeContext
    ) -> Coroutine[Any, Any, Any]:
        """The coroutine that carries out one attempt at a node, not begun yet."""
        if spec.kind == "flow":
            return self._run_flow(branch, spec, self.machine.view(branch))
        state = branch.argument
        if state is NO_ARGUMENT:
            state = self.plan.schema.instance(self.machine.view(branch))
        if spec.pool is None and not self.debug:
            return self.runner(spec, state, context)
        return self._call_with_care(branch, spec, state, context)

    async def _call_with_care(
        self, branch: Branch, spec: NodeSpec, state: Any, context: NodeContext
    ) -> Any:
        """A call that takes a place in a pool, or that ``debug`` looks after."""
        shown: Values = {"the argument of its Send": state}
        if branch.argument is NO_ARGUMENT:
            shown = self.machine.view(branch)
        before = deep_copy(shown) if self.debug else {}
        if spec.pool is None:
            output = await self.runner(spec, state, context)
        else:
            async with _place(self.pools[spec.pool]):
                output = await self.runner(spec, state, context)
        if self.debug:
            self.plan.schema.check_unchanged(spec.name, before, shown)
        return output

    async def _came_to_nothing(
        self, command: RunNode, spec: NodeSpec, attempt: int, reason: Exception | Parked
    ) -> RunNode | RouteBranch | NodeRetried | None:
        """An attempt has failed, or has asked: what follows from that."""
        if not self.machine.expects(command):
            return None
        if isinstance(reason, Parked):
            return await self._park(command, spec, attempt, tuple(reason.asked))
        delay = self._delay(spec, attempt, reason)
        if delay is None:
            return await self._failed(command, spec, attempt, reason)
        return NodeRetried(self.now(), command.branch, spec.name, attempt, reason, delay)

    async def _run_flow(self, branch: Branch, spec: NodeSpec, values: Values) -> Writes:
        """Run a subgraph to its end, and hand back what it wrote to the channels that both have.

        It begins with the values of those channels. What comes back are its writes, not its final
        values, so that nothing is folded twice.
        """
        step = branch.step
        plan: Plan = spec.fn.plan  # type: ignore[attr-defined]  # a Flow; flow.py lies above
        machine = Machine(plan, keep_delta=True)
        shared = {name: values[name] for name in plan.schema.channels if name in values}
        if branch.argument is not NO_ARGUMENT:
            machine.values = {**machine.values}
            given = branch.argument
        else:
            machine.values = {**machine.values, **shared}
            given = None
        writes = plan.schema.check_input(machine.values, given)
        inner = Executor(
            machine,
            _NoJournal(self.journal),
            f"{self.thread_id}/{format_path(branch.path)}:{step}",
            context=self.context,
            listener=self.listener,
            max_concurrency=spec.fn.max_concurrency,  # type: ignore[attr-defined]
            pools=spec.fn.pools,  # type: ignore[attr-defined]
            debug=self.debug,
            interrupts=spec.fn.interrupts,  # type: ignore[attr-defined]
            prefix=f"{self.prefix}{spec.name}/",
            scope=f"{self.scope}{format_path(branch.path)}:{step}/",
            answers=self._given(branch),
            runner=self.runner,
        )
        inner.now = self.now
        await inner.run(RunStarted(self.now(), (*branch.path, 0), writes))
        if machine.running:
            raise Parked(machine.interrupts)
        known = self.plan.schema.channels
        return tuple(
            [
                write
                for entry in machine.delta
                if entry.node != INPUT
                for write in entry.writes
                if write[0] in known
            ]
        )

    def _delay(self, spec: NodeSpec, attempt: int, error: Exception) -> float | None:
        """Seconds until the next attempt; ``None`` if there is none."""
        retry = spec.retry
        if retry is None or attempt >= retry.attempts:
            return None
        if isinstance(error, _FAULTS_OF_THE_PROGRAM):
            return None
        return retry.delay(attempt, random.random) if retry.repeats(error) else None

    async def _failed(
        self, command: RunNode, spec: NodeSpec, attempt: int, cause: Exception
    ) -> RunNode | RouteBranch | None:
        if self._transactions:
            await self._roll_back(command.branch)
        if not self.machine.expects(command):
            return None
        error = NodeError(self.prefix + spec.name, command.branch, attempt, cause)
        event = NodeFailed(self.now(), command.branch, spec.name, attempt, error, spec.on_error)
        return await self._dispatch(event, command.branch)

    async def _route(self, command: RouteBranch) -> RunNode | RouteBranch | None:
        """Ask the routers behind START or a sync point."""
        branch = self.machine.branches[command.branch]
        vertex = self.plan.vertices[command.node]
        try:
            targets = await self._choose(branch, vertex, (), ())
        except Exception as error:
            if self.machine.expects(command):
                name = self.prefix + command.node
                self.fail(NodeError(name, command.branch, 1, error))
            return None
        if not self.machine.expects(command):
            return None
        routed = Routed(self.now(), command.branch, command.node, targets)
        try:
            return await self._dispatch(routed, command.branch)
        except CodecError as error:
            self.fail(NodeError(self.prefix + command.node, command.branch, 1, error))
            return None

    # -- events and commands ------------------------------------------------------------------

    async def _dispatch(
        self,
        event: JournalEvent,
        own: BranchPath | None = None,
        commands: list[Command] | None = None,
    ) -> RunNode | RouteBranch | None:
        """Journal an event, let the machine decide, and carry out what it decides.

        Args:
            event: what has happened.
            own: the branch of whoever calls.
            commands: what the machine has decided, where that is done already.

        Returns:
            The command with which the branch ``own`` goes on, if it does.
        """
        if commands is None:
            if self._alone is not None:
                await self._wait_alone()
                if not self._is_current(event):
                    return None
            durable = self.journal.append(event)
            commands = self.machine.handle(event)
            if durable is not None:
                # What is in the journal is carried out, even if this branch is cancelled. Where no
                # branch can be, a cancellation ends the run, and what resumes it carries it out.
                if self._may_cancel:
                    with anyio.CancelScope(shield=True):
                        await durable
                else:
                    await durable
        if not self._quiet:
            self._tell(event, commands)
        mine: RunNode | RouteBranch | None = None
        if len(commands) == 1 and type(only := commands[0]) is RunNode and only.branch is own:
            mine = only  # nearly always: the branch goes on
        elif commands:
            mine = self._carry_out(commands, own)
        if self._judgements:
            mine = await self._judge(own) or mine
        if self.listener is not None:
            await self.listener.wait_for_room()
        return mine

    def _carry_out(
        self, commands: list[Command], own: BranchPath | None
    ) -> RunNode | RouteBranch | None:
        mine: RunNode | RouteBranch | None = None
        for command in commands:
            if type(command) is RunNode or type(command) is RouteBranch:
                if command.branch == own and mine is None:
                    mine = command
                else:
                    if self._ready is None:
                        self._ready = deque()
                    self._ready.append(command)
            elif isinstance(command, CancelBranch):
                scope = self._scopes.get(command.branch)
                if scope is not None:
                    scope.cancel()
            elif isinstance(command, StartTimer):
                self._start_timer(command)
            elif isinstance(command, JudgeQuorum):
                self._judgements = (*self._judgements, command)
            elif isinstance(command, Fail):
                self.fail(command.error)
            elif isinstance(command, Finish) and self._timer_scope is not None:
                self._timer_scope.cancel()
        if self._ready and not self._standby:
            self._call_standby()
        return mine

    async def _judge(self, own: BranchPath | None) -> RunNode | RouteBranch | None:
        """Ask the quorums that are predicates, and that have something new to judge."""
        commands, self._judgements = self._judgements, ()
        mine: RunNode | RouteBranch | None = None
        for command in commands:
            spec = self.plan.vertices[command.sync_point].sync_point
            assert spec is not None
            quorum: Callable[[Any], bool] = spec.join.quorum  # type: ignore[assignment]
            try:
                met = bool(quorum(command.arrivals))
            except Exception as error:
                self.fail(NodeError(self.prefix + command.sync_point, command.branch, 1, error))
                return None
            name, generation = command.sync_point, command.generation
            seen = len(command.arrivals)
            event = QuorumJudged(self.now(), command.branch, generation, name, seen, met)
            mine = await self._dispatch(event, own) or mine
        return mine

    def fail(self, error: BaseException) -> None:
        """End the run with an error; the first one counts."""
        if self._error is None:
            self._error = error
        self._crew.end()

    # -- timers -------------------------------------------------------------------------------

    def _start_timer(self, command: StartTimer) -> None:
        heapq.heappush(self._timers, (command.due, command.timer))
        if self._timer_scope is None:
            self._watch()
        elif self._timers[0][1] == command.timer:
            self._wake_timers()

    def _wake_timers(self) -> None:
        if self._earlier_timer is not None:
            self._earlier_timer.set()

    def _watch(self) -> None:
        self._timer_scope = self._crew.start(self._watch_timers)

    async def _watch_timers(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._timers:
                due, timer = self._timers[0]
                # Commands of two events may be carried out in another order than that of the
                # events, so whether it was stopped or put off is for the machine to say.
                if self.machine.due(timer) != due:
                    heapq.heappop(self._timers)
                    continue
                remaining = due - self.now()
                if remaining > 0:
                    if self._is_suspended():
                        break
                    self._earlier_timer = anyio.Event()
                    with anyio.move_on_after(remaining):
                        await self._earlier_timer.wait()
                    continue
                heapq.heappop(self._timers)
                await self._dispatch(TimerFired(max(due, self.now()), timer))
        self._timer_scope = None

    def _is_suspended(self) -> bool:
        """Whether nothing goes on in this run before somebody answers."""
        return self._workers == 0 and not self._ready and self.machine.open_interrupts > 0

    # -- telling ------------------------------------------------------------------------------

    def _tell(self, event: Event, commands: Sequence[Command] = ()) -> None:
        """Hand events to the stream and to the log."""
        events = [event]
        events += [command.event for command in commands if isinstance(command, Notify)]
        for each in events:
            if self.log is not None:
                self.log.debug(_words(each), **_facts(each))
            if self.listener is not None:
                self.listener.put(self._prefixed(each))

    def _prefixed(self, event: Any) -> Event:
        if self.prefix and hasattr(event, "node"):
            event = event._replace(node=self.prefix + event.node)
        return event  # type: ignore[no-any-return]

    def emit(self, context: NodeContext, value: Any) -> Awaitable[None]:
        if threading.get_ident() != self._thread:  # a `def` node: it waits itself
            return anyio.from_thread.run(self._emit_here, context, value)
        event = Emitted(self.now(), context.branch, self.prefix + context.node, value)
        if self.log is not None:
            self.log.debug(_words(event), **_facts(event))
        if self.listener is None:
            return _READY
        self.listener.put(event)
        return _Room(self.listener)

    async def _emit_here(self, context: NodeContext, value: Any) -> Awaitable[None]:
        await self.emit(context, value)
        return _READY


@asynccontextmanager
async def _place(pool: anyio.CapacityLimiter | Places) -> AsyncIterator[None]:
    """A place in a pool, held by this call and not by its task, which may hold another."""
    if isinstance(pool, anyio.CapacityLimiter):
        holder = object()
        await pool.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            pool.release_on_behalf_of(holder)
    else:
        place = pool.place()
        await place.__aenter__()
        try:
            yield
        finally:
            # A place has no say in what becomes of the node, and so is not told how it ended.
            await place.__aexit__(None, None, None)


class _Held(NamedTuple):
    """A transaction that a node has opened."""

    transaction: Transaction
    stack: AsyncExitStack
    """Rolls it back, unless it has been committed, and gives the connection back."""


class _NoJournal:
    """The journal of a subgraph: its node counts as a whole, and is repeated as a whole."""

    status = "running"

    def __init__(self, outer: Journal) -> None:
        self.check_lease = outer.check_lease

    def append(self, event: JournalEvent) -> None:
        return None

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        raise StoreError(
            "a node of a subgraph has no place of its own in the journal, with which its "
            "transaction could be committed: make it a node of the graph itself"
        )

    async def append_within(self, transaction: Transaction, event: JournalEvent) -> bool:
        raise AssertionError("there are no transactions here")


class _Room:
    """Awaits room in a listener; unlike a coroutine, it may be left alone."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    def __await__(self) -> Any:
        if self._listener is not None:
            yield from self._listener.wait_for_room().__await__()


_READY = _Room(None)

_AT_THE_SAME_TIME: Final = 0.001
"""Seconds in which two clocks are read that show the same time. On a busy machine the process may
be held up between them, for tenths of a second, and all times of the run would be wrong by that."""

_LOOKS: Final = 5
"""How often they are read at most for that; the closest look counts."""


def _clock(loop: asyncio.AbstractEventLoop | None, earliest: float) -> Callable[[], float]:
    """Seconds since the epoch, going forward only, at the pace of the event loop.

    Not before ``earliest``, the time of the last event: another process, whose clock may go wrong,
    has stored that one, and every deadline is some seconds after an event. A simulated loop has a
    ``wall_time`` of its own, so that its runs are repeatable.
    """
    tick: Callable[[], float]
    wall: Callable[[], float] = time.time
    if loop is None:
        tick = anyio.current_time
    else:  # its own clock: anyio's takes ten times as long
        wall = getattr(loop, "wall_time", time.time)
        # The plain loop's time() is monotonic(), with a frame more.
        plain = type(loop).time is asyncio.BaseEventLoop.time
        tick = time.monotonic if plain else loop.time
    offset, unsure = 0.0, math.inf
    for _ in range(_LOOKS):
        before = tick()
        seen = max(wall(), earliest)
        if (gap := tick() - before) < unsure:
            offset, unsure = seen - before, gap
        if gap < _AT_THE_SAME_TIME:
            break
    return lambda: tick() + offset


def _logger(thread_id: ThreadId) -> Any:
    import structlog

    return structlog.get_logger("plait").bind(thread_id=thread_id)


def _words(event: Event) -> str:
    """``NodeCompleted`` as ``node completed``."""
    name = type(event).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def _facts(event: Event) -> dict[str, Any]:
    return {
        name: value
        for name in ("branch", "node", "attempt", "error", "outcome", "delay", "value")
        if (value := getattr(event, name, None)) is not None
    }
