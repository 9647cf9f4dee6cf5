"""A channel that is never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import InvalidUpdateError

from ._single import SingleValue
from .base import Value

__all__ = ("UntrackedValue",)


class UntrackedValue(SingleValue[Value], Generic[Value]):
    """Keeps what was written last for this run; no checkpoint holds it.

    Args:
        typ: the type of its values.
        guard: refuse a second write in a step; else the last counts.
    """

    __slots__ = ("guard",)

    lives_on: ClassVar[bool] = True

    def __init__(self, typ: Any, guard: bool = True) -> None:
        super().__init__(typ)
        self.guard: bool = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntrackedValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def _empty(self) -> Self:
        twin = self.__class__(self.typ, self.guard)
        twin.key = self.key
        return twin

    def checkpoint(self) -> Any:
        """Nothing."""
        return MISSING

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """An empty channel."""
        return self._empty()

    def update(self, values: Sequence[Value]) -> bool:
        """Take the write of a step."""
        if not values:
            return False
        if self.guard and len(values) != 1:
            raise InvalidUpdateError(
                f"At key '{self.key}': UntrackedValue(guard=True) can receive only one value "
                f"per step. Use guard=False if you want to store any one of multiple values."
            )
        self.value = values[-1]
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
