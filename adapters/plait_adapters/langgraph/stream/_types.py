"""What passes through a stream of events, and what may look at it on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Literal, NotRequired

from typing_extensions import TypedDict

logger = logging.getLogger("plait_adapters.langgraph")


class ProtocolEventParams(TypedDict):
    """What an event says, and where it happened."""

    namespace: list[str]
    """The graph it happened in; empty for the outermost one."""
    timestamp: int
    """Milliseconds since the epoch. Clocks are set back at times: order events by their ``seq``."""
    data: Any
    """As the stream mode of the event's method tells it."""
    interrupts: NotRequired[tuple[Any, ...]]
    """What a graph asks; with ``values`` only."""


class ProtocolEvent(TypedDict):
    """One thing that happened in a run."""

    type: Literal["event"]
    event_id: NotRequired[str]
    seq: NotRequired[int]
    """Its place in the run's log, from 1; given by the log of the outermost graph."""
    method: str
    """A stream mode, the name of a channel of this package, or ``custom:`` and that of one of a
    transformer's own."""
    params: ProtocolEventParams


def event_of(part: Mapping[str, Any]) -> ProtocolEvent:
    """The event that a part of a stream (``version="v2"``) tells of."""
    params: ProtocolEventParams = {
        "namespace": list(part["ns"]),
        "timestamp": now(),
        "data": part["data"],
    }
    if "interrupts" in part:
        params["interrupts"] = part["interrupts"]
    return {"type": "event", "method": part["type"], "params": params}


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class StreamTransformer(ABC):
    """Looks at every event of a run, and makes something of its own from them.

    :meth:`init` gives what it makes, by name: they are in ``run.extensions``. Channels among it
    (:class:`StreamChannel`) are closed when the run ends.

    What awaits nothing implements :meth:`process`. What has to await something before the next
    transformer sees an event implements :meth:`aprocess`; what only begins something that may end
    later calls :meth:`schedule`, and says ``requires_async = True``. Both need
    ``astream_events``.

    Args:
        scope: the namespace of the graph whose events it is for. A nested graph that is followed
            gets transformers of its own.
    """

    requires_async: ClassVar[bool] = False
    """It needs an event loop, though it has none of the awaited methods."""
    supports_sync: ClassVar[bool] = False
    """It does without an event loop, though it has some of the awaited methods."""
    required_stream_modes: ClassVar[tuple[str, ...]] = ()
    """The stream modes whose events it looks at: a run tells those that some transformer names."""
    before_builtins: ClassVar[bool] = False
    """It sees events before those that do not say so, the ones of this package among them; for what
    changes events, which others may already have read otherwise."""
    _native: ClassVar[bool] = False
    """What it makes is also an attribute of the run, and its channels are named without
    ``custom:``."""

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        self.scope: tuple[str, ...] = scope

    @abstractmethod
    def init(self) -> dict[str, Any]:
        """What it makes, by name. Called once, before the first event."""

    def _on_register(self, mux: Any) -> None:  # noqa: B027 - for those who need it
        """Called once it belongs to a mux."""

    def process(self, event: ProtocolEvent) -> bool:
        """Look at an event. False keeps it out of the run's log; other transformers still see it.

        Raises:
            NotImplementedError: the class has neither this method nor :meth:`aprocess`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override process() or aprocess()")

    async def aprocess(self, event: ProtocolEvent) -> bool:
        """As :meth:`process`, awaited: the next transformer sees the event afterwards."""
        return self.process(event)

    def finalize(self) -> None:  # noqa: B027 - for those who need it
        """The run has ended."""

    async def afinalize(self) -> None:
        """As :meth:`finalize`, awaited; all that was scheduled has ended before."""
        self.finalize()

    def fail(self, err: BaseException) -> None:  # noqa: B027 - for those who need it
        """The run has failed with an error."""

    async def afail(self, err: BaseException) -> None:
        """As :meth:`fail`, awaited; all that was scheduled has been cancelled before."""
        self.fail(err)

    def schedule(
        self, coro: Coroutine[Any, Any, Any], *, on_error: Literal["log", "raise"] = "log"
    ) -> asyncio.Task[Any]:
        """Begin something that ends by the end of the run: at the latest, the run waits for it.

        Args:
            coro: what to do. It is cancelled if the run fails.
            on_error: what comes of an error of it: a line in the log, or that the run fails.

        Raises:
            RuntimeError: no event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"{type(self).__name__}.schedule() requires a running event loop: use "
                "astream_events(), and set requires_async = True on the class, so that "
                "stream_events() refuses it"
            ) from None
        # The mux waits for these tasks or cancels them. A task group would belong to one task, and
        # every reader of a run carries it forward in its own.
        task = loop.create_task(_logged(coro) if on_error == "log" else coro)
        tasks = scheduled(self)
        tasks.add(task)

        def forget(done: asyncio.Task[Any]) -> None:
            if done.cancelled() or done.exception() is None:
                tasks.discard(done)

        task.add_done_callback(forget)
        return task


async def _logged(coro: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coro
    except Exception:
        logger.exception("something that a stream transformer had scheduled failed")


def scheduled(transformer: Any) -> set[asyncio.Task[Any]]:
    """The tasks that a transformer has scheduled and that are under way or have failed."""
    tasks: set[asyncio.Task[Any]] = vars(transformer).setdefault("_scheduled", set())
    return tasks


def needs_loop(transformer: StreamTransformer) -> bool:
    """Whether a transformer can work under ``astream_events`` only."""
    if transformer.requires_async or transformer.supports_sync:
        return transformer.requires_async
    return any(
        getattr(type(transformer), name) is not getattr(StreamTransformer, name)
        for name in ("aprocess", "afinalize", "afail")
    )


TransformerFactory = Callable[[tuple[str, ...]], StreamTransformer]
"""Makes a transformer for the graph with a namespace; a class of transformers is one."""
