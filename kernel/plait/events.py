"""What can happen in a run, as immutable records in the past tense.

Two kinds. The *journal* of a thread consists of the events that decide what follows
(:data:`JournalEvent`); the state at any point is a replay of a prefix of it. The others tell a
reader of ``Flow.stream`` what is going on, and follow from those in the journal.

Records that occur once for each node are named tuples, since making one costs a third of making
a frozen dataclass. All times (``at``, ``started``) are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .errors import PlaitError, format_path

__all__ = [
    "BranchForked",
    "BranchPath",
    "ChannelName",
    "Emitted",
    "Event",
    "GraphAdopted",
    "Interrupt",
    "InterruptId",
    "InterruptsAnswered",
    "JournalEvent",
    "NodeCompleted",
    "NodeFailed",
    "NodeInterrupted",
    "NodeName",
    "NodeRetried",
    "NodeStarted",
    "Outcome",
    "OutcomeStatus",
    "Outcomes",
    "Participant",
    "QuorumJudged",
    "Routed",
    "RunCompleted",
    "RunStarted",
    "StateUpdated",
    "SyncPointOpened",
    "Target",
    "ThreadId",
    "TimerFired",
    "TimerKey",
    "Writes",
    "format_path",
    "new_record",
]

new_record: Final = tuple.__new__
"""Makes a named tuple from its class and all its fields: in half the time that the class itself
takes, which calls a function written in Python. For those that are made once for each node."""

BranchPath: TypeAlias = tuple[int, ...]
"""Where a branch was forked: ``(0, 3, 1)`` is child 1 of child 3 of the first branch of run 0."""

NodeName: TypeAlias = str
ChannelName: TypeAlias = str
ThreadId: TypeAlias = str

InterruptId: TypeAlias = str
"""Names an interrupt in its thread: branch, step and number, as in ``0.3:2:0``. The number is
``before`` or ``after`` for one that ``compile(interrupt_before=...)`` asked for."""

Writes: TypeAlias = tuple[tuple[ChannelName, Any], ...]
"""What one node wrote: channels and values, in order, validated."""

OutcomeStatus: TypeAlias = Literal["complete", "partial", "quorum", "timeout"]


class NoArgument:
    """Says that a :class:`Target` brings no argument: the node gets the state."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_ARGUMENT"

    def __reduce__(self) -> str:
        return "NO_ARGUMENT"


NO_ARGUMENT = NoArgument()


class Target(NamedTuple):
    """One way on from a node, as its edges, its router or its ``Command`` chose it."""

    node: NodeName
    """The node, sync point or ``END`` to go to."""
    argument: Any = NO_ARGUMENT
    """What the node is called with in place of the state; ``NO_ARGUMENT`` for the state."""
    id: str | None = None
    """The name that a ``Send`` gave to its branch."""
    after: tuple[str, ...] = ()
    """The ids of the siblings for which the branch is held."""
    weight: float = 1.0
    """What the branch counts for in a quorum that is a share."""


class TimerKey(NamedTuple):
    """Which timer: one of a sync point, in one generation."""

    branch: BranchPath
    """The path of the generation's owner."""
    generation: int
    """The number of the owner's passage through the fork, from 0."""
    sync_point: NodeName
    kind: Literal["deadline", "grace"]


class Interrupt(NamedTuple):
    """A question for which a branch is parked until it is answered."""

    id: InterruptId
    """What ``Flow.resume`` wants its answer under."""
    value: Any
    """What the node passed to ``interrupt``; ``None`` before and after a node."""
    branch: BranchPath
    """The branch that is parked."""
    node: NodeName
    """The node at which it stands; ``outer/inner`` in a subgraph."""
    when: Literal["within", "before", "after"] = "within"
    """Whether the node asked, or its graph was compiled to stop before or after it."""


# -- the journal ------------------------------------------------------------------------------


class RunStarted(NamedTuple):
    """A run began on a thread."""

    at: float
    branch: BranchPath
    """The path of the run's first branch."""
    writes: Writes
    """The input, as a delta over the thread's state."""
    plan: str = ""
    """The fingerprint of the graph; empty where the journal does not outlive it."""


class NodeCompleted(NamedTuple):
    """A node returned, and what it returned was valid."""

    at: float
    branch: BranchPath
    node: NodeName
    attempt: int
    """The number of the attempt that succeeded, from 1."""
    writes: Writes
    targets: tuple[Target, ...]
    """Where the branch goes on: decided by edges, router and Command, so a replay calls none."""
    started: float
    """When this attempt began."""
    interrupts: tuple[Interrupt, ...] = ()
    """What must be answered before the branch goes on there (``interrupt_after``)."""


class NodeRetried(NamedTuple):
    """An attempt failed, and another one follows."""

    at: float
    branch: BranchPath
    node: NodeName
    attempt: int
    """The number of the attempt that failed, from 1."""
    error: BaseException
    delay: float
    """Seconds until the next attempt."""


class NodeFailed(NamedTuple):
    """The last attempt of a node failed."""

    at: float
    branch: BranchPath
    node: NodeName
    attempt: int
    error: PlaitError
    """A ``NodeError``, whose ``__cause__`` is the node's own exception."""
    handling: str
    """``"raise"``: the run fails; ``"record"``: the branch ends; else the node to go on to."""


