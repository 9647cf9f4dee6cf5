"""The laws of the design page as checks on runs of the machine alone; see `drive.py`.

Each check takes a run of a traced program, or makes some, and raises `AssertionError` with a
sentence if the law is broken. None of them asks the machine what it holds to be right: what a
branch may have seen and which branches took part is worked out from the journal and the program.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import plait
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
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeRetried,
    QuorumJudged,
    Routed,
    RunStarted,
    SyncPointOpened,
    Target,
    TimerFired,
    TimerKey,
    Writes,
)
from plait.machine import Machine
from tests.properties import reference
from tests.properties.drive import (
    TRACE,
    Answer,
    Case,
    Choose,
    Item,
    Judge,
    Run,
    Timer,
    at_random,
    drive,
    following,
    prepare,
    resume,
    similar,
    traced,
)
from tests.properties.programs import (
    END,
    START,
    VISITS,
    Edge,
    Node,
    Policy,
    Program,
    Router,
    Sent,
    SyncPoint,
    Visit,
)
from tests.properties.programs import (
    Target as Goal,
)

__all__ = [
    "Tally",
    "check_conservation",
    "check_determinism",
    "check_isolation",
    "check_outcomes",
    "check_program",
    "check_progress",
    "check_recovery",
    "check_refinement",
    "check_renaming",
    "check_schedule_independence",
    "check_under_way",
    "end_of",
    "renamed",
]

VERDICTS = ("arrived", "failed", "late", "cancelled", "dead")


def end_of(run: Run) -> tuple[Any, ...]:
    """What a run came to, but for its times: the final state, the outcomes and the kind of error.

    Of a run that failed it is the error alone: which outcomes there were by then is timing.
    """
    if run.error is not None:
        return (run.failure,)
    return (run.state, verdicts(run.outcomes))


def verdicts(outcomes: Mapping[str, Sequence[plait.Outcome]]) -> list[tuple[Any, ...]]:
    """Every outcome without its times, by sync point, owner and generation."""
    return [
        (
            name,
            outcome.branch,
            outcome.generation,
            outcome.status,
            *([p.branch for p in getattr(outcome, verdict)] for verdict in VERDICTS),
        )
        for name in sorted(outcomes)
        for outcome in outcomes[name]
    ]


# --- 1: determinism ---


def check_determinism(run: Run) -> None:
    """Replayed on a new machine, the journal gives the same commands, views and values.

    For the first half nobody looks at a view, so that it must not matter when one is taken.
    """
    machine = Machine(run.case.plan)
    views = iter(run.views)
    place = next(views, None)
    half = len(run.journal) // 2
    for number, (event, said) in enumerate(zip(run.journal, run.commands, strict=True), 1):
        again = machine.handle(event)
        assert _plain(again) == _plain(said), f"event {number} gives {again} in place of {said}"
        while place is not None and place[0] <= number:
            _, command, seen = place
            if number > half and place[0] == number and machine.expects(command):
                view = machine.view(machine.branches[command.branch])
                assert view == seen, f"{command} sees {view} in place of {seen}"
            place = next(views, None)
    assert machine.running == (run.state is None)
    if run.state is not None:
        assert machine.values == run.state, f"replayed: {machine.values}, was: {run.state}"
        assert verdicts(machine.outcomes) == verdicts(run.outcomes)


def _plain(commands: Sequence[Command]) -> list[Any]:
    """Commands in a form in which equal errors are equal."""
    return [
        ("fail", type(c.error), str(c.error)) if isinstance(c, Fail) else (type(c), c)
        for c in commands
    ]


# --- 2: schedule independence ---


def check_schedule_independence(first: Run, second: Run) -> None:
    """Two schedules of a calm program end the same."""
    one, other = end_of(first), end_of(second)
    assert one == other, f"one schedule ends as {one}, another as {other}"


def check_same_arrivals(first: Run, second: Run) -> bool:
    """Where time decides, the same arrivals, those at END among them, give the same state.

    What a node wrote to a live channel stays, whatever becomes of its branch: such channels also
    take the same calls to have been finished.

    Returns whether there was something to compare.
    """
    if first.state is None or second.state is None or sees_late_writes(first.case.program):
        return False
    if _arrivals(first) != _arrivals(second):
        return False
    aside = set() if _finished(first) == _finished(second) else _live_channels(first.case.program)
    one, other = (
        {name: value for name, value in state.items() if name not in aside}
        for state in (first.state, second.state)
    )
    assert one == other, f"{one} and {other}, on the same arrivals"
    return True


def _finished(run: Run) -> list[tuple[Any, ...]]:
    """The calls of nodes that were finished, in whatever order."""
    return sorted((e.branch, e.node) for e in run.journal if isinstance(e, NodeCompleted))


def _live_channels(program: Program) -> set[str]:
    return {each.name for each in program.all_channels() if each.kind.startswith("live")}


def _arrivals(run: Run) -> tuple[Any, ...]:
    ended = [
        (event.branch, event.node)
        for event in run.journal
        if isinstance(event, NodeCompleted | Routed)
        and any(target.node == plait.END for target in event.targets)
    ]
    return [verdicts(outcomes) for _, outcomes in run.ends], sorted(ended)


# --- 3: isolation ---


@dataclass
class _Past:
    """What each branch may have seen, and must have, worked out from the journal: tokens, by path.

    known: what the branch has been seen to know, and what it wrote itself.
    """

    case: Case
    known: dict[BranchPath, set[int]] = field(default_factory=dict)
    own: dict[BranchPath, set[int]] = field(default_factory=dict)
    seen: dict[BranchPath, set[int]] = field(default_factory=dict)
    base: dict[BranchPath, set[int]] = field(default_factory=dict)
    ended: set[BranchPath] = field(default_factory=set)
    before: dict[BranchPath, set[BranchPath]] = field(default_factory=dict)
    late: list[BranchPath] = field(default_factory=list)
    merged: dict[BranchPath, set[int]] = field(default_factory=dict)
    guests: list[BranchPath] = field(default_factory=list)

    def start(self, path: BranchPath, seen: set[int], known: set[int]) -> None:
        self.own.setdefault(path, set())
        self.known[path] = set(known)
        self.seen[path] = set(seen)
        self.base[path] = set(seen)

    def of(self, path: BranchPath) -> set[int]:
        if path not in self.seen:  # a merged branch with a place of its own
            self.start(path, self.merged[path[:-1]], set())
            self.guests.append(path)
        return self.seen[path]

    def wrote(self, path: BranchPath, tokens: Collection[int]) -> None:
        self.of(path).update(tokens)
        self.own[path].update(tokens)
        self.known[path].update(tokens)

    def below(self, top: BranchPath, *, ended: bool = False) -> set[int]:
        """All that branches at or below `top` wrote, but those that ended; or with them."""
        found: set[int] = set()
        for path, tokens in self.own.items():
            if path[: len(top)] == top and (ended or path not in self.ended):
                found |= tokens
        return found

    def forked(self, notice: BranchForked, targets: Sequence[Target]) -> None:
        seen = self.of(notice.branch)
        for child in notice.children:
            self.start(child.branch, seen, self.known[notice.branch])
        ids = {child.id: child.branch for child in notice.children}
        for target, child in zip(targets, notice.children, strict=False):
            todo = list(target.after)
            found: set[BranchPath] = set()
            while todo:
                path = ids[todo.pop()]
                if path not in found:
                    found.add(path)
                    todo += targets[path[-1] - notice.children[0].branch[-1]].after
            self.before[child.branch] = found

    def opened(self, outcome: plait.Outcome) -> None:
        spec = self.case.plan.vertices[outcome.sync_point].sync_point
        assert spec is not None
        arrived: set[int] = set()
        for participant in outcome.arrived:
            arrived |= self.below(participant.branch)
        for guest in self.guests:  # of a sync point that opened with nobody
            if guest[:-1] == outcome.branch:
                arrived |= self.below(guest)
        if spec.join.late == "merge":
            self.late += [participant.branch for participant in outcome.late]
        if spec.last:
            self.of(outcome.branch).update(arrived)
            return
        # From here one branch goes on in the place of one of those that it merged, or a new one.
        fork_base: set[int] = set()
        for participant in outcome.arrived:
            fork_base |= self.base[participant.branch]
        self.merged[outcome.branch] = fork_base | arrived | self.of(outcome.branch)
        for participant in outcome.arrived[:1]:
            self.of(participant.branch).update(fork_base | arrived)
            self.own[participant.branch] |= arrived

    def may_see(self, path: BranchPath) -> set[int]:
        seen = set(self.of(path))
        for length in range(1, len(path) + 1):
            for sibling in self.before.get(path[:length], ()):
                seen |= self.below(sibling, ended=True)
        for late in self.late:
            seen |= self.below(late)
        return seen


def check_isolation(run: Run) -> None:
    """No branch has seen a token that is not in its past; each sees its own and its fork's."""
    past = _Past(run.case)
    notices, views = list(run.notices), list(run.views)
    for number, event in enumerate(run.journal, 1):
        targets: Sequence[Target] = ()
        if isinstance(event, RunStarted):
            last = run.ends[event.branch[0] - 1][0] if event.branch[0] else {}
            seen = set(last.get(TRACE, ()))
            past.start(event.branch, seen, seen)
        elif isinstance(event, NodeCompleted | Routed):
            targets = event.targets
            if isinstance(event, NodeCompleted):
                past.wrote(event.branch, tokens_of(event.writes))
            ends = all(target.node == plait.END for target in targets)
            if ends and not run.case.plan.vertices[event.node].owns:
                past.ended.add(event.branch)
            else:
                past.ended.discard(event.branch)
        while notices and notices[0][0] <= number:
            notice = notices.pop(0)[1]
            if isinstance(notice, BranchForked):
                mine = getattr(event, "branch", None) == notice.branch
                past.forked(notice, targets if mine and len(targets) > 1 else ())
            else:
                past.opened(notice.outcome)
        while views and views[0][0] <= number:
            _, command, values = views.pop(0)
            seen = set(values.get(TRACE, ()))
            allowed = past.may_see(command.branch)
            assert seen <= allowed, (
                f"{command} sees {_names(run.case, seen - allowed)} before a sync point"
            )
            missing = past.known[command.branch] - seen
            assert not missing, f"{command} does not see {_names(run.case, missing)} any more"
            past.known[command.branch] = seen


