"""One call of one node: its context, its thread, its time limit, and where it leads.

The only module that calls a user's nodes and routers. What a node gets is plain state, and what
it returns is plain data, so that a runner may carry a call to another process.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import types
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from contextvars import Context, ContextVar
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.to_thread

from .errors import PlaitError, RoutingError, WriteError, format_path, shorten
from .events import (
    NO_ARGUMENT,
    BranchPath,
    Interrupt,
    NodeName,
    Outcome,
    Target,
    ThreadId,
    Writes,
    new_record,
)
from .plan import NodeSpec, Plan, Router, Vertex
from .policy import END, START, WEIGHT, Command, Send
from .state import Schema

__all__ = [
    "Host",
    "NodeContext",
    "NodeRunner",
    "Parked",
    "ParkedInVain",
    "begin",
    "call_node",
    "check_declared",
    "check_output",
    "find_targets",
    "go_on",
    "interrupt",
    "sort_out",
]

_call: ContextVar[NodeContext] = ContextVar("plait.call")
"""The call that is under way: how ``interrupt`` finds it, however deep in the user's code."""


class Parked(BaseException):
    """Ends a call that has asked for something; let it pass.

    No ``Exception``, so that ``except Exception`` in a node does not take it for a failure.
    """

    def __init__(self, asked: Sequence[Interrupt]) -> None:
        super().__init__("the node has asked, and is called again once there is an answer")
        self.asked: Sequence[Interrupt] = asked


class ParkedInVain(RuntimeError):
    """A node has caught the signal by which ``interrupt`` parks its branch, and has returned."""


def interrupt(value: Any = None) -> Any:
    """Ask somebody outside the run, and return the answer; from within a node.

    The first time, there is no answer: the branch is parked there and its siblings go on. When
    nothing else can go on, the run is *suspended*: it returns, and lists ``value`` with the id of
    this interrupt in ``RunResult.interrupts``. Once ``Flow.resume(thread_id, {id: answer})`` has
    answered, the node **runs again from its top**, and this call returns the answer. So what the
    node does before it asks is done again: do it afterwards, or so that twice is as good as once
    (``ctx.idempotency_key`` is the same).

    A node may ask several times. Its answers are matched by the order of the calls, so ask in the
    same order whenever the same answers have been given.

    A plain call, not awaited; it works in ``def`` nodes too. It parks the branch by raising what
    ``except Exception`` does not catch; a node that catches it all the same, and returns, fails.
    Time limits and retries do not go on while a branch is parked, and its place in a pool is free.

    Raises:
        RuntimeError: no node is running here.
    """
    context = _call.get(None)
    if context is None:
        raise RuntimeError("interrupt() parks the branch of a node: call it in a node")
    return context.interrupt(value)


class Host(Protocol):
    """What carries out calls, as their contexts see it."""

    def emit(self, context: NodeContext, value: Any) -> Awaitable[None]:
        """Put a value into the stream."""
        ...

    def ask(self, context: NodeContext, value: Any) -> Any:
        """Return the answer to what the call asks, or raise ``Parked``."""
        ...

    async def begin(self, context: NodeContext) -> Any:
        """The connection of the transaction in which the call's completion is recorded."""
        ...


class _Facts(NamedTuple):
    """What is known of a call before it begins."""

    thread_id: ThreadId
    branch: BranchPath
    node: NodeName
    id: str | None
    attempt: int
    step: int
    context: Any
    outcome: Outcome | None
    error: PlaitError | None
    host: Host


