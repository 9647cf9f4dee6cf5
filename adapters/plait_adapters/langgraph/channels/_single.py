"""Channels that hold one value as it was written."""

from __future__ import annotations

from typing import Any, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph.errors import EmptyChannelError

from .base import BaseChannel, Value


class SingleValue(BaseChannel[Value, Value, Value], Generic[Value]):
    """Holds one value, and stores it as it is."""

    __slots__ = ("value",)

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Value | Any = MISSING

    @property
    def ValueType(self) -> type[Value]:
        """The type that the schema gives."""
        return self.typ  # type: ignore[no-any-return]

    @property
    def UpdateType(self) -> type[Value]:
        """The type that the schema gives."""
        return self.typ  # type: ignore[no-any-return]

    def _empty(self) -> Self:
        return self.__class__(self.typ, self.key)

    def copy(self) -> Self:
        """A channel of its own with the same value."""
        twin = self._empty()
        twin.value = self.value
        return twin

    def from_checkpoint(self, checkpoint: Value | Any) -> Self:
        """A channel of its own with what was stored."""
        twin = self._empty()
        if checkpoint is not MISSING:
            twin.value = checkpoint
        return twin

    def checkpoint(self) -> Value | Any:
        """The value."""
        return self.value

    def get(self) -> Value:
        """The value."""
        if self.value is MISSING:
            raise EmptyChannelError
        return self.value

    def peek(self) -> Value | Any:
        """The value, or ``MISSING``."""
        return self.value

    def is_available(self) -> bool:
        """Whether there is a value."""
        return self.value is not MISSING
