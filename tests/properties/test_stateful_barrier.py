"""A sync point against a naive model of it, over any number of generations.

Hypothesis chooses the policy and what happens: who arrives, goes another way, fails or comes late,
and when. After every step the machine must have reported what the model has: no sync point opens
early, none twice in a generation, none is forgotten; every participant is named once; and at the
end every write is there that should be, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plait import ALL, ANY, END, START, Arrival, Graph, Join, NodeError, Send, SyncPointError
from plait.commands import (
    CancelBranch,
    Command,
    Fail,
    Finish,
    JudgeQuorum,
    Notify,
    RouteBranch,
    RunNode,
    StartTimer,
    StopTimer,
)
from plait.events import (
    BranchForked,
    BranchPath,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    Outcome,
    QuorumJudged,
    Routed,
    RunStarted,
    SyncPointOpened,
    Target,
    TimerFired,
    TimerKey,
)
from plait.machine import Machine
from tests.kernel.build import Work, does

BOOM = ValueError("boom")


def an_even_number(arrivals: tuple[Arrival, ...]) -> bool:
    """A predicate that one more arrival can make false again."""
    return len(arrivals) % 2 == 0


QUORUMS = (
    ALL,
    ANY,
    1,
    2,
    3,
    0.34,
    0.5,
    1.0,
    {"b0": 1.0},
    {"b0": 0.5, "work": 0.5},
    {"b1": 0.4, "b2": 0.6},
    an_even_number,
)

any_join = st.builds(
    Join,
    quorum=st.sampled_from(QUORUMS),
    grace=st.sampled_from([0, 0, 2, 5]),
    timeout=st.sampled_from([None, 3, 8]),
    timeout_from=st.sampled_from(["fork", "first_arrival"]),
    on_timeout=st.sampled_from(["proceed", "proceed", "raise", "rescue"]),
    minimum=st.sampled_from([0, 0, 1, 2]),
    stragglers=st.sampled_from(["cancel", "detach"]),
    late=st.sampled_from(["drop", "merge", "next_round"]),
)
# Latecomers are rare in any policy, and so have one of their own.
with_guests = st.builds(
    Join,
    quorum=st.sampled_from([0.34, 0.5, 2, {"b0": 0.5, "work": 0.5}]),
    minimum=st.just(0),
    stragglers=st.just("detach"),
    late=st.just("next_round"),
)
joins = any_join | with_guests


def graph(join: Join) -> Graph:
    """plan sends branches to work; from gather the way leads back to plan, or to the end."""
    made = Graph(Work).add_node("plan", does()).add_node("work", does(), on_error="record")
    made.add_node("rescue", does()).add_sync_point("gather", join, fork="plan")
    made.add_edge(START, "plan").add_edge("rescue", END)
    made.add_conditional_edges("plan", lambda _: [Send("work")], ["work"])
    made.add_conditional_edges("work", lambda _: END, ["gather", END])
    return made.add_conditional_edges("gather", lambda _: END, ["plan", "rescue", END])


# -- the model --------------------------------------------------------------------------------


@dataclass
class Round:
    """One generation, as a dict of fates: ``on the way`` and the five of an outcome."""

    number: int
    began: float
    fates: dict[BranchPath, str] = field(default_factory=dict)
    weights: dict[BranchPath, float] = field(default_factory=dict)
    ids: dict[BranchPath, str] = field(default_factory=dict)
    first_arrival: float | None = None
    asked: int = 0
    met_at: float | None = None

    def those(self, fate: str) -> list[BranchPath]:
        return sorted(path for path, each in self.fates.items() if each == fate)


@dataclass(frozen=True)
class Opening:
    """What the model says of a sync point that opened."""

    number: int
    status: str
    waited: float
    fates: Mapping[str, tuple[BranchPath, ...]]


FATES = ("arrived", "failed", "late", "cancelled", "dead")


class Model:
    """A sync point by the words of the design page, without counters or masks."""

    def __init__(self, join: Join) -> None:
        self.join = join
        self.now = 0.0
        self.rounds = 0
        self.round: Round | None = None
        self.born: dict[BranchPath, tuple[str, float]] = {}
        self.working: dict[BranchPath, Round] = {}
        self.guests: list[BranchPath] = []
        self.openings: list[Opening] = []
        self.ordered: Counter[BranchPath] = Counter()
        self.lattice: set[BranchPath] = set()
        self.failed = False
        self.rescued = False

    def fork(self, children: Mapping[BranchPath, tuple[str, float]]) -> None:
        self.round = Round(self.rounds, self.now)
        self.rounds += 1
        for path, child in children.items():
            self.born[path] = child
            self._join(path, "on the way")
            self.working[path] = self.round
        guests, self.guests = self.guests, []
        for path in guests:
            self._arrive(path)
        self.settle()

    def _join(self, path: BranchPath, fate: str) -> None:
        assert self.round is not None
        self.round.fates[path] = fate
        self.round.ids[path], self.round.weights[path] = self.born[path]

    def _arrive(self, path: BranchPath) -> None:
        assert self.round is not None
        self._join(path, "arrived")
        if self.round.first_arrival is None:
            self.round.first_arrival = self.now

    def arrive(self, path: BranchPath) -> None:
        of = self.working.pop(path)
        if of is self.round:
            self._arrive(path)
        elif self.join.late == "merge":
            self.lattice.add(path)
        elif self.join.late == "next_round":
            if self.round is not None:
                self._arrive(path)
            else:
                self.guests.append(path)
        self.settle()

    def leave(self, path: BranchPath) -> None:
        self.ordered[path] += 1
        self.lattice.add(path)
        self._lose(path, "dead")

    def fail(self, path: BranchPath) -> None:
        self._lose(path, "failed")

    def _lose(self, path: BranchPath, fate: str) -> None:
        if self.working.pop(path) is self.round:
            self._join(path, fate)
        self.settle()

    def settle(self) -> None:
        each, join = self.round, self.join
        if each is None:
            return
        if len(each.those("arrived")) == len(each.fates):
            self.open("complete")
        elif not each.those("on the way"):
            self.open("partial")
        elif self._met(each):
            if join.grace == 0:
                self.open("quorum")
            elif each.met_at is None:
                each.met_at = self.now

    def _met(self, each: Round) -> bool:
        arrived, quorum = each.those("arrived"), self.join.quorum
        if each.met_at is not None:
            return True
        if quorum is ALL or not arrived:
            return False
        if isinstance(quorum, int):
            return len(arrived) >= quorum
        if isinstance(quorum, float):
            share = sum(each.weights[path] for path in arrived)
            return share >= quorum * sum(each.weights.values()) - 1e-9
        if isinstance(quorum, Mapping):
            of = [quorum.get(each.ids[path], quorum.get("work", 0)) for path in arrived]
            return sum(of) >= 1 - 1e-9
        if quorum is ANY:
            return True
        new, each.asked = len(arrived) > each.asked, len(arrived)
        return new and len(arrived) % 2 == 0

    def timers(self) -> dict[str, float]:
        """The timers that must be running, and when they are due."""
        each, join = self.round, self.join
        due: dict[str, float] = {}
        if each is None:
            return due
        since = each.began if join.timeout_from == "fork" else each.first_arrival
        if join.timeout is not None and since is not None:
            due["deadline"] = since + join.timeout
        if each.met_at is not None:
            due["grace"] = each.met_at + join.grace
        return due

    def open(self, status: str) -> None:
        each, join = self.round, self.join
        assert each is not None
        for path in each.those("on the way"):
            each.fates[path] = "cancelled" if join.stragglers == "cancel" else "late"
            if join.stragglers == "cancel":
                del self.working[path]
        named = {fate: tuple(each.those(fate)) for fate in FATES}
        self.openings.append(Opening(each.number, status, self.now - each.began, named))
        self.ordered.update(named["arrived"])
        self.lattice.update(named["arrived"])
        self.round = None
        below = len(named["arrived"]) < join.minimum
        if below or (status == "timeout" and join.on_timeout != "proceed"):
            self.rescued = join.on_timeout == "rescue"
            self.failed = not self.rescued


# -- the machine ------------------------------------------------------------------------------


class SyncPoint(RuleBasedStateMachine):
    """Drives a machine and the model side by side."""

    @initialize(join=joins)
    def begin(self, join: Join) -> None:
        self.model = Model(join)
        self.machine = Machine(graph(join).plan())
        self.openings: list[Opening] = []
        self.timers: dict[TimerKey, float] = {}
        self.nodes: dict[BranchPath, str] = {}
        self.routing: BranchPath | None = None
        self.children: dict[BranchPath, tuple[str, float]] = {}
        self.error: Exception | None = None
        self.finished = False
        self.handle(RunStarted(0.0, (0,), ()))

    def handle(self, event: JournalEvent) -> None:
        commands = self.machine.handle(event)
        for command in commands:
            self.carry_out(command)
        for command in commands:
            if isinstance(command, JudgeQuorum):
                self.judge(command)

    def carry_out(self, command: Command) -> None:
        if isinstance(command, RunNode):
            self.nodes[command.branch] = command.node
        elif isinstance(command, RouteBranch):
            self.routing = command.branch
        elif isinstance(command, CancelBranch):
            assert self.nodes.pop(command.branch) == "work"
        elif isinstance(command, StartTimer):
            assert command.timer not in self.timers
            self.timers[command.timer] = command.due
        elif isinstance(command, StopTimer):
            self.timers.pop(command.timer, None)
        elif isinstance(command, Notify):
            self.note(command.event)
        elif isinstance(command, Fail):
            self.error = command.error
            self.nodes, self.timers, self.routing = {}, {}, None
        elif isinstance(command, Finish):
            self.finished = True

    def judge(self, command: JudgeQuorum) -> None:
        met = an_even_number(command.arrivals)
        now, count = self.model.now, len(command.arrivals)
        branch, generation, name = command.branch, command.generation, command.sync_point
        self.handle(QuorumJudged(now, branch, generation, name, count, met))

    def note(self, event: BranchForked | SyncPointOpened) -> None:
        if isinstance(event, SyncPointOpened):
            self.openings.append(as_opening(event.outcome))
        else:
            self.children = {each.branch: (each.id or "", 1.0) for each in event.children}

    @property
    def workers(self) -> list[BranchPath]:
        return sorted(path for path, node in self.nodes.items() if node == "work")

    def complete(self, path: BranchPath, *targets: Target) -> None:
        node = self.nodes.pop(path)
        writes = (("items", [path]), ("seen", {path})) if node == "work" else ()
        now = self.model.now
        self.handle(NodeCompleted(now, path, node, 1, writes, targets, now))

    # -- rules --------------------------------------------------------------------------------

    @precondition(lambda self: "plan" in self.nodes.values())
    @rule(weights=st.lists(st.sampled_from([1.0, 1.0, 2.0, 0.5]), max_size=4))
    def fork(self, weights: list[float]) -> None:
        self.children = {}
        targets = [
            Target("work", id=f"b{number}", weight=weight) for number, weight in enumerate(weights)
        ]
        self.complete((0,), *targets)
        paths = sorted(self.children)
        ids = {f"b{number}": weight for number, weight in enumerate(weights)}
        assert [self.children[path][0] for path in paths] == [*ids]
        self.model.fork({path: (id_, ids[id_]) for path, (id_, _) in self.children.items()})

    def choose(self, number: int) -> BranchPath:
        return self.workers[number % len(self.workers)]

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 7))
    def arrive(self, number: int) -> None:
        path = self.choose(number)
        self.complete(path, Target("gather"))
        self.model.arrive(path)

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 7))
    def leave(self, number: int) -> None:
        path = self.choose(number)
        self.complete(path, Target(END))
        self.model.leave(path)

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 7))
    def fail(self, number: int) -> None:
        path = self.choose(number)
        del self.nodes[path]
        error = NodeError("work", path, 1, BOOM)
        self.handle(NodeFailed(self.model.now, path, "work", 1, error, "record"))
        self.model.fail(path)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: float) -> None:
        until = self.model.now + seconds
        while self.timers and not self.over:
            due, key = min((due, key) for key, due in self.timers.items())
            if due > until:
                break
            self.model.now = due
            del self.timers[key]
            self.handle(TimerFired(due, key))
            self.model.open("timeout" if key.kind == "deadline" else "quorum")
        self.model.now = until

    @precondition(lambda self: self.routing is not None)
    @rule(again=st.sampled_from([True, True, True, False]))
    def go_on(self, again: bool) -> None:
        path, self.routing = self.routing, None
        assert path is not None
        self.handle(Routed(self.model.now, path, "gather", (Target("plan" if again else END),)))

    @precondition(lambda self: "rescue" in self.nodes.values())
    @rule()
    def rescue(self) -> None:
        self.complete((0,), Target(END))

    # -- what must hold -----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self.error is not None or self.finished

    @invariant()
    def it_has_opened_as_the_model_has(self) -> None:
        assert self.openings == self.model.openings
        assert isinstance(self.error, SyncPointError) == self.model.failed
        assert self.model.failed or self.error is None

    @invariant()
    def every_participant_is_named_once(self) -> None:
        for number, opening in enumerate(self.openings):
            named = [path for paths in opening.fates.values() for path in paths]
            assert len(named) == len(set(named))
            assert opening.number == number

    @invariant()
    def its_timers_are_those_of_the_model(self) -> None:
        if self.error is None:
            running = {key.kind: due for key, due in self.timers.items()}
            assert running == self.model.timers()
            assert self.workers == sorted(self.model.working)

    @invariant()
    def somebody_can_always_go_on(self) -> None:
        assert self.over or self.nodes or self.timers or self.routing is not None

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.finish()
        if self.error is None:
            assert self.finished
            values = self.machine.values
            assert Counter(values["items"]) == self.model.ordered
            assert values["seen"] == self.model.lattice

    def finish(self) -> None:
        """Bring everything to its end, checking on the way."""
        steps: list[tuple[Callable[[], Any], Callable[[], None]]] = [
            (lambda: self.workers, lambda: self.arrive(0)),
            (lambda: "plan" in self.nodes.values(), lambda: self.fork([1.0])),
            (lambda: "rescue" in self.nodes.values(), self.rescue),
            (lambda: self.routing is not None, lambda: self.go_on(False)),
            (lambda: self.timers, lambda: self.wait(6)),
        ]
        while not self.over:
            next(step for possible, step in steps if possible())()
            self.it_has_opened_as_the_model_has()
            self.its_timers_are_those_of_the_model()


def as_opening(outcome: Outcome) -> Opening:
    named = {fate: tuple(each.branch for each in getattr(outcome, fate)) for fate in FATES}
    return Opening(outcome.generation, outcome.status, outcome.waited, named)


TestSyncPoint = SyncPoint.TestCase
TestSyncPoint.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def test_a_guest_adds_to_what_a_share_is_taken_of() -> None:
    state = SyncPoint()
    state.begin(join=Join(quorum=0.5, stragglers="detach", late="next_round"))
    state.fork(weights=[1.0, 1.0])
    state.arrive(number=0)
    state.go_on(again=True)
    state.arrive(number=0)  # the straggler, a guest of the next round
    state.fork(weights=[1.0, 1.0])
    assert len(state.openings) == 1, "1 of 3 has arrived"
    state.it_has_opened_as_the_model_has()
    state.teardown()