class NodeContext(_Facts):
    """What a node learns about its call, as its second argument.

    Attributes:
        thread_id: the thread that the run belongs to.
        branch: the path of the branch.
        node: the name of the node.
        id: the id that a Send gave to the branch; ``None`` if it had none.
        attempt: the number of this attempt, from 1.
        idempotency_key: names this call of this node. It is the same for every attempt, and for
            the repetition after a crash.
        context: what was passed to ``run(context=...)``.
        outcome: what the sync point reported, for the node after it; else ``None``.
        error: why the node before failed, for the node that ``on_error`` names; else ``None``.
        step: how many places the branch has passed before: with its path, it names the call.
        host: what carries out the call.
        asking: how often the call has asked (``interrupt``).
        asked: what it has asked and had no answer to.
    """

    # Most calls do not ask, and so have no attributes beside the facts.
    asking: int = 0
    asked: tuple[Interrupt, ...] = ()

    # No two calls are the same.
    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __repr__(self) -> str:
        return f"<NodeContext {self.idempotency_key} at {self.node!r}, attempt {self.attempt}>"

    @property
    def idempotency_key(self) -> str:
        """Names this call, the same for every attempt; see the class."""
        return f"{self.thread_id}:{format_path(self.branch)}:{self.step}"

    @property
    def log(self) -> Any:
        """A structlog logger bound with thread_id, branch, node and attempt."""
        import structlog

        return structlog.get_logger("plait").bind(
            thread_id=self.thread_id,
            branch=format_path(self.branch),
            node=self.node,
            attempt=self.attempt,
        )

    def emit(self, value: Any) -> Awaitable[None]:
        """Put a value into the stream, as an ``Emitted`` event.

        It is there as soon as the call returns; await the result to be held back while the
        stream's reader is slow. Also works from a ``def`` node, where the call itself waits.
        """
        return self.host.emit(self, value)

    def interrupt(self, value: Any = None) -> Any:
        """Ask somebody outside the run, and return the answer; see :func:`plait.interrupt`."""
        return self.host.ask(self, value)

    async def transaction(self) -> Any:
        """Open the transaction in which the completion of this call will be recorded.

        Returns the connection of the store's own driver (with PostgreSQL, asyncpg's), inside the
        transaction. What the node does on it is committed together with the node's completion, or
        neither is: exactly once, whatever crashes. It is rolled back when the node raises, is
        parked by an interrupt, or its branch is cancelled. Leave committing to Plait.

        The first call opens it, and later ones return the same connection. Journal events of the
        run's other branches wait while it commits, so keep it short: call this last.

        Raises:
            StoreError: the store has no transactions, or the node belongs to a subgraph, whose
                nodes have no place of their own in the journal.
        """
        return await self.host.begin(self)


class NodeRunner(Protocol):
    """Calls a node's function; the default is :func:`call_node`, in this process."""

    def __call__(
        self, spec: NodeSpec, state: Any, context: NodeContext, /
    ) -> Coroutine[Any, Any, Any]:
        """A coroutine that returns what the node returned, or raises what it raised."""
        ...


def call_node(spec: NodeSpec, state: Any, context: NodeContext) -> Coroutine[Any, Any, Any]:
    """A coroutine that calls a node once, and returns what it returned.

    It raises whatever the node raises, and ``TimeoutError`` when the attempt takes too long.
    """
    if spec.kind == "thread":
        call = _in_thread(spec, state, context)
    else:
        result = spec.fn(state, context) if spec.takes_context else spec.fn(state)
        # A wrapped function may return another awaitable.
        call = result if type(result) is types.CoroutineType else _await(result)
    return call if spec.timeout is None else _limited(call, spec.timeout)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _limited(call: Coroutine[Any, Any, Any], timeout: float) -> Any:
    with anyio.move_on_after(timeout):
        return await call
    raise TimeoutError(f"the attempt took longer than its timeout of {timeout:g} s")


async def _in_thread(spec: NodeSpec, state: Any, context: NodeContext) -> Any:
    """Call a ``def`` node. Cancelling it lets go of the thread, which goes on by itself."""
    arguments = (state, context) if spec.takes_context else (state,)
    result = await anyio.to_thread.run_sync(spec.fn, *arguments, abandon_on_cancel=True)
    return await result if inspect.isawaitable(result) else result


def begin(coroutine: Coroutine[Any, Any, Any], context: NodeContext, variables: Context) -> Any:
    """Carry out a call up to where it first waits, and return what it waits for.

    A call that does not wait at all ends here, and so costs none of what waiting takes.

    Raises:
        StopIteration: the call has ended, with this value.
    """
    variables.run(_call.set, context)
    return variables.run(coroutine.send, None)


