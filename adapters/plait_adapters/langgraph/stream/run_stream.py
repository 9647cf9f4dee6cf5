"""A run as its readers see it: what is made of its events, carried forward as they read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from plait_adapters.langgraph._support import missing

from ._mux import StreamMux
from ._types import ProtocolEvent, event_of
from .stream_channel import StreamChannel

if TYPE_CHECKING:
    from langchain_core.language_models.chat_model_stream import (
        AsyncChatModelStream,
        ChatModelStream,
    )

    from ._lifecycle import LifecyclePayload

SubgraphStatus = Literal["started", "completed", "failed", "interrupted", "drained"]
"""How a nested graph is doing: it runs, or how it has ended."""


class _RunStream:
    """What both kinds of runs share."""

    if TYPE_CHECKING:
        # What some transformer makes; asking for one that was not given is an AttributeError.
        values: StreamChannel[Any]
        lifecycle: StreamChannel[LifecyclePayload]
        updates: StreamChannel[dict[str, Any]]
        custom: StreamChannel[Any]
        checkpoints: StreamChannel[dict[str, Any]]
        debug: StreamChannel[dict[str, Any]]
        tasks: StreamChannel[dict[str, Any]]

    def __init__(self, mux: StreamMux) -> None:
        self._mux = mux
        self.extensions: Mapping[str, Any] = MappingProxyType(mux.extensions)
        """All that the transformers make, by name."""
        self._exhausted = False
        self._failure: BaseException | None = None
        self._latest: Any = None
        self._interrupts: list[Any] = []
        self._scope = list(mux.scope)
        for name in mux.native_keys:
            setattr(self, name, mux.extensions[name])

    def __getattr__(self, name: str) -> Any:
        mux = vars(self).get("_mux")
        known = ", ".join(sorted(mux.native_keys)) if mux is not None else ""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}: no transformer of this run "
            f"makes it (registered projections: {known or 'none'})",
            name=name,
            obj=self,
        )

    def _observe(self, event: ProtocolEvent) -> None:
        """Note what an event says of the run's output."""
        params = event["params"]
        if event["method"] == "values" and params["namespace"] == self._scope:
            self._latest = params["data"]
            self._interrupts.extend(params.get("interrupts", ()))

    def _check(self) -> None:
        error = self._failure or self._mux._events._error
        if error is not None:
            raise error

    @property
    def _is_over(self) -> bool:
        return self._exhausted or self._mux._events._closed


