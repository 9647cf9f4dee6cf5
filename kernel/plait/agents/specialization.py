"""What makes an agent of a type fit for one task: the parameters of each kind of specialist."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AnalysisSpecialization",
    "ResearchSpecialization",
    "Share",
    "Specialization",
    "SynthesisSpecialization",
]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A number from 0 to 1."""


class Specialization(BaseModel):
    """What every agent can be told. Users derive from it for their own types."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    quality_threshold: Share = 0.0
    """The quality to aim at: below it, the agent is asked to improve its result, as often as the
    iteration limit allows."""
    response_time_target: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds within which a task should be done: after them no further iteration begins, and the
    record says that the target was missed."""
    iteration_limit: Annotated[int, Field(ge=1)] = 1
    """How many times the agent may be called for one attempt, the first included."""


class ResearchSpecialization(Specialization):
    """For those that look for what is said."""

    focus: str = ""
    """Words that lift a passage, without being asked for."""
    depth: Annotated[int, Field(ge=1, le=100)] = 3
    """The most passages to quote."""
    sources: tuple[str, ...] = ()
    """Where to look; without them, where the task says."""
    fact_checking: bool = True
    """Whether each quotation is looked up in its document again before it is handed over."""


class AnalysisSpecialization(Specialization):
    """For those that compute."""

    framework: Literal["describe", "correlation", "trend", "groups"] | None = None
    """The kind of analysis; without it, what the task says."""
    methods: tuple[Literal["bootstrap", "point"], ...] = ("bootstrap",)
    """``bootstrap`` gives numbers an interval, ``point`` leaves them without."""
    charts: bool = False
    """Whether the numbers are drawn as well, in text."""
    confidence_level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The share of intervals that should hold the true value."""


class SynthesisSpecialization(Specialization):
    """For those that make one text of many findings."""

    style: Literal["prose", "bullets"] = "prose"
    """Sentences one after the other, or one to a line."""
    audience: Literal["general", "expert"] = "expert"
    """For ``general``, plain sentences are preferred: short ones, of short words, without code."""
    length: Annotated[int, Field(ge=1)] = 120
    """The most words of the text, citations not counted."""
    citations: Literal["numbers", "names", "none"] = "numbers"
    """How a sentence names its source: ``[1]`` with a list, ``(pydoc:async)``, or not at all."""