@types.coroutine
def go_on(
    coroutine: Coroutine[Any, Any, Any], waiting: Any, variables: Context
) -> Generator[Any, Any, Any]:
    """Carry a coroutine that waits on to its end, in a context of its own.

    Nodes share tasks, and a task has one context; entering the node's own for each of its steps
    costs a tenth of what a task of its own would.
    """
    run = variables.run
    try:
        while True:
            try:
                value = yield waiting
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:
                waiting = run(coroutine.throw, error)
            else:
                waiting = run(coroutine.send, value)
    except StopIteration as stop:
        return stop.value


def sort_out(raised: BaseException, context: NodeContext) -> Exception | Parked:
    """What it means that a call raised: it has failed, or it has asked.

    Raises what is neither, such as the cancellation of its branch.
    """
    if isinstance(raised, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            failure = RuntimeError("something that the node awaited was cancelled")
            failure.__cause__ = raised
            return failure
    elif isinstance(raised, BaseExceptionGroup):  # a node may ask in tasks of its own
        group: BaseExceptionGroup[BaseException] = raised
        signals, failures = group.split(Parked)
        if signals is not None and failures is None:
            return Parked(context.asked)
        if isinstance(failures, ExceptionGroup):
            return failures
    if isinstance(raised, Exception | Parked):
        return raised
    raise raised


# -- what it returned -------------------------------------------------------------------------


def check_output(schema: Schema, spec: NodeSpec, output: Any) -> tuple[Writes, Any]:
    """What a node wrote, and where it wants to go (``()`` for nowhere of its own).

    Raises ``WriteError`` for what the state cannot take.
    """
    if output is None:
        return (), ()
    goto: Any = ()
    if type(output) is not dict:  # nearly always it is
        if spec.kind == "flow":  # what it wrote was checked where it was written
            return output, ()
        if isinstance(output, Command):
            output, goto = output.update, output.goto
        elif isinstance(output, (str, Send, list)):
            raise WriteError(
                spec.name, None, "a mapping of writes (the way on is Command(goto=...))", output
            )
    writes = schema.check_writes(spec.name, output)
    if spec.writes is not None:
        check_declared(spec, writes)
    return writes, goto


def check_declared(spec: NodeSpec, writes: Writes) -> None:
    """Raise ``WriteError`` if a node has not declared what is written in its name."""
    if spec.writes is None:
        return
    for channel, value in writes:
        if channel not in spec.writes:
            declared = ", ".join(sorted(map(repr, spec.writes))) or "nothing"
            raise WriteError(
                spec.name, channel, f"writes to what it declares only ({declared})", value
            )


# -- where it leads ---------------------------------------------------------------------------


async def find_targets(
    plan: Plan, vertex: Vertex, state: Callable[[], Any], goto: Any
) -> tuple[Target, ...]:
    """Ask edges, routers and ``Command.goto`` for the way on, in the order of their declaration.

    ``state`` makes the state that a router sees. Raises ``RoutingError``.
    """
    if vertex.targets is not None and (goto is None or goto == ()):
        return vertex.targets
    targets: list[Target] = []
    for way in vertex.ways:
        if isinstance(way, Target):
            targets.append(way)
        else:
            chosen = way.fn(state())
            if type(chosen) is str and chosen in vertex.answers and (goto is None or goto == ()):
                return vertex.answers[chosen]
            if type(chosen) is list and vertex.takers and (goto is None or goto == ()):
                plain = _plainly_sent(chosen, vertex.takers)
                if plain is not None:
                    return plain
            if inspect.isawaitable(chosen):
                chosen = await chosen
            targets += _chosen(plan, vertex, way, chosen)
    for item in _as_list(goto):
        target = _target(plan, vertex, "its Command", item)
        if vertex.goto is not None and target.node not in vertex.goto:
            raise RoutingError(
                vertex.name,
                f"its Command goes to {target.node!r}, which is not declared: add_node(..., "
                f"targets=[{target.node!r}, ...]) or annotate it -> Command[Literal[...]]",
            )
        targets.append(target)
    _check_siblings(vertex, targets)
    return tuple(targets)


def _plainly_sent(chosen: list[Any], takers: frozenset[NodeName]) -> tuple[Target, ...] | None:
    """The targets of a list of Sends that say where to and what, and nothing else.

    ``None`` if there is anything else in it, which needs a closer look.
    """
    targets: list[Target] = []
    for item in chosen:
        if (
            type(item) is not Send
            or item.node not in takers
            or item.id is not None
            or item.after
            or item.weight is not WEIGHT
        ):
            return None
        targets.append(new_record(Target, (item.node, item.arg, None, (), WEIGHT)))
    return tuple(targets)


def _as_list(chosen: Any) -> Sequence[Any]:
    if chosen is None:
        return ()
    if isinstance(chosen, (str, Send)):
        return (chosen,)
    if isinstance(chosen, Iterable):
        return list(chosen)
    return (chosen,)


def _chosen(plan: Plan, vertex: Vertex, router: Router, chosen: Any) -> Iterable[Target]:
    if router.names is not None and not isinstance(chosen, (list, tuple)):
        chosen = [chosen]
    for item in _as_list(chosen):
        if router.names is not None and not isinstance(item, Send):
            if item not in router.names:
                raise RoutingError(
                    vertex.name,
                    f"router {router.name!r} returned {shorten(item)}, which its mapping lacks",
                )
            item = router.names[item]  # noqa: PLW2901
        target = _target(plan, vertex, f"router {router.name!r}", item)
        if router.targets is not None and target.node not in router.targets:
            raise RoutingError(
                vertex.name,
                f"router {router.name!r} chose {target.node!r}, which is not among its declared "
                f"targets {list(router.targets)}: add it there",
            )
        yield target


def _target(plan: Plan, vertex: Vertex, chooser: str, item: Any) -> Target:
    if isinstance(item, Send):
        target = new_record(Target, (item.node, item.arg, item.id, item.after, item.weight))
    elif isinstance(item, str):
        target = Target(item)
    else:
        raise RoutingError(
            vertex.name, f"{chooser} returned {shorten(item)}, which is no name and no Send"
        )
    if target.id is not None or target.after:
        names: tuple[Any, ...] = target.after if target.id is None else (target.id, *target.after)
        for name in names:
            if not isinstance(name, str):
                raise RoutingError(
                    vertex.name, f"{chooser} gives the id {name!r}: it must be a string"
                )
    there = plan.vertices.get(target.node)
    if there is None or target.node == START:
        raise RoutingError(vertex.name, f"{chooser} chose {target.node!r}, which is no node")
    if there.node is None and target.argument is not NO_ARGUMENT:
        kind = "END" if target.node == END else f"sync point {target.node!r}"
        raise RoutingError(
            vertex.name, f"{chooser} sends an argument to {kind}, where nothing takes it"
        )
    weight: Any = target.weight
    if not (type(weight) is float and 0.0 < weight < math.inf) and (
        isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not (math.isfinite(weight) and weight > 0)
    ):
        raise RoutingError(
            vertex.name, f"{chooser} gives the weight {weight!r}: it must be a number above 0"
        )
    return target


def _check_siblings(vertex: Vertex, targets: Sequence[Target]) -> None:
    """Ids must be unique, and ``after`` must name siblings without a cycle."""
    by_id: dict[str, Target] = {}
    dependent = False
    for target in targets:
        dependent = dependent or bool(target.after)
        if target.id is not None:
            if target.id in by_id:
                raise RoutingError(vertex.name, f"two branches have the id {target.id!r}")
            by_id[target.id] = target
    if not dependent:
        return
    for target in targets:
        for name in target.after:
            if name not in by_id:
                known = ", ".join(map(repr, by_id)) or "none"
                raise RoutingError(
                    vertex.name,
                    f"branch {target.id or target.node!r} comes after {name!r}, which is no id of "
                    f"a sibling (there are: {known})",
                )
    # Remove what depends on nothing that is left, until nothing is left: else there is a cycle.
    left = {name: set(target.after) for name, target in by_id.items()}
    while left:
        free = [name for name, after in left.items() if not after & left.keys()]
        if not free:
            cycle = ", ".join(map(repr, left))
            raise RoutingError(vertex.name, f"the branches {cycle} wait for each other")
        for name in free:
            del left[name]