def tokens_of(writes: Writes) -> list[int]:
    return [token for channel, value in writes if channel == TRACE for token in value]


def _names(case: Case, tokens: Collection[int]) -> list[Any]:
    return [key for key, token in case.tokens.items() if token in tokens]


# --- 4: conservation ---


def check_conservation(run: Run) -> None:
    """Every token of a finished call is in the final state once, or its branch is named."""
    place = 0
    before: set[int] = set()
    for number, (state, outcomes) in enumerate(run.ends):
        written: dict[int, BranchPath] = {}
        for event in run.journal[place:]:
            if isinstance(event, RunStarted) and event.branch != (number,):
                break
            place += 1
            if isinstance(event, NodeCompleted):
                written.update(dict.fromkeys(tokens_of(event.writes), event.branch))
        final = state.get(TRACE, [])
        assert len(set(final)) == len(final), f"twice in {final}"
        here = set(final)
        assert before <= here, "a write of an earlier run is lost"
        assert here - before <= written.keys(), "a write from nowhere"
        named = {
            p.branch
            for each in outcomes.values()
            for outcome in each
            for p in (*outcome.late, *outcome.cancelled, *outcome.failed)
        }
        for token, path in written.items():
            excused = any(path[:length] in named for length in range(1, len(path) + 1))
            assert token in here or excused, (
                f"a write of {path} is lost: {_names(run.case, {token})}; named: {sorted(named)}"
            )
        before = here


