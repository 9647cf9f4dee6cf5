"""The load balancer: who does again what is missing or not good enough.

The score of a branch is 0.4 × quality + 0.4 × (1 − failures) + 0.2 / (1 + seconds / 60), from
what was measured of it in this run and in earlier ones (exponentially weighted means). It is
divided by 1 + tasks / places for the tasks that the round has allotted to it already, so that one
good branch does not get everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from plait.orchestration.allocation import QueuedTask
from plait.orchestration.branches import ANALYSIS, RESEARCH
from plait.orchestration.brief import Task
from plait.orchestration.performance import BranchRecord, BranchStatistics, PerformanceTracker
from plait.orchestration.settings import Settings

__all__ = [
    "BalancingMetrics",
    "BranchScore",
    "GivenUp",
    "LoadBalancer",
    "Rebalancing",
    "Shortage",
]

QUALITY_PART = 0.4
SUCCESS_PART = 0.4
SPEED_PART = 0.2


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Shortage(_Record):
    """A task that has no result, or none that is good enough."""

    task: str
    """The id of the task."""
    kind: Literal["missing", "wanting"]
    """No result, or not a good one."""
    reason: str
    """What became of it, or what is wanting."""
    permanent: bool = False
    """Whether it would fail in the same way again, whoever does it."""


class GivenUp(_Record):
    """A task that is not done again."""

    task: str
    """The id of the task."""
    why: str
    """Why not."""


class BranchScore(_Record):
    """How well a branch did."""

    branch: str
    """The branch."""
    score: float
    """0 to 1."""
    how: str
    """The formula, with its numbers."""


class Rebalancing(_Record):
    """What the load balancer decided for one round."""

    round: int
    """The number of the revision, from 1."""
    reason: str
    """Why there is one."""
    queue: tuple[QueuedTask, ...]
    """What is done again, and by whom."""
    given_up: tuple[GivenUp, ...]
    """What is not."""
    scores: tuple[BranchScore, ...]
    """How well the branches did, best first."""


class BalancingMetrics(_Record):
    """How the load was spread."""

    width: int
    """Branches that could work at once when this was written."""
    width_lowest: int
    """The lowest that this was."""
    width_highest: int
    """The highest that this was."""
    at_work_peak: int
    """The most branches that were at work at once."""
    overloads: int
    """How often a limit was made smaller."""
    limits: dict[str, int]
    """The limit of each branch when this was written."""
    pools: dict[str, int]
    """The places of each branch's pool."""
    peaks: dict[str, int]
    """The most places of each pool that were taken at once, by all runs."""
    rounds: tuple[Rebalancing, ...] = ()
    """What was reallotted, round by round."""


