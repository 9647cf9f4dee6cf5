"""Calls of tools, each a stream of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from langchain_core.messages import ToolMessage

from plait_adapters.langgraph.stream import ProtocolEvent, StreamChannel, StreamTransformer


class ToolCallStream:
    """One call of a tool. Iterating over it gives the parts of its output that the tool tells.

    Args:
        tool_call_id: the id of the call.
        tool_name: the tool's name.
        input: its arguments, if they are known.
    """

    def __init__(
        self, tool_call_id: str, tool_name: str, input: dict[str, Any] | None = None
    ) -> None:
        self.tool_call_id = tool_call_id
        self.tool_name = tool_name
        self.input = input
        self.output: Any = None
        """What it gave; None until it has ended, or if it failed."""
        self.error: str | None = None
        """What it failed with."""
        self.completed = False
        """Whether it has ended, either way."""
        self._output_deltas: StreamChannel[Any] = StreamChannel()

    @property
    def output_deltas(self) -> StreamChannel[Any]:
        """The parts of its output (``ToolRuntime.emit_output_delta``); ends with the call."""
        return self._output_deltas

    def _end(self, output: Any = None, error: str | None = None) -> None:
        self.output, self.error, self.completed = output, error, True
        self._output_deltas.close()

    def __iter__(self) -> Iterator[Any]:
        """As of ``output_deltas``."""
        return iter(self._output_deltas)

    def __aiter__(self) -> AsyncIterator[Any]:
        """As of ``output_deltas``."""
        return aiter(self._output_deltas)

    def __repr__(self) -> str:
        status = (
            "running" if not self.completed else "completed" if self.error is None else "failed"
        )
        return (
            f"ToolCallStream(tool_call_id={self.tool_call_id!r}, tool_name={self.tool_name!r}, "
            f"status={status})"
        )


class ToolCallTransformer(StreamTransformer):
    """``run.tool_calls``: the calls of tools in the graph itself, each a :class:`ToolCallStream`.

    Give it to ``compile(transformers=[ToolCallTransformer])`` or to ``stream_events``.
    """

    _native = True
    required_stream_modes = ("tools",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._log: StreamChannel[ToolCallStream] = StreamChannel()
        self._active: dict[str, ToolCallStream] = {}
        self._pump: Callable[[], Any] | None = None
        self._is_async = False

    def init(self) -> dict[str, Any]:
        """The channel."""
        return {"tool_calls": self._log}

    def _bind_pump(self, fn: Callable[[], bool]) -> None:
        self._pump, self._is_async = fn, False

    def _bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        self._pump, self._is_async = fn, True

    def process(self, event: ProtocolEvent) -> bool:
        """Follow a call."""
        params = event["params"]
        if event["method"] != "tools" or tuple(params["namespace"]) != self.scope:
            return True
        told = params["data"]
        call, kind = told.get("tool_call_id"), told.get("event")
        if call is None:
            return True
        if kind == "tool-started":
            stream = ToolCallStream(call, told.get("tool_name", ""), told.get("input"))
            stream._output_deltas._bind(is_async=self._is_async)
            stream._output_deltas._request_more = self._pump
            self._active[call] = stream
            self._log.push(stream)
        elif call in self._active:
            if kind == "tool-output-delta":
                self._active[call]._output_deltas.push(told.get("delta"))
            elif kind == "tool-finished":
                self._active.pop(call)._end(_content(told.get("output")))
            elif kind == "tool-error":
                self._active.pop(call)._end(error=told.get("message", ""))
        return True

    def finalize(self) -> None:
        """What is under way at the end of the run has ended with it."""
        for stream in self._active.values():
            stream._end()
        self._active.clear()

    def fail(self, err: BaseException) -> None:
        """What is under way has failed as the run has."""
        for stream in self._active.values():
            stream._end(error=str(err))
        self._active.clear()


def _content(output: Any) -> Any:
    """What a tool gave, out of the message that carries it; which may have been serialized."""
    if isinstance(output, ToolMessage):
        return output.content
    if isinstance(output, dict) and output.get("type") == "constructor":
        path, fields = output.get("id"), output.get("kwargs")
        if isinstance(path, list) and path[-1:] == ["ToolMessage"] and isinstance(fields, dict):
            return fields.get("content")
    return output
