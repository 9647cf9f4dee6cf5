"""What branches and nodes took: records that are kept with the thread, and what they teach.

Averages of a branch are exponentially weighted, so that they follow a change: each new record
counts `WEIGHT`, and all before it the rest. A branch of which nothing is known is taken to be
as good as the mean of those of which something is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.results import Share

__all__ = [
    "BranchRecord",
    "BranchStatistics",
    "Expectation",
    "NodeRecord",
    "PerformanceTracker",
    "RecordStatus",
    "wall_time",
]

WEIGHT = 0.3
"""What a new record counts for in an average, beside all before it."""

RecordStatus: TypeAlias = Literal["arrived", "failed", "late", "cancelled", "dead"]

_Seconds = Annotated[float, Field(ge=0)]


def wall_time() -> float:
    """Seconds since the epoch, by the clock of the event loop where that has one of its own.

    A simulated loop does, so that records of a simulated run are the same in each run.
    """
    wall: Callable[[], float] = time.time
    try:
        wall = getattr(asyncio.get_running_loop(), "wall_time", time.time)
    except RuntimeError:  # another backend, or no loop at all
        pass
    return wall()


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class BranchRecord(_Record):
    """What one task took in one round."""

    task: str
    """The id of the task."""
    branch: str
    """The branch that did it: `technical`, `primary`, ..."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision."""
    status: RecordStatus
    """What became of it."""
    ready: float | None = None
    """When it could have begun, in seconds since the epoch. None, here and below: not known, since
    the process died or the branch was cancelled before."""
    began: float | None = None
    """When it had its places and began."""
    ended: float | None = None
    """When it was done or had failed."""
    waited: _Seconds | None = None
    """Seconds from its end until its sync point opened."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """Attempts that had begun."""
    size: Annotated[int, Field(ge=0)] = 0
    """Bytes of its sources."""
    results: Annotated[int, Field(ge=0)] = 0
    """Findings and measures."""
    quality: Share | None = None
    """The quality of its result."""
    cpu_seconds: _Seconds | None = None
    """CPU time of its worker thread; None for a specialist that has none of its own."""
    memory: Annotated[int, Field(ge=0)] | None = None
    """Bytes that the whole process had when it ended."""
    error: str = ""
    """Why it failed, beginning with the name of the exception's class."""

    @property
    def seconds(self) -> float | None:
        """How long the last attempt took."""
        if self.began is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.began)

    @property
    def queued(self) -> float | None:
        """How long it waited for its places."""
        if self.ready is None or self.began is None:
            return None
        return max(0.0, self.began - self.ready)

    @property
    def throughput(self) -> float | None:
        """Findings and measures per second."""
        return self.results / self.seconds if self.seconds else None


class NodeRecord(_Record):
    """What one call of a node of the orchestrator's own took."""

    node: str
    """The node."""
    round: Annotated[int, Field(ge=0)] = 0
    """0, or the number of the revision."""
    began: float
    """When it began, in seconds since the epoch."""
    ended: float
    """When it was done."""
    cpu_seconds: _Seconds
    """CPU time of the whole process meanwhile, so with that of branches at work beside it."""
    memory: Annotated[int, Field(ge=0)] | None = None
    """Bytes that the process had when it was done."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.ended - self.began)


@dataclass(frozen=True, slots=True)
class BranchStatistics:
    """What is known of a branch; averages are exponentially weighted."""

    branch: str
    """The branch."""
    runs: int = 0
    """Records that it is from."""
    seconds: float | None = None
    """Mean seconds for a task."""
    pace: float | None = None
    """Mean seconds for a byte of sources."""
    failures: float = 0.0
    """Part of the tasks that gave no result."""
    quality: float | None = None
    """Mean quality of the results there were."""

    def after(self, record: BranchRecord) -> BranchStatistics:
        """With one more record."""
        failed = record.status != "arrived"
        known = replace(
            self,
            runs=self.runs + 1,
            failures=_mean(self.failures if self.runs else None, float(failed)),
        )
        if record.quality is not None:
            known = replace(known, quality=_mean(self.quality, record.quality))
        if record.seconds is not None:
            known = replace(known, seconds=_mean(self.seconds, record.seconds))
            if record.size and not failed:
                known = replace(known, pace=_mean(self.pace, record.seconds / record.size))
        return known


def _mean(before: float | None, new: float) -> float:
    return new if before is None else (1 - WEIGHT) * before + WEIGHT * new


@dataclass(frozen=True, slots=True)
class Expectation:
    """How long a task is expected to take."""

    seconds: float
    """The expectation."""
    how: str
    """Where it is from."""


class PerformanceTracker:
    """What is known of branches, from records of this run and of earlier ones.

    Args:
        records: what is known already, the oldest first.
        bytes_per_second: how fast sources are reckoned to be worked through where nothing is known.
    """

    def __init__(
        self, records: Iterable[BranchRecord] = (), *, bytes_per_second: float = 2_000_000.0
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._statistics: dict[str, BranchStatistics] = {}
        self._records: dict[tuple[str, int], BranchRecord] = {}
        self._tasks: dict[tuple[str, str], float] = {}
        for record in records:
            self._learn(record)

    @property
    def statistics(self) -> Mapping[str, BranchStatistics]:
        """What is known of each branch of which something is."""
        return self._statistics

    def note(self, record: BranchRecord) -> None:
        """Take in a record of this run; a second one of a task and round takes the first's place.

        What a branch has learnt from the first stays: it was another attempt.
        """
        self._records[record.task, record.round] = record
        self._learn(record)

    def record_of(self, task: str, round_: int) -> BranchRecord | None:
        """The record of a task in a round of this run, if this process has seen it."""
        return self._records.get((task, round_))

    def of(self, branch: str) -> BranchStatistics:
        """What is known of a branch."""
        return self._statistics.get(branch) or BranchStatistics(branch)

    def expect(self, task: str, branch: str, size: int, complexity: float) -> Expectation:
        """How long a task is expected to take in a branch.

        Args:
            task: its id; the same task in an earlier run is the best guess.
            branch: the branch.
            size: bytes of its sources.
            complexity: as the brief declares it, 0 to 1; it scales what is expected by size alone
                from half (0) over once (0.5) to one and a half (1).
        """
        known = self._tasks.get((branch, task))
        if known is not None:
            return Expectation(known, f"what `{task}` took in `{branch}` before")
        factor = 0.5 + complexity
        pace = self.of(branch).pace
        if pace is not None:
            return Expectation(
                size * pace * factor,
                f"{size:,} bytes at the {1 / pace if pace else float('inf'):,.0f} bytes/s of "
                f"`{branch}` so far × {factor:.2f} for its declared complexity",
            )
        return Expectation(
            size / self._bytes_per_second * factor,
            f"{size:,} bytes at {self._bytes_per_second:,.0f} bytes/s (no history) "
            f"× {factor:.2f} for its declared complexity",
        )

    def _learn(self, record: BranchRecord) -> None:
        self._statistics[record.branch] = self.of(record.branch).after(record)
        if record.status == "arrived" and record.seconds is not None:
            key = (record.branch, record.task)
            self._tasks[key] = _mean(self._tasks.get(key), record.seconds)
