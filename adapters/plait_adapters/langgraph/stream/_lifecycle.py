"""Nested graphs, found by the tasks that call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NotRequired

from typing_extensions import TypedDict

from plait_adapters.langgraph._internal._constants import NS_END
from plait_adapters.langgraph._internal._edge import finish
from plait_adapters.langgraph.errors import GraphDrained, GraphInterrupt

from ._types import ProtocolEvent, StreamTransformer
from .run_stream import AsyncSubgraphRunStream, SubgraphRunStream, SubgraphStatus
from .stream_channel import StreamChannel

if TYPE_CHECKING:
    from ._mux import StreamMux

Namespace = tuple[str, ...]


class LifecycleCause(TypedDict):
    """What a model did that had an agent called."""

    type: Literal["toolCall"]
    tool_call_id: str


class LifecyclePayload(TypedDict, total=False):
    """That a nested graph begins or ends."""

    event: SubgraphStatus
    namespace: list[str]
    graph_name: NotRequired[str]
    """The node that calls it; or the agent's name, if it is one."""
    trigger_call_id: NotRequired[str]
    """The id of the task that calls it."""
    cause: NotRequired[LifecycleCause]
    """The tool call of a model that had it called; of agents only."""
    error: NotRequired[str]
    """What it failed with."""


class _TasksLifecycleBase(StreamTransformer):
    """Finds out from tasks when nested graphs begin and end.

    A nested graph begins with the first task that is told in its namespace, ``node:task``; it ends
    when that task of the graph around it has. Subclasses say which ones they follow, and what they
    do then. The tasks themselves are kept out of the log.
    """

    required_stream_modes = ("tasks",)

    def __init__(self, scope: Namespace = ()) -> None:
        super().__init__(scope)
        self._seen: set[Namespace] = set()
        self._open: dict[Namespace, str] = {}
        """The task that calls a graph which is under way."""
        self._tool_calls: dict[str, str] = {}
        """The tool call that a task carries out."""
        self._pending_cause: LifecycleCause | None = None
        """Of the graph that :meth:`_on_started` is told of."""

    def _should_track(self, ns: Namespace) -> bool:
        """Whether a nested graph is to be followed."""
        raise NotImplementedError

    def _on_started(
        self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None
    ) -> None:
        """A nested graph begins."""
        raise NotImplementedError

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        """A nested graph has ended."""
        raise NotImplementedError

    def process(self, event: ProtocolEvent) -> bool:
        """Follow the graphs that a task tells of."""
        if event["method"] != "tasks":
            return True
        for ended in self._follow(event):
            self._on_terminal(*ended)
        return False

    def _follow(
        self, event: ProtocolEvent
    ) -> Iterator[tuple[Namespace, SubgraphStatus, str | None]]:
        """Tell of graphs that begin with a task; gives those that end with it, and how."""
        namespace, task = tuple(event["params"]["namespace"]), event["params"]["data"]
        if "result" not in task:
            call = _tool_call(task.get("input"))
            if call is not None:
                self._tool_calls[task.get("id")] = call
            self._begin(namespace, task)
            return
        self._tool_calls.pop(task.get("id"), None)
        for inner, caller in list(self._open.items()):
            if inner[:-1] == namespace and caller == task.get("id"):
                del self._open[inner]
                yield inner, *_end_of(task)

    def _begin(self, namespace: Namespace, task: Mapping[str, Any]) -> None:
        if namespace in self._seen or not self._should_track(namespace):
            return
        self._seen.add(namespace)
        node, has_task, found = namespace[-1].partition(NS_END)
        caller = found if has_task else None
        agent = (task.get("metadata") or {}).get("lc_agent_name")
        self._pending_cause = None
        if agent is not None and caller in self._tool_calls:
            self._pending_cause = {"type": "toolCall", "tool_call_id": self._tool_calls[caller]}
        self._on_started(namespace, agent if agent is not None else node or None, caller)
        if caller is not None:
            self._open[namespace] = caller

    def _leave(self) -> list[Namespace]:
        """The graphs that are under way, which are followed no more."""
        left = list(self._open)
        self._open.clear()
        return left

    def finalize(self) -> None:
        """What is under way at the end of the run has ended with it."""
        for namespace in self._leave():
            self._on_terminal(namespace, "completed", None)

    def fail(self, err: BaseException) -> None:
        """What is under way has ended as the run has."""
        for namespace in self._leave():
            self._on_terminal(namespace, *_end_by(err))


def _tool_call(given: Any) -> str | None:
    """The id of the tool call that a task is given: alone with its state, or in a list."""
    if isinstance(given, dict):
        given = [given.get("tool_call")]
    if isinstance(given, list):
        for call in given:
            found = call.get("id") if isinstance(call, dict) else None
            if isinstance(found, str):
                return found
    return None


def _end_of(task: Mapping[str, Any]) -> tuple[SubgraphStatus, str | None]:
    """How a task has ended."""
    if task.get("interrupts"):
        return "interrupted", None
    error = task.get("error")
    return ("failed", str(error)) if error else ("completed", None)


