"""The timeline of a run: what each branch did when, what its sync points waited for, and for whom.

A pure function of the journal (`Flow.trace`). All times are seconds from the start of the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from plait.events import (
    BranchForked,
    BranchPath,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeName,
    NodeRetried,
    Outcome,
    OutcomeStatus,
    Participant,
    RunStarted,
    SyncPointOpened,
    TimerFired,
    format_path,
)
from plait.orchestration.critical_path import (
    Seconds,
    Segment,
    critical_path,
    label_of,
    last_run,
    times_of,
)
from plait.policy import END
from plait.trace import Step

__all__ = ["Arrived", "Fate", "Gate", "Row", "Span", "SpanKind", "Timeline", "timeline_of"]

SpanKind: TypeAlias = Literal["node", "attempt", "queue", "pause", "person", "held", "sync"]
"""What a branch did: it was in a node that returned or failed (`node`), in an attempt that was
repeated (`attempt`), waited for a free place (`queue`), for the next attempt (`pause`), for a
person (`person`), for branches that it depends on (`held`), or at a sync point for others
(`sync`)."""

Fate: TypeAlias = Literal["done", "failed", "late", "cancelled", "dead", "working"]
"""What became of a branch; `working`: nothing yet, where the timeline ends."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Span(_Record):
    """A stretch of a branch's time."""

    kind: SpanKind
    """What it did."""
    name: str
    """The node, or the sync point."""
    start: Seconds
    """When that began, in seconds from the start of the run."""
    end: Seconds
    """When it ended."""
    failed: bool = False
    """Whether it ended with an error."""


class Row(_Record):
    """One branch."""

    label: str
    """What to call it: the id that it was sent with; `run` for the first branch."""
    branch: str
    """Its path."""
    fate: Fate
    """What became of it."""
    spans: tuple[Span, ...]
    """What it did, in the order of time."""


class Arrived(_Record):
    """A branch, as a sync point saw it."""

    label: str
    """The branch."""
    fate: Fate
    """Whether it arrived (`done`), or what became of it."""
    at: Seconds | None
    """When that was; nothing if it had not come when the sync point opened."""


class Gate(_Record):
    """A sync point that opened, and what it waited for."""

    name: str
    """The sync point."""
    status: OutcomeStatus
    """Why it opened."""
    forked: Seconds
    """When its branches were forked."""
    opened: Seconds
    """When it opened."""
    branches: tuple[Arrived, ...]
    """Its branches: those that came, in the order in which they did, then the others."""
    waited_for: str
    """For whom it waited last: the branch whose coming opened it, or those that did not come in
    time; empty if nobody was awaited."""
    waited: Seconds
    """For how long it waited for nobody else: from when the one before had come until it opened."""


class Timeline(_Record):
    """A run in time."""

    began: float
    """When the run began, in seconds since the epoch."""
    seconds: Seconds
    """How long it took, to its last event."""
    rows: tuple[Row, ...]
    """Its branches, in path order."""
    gates: tuple[Gate, ...]
    """The sync points that opened, in the order in which they did."""
    path: tuple[Segment, ...]
    """The critical path; see `plait.orchestration.critical_path`."""


@dataclass(slots=True)
class _Draft:
    """A branch while the journal is read."""

    label: str
    spans: list[Span] = field(default_factory=list)
    fate: Fate = "working"
    doing: SpanKind | None = None
    """What it waits for or does now: `node` from when it could be called on."""
    name: NodeName = ""
    since: float = 0.0
    resumes: float = 0.0
    """In a pause: when the next attempt is due."""

    def begins(self, doing: SpanKind, name: NodeName, at: float) -> None:
        """Note what it does from now on."""
        self.stops(at)
        self.doing, self.name, self.since = doing, name, at

    def stops(self, at: float) -> None:
        """Note that it does no longer what it did."""
        if self.doing is not None:
            self._add(self.doing, self.since, at)
        self.doing = None

    def called(self, kind: SpanKind, at: float, began: float | None, *, failed: bool) -> None:
        """Note the end of a call, or of an attempt at it; before it `began` it was waited for."""
        if self.doing == "pause":
            began = min(at, self.resumes) if began is None else began
            self._add("pause", self.since, began)
        elif began is not None:
            self._add("queue", self.since, began)
        else:
            began = self.since
        self._add(kind, began, at, failed=failed)
        self.doing = None

    def _add(self, kind: SpanKind, start: float, end: float, *, failed: bool = False) -> None:
        if end > start or kind == "node":
            span = Span(kind=kind, name=self.name, start=start, end=max(start, end), failed=failed)
            self.spans.append(span)


