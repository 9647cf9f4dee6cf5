"""A channel with a reducer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, cast

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing

from ._concrete import concrete, overwritten, same_reducer, second_overwrite
from ._single import SingleValue
from .base import Value

__all__ = ("BinaryOperatorAggregate",)


class BinaryOperatorAggregate(SingleValue[Value], Generic[Value]):
    """Folds each write into the value by a reducer.

    It begins with the empty value of its type; where the type cannot be called for one, with the
    first write. An ``Overwrite`` replaces the value, past the reducer, and the step's later writes
    are dropped.

    Args:
        typ: the type of its values.
        operator: the reducer, called with the value and a write.
    """

    __slots__ = ("operator",)

    lives_on: ClassVar[bool] = True

    def __init__(self, typ: type[Value], operator: Callable[[Value, Value], Value]) -> None:
        super().__init__(typ)
        self.operator: Callable[[Value, Value], Value] = operator
        try:
            self.value = concrete(typ)()
        except Exception:
            self.value = MISSING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinaryOperatorAggregate) and same_reducer(
            self.operator, other.operator
        )

    __hash__ = None  # type: ignore[assignment]

    def _empty(self) -> Self:
        twin = self.__class__(self.typ, self.operator)
        twin.key = self.key
        return twin

    def from_checkpoint(self, checkpoint: Value | Any) -> Self:
        """A channel of its own with what was stored, also by a ``DeltaChannel`` of the same key."""
        if type(checkpoint).__name__ == "_DeltaSnapshot":
            checkpoint = cast("Any", checkpoint).value
        return super().from_checkpoint(checkpoint)

    def update(self, values: Sequence[Value]) -> bool:
        """Fold the writes of a step, in order."""
        if not values:
            return False
        value = self.value
        replaced = False
        if value is MISSING:
            first, *values = values
            replaced, value = overwritten(first)
            if not replaced:
                value = first
        for each in values:
            is_overwrite, new = overwritten(each)
            if is_overwrite:
                if replaced:
                    # As with a step of which some channels have taken their part: a run that
                    # stores at its end shows how far it came.
                    self.value = value
                    raise second_overwrite()
                value, replaced = new, True
            elif not replaced:
                value = self.operator(value, each)
        self.value = value
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
