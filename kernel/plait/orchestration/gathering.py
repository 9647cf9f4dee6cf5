"""What follows a sync point: on to the merge, on without some, recovery, or the end.

Progress is arrived over required, by the weights of the tasks. 1 proceeds. What the quorum asks
for (three quarters, unless the brief says otherwise) proceeds conditionally; the sync point has
given the others its grace time by then. Below that it has waited, which costs nothing, until nobody
could arrive any more or its time was up: then what is missing is recovered, as long as there are
rounds left and somebody might do better.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from plait import ALL, ANY, Join, Outcome
from plait.orchestration.balancing import Shortage
from plait.orchestration.brief import Brief, JoinPolicy, Quorum, SyncPoint, Task
from plait.orchestration.errors import is_permanent
from plait.orchestration.merge import absences_of
from plait.orchestration.results import Share
from plait.orchestration.settings import Settings
from plait.orchestration.state import Decision

__all__ = ["decide", "join_of", "progress_of", "quorum_met", "shortages_of"]


def join_of(policy: JoinPolicy | SyncPoint, settings: Settings) -> Join:
    """The policy of a sync point of a brief, as the kernel understands it.

    It opens also with nobody there: what follows is decided behind it. Only `on_timeout = "raise"`
    lets the run fail in the sync point itself.
    """
    words = {"all": ALL, "any": ANY}
    quorum = policy.quorum
    grace = policy.grace
    if grace is None:
        grace = settings.grace if quorum is None else 0.0
    raises = isinstance(policy, JoinPolicy) and policy.on_timeout == "raise"
    timeout = policy.timeout
    if timeout is None and isinstance(policy, JoinPolicy):
        timeout = settings.deadline
    return Join(
        quorum=words[quorum] if isinstance(quorum, str) else quorum or settings.quorum or ANY,
        grace=grace,
        timeout=timeout,
        on_timeout="raise" if raises else "proceed",
        minimum=policy.minimum if isinstance(policy, JoinPolicy) and raises else 0,
    )


def progress_of(required: Sequence[Task], arrived: Collection[str]) -> Share:
    """Arrived over required, by the weights of the tasks; 1 where none is required."""
    total = sum(task.weight for task in required)
    if all(task.id in arrived for task in required):
        return 1.0
    return sum(task.weight for task in required if task.id in arrived) / total


def quorum_met(
    quorum: Quorum | None, required: Sequence[Task], arrived: Collection[str], settings: Settings
) -> tuple[bool, str]:
    """Whether enough have arrived, over all rounds, and what that is measured by."""
    count = sum(task.id in arrived for task in required)
    progress = progress_of(required, arrived)
    if quorum == "all":
        return progress == 1.0, "all tasks are asked for"
    if quorum == "any":
        return count > 0, "any task is enough"
    if isinstance(quorum, Mapping):
        weight = sum(value for name, value in quorum.items() if name in arrived)
        return weight >= 1 - 1e-12, f"weights of {weight:g} have arrived, and 1 is asked for"
    if isinstance(quorum, int):
        return count >= min(quorum, len(required)), f"{quorum} tasks are asked for"
    share = settings.quorum if quorum is None else quorum
    return progress >= share * (1 - 1e-12), f"{share:.0%} of the weight is asked for"


def decide(
    brief: Brief,
    arrived: Collection[str],
    outcome: Outcome,
    settings: Settings,
    *,
    rounds_left: int,
    recoverable: int,
) -> tuple[Decision, str]:
    """What follows the last sync point, and why.

    Args:
        brief: its policy and its tasks.
        arrived: the tasks that have a result, from whatever round.
        outcome: how the sync point opened.
        settings: the quorum where the brief names none.
        rounds_left: how many rounds of recovery there may be.
        recoverable: how many of the missing tasks somebody might do.
    """
    progress = progress_of(brief.tasks, arrived)
    count = f"{len(arrived)} of {len(brief.tasks)} tasks have a result (progress {progress:.2f})"
    if progress == 1.0:
        return "proceed", count
    enough, asked = quorum_met(brief.join.quorum, brief.tasks, arrived, settings)
    if enough and len(arrived) >= brief.join.minimum:
        return "conditional", f"{count}; {asked}"
    short = f"{count}, and {asked}"
    if outcome.status == "timeout" and brief.join.on_timeout == "proceed":
        return _without(brief, arrived, f"{short}; the time was up, and then it is to proceed")
    if not recoverable:
        return _without(brief, arrived, f"{short}; nobody could do better at what is missing")
    if not rounds_left:
        return _without(brief, arrived, f"{short}; no round of recovery is left")
    return "recover", f"{short}; {recoverable} of those that are missing may go better"


def _without(brief: Brief, arrived: Collection[str], why: str) -> tuple[Decision, str]:
    minimum = brief.join.minimum
    if len(arrived) < minimum:
        return "fail", f"{why}; {minimum} at least are asked for"
    return "conditional", why


def shortages_of(outcome: Outcome) -> list[Shortage]:
    """The tasks that did not arrive at a sync point, each with the reason."""
    errors = {one.id or one.node: one.error for one in outcome.missing}
    shortages = []
    for absence in absences_of(outcome):
        error = errors.get(absence.task)
        cause = error.__cause__ if error is not None else None
        shortages.append(
            Shortage(
                task=absence.task,
                kind="missing",
                reason=absence.reason,
                permanent=cause is not None and is_permanent(cause),
            )
        )
    return shortages