def timeline_of(steps: Sequence[Step], begun: Iterable[tuple[str, float]] = ()) -> Timeline:
    """The timeline of the last run of a thread.

    Args:
        steps: what `Flow.trace` gives.
        begun: where nodes wait for a place themselves, the ids of branches with the times at which
            their work began, in seconds since the epoch: what lies before counts as waiting.
    """
    steps = last_run(steps)
    reader = _Reader(times_of(steps), begun, steps[0].event.at if steps else 0.0)
    for step in steps:
        reader.read(step)
    return reader.timeline(steps)


class _Reader:
    """Reads steps in their order."""

    def __init__(
        self, times: Mapping[int, float], begun: Iterable[tuple[str, float]], zero: float
    ) -> None:
        self._times = times
        self._begun: defaultdict[str, list[float]] = defaultdict(list)
        for name, at in begun:
            self._begun[name].append(at - zero)
        self._ids: dict[BranchPath, str] = {}
        self._begins: dict[int, float] = {}
        self._labels: dict[BranchPath, str] = {}
        self._taken: Counter[str] = Counter()
        self._drafts: dict[BranchPath, _Draft] = {}
        self._within: defaultdict[BranchPath, list[BranchPath]] = defaultdict(list)
        self._came: dict[BranchPath, float] = {}
        self._gates: list[Gate] = []

    def read(self, step: Step) -> None:
        """Take in one step."""
        at = self._times[step.position]
        self._ended(step, at)
        forked = [told for told in step.told if isinstance(told, BranchForked)]
        for fork in forked:
            self._draft(fork.branch).stops(at)
            for child in fork.children:
                self._name(child)
                self._draft(child.branch).begins("held", child.node, at)
        for branch, node in step.calls:
            draft = self._draft(branch)
            draft.begins("node", node, at)
            draft.fate = "working"
        if isinstance(step.event, NodeCompleted):
            moved = {*(branch for branch, _ in step.calls), *(fork.branch for fork in forked)}
            if step.event.branch not in moved:
                self._rests(step.event, at)
        for told in step.told:
            if isinstance(told, SyncPointOpened):
                self._opened(told, step, at)

    def _ended(self, step: Step, at: float) -> None:
        event = step.event
        if not isinstance(event, NodeCompleted | NodeRetried | NodeFailed | NodeInterrupted):
            return
        begun = self._work_began(event.branch, self._draft(event.branch).since, at)
        if begun is not None:
            self._begins[step.position] = begun
        match event:
            case NodeCompleted(branch=branch):
                draft = self._draft(branch)
                began = min(at, max(draft.since, at - (event.at - event.started)))
                draft.called("node", at, max(began, begun or 0.0), failed=False)
                self._came[branch] = at
                if event.interrupts:
                    draft.begins("person", event.node, at)
            case NodeRetried(branch=branch):
                draft = self._draft(branch)
                draft.called("attempt", at, begun, failed=True)
                draft.begins("pause", event.node, at)
                draft.resumes = at + event.delay
            case NodeFailed(branch=branch):
                draft = self._draft(branch)
                draft.called("node", at, begun, failed=True)
                draft.fate = "failed"
                self._came[branch] = at
            case NodeInterrupted(branch=branch):
                draft = self._draft(branch)
                draft.called("node", at, None, failed=False)
                draft.begins("person", event.node, at)

    def _work_began(self, branch: BranchPath, since: float, at: float) -> float | None:
        """When the work of a call began that may have waited for a place itself."""
        times = self._begun.get(self._ids.get(branch, ""), ())
        return max((time for time in times if since <= time <= at), default=None)

    def _draft(self, branch: BranchPath) -> _Draft:
        draft = self._drafts.get(branch)
        if draft is None:
            draft = self._drafts[branch] = _Draft(self._label(branch))
            for length in range(1, len(branch) + 1):
                self._within[branch[:length]].append(branch)
        return draft

    def _label(self, branch: BranchPath) -> str:
        if branch in self._labels:
            return self._labels[branch]
        parent = label_of(branch, self._labels)
        if parent == "run":
            return "run" if len(branch) == 1 else format_path(branch)
        return f"{parent}.{branch[-1]}"

    def _name(self, child: Participant) -> None:
        if child.id is not None:
            self._ids[child.branch] = child.id
            self._taken[child.id] += 1
            times = self._taken[child.id]
            self._labels[child.branch] = child.id if times == 1 else f"{child.id} ({times})"

    def _rests(self, event: NodeCompleted, at: float) -> None:
        """A branch stands at a sync point, or has ended."""
        draft = self._drafts[event.branch]
        if draft.doing is None:
            draft.fate = "done"
            for target in event.targets:
                if target.node != END:
                    draft.begins("sync", target.node, at)

    def _opened(self, event: SyncPointOpened, step: Step, at: float) -> None:
        outcome = event.outcome
        seen = self._seen(outcome, at)
        left: tuple[tuple[Fate, tuple[Participant, ...]], ...] = (
            ("late", outcome.late),
            ("cancelled", outcome.cancelled),
        )
        for fate, participants in left:
            for participant in participants:
                for branch in self._within[participant.branch]:
                    draft = self._drafts[branch]
                    if draft.fate == "working":
                        draft.fate = fate
                    if fate == "cancelled":
                        self._cut_off(branch, draft, at)
        for participant in outcome.arrived:
            for branch in self._within[participant.branch]:
                draft = self._drafts[branch]
                if (draft.doing, draft.name) == ("sync", event.sync_point):
                    draft.stops(at)
        waited_for, since = _awaited(outcome, seen, step, at)
        self._gates.append(
            Gate(
                name="END" if event.sync_point == END else event.sync_point,
                status=outcome.status,
                forked=max(0.0, at - outcome.waited),
                opened=at,
                branches=seen,
                waited_for=waited_for,
                waited=max(0.0, at - since),
            )
        )

    def _cut_off(self, branch: BranchPath, draft: _Draft, at: float) -> None:
        """Note that a branch goes no further, whatever it did."""
        if draft.doing == "node":
            draft.called("node", at, self._work_began(branch, draft.since, at), failed=False)
        draft.stops(at)

    def _seen(self, outcome: Outcome, at: float) -> tuple[Arrived, ...]:
        fates: tuple[tuple[Fate, tuple[Participant, ...]], ...] = (
            ("done", outcome.arrived),
            ("failed", outcome.failed),
            ("dead", outcome.dead),
            ("late", outcome.late),
            ("cancelled", outcome.cancelled),
        )
        found = [
            Arrived(
                label=self._label(participant.branch),
                fate=fate,
                at=None if fate in {"late", "cancelled"} else self._coming(participant, at),
            )
            for fate, participants in fates
            for participant in participants
        ]
        return tuple(sorted(found, key=lambda one: (one.at is None, one.at or 0.0)))

    def _coming(self, participant: Participant, at: float) -> float:
        times = [self._came.get(branch, 0.0) for branch in self._within[participant.branch]]
        return min(at, max(times, default=at))

    def timeline(self, steps: Sequence[Step]) -> Timeline:
        """All that was read."""
        last = max(self._times.values(), default=0.0)
        for branch, draft in self._drafts.items():
            self._cut_off(branch, draft, last)
        first = steps[0].event if steps else None
        return Timeline(
            began=first.at if isinstance(first, RunStarted) else 0.0,
            seconds=last,
            rows=tuple(
                Row(
                    label=draft.label,
                    branch=format_path(path),
                    fate=draft.fate,
                    spans=tuple(draft.spans),
                )
                for path, draft in sorted(self._drafts.items())
            ),
            gates=tuple(self._gates),
            path=critical_path(
                steps, {path: draft.label for path, draft in self._drafts.items()}, self._begins
            ),
        )


def _awaited(outcome: Outcome, seen: Sequence[Arrived], step: Step, at: float) -> tuple[str, float]:
    """For whom a sync point waited last, and since when for nobody else."""
    came = [(one.at, one.label) for one in seen if one.at is not None]
    forked = at - outcome.waited
    if isinstance(step.event, TimerFired):
        absent = ", ".join(one.label for one in seen if one.at is None)
        return absent, came[-1][0] if came else forked
    if not came:
        return "", at
    return came[-1][1], came[-2][0] if len(came) > 1 else forked
