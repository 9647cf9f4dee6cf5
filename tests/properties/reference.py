"""A sequential reference interpreter: what a `Program` means, in the plainest way that says it.

Nothing is clever here. Reachability is a search, a view is a replay of every write that a branch
can see, and after each event every sync point is asked again whether it opens. One choice is not in
the program, which branch finishes or which timer fires next, and it is an argument.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.properties.programs import (
    END,
    KINDS,
    LATTICES,
    LIVE_KINDS,
    START,
    VISITS,
    AtLeast,
    Edge,
    Node,
    Pace,
    Policy,
    Program,
    Router,
    Sent,
    Target,
    Visit,
    Weights,
    answer,
    payload,
    script,
    visit_number,
)

Path = tuple[int, ...]


class RunError(Exception):
    """The run fails. `kind` is the name of the error class that Plait raises for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@dataclass(frozen=True)
class Written:
    """One write of a run, with the numbers of the writes that its branch could see: its past."""

    number: int
    channel: str
    value: Any
    overwrite: bool
    past: frozenset[int]


@dataclass(eq=False)
class Branch:
    """One thread of control, opened by `round` at the node `first`; `base` is what it saw then.

    state: running | held (for siblings) | waiting (at the sync point `at`) | forked (asleep until
    its branches are merged) | ended | failed | cancelled (for `stopped`) | merged (taken, by `into`
    if any).
    """

    path: Path
    node: str
    base: tuple[Written, ...]
    round: Round | None = None
    sent: Sent | None = None
    state: str = "running"
    log: list[Written] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    children: int = 0
    taken: bool = False
    into: Branch | None = None
    at: tuple[Round, str] | None = None
    call: tuple[Visit, Mapping[str, Any] | int] = (Visit(), 0)
    due: float = 0.0
    arg: int | None = None
    first: str = ""
    stopped: Round | None = None
    late: bool = False
    done: list[Written] | None = None

    @property
    def name(self) -> str:
        return ".".join(map(str, self.path))

    def opened(self) -> list[Branch]:
        """Every branch which this one forked, in path order."""
        return [child for round_ in self.rounds for child in round_.branches]


@dataclass(eq=False)
class Round:
    """One generation: the branches that one passage of `owner` through `fork` opened.

    guests: those that went on from a sync point at which nobody had arrived.
    """

    owner: Branch
    fork: str
    started: float
    base: tuple[Written, ...]
    order: list[list[int]]
    branches: list[Branch] = field(default_factory=list)
    barriers: dict[str, Barrier] = field(default_factory=dict)
    guests: list[Branch] = field(default_factory=list)


@dataclass(eq=False)
class Barrier:
    """One sync point in one generation."""

    sync: str
    round: Round
    generation: int
    participants: list[Branch]
    stragglers: list[Branch] = field(default_factory=list)
    opened: bool = False
    result: Branch | None = None
    grace: Timer | None = None
    deadline: Timer | None = None


@dataclass(eq=False)
class Timer:
    barrier: Barrier
    kind: str
    due: float
    fired: bool = False

    @property
    def name(self) -> str:
        return f"{self.barrier.round.owner.name} {self.barrier.sync} {self.kind}"


@dataclass(frozen=True)
class Outcome:
    """What a sync point reported: for every participant its path and how it stands."""

    sync: str
    owner: str
    generation: int
    status: str
    verdicts: tuple[tuple[str, str], ...]
    waited: float = 0.0

    def those(self, verdict: str) -> tuple[str, ...]:
        return tuple(name for name, what in self.verdicts if what == verdict)


@dataclass(frozen=True)
class Result:
    """What a run came to: the final state or the kind of error, and all that was reported."""

    state: dict[str, Any] | None
    error: str | None
    outcomes: tuple[Outcome, ...]
    unaccounted: tuple[str, ...]
    hung: bool
    tied: bool
    steps: tuple[str, ...]


Ready = Branch | Timer
Choose = Callable[[Sequence[Ready]], int]


def in_order(choices: Iterable[int] = ()) -> Choose:
    """A schedule by choice alone: each number picks among what is ready; after them, the first."""
    source = iter(choices)
    return lambda ready: next(source, 0) % len(ready)


