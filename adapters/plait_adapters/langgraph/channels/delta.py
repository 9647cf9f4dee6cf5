"""A channel of which checkpoints hold the writes, and only now and then the value."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from plait_adapters.langgraph._internal._constants import MISSING
from plait_adapters.langgraph._support import missing

from ._concrete import concrete, overwritten, same_reducer, second_overwrite
from ._single import SingleValue
from .base import Value

__all__ = ("DeltaChannel",)


class DeltaChannel(SingleValue[Value], Generic[Value]):
    """Folds the writes of a step into the value, all at once, by a reducer.

    What is stored with a checkpoint is its step's writes; the value itself is stored after so many
    updates. So a long history that grows by a little at each step is not written anew each time.

    Args:
        reducer: called with the value and the list of a step's writes. Folding the lists of two
            steps one after the other must give what folding their concatenation gives.
        typ: the type of the value; by default, that of the annotation.
        snapshot_frequency: after how many updates the value is stored.
    """

    __slots__ = ("reducer", "snapshot_frequency")

    lives_on: ClassVar[bool] = True

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: type[Value] | None = None,
        *,
        snapshot_frequency: int = 100,
    ) -> None:
        if snapshot_frequency <= 0:
            raise ValueError(f"snapshot_frequency must be a positive int, got {snapshot_frequency}")
        super().__init__(concrete(list if typ is None else typ))
        self.reducer: Callable[[Any, Sequence[Any]], Any] = reducer
        self.snapshot_frequency: int = snapshot_frequency

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeltaChannel)
            and self.snapshot_frequency == other.snapshot_frequency
            and same_reducer(self.reducer, other.reducer)
        )

    __hash__ = None  # type: ignore[assignment]

    def _empty(self) -> Self:
        twin = self.__class__(self.reducer, self.typ, snapshot_frequency=self.snapshot_frequency)
        twin.key = self.key
        return twin

    def copy(self) -> Self:
        """A channel of its own with a copy of the value."""
        twin = self._empty()
        twin.value = self.value if self.value is MISSING else copy.copy(self.value)
        return twin

    def checkpoint(self) -> Any:
        """Nothing: the writes are stored, and a snapshot is the engine's decision."""
        return MISSING

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """A channel of its own with a snapshot, or the empty value."""
        twin = self._empty()
        if checkpoint is MISSING:
            twin.value = self.typ()
        elif type(checkpoint).__name__ == "_DeltaSnapshot":
            twin.value = checkpoint.value
        else:
            twin.value = checkpoint
        return twin

    def replay_writes(self, writes: Sequence[tuple[str, str, Any]]) -> None:
        """Fold writes of many steps, as they are stored, over the value. The last overwrite
        counts."""
        values = [value for _, _, value in writes]
        if not values:
            return
        base, rest = self.value, values
        for index, value in enumerate(values):
            is_overwrite, new = overwritten(value)
            if is_overwrite:
                base, rest = self._fresh(new), values[index + 1 :]
        self.value = self.reducer(base, rest) if rest else base

    def _fresh(self, value: Any) -> Any:
        return self.typ() if value is None else copy.copy(value)

    def update(self, values: Sequence[Any]) -> bool:
        """Fold the writes of a step; one that overwrites stands for all."""
        if not values:
            return False
        replacements = [new for is_overwrite, new in map(overwritten, values) if is_overwrite]
        if len(replacements) > 1:
            raise second_overwrite()
        if replacements:
            self.value = self._fresh(replacements[0])
        else:
            base = self.typ() if self.value is MISSING else self.value
            self.value = self.reducer(base, list(values))
        return True


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
