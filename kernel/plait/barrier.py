"""When a sync point opens: the bookkeeping of one sync point in one generation.

Pure: told who took part, who arrived and who no longer can, it says whether to open and as what.
The machine finds out *who can still arrive*; here it is only counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from .events import OutcomeStatus, TimerKey
from .plan import SyncPointSpec
from .policy import ALL, ANY, ROUNDING

if TYPE_CHECKING:
    from .tree import Branch, Member

__all__ = ["Barrier"]


class Barrier:
    """One sync point in one generation.

    Attributes:
        number: how many barriers of this sync point the owner of the generation had before.
        members: the participants, in path order.
        on_the_way: those of them that could still arrive.
        arrived: the branches that have, in order of arrival; one may carry several members.
        met: whether the quorum has been there.
        guests: the branches on the way that carry no member: from another sync point at which
            nobody had arrived, or left over when the rest of a member was merged there.
        heir: the branch that went on when it opened.
        parked: how many branches on the way wait for an answer.
        timer_left: its clocks that stand still meanwhile, and the seconds each has left.
    """

    __slots__ = (
        "arrived",
        "arrived_count",
        "arrived_weight",
        "guests",
        "heir",
        "judged",
        "members",
        "met",
        "number",
        "on_the_way",
        "opened",
        "parked",
        "spec",
        "timer_due",
        "timer_left",
        "total_weight",
    )

    def __init__(self, spec: SyncPointSpec, number: int, members: list[Member]) -> None:
        self.spec: SyncPointSpec = spec
        self.number: int = number
        self.members: list[Member] = members
        self.on_the_way: set[Member] = set(members)
        self.arrived: list[Branch] = []
        self.arrived_count: int = 0
        self.arrived_weight: float = 0.0
        self.total_weight: float = sum([member.weight for member in members])
        self.met: bool = False
        self.judged: int = 0  # how many arrivals a predicate has seen
        self.opened: bool = False
        self.heir: Branch | None = None
        self.guests: set[Branch] = set()
        self.timer_due: dict[TimerKey, float] = {}
        self.parked: int = 0
        self.timer_left: dict[TimerKey, float] = {}

    @property
    def stands_still(self) -> bool:
        """Whether its clocks do not go on at present."""
        return self.parked > 0 and self.spec.join.clock_on_interrupt == "pause"

    def arrive(self, branch: Branch, members: Sequence[Member]) -> None:
        """Count the arrival of a branch for the members that it carries."""
        self.arrived.append(branch)
        if self.guests:
            self.guests.discard(branch)
        weights = self.spec.weights
        for member in members:
            self.on_the_way.discard(member)
            self.arrived_count += 1
            if weights is None:
                self.arrived_weight += member.weight
            else:
                self.arrived_weight += weights.get(
                    member.id or member.node, weights.get(member.node, 0.0)
                )

    def give_up(self, branch: Branch, members: Sequence[Member]) -> None:
        """Count a branch, and the members that it carries, as no longer on the way.

        Once is as good as twice: a branch may lose its last leaf more than once.
        """
        self.guests.discard(branch)
        self.on_the_way.difference_update(members)

    def join_late(self, member: Member, branch: Branch) -> None:
        """Take in a branch that came too late for an earlier generation, as one more arrival."""
        self.members.append(member)
        self.members.sort(key=lambda each: each.path)
        self.total_weight += member.weight
        self.on_the_way.add(member)
        self.arrive(branch, [member])

    def quorum_met(self) -> bool:
        """Whether enough have arrived. A predicate is not asked here: see ``wants_judgement``."""
        quorum = self.spec.join.quorum
        if quorum is ALL:
            return False  # that is "complete"
        if quorum is ANY:
            return self.arrived_count >= 1
        if isinstance(quorum, float):
            return self.arrived_weight >= quorum * self.total_weight * (1 - ROUNDING)
        if isinstance(quorum, int):
            return self.arrived_count >= quorum
        if isinstance(quorum, Mapping):
            return self.arrived_weight >= 1 - ROUNDING
        return self.met

    def wants_judgement(self) -> bool:
        """Whether a predicate should be asked about arrivals that it has not seen."""
        quorum = self.spec.join.quorum
        return callable(quorum) and not self.met and self.judged < self.arrived_count

    def verdict(self) -> OutcomeStatus | Literal["grace"] | None:
        """Whether to open now, and as what; ``"grace"`` where the grace time should begin."""
        if self.opened:
            return None
        if not self.guests:
            if self.arrived_count == len(self.members):
                return "complete"
            if not self.on_the_way:
                return "partial"
        if self.quorum_met():
            if self.spec.join.grace == 0:
                return "quorum"
            if not any(key.kind == "grace" for key in (*self.timer_due, *self.timer_left)):
                return "grace"
        return None