def check_outcomes(run: Run) -> None:
    """Each participant is named once, each sync point opens once in a generation."""
    topology = reference.Topology(run.case.program)
    opened: set[tuple[str, BranchPath, int]] = set()
    expected: dict[tuple[str, BranchPath], list[list[BranchPath]]] = {}
    for _, notice in run.notices:
        if isinstance(notice, BranchForked):
            for sync in topology.owned(notice.node):
                taking_part = [
                    child.branch
                    for child in notice.children
                    if topology.reaches(child.node, sync, avoiding=notice.node)
                ]
                if taking_part or (not notice.children and topology.is_first(sync)):
                    expected.setdefault((sync, notice.branch), []).append(taking_part)
            continue
        outcome = notice.outcome
        key = (outcome.sync_point, outcome.branch, outcome.generation)
        assert key not in opened, f"{key} has opened twice"
        opened.add(key)
        named = [p.branch for verdict in VERDICTS for p in getattr(outcome, verdict)]
        assert len(set(named)) == len(named), f"{key} names a branch twice: {outcome}"
        assert outcome.activated == len(named)
        for verdict in VERDICTS:
            paths = [p.branch for p in getattr(outcome, verdict)]
            assert paths == sorted(paths), f"{key} names {verdict} out of order: {paths}"
        _check_status(outcome)
        spec = run.case.plan.vertices[outcome.sync_point].sync_point
        assert spec is not None
        if spec.join.late != "next_round":
            activated = expected[key[:2]][outcome.generation]
            assert sorted(named) == activated, f"{key} names {sorted(named)}, of {activated}"


