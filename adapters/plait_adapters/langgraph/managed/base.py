"""What a managed value is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import isclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeGuard, TypeVar

from plait_adapters.langgraph._support import missing

__all__ = ("ManagedValue", "ManagedValueMapping", "ManagedValueSpec", "is_managed_value")

V = TypeVar("V")


class Progress(Protocol):
    """How far a run has come."""

    @property
    def step(self) -> int:
        """The number of the step that is about to be taken."""
        ...

    @property
    def stop(self) -> int:
        """The number of the first step that the run may not take."""
        ...


class ManagedValue(ABC, Generic[V]):
    """A value of the state that is made when it is read."""

    @staticmethod
    @abstractmethod
    def get(scratchpad: Progress) -> V:
        """Make the value for the step at which a run is."""


ManagedValueSpec: TypeAlias = type[ManagedValue[Any]]
"""A class of managed values, as a schema names it."""

ManagedValueMapping: TypeAlias = dict[str, ManagedValueSpec]
"""Managed values by their keys in the state."""


def is_managed_value(value: Any) -> TypeGuard[ManagedValueSpec]:
    """Whether something in an annotation is a class of managed values."""
    return isclass(value) and issubclass(value, ManagedValue)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
