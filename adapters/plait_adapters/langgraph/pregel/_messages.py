"""Streams of messages: a handler of langchain-core's callbacks that hears models and nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from plait_adapters.langgraph._internal._config import user_tags
from plait_adapters.langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    NS_SEP,
    PUSH,
    TAG_HIDDEN,
    TAG_NOSTREAM,
)
from plait_adapters.langgraph._internal._outlet import Chunk
from plait_adapters.langgraph._internal._tracing import handlers_of
from plait_adapters.langgraph.types import Command

if TYPE_CHECKING:

    class _Handler: ...

    class _StreamingCallbackHandler: ...

    class _V2StreamingCallbackHandler: ...

else:
    try:
        from langchain_core.callbacks import BaseCallbackHandler as _Handler
        from langchain_core.tracers._streaming import _StreamingCallbackHandler
    except ImportError:
        _Handler = object
        _StreamingCallbackHandler = object
    try:
        from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
    except ImportError:  # of langchain-core before there were streams of blocks
        _V2StreamingCallbackHandler = object

_Meta = tuple[tuple[str, ...], dict[str, Any]]


def graph_namespace(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The namespace of the graph of the node that metadata are of.

    A task that another one calls is of the graph of the node in which that was called, and a
    handler of errors of that of the node which failed.
    """
    namespace = tuple(metadata["langgraph_checkpoint_ns"].split(NS_SEP))
    path = metadata.get("langgraph_path", ())
    drop = 1
    while len(path) == 4 and path[0] == PUSH and path[-1] is True:
        drop += 1
        path = path[1]
    if path[-2:] == ("node_error_handler", False):
        drop += 1
    return namespace[:-drop]


def _values(value: Any) -> Iterator[Any]:
    """The fields of a state or of an update of it."""
    if isinstance(value, dict):
        yield from value.values()
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield getattr(value, name)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield getattr(value, field.name)