def _check_status(outcome: plait.Outcome) -> None:
    complete = not outcome.missing
    running = bool(outcome.late or outcome.cancelled)
    assert (outcome.status == "complete") == complete, f"not complete: {outcome}"
    if outcome.status in ("quorum", "timeout"):
        assert running, f"nobody was waited for: {outcome}"


# --- 5: progress ---


def check_progress(run: Run) -> None:
    """A run that can go no further has ended, and has left nothing under way."""
    if run.hung and _may_lead_anywhere(run.case.program):
        assert isinstance(run.error, plait.PlaitError), "it hangs without a word"
    else:
        assert not run.hung, f"it hangs: {list(run.machine.branches.values())}"
    assert not run.stale, f"not cancelled, though no longer wanted: {run.stale}"
    if run.error is None:
        assert run.state is not None
        assert not run.machine.branches
        # A predicate may still be thinking about a sync point that has opened without it.
        left = [item.key for item in run.left if not isinstance(item, Judge)]
        assert not left, f"the run is finished, and {left} not"


def _may_lead_anywhere(program: Program) -> bool:
    """Whether sync points may wait for each other: a router does not say where it leads."""
    return any(isinstance(link, Router) and link.targets is None for link in program.links)


# --- 6: recovery ---


@dataclass
class _Question:
    """What a predicate has been asked about, and has answered: numbers of arrivals."""

    asked: int = 0
    answered: int = 0
    met: bool = False

    @property
    def is_open(self) -> bool:
        return self.asked > self.answered and not self.met


@dataclass
class _UnderWay:
    """What the commands so far have begun, and the events not ended: what a crash interrupts."""

    calls: dict[BranchPath, RunNode | RouteBranch] = field(default_factory=dict)
    timers: dict[TimerKey, StartTimer] = field(default_factory=dict)
    questions: dict[tuple[Any, ...], _Question] = field(default_factory=dict)

    def take(self, event: JournalEvent, commands: Sequence[Command]) -> None:
        if isinstance(event, NodeCompleted | Routed | NodeInterrupted) or (
            isinstance(event, NodeFailed) and event.handling != "raise"
        ):
            self.calls.pop(event.branch)
        elif isinstance(event, TimerFired):
            self.timers.pop(event.timer)
        elif isinstance(event, QuorumJudged):
            key = (event.branch, event.generation, event.sync_point)
            if (question := self.questions.get(key)) is not None:
                question.answered = max(question.answered, event.arrivals)
                question.met = event.met
        for command in commands:
            if isinstance(command, RunNode | RouteBranch):
                self.calls[command.branch] = command
            elif isinstance(command, CancelBranch):
                if self.calls[command.branch].step == command.step:
                    del self.calls[command.branch]
            elif isinstance(command, StartTimer):
                self.timers[command.timer] = command
            elif isinstance(command, StopTimer):
                self.timers.pop(command.timer, None)
            elif isinstance(command, JudgeQuorum):
                key = (command.branch, command.generation, command.sync_point)
                question = self.questions.setdefault(key, _Question())
                question.asked = max(question.asked, len(command.arrivals))
            elif isinstance(command, Notify) and isinstance(command.event, SyncPointOpened):
                outcome = command.event.outcome
                self.questions.pop((outcome.branch, outcome.generation, outcome.sync_point), None)
            elif isinstance(command, Finish):
                self.questions.clear()