def run(program: Program, choose: Choose | None = None, pace: Pace | None = None) -> Result:
    """Interpret `program`.

    Args:
        choose: which of the ready branches and timers comes next; without it the clock decides.
        pace: how many ticks a call takes; without it those of its visit.
    """
    return _Interpreter(program, choose, pace).run()


def by_clock(program: Program, pace: Pace | None = None) -> Result:
    """Interpret `program` in virtual time; `tied` says that two things came due at one moment."""
    return run(program, None, pace)


class Topology:
    """What can be reached from where, by naive search over declared ways."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.known: dict[tuple[str, str, str | None], bool] = {}
        names = [*(node.name for node in program.nodes), *(sync.name for sync in program.syncs)]
        self.names = [START, *names, END]
        self.owners = {sync.name: self.owner(sync.name) for sync in program.syncs}

    def links(self, name: str) -> list[Edge | Router]:
        return [link for link in self.program.links if link.source == name]

    def successors(self, name: str) -> set[str]:
        found: set[str] = set()
        for link in self.links(name):
            if isinstance(link, Edge):
                found.add(link.target)
            else:
                # A router without declared targets may go anywhere.
                found.update(self.names[1:] if link.targets is None else link.targets)
        node, sync = self.program.node(name), self.program.sync(name)
        if node is not None:
            found.update(node.targets)
            if node.on_error not in ("raise", "record"):
                found.add(node.on_error)
        if sync is not None and sync.policy.on_timeout not in ("proceed", "raise"):
            found.add(sync.policy.on_timeout)
        return found

    def reaches(self, start: str, goal: str, avoiding: str | None = None) -> bool:
        """Whether a branch that stands at `start` can come to `goal` without passing `avoiding`."""
        question = (start, goal, avoiding)
        if question not in self.known:
            seen, todo = set[str](), [start]
            while todo:
                name = todo.pop()
                if name not in seen and name != avoiding:
                    seen.add(name)
                    todo.extend(self.successors(name))
            self.known[question] = goal in seen
        return self.known[question]

    def may_fork(self, name: str) -> bool:
        """Whether a router or a Command decides here how many ways a branch takes."""
        node = self.program.node(name)
        routers = any(isinstance(link, Router) for link in self.links(name))
        return routers or (node is not None and bool(node.targets))

    def dominators(self, name: str) -> list[str]:
        """The nodes through which every path to `name` runs, the nearest first."""
        every = [d for d in self.names if d != name and not self.reaches(START, name, avoiding=d)]
        return sorted(every, key=lambda d: -sum(not self.reaches(START, d, e) for e in every))

    def certainly_forks(self, name: str, sync: str) -> bool:
        """Whether two ways or more lead from here to the sync point without coming back here."""
        leading = 0
        for link in self.links(name):
            targets = [link.target] if isinstance(link, Edge) else link.targets or self.names[1:]
            leading += any(self.reaches(target, sync, avoiding=name) for target in targets)
        return leading > 1

    def owner(self, sync: str) -> str:
        """The fork a sync point belongs to: the last one before it that nothing has closed.

        A sync point on the way closes its own fork, so from there the search goes on above that. Of
        the forks left the nearest that certainly forks is taken, or the only one that may.
        """
        point = self.program.sync(sync)
        if point is not None and point.fork is not None:
            return point.fork
        before, candidates = self.dominators(sync), list[str]()
        while before:
            name = before.pop(0)
            if self.may_fork(name) or self.certainly_forks(name, sync):
                candidates.append(name)
            if self.program.sync(name) is not None:
                before = before[before.index(self.owner(name)) + 1 :]
        certain = [name for name in candidates if self.certainly_forks(name, sync)]
        if not certain and len(candidates) != 1:
            raise ValueError(f"{sync} has no fork, or one of {candidates}")
        return (certain or candidates)[0]

    def owned(self, fork: str) -> list[str]:
        return [sync for sync, owner in self.owners.items() if owner == fork]

    def is_last(self, sync: str) -> bool:
        """Whether every other sync point of the same fork leads to this one."""
        others = [other for other in self.owned(self.owners[sync]) if other != sync]
        return all(self.reaches(other, sync, avoiding=self.owners[sync]) for other in others)

    def is_first(self, sync: str) -> bool:
        fork = self.owners[sync]
        others = [other for other in self.owned(fork) if other != sync]
        return not any(self.reaches(other, sync, avoiding=fork) for other in others)


class _Interpreter:
    def __init__(self, program: Program, choose: Choose | None, pace: Pace | None) -> None:
        self.program = program
        self.topology = Topology(program)
        self.choose = choose
        self.pace = pace
        self.now = 0.0
        self.tied = False
        self.numbers = itertools.count()
        self.live: list[Written] = []
        self.outcomes: list[Outcome] = []
        self.steps: list[str] = []
        self.parked: list[tuple[Branch, Barrier]] = []
        self.passages: dict[tuple[Branch, str], int] = {}
        given = [self.written(w.channel, payload(program, w, {}), False, ()) for w in program.input]
        self.root = Branch((0,), START, tuple(given))

    def run(self) -> Result:
        state, error, hung = None, None, False
        try:
            self.follow_links(self.root)
            self.settle()
            while ready := self.ready():
                self.step(ready[self.pick(ready)])
                self.settle()
            for late, missed in self.parked:  # for a next generation that there was not
                self.take(late, (missed.round, missed.sync), None)
            hung = any(self.is_unfinished(branch) for branch in self.all_branches())
            if not hung:
                final = self.leftovers(self.root)
                self.check_conflicts((), final)
                state = self.fold([*self.root.base, *final])
        except RunError as failure:
            error = failure.kind
        return Result(
            state,
            error,
            tuple(sorted(self.outcomes, key=lambda o: (o.sync, _key(o.owner), o.generation))),
            self.unaccounted(),
            hung,
            self.tied,
            tuple(self.steps),
        )

    # --- what can happen next ---

    def ready(self) -> list[Ready]:
        """Everything that can happen next: branches in path order, then timers."""
        calls: list[Ready] = [
            b for b in self.all_branches() if b.state == "running" and not b.call[0].forever
        ]
        timers: list[Ready] = [
            timer
            for barrier in self.barriers()
            for timer in (barrier.grace, barrier.deadline)
            if timer is not None and not timer.fired and not barrier.opened
        ]
        return calls + timers

    def pick(self, ready: Sequence[Ready]) -> int:
        if self.choose is not None:
            return self.choose(ready)
        dues = [item.due for item in ready]
        index = dues.index(min(dues))
        self.tied = self.tied or dues.count(min(dues)) > 1
        self.now = min(dues)
        return index

    def step(self, item: Ready) -> None:
        self.steps.append(item.name if isinstance(item, Timer) else f"{item.name} {item.node}")
        if isinstance(item, Timer):
            item.fired = True
        else:
            self.finish_call(item)

    # --- calls ---

    def move(self, branch: Branch, name: str) -> None:
        """A branch comes to a node, a sync point or END."""
        branch.node, branch.at = name, None
        if name == END:
            branch.state = "ended"
        elif self.program.sync(name) is not None:
            self.arrive(branch, name)
        else:
            self.start_call(branch)

    def start_call(self, branch: Branch) -> None:
        """The node sees the state as it is now, whatever happens during the call."""
        node = self.known_node(branch.node)
        seen: Mapping[str, Any] | int = self.view(branch)
        if branch.arg is not None:
            # The argument of a Send stands in for the state, for the first node only.
            seen, branch.arg = branch.arg, None
        visit = script(node, seen)
        ticks: float = visit.ticks
        if self.pace is not None:
            ticks = self.pace(branch.name, node.name, visit_number(node, seen))
        if node.subgraph is not None:
            inner = self.enter(branch, node.subgraph, seen)
            inner.run()
            ticks = inner.now
        branch.state, branch.call = "running", (visit, seen)
        # Each attempt takes as long as the first; the pause between them is no part of the model.
        branch.due = self.now + ticks * min(visit.failures + 1, node.attempts)

    def finish_call(self, branch: Branch) -> None:
        node = self.known_node(branch.node)
        visit, seen = branch.call
        failed, returned = visit.failures >= node.attempts, list[tuple[str, Any, bool]]()
        try:
            returned = list(self.returned(branch, node, visit, seen))
        except RunError:
            # What ends a subgraph's run is a failure of its node, with the error as the cause.
            failed = True
        if failed:
            if node.on_error == "raise":
                raise RunError("NodeError", f"{node.name} in {branch.name}")
            if node.on_error == "record":
                branch.state = "failed"
            else:
                self.go_on(branch, (node.on_error,))
            return
        for channel, value, overwrite in returned:
            past = tuple(self.history(branch))
            record = self.written(channel, value, overwrite, past)
            (self.live if self.program.kind(channel) in LIVE_KINDS else branch.log).append(record)
        allowed = {*node.targets, *self.topology.successors(node.name)}
        for target in visit.goto:
            if _name(target) not in allowed:
                raise RunError("RoutingError", f"{node.name} goes to {target}")
        self.follow_links(branch, visit.goto)

    def returned(
        self, branch: Branch, node: Node, visit: Visit, seen: Mapping[str, Any] | int
    ) -> Iterator[tuple[str, Any, bool]]:
        """What a call writes; a subgraph hands over its raw delta in the channels both have."""
        if node.subgraph is None:
            yield VISITS, {node.name: 1}, False
            for write in visit.writes:
                # A branch that waits for an answer is one that takes its time.
                answers = sum(map(answer, range(visit.asks)))
                yield write.channel, payload(self.program, write, seen, answers), write.overwrite
            return
        inner = self.enter(branch, node.subgraph, seen)
        result = inner.run()
        if result.error is not None:
            raise RunError(result.error, f"in the subgraph {node.name}")
        shared = {channel.name for channel in self.program.all_channels()}
        for made in inner.leftovers(inner.root):
            if made.channel in shared:
                yield made.channel, made.value, made.overwrite

    def enter(
        self, branch: Branch, subgraph: Program, seen: Mapping[str, Any] | int
    ) -> _Interpreter:
        """A run of a subgraph, from the parent's values of the channels that both have.

        They are where it begins, not a delta folded over its defaults, so they stand in its base as
        what replaces these.
        """
        inner = _Interpreter(subgraph, self.choose and in_order(), self.pace)
        inner.root.path = (*branch.path, 0)
        inner.root.base = tuple(
            inner.written(channel.name, seen[channel.name], True, ())
            for channel in subgraph.all_channels()
            if isinstance(seen, Mapping) and channel.name in seen
        )
        return inner

    # --- forks ---

    def follow_links(self, branch: Branch, more: tuple[Target, ...] = ()) -> None:
        """Edges and routers in the order of their declaration, then what the Command says."""
        targets: list[Target] = []
        for link in self.topology.links(branch.node):
            if isinstance(link, Edge):
                targets.append(link.target)
            else:
                targets.extend(link.choose(self.view(branch)))
        self.go_on(branch, (*targets, *more))

    def go_on(self, branch: Branch, targets: tuple[Target, ...]) -> None:
        owned = self.topology.owned(branch.node)
        if not targets and not owned:
            branch.state = "ended"
        elif len(targets) == 1 and not owned:
            branch.arg = targets[0].arg if isinstance(targets[0], Sent) else None
            self.move(branch, _name(targets[0]))
        else:
            self.fork(branch, targets)

    def fork(self, owner: Branch, targets: tuple[Target, ...]) -> None:
        round_ = Round(owner, owner.node, self.now, self.history(owner), dependencies(targets))
        owner.state = "forked"
        owner.rounds.append(round_)
        for target in targets:
            child = Branch((*owner.path, owner.children), _name(target), round_.base, round_)
            child.first = child.node
            if isinstance(target, Sent):
                child.sent, child.arg = target, target.arg
            owner.children += 1
            round_.branches.append(child)
        for sync in self.topology.owned(owner.node):
            self.open_barrier(round_, sync)
        for child in round_.branches:
            if child.sent is not None and child.sent.after:
                child.state = "held"
            else:
                self.move(child, child.node)

    def open_barrier(self, round_: Round, sync: str) -> None:
        here = [b for b in round_.branches if self.topology.reaches(b.node, sync, round_.fork)]
        if not here and (round_.branches or not self.topology.is_first(sync)):
            return
        generation = self.passages.get((round_.owner, sync), 0)
        self.passages[round_.owner, sync] = generation + 1
        barrier = round_.barriers[sync] = Barrier(sync, round_, generation, here)
        policy = self.policy(sync)
        if policy.timeout is not None and policy.timeout_from == "fork":
            barrier.deadline = Timer(barrier, "deadline", self.now + policy.timeout)
        for late, missed in [p for p in self.parked if self.same_place(p[1], barrier)]:
            self.parked.remove((late, missed))
            self.join_round(late, barrier)

    def note_done(self) -> None:
        """What a branch hands to those that depend on it is what it has when it is done first."""
        for branch in self.all_branches():
            if branch.done is None and branch.round is not None and not self.is_busy(branch):
                branch.done = self.writes_so_far(branch)

    def release_held(self) -> bool:
        """Let go every held branch whose siblings are done; its base has what they wrote."""
        for branch in self.all_branches():
            if branch.state != "held":
                continue
            before = self.before(branch)
            if any(sibling.done is None for sibling in before):
                continue
            delta: list[Written] = []
            for sibling in self.merge_order(before):
                delta += sibling.done or []
            self.check_conflicts((), delta)
            branch.base = (*branch.base, *delta)
            self.move(branch, branch.node)
            return True
        return False

    def before(self, branch: Branch) -> list[Branch]:
        """The siblings that `branch` depends on, and those that they depend on."""
        assert branch.round is not None
        siblings = branch.round.branches
        return [siblings[place] for place in branch.round.order[siblings.index(branch)]]

    def is_busy(self, branch: Branch) -> bool:
        """Neither arrived at a sync point of its own fork, nor ended, failed or cancelled."""
        return any(
            b.state in ("running", "held")
            or (b.state == "waiting" and self.is_between(b, branch.round))
            or not all(barrier.opened for each in b.rounds for barrier in each.barriers.values())
            for b in subtree(branch)
        )

    @staticmethod
    def is_between(waiting: Branch, round_: Round | None) -> bool:
        """It waits further in than at a sync point of this generation, and will go on."""
        assert waiting.at is not None
        assert round_ is not None
        inner, sync = waiting.at
        deeper = len(inner.owner.path) > len(round_.owner.path)
        return deeper and not inner.barriers[sync].opened

    def writes_so_far(self, branch: Branch) -> list[Written]:
        if branch.state in ("failed", "cancelled"):
            return []
        # What a sync point took is in the log of the branch that went on from it, and what came
        # too late for one is nobody's.
        gone = branch.taken or any(below.late for below in subtree(branch))
        own = [] if gone else branch.log
        return [*own, *(write for child in branch.opened() for write in self.writes_so_far(child))]

    # --- sync points ---

    def arrive(self, branch: Branch, sync: str) -> None:
        round_ = self.innermost(branch, self.topology.owners[sync])
        barrier = None if round_ is None else round_.barriers.get(sync)
        if barrier is None:
            raise RunError("SyncPointError", f"{branch.name} is at {sync} without its fork")
        branch.state, branch.at = "waiting", (barrier.round, sync)

    def come_late(self, member: Branch, barrier: Barrier) -> None:
        """A participant comes late as a whole: when none of its branches is still on the way."""
        barrier.stragglers.remove(member)
        for branch in self.family(member):
            if branch.at == (barrier.round, barrier.sync) and branch.state == "waiting":
                branch.late = True
        late = self.policy(barrier.sync).late
        if late == "next_round":
            later = [
                b
                for round_ in barrier.round.owner.rounds
                for b in round_.barriers.values()
                if self.same_place(barrier, b)
                if b.generation > barrier.generation and not b.opened
            ]
            if later:
                self.join_round(member, later[0])
            else:
                self.parked.append((member, barrier))
            return
        delta = self.take(member, (barrier.round, barrier.sync), None)
        goal = barrier.result
        if late == "merge" and goal is not None:
            while goal.into is not None:
                goal = goal.into
            goal.log += [
                w for w in delta if self.program.kind(w.channel) in LATTICES and not w.overwrite
            ]

    def join_round(self, late: Branch, barrier: Barrier) -> None:
        """A late participant counts as arrived in a later generation."""
        for branch in self.family(late):
            if branch.state == "waiting":
                branch.at = (barrier.round, barrier.sync)
        barrier.participants.append(late)
        barrier.participants.sort(key=lambda b: b.path)

    def standing(self, member: Branch, barrier: Barrier) -> str:
        """How a participant stands: open while a branch of its own can still arrive."""
        family = self.family(member)
        goal = (barrier.round, barrier.sync)
        if any(self.can_arrive(branch, barrier) for branch in family):
            return "open"
        if any(branch.at == goal and branch.state == "waiting" for branch in family):
            return "arrived"
        if any(branch.state == "failed" for branch in family):
            return "failed"
        # What a sync point further in cancelled is that one's to report.
        if any(b.stopped is not None and b.stopped.owner not in family for b in family):
            return "cancelled"
        return "dead"

    def can_arrive(self, branch: Branch, barrier: Barrier) -> bool:
        fork = barrier.round.fork
        goal = (barrier.round, barrier.sync)
        if branch.state == "waiting" and branch.at is not None:
            round_, sync = branch.at
            on_the_way = branch.at != goal and not round_.barriers[sync].opened
        else:
            on_the_way = branch.state in ("running", "held")
        return (
            on_the_way
            and self.topology.reaches(branch.node, barrier.sync, avoiding=fork)
            and self.innermost(branch, fork) is barrier.round
        )

    def settle(self) -> None:
        """Let everything happen that needs no further event."""
        while True:
            while any(self.try_late(barrier) for barrier in self.barriers()):
                pass
            self.note_done()
            if not (self.release_held() or any(self.try_open(each) for each in self.barriers())):
                return

    def try_late(self, barrier: Barrier) -> bool:
        for member in barrier.stragglers:
            if self.standing(member, barrier) == "arrived":
                self.come_late(member, barrier)
                return True
        return False

    def try_open(self, barrier: Barrier) -> bool:
        if barrier.opened:
            return False
        standings = {member: self.standing(member, barrier) for member in barrier.participants}
        arrived = [member for member, how in standings.items() if how == "arrived"]
        policy = self.policy(barrier.sync)
        if arrived and policy.timeout is not None and barrier.deadline is None:
            barrier.deadline = Timer(barrier, "deadline", self.now + policy.timeout)
        values = set(standings.values())
        guests = {self.standing(guest, barrier) for guest in barrier.round.guests}
        status = None
        if values <= {"arrived"} and "open" not in guests:
            status = "complete"
        elif "open" not in values | guests:
            if not arrived and "cancelled" in values:
                # What was cancelled from further out reports nothing here.
                barrier.opened = True
                return True
            status = "partial"
        elif self.has_quorum(policy, arrived, barrier.participants):
            if barrier.grace is None:
                due = self.now + policy.grace
                barrier.grace = Timer(barrier, "grace", due, fired=policy.grace == 0)
            if barrier.grace.fired:
                status = "quorum"
        if status is None and barrier.deadline is not None and barrier.deadline.fired:
            status = "timeout"
        if status is None:
            return False
        self.open(barrier, status, standings)
        return True

    def has_quorum(self, policy: Policy, arrived: list[Branch], activated: list[Branch]) -> bool:
        def weight(branch: Branch) -> float:
            return 1.0 if branch.sent is None else branch.sent.weight

        def named(branch: Branch) -> float:
            assert isinstance(quorum, Weights)
            given = dict(quorum.of)
            key = None if branch.sent is None else branch.sent.id
            return given.get(key or branch.first, 0.0)

        quorum = policy.quorum
        if isinstance(quorum, Weights):
            return sum(map(named, arrived)) >= 1
        if isinstance(quorum, AtLeast):
            return quorum(tuple(arrived))
        if isinstance(quorum, float):
            return sum(map(weight, arrived)) >= quorum * sum(map(weight, activated))
        if isinstance(quorum, int):
            return len(arrived) >= quorum
        return quorum == "any" and len(arrived) >= 1

    def open(self, barrier: Barrier, status: str, standings: Mapping[Branch, str]) -> None:
        """Report, deal with the stragglers, merge what has arrived, and go on."""
        policy, round_ = self.policy(barrier.sync), barrier.round
        goal = (round_, barrier.sync)
        arrived = [member for member, how in standings.items() if how == "arrived"]
        stragglers = [member for member, how in standings.items() if how == "open"]
        gone = "cancelled" if policy.stragglers == "cancel" else "late"
        barrier.opened = True
        self.outcomes.append(
            Outcome(
                barrier.sync,
                round_.owner.name,
                barrier.generation,
                status,
                tuple((m.name, gone if how == "open" else how) for m, how in standings.items()),
                self.now - round_.started,
            )
        )
        if gone == "late":
            barrier.stragglers = stragglers
        else:
            for member in stragglers:
                self.cancel(member, barrier)
        elsewhere = policy.on_timeout not in ("proceed", "raise")
        too_few = len(arrived) < policy.minimum
        overdue = status == "timeout" and policy.on_timeout == "raise"
        if overdue or (too_few and not elsewhere):
            raise RunError("SyncPointError", f"{barrier.sync}: {status}, {len(arrived)} arrived")
        came = [g for g in round_.guests if self.standing(g, barrier) == "arrived"]
        gathered = self.merge_order([*arrived, *came])
        heir = round_.owner
        if not self.topology.is_last(barrier.sync):
            # More is to come in this generation, so its owner sleeps on.
            first = min(gathered, key=lambda b: b.path, default=None)
            heir = self.guest(round_) if first is None else self.survivor(first)
        delta: list[Written] = []
        for member in gathered:
            delta += self.take(member, goal, heir)
        if heir is round_.owner:
            self.check_conflicts(self.history(heir), delta)
            heir.log += delta
        else:
            self.check_conflicts(round_.base, delta)
            heir.base, heir.log = round_.base, delta
        heir.state, heir.taken, heir.into, heir.node = "running", False, None, barrier.sync
        barrier.result = heir
        if elsewhere and (status == "timeout" or too_few):
            self.go_on(heir, (policy.on_timeout,))
        else:
            self.follow_links(heir)

    def guest(self, round_: Round) -> Branch:
        """A branch for which the other sync points wait, though it is nobody's place."""
        owner = round_.owner
        branch = Branch((*owner.path, owner.children), round_.fork, round_.base, round_)
        owner.children += 1
        round_.branches.append(branch)
        round_.order.append([])
        round_.guests.append(branch)
        return branch

    def take(self, branch: Branch, goal: tuple[Round, str], heir: Branch | None) -> list[Written]:
        """The writes of a branch that has arrived, and of those it forked that have, too."""
        if not any(b.at == goal and b.state == "waiting" for b in self.family(branch)):
            return []
        delta = [] if branch.taken else list(branch.log)
        for child in self.merge_order(branch.opened()):
            delta += self.take(child, goal, heir)
        if not branch.taken:
            branch.taken, branch.state, branch.into = True, "merged", heir
        return delta

    def cancel(self, member: Branch, barrier: Barrier) -> None:
        """Stop what could still arrive, and the sleeping branches that would have woken for it."""
        goal = (barrier.round, barrier.sync)
        family = self.family(member)
        stopped = [b for b in family if self.can_arrive(b, barrier)]
        stopped += [b for b in family if b.state == "waiting" and b.at == goal]
        stopped += [
            b for b in family if b.state == "forked" and any(c in stopped for c in subtree(b))
        ]
        for branch in stopped:
            branch.state, branch.stopped = "cancelled", barrier.round

    # --- who is who ---

    def survivor(self, branch: Branch) -> Branch:
        """The branch of the same generation that carries this one's place."""
        while branch.into is not None and branch.into.round is branch.round:
            branch = branch.into
        return branch

    def family(self, member: Branch) -> list[Branch]:
        """A branch and all that it forked, with whatever carries its place if it was merged."""
        heir = self.survivor(member)
        extra = [] if heir is member else subtree(heir)
        return [*subtree(member), *extra]

    def innermost(self, branch: Branch, fork: str) -> Round | None:
        """The nearest generation of `fork` that a branch is in."""
        round_ = branch.round
        while round_ is not None and round_.fork != fork:
            round_ = round_.owner.round
        return round_

    def all_branches(self) -> list[Branch]:
        return sorted(subtree(self.root), key=lambda b: b.path)

    def barriers(self) -> list[Barrier]:
        """Every barrier, inner ones first: what opens inside decides how the outside stands."""
        rounds = [round_ for branch in self.all_branches() for round_ in branch.rounds]
        rounds.sort(key=lambda r: (-len(r.owner.path), r.owner.path))
        return [
            round_.barriers[sync]
            for round_ in rounds
            for sync in sorted(round_.barriers, key=lambda s: not self.topology.is_first(s))
        ]

    def same_place(self, one: Barrier, other: Barrier) -> bool:
        return one.sync == other.sync and one.round.owner is other.round.owner

    def is_unfinished(self, branch: Branch) -> bool:
        if branch.state == "waiting" and branch.at is not None:
            return not branch.at[0].barriers[branch.at[1]].opened
        return branch.state in ("running", "held")

    def unaccounted(self) -> tuple[str, ...]:
        """Recorded failures that no outcome names, neither themselves nor through a participant."""
        named = {_key(name) for outcome in self.outcomes for name in outcome.those("failed")}
        return tuple(
            branch.name
            for branch in self.all_branches()
            if branch.state == "failed"
            and not any(branch.path[: len(path)] == path for path in named)
        )

    def policy(self, sync: str) -> Policy:
        found = self.program.sync(sync)
        assert found is not None
        return found.policy

    def known_node(self, name: str) -> Node:
        found = self.program.node(name)
        assert found is not None, name
        return found

    # --- state ---

    def written(
        self, channel: str, value: Any, overwrite: bool, past: Iterable[Written]
    ) -> Written:
        seen = frozenset(write.number for write in past)
        return Written(next(self.numbers), channel, value, overwrite, seen)

    def history(self, branch: Branch) -> tuple[Written, ...]:
        """Every write that a branch can see, oldest first."""
        return (*branch.base, *branch.log)

    def view(self, branch: Branch) -> dict[str, Any]:
        return self.fold(self.history(branch))

    def fold(self, writes: Iterable[Written]) -> dict[str, Any]:
        """The state after `writes`, over the defaults; live channels from all written so far."""
        state: dict[str, Any] = {}
        for channel in self.program.all_channels():
            initial = KINDS[channel.kind].initial
            if initial is not None:
                state[channel.name] = initial()
        for write in (*writes, *self.live):
            fold = KINDS[self.program.kind(write.channel)].fold
            if fold is None or write.overwrite or write.channel not in state:
                state[write.channel] = write.value
            else:
                state[write.channel] = fold(state[write.channel], write.value)
        return state

    def check_conflicts(self, known: Sequence[Written], delta: Sequence[Written]) -> None:
        """One writer at a time where there is no reducer, and nobody beside an Overwrite."""
        for place, write in enumerate(delta):
            alone = self.program.kind(write.channel) == "exclusive"
            for other in (*known, *delta[:place]):
                if (
                    write.channel == other.channel
                    and (alone or write.overwrite or other.overwrite)
                    and write.number not in other.past
                    and other.number not in write.past
                ):
                    raise RunError("ConflictError", write.channel)

    def merge_order(self, branches: Sequence[Branch]) -> list[Branch]:
        """Path order, but each branch after those it depends on; ties in path order."""
        left = sorted(branches, key=lambda b: b.path)
        done: list[Branch] = []
        while left:
            free = next(b for b in left if not any(d in left for d in self.before(b)))
            left.remove(free)
            done.append(free)
        return done

    def leftovers(self, branch: Branch) -> list[Written]:
        """What END merges: own writes, then those of the branches that nobody gathered."""
        kept = branch is self.root or branch.state in ("ended", "forked")
        delta = list(branch.log) if kept and not branch.taken else []
        for child in self.merge_order(branch.opened()):
            delta += self.leftovers(child)
        return delta


