"""The tree of a run: branches, the generations that they opened, and ways to walk it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

from .barrier import Barrier
from .errors import PlaitError
from .events import (
    NO_ARGUMENT,
    BranchPath,
    Interrupt,
    InterruptId,
    NodeName,
    Outcome,
    Participant,
    Target,
    Writes,
    new_record,
)
from .plan import Vertex
from .policy import START
from .state import NodeWrites, Values

__all__ = [
    "LIVE",
    "Branch",
    "Generation",
    "Member",
    "Questions",
    "Status",
    "all_entries",
    "as_participant",
    "bits_of",
    "by_path",
    "last_heir",
    "subtree",
    "upwards",
]

Status: TypeAlias = Literal[
    "running", "routing", "held", "waiting", "parked", "forked", "ended", "gone"
]


class Branch:
    """One thread of control in a run.

    Attributes:
        path: where it was forked.
        place: the vertex at which it stands.
        values: the state it sees, but for ``unfolded``.
        unfolded: what it (and what was merged into it) wrote, not yet folded into ``values``.
        delta: all that it wrote since its fork.
        hopes: the mask of the sync points at which it can still arrive.
        step: how many places it has passed.
        forks: the generations it owns that are not used up, oldest first.
        leaves: by bit, how many branches below it could still arrive; ``None`` as long as it has
            not forked, when that is a matter of its own hopes.
        arrivals: by bit, the branches below it that wait there; ``None`` likewise.
        members: the members of its generation that it carries; empty for the first branch.
        failures: paths and errors of the branches at or below it that ended as failed.
        passages: by sync point, how many generations of it the branch has opened, less one.
        latecomers: by bit, those that came too late and wait for the next generation.
        heir: the branch into which it was merged.
        questions: what was asked where it stands, if anything was.
        apart: it goes on in its own place from a sync point, so that what it wrote no longer
            belongs with what the branches below it wrote.
    """

    __slots__ = (
        "apart",
        "argument",
        "arrivals",
        "delta",
        "error",
        "failures",
        "forks",
        "generation",
        "heir",
        "held_for",
        "hopes",
        "latecomers",
        "leaves",
        "members",
        "next_child",
        "outcome",
        "passages",
        "path",
        "place",
        "preview",
        "questions",
        "status",
        "step",
        "target",
        "unfolded",
        "values",
    )

    def __init__(
        self, path: BranchPath, generation: Generation | None, values: Values, place: NodeName
    ) -> None:
        self.path: BranchPath = path
        self.place: NodeName = place
        self.status: Status = "running"
        self.generation: Generation | None = generation
        self.values: Values = values
        self.unfolded: list[NodeWrites] = []
        self.delta: list[NodeWrites] = []
        self.hopes: int = 0
        self.step: int = 0
        self.argument: Any = NO_ARGUMENT
        self.outcome: Outcome | None = None
        self.error: PlaitError | None = None
        self.forks: list[Generation] = []
        self.next_child: int = 0
        self.passages: dict[NodeName, int] | None = None
        self.leaves: dict[int, int] | None = None
        self.arrivals: dict[int, list[Branch]] | None = None
        self.members: tuple[Member, ...] = ()
        self.failures: list[tuple[BranchPath, PlaitError]] | None = None
        self.heir: Branch | None = None
        self.apart: bool = False
        self.held_for: set[BranchPath] | None = None
        self.target: Target | None = None
        self.preview: tuple[Writes, Values] | None = None
        self.questions: Questions | None = None
        self.latecomers: dict[int, list[tuple[Member, list[NodeWrites]]]] | None = None

    @property
    def bits(self) -> Iterator[int]:
        """The sync points at which it can still arrive, one by one."""
        return bits_of(self.hopes)

    @property
    def is_leaf(self) -> bool:
        """Whether it is alive: standing somewhere, and neither asleep nor over."""
        return self.status in LIVE

    def __repr__(self) -> str:
        return f"<Branch {self.path} {self.status} at {self.place!r}>"


LIVE = frozenset({"running", "routing", "held", "waiting", "parked"})


class Questions:
    """What was asked in one call of a node, and what was answered.

    Attributes:
        attempt: the attempt at which the call goes on.
        open: what waits for an answer, in the order of the asking.
        answers: what has been answered.
        targets: where the branch goes on once all is answered; ``None``: its node is called.
    """

    __slots__ = ("answers", "attempt", "open", "targets")

    def __init__(self) -> None:
        self.attempt: int = 1
        self.open: dict[InterruptId, Interrupt] = {}
        self.answers: dict[InterruptId, Any] = {}
        self.targets: Sequence[Target] | None = None


class Generation:
    """One passage of a branch through a fork, and the branches that it opened."""

    __slots__ = (
        "barriers",
        "children",
        "dependents",
        "finished",
        "fork",
        "opened_at",
        "owner",
        "scope",
        "waits",
    )

    def __init__(self, owner: Branch, fork: Vertex, at: float) -> None:
        self.owner: Branch = owner
        self.fork: NodeName = fork.name
        self.scope: int = owner.hopes
        self.opened_at: float = at
        self.children: dict[BranchPath, Branch] = {}
        self.barriers: dict[int, Barrier] = {}
        self.dependents: dict[BranchPath, list[Branch]] = {}
        self.waits: dict[BranchPath, tuple[BranchPath, ...]] = {}  # what ``after=`` says
        self.finished: dict[BranchPath, list[NodeWrites]] = {}  # deltas that dependents start from


_NOBODY: Final[frozenset[BranchPath]] = frozenset()


class Member:
    """A branch that a fork opened, as the sync points of that fork know it.

    Attributes:
        branch: the branch that carries it now: its own, or one that it was merged into.
        after: the paths of the siblings it depends on, directly or not.
        fate: how a sync point left it behind, if one did.
    """

    __slots__ = ("after", "branch", "fate", "id", "node", "path", "weight")

    def __init__(
        self, path: BranchPath, id_: str | None, node: NodeName, weight: float, branch: Branch
    ) -> None:
        self.path: BranchPath = path
        self.id: str | None = id_
        self.node: NodeName = node
        self.weight: float = weight
        self.branch: Branch = branch
        self.after: frozenset[BranchPath] = _NOBODY
        self.fate: Literal["late", "cancelled"] | None = None

    def participant(self) -> Participant:
        """As an outcome names it."""
        return new_record(Participant, (self.path, self.id, self.node, None))


def upwards(branch: Branch) -> Iterator[Branch]:
    """The branch and all owners above it."""
    each: Branch | None = branch
    while each is not None:
        yield each
        each = each.generation.owner if each.generation is not None else None


by_path: Callable[[Branch | Member], BranchPath] = attrgetter("path")
"""A key for sorting branches and members."""


def last_heir(branch: Branch) -> Branch:
    """The branch in which this one's writes live on."""
    while branch.heir is not None:
        branch = branch.heir
    return branch


def as_participant(branch: Branch) -> Participant:
    return (
        branch.members[0].participant() if branch.members else Participant(branch.path, None, START)
    )


def subtree(branch: Branch) -> Iterator[Branch]:
    """A branch and all below it, in path order."""
    todo = [branch]
    while todo:
        each = todo.pop()
        yield each
        for generation in reversed(each.forks):
            todo += sorted(generation.children.values(), key=by_path, reverse=True)


def all_entries(branch: Branch) -> list[NodeWrites]:
    """All that a branch and those below it have written so far, in path order, unchecked."""
    return [entry for each in subtree(branch) for entry in each.delta]


def bits_of(mask: int) -> Iterator[int]:
    """The single bits of a mask, lowest first."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit
