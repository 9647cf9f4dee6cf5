"""Channels that keep what was written last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import (
    EmptyChannelError,
    ErrorCode,
    InvalidUpdateError,
    create_error_message,
)

from ._single import SingleValue
from .base import BaseChannel, Value

__all__ = ("LastValue", "LastValueAfterFinish")


class LastValue(SingleValue[Value], Generic[Value]):
    """Keeps what was written last; one write in a step."""

    __slots__ = ()

    lives_on: ClassVar[bool] = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValue)

    __hash__ = None  # type: ignore[assignment]

    def update(self, values: Sequence[Value]) -> bool:
        """Take the one write of a step."""
        if not values:
            return False
        if len(values) != 1:
            raise InvalidUpdateError(
                create_error_message(
                    message=(
                        f"At key '{self.key}': Can receive only one value per step. Use an "
                        f"Annotated key to handle multiple values."
                    ),
                    error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
                )
            )
        self.value = values[0]
        return True


class LastValueAfterFinish(BaseChannel[Value, Value, tuple[Value, bool]], Generic[Value]):
    """Keeps what was written last, and shows it once when nothing else is left to run."""

    __slots__ = ("finished", "value")

    lives_on: ClassVar[bool] = True

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Value | Any = MISSING
        self.finished: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValueAfterFinish)

    __hash__ = None  # type: ignore[assignment]

    @property
    def ValueType(self) -> type[Value]:
        """The type that the schema gives."""
        return self.typ  # type: ignore[no-any-return]

    @property
    def UpdateType(self) -> type[Value]:
        """The type that the schema gives."""
        return self.typ  # type: ignore[no-any-return]

    def checkpoint(self) -> tuple[Value, bool] | Any:
        """The value, and whether it shows."""
        return MISSING if self.value is MISSING else (self.value, self.finished)

    def from_checkpoint(self, checkpoint: tuple[Value, bool] | Any) -> Self:
        """A channel of its own with what was stored."""
        twin = self.__class__(self.typ, self.key)
        if checkpoint is not MISSING:
            twin.value, twin.finished = checkpoint
        return twin

    def get(self) -> Value:
        """The value, if it shows."""
        if self.value is MISSING or not self.finished:
            raise EmptyChannelError
        return self.value

    def peek(self) -> Value | Any:
        """The value if it shows, or ``MISSING``."""
        return self.value if self.finished else MISSING

    def update(self, values: Sequence[Value]) -> bool:
        """Take the last write, and hide it."""
        if not values:
            return False
        self.finished = False
        self.value = values[-1]
        return True

    def consume(self) -> bool:
        """Forget the value, if it has been shown."""
        if not self.finished:
            return False
        self.finished = False
        self.value = MISSING
        return True

    def finish(self) -> bool:
        """Show the value, if there is one."""
        if self.finished or self.value is MISSING:
            return False
        self.finished = True
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
