"""How many steps a run has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from plait_adapters.langgraph._support import missing

from .base import ManagedValue, Progress

__all__ = ("IsLastStep", "IsLastStepManager", "RemainingSteps", "RemainingStepsManager")


class IsLastStepManager(ManagedValue[bool]):
    """Whether the step is the last one that the recursion limit allows."""

    @staticmethod
    def get(scratchpad: Progress) -> bool:
        """Compare the step with the limit."""
        return scratchpad.step == scratchpad.stop - 1


IsLastStep = Annotated[bool, IsLastStepManager]
"""Whether the step is the last one that the recursion limit allows."""


class RemainingStepsManager(ManagedValue[int]):
    """How many steps the recursion limit still allows, this one included."""

    @staticmethod
    def get(scratchpad: Progress) -> int:
        """Count from the step to the limit."""
        return scratchpad.stop - scratchpad.step


RemainingSteps = Annotated[int, RemainingStepsManager]
"""How many steps the recursion limit still allows, this one included."""


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
