"""A channel whose value lasts for one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import InvalidUpdateError

from ._single import SingleValue
from .base import Value

__all__ = ("EphemeralValue",)


class EphemeralValue(SingleValue[Value], Generic[Value]):
    """Keeps a write for one step.

    Args:
        typ: the type of its values.
        guard: refuse a second write in a step; else the last counts.
    """

    __slots__ = ("guard",)

    def __init__(self, typ: Any, guard: bool = True) -> None:
        super().__init__(typ)
        self.guard: bool = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EphemeralValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def _empty(self) -> Self:
        twin = self.__class__(self.typ, self.guard)
        twin.key = self.key
        return twin

    def update(self, values: Sequence[Value]) -> bool:
        """Take the write of a step, or forget the value."""
        if not values:
            changed = self.value is not MISSING
            self.value = MISSING
            return changed
        if self.guard and len(values) != 1:
            raise InvalidUpdateError(
                f"At key '{self.key}': EphemeralValue(guard=True) can receive only one value "
                f"per step. Use guard=False if you want to store any one of multiple values."
            )
        self.value = values[-1]
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
