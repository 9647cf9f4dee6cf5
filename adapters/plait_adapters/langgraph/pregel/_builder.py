"""How a node of a :class:`Pregel` is described."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from plait_adapters.langgraph._internal._callables import Callee, coerce
from plait_adapters.langgraph._internal._langchain import is_runnable, need
from plait_adapters.langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

from ._read import PregelNode
from ._write import ChannelWrite, ChannelWriteEntry


class NodeBuilder:
    """Describes a node: what it subscribes to, what it does, what it writes."""

    __slots__ = (
        "_bound",
        "_cache_policy",
        "_channels",
        "_metadata",
        "_retry_policy",
        "_tags",
        "_timeout",
        "_triggers",
        "_writes",
    )

    def __init__(self) -> None:
        self._channels: str | list[str] = []
        self._triggers: list[str] = []
        self._tags: list[str] = []
        self._metadata: dict[str, Any] = {}
        self._writes: list[ChannelWriteEntry] = []
        self._bound: Any = None
        self._retry_policy: list[RetryPolicy] = []
        self._cache_policy: CachePolicy[Any] | None = None
        self._timeout: TimeoutPolicy | None = None

    def subscribe_only(self, channel: str) -> Self:
        """Be triggered by one channel, and be called with its value.

        Raises:
            ValueError: it subscribes to others.
        """
        if self._channels:
            raise ValueError(
                "Cannot subscribe to single channels when other channels are already subscribed to"
            )
        self._channels = channel
        self._triggers.append(channel)
        return self

    def subscribe_to(self, *channels: str, read: bool = True) -> Self:
        """Be triggered by channels; with ``read``, be called with a mapping of their values.

        Raises:
            ValueError: it subscribes to a single channel.
        """
        if isinstance(self._channels, str):
            problem = "Cannot subscribe to channels when subscribed to a single channel"
            raise ValueError(problem)  # noqa: TRY004 - as LangGraph does
        if read:
            self._channels.extend(channels)
        self._triggers.extend(channels)
        return self

    def read_from(self, *channels: str) -> Self:
        """Be called with the values of more channels, without being triggered by them."""
        assert isinstance(self._channels, list), (
            "Cannot read additional channels when subscribed to single channels"
        )
        self._channels.extend(channels)
        return self

    def do(self, node: Any) -> Self:
        """Call this; or, after another, call it with what that gives."""
        step = coerce(node, trace=True)
        self._bound = step if self._bound is None else _then(self._bound, step)
        return self

    def write_to(self, *channels: str | ChannelWriteEntry, **kwargs: Any) -> Self:
        """Write the output to channels; or to each keyword what its function makes of it, or its
        value."""
        for channel in channels:
            self._writes.append(ChannelWriteEntry(channel) if isinstance(channel, str) else channel)
        for name, value in kwargs.items():
            self._writes.append(
                ChannelWriteEntry(name, mapper=value)
                if callable(value)
                else ChannelWriteEntry(name, value=value)
            )
        return self

    def meta(self, *tags: str, **metadata: Any) -> Self:
        """Add tags and metadata to its calls."""
        self._tags.extend(tags)
        self._metadata.update(metadata)
        return self

    def add_retry_policies(self, *policies: RetryPolicy) -> Self:
        """Say when it is tried again; the first policy that fits holds."""
        self._retry_policy.extend(policies)
        return self

    def add_cache_policy(self, policy: CachePolicy[Any]) -> Self:
        """Keep its writes in the cache, by its input."""
        self._cache_policy = policy
        return self

    def set_timeout(self, timeout: float | timedelta | TimeoutPolicy | None) -> Self:
        """Say how long an attempt may take."""
        self._timeout = TimeoutPolicy.coerce(timeout)
        return self

    def build(self) -> PregelNode:
        """The node."""
        return PregelNode(
            channels=self._channels,
            triggers=self._triggers,
            tags=self._tags,
            metadata=self._metadata,
            writers=[ChannelWrite(self._writes)],
            bound=self._bound,
            retry_policy=self._retry_policy,
            cache_policy=self._cache_policy,
            timeout=self._timeout,
        )


def _then(first: Any, second: Any) -> Any:
    """Call one, and the other with what it gives."""
    if is_runnable(first) or is_runnable(second):
        sequence = need("langchain_core.runnables", "a sequence of Runnables").RunnableSequence
        steps = [each.function if isinstance(each, Callee) else each for each in (first, second)]
        return sequence(*map(_as_runnable, steps))
    if isinstance(first, Callee) and isinstance(second, Callee):
        one, two = first.function, second.function
        if not first.is_async and not second.is_async:
            return Callee(lambda value: two(one(value)), trace=True)

        async def both(value: Any) -> Any:
            middle = one(value)
            if first.is_async:
                middle = await middle
            result = two(middle)
            return await result if second.is_async else result

        return Callee(both, trace=True)
    raise TypeError(f"Cannot call {second!r} after {first!r}")


def _as_runnable(step: Any) -> Any:
    base = need("langchain_core.runnables.base", "a sequence of Runnables")
    return base.coerce_to_runnable(step)
