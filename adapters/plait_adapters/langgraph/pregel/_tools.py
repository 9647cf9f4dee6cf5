"""The stream of tools: a handler of langchain-core's callbacks that hears tools begin and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any
from uuid import UUID

from plait_adapters.langgraph._internal._constants import TAG_NOSTREAM
from plait_adapters.langgraph.errors import GraphDrained, GraphInterrupt
from plait_adapters.langgraph.pregel._messages import graph_namespace

if TYPE_CHECKING:
    _Handler: Any = object
else:
    try:
        from langchain_core.callbacks import BaseCallbackHandler as _Handler
    except ImportError:
        _Handler = object

_Writer = Callable[[Any], None]

tool_call_writer: ContextVar[_Writer | None] = ContextVar("tool_call_writer", default=None)
"""Sends a part of the output of the tool that runs here; None if nobody reads it."""


class StreamToolCallHandler(_Handler):  # type: ignore[misc]
    """Puts what tools do into a stream: that they begin, parts of their output, and how they end.

    Args:
        put: takes chunks for the stream.
        subgraphs: tools of nested graphs, too.
        parent_ns: the namespace of the graph whose stream it is.
    """

    run_inline = True

    def __init__(
        self,
        put: Callable[[Any], None],
        subgraphs: bool,
        *,
        parent_ns: tuple[str, ...] | None = None,
    ) -> None:
        self.stream = put
        self.subgraphs = subgraphs
        self.parent_ns = parent_ns
        self._running: dict[UUID, tuple[tuple[str, ...], str, Token[_Writer | None]]] = {}

    def _place(self, metadata: Mapping[str, Any] | None, tags: Any) -> tuple[str, ...] | None:
        """The namespace to tell a tool in; None if it is not told."""
        if not metadata or TAG_NOSTREAM in (tags or ()):
            return None
        inside = bool(metadata.get("langgraph_checkpoint_ns"))
        namespace = graph_namespace(metadata) if inside else ()
        heard = self.subgraphs or not namespace or namespace == self.parent_ns
        return namespace if heard else None

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        """Tell that a tool begins, and let it send parts of its output."""
        namespace = self._place(metadata, tags)
        if namespace is None:
            return
        call = keywords.get("tool_call_id") or str(run_id)

        def write(delta: Any) -> None:
            self._tell("tool-output-delta", namespace, call, delta=delta)

        self._running[run_id] = namespace, call, tool_call_writer.set(write)
        name = (serialized or {}).get("name") or keywords.get("name") or ""
        given = {} if inputs is None else {"input": inputs}
        self._tell("tool-started", namespace, call, tool_name=name, **given)

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """Tell what a tool gave."""
        if ended := self._end(run_id):
            self._tell("tool-finished", *ended, output=output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Tell what went wrong; a tool that asks a person or that is drained begins again."""
        if (ended := self._end(run_id)) and not isinstance(error, (GraphInterrupt, GraphDrained)):
            self._tell("tool-error", *ended, message=str(error))

    def _end(self, run_id: UUID) -> tuple[tuple[str, ...], str] | None:
        running = self._running.pop(run_id, None)
        if running is None:
            return None
        namespace, call, token = running
        try:
            tool_call_writer.reset(token)
        except ValueError:  # it ends in another context than it began in, which ends with it
            pass
        return namespace, call

    def _tell(self, event: str, namespace: tuple[str, ...], call: str, **facts: Any) -> None:
        self.stream((namespace, "tools", {"event": event, "tool_call_id": call, **facts}))