def check_under_way(run: Run) -> None:
    """From every prefix a new machine begins again exactly what was interrupted there.

    A call goes by its path and its step, which are its idempotency key, so nothing that has ended
    is called again, and what is has the same key.
    """
    machine = Machine(run.case.plan)
    under_way = _UnderWay()
    for number, event in enumerate(run.journal, 1):
        commands = machine.handle(event)
        under_way.take(event, commands)
        if machine.failure is not None:
            return
        again = machine.outstanding()
        calls = {c.branch: c for c in again if isinstance(c, RunNode | RouteBranch)}
        assert calls == under_way.calls, (
            f"after event {number}, {event}: {calls} in place of {under_way.calls}"
        )
        timers = {c.timer: c for c in again if isinstance(c, StartTimer)}
        assert timers == under_way.timers, (
            f"after event {number}, {event}: {timers} in place of {under_way.timers}"
        )
        asked = {
            (c.branch, c.generation, c.sync_point) for c in again if isinstance(c, JudgeQuorum)
        }
        open_questions = {key for key, each in under_way.questions.items() if each.is_open}
        assert asked == open_questions, (
            f"after event {number}, {event}: asks {asked} in place of {open_questions}"
        )


def check_recovery(run: Run, cut: int, choose: Choose | None = None) -> Run | None:
    """Resumed from a prefix, a run goes on to its end; with the same choices to the same one.

    Args:
        cut: how many events the prefix has.
        choose: how to go on; without it, as the run did.
    """
    prefix = run.journal[:cut]
    begun = [event.branch[0] for event in prefix if isinstance(event, RunStarted)]
    if not begun:
        return None
    steps = [event for event in prefix if not isinstance(event, RunStarted | NodeRetried)]
    keys = run.keys[len(steps) :]
    later = [e for e in run.journal[cut:] if not isinstance(e, RunStarted | NodeRetried)]
    met = {
        key
        for event, key in zip(later, keys, strict=True)
        if isinstance(event, QuorumJudged) and event.met
    }
    again = resume(run.case, prefix, choose or following(keys, met))
    completed = {
        key for event, key in zip(steps, run.keys, strict=False) if isinstance(event, NodeCompleted)
    }
    repeated = [command for _, command, _ in again.views if command in completed]
    assert not repeated, f"called again after {cut} events: {repeated}"
    check_progress(again)
    if choose is None and begun[-1] < len(run.ends) and not sees_late_writes(run.case.program):
        state, outcomes = run.ends[begun[-1]]
        found, reported = again.ends[-1]
        assert found == state, f"cut after {cut} events: {found} in place of {state}"
        assert verdicts(reported) == verdicts(outcomes)
    return again


def sees_late_writes(program: Program) -> bool:
    """Whether it matters when a call begins: a call that is repeated may then see more."""
    return any(sync.policy.late == "merge" for sync in program.syncs)


# --- 8: names do not matter ---


def renamed(program: Program, name: Callable[[str], str]) -> Program:
    """The program with other names for its nodes and sync points, those of subgraphs included."""

    def new(old: str) -> str:
        return old if old in (START, END, "raise", "record", "proceed") else name(old)

    def goal(target: Goal) -> Goal:
        if isinstance(target, Sent):
            return replace(target, target=new(target.target))
        return new(target)

    def visit(old: Visit) -> Visit:
        return replace(old, goto=tuple(map(goal, old.goto)))

    def node(old: Node) -> Node:
        return replace(
            old,
            name=new(old.name),
            visits=tuple(map(visit, old.visits)),
            targets=tuple(map(new, old.targets)),
            on_error=new(old.on_error),
            subgraph=None if old.subgraph is None else renamed(old.subgraph, name),
        )

    def link(old: Edge | Router) -> Edge | Router:
        if isinstance(old, Edge):
            return Edge(new(old.source), new(old.target))
        return Router(
            new(old.source),
            tuple(tuple(map(goal, choice)) for choice in old.choices),
            None if old.targets is None else tuple(map(new, old.targets)),
            None if old.counter is None else new(old.counter),
        )

    def policy(old: Policy) -> Policy:
        # The ids of Sends are no names of nodes: a drawn quorum of weights names nothing else.
        return replace(old, on_timeout=new(old.on_timeout))

    def sync(old: SyncPoint) -> SyncPoint:
        fork = None if old.fork is None else new(old.fork)
        return SyncPoint(new(old.name), policy(old.policy), fork)

    return replace(
        program,
        nodes=tuple(map(node, program.nodes)),
        links=tuple(map(link, program.links)),
        syncs=tuple(map(sync, program.syncs)),
    )