class LoadBalancer:
    """Chooses the branch for each task that is to be done again.

    Args:
        settings: pools.
        repeatable: the types of task that are worth repeating for a better result. An analysis is
            not, unless a specialist of yours makes it so: the same table gives the same numbers.
        deepest: the greatest depth to which a task is repeated for a better result.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        repeatable: Collection[str] = ("research",),
        deepest: int = 3,
    ) -> None:
        self._settings = settings or Settings()
        self._repeatable = frozenset(repeatable)
        self._deepest = deepest

    def score(self, branch: BranchStatistics, others: Sequence[BranchStatistics]) -> BranchScore:
        """How well a branch did; what is not known of it is taken to be as the others' mean.

        Nothing known of any: quality 0.5, no failures, no time.
        """
        quality = _known([branch.quality], [other.quality for other in others], 0.5)
        seconds = _known([branch.seconds], [other.seconds for other in others], 0.0)
        rates = [other.failures if other.runs else None for other in (branch, *others)]
        failures = _known(rates[:1], rates[1:], 0.0)
        score = (
            QUALITY_PART * quality + SUCCESS_PART * (1 - failures) + SPEED_PART / (1 + seconds / 60)
        )
        return BranchScore(
            branch=branch.branch,
            score=score,
            how=f"{QUALITY_PART} × {quality:.2f} + {SUCCESS_PART} × (1 - {failures:.2f}) "
            f"+ {SPEED_PART} / (1 + {seconds:.2f} / 60), from {branch.runs} records",
        )

    def hopeless(self, shortage: Shortage, task: Task, depth: int) -> str | None:
        """Why a task is not done again, or None if it is worth it.

        Args:
            shortage: what is wrong with it.
            task: the task.
            depth: how thoroughly it was done last.
        """
        if shortage.permanent:
            return f"every branch would fail in the same way: {shortage.reason}"
        if shortage.kind == "wanting":
            if task.type not in self._repeatable:
                return f"an {task.type} of the same sources gives the same result"
            if depth >= self._deepest:
                return f"it was done to depth {depth} already, which is the greatest"
        return None

    def reallot(
        self,
        shortages: Sequence[Shortage],
        tasks: Mapping[str, Task],
        records: Sequence[BranchRecord],
        depths: Mapping[str, int],
        tracker: PerformanceTracker,
        round_: int,
        reason: str,
    ) -> Rebalancing:
        """Decide what is done again, and by whom.

        Args:
            shortages: what is missing or wanting, at most one for each task.
            tasks: the tasks by id.
            records: what was measured of them in this run.
            depths: how thoroughly each was done last.
            tracker: what is known of the branches.
            round_: the number of the revision, from 1.
            reason: why there is one.
        """
        queue: list[QueuedTask] = []
        given_up: list[GivenUp] = []
        used: dict[str, int] = {}
        for shortage in shortages:
            task, depth = tasks[shortage.task], depths.get(shortage.task, 1)
            if why := self.hopeless(shortage, task, depth):
                given_up.append(GivenUp(task=task.id, why=why))
                continue
            tried = [
                record.branch
                for record in records
                if record.task == task.id and record.status != "arrived"
            ]
            chosen = self._choose(task, tried, tracker, used)
            used[chosen.branch] = used.get(chosen.branch, 0) + 1
            wrong = shortage.reason.rstrip(".")
            again = f"after {wrong}" if shortage.kind == "missing" else wrong
            queue.append(
                QueuedTask(
                    task=task.id,
                    branch=chosen.branch,
                    why=f"again ({again}): the best score ({chosen.score:.2f} = {chosen.how})"
                    + (" of those that have not failed at it" if tried else ""),
                    depth=depth + 1 if shortage.kind == "wanting" else depth,
                )
            )
        return Rebalancing(
            round=round_,
            reason=reason,
            queue=tuple(queue),
            given_up=tuple(given_up),
            scores=tuple(self._scores((*RESEARCH, *ANALYSIS), tracker)),
        )

    def _choose(
        self,
        task: Task,
        tried: Collection[str],
        tracker: PerformanceTracker,
        used: Mapping[str, int],
    ) -> BranchScore:
        branches = RESEARCH if task.type == "research" else ANALYSIS
        fresh = [branch for branch in branches if branch not in tried] or list(branches)

        def worth(scored: BranchScore) -> float:
            places = self._settings.pool_of(scored.branch)
            return scored.score / (1 + used.get(scored.branch, 0) / places)

        return max(self._scores(fresh, tracker), key=worth)

    def _scores(self, branches: Sequence[str], tracker: PerformanceTracker) -> list[BranchScore]:
        known = [tracker.of(branch) for branch in (*RESEARCH, *ANALYSIS)]
        scores = [
            self.score(tracker.of(name), [one for one in known if one.branch != name])
            for name in branches
        ]
        return sorted(scores, key=lambda scored: -scored.score)


def _known(own: Sequence[float | None], others: Sequence[float | None], nothing: float) -> float:
    for values in (own, others):
        known = [value for value in values if value is not None]
        if known:
            return fmean(known)
    return nothing
