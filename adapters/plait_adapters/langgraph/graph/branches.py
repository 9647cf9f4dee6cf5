"""The bridge: a state graph on Plait's own machine, where branches do not wait for each other.

``compile(mode="branches")`` makes one. Its nodes, reducers, edges and conditions mean what they
meant; what is different is when: a branch goes on as soon as it can, and only a sync point gathers
branches. An edge that waits for several nodes is a sync point that waits for all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, cast
from uuid import uuid4

import plait
from plait import Join
from plait.errors import GraphError
from plait_adapters.langgraph._internal import _edge
from plait_adapters.langgraph._internal._callables import (
    Callee,
    as_coroutine,
    in_context,
    is_graph,
)
from plait_adapters.langgraph._internal._config import current_task, ensure_config
from plait_adapters.langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_TASK,
    END,
    INTERRUPT,
    NS_END,
)
from plait_adapters.langgraph._internal._crew import call_in_thread
from plait_adapters.langgraph._internal._unsupported import unsupported
from plait_adapters.langgraph.channels.binop import BinaryOperatorAggregate
from plait_adapters.langgraph.channels.last_value import LastValue
from plait_adapters.langgraph.errors import NodeError
from plait_adapters.langgraph.runtime import ExecutionInfo, Runtime
from plait_adapters.langgraph.types import Command, Interrupt, RetryPolicy, Send
from plait_adapters.langgraph.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:
    from plait import Flow

    from ._branch import BranchSpec
    from ._node import StateNodeSpec
    from .state import StateGraph

__all__ = ("BranchGraph", "Join")


class BranchGraph(Generic[StateT, ContextT, InputT, OutputT]):
    """A state graph that runs on Plait's own machine.

    Attributes:
        builder: the graph that it was made from.
        flow: Plait's own face of it: streams of events, threads, forks, blame.
        name: what it is called.
    """

    def __init__(
        self,
        builder: StateGraph[StateT, ContextT, InputT, OutputT],
        *,
        journal: Any,
        store: Any,
        before: Sequence[str],
        after: Sequence[str],
        debug: bool,
        name: str,
    ) -> None:
        self.builder: StateGraph[StateT, ContextT, InputT, OutputT] = builder
        self.name: str = name
        self._store = store
        graph = _translate(builder, self)
        try:
            self.flow: Flow[Any] = graph.compile(
                journal, interrupt_before=before, interrupt_after=after, debug=debug
            )
        except GraphError as error:
            error.add_note("compile(mode='branches') builds the graph on Plait's own machine")
            raise

    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: ContextT | None = None,
    ) -> Any:
        """Run the graph, and return its state; what it asks is under ``"__interrupt__"``.

        Args:
            input: what it is given; ``None`` to go on; ``Command(resume=...)`` to answer the one
                open interrupt, or several by their ids.
            config: ``configurable`` has ``thread_id``.
            context: ``runtime.context``.

        Raises:
            plait.NodeError: a node failed; the original is its cause.
            plait.InterruptError: an answer is to nothing that is open.
        """
        merged = ensure_config(config)
        thread_id = merged[CONF].get("thread_id")
        call = _Call(merged, context)
        if isinstance(input, Command):
            if input.update is not None or input.goto:
                raise unsupported("Command(update=...) or Command(goto=...) as input to branches")
            result = await self.flow.resume(
                str(thread_id), await self._answers(thread_id, input), call
            )
        elif input is None:
            result = await self.flow.resume(str(thread_id), None, call)
        else:
            thread_id = str(uuid4()) if thread_id is None else str(thread_id)
            result = await self.flow.run(input, thread_id, call)
        if not result.interrupts:
            return result.state
        asked = [Interrupt(each.value, each.id) for each in result.interrupts]
        state = result.state if isinstance(result.state, dict) else {}
        return {**state, INTERRUPT: asked}

    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: ContextT | None = None,
    ) -> Any:
        """As :meth:`ainvoke`, for synchronous callers."""
        return _edge.run(self.ainvoke, input, config, context=context)

    async def _answers(self, thread_id: Any, command: Command[Any]) -> dict[str, Any]:
        snapshot = await self.flow.state(str(thread_id))
        waiting = [each.id for each in snapshot.interrupts]
        resume: Any = command.resume
        if isinstance(resume, dict) and resume and all(key in waiting for key in resume):
            return resume
        if len(waiting) > 1:
            raise RuntimeError(
                "When there are multiple pending interrupts, you must specify the interrupt id "
                f"when resuming: {', '.join(waiting)}"
            )
        return dict.fromkeys(waiting, resume)

    def __getattr__(self, name: str) -> Any:
        from plait_adapters.langgraph.pregel.main import Pregel

        if not name.startswith("_") and hasattr(Pregel, name):
            raise unsupported(f"{name!r} of compile(mode='branches'), other than through .flow,")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class _Call:
    """What the caller gave, as the context of Plait's run."""

    def __init__(self, config: dict[str, Any], context: Any) -> None:
        self.config = config
        self.context = context


