"""What specialists hand back: findings, measures, and how good they are with the reason."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BranchResult", "Finding", "Measure", "Share"]

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Finding(_Record):
    """A passage, quoted word for word."""

    quote: str
    """The passage."""
    source: str
    """The source in the brief that it is from."""
    document: str
    """The document: `pydoc:async`, `dist:anyio`, or a file."""
    place: str
    """Where in the document."""
    score: float
    """BM25 for the question plus half of that for the focus; compares within one task only."""


class Measure(_Record):
    """A number that was computed from a table."""

    name: str
    """What it is."""
    value: float
    """The number, in the unit of its column."""
    low: float | None = None
    """The lower end of its interval, where one was computed."""
    high: float | None = None
    """The upper end of its interval."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The share of such intervals that should hold the true value."""
    n: int
    """Rows that it was computed from."""
    how: str
    """How it was computed."""


class BranchResult(_Record):
    """What one specialist found out."""

    task: str
    """The id of the task."""
    type: Literal["research", "analysis"]
    """Which specialist did it."""
    heading: str
    """What the task is about."""
    branch: str = ""
    """Which specialist's branch it came from: `technical`, `market`, `primary`, ..."""
    findings: tuple[Finding, ...] = ()
    """Quoted passages, best first; research has them."""
    measures: tuple[Measure, ...] = ()
    """Numbers; an analysis has them."""
    quality: Share
    """How good the result is, by `quality_how`."""
    quality_how: str
    """The formula of the quality, with its numbers."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How long the specialist took."""
    read: str
    """What was read: counts of documents, passages, rows."""
    sources: tuple[tuple[str, Share], ...] = ()
    """The documents that the result rests on, with their shares of it, which sum to 1; or none."""
    notes: tuple[str, ...] = ()
    """What a reader must know to trust the result as far as it goes."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision that it is from."""

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        return not self.findings and not self.measures