def subtree(branch: Branch) -> list[Branch]:
    """A branch and all that it forked."""
    return [branch, *(b for child in branch.opened() for b in subtree(child))]


def dependencies(targets: Sequence[Target]) -> list[list[int]]:
    """For each target of a fork the places of those it waits for, directly or through others.

    Raises:
        RunError: for an unknown or doubled id, or a circle.
    """
    ids = [target.id if isinstance(target, Sent) else None for target in targets]
    given = [name for name in ids if name is not None]
    direct = [set(target.after) if isinstance(target, Sent) else set[str]() for target in targets]
    if len(set(given)) < len(given) or not set().union(*direct) <= set(given):
        raise RunError("RoutingError", "unknown or doubled id")
    closed: list[list[int]] = []
    for place, names in enumerate(direct):
        found, todo = set[int](), [ids.index(name) for name in names]
        while todo:
            other = todo.pop()
            if other not in found:
                found.add(other)
                todo.extend(ids.index(name) for name in direct[other])
        if place in found:
            raise RunError("RoutingError", "a circle of dependencies")
        closed.append(sorted(found))
    return closed


def _name(target: Target) -> str:
    return target.target if isinstance(target, Sent) else target


def _key(name: str) -> Path:
    return tuple(int(part) for part in name.split("."))