class _BranchTask:
    """In place of a task: what a node on a branch may ask of its call."""

    def __init__(self, graph: BranchGraph[Any, Any, Any, Any], name: str, ctx: Any) -> None:
        self.name = name
        self.ctx = ctx
        call = ctx.context if ctx is not None else None
        self._outer: dict[str, Any] = call.config if isinstance(call, _Call) else ensure_config()
        self.node_error: NodeError | None = None
        if ctx is not None and ctx.error is not None:
            cause = ctx.error.__cause__ or ctx.error
            self.node_error = NodeError(getattr(ctx.error, "node", name), cause)
        self.runtime: Runtime[Any] = Runtime(
            context=call.context if isinstance(call, _Call) else None,
            store=graph._store,
            stream_writer=self._write,
            execution_info=None
            if ctx is None
            else ExecutionInfo(
                checkpoint_id="",
                checkpoint_ns=f"{name}{NS_END}{ctx.idempotency_key}",
                task_id=ctx.idempotency_key,
                thread_id=ctx.thread_id,
                node_attempt=ctx.attempt,
            ),
        )

    def _write(self, value: Any) -> None:
        if self.ctx is not None:
            self.ctx.emit(value)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of what the node calls."""
        outer = self._outer
        info = self.runtime.execution_info
        namespace = self.name if info is None else info.checkpoint_ns
        conf = {
            **outer[CONF],
            CONFIG_KEY_TASK: self,
            CONFIG_KEY_RUNTIME: self.runtime,
            CONFIG_KEY_CHECKPOINT_NS: namespace,
        }
        metadata = {**outer["metadata"], "langgraph_node": self.name}
        return {**outer, "metadata": metadata, "run_name": self.name, CONF: conf}

    def ask(self, value: Any, accept: Callable[[Any], Any], schema: Any) -> Any:
        """Ask somebody outside the run: parks the branch."""
        if self.ctx is None:
            raise RuntimeError("a condition cannot interrupt a run: ask in a node")
        return accept(self.ctx.interrupt(value))


# -- translating ----------------------------------------------------------------------------------


def _translate(
    builder: StateGraph[Any, Any, Any, Any], owner: BranchGraph[Any, Any, Any, Any]
) -> plait.Graph[Any]:
    """The same graph in Plait's words."""
    _refuse_what_is_missing(builder)
    graph: plait.Graph[Any] = plait.Graph(builder.state_schema, name=owner.name)
    for name, spec in builder.nodes.items():
        graph.add_node(
            name,
            _node(owner, name, spec),
            retry=_retry(spec.retry_policy),
            timeout=None
            if spec.timeout is None
            else cast("float | None", spec.timeout.run_timeout),
            on_error=spec.error_handler_node or "raise",
            targets=tuple(spec.ends or ()) or None if _may_command(spec) else (),
        )
    for name, (join, fork) in builder.sync_points.items():
        graph.add_sync_point(name, join, fork=fork)
    for start, end in builder.edges_in_order:
        graph.add_edge(start, end)
    for starts, end in builder.waiting_edges_in_order:
        barrier = f"join:{'+'.join(starts)}:{end}"
        graph.add_sync_point(barrier)
        for start in starts:
            graph.add_edge(start, barrier)
        graph.add_edge(barrier, end)
    leads_on = {start for start, _ in builder.edges}
    leads_on |= {start for starts, _ in builder.waiting_edges for start in starts}
    leads_on |= {start for start, branches in builder.branches.items() if branches}
    for name, spec in builder.nodes.items():
        if name not in leads_on and not _may_command(spec):
            graph.add_edge(name, END)  # where nothing follows, a branch ends
    for start, branches in builder.branches.items():
        for branch in branches.values():
            ends = None if branch.ends is None else list(dict.fromkeys(branch.ends.values()))
            graph.add_conditional_edges(start, _router(owner, start, branch), ends)
    return graph


