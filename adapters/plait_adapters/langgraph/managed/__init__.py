"""Values of the state that the engine makes: nobody writes them."""

from __future__ import annotations

from .is_last_step import IsLastStep, RemainingSteps

__all__ = ("IsLastStep", "RemainingSteps")
