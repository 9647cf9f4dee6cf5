"""What a graph raises.

``GraphBubbleUp`` and what descends from it are signals by which a run stops or a command travels to
a parent graph; the others are faults.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from plait_adapters.langgraph._support import missing

from .warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from .types import Command, Interrupt

__all__ = (
    "EmptyChannelError",
    "EmptyInputError",
    "ErrorCode",
    "GraphBubbleUp",
    "GraphDrained",
    "GraphInterrupt",
    "GraphRecursionError",
    "InvalidUpdateError",
    "NodeCancelledError",
    "NodeError",
    "NodeInterrupt",
    "NodeTimeoutError",
    "ParentCommand",
    "TaskNotFound",
    "UnknownInterruptError",
    "create_error_message",
    "is_invalid_resume",
)


class EmptyChannelError(Exception):
    """A channel was read that holds no value."""


class ErrorCode(Enum):
    """Which page of the documentation explains an error."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"


def create_error_message(*, message: str, error_code: ErrorCode) -> str:
    """The message with the address of the page that explains ``error_code``."""
    page = f"https://docs.langchain.com/oss/python/langgraph/errors/{error_code.value}"
    return f"{message}\nFor troubleshooting, visit: {page}"


class GraphBubbleUp(Exception):
    """A signal that passes through nodes; let it pass."""


class GraphDrained(GraphBubbleUp):
    """A run has stopped between two steps because ``RunControl.request_drain`` asked for it.

    Attributes:
        reason: why, as the request gave it.
    """

    def __init__(self, reason: str = "shutdown") -> None:
        self.reason: str = reason
        super().__init__(f"Graph drained: {reason}")


class GraphRecursionError(RecursionError):
    """A run has taken as many steps as ``config["recursion_limit"]`` allows, and was not done."""


class InvalidUpdateError(Exception):
    """A write that the state cannot take."""


class GraphInterrupt(GraphBubbleUp):
    """A run stops, and waits for somebody outside; ``args[0]`` are the interrupts."""

    def __init__(self, interrupts: Sequence[Interrupt[Any]] = ()) -> None:
        super().__init__(interrupts)


class NodeInterrupt(GraphInterrupt):
    """Deprecated: raise this in a node to interrupt the run. Call ``interrupt`` instead."""

    def __init__(self, value: Any, id: str | None = None) -> None:
        from .types import Interrupt

        warnings.warn(
            "NodeInterrupt is deprecated. Please use `langgraph.types.interrupt` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        asked: Interrupt[Any] = (
            Interrupt(value=value) if id is None else Interrupt(value=value, id=id)
        )
        super().__init__([asked])


class ParentCommand(GraphBubbleUp):
    """Carries a command out of a nested graph, to the graph that ``command.graph`` names."""

    args: tuple[Command[Any]]

    def __init__(self, command: Command[Any]) -> None:
        super().__init__(command)


class EmptyInputError(Exception):
    """A run was given nothing to begin with."""


class TaskNotFound(Exception):
    """A task that somebody named does not exist."""


class UnknownInterruptError(Exception):
    """Under strict resuming: an answer that fits no open interrupt.

    Attributes:
        reason: what is wrong with the answer.
        interrupt_ids: the ids that were given and are not open.
        pending_ids: the ids that are open.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["not_pending", "empty_map", "ambiguous"],
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.reason: Literal["not_pending", "empty_map", "ambiguous"] = reason
        self.interrupt_ids: tuple[str, ...] = tuple(interrupt_ids)
        self.pending_ids: tuple[str, ...] = tuple(pending_ids)


@dataclass(frozen=True, slots=True)
class NodeError:
    """What an error handler is told, as its argument ``error``."""

    node: str
    """The node that failed."""
    error: BaseException
    """What it raised at its last attempt."""


class NodeCancelledError(Exception):
    """The body of a node raised ``CancelledError`` though nobody had cancelled it.

    Attributes:
        node: the name of the node.
    """

    def __init__(self, node: str, message: str | None = None) -> None:
        super().__init__(message or f"Node {node!r} raised asyncio.CancelledError")
        self.node: str = node


class NodeTimeoutError(Exception):
    """An attempt of a node took too long, or went too long without progress.

    Attributes:
        node: the name of the node.
        timeout: the limit that was passed, in seconds.
        run_timeout: how long an attempt may take, in seconds.
        idle_timeout: how long it may go without progress, in seconds.
        elapsed: how long the attempt had taken, in seconds.
        kind: which of the two limits was passed.
    """

    def __init__(
        self,
        node: str,
        elapsed: float,
        *,
        kind: Literal["idle", "run"],
        idle_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        limit = {"idle": idle_timeout, "run": run_timeout}.get(kind, -1.0)
        if limit is None:
            raise ValueError(f"{kind}_timeout is required when kind={kind!r}")
        if limit < 0:
            raise ValueError("kind must be 'idle' or 'run'")
        without = " without making progress" if kind == "idle" else ""
        super().__init__(
            f"Node '{node}' exceeded its {kind} timeout of {limit:.3f}s{without} "
            f"(elapsed: {elapsed:.3f}s)."
        )
        self.node: str = node
        self.timeout: float = limit
        self.run_timeout: float | None = run_timeout
        self.idle_timeout: float | None = idle_timeout
        self.elapsed: float = elapsed
        self.kind: Literal["idle", "run"] = kind


_INVALID_RESUME: Final = "_langgraph_invalid_resume"


def mark_invalid_resume(error: BaseException) -> None:
    """Note on an error that an answer did not fit the ``response_schema`` of its interrupt."""
    setattr(error, _INVALID_RESUME, True)


def is_invalid_resume(error: BaseException) -> bool:
    """Whether an answer that did not fit the ``response_schema`` of its interrupt caused an
    error."""
    return getattr(error, _INVALID_RESUME, False) is True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