def _refuse_what_is_missing(builder: StateGraph[Any, Any, Any, Any]) -> None:
    where = "in compile(mode='branches')"
    for name, channel in builder.channels.items():
        if type(channel) not in (LastValue, BinaryOperatorAggregate):
            raise unsupported(f"the channel {name!r}, a {type(channel).__name__}, {where}")
    for name in builder.managed:
        raise unsupported(f"the managed value {name!r} {where}")
    for schema in (builder.input_schema, builder.output_schema):
        if schema is not builder.state_schema:
            raise unsupported(f"an input or output schema of its own {where}")
    for name, spec in builder.nodes.items():
        if spec.defer:
            raise unsupported(f"add_node({name!r}, defer=True) {where}; a sync point does that,")
        if spec.cache_policy is not None:
            raise unsupported(f"add_node({name!r}, cache_policy=...) {where}")
        if spec.timeout is not None and spec.timeout.idle_timeout is not None:
            raise unsupported(
                f"add_node({name!r}, timeout=TimeoutPolicy(idle_timeout=...)) {where}"
            )
        if not isinstance(spec.retry_policy, RetryPolicy) and len(spec.retry_policy or ()) > 1:
            raise unsupported(f"add_node({name!r}, retry_policy=[several]) {where}")


def _retry(policy: Any) -> plait.Retry | None:
    if policy is None:
        return None
    if not isinstance(policy, RetryPolicy):
        return _retry(policy[0]) if policy else None
    when: Any = policy.retry_on
    return plait.Retry(
        attempts=policy.max_attempts,
        initial=policy.initial_interval,
        factor=policy.backoff_factor,
        maximum=policy.max_interval,
        jitter=policy.jitter,
        on=tuple(when) if isinstance(when, Sequence) else when,
    )


def _may_command(spec: StateNodeSpec[Any, Any]) -> bool:
    """Whether a node's commands may lead somewhere: only its code knows, unless it says so."""
    if spec.ends:
        return True
    function = getattr(spec.runnable, "function", None)
    code = getattr(function, "__code__", None)
    return (
        code is None
        or "goto" in code.co_names
        or any(isinstance(constant, tuple) and "goto" in constant for constant in code.co_consts)
    )


def _node(
    owner: BranchGraph[Any, Any, Any, Any], name: str, spec: StateNodeSpec[Any, Any]
) -> Callable[[Any, Any], Any]:
    async def call(state: Any, ctx: Any) -> Any:
        task = _BranchTask(owner, name, ctx)
        return _output(owner.builder, name, await _call(task, spec.runnable, state))

    return call


def _router(
    owner: BranchGraph[Any, Any, Any, Any], name: str, branch: BranchSpec
) -> Callable[[Any], Any]:
    async def route(state: Any) -> Any:
        chosen = await _call(_BranchTask(owner, name, None), branch.path, state)
        ends = branch.ends
        return [
            each if not ends or isinstance(each, Send) else ends[each]
            for each in (chosen if isinstance(chosen, (list, tuple)) else (chosen,))
        ]

    async def translated(state: Any) -> Any:
        return [_target(each) for each in await route(state)]

    # What it makes, Plait reads off the user's function.
    function = getattr(branch.path, "function", None)
    return translated if function is None else functools.wraps(function)(translated)


async def _call(task: _BranchTask, bound: Any, given: Any) -> Any:
    """Call what a user gave for a node or a condition."""
    context = copy_context()
    context.run(current_task.set, task)  # type: ignore[arg-type]
    if isinstance(bound, Callee):
        args, kwargs = bound.arguments(task, given)  # type: ignore[arg-type]
        if bound.is_async:
            return await in_context(
                as_coroutine(context.run(bound.function, *args, **kwargs)), context
            )
        return await call_in_thread(context, bound.function, args, kwargs)
    config = {**task.config, CONF: {**task.config[CONF]}}
    del config[CONF][CONFIG_KEY_TASK]
    output = await in_context(as_coroutine(bound.ainvoke(given, config)), context)
    if is_graph(bound) and isinstance(output, dict) and INTERRUPT in output:
        raise unsupported("an interrupt in a nested graph in compile(mode='branches')")
    return output


def _target(target: Any) -> Any:
    return plait.Send(target.node, target.arg) if isinstance(target, Send) else target


def _output(builder: StateGraph[Any, Any, Any, Any], name: str, output: Any) -> Any:
    """What a node returned, in Plait's words."""
    from .state import StateWriter

    if output is None:
        return None
    if isinstance(output, (list, tuple)) and any(isinstance(each, Command) for each in output):
        raise unsupported(f"several commands from one node ({name!r}) in compile(mode='branches')")
    updates = dict(StateWriter([*builder.channels], None).updates_of(output))
    updates = {key: _write(value) for key, value in updates.items()}
    if not isinstance(output, Command):
        return updates
    if output.graph is not None:
        raise unsupported(f"Command(graph=...) from {name!r} in compile(mode='branches')")
    goto: Any = output.goto
    targets = (goto,) if isinstance(goto, (str, Send)) else goto
    return plait.Command(update=updates, goto=[_target(each) for each in targets])


def _write(value: Any) -> Any:
    from plait_adapters.langgraph.channels._concrete import overwritten

    is_overwrite, new = overwritten(value)
    return plait.Overwrite(new) if is_overwrite else value