class GraphRunStream(_RunStream):
    """A run that goes on as it is read: its log of events, its ``output``, or what transformers
    make of it, such as ``run.values`` and ``run.messages``.

    Everything is read once, and from the moment on that somebody begins to. At the end of a
    ``with`` block the run is stopped, if it has not ended.

    Args:
        graph_iter: the parts of the graph's stream (``version="v2"``).
        mux: shows them to the transformers.
        wire_pump: who reads what the transformers make carries this run forward; else the one that
            the mux has been given to.
    """

    if TYPE_CHECKING:
        messages: StreamChannel[ChatModelStream]
        subgraphs: StreamChannel[SubgraphRunStream]

    def __init__(
        self, graph_iter: Iterable[Any] | None, mux: StreamMux, *, wire_pump: bool = True
    ) -> None:
        super().__init__(mux)
        self._parts = None if graph_iter is None else iter(graph_iter)
        if wire_pump:
            mux.bind_pump(self._pump_next)

    def _pump_next(self) -> bool:
        """Take one part of the graph's stream; False if there is none."""
        if self._exhausted or self._parts is None:
            return False
        try:
            part = next(self._parts, None)
            if part is not None:
                event = event_of(part)
                self._observe(event)
                self._mux.push(event)
                return True
        except Exception as error:
            self._exhausted, self._failure = True, error
            self._mux.fail(error)
            return False
        self._exhausted = True
        with suppress(Exception):  # with which the channels end
            self._mux.close()
        return False

    def _drive(self) -> None:
        while self._pump_next():
            pass
        self._check()

    def abort(self) -> None:
        """Stop the run. What has been read, or waits to be, remains."""
        if self._exhausted:
            return
        self._exhausted = True
        parts, self._parts = self._parts, None
        try:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        finally:
            self._mux.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.abort()

    @property
    def output(self) -> Any:
        """The final state, after carrying the run to its end.

        Raises:
            BaseException: what the run failed with.
        """
        self._drive()
        return self._latest

    @property
    def interrupted(self) -> bool:
        """Whether the run waits for somebody, after carrying it to its end.

        Raises:
            BaseException: what the run failed with.
        """
        return bool(self.interrupts)

    @property
    def interrupts(self) -> list[Any]:
        """What the run asks, after carrying it to its end.

        Raises:
            BaseException: what the run failed with.
        """
        self._drive()
        return self._interrupts

    def __iter__(self) -> Iterator[ProtocolEvent]:
        """The log of events."""
        return iter(self._mux._events)

    def interleave(self, *names: str) -> Iterator[tuple[str, Any]]:
        """What several channels carry, in the order in which it came: pairs of name and item.

        The channels can be read by somebody else afterwards, or once this is left.

        Args:
            names: of what is in ``extensions``.

        Raises:
            KeyError: there is nothing of such a name.
            TypeError: it is no channel.
            RuntimeError: somebody reads it already.
        """
        channels: dict[str, StreamChannel[Any]] = {}
        try:
            for name in names:
                channel = self.extensions[name]
                if not isinstance(channel, StreamChannel):
                    raise TypeError(
                        f"interleave() requires StreamChannel projections, and {name!r} is a "
                        f"{type(channel).__name__}"
                    )
                channel._subscribe(is_async=False)
                channels[name] = channel
            while True:
                filled = [
                    (each._items[0][0], name) for name, each in channels.items() if each._items
                ]
                if filled:
                    name = min(filled)[1]
                    yield name, channels[name]._items.popleft()[1]
                    continue
                for channel in channels.values():
                    if channel._error is not None:
                        raise channel._error
                if all(channel._closed for channel in channels.values()):
                    return
                if not self._mux._request_more() and not any(
                    channel._items or channel._closed for channel in channels.values()
                ):
                    return
        finally:
            for channel in channels.values():
                channel._subscribed = False