def names_of(program: Program) -> list[str]:
    """The names of all nodes and sync points, those of subgraphs included."""
    inner = [name for n in program.nodes if n.subgraph is not None for name in names_of(n.subgraph)]
    return [n.name for n in program.nodes] + [s.name for s in program.syncs] + inner


def reordered(program: Program, rng: random.Random) -> Program:
    """The program with its declarations in another order, but the ways from one place in theirs."""
    queues: dict[str, list[Edge | Router]] = {}
    for link in program.links:
        queues.setdefault(link.source, []).append(link)
    order = [link.source for link in program.links]
    rng.shuffle(order)
    nodes, syncs = list(program.nodes), list(program.syncs)
    rng.shuffle(nodes)
    rng.shuffle(syncs)
    return replace(
        program,
        nodes=tuple(nodes),
        syncs=tuple(syncs),
        links=tuple(queues[source].pop(0) for source in order),
    )


def check_renaming(run: Run, case: Case, names: Mapping[str, str]) -> Run:
    """A renamed program does the same under the same schedule, event by event."""
    again = drive(case, by_events(run.journal, names), runs=run.machine.runs)
    assert again.failure == run.failure
    assert again.state == _with_names(run.state, names)
    assert verdicts(again.outcomes) == verdicts(
        {names.get(name, name): outcomes for name, outcomes in run.outcomes.items()}
    )
    return again


def _with_names(state: Mapping[str, Any] | None, names: Mapping[str, str]) -> Any:
    if state is None:
        return None
    return {**state, VISITS: {names[name]: count for name, count in state[VISITS].items()}}


def by_events(journal: Sequence[JournalEvent], names: Mapping[str, str]) -> Choose:
    """The schedule of a journal for the same program under other names."""
    order = [
        _subject(event, names)
        for event in journal
        if not isinstance(event, RunStarted | NodeRetried)
    ]

    def choose(ready: Sequence[Item], position: int) -> int:
        for subject in order[position : position + 1]:
            for place, item in enumerate(ready):
                if _subject_of(item) == subject:
                    return place
        return 0

    return choose


def _subject(event: Any, names: Mapping[str, str]) -> Hashable:
    if isinstance(event, TimerFired):
        return event.timer._replace(sync_point=names[event.timer.sync_point])
    if isinstance(event, QuorumJudged):
        return event.branch, event.generation, names[event.sync_point], event.arrivals
    if isinstance(event, InterruptsAnswered):
        return event.answers[0][0]
    return event.branch  # type: ignore[no-any-return]


def _subject_of(item: Item) -> Hashable:
    if isinstance(item, Timer):
        return item.command.timer
    if isinstance(item, Judge):
        asked = item.command
        return asked.branch, asked.generation, asked.sync_point, len(asked.arrivals)
    if isinstance(item, Answer):
        return item.interrupt.id
    return item.command.branch


# --- 9: refinement ---