def _end_by(error: BaseException) -> tuple[SubgraphStatus, str | None]:
    """How something ends that an error ends."""
    if isinstance(error, GraphDrained):
        return "drained", None
    if isinstance(error, GraphInterrupt):
        return "interrupted", None
    return "failed", str(error)


class LifecycleTransformer(_TasksLifecycleBase):
    """``run.lifecycle``: nested graphs, at any depth, as they begin and end.

    Every item (:class:`LifecyclePayload`) is an event of the log, too: ``lifecycle``.
    """

    _native = True

    def __init__(self, scope: Namespace = ()) -> None:
        super().__init__(scope)
        self._channel: StreamChannel[LifecyclePayload] = StreamChannel("lifecycle")

    def init(self) -> dict[str, Any]:
        """The channel."""
        return {"lifecycle": self._channel}

    def _should_track(self, ns: Namespace) -> bool:
        depth = len(self.scope)
        return len(ns) > depth and ns[:depth] == self.scope

    def _on_started(
        self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None
    ) -> None:
        if trigger_call_id is None:  # nothing would say when it ends
            return
        told: LifecyclePayload = {"event": "started", "namespace": list(ns)}
        if graph_name:
            told["graph_name"] = graph_name
        told["trigger_call_id"] = trigger_call_id
        if self._pending_cause is not None:
            told["cause"] = self._pending_cause
        self._channel.push(told)

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        told: LifecyclePayload = {"event": status, "namespace": list(ns)}
        if error is not None:
            told["error"] = error
        self._channel.push(told)


class SubgraphTransformer(_TasksLifecycleBase):
    """``run.subgraphs``: the graphs nested in this one directly, each with all that ``run`` has.

    Each has transformers of its own, made as those of the run are. What they make is read before
    the run goes on: in the loop over ``run.subgraphs``.
    """

    _native = True
    supports_sync = True

    def __init__(self, scope: Namespace = ()) -> None:
        super().__init__(scope)
        self._log: StreamChannel[SubgraphRunStream | AsyncSubgraphRunStream] = StreamChannel()
        self._handles: dict[Namespace, SubgraphRunStream | AsyncSubgraphRunStream] = {}
        """Of the graphs that are under way."""
        self._mux: StreamMux | None = None

    def init(self) -> dict[str, Any]:
        """The channel."""
        return {"subgraphs": self._log}

    def _on_register(self, mux: Any) -> None:
        self._mux = mux

    def _should_track(self, ns: Namespace) -> bool:
        return bool(ns) and ns[:-1] == self.scope

    def _on_started(
        self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None
    ) -> None:
        if self._mux is None or self._mux._factories is None:
            return
        inner = self._mux._make_child(ns)
        kind = AsyncSubgraphRunStream if inner.is_async else SubgraphRunStream
        handle = kind(inner, path=ns, graph_name=graph_name, trigger_call_id=trigger_call_id)
        self._handles[ns] = handle
        self._log.push(handle)

    async def _conclude(
        self,
        ns: Namespace,
        status: SubgraphStatus,
        error: str | None,
        cause: BaseException | None = None,
    ) -> None:
        """End a nested graph's part of the run; with ``cause``, as the whole run has failed."""
        handle = self._handles.pop(ns, None)
        if handle is None or not handle._conclude(status, error):
            return
        if cause is None and status == "failed":
            cause = RuntimeError(error or "the nested graph failed")
        if cause is None:
            await handle._mux.end()
        else:
            await handle._mux.end_failed(cause)

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        finish(self._conclude(ns, status, error))

    async def _pass(self, event: ProtocolEvent) -> bool:
        keep = event["method"] != "tasks"
        if not keep:
            for ended in self._follow(event):
                await self._conclude(*ended)
        place = tuple(event["params"]["namespace"][: len(self.scope) + 1])
        handle = self._handles.get(place)
        if handle is not None and not handle._is_over:
            handle._observe(event)
            await handle._mux.dispatch(event)
        return keep

    def process(self, event: ProtocolEvent) -> bool:
        """Give an event to the nested graph that it is of."""
        return finish(self._pass(event))

    async def aprocess(self, event: ProtocolEvent) -> bool:
        """As :meth:`process`, awaited."""
        return await self._pass(event)

    async def _end(self) -> None:
        error: Exception | None = None
        self._open.clear()
        for namespace in list(self._handles):
            try:
                await self._conclude(namespace, "completed", None)
            except Exception as raised:
                error = error or raised
        if error is not None:
            raise error

    async def _fail(self, error: BaseException) -> None:
        self._open.clear()
        for namespace in list(self._handles):
            await self._conclude(namespace, *_end_by(error), error)

    def finalize(self) -> None:
        """What is under way at the end of the run has ended with it."""
        finish(self._end())

    async def afinalize(self) -> None:
        """As :meth:`finalize`, awaited."""
        await self._end()

    def fail(self, err: BaseException) -> None:
        """What is under way has ended as the run has."""
        finish(self._fail(err))

    async def afail(self, err: BaseException) -> None:
        """As :meth:`fail`, awaited."""
        await self._fail(err)