class NodeInterrupted(NamedTuple):
    """A node asked, and its branch is parked: it is called again once all is answered."""

    at: float
    branch: BranchPath
    node: NodeName
    attempt: int
    """The number of the attempt that asked, from 1; 0 before the first."""
    interrupts: tuple[Interrupt, ...]
    """What it asked and had no answer to, in the order in which it did."""


class InterruptsAnswered(NamedTuple):
    """Somebody answered."""

    at: float
    answers: tuple[tuple[InterruptId, Any], ...]


class StateUpdated(NamedTuple):
    """Somebody wrote to the state of a thread from outside a run."""

    at: float
    branch: BranchPath
    """The branch that has the writes now; empty on a thread whose run is finished."""
    node: NodeName
    """Under whose name."""
    writes: Writes


class Routed(NamedTuple):
    """A router behind ``START`` or behind a sync point chose the way on."""

    at: float
    branch: BranchPath
    node: NodeName
    targets: tuple[Target, ...]


class TimerFired(NamedTuple):
    """The deadline or the grace time of a sync point passed."""

    at: float
    timer: TimerKey


class QuorumJudged(NamedTuple):
    """A quorum that is a predicate was asked, and this is what it said."""

    at: float
    branch: BranchPath
    """The path of the generation's owner."""
    generation: int
    sync_point: NodeName
    arrivals: int
    """How many arrivals it saw."""
    met: bool


class GraphAdopted(NamedTuple):
    """A run goes on with another graph than the one that began it."""

    at: float
    plan: str
    """The fingerprint of the graph that it goes on with."""


JournalEvent: TypeAlias = (
    RunStarted
    | NodeCompleted
    | NodeRetried
    | NodeFailed
    | Routed
    | TimerFired
    | QuorumJudged
    | GraphAdopted
    | NodeInterrupted
    | InterruptsAnswered
    | StateUpdated
)


# -- what a sync point reports ----------------------------------------------------------------


class Participant(NamedTuple):
    """One branch of a generation, as its sync point's outcome names it."""

    branch: BranchPath
    id: str | None
    """The id of its ``Send``, if it had one."""
    node: NodeName
    """The first node of the branch."""
    error: PlaitError | None = None
    """Why it failed, if it did."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sync point reports when it opens.

    Every branch that could reach it when the fork opened is in exactly one of ``arrived``,
    ``failed``, ``late``, ``cancelled`` and ``dead``, each in path order.
    """

    sync_point: NodeName
    status: OutcomeStatus
    branch: BranchPath
    """The path of the branch that forked."""
    generation: int
    """The number of that branch's passage through the fork, from 0."""
    arrived: tuple[Participant, ...] = ()
    failed: tuple[Participant, ...] = ()
    """Those that failed; each has its error."""
    late: tuple[Participant, ...] = ()
    """Those that had not arrived in time and run on (``stragglers="detach"``)."""
    cancelled: tuple[Participant, ...] = ()
    """Those that had not arrived in time and were cancelled."""
    dead: tuple[Participant, ...] = ()
    """Those that took another way."""
    waited: float = 0.0
    """Seconds from the fork to the opening of the sync point."""

    @property
    def activated(self) -> int:
        """How many branches took part."""
        return sum(
            map(len, (self.arrived, self.failed, self.late, self.cancelled, self.dead)),
        )

    @property
    def progress(self) -> float:
        """The share of them that arrived, from 0 to 1; 1 where none took part."""
        activated = self.activated
        return len(self.arrived) / activated if activated else 1.0

    @property
    def missing(self) -> tuple[Participant, ...]:
        """All that did not arrive, in path order."""
        return tuple(sorted(self.failed + self.late + self.cancelled + self.dead, key=_by_branch))


def _by_branch(participant: Participant) -> BranchPath:
    return participant.branch


class Outcomes(list[Outcome]):
    """The outcomes of one sync point, one for each generation, oldest first."""

    @property
    def latest(self) -> Outcome:
        """The outcome of the last generation."""
        return self[-1]

    @property
    def missing(self) -> tuple[Participant, ...]:
        """Who did not arrive in the last generation."""
        return self[-1].missing


# -- for readers of the stream ----------------------------------------------------------------


class NodeStarted(NamedTuple):
    """An attempt at a node began."""

    at: float
    branch: BranchPath
    node: NodeName
    attempt: int


class BranchForked(NamedTuple):
    """A branch went on to several targets."""

    at: float
    branch: BranchPath
    node: NodeName
    children: tuple[Participant, ...]


class SyncPointOpened(NamedTuple):
    """A sync point opened; the merged branch goes on."""

    at: float
    sync_point: NodeName
    outcome: Outcome


class Emitted(NamedTuple):
    """A node called ``ctx.emit(value)``."""

    at: float
    branch: BranchPath
    node: NodeName
    value: Any


class RunCompleted(NamedTuple):
    """The run ended; the last event of a stream."""

    at: float
    thread_id: ThreadId
    status: Literal["completed", "suspended"]
    state: Any
    """As ``RunResult.state``."""


Event: TypeAlias = (
    JournalEvent | NodeStarted | BranchForked | SyncPointOpened | Emitted | RunCompleted
)
"""What ``Flow.stream`` gives."""