class AsyncGraphRunStream(_RunStream):
    """As :class:`GraphRunStream`, on an event loop.

    Several tasks may read it at once. One of them carries the run forward, and wakes the others
    after each event; there is no task in the background. A reader that is cancelled while it does
    so takes the run with it.

    Args:
        graph_aiter: the parts of the graph's stream (``version="v2"``).
        mux: shows them to the transformers.
        wire_pump: as of :class:`GraphRunStream`.
    """

    if TYPE_CHECKING:
        messages: StreamChannel[AsyncChatModelStream]
        subgraphs: StreamChannel[AsyncSubgraphRunStream]

    def __init__(
        self, graph_aiter: AsyncIterator[Any] | None, mux: StreamMux, *, wire_pump: bool = True
    ) -> None:
        super().__init__(mux)
        self._parts = graph_aiter
        self._turn: asyncio.Event | None = None
        """Set when the reader who carries the run forward has seen to an event."""
        self._puller: asyncio.Task[Any] | None = None
        """Who awaits the graph's next part."""
        if wire_pump:
            mux.bind_apump(self._apump_next)

    async def _apump_next(self) -> bool:
        """Take one part of the graph's stream, or wait until another reader has."""
        if self._exhausted or self._parts is None:
            return False
        if self._turn is not None:
            await self._turn.wait()
            return not self._exhausted
        turn = self._turn = asyncio.Event()
        try:
            return await self._take(self._parts)
        finally:
            self._turn = None
            turn.set()

    async def _take(self, parts: AsyncIterator[Any]) -> bool:
        try:
            part = await self._pull(parts)
            if part is not None:
                event = event_of(part)
                self._observe(event)
                await self._mux.apush(event)
                return True
        except Exception as error:
            self._exhausted, self._failure = True, error
            await self._mux.afail(error)
            return False
        if not self._exhausted:
            self._exhausted = True
            with suppress(Exception):  # with which the channels end
                await self._mux.aclose()
        return False

    async def _pull(self, parts: AsyncIterator[Any]) -> Any:
        """The next part; None if there is none, or if the run is stopped meanwhile."""
        me = asyncio.current_task()
        assert me is not None
        before = me.cancelling()
        self._puller = me
        try:
            return await anext(parts, None)
        except asyncio.CancelledError:
            # abort() cancels whoever waits for the graph, since that is how its nodes hear of it.
            # Somebody else may have wanted the reader's end, too.
            if not self._exhausted or me.uncancel() > before:
                raise
            return None
        finally:
            self._puller = None

    async def _drive(self) -> None:
        while await self._apump_next():
            pass
        self._check()

    async def abort(self) -> None:
        """Stop the run: nodes that are under way are cancelled, those of nested graphs, too.

        What has been read, or waits to be, remains.
        """
        if self._exhausted:
            return
        self._exhausted = True
        parts, self._parts = self._parts, None
        turn = self._turn
        if self._puller is not None and turn is not None:
            self._puller.cancel()
            await turn.wait()
        try:
            if (close := getattr(parts, "aclose", None)) is not None:
                await close()
        finally:
            await self._mux.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.abort()

    async def output(self) -> Any:
        """The final state, after carrying the run to its end.

        Raises:
            BaseException: what the run failed with.
        """
        await self._drive()
        return self._latest

    async def interrupted(self) -> bool:
        """Whether the run waits for somebody, after carrying it to its end.

        Raises:
            BaseException: what the run failed with.
        """
        return bool(await self.interrupts())

    async def interrupts(self) -> list[Any]:
        """What the run asks, after carrying it to its end.

        Raises:
            BaseException: what the run failed with.
        """
        await self._drive()
        return self._interrupts

    def __aiter__(self) -> AsyncIterator[ProtocolEvent]:
        """The log of events."""
        return aiter(self._mux._events)


class _Nested:
    """What is known of a nested graph's run, beside its events."""

    _mux: StreamMux
    path: tuple[str, ...]
    """Its namespace."""
    graph_name: str | None
    """The node that calls it; or the agent's name, if it is one."""
    trigger_call_id: str | None
    """The id of the task that calls it."""
    status: SubgraphStatus
    error: str | None
    """What it failed with, as a sentence."""
    _pump_outer: Callable[[], Any]

    def __init__(
        self,
        mux: StreamMux,
        *,
        path: tuple[str, ...],
        graph_name: str | None = None,
        trigger_call_id: str | None = None,
    ) -> None:
        # Of the class beside this one, which reads nothing itself.
        super().__init__(None, mux, wire_pump=False)  # type: ignore[call-arg]
        self.path = path
        self.graph_name = graph_name
        self.trigger_call_id = trigger_call_id
        self.status = "started"
        self.error = None
        self._pump_outer = mux._request_more

    def _conclude(self, status: SubgraphStatus, error: str | None) -> bool:
        """Note how it has ended; False if that is known already."""
        if self.status != "started":
            return False
        self.status, self.error = status, error
        return True


class SubgraphRunStream(_Nested, GraphRunStream):
    """A nested graph's part of a run. Reading it carries the whole run forward, and ends with the
    nested graph.

    Args:
        mux: shows its events to its transformers.
        path: its namespace.
        graph_name: the node that calls it, or the agent's name.
        trigger_call_id: the id of the task that calls it.
    """

    def _pump_next(self) -> bool:
        return not self._is_over and bool(self._pump_outer())


class AsyncSubgraphRunStream(_Nested, AsyncGraphRunStream):
    """As :class:`SubgraphRunStream`, on an event loop.

    Args:
        mux: shows its events to its transformers.
        path: its namespace.
        graph_name: the node that calls it, or the agent's name.
        trigger_call_id: the id of the task that calls it.
    """

    async def _apump_next(self) -> bool:
        return not self._is_over and bool(await self._pump_outer())


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
