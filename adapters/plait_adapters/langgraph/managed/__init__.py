"""Values of the state that the engine makes: nobody writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

from .is_last_step import IsLastStep, RemainingSteps

__all__ = ("IsLastStep", "RemainingSteps")


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