class StreamMessagesHandler(_Handler, _StreamingCallbackHandler):
    """Puts messages into a stream: tokens of models as they come, and messages that nodes return.

    Each message once: what a model has streamed, its node does not tell again.

    Args:
        put: takes chunks for the stream.
        subgraphs: those of nested graphs, too.
        parent_ns: the namespace of the graph whose stream it is.
    """

    run_inline = True

    def __init__(
        self,
        put: Callable[[Chunk], None],
        subgraphs: bool,
        *,
        parent_ns: tuple[str, ...] | None = None,
    ) -> None:
        self.stream = put
        self.subgraphs = subgraphs
        self.parent_ns = parent_ns
        self.metadata: dict[UUID, _Meta] = {}
        self.seen: set[Any] = set()

    def emit(self, meta: _Meta, message: Any, *, once: bool = False) -> None:
        """Tell a message; with ``once``, unless it has been told."""
        if once and message.id in self.seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        self.seen.add(message.id)
        self.stream((meta[0], "messages", (message, meta[1])))

    def hears(self, namespace: tuple[str, ...]) -> bool:
        """Whether the stream is of the graph with a namespace."""
        return self.subgraphs or not namespace or namespace == self.parent_ns

    def _emit_all(self, meta: _Meta, value: Any) -> None:
        message = sys.modules["langchain_core.messages"].BaseMessage
        groups: Any = (value,) if isinstance(value, message) or _is_many(value) else _values(value)
        for group in groups:
            for each in group if _is_many(group) else (group,):
                if isinstance(each, message):
                    self._emit_returned(meta, each)

    def _emit_returned(self, meta: _Meta, message: Any) -> None:
        """Tell a message that a node returned."""
        self.emit(meta, message, once=True)

    def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
        """Leave what a run gives as it is."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
        """Leave what a run gives as it is."""
        return output

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Note where a model is called."""
        if (
            not metadata
            or "langgraph_checkpoint_ns" not in metadata
            or TAG_NOSTREAM in (tags or ())
        ):
            return
        namespace = graph_namespace(metadata)
        if self.hears(namespace):
            own = user_tags(tags)
            if own is not None:
                metadata["tags"] = own
            self.metadata[run_id] = (namespace, metadata)

    def on_llm_new_token(self, token: str, *, chunk: Any = None, run_id: UUID, **_: Any) -> None:
        """Tell a token."""
        meta = self.metadata.get(run_id)
        outputs = sys.modules["langchain_core.outputs"]
        if meta is not None and isinstance(chunk, outputs.ChatGenerationChunk):
            self.emit(meta, chunk.message)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell the message of a model that did not stream."""
        meta = self.metadata.pop(run_id, None)
        outputs = sys.modules["langchain_core.outputs"]
        if meta is not None and response.generations and response.generations[0]:
            generation = response.generations[0][0]
            if isinstance(generation, outputs.ChatGeneration):
                self.emit(meta, generation.message, once=True)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Forget a model that failed."""
        self.metadata.pop(run_id, None)

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note where a node begins, and which messages it was given."""
        if not metadata or kwargs.get("name") != metadata.get("langgraph_node"):
            return
        if "langgraph_checkpoint_ns" not in metadata or TAG_HIDDEN in (tags or ()):
            return
        namespace = graph_namespace(metadata)
        if not self.hears(namespace):
            return
        self.metadata[run_id] = (namespace, metadata)
        message = sys.modules["langchain_core.messages"].BaseMessage
        for value in _values(inputs):
            for each in value if _is_many(value) else (value,):
                if isinstance(each, message) and each.id is not None:
                    self.seen.add(each.id)

    def on_chain_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell the messages that a node returned."""
        meta = self.metadata.pop(run_id, None)
        if meta is None:
            return
        if isinstance(response, Command):
            self._emit_all(meta, response.update)
        elif _is_many(response) and any(isinstance(each, Command) for each in response):
            for each in response:
                self._emit_all(meta, each.update if isinstance(each, Command) else each)
        else:
            self._emit_all(meta, response)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Forget a node that failed."""
        self.metadata.pop(run_id, None)


class StreamMessagesHandlerV2(StreamMessagesHandler, _V2StreamingCallbackHandler):
    """As :class:`StreamMessagesHandler`, with messages in blocks, of text, reasoning or a tool
    call, instead of tokens. What tools return is left out: the stream of tools has it.

    That it is of langchain-core's class is what has models stream so.
    """

    def __init__(
        self,
        put: Callable[[Chunk], None],
        subgraphs: bool,
        *,
        parent_ns: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(put, subgraphs, parent_ns=parent_ns)
        self._streamed: set[UUID] = set()

    def on_llm_new_token(self, token: str, *, chunk: Any = None, run_id: UUID, **_: Any) -> None:
        """Leave tokens out, which a model tells whose ``stream`` a node calls."""

    def on_stream_event(self, event: dict[str, Any], *, run_id: UUID, **_: Any) -> None:
        """Tell that a message begins or ends, or a part of a block of it."""
        meta = self.metadata.get(run_id)
        if meta is None:
            return
        if event.get("event") == "message-start":
            self._streamed.add(run_id)
            if event.get("message_id"):
                self.seen.add(event["message_id"])
        namespace, metadata = meta
        self.stream((namespace, "messages", (event, {**metadata, "run_id": str(run_id)})))

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell the message of a model that did not stream; note that of one that did."""
        if run_id not in self._streamed:
            super().on_llm_end(response, run_id=run_id)
            return
        self._forget(run_id)
        if response.generations and response.generations[0]:
            message = getattr(response.generations[0][0], "message", None)
            if message is not None:
                message.id = message.id or str(uuid4())
                self.seen.add(message.id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Forget a model that failed."""
        self._forget(run_id)

    def _forget(self, run_id: UUID) -> None:
        self._streamed.discard(run_id)
        self.metadata.pop(run_id, None)

    def _emit_returned(self, meta: _Meta, message: Any) -> None:
        if not isinstance(message, sys.modules["langchain_core.messages"].ToolMessage):
            super()._emit_returned(meta, message)


def _is_many(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def push(message: Any, config: Mapping[str, Any]) -> None:
    """Tell a message in the streams that listen to the node in which ``config`` holds."""
    metadata = config["metadata"]
    namespace = tuple(config[CONF][CONFIG_KEY_CHECKPOINT_NS].split(NS_SEP))[:-1]
    for handler in handlers_of(config.get("callbacks")):
        if isinstance(handler, StreamMessagesHandler) and handler.hears(namespace):
            handler.emit((namespace, metadata), message)
