"""What a node of a state graph is, before the graph is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias

from plait_adapters.langgraph.config import RunnableConfig
from plait_adapters.langgraph.runtime import Runtime
from plait_adapters.langgraph.types import (
    CachePolicy,
    RetryPolicy,
    StreamWriter,
    TimeoutPolicy,
    TracePolicy,
)
from plait_adapters.langgraph.typing import ContextT, NodeInputT, NodeInputT_contra


class _Node(Protocol[NodeInputT_contra]):
    def __call__(self, state: NodeInputT_contra, /) -> Any: ...


class _NodeWithConfig(Protocol[NodeInputT_contra]):
    def __call__(self, state: NodeInputT_contra, /, config: RunnableConfig) -> Any: ...


class _NodeWithWriter(Protocol[NodeInputT_contra]):
    def __call__(self, state: NodeInputT_contra, /, *, writer: StreamWriter) -> Any: ...


class _NodeWithStore(Protocol[NodeInputT_contra]):
    def __call__(self, state: NodeInputT_contra, /, *, store: Any) -> Any: ...


class _NodeWithWriterStore(Protocol[NodeInputT_contra]):
    def __call__(self, state: NodeInputT_contra, /, *, writer: StreamWriter, store: Any) -> Any: ...


class _NodeWithConfigWriter(Protocol[NodeInputT_contra]):
    def __call__(
        self, state: NodeInputT_contra, /, *, config: RunnableConfig, writer: StreamWriter
    ) -> Any: ...


class _NodeWithConfigStore(Protocol[NodeInputT_contra]):
    def __call__(
        self, state: NodeInputT_contra, /, *, config: RunnableConfig, store: Any
    ) -> Any: ...


class _NodeWithConfigWriterStore(Protocol[NodeInputT_contra]):
    def __call__(
        self,
        state: NodeInputT_contra,
        /,
        *,
        config: RunnableConfig,
        writer: StreamWriter,
        store: Any,
    ) -> Any: ...


class _NodeWithRuntime(Protocol[NodeInputT_contra, ContextT]):
    def __call__(self, state: NodeInputT_contra, /, *, runtime: Runtime[ContextT]) -> Any: ...


class _Runnable(Protocol):
    def invoke(self, input: Any, config: Any = None) -> Any: ...


StateNode: TypeAlias = (
    _Node[NodeInputT]
    | _NodeWithConfig[NodeInputT]
    | _NodeWithWriter[NodeInputT]
    | _NodeWithStore[NodeInputT]
    | _NodeWithWriterStore[NodeInputT]
    | _NodeWithConfigWriter[NodeInputT]
    | _NodeWithConfigStore[NodeInputT]
    | _NodeWithConfigWriterStore[NodeInputT]
    | _NodeWithRuntime[NodeInputT, ContextT]
    | _Runnable
)
"""What can be a node: a function of the state, ``async`` or not, or a Runnable."""


@dataclass(slots=True)
class StateNodeSpec(Generic[NodeInputT, ContextT]):
    """A node, as ``add_node`` was given it."""

    runnable: Any
    """What is called."""
    metadata: dict[str, Any] | None
    """Metadata of its calls."""
    input_schema: type[NodeInputT]
    """What it sees of the state."""
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None
    """When it is tried again."""
    cache_policy: CachePolicy[Any] | None
    """Whether its writes are cached."""
    is_error_handler: bool = False
    """It is called for nodes that failed only."""
    error_handler_node: str | None = None
    """The node that is called when this one has failed."""
    ends: tuple[str, ...] | dict[str, str] | None = ()
    """Where its commands may go, for drawings and checks; a mapping has labels."""
    defer: bool = False
    """It runs when nothing else is left to run."""
    timeout: TimeoutPolicy | None = None
    """How long an attempt may take."""
    trace_policy: TracePolicy | None = None
    """What tracers see of it."""
