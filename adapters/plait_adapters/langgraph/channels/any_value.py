"""A channel that takes any of several writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing

from ._single import SingleValue
from .base import Value

__all__ = ("AnyValue",)


class AnyValue(SingleValue[Value], Generic[Value]):
    """Keeps the last write of a step, taking all for equal; empty after a step without any."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyValue)

    __hash__ = None  # type: ignore[assignment]

    def update(self, values: Sequence[Value]) -> bool:
        """Take the last write, or forget the value."""
        if not values:
            changed = self.value is not MISSING
            self.value = MISSING
            return changed
        self.value = values[-1]
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
