"""Channels that wait until each of several names has been written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import EmptyChannelError, InvalidUpdateError

from .base import BaseChannel, Value

__all__ = ("NamedBarrierValue", "NamedBarrierValueAfterFinish")


class NamedBarrierValue(BaseChannel[Value, Value, set[Value]], Generic[Value]):
    """Available, with the value ``None``, once every name has been written.

    Args:
        typ: the type of the names.
        names: those to wait for.
    """

    __slots__ = ("names", "seen")

    lives_on: ClassVar[bool] = True

    def __init__(self, typ: type[Value], names: set[Value]) -> None:
        super().__init__(typ)
        self.names: set[Value] = names
        self.seen: set[Value] = set()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.names == self.names

    __hash__ = None  # type: ignore[assignment]

    @property
    def ValueType(self) -> type[Value]:
        """The names' type."""
        return self.typ  # type: ignore[no-any-return]

    @property
    def UpdateType(self) -> type[Value]:
        """The names' type."""
        return self.typ  # type: ignore[no-any-return]

    def _empty(self) -> Self:
        twin = self.__class__(self.typ, self.names)
        twin.key = self.key
        return twin

    def copy(self) -> Self:
        """A channel of its own that has seen the same names."""
        twin = self._empty()
        twin.seen = self.seen.copy()
        return twin

    def checkpoint(self) -> Any:
        """The names that have been written."""
        return self.seen.copy()

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """A channel of its own with what was stored."""
        twin = self._empty()
        if checkpoint is not MISSING:
            twin.seen = set(checkpoint)
        return twin

    def is_available(self) -> bool:
        """Whether every name has been written."""
        return self.seen == self.names

    def get(self) -> Value:
        """``None``, once every name has been written."""
        if not self.is_available():
            raise EmptyChannelError
        return None  # type: ignore[return-value]

    def peek(self) -> Any:
        """``None`` once every name has been written, else ``MISSING``."""
        return None if self.is_available() else MISSING

    def update(self, values: Sequence[Value]) -> bool:
        """Tick off names."""
        before = len(self.seen)
        for value in values:
            if value not in self.names:
                raise InvalidUpdateError(f"At key '{self.key}': Value {value} not in {self.names}")
            self.seen.add(value)
        return len(self.seen) > before

    def consume(self) -> bool:
        """Begin again, if every name has been written."""
        if not self.is_available():
            return False
        self.seen = set()
        return True


class NamedBarrierValueAfterFinish(NamedBarrierValue[Value], Generic[Value]):
    """As :class:`NamedBarrierValue`, but shows it only when nothing else is left to run."""

    __slots__ = ("finished",)

    lives_on: ClassVar[bool] = True

    def __init__(self, typ: type[Value], names: set[Value]) -> None:
        super().__init__(typ, names)
        self.finished: bool = False

    def copy(self) -> Self:
        """A channel of its own in the same state."""
        twin = super().copy()
        twin.finished = self.finished
        return twin

    def checkpoint(self) -> tuple[set[Value], bool]:
        """The names that have been written, and whether it shows."""
        return self.seen.copy(), self.finished

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """A channel of its own with what was stored."""
        twin = self._empty()
        if checkpoint is not MISSING:
            seen, twin.finished = checkpoint
            twin.seen = set(seen)
        return twin

    def is_available(self) -> bool:
        """Whether every name has been written, and nothing else is left to run."""
        return self.finished and self.seen == self.names

    def consume(self) -> bool:
        """Begin again, if it has been shown."""
        if not super().consume():
            return False
        self.finished = False
        return True

    def finish(self) -> bool:
        """Show it, if every name has been written."""
        if self.finished or self.seen != self.names:
            return False
        self.finished = True
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