def check_refinement(run: Run) -> None:
    """The reference interpreter, led through the same choices, comes to the same end.

    Args:
        run: an eager one, since the reference asks routers and predicates at once.
    """
    if sees_late_writes(run.case.program) and _overwrites(run):
        return  # Whether a late Overwrite of a lattice channel counts is not said.
    steps = [
        event for event in run.journal if isinstance(event, NodeCompleted | NodeFailed | TimerFired)
    ]
    place = iter(steps)

    def choose(ready: Sequence[reference.Ready]) -> int:
        event = next(place, None)
        assert event is not None, f"the machine has ended; the reference could do {_said(ready)}"
        for number, item in enumerate(ready):
            if _means(item, event):
                return number
        raise AssertionError(f"{event} is nothing that the reference could do: {_said(ready)}")

    expected = reference.run(run.case.program, choose)
    assert not expected.hung
    assert run.failure == expected.error, f"{run.error!r} in place of {expected.error}"
    if expected.error is None:
        assert next(place, None) is None, "the reference has ended, and the machine had not"
        found = [
            (name, generation, status, *(tuple(map(_dotted, paths)) for paths in named))
            for name, _, generation, status, *named in verdicts(run.outcomes)
            if name != plait.END
        ]
        wanted = [
            (o.sync, o.generation, o.status, *map(o.those, VERDICTS)) for o in expected.outcomes
        ]
        assert found == wanted, f"{found} in place of {wanted}"
        state = {name: value for name, value in (run.state or {}).items() if name != TRACE}
        wanted_state = {n: value for n, value in (expected.state or {}).items() if n != TRACE}
        assert state == wanted_state, f"{state} in place of {wanted_state}"
        loose = [p.branch for o in run.outcomes.get(plait.END, ()) for p in o.failed]
        assert tuple(map(_dotted, loose)) == expected.unaccounted


def _overwrites(run: Run) -> bool:
    return any(
        isinstance(value, plait.Overwrite)
        for event in run.journal
        if isinstance(event, NodeCompleted)
        for _, value in event.writes
    )


def _means(item: reference.Ready, event: Any) -> bool:
    if isinstance(item, reference.Timer):
        barrier = item.barrier
        return isinstance(event, TimerFired) and event.timer == (
            barrier.round.owner.path,
            barrier.generation,
            barrier.sync,
            item.kind,
        )
    return not isinstance(event, TimerFired) and item.path == event.branch


def _said(ready: Sequence[reference.Ready]) -> list[str]:
    return [item.name for item in ready]


def _dotted(path: BranchPath) -> str:
    return ".".join(map(str, path))


# --- all of them ---


@dataclass
class Tally:
    """How much has been done."""

    programs: int = 0
    schedules: int = 0
    events: int = 0
    compared: int = 0

    def count(self, run: Run | None) -> Run:
        assert run is not None
        self.schedules += 1
        self.events += len(run.journal)
        return run


def check_run(run: Run) -> None:
    """The laws that one run can be held to by itself."""
    check_progress(run)
    check_determinism(run)
    check_isolation(run)
    check_conservation(run)
    check_outcomes(run)
    check_under_way(run)


def check_program(
    program: Program, rng: random.Random, tally: Tally, *, calm: bool, rounds: int
) -> None:
    """All laws on one program, under `rounds` times several schedules.

    Args:
        rng: the schedules come from it, and from nothing else.
        calm: whether the program must end the same under all of them.
    """
    case = prepare(traced(program))
    tally.programs += 1
    first = tally.count(drive(case, rng))
    check_run(first)
    for _ in range(rounds):
        other = tally.count(drive(case, rng, runs=rng.choice((1, 1, 1, 2))))
        check_run(other)
        cut = rng.randrange(len(other.journal)) + 1
        tally.count(check_recovery(other, cut))
        check_conservation(tally.count(check_recovery(other, cut, at_random(rng))))
        check_refinement(tally.count(drive(case, rng, eager=True)))
        if calm:
            check_schedule_independence(first, tally.count(drive(case, rng)))
        else:
            near = drive(case, similar(first.keys, rng, rng.choice((1.5, 3, 8))))
            check_run(tally.count(near))
            tally.compared += check_same_arrivals(first, near)
    old = names_of(program)
    new = [f"x{number}" for number in range(len(old))]
    rng.shuffle(new)
    names = dict(zip(old, new, strict=True))
    other_case = prepare(renamed(case.program, names.__getitem__), case.tokens)
    tally.count(check_renaming(first, other_case, names))
    if calm:
        shuffled = prepare(reordered(case.program, rng), case.tokens)
        check_schedule_independence(first, tally.count(drive(shuffled, rng)))
