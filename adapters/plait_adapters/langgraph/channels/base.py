"""What a channel is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import EmptyChannelError

__all__ = ("BaseChannel", "EmptyChannelError")

Value = TypeVar("Value")
Update = TypeVar("Update")
Checkpoint = TypeVar("Checkpoint")


class BaseChannel(ABC, Generic[Value, Update, Checkpoint]):
    """One key of the state: holds a value, and takes the writes of a step at once.

    A spec in a schema and the living channel of a run are of one class: a run makes its own from
    the spec with :meth:`from_checkpoint`.

    Attributes:
        key: the name of the channel.
        typ: the type of its values.
    """

    __slots__ = ("key", "typ")

    lives_on: ClassVar[bool] = False
    """Whether ``update(())`` never changes anything, so that a step without writes need not tell
    it."""

    def __init__(self, typ: Any, key: str = "") -> None:
        self.typ: Any = typ
        self.key: str = key

    @property
    @abstractmethod
    def ValueType(self) -> Any:
        """The type of what is read."""

    @property
    @abstractmethod
    def UpdateType(self) -> Any:
        """The type of what is written."""

    def copy(self) -> Self:
        """A channel of its own with the same value."""
        return self.from_checkpoint(self.checkpoint())

    def checkpoint(self) -> Checkpoint | Any:
        """What is to be stored; ``MISSING`` for nothing."""
        return self.peek()

    @abstractmethod
    def from_checkpoint(self, checkpoint: Checkpoint | Any) -> Self:
        """A channel of its own with what was stored, or empty for ``MISSING``."""

    @abstractmethod
    def get(self) -> Value:
        """The value.

        Raises:
            EmptyChannelError: there is none.
        """

    def peek(self) -> Value | Any:
        """The value, or ``MISSING``."""
        try:
            return self.get()
        except EmptyChannelError:
            return MISSING

    def is_available(self) -> bool:
        """Whether there is a value."""
        return self.peek() is not MISSING

    @abstractmethod
    def update(self, values: Sequence[Update]) -> bool:
        """Take the writes of a step, in order; empty where there was none. Whether anything
        changed.

        Raises:
            InvalidUpdateError: the writes cannot be taken together.
        """

    def consume(self) -> bool:
        """Hear that a task which this channel triggered has run. Whether anything changed."""
        return False

    def finish(self) -> bool:
        """Hear that no task is left to run. Whether anything changed."""
        return False


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
