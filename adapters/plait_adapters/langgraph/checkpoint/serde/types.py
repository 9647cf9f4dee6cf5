"""Names of special writes, and what a saver knows of channels and sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from plait_adapters.langgraph._support import missing

__all__ = ["ERROR", "INTERRUPT", "RESUME", "SCHEDULED", "TASKS", "ChannelProtocol", "SendProtocol"]

ERROR: Final = "__error__"
SCHEDULED: Final = "__scheduled__"
INTERRUPT: Final = "__interrupt__"
RESUME: Final = "__resume__"
TASKS: Final = "__pregel_tasks"


class _DeltaSnapshot(NamedTuple):
    """The whole value of a delta channel, stored now and then so that its writes are replayed from
    here on and not from the beginning."""

    value: Any


Value = TypeVar("Value", covariant=True)  # noqa: PLC0105 - LangGraph's name
Update = TypeVar("Update", contravariant=True)  # noqa: PLC0105 - LangGraph's name
C = TypeVar("C")


class ChannelProtocol(Protocol[Value, Update, C]):
    """What a saver may ask of a channel."""

    @property
    def ValueType(self) -> Any:
        """The type of its value."""
        ...

    @property
    def UpdateType(self) -> Any:
        """The type of what is written to it."""
        ...

    def checkpoint(self) -> C | None:
        """What is to be stored of it."""
        ...

    def from_checkpoint(self, checkpoint: C | None) -> Self:
        """A channel that goes on from what was stored."""
        ...

    def update(self, values: Sequence[Update]) -> bool:
        """Take writes in; returns whether that changed it."""
        ...

    def get(self) -> Value:
        """Its value; raises ``EmptyChannelError`` if it has none."""
        ...

    def consume(self) -> bool:
        """Tell it that a node has read it; returns whether that changed it."""
        ...


@runtime_checkable
class SendProtocol(Protocol):
    """A node to be called and its argument."""

    node: str
    arg: Any

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

    def __eq__(self, value: object) -> bool: ...


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
