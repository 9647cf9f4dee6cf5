"""A node as the engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from plait_adapters.langgraph._internal._subgraphs import find_subgraphs
from plait_adapters.langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

from ._write import ChannelWrite, Writer

__all__ = ("PregelNode",)


class PregelNode:
    """What triggers a node, what it reads, what it calls and what becomes of its output.

    Attributes:
        channels: what it reads: one channel, as it is, or several, as a mapping.
        triggers: the channels whose change makes it run.
        mapper: makes its input from what it reads.
        writers: make writes from its output.
        bound: what is called; ``None`` if its output is its input.
        retry_policy: when it is tried again.
        cache_policy: whether its writes are cached.
        timeout: how long an attempt may take.
        tags: tags of its calls.
        metadata: metadata of its calls.
        trace_policy: what tracers see of its input and output.
        is_error_handler: it is called for nodes that failed only.
        error_handler_node: the node that is called when this one has failed.
        subgraphs: the graphs that it may call.
    """

    def __init__(
        self,
        *,
        channels: str | list[str],
        triggers: Sequence[str],
        mapper: Callable[[Any], Any] | None = None,
        writers: list[Writer] | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        trace_policy: TracePolicy | None = None,
        bound: Any = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        is_error_handler: bool = False,
        error_handler_node: str | None = None,
        subgraphs: Sequence[Any] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> None:
        self.channels: str | list[str] = channels
        self.triggers: list[str] = list(triggers)
        self.mapper: Callable[[Any], Any] | None = mapper
        self.writers: list[Writer] = writers or []
        self.bound: Any = bound
        self.retry_policy: Sequence[RetryPolicy] | None = (
            (retry_policy,) if isinstance(retry_policy, RetryPolicy) else retry_policy
        )
        self.cache_policy: CachePolicy[Any] | None = cache_policy
        self.timeout: TimeoutPolicy | None = TimeoutPolicy.coerce(timeout)
        self.tags: list[str] | None = tags
        self.metadata: Mapping[str, Any] | None = metadata
        self.trace_policy: TracePolicy | None = trace_policy
        self.is_error_handler: bool = is_error_handler
        self.error_handler_node: str | None = error_handler_node
        self.subgraphs: Sequence[Any] = find_subgraphs(bound) if subgraphs is None else subgraphs

    @cached_property
    def flat_writers(self) -> tuple[Writer, ...]:
        """The writers, those that stand side by side joined into one."""
        flat: list[Writer] = []
        for writer in self.writers:
            if flat and isinstance(writer, ChannelWrite) and isinstance(flat[-1], ChannelWrite):
                flat[-1] = ChannelWrite([*flat[-1].writes, *writer.writes])
            else:
                flat.append(writer)
        return tuple(flat)

    @cached_property
    def sorted_triggers(self) -> tuple[str, ...]:
        """The triggers in order, for the names of tasks."""
        return tuple(sorted(self.triggers))

    @property
    def does_something(self) -> bool:
        """Whether running the node can have any effect."""
        return self.bound is not None or bool(self.writers)

    @property
    def node(self) -> Any:
        """What is called, with its writers; ``None`` if there is nothing."""
        return self if self.does_something else None

    @cached_property
    def _alone(self) -> Any:
        """A graph that has this node only, and whose output is what the node gives."""
        from plait_adapters.langgraph.channels import EphemeralValue, LastValue
        from plait_adapters.langgraph.constants import END, START

        from ._write import ChannelWriteEntry
        from .main import Pregel

        node = {
            "channels": START,
            "triggers": [START],
            "mapper": None,
            "writers": [ChannelWrite([ChannelWriteEntry(END)])],
            "retry_policy": None,
            "cache_policy": None,
        }
        return Pregel(
            nodes={"node": self.copy(node)},
            channels={START: EphemeralValue(Any), END: LastValue(Any)},
            input_channels=START,
            output_channels=END,
        )

    def invoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        """Call what the node calls, as if a graph did, and return what that gives.

        Nothing is tried again, stored, or written to channels.
        """
        return self._alone.invoke(input, config, **options)

    async def ainvoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        """As :meth:`invoke`."""
        return await self._alone.ainvoke(input, config, **options)

    def copy(self, update: Mapping[str, Any]) -> PregelNode:
        """The same with some attributes replaced."""
        cached = ("flat_writers", "sorted_triggers", "_alone")
        attributes = {key: value for key, value in vars(self).items() if key not in cached}
        return PregelNode(**{**attributes, **update})
