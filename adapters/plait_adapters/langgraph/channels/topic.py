"""A channel that collects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import EmptyChannelError

from .base import BaseChannel, Value

__all__ = ("Topic",)


def _flat(values: Sequence[Value | list[Value]]) -> Iterator[Value]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


class Topic(BaseChannel[Sequence[Value], Value | list[Value], list[Value]], Generic[Value]):
    """All values that a step wrote; lists are taken apart.

    Args:
        typ: the type of one value.
        accumulate: keep those of all steps.
    """

    __slots__ = ("accumulate", "values")

    def __init__(self, typ: type[Value], accumulate: bool = False) -> None:
        super().__init__(typ)
        self.accumulate: bool = accumulate
        self.values: list[Value] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topic) and other.accumulate == self.accumulate

    __hash__ = None  # type: ignore[assignment]

    @property
    def ValueType(self) -> Any:
        """A sequence of the values' type."""
        return Sequence[self.typ]  # type: ignore[name-defined]

    @property
    def UpdateType(self) -> Any:
        """The values' type, or a list of it."""
        return self.typ | list[self.typ]  # type: ignore[name-defined]

    def _with(self, values: list[Value]) -> Self:
        twin = self.__class__(self.typ, self.accumulate)
        twin.key = self.key
        twin.values = values
        return twin

    def copy(self) -> Self:
        """A channel of its own with the same values."""
        return self._with(self.values.copy())

    def checkpoint(self) -> list[Value]:
        """The values."""
        return self.values

    def from_checkpoint(self, checkpoint: list[Value] | Any) -> Self:
        """A channel of its own with what was stored; earlier versions stored a pair."""
        if checkpoint is MISSING:
            return self._with([])
        return self._with(checkpoint[1] if isinstance(checkpoint, tuple) else checkpoint)

    def get(self) -> Sequence[Value]:
        """The values."""
        if not self.values:
            raise EmptyChannelError
        return list(self.values)

    def is_available(self) -> bool:
        """Whether there are values."""
        return bool(self.values)

    def update(self, values: Sequence[Value | list[Value]]) -> bool:
        """Take the writes of a step, and forget those of the one before."""
        new = list(_flat(values))
        if self.accumulate:
            # A list of its own: the one before may be in a checkpoint that is being stored.
            self.values = [*self.values, *new] if new else self.values
            return bool(new)
        changed = bool(self.values or new)
        self.values = new
        return changed


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
