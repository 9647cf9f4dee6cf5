"""What a machine asks its driver to do."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .errors import PlaitError
from .events import BranchForked, BranchPath, NodeName, SyncPointOpened, TimerKey
from .policy import Arrival

__all__ = [
    "CancelBranch",
    "Command",
    "Fail",
    "Finish",
    "JudgeQuorum",
    "Notify",
    "RouteBranch",
    "RunNode",
    "StartTimer",
    "StopTimer",
]


class RunNode(NamedTuple):
    """Call a node, and report ``NodeCompleted`` or ``NodeFailed``."""

    branch: BranchPath
    node: NodeName
    step: int
    """How many places the branch has passed before: with the path, it names this call."""


class RouteBranch(NamedTuple):
    """Ask the routers behind START or a sync point, and report ``Routed``."""

    branch: BranchPath
    node: NodeName
    step: int


class CancelBranch(NamedTuple):
    """Stop whatever this branch is doing. Nothing of it is reported any more."""

    branch: BranchPath
    step: int


class StartTimer(NamedTuple):
    """Report ``TimerFired`` once the time is ``due``."""

    timer: TimerKey
    due: float
    """Seconds since the epoch."""


class StopTimer(NamedTuple):
    """That timer is no longer wanted."""

    timer: TimerKey


class JudgeQuorum(NamedTuple):
    """Ask a quorum that is a predicate, and report ``QuorumJudged``."""

    branch: BranchPath
    generation: int
    sync_point: NodeName
    arrivals: tuple[Arrival, ...]


class Notify(NamedTuple):
    """Tell whoever reads the stream; nothing else follows."""

    event: BranchForked | SyncPointOpened


class Finish(NamedTuple):
    """The run is completed; ``Machine.values`` is its final state."""


class Fail(NamedTuple):
    """The run fails with this error."""

    error: PlaitError


Command: TypeAlias = (
    RunNode
    | RouteBranch
    | CancelBranch
    | StartTimer
    | StopTimer
    | JudgeQuorum
    | Notify
    | Finish
    | Fail
)
