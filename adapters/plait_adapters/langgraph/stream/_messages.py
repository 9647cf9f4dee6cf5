"""Messages of models, each a stream of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._internal._langchain import loaded, need

from ._types import ProtocolEvent, StreamTransformer
from .stream_channel import StreamChannel

if TYPE_CHECKING:
    from langchain_core.language_models.chat_model_stream import ChatModelStream


class MessagesTransformer(StreamTransformer):
    """``run.messages``: one stream for each message of a model, with its text, reasoning, tool
    calls and usage (``ChatModelStream`` of langchain-core).

    It begins with the message's first token. A message that a node returns without a model's having
    streamed it is a stream that is complete already. What tools return is not among them, nor what
    nested graphs do.
    """

    _native = True
    required_stream_modes = ("messages",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._log: StreamChannel[ChatModelStream] = StreamChannel()
        self._by_run: dict[str, ChatModelStream] = {}
        """Messages that are under way, by the id of the model's run."""
        self._ignored_runs: set[str] = set()
        self._pump_fn: Callable[[], bool] | None = None
        self._apump_fn: Callable[[], Awaitable[bool]] | None = None

    def init(self) -> dict[str, Any]:
        """The channel."""
        return {"messages": self._log}

    def _bind_pump(self, fn: Callable[[], bool]) -> None:
        self._pump_fn = fn

    def _bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        self._apump_fn = fn

    def process(self, event: ProtocolEvent) -> bool:
        """Give a part of a message to the stream that it is of."""
        params = event["params"]
        if event["method"] != "messages" or tuple(params["namespace"]) != self.scope:
            return True
        told, metadata = params["data"]
        node = metadata.get("langgraph_node")
        if isinstance(told, dict):
            if "event" in told:
                self._continue(told, str(metadata.get("run_id", "")), node)
        elif _is_whole(told):
            bridge = need("langchain_core.language_models._compat_bridge", "run.messages")
            stream = self._begin(node, told.id)
            for each in bridge.message_to_events(told, message_id=told.id):
                stream.dispatch(each)
            self._log.push(stream)
        return True

    def _continue(self, told: Mapping[str, Any], run_id: str, node: str | None) -> None:
        kind = told["event"]
        if kind == "message-start":
            if told.get("role") == "tool":
                self._ignored_runs.add(run_id)
                return
            message = told.get("message_id")
            stream = self._begin(node, None if message is None else str(message))
            self._by_run[run_id] = stream
            self._log.push(stream)
            stream.dispatch(told)
        elif run_id in self._by_run:
            self._by_run[run_id].dispatch(told)
        if kind == "message-finish":
            self._by_run.pop(run_id, None)
            self._ignored_runs.discard(run_id)

    def _begin(self, node: str | None, message_id: str | None) -> Any:
        streams = need("langchain_core.language_models.chat_model_stream", "run.messages")
        facts: dict[str, Any] = {"namespace": [], "node": node, "message_id": message_id}
        if self._pump_fn is not None:
            stream = streams.ChatModelStream(**facts)
            stream.set_request_more(self._pump_fn)
            return stream
        stream = streams.AsyncChatModelStream(**facts)
        if self._apump_fn is not None:
            stream.set_arequest_more(self._apump_fn)
        return stream

    def finalize(self) -> None:
        """Forget messages that never ended."""
        self._by_run.clear()
        self._ignored_runs.clear()

    def fail(self, err: BaseException) -> None:
        """Messages that are under way fail as the run has."""
        for stream in self._by_run.values():
            stream.fail(err)
        self.finalize()


def _is_whole(told: Any) -> bool:
    """Whether it is a message, and neither a token of one nor what a tool returned."""
    messages = loaded("langchain_core.messages")
    return (
        messages is not None
        and isinstance(told, messages.BaseMessage)
        and not isinstance(told, (messages.AIMessageChunk, messages.ToolMessage))
    )
