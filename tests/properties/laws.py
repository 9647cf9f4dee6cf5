"""The laws of the design page as checks on runs of the machine alone; see `drive.py`.

Each check takes a run of a traced program, or makes some, and raises `AssertionError` with a
sentence if the law is broken. None of them asks the machine what it holds to be right: what a
branch may have seen and which branches took part is worked out from the journal and the program.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
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
    JournalEvent,
    NodeCompleted,
    NodeFailed,
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
    Call,
    Case,
    Choose,
    Judge,
    Route,
    Run,
    drive,
    following,
    prepare,
    resume,
    similar,
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
    Target as Goal,
    Visit,
    Weights,
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

    Returns whether there was something to compare.
    """
    if first.state is None or second.state is None or _arrivals(first) != _arrivals(second):
        return False
    assert first.state == second.state, f"{first.state} and {second.state}, on the same arrivals"
    return True


def _arrivals(run: Run) -> tuple[Any, ...]:
    ended = [
        (event.branch, event.node)
        for event in run.journal
        if isinstance(event, NodeCompleted | Routed)
        and any(target.node == END for target in event.targets)
    ]
    return verdicts(run.outcomes), sorted(ended)


# --- 3: isolation ---


@dataclass
class _Past:
    """What each branch may have seen, worked out from the journal: tokens, by path."""

    case: Case
    own: dict[BranchPath, set[int]] = field(default_factory=dict)
    seen: dict[BranchPath, set[int]] = field(default_factory=dict)
    base: dict[BranchPath, set[int]] = field(default_factory=dict)
    ended: set[BranchPath] = field(default_factory=set)
    before: dict[BranchPath, set[BranchPath]] = field(default_factory=dict)
    late: list[BranchPath] = field(default_factory=list)
    merged: dict[BranchPath, set[int]] = field(default_factory=dict)

    def start(self, path: BranchPath, seen: set[int]) -> None:
        self.own.setdefault(path, set())
        self.seen[path] = set(seen)
        self.base[path] = set(seen)

    def of(self, path: BranchPath) -> set[int]:
        if path not in self.seen:  # a merged branch with a place of its own
            self.start(path, self.merged[path[:-1]])
        return self.seen[path]

    def wrote(self, path: BranchPath, tokens: Collection[int]) -> None:
        self.of(path).update(tokens)
        self.own.setdefault(path, set()).update(tokens)

    def below(self, top: BranchPath) -> set[int]:
        """All that branches at or below `top` wrote, but those that went to END."""
        found: set[int] = set()
        for path, tokens in self.own.items():
            if path[: len(top)] == top and path not in self.ended:
                found |= tokens
        return found

    def forked(self, notice: BranchForked, targets: Sequence[Target]) -> None:
        seen = self.of(notice.branch)
        for child in notice.children:
            self.start(child.branch, seen)
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
                seen |= self.below(sibling)
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
            past.start(event.branch, set(last.get(TRACE, ())))
        elif isinstance(event, NodeCompleted | Routed):
            targets = event.targets
            if isinstance(event, NodeCompleted):
                past.wrote(event.branch, tokens_of(event.writes))
            if all(target.node == END for target in targets):
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
            missing = past.base[command.branch] - seen
            assert not missing, f"{command} does not see {_names(run.case, missing)} of its fork"


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
    assert not run.hung, f"it hangs: {list(run.machine.branches.values())}"
    assert not run.stale, f"not cancelled, though no longer wanted: {run.stale}"
    if run.error is None:
        assert run.state is not None
        assert not run.machine.branches
        # A predicate may still be thinking about a sync point that has opened without it.
        left = [item.key for item in run.left if not isinstance(item, Judge)]
        assert not left, f"the run is finished, and {left} not"


# --- 6: recovery ---


@dataclass
class _UnderWay:
    """What the commands so far have begun, and the events not ended: what a crash interrupts."""

    calls: dict[BranchPath, RunNode | RouteBranch] = field(default_factory=dict)
    timers: dict[TimerKey, StartTimer] = field(default_factory=dict)
    questions: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def take(self, event: JournalEvent, commands: Sequence[Command]) -> None:
        if isinstance(event, NodeCompleted | Routed):
            self.calls.pop(event.branch)
        elif isinstance(event, NodeFailed) and event.handling != "raise":
            self.calls.pop(event.branch)
        elif isinstance(event, TimerFired):
            self.timers.pop(event.timer)
        elif isinstance(event, QuorumJudged):
            key = (event.branch, event.generation, event.sync_point)
            self.questions[key] = self.questions.get(key, 0) - 1
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
                self.questions[key] = self.questions.get(key, 0) + 1
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
        open_questions = {key for key, count in under_way.questions.items() if count > 0}
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
    known = sum(not isinstance(event, RunStarted | NodeRetried) for event in prefix)
    again = resume(run.case, prefix, choose or following(run.keys[known:]))
    completed = _completed(prefix)
    repeated = [c for _, c, _ in again.views if (c.branch, c.step) in completed]
    assert not repeated, f"called again after {cut} events: {repeated}"
    check_progress(again)
    if choose is None and begun[-1] < len(run.ends) and not _sees_late_writes(run.case.program):
        state, outcomes = run.ends[begun[-1]]
        assert again.state == state, f"cut after {cut} events: {again.state} in place of {state}"
        assert verdicts(again.outcomes) == verdicts(outcomes)
    return again


def _completed(prefix: Sequence[JournalEvent]) -> set[tuple[BranchPath, int]]:
    """The calls that a journal has completed: by path and step, which is counted from commands."""
    return set()


def _sees_late_writes(program: Program) -> bool:
    """Whether it matters when a call begins: a call that is repeated may then see more."""
    return any(sync.policy.late == "merge" for sync in program.syncs)
