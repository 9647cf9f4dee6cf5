"""Where the events of one graph pass its transformers, on their way to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import Any

from plait_adapters.langgraph._internal._edge import finish

from ._types import (
    ProtocolEvent,
    StreamTransformer,
    TransformerFactory,
    needs_loop,
    now,
    scheduled,
)
from .stream_channel import StreamChannel


class StreamMux:
    """Shows events to transformers, one after another, and writes them to a log.

    Each method is there for both ways to run: ``push``, ``close`` and ``fail`` for a run that
    blocks, ``apush``, ``aclose`` and ``afail`` for one on an event loop.

    Args:
        transformers: of this graph only.
        is_async: the run is on an event loop.
        factories: make transformers for this graph, and for those nested in it.
        scope: the graph's namespace.

    Raises:
        RuntimeError: a transformer needs an event loop, and the run has none.
        TypeError: what a transformer makes has no names.
        ValueError: two transformers make something of the same name.
    """

    def __init__(
        self,
        transformers: Iterable[StreamTransformer] | None = None,
        *,
        is_async: bool = False,
        factories: Sequence[TransformerFactory] | None = None,
        scope: tuple[str, ...] = (),
    ) -> None:
        self.is_async = is_async
        self.scope = scope
        self.extensions: dict[str, Any] = {}
        """What the transformers make, by name."""
        self.native_keys: set[str] = set()
        """The names that are also attributes of the run."""
        self._factories = None if factories is None else tuple(factories)
        self._owners: dict[str, StreamTransformer] = {}
        self._channels: list[StreamChannel[Any]] = []
        self._stamps = count(1)
        self._numbers: Any = count(1)
        self._pump: Callable[[], Any] | None = None
        self._events: StreamChannel[ProtocolEvent] = StreamChannel()
        self._adopt(self._events)
        made = [*(factory(scope) for factory in factories or ()), *(transformers or ())]
        self._transformers = sorted(made, key=lambda each: not each.before_builtins)
        for transformer in self._transformers:
            self._register(transformer)

    def _register(self, transformer: StreamTransformer) -> None:
        name = type(transformer).__name__
        if not self.is_async and needs_loop(transformer):
            raise RuntimeError(
                f"{name} requires an async run, since it awaits or schedules something: use "
                "astream_events() instead of stream_events()"
            )
        made = transformer.init()
        if not isinstance(made, dict):
            raise TypeError(f"{name}.init() must return a dict, not a {type(made).__name__}")
        if taken := sorted(self.extensions.keys() & made):
            owners = ", ".join(f"{key!r} of {type(self._owners[key]).__name__}" for key in taken)
            raise ValueError(
                f"what {name}.init() returns is in conflict with {owners}: every projection needs "
                "a name of its own"
            )
        native = getattr(transformer, "_native", False)
        for value in made.values():
            if isinstance(value, StreamChannel):
                self._adopt(value)
                self._channels.append(value)
                if value.name is not None:
                    prefix = "" if native else "custom:"
                    value._wire(self._writer(prefix + value.name))
        self.extensions.update(made)
        self._owners.update(dict.fromkeys(made, transformer))
        if native:
            self.native_keys.update(made)
        transformer._on_register(self)

    def _adopt(self, channel: StreamChannel[Any]) -> None:
        channel._bind(is_async=self.is_async)
        channel._stamp = self._stamps.__next__
        channel._request_more = self._request_more

    def _writer(self, method: str) -> Callable[[Any], None]:
        """Puts the items of a channel into the log. Transformers do not see them: it is one of
        them that made them."""

        def write(item: Any) -> None:
            self._log({
                "type": "event",
                "method": method,
                "params": {"namespace": [], "timestamp": now(), "data": item},
            })  # fmt: skip

        return write

    def transformer_by_key(self, key: str) -> StreamTransformer | None:
        """The transformer that made what has a name."""
        return self._owners.get(key)

    # -- what carries the run forward -----------------------------------------------------------

    def bind_pump(self, fn: Callable[[], bool]) -> None:
        """Have readers carry the run forward by calling a function; it returns False at the end."""
        self._bind_pump("_bind_pump", fn)

    def bind_apump(self, fn: Callable[[], Awaitable[bool]]) -> None:
        """As :meth:`bind_pump`, for a function to await."""
        self._bind_pump("_bind_apump", fn)

    def _bind_pump(self, hook: str, pump: Callable[[], Any]) -> None:
        self._pump = pump
        for transformer in self._transformers:
            if bind := getattr(transformer, hook, None):
                bind(pump)

    def _request_more(self) -> Any:
        if self._pump is not None:
            return self._pump()
        return _nothing() if self.is_async else False

    def _make_child(self, scope: tuple[str, ...]) -> StreamMux:
        """A mux for a graph nested in this one, whose readers carry the same run forward.

        Raises:
            RuntimeError: the transformers cannot be made anew.
        """
        if self._factories is None:
            raise RuntimeError(
                "a StreamMux for a nested graph makes transformers of its own: give this one "
                "factories= instead of transformers="
            )
        child = StreamMux(factories=self._factories, is_async=self.is_async, scope=scope)
        # The events are shared with the mux of the outermost graph, which numbers them.
        child._numbers = None
        if self._pump is not None:
            (child.bind_apump if self.is_async else child.bind_pump)(self._pump)
        return child

    # -- events ---------------------------------------------------------------------------------

    def push(self, event: ProtocolEvent) -> None:
        """Show an event to the transformers, then log it unless one of them objects."""
        finish(self.dispatch(event))

    async def apush(self, event: ProtocolEvent) -> None:
        """As :meth:`push`; a transformer that awaits something holds up the others."""
        await self.dispatch(event)

    async def dispatch(self, event: ProtocolEvent) -> None:
        """As :meth:`push`, in the way that the run goes."""
        keep = True
        for each in self._transformers:
            wanted = await each.aprocess(event) if self.is_async else each.process(event)
            keep = bool(wanted) and keep
        if keep:
            self._log(event)

    def _log(self, event: ProtocolEvent) -> None:
        if self._numbers is not None:
            event["seq"] = next(self._numbers)
        self._events.push(event)

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Tell the transformers that the run has ended, and close all channels.

        All of them are told and closed, whatever happens.

        Raises:
            BaseException: the first error of a transformer; the channels end with it.
        """
        finish(self.end())

    async def aclose(self) -> None:
        """As :meth:`close`; waits before for what transformers have scheduled."""
        await self.end()

    async def end(self) -> None:
        """As :meth:`close`, in the way that the run goes."""
        if self._events._closed:
            return
        error: BaseException | None = None
        for result in await self._settle():
            if isinstance(result, Exception):
                error = error or result
        if error is not None:
            await self.end_failed(error)
            raise error
        for each in self._transformers:
            try:
                if self.is_async:
                    await each.afinalize()
                else:
                    each.finalize()
            except Exception as raised:
                error = error or raised
        self._close_channels(error)
        if error is not None:
            raise error

    def fail(self, err: BaseException) -> None:
        """Tell the transformers that the run has failed, and end all channels with its error.

        What a transformer raises then is added to the error as a note.
        """
        finish(self.end_failed(err))

    async def afail(self, err: BaseException) -> None:
        """As :meth:`fail`; cancels before what transformers have scheduled."""
        await self.end_failed(err)

    async def end_failed(self, error: BaseException) -> None:
        """As :meth:`fail`, in the way that the run goes."""
        if self._events._closed:
            return
        await self._settle(cancel=True)
        for each in self._transformers:
            try:
                if self.is_async:
                    await each.afail(error)
                else:
                    each.fail(error)
            except Exception as raised:
                error.add_note(f"{type(each).__name__} was told of it, and raised {raised!r}")
        self._close_channels(error)

    def _close_channels(self, error: BaseException | None) -> None:
        for channel in (*self._channels, self._events):
            if channel._closed:
                continue
            if error is None:
                channel.close()
            else:
                channel.fail(error)

    async def _settle(self, *, cancel: bool = False) -> list[Any]:
        """Wait for what transformers have scheduled; returns what came of it, errors included."""
        tasks = [task for each in self._transformers for task in scheduled(each)]
        if not tasks:
            return []
        if cancel:
            for task in tasks:
                task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)


async def _nothing() -> bool:
    return False
