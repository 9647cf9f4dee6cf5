"""What a node learns about its run, as its argument ``runtime``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast, runtime_checkable

from typing_extensions import TypedDict, Unpack

from plait_adapters.langgraph._support import missing

from ._internal._constants import CONF, CONFIG_KEY_RUNTIME
from .config import get_config
from .types import StreamWriter
from .typing import ContextT

__all__ = ("BaseUser", "ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "get_runtime")


@runtime_checkable
class BaseUser(Protocol):
    """Somebody who is signed in at a server that runs graphs."""

    @property
    def is_authenticated(self) -> bool:
        """Whether it is known who it is."""
        ...

    @property
    def display_name(self) -> str:
        """A name to show."""
        ...

    @property
    def identity(self) -> str:
        """A name that is unique."""
        ...

    @property
    def permissions(self) -> Any:
        """What the user may do."""
        ...

    def __getitem__(self, key: str) -> Any: ...

    def __contains__(self, key: Any) -> bool: ...

    def __iter__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Which attempt of which task this is."""

    checkpoint_id: str
    """The checkpoint from which the step began."""
    checkpoint_ns: str
    """The namespace of the task."""
    task_id: str
    """The id of the task."""
    thread_id: str | None = None
    """The thread of the run."""
    run_id: str | None = None
    """The run, as its caller named it."""
    node_attempt: int = 1
    """The number of this attempt, from 1."""
    node_first_attempt_time: float | None = None
    """When the first attempt began, in seconds since the epoch."""

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """The same with some fields replaced."""
        return replace(self, **overrides)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Where a graph runs on a server."""

    assistant_id: str
    """The assistant that was called."""
    graph_id: str
    """The graph, as the server names it."""
    user: BaseUser | None = None
    """Who called."""


class RunControl:
    """Stops a run from outside, between two of its steps."""

    __slots__ = ("_drain_reason",)

    def __init__(self) -> None:
        self._drain_reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Have the run stop before its next step with ``GraphDrained``; it can be resumed."""
        self._drain_reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether the run is to stop."""
        return self._drain_reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why."""
        return self._drain_reason


def _no_op_stream_writer(_: Any) -> None: ...


def _no_op_heartbeat() -> None: ...


class _RuntimeOverrides(TypedDict, Generic[ContextT], total=False):
    context: ContextT
    store: Any
    stream_writer: StreamWriter
    heartbeat: Callable[[], None]
    previous: Any
    execution_info: ExecutionInfo
    server_info: ServerInfo | None
    control: RunControl | None


@dataclass(kw_only=True, slots=True, frozen=True)
class Runtime(Generic[ContextT]):
    """What a run gives to its nodes."""

    context: ContextT = field(default=None)  # type: ignore[assignment]
    """What the caller passed as ``context``."""
    store: Any = field(default=None)
    """The store that the graph was compiled with."""
    stream_writer: StreamWriter = field(default=_no_op_stream_writer)
    """Puts a value into the stream of mode ``custom``."""
    heartbeat: Callable[[], None] = field(default=_no_op_heartbeat)
    """Tells that an attempt makes progress, for its idle timeout."""
    previous: Any = field(default=None)
    """What the entrypoint returned for this thread the last time."""
    execution_info: ExecutionInfo | None = field(default=None)
    """Which attempt of which task this is."""
    server_info: ServerInfo | None = field(default=None)
    """Where the graph runs on a server."""
    control: RunControl | None = field(default=None)
    """What stops the run from outside."""

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """This with all that another has set."""
        return Runtime(
            context=other.context or self.context,
            store=other.store or self.store,
            stream_writer=self.stream_writer
            if other.stream_writer is _no_op_stream_writer
            else other.stream_writer,
            heartbeat=self.heartbeat if other.heartbeat is _no_op_heartbeat else other.heartbeat,
            previous=self.previous if other.previous is None else other.previous,
            execution_info=other.execution_info or self.execution_info,
            server_info=other.server_info or self.server_info,
            control=other.control or self.control,
        )

    def override(self, **overrides: Unpack[_RuntimeOverrides[ContextT]]) -> Runtime[ContextT]:
        """The same with some fields replaced."""
        return replace(self, **overrides)

    def patch_execution_info(self, **overrides: Any) -> Runtime[ContextT]:
        """The same with some fields of ``execution_info`` replaced.

        Raises:
            RuntimeError: it has no ``execution_info``.
        """
        if self.execution_info is None:
            raise RuntimeError("Cannot patch execution_info before it has been set")
        return replace(self, execution_info=self.execution_info.patch(**overrides))

    @property
    def drain_requested(self) -> bool:
        """Whether the run is to stop before its next step."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why the run is to stop."""
        return None if self.control is None else self.control.drain_reason


DEFAULT_RUNTIME: Runtime[Any] = Runtime()


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """The runtime of the node in which this is called.

    Args:
        context_schema: the type of ``runtime.context``, for type checkers.
    """
    return cast("Runtime[ContextT]", get_config()[CONF].get(CONFIG_KEY_RUNTIME))


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
