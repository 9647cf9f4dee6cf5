"""Branches, forks and sync points as a pure state machine: events in, commands out.

There is no await here, no clock, no randomness and no I/O; time arrives inside events. The same
events give the same commands and the same state, so replay, crash recovery, time travel and
simulation are one mechanism.

A run is a tree. A :class:`Branch` that forks opens a :class:`Generation` of children and sleeps;
each sync point of that fork has a :class:`~plait.barrier.Barrier` in the generation. When the last
of them opens, the owner of the generation goes on with what was merged. Which sync points a branch
can still reach is a mask of bits (``hopes``); a branch that loses a bit is dead to that sync
point, and since counts are kept as bits are lost, no step costs more than the depth of nesting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, Literal

from .barrier import Barrier
from .commands import (
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
from .errors import PlaitError, SyncPointError
from .events import (
    NO_ARGUMENT,
    BranchForked,
    BranchPath,
    GraphAdopted,
    Interrupt,
    InterruptId,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeName,
    NodeRetried,
    Outcome,
    Outcomes,
    OutcomeStatus,
    Participant,
    QuorumJudged,
    Routed,
    RunStarted,
    StateUpdated,
    SyncPointOpened,
    Target,
    TimerFired,
    TimerKey,
    Writes,
    format_path,
    new_record,
)
from .merging import Merger, in_order
from .plan import Plan, SyncPointSpec, Vertex
from .policy import ALL, END, START, Arrival
from .reducers import MISSING
from .state import NodeWrites, Overwrite, Schema, Values
from .tree import (
    LIVE,
    Branch,
    Generation,
    Member,
    Questions,
    all_entries,
    as_participant,
    bits_of,
    by_path,
    last_heir,
    subtree,
    upwards,
)

__all__ = ["INPUT", "UPDATE", "Machine"]

INPUT: Final = "the input"
"""Stands for a node where an input is written."""

UPDATE: Final = "an update"
"""The same for what is written from outside a run, in nobody's name."""


class Machine:
    """The state of one thread.

    Args:
        plan: the compiled graph.
        keep_delta: remember all that a run wrote, as ``delta``, for a parent that wants it.
    """

    def __init__(self, plan: Plan, *, keep_delta: bool = False) -> None:
        self.plan = plan
        self.schema: Schema = plan.schema
        self.values: Values = plan.schema.initial_values()
        """The final state of the last finished run."""
        self.live_values: Values = {}
        self.branches: dict[BranchPath, Branch] = {}
        """All branches that have not ended."""
        self.outcomes: dict[NodeName, Outcomes] = {}
        self.delta: list[NodeWrites] = []
        self.runs: int = 0
        """How many runs have begun on the thread."""
        self.running: bool = False
        self.quiet = False
        """Whether nobody wants to be told what follows from the journal anyway."""
        self._keep_delta = keep_delta
        self._root: Branch | None = None
        self._alive = 0  # leaves
        self._asked: dict[InterruptId, Branch] = {}  # those that wait for an answer
        self._at = 0.0
        self._commands: list[Command] = []
        self._dirty: dict[int, tuple[Generation, Barrier]] = {}
        self._suspects: list[tuple[Generation, Barrier, Branch]] = []
        self._any_dependents = False
        self._ended: list[Branch] = []
        self.failure: PlaitError | None = None
        """Why the run cannot go on at all, if a merge or a sync point failed it."""

    @property
    def at(self) -> float:
        """When the last event happened, in seconds since the epoch; 0 if none has."""
        return self._at

    @property
    def after(self) -> dict[BranchPath, frozenset[BranchPath]]:
        """For each branch with ``after=``, the siblings that it depends on, directly or not."""
        return self._merger.after

    @cached_property
    def _merger(self) -> Merger:
        return Merger(self.schema)

    def handle(self, event: JournalEvent) -> list[Command]:
        """Take in what happened, and say what is to be done about it."""
        commands = self._commands = []
        if self.failure is not None:
            return commands
        self._at = event.at
        try:
            if type(event) is NodeCompleted:  # most of them are
                self._node_completed(event)
            else:
                self._apply(event)
            if self._dirty or self._suspects:
                self._settle()
            if not self._alive and self.running:
                self._finish()
        except PlaitError as error:  # branches that met cannot be merged, or cannot go on
            self.failure = error
            commands.append(Fail(error))
        return commands

    def _apply(self, event: JournalEvent) -> None:
        kind = type(event)
        if kind is RunStarted:
            self._run_started(event)  # type: ignore[arg-type]
        elif kind is NodeFailed:
            self._node_failed(event)  # type: ignore[arg-type]
        elif kind is Routed:
            self._routed(event)  # type: ignore[arg-type]
        elif kind is TimerFired:
            self._timer_fired(event)  # type: ignore[arg-type]
        elif kind is QuorumJudged:
            self._quorum_judged(event)  # type: ignore[arg-type]
        elif kind is NodeInterrupted:
            self._node_interrupted(event)  # type: ignore[arg-type]
        elif kind is InterruptsAnswered:
            self._interrupts_answered(event)  # type: ignore[arg-type]
        elif kind is StateUpdated:
            self._state_updated(event)  # type: ignore[arg-type]
        elif kind is not NodeRetried and kind is not GraphAdopted:  # these change nothing
            raise TypeError(f"not an event of the journal: {event!r}")

    # -- what the driver asks -----------------------------------------------------------------

    def expects(self, command: RunNode | RouteBranch | CancelBranch) -> bool:
        """Whether the result of this command is still wanted."""
        branch = self.branches.get(command.branch)
        return (
            branch is not None
            and branch.step == command.step
            and branch.status in LIVE
            and self.failure is None
        )

    def view(self, branch: Branch) -> Values:
        """The state that a branch sees."""
        unfolded = branch.unfolded
        if unfolded:
            if len(unfolded) == 1:
                branch.values = self.schema.fold_one(branch.values, unfolded[0])
            else:
                branch.values = self.schema.fold(branch.values, unfolded)
            branch.unfolded = []
        if self.live_values:
            return {**branch.values, **self.live_values}
        return branch.values

    def view_after(self, branch: Branch, writes: Writes) -> Values:
        """The state that a branch will see once its node has written: what a router gets."""
        if not writes:
            return self.view(branch)
        entry = new_record(NodeWrites, (branch.place, writes, (), 0, ()))
        seen = self.schema.fold_one(self.view(branch), entry)
        if not self.live_values and not self.schema.live:
            branch.preview = (writes, seen)  # so that it is not folded a second time
        return seen

    def due(self, timer: TimerKey) -> float | None:
        """When a timer is due at present; ``None`` if it is not wanted, or stands still."""
        found = self._find_barrier(timer.branch, timer.generation, timer.sync_point)
        return None if found is None else found[1].timer_due.get(timer)

    def outstanding(self) -> list[Command]:
        """What is to be done in the present state: how a resumed run begins."""
        commands: list[Command] = []
        for path in sorted(self.branches):
            branch = self.branches[path]
            if branch.status == "running":
                commands.append(RunNode(path, branch.place, branch.step))
            elif branch.status == "routing":
                commands.append(RouteBranch(path, branch.place, branch.step))
            for generation in branch.forks:
                for barrier in generation.barriers.values():
                    if barrier.opened:
                        continue
                    commands += [StartTimer(*timer) for timer in barrier.timer_due.items()]
                    if barrier.wants_judgement():
                        commands.append(self._judge(generation, barrier))
        return commands

    @property
    def open_interrupts(self) -> int:
        """How many interrupts wait for an answer."""
        return len(self._asked)

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """What waits for an answer: in path order, then in the order in which it was asked."""
        branches = dict.fromkeys(sorted(self._asked.values(), key=by_path))
        return tuple(
            [
                interrupt
                for branch in branches
                if branch.questions is not None
                for interrupt in branch.questions.open.values()
            ]
        )

    @property
    def suspended(self) -> bool:
        """Whether nothing goes on before somebody answers (or, perhaps, a deadline passes)."""
        return (
            bool(self._asked)
            and self.failure is None
            and all(isinstance(command, StartTimer) for command in self.outstanding())
        )

    def standstill(self) -> SyncPointError:
        """Why nothing is left to be done though the run is not finished.

        Only ways that may lead anywhere bring it about: sync points then wait for each other.
        """
        waiting = [branch for branch in self.branches.values() if branch.status == "waiting"]
        places = sorted({branch.place for branch in waiting})
        who = ", ".join(f"{format_path(branch.path)} at {branch.place!r}" for branch in waiting)
        return SyncPointError(
            places[0] if places else END,
            f"nothing is left that could arrive, and yet branches wait ({who}), since a way that "
            "may lead anywhere could still bring them to each other: declare its targets",
        )

    def current_values(self) -> Values:
        """The state as far as it has come: the final one, or that of the run's first branch with
        all that finished nodes have written, in path order."""
        if not self.running or self._root is None:
            return self.values
        entries = [*self._root.unfolded, *all_entries(self._root)[len(self._root.delta) :]]
        values = self.schema.fold(self._root.values, entries)
        return {**values, **self.live_values}

    def delta_so_far(self) -> list[NodeWrites]:
        """What the run that is going on has written, in the order in which it is folded.

        Only with ``keep_delta``; writes to live channels come first.
        """
        return [*self.delta, *all_entries(self._root)] if self._root is not None else []

    # -- events -------------------------------------------------------------------------------

    def _run_started(self, event: RunStarted) -> None:
        if self.running:
            raise TypeError("a run has not ended: it wants to be resumed")
        self.running = True
        self.runs += 1
        self.outcomes = {}
        self.delta = []
        self._ended = []
        root = Branch(event.branch, None, self.values, START)
        self._root = root
        self._alive = 1
        self.branches[root.path] = root
        self._write(root, INPUT, event.writes)
        self._pass(root, self.plan.vertices[START])

    def _node_completed(self, event: NodeCompleted) -> None:
        branch = self.branches[event.branch]
        if event.writes:
            self._write(branch, event.node, event.writes)
        branch.outcome = branch.error = None
        if event.interrupts:
            branch.argument = NO_ARGUMENT
            self._park(branch, event.interrupts).targets = event.targets
            return
        vertex, targets = self.plan.vertices[event.node], event.targets
        if len(targets) == 1 and not vertex.owns:  # nearly always; as ``_go`` does it
            branch.step += 1
            branch.questions = None
            self._enter(branch, targets[0])
        else:
            self._go(branch, vertex, targets)

    def _write(self, branch: Branch, node: NodeName, writes: Writes) -> None:
        if self.schema.live:
            writes = self._write_live(branch, node, writes)
            if not writes:
                return
        is_kept = branch.generation is not None or branch.forks or self._keep_delta
        seen = branch.preview
        if seen is not None:
            branch.preview = None
            if seen[0] is writes:  # they are folded already
                branch.values = seen[1]
                if not is_kept:
                    return
        entry = new_record(NodeWrites, (node, writes, branch.path, branch.next_child, ()))
        if seen is None or seen[0] is not writes:
            branch.unfolded.append(entry)
        if is_kept:
            branch.delta.append(entry)

    def _write_live(self, branch: Branch, node: NodeName, writes: Writes) -> Writes:
        """Fold what goes to live channels at once, and return the rest."""
        live = self.schema.live
        at_once = tuple([write for write in writes if write[0] in live])
        if not at_once:
            return writes
        entry = NodeWrites(node, at_once, branch.path)
        start = {name: self.live_values.get(name, self.values.get(name, MISSING)) for name in live}
        start = {name: value for name, value in start.items() if value is not MISSING}
        self.live_values = self.schema.fold(start, [entry])
        if self._keep_delta:
            self.delta.append(entry)
        return tuple([write for write in writes if write[0] not in live])

    def _node_failed(self, event: NodeFailed) -> None:
        branch = self.branches[event.branch]
        if event.handling == "raise":
            # The branch stays where it is, so that a resumed run calls the node again.
            self._commands.append(Fail(event.error))
        elif event.handling == "record":
            branch.outcome = branch.error = None
            for each in upwards(branch):
                if each.failures is None:
                    each.failures = []
                each.failures.append((branch.path, event.error))
            self._drop(branch)
        else:
            branch.outcome = None
            branch.error = event.error
            self._go(branch, self.plan.vertices[event.node], (Target(event.handling),))

    def _routed(self, event: Routed) -> None:
        branch = self.branches[event.branch]
        self._go(branch, self.plan.vertices[event.node], event.targets)

    def _timer_fired(self, event: TimerFired) -> None:
        found = self._find_barrier(
            event.timer.branch, event.timer.generation, event.timer.sync_point
        )
        if found is not None and event.timer in found[1].timer_due:
            self._open(*found, "timeout" if event.timer.kind == "deadline" else "quorum")

    def _quorum_judged(self, event: QuorumJudged) -> None:
        found = self._find_barrier(event.branch, event.generation, event.sync_point)
        if found is not None:
            generation, barrier = found
            barrier.judged = max(barrier.judged, event.arrivals)
            barrier.met = event.met
            self._touch(generation, barrier)

    def _node_interrupted(self, event: NodeInterrupted) -> None:
        self._park(self.branches[event.branch], event.interrupts).attempt = max(1, event.attempt)

    def _interrupts_answered(self, event: InterruptsAnswered) -> None:
        for name, answer in event.answers:
            branch = self._asked.get(name)
            if branch is None:  # its branch is gone
                continue
            questions = branch.questions
            assert questions is not None
            questions.answers[name] = answer
            del questions.open[name], self._asked[name]
            if not questions.open:
                self._unpark(branch)
                if questions.targets is not None:
                    self._go(branch, self.plan.vertices[branch.place], questions.targets)
                else:
                    branch.status = "running"
                    self._commands.append(RunNode(branch.path, branch.place, branch.step))

    def _state_updated(self, event: StateUpdated) -> None:
        if event.branch:
            self._write(self.branches[event.branch], event.node, event.writes)
        else:
            self.values = self.schema.fold(self.values, [NodeWrites(event.node, event.writes)])

    def _find_barrier(
        self, path: BranchPath, number: int, name: NodeName
    ) -> tuple[Generation, Barrier] | None:
        """A barrier that has not opened; ``None`` if it has, or is gone with its generation."""
        owner = self.branches.get(path)
        spec = self.plan.vertices[name].sync_point
        assert spec is not None
        for generation in owner.forks if owner is not None else ():
            barrier = generation.barriers.get(spec.bit)
            if barrier is not None and barrier.number == number:
                return None if barrier.opened else (generation, barrier)
        return None

    # -- parking ------------------------------------------------------------------------------

    def _park(self, branch: Branch, asked: Sequence[Interrupt]) -> Questions:
        """Keep a branch where it stands until somebody has answered."""
        questions = branch.questions = branch.questions or Questions()
        branch.status = "parked"
        for interrupt in asked:
            questions.open[interrupt.id] = interrupt
            self._asked[interrupt.id] = branch
        for bit in branch.bits:
            generation, _ = self._locate(branch, bit)
            barrier = generation.barriers[bit]
            barrier.parked += 1
            if barrier.stands_still:
                for key, due in barrier.timer_due.items():
                    barrier.timer_left[key] = max(0.0, due - self._at)
                    self._commands.append(StopTimer(key))
                barrier.timer_due = {}
        return questions

    def _unpark(self, branch: Branch) -> None:
        """A branch that was parked goes on, or is dropped; clocks that stood still go on."""
        for bit in branch.bits:
            generation, _ = self._locate(branch, bit)
            barrier = generation.barriers[bit]
            barrier.parked -= 1
            if barrier.parked == 0 and not barrier.opened:
                left, barrier.timer_left = barrier.timer_left, {}
                for key, seconds in left.items():
                    self._run_timer(barrier, key, seconds)

    # -- moving -------------------------------------------------------------------------------

    def _pass(self, branch: Branch, vertex: Vertex) -> None:
        """Go on from START or a sync point: along its edges, or as its routers will say."""
        if vertex.targets is None:
            branch.status = "routing"
            branch.place = vertex.name
            self._commands.append(RouteBranch(branch.path, vertex.name, branch.step))
        else:
            self._go(branch, vertex, vertex.targets)

    def _go(self, branch: Branch, vertex: Vertex, targets: Sequence[Target]) -> None:
        """Go on from a vertex to its targets."""
        branch.step += 1
        branch.questions = None
        if len(targets) == 1 and not vertex.owns:
            self._enter(branch, targets[0])
            return
        branch.argument = NO_ARGUMENT
        if targets or vertex.owns:
            self._fork(branch, vertex, targets)
        else:
            self._end(branch)

    def _enter(self, branch: Branch, target: Target) -> None:
        vertex = self.plan.vertices[target.node]
        branch.place = name = vertex.name
        branch.argument = target.argument
        if branch.hopes:
            lost = branch.hopes & ~vertex.reach
            if lost:
                self._lose(branch, lost)
        if vertex.node is not None:
            branch.status = "running"
            self._commands.append(new_record(RunNode, (branch.path, name, branch.step)))
        elif vertex.sync_point is not None:
            self._arrive(branch, vertex.sync_point)
        else:
            self._end(branch)

    def _end(self, branch: Branch) -> None:
        """A branch has come to END: its writes wait there for the end of the run."""
        if branch.hopes:
            self._lose(branch, branch.hopes)
        branch.status = "ended"
        branch.place = END
        self._alive -= 1
        del self.branches[branch.path]
        self._ended.append(branch)
        if self._any_dependents:
            self._done(branch)
        if branch.generation is not None:
            self._prune(branch)

    def _drop(self, branch: Branch) -> None:
        """A leaf failed, was cancelled or came too late: what it wrote is void."""
        if branch.status == "parked":
            self._unpark(branch)
            for name in branch.questions.open if branch.questions is not None else ():
                del self._asked[name]
        self._lose(branch, branch.hopes)
        self._alive -= 1
        self._forget(branch)
        if branch.generation is not None:
            branch.delta = []
            branch.unfolded = []
        if self._any_dependents:
            self._done(branch)
        self._prune(branch)

    def _forget(self, branch: Branch) -> None:
        branch.status = "gone"
        if self.branches.get(branch.path) is branch:
            del self.branches[branch.path]

    def _prune(self, branch: Branch) -> None:
        """Take a branch out of the tree as soon as it can contribute nothing any more."""
        while (
            branch.generation is not None
            and not branch.forks
            and not branch.delta
            and branch.status in ("gone", "forked", "ended")
        ):
            generation, owner = branch.generation, branch.generation.owner
            if generation.children.get(branch.path) is branch:
                del generation.children[branch.path]
                if branch.status == "forked":
                    self._forget(branch)
            if generation.children or not self._release(generation):
                return
            branch = owner

    def _release(self, generation: Generation) -> bool:
        """Drop a generation that has no branches left and no sync point to open."""
        if generation.children or any(
            not barrier.opened for barrier in generation.barriers.values()
        ):
            return False
        owner = generation.owner
        if generation not in owner.forks:
            return False
        owner.forks.remove(generation)
        # Its branches and their members name each other. Without this they would be left to the
        # garbage collector, which takes longer over a fork than all the rest here.
        for barrier in generation.barriers.values():
            for top in barrier.arrived:
                top.members = ()
                if top.arrivals:
                    top.arrivals = {}
            barrier.members = []
            barrier.arrived = []
        if not owner.forks and owner.generation is None and not self._keep_delta:
            owner.delta = []  # nothing is concurrent with the first branch any more
        return True

    # -- forking ------------------------------------------------------------------------------

    def _fork(self, owner: Branch, vertex: Vertex, targets: Sequence[Target]) -> None:
        if owner.unfolded:
            owner.values = self.schema.fold(owner.values, owner.unfolded)
            owner.unfolded = []
        generation = Generation(owner, vertex, self._at)
        owner.forks.append(generation)
        owner.status = "forked"
        self._alive += len(targets) - 1
        children = self._open_children(generation, vertex, targets)
        self._count_children(owner, children)
        if not self.quiet:
            opened = tuple([child.members[0].participant() for child in children])
            self._commands.append(Notify(BranchForked(self._at, owner.path, vertex.name, opened)))
        for spec in vertex.owns:
            members = [child.members[0] for child in children if child.hopes & spec.bit]
            self._add_barrier(generation, spec, members, empty=not targets)
        vertices, commands = self.plan.vertices, self._commands
        for child, target in zip(children, targets, strict=True):
            if child.status != "running":
                continue
            if vertices[child.place].node is not None:  # it stands there already
                child.argument = target.argument
                commands.append(new_record(RunNode, (child.path, child.place, 0)))
            else:
                self._enter(child, target)
        if not targets:
            self._release(generation)

    def _open_children(
        self, generation: Generation, vertex: Vertex, targets: Sequence[Target]
    ) -> list[Branch]:
        owner = generation.owner
        scope = owner.hopes
        for spec in vertex.owns:
            scope |= spec.bit
        # The first node of each child is the node after the sync point, or after the failure.
        outcome, owner.outcome = owner.outcome, None
        error, owner.error = owner.error, None
        children: list[Branch] = []
        vertices, branches, values = self.plan.vertices, self.branches, owner.values
        number, held = owner.next_child, False
        for target in targets:
            node = target.node
            path = (*owner.path, number)
            number += 1
            child = Branch(path, generation, values, node)
            child.members = (Member(path, target.id, node, target.weight, child),)
            child.hopes = vertices[node].reach & scope
            child.target = target
            child.outcome = outcome
            child.error = error
            held = held or bool(target.after)
            branches[path] = child
            children.append(child)
        owner.next_child = number
        generation.children = {child.path: child for child in children}
        if held:
            self._hold(generation, children)
        return children

    def _hold(self, generation: Generation, children: Sequence[Branch]) -> None:
        """Keep those of the children that have ``after=`` until their siblings are done."""
        self._any_dependents = True
        targets = [(child.target, child) for child in children if child.target is not None]
        by_id = {target.id: child for target, child in targets if target.id is not None}
        for target, child in targets:
            if not target.after:
                continue
            child.status = "held"
            child.held_for = {by_id[name].path for name in target.after}
            generation.waits[child.path] = tuple(child.held_for)
            after = child.members[0].after = _all_before(child, by_id)
            self._merger.after[child.path] = after
            for path in child.held_for:
                generation.dependents.setdefault(path, []).append(child)

    def _count_children(self, owner: Branch, children: Sequence[Branch]) -> None:
        """Count the children in place of their owner, for every sync point further out."""
        for bit in bits_of(owner.hopes):
            generation, top = self._locate(owner, bit)
            if top.leaves is None:
                top.leaves, top.arrivals = {}, {}
            before = top.leaves.get(bit, 1)
            hoping = sum(1 for child in children if child.hopes & bit)
            self._count(generation, generation.barriers[bit], top, before + hoping - 1)

    def _count(self, generation: Generation, barrier: Barrier, top: Branch, leaves: int) -> None:
        """Set how many branches at or below ``top`` could still arrive."""
        assert top.leaves is not None
        top.leaves[barrier.spec.bit] = leaves
        if leaves == 0:
            self._suspects.append((generation, barrier, top))

    def _add_barrier(
        self, generation: Generation, spec: SyncPointSpec, members: list[Member], *, empty: bool
    ) -> None:
        latecomers = (generation.owner.latecomers or {}).pop(spec.bit, [])
        if not (members or empty or latecomers):
            return
        passages = generation.owner.passages = generation.owner.passages or {}
        number = passages[spec.name] = passages.get(spec.name, -1) + 1
        barrier = Barrier(spec, number, members)
        generation.barriers[spec.bit] = barrier
        if spec.join.timeout is not None and spec.join.timeout_from == "fork":
            self._start_timer(generation, barrier, "deadline", spec.join.timeout)
        for member, delta in latecomers:
            self._join_late(generation, barrier, member, delta)
        if members or latecomers or spec.rank == 0:
            self._touch(generation, barrier)  # in an empty generation, others wait for the first

    def _start_timer(
        self,
        generation: Generation,
        barrier: Barrier,
        kind: Literal["deadline", "grace"],
        seconds: float,
    ) -> None:
        key = TimerKey(generation.owner.path, barrier.number, barrier.spec.name, kind)
        if barrier.stands_still:
            barrier.timer_left[key] = seconds
        else:
            self._run_timer(barrier, key, seconds)

    def _run_timer(self, barrier: Barrier, key: TimerKey, seconds: float) -> None:
        barrier.timer_due[key] = self._at + seconds
        self._commands.append(StartTimer(key, self._at + seconds))

    # -- hopes --------------------------------------------------------------------------------

    def _locate(self, branch: Branch, bit: int) -> tuple[Generation, Branch]:
        """The generation whose sync point this bit means here, and its child at or above."""
        top, generation = branch, branch.generation
        while generation is not None and bit not in generation.barriers:
            top, generation = generation.owner, generation.owner.generation
        assert generation is not None
        return generation, top

    def _lose(self, branch: Branch, bits: int) -> None:
        """A leaf can no longer arrive at these sync points."""
        branch.hopes &= ~bits
        for bit in bits_of(bits):
            generation, top = self._locate(branch, bit)
            barrier = generation.barriers[bit]
            if top.leaves is not None:
                self._count(generation, barrier, top, top.leaves[bit] - 1)
            elif not barrier.opened:
                barrier.give_up(top, _taking_part(top, barrier))
                self._touch(generation, barrier)

    def _touch(self, generation: Generation, barrier: Barrier) -> None:
        self._dirty[id(barrier)] = (generation, barrier)

    def _settle(self) -> None:
        """Open what can be opened, innermost first, until nothing changes.

        Innermost first, since a sync point that opens may bring back to life a branch of which
        no leaf was left; and those that lead to others before these.
        """
        while self._dirty or self._suspects:
            if not self._suspects and len(self._dirty) == 1:  # nearly always
                self._consider(*self._dirty.popitem()[1])
                continue
            suspect = max(self._suspects, key=_urgency, default=None)
            dirty = max(self._dirty.values(), key=_urgency, default=None)
            if suspect is not None and (dirty is None or _urgency(suspect) >= _urgency(dirty)):
                self._suspects.remove(suspect)
                self._resolve(*suspect)
            elif dirty is not None:
                del self._dirty[id(dirty[1])]
                self._consider(*dirty)

    def _resolve(self, generation: Generation, barrier: Barrier, top: Branch) -> None:
        """No branch at or below ``top`` could still arrive: it counts as what it has become."""
        bit = barrier.spec.bit
        assert top.leaves is not None
        if top.leaves[bit] > 0 or top in barrier.arrived:
            return
        here = _waiting_at(top, barrier.spec)
        if barrier.opened:
            if here:
                self._late(generation, barrier, top)
        elif here:
            self._arrived(generation, barrier, top)
        else:
            barrier.give_up(top, _taking_part(top, barrier))
            self._touch(generation, barrier)

    def _consider(self, generation: Generation, barrier: Barrier) -> None:
        verdict = barrier.verdict()
        if verdict == "grace":
            self._start_timer(generation, barrier, "grace", barrier.spec.join.grace)
        elif verdict is not None:
            self._open(generation, barrier, verdict)
        elif not barrier.opened and barrier.wants_judgement():
            self._commands.append(self._judge(generation, barrier))

    def _judge(self, generation: Generation, barrier: Barrier) -> JudgeQuorum:
        arrivals = tuple(
            [
                Arrival(
                    member.id,
                    member.node,
                    member.weight,
                    tuple([write for entry in all_entries(top) for write in entry.writes]),
                )
                for top in barrier.arrived
                for member in top.members
            ]
        )
        owner = generation.owner.path
        return JudgeQuorum(owner, barrier.number, barrier.spec.name, arrivals)

    # -- arriving -----------------------------------------------------------------------------

    def _arrive(self, branch: Branch, spec: SyncPointSpec) -> None:
        bit = spec.bit
        if not branch.hopes & bit:
            raise SyncPointError(
                spec.name,
                f"branch {format_path(branch.path)} arrived, but not from its fork {spec.fork!r}: "
                f"lead it through {spec.fork!r}",
            )
        generation, top = branch.generation, branch
        if generation is None or bit not in generation.barriers:
            generation, top = self._locate(branch, bit)
        barrier = generation.barriers[bit]
        branch.status = "waiting"
        branch.hopes ^= bit
        if top.leaves is not None:
            assert top.arrivals is not None
            top.arrivals.setdefault(bit, []).append(branch)
            self._count(generation, barrier, top, top.leaves[bit] - 1)
        elif barrier.opened:
            self._late(generation, barrier, top)
        else:
            self._arrived(generation, barrier, top)
        if self._any_dependents:
            self._done(branch)

    def _arrived(self, generation: Generation, barrier: Barrier, top: Branch) -> None:
        barrier.arrive(top, top.members if len(top.members) < 2 else _taking_part(top, barrier))
        if len(barrier.arrived) == 1:
            join = barrier.spec.join
            if join.timeout is not None and join.timeout_from == "first_arrival":
                self._start_timer(generation, barrier, "deadline", join.timeout)
        if not barrier.on_the_way or barrier.spec.join.quorum is not ALL:
            self._touch(generation, barrier)

    def _late(self, generation: Generation, barrier: Barrier, top: Branch) -> None:
        """A participant has come, as a whole, to a sync point that has opened without it."""
        bit, late = barrier.spec.bit, barrier.spec.join.late
        leaves = _waiting_at(top, barrier.spec)
        known = as_participant(top)
        weight = top.members[0].weight if top.members else 1.0
        for leaf in leaves:
            self._lose(leaf, leaf.hopes)
            self._alive -= 1
        delta: list[NodeWrites] = []
        if late == "drop":
            _void(leaves, top)
        else:
            delta = self._merger.take(top, leaves, _between(leaves, top))
        for leaf in leaves:
            self._forget(leaf)
            if self._any_dependents:
                self._done(leaf)
            self._prune(leaf)
        if late == "merge" and barrier.heir is not None:
            self._merge_late(barrier.heir, delta)
        elif late == "next_round":
            owner = last_heir(generation.owner)
            member = Member(known.branch, known.id, known.node, weight, top)
            for later in owner.forks:
                waiting = later.barriers.get(bit)
                if waiting is not None and not waiting.opened:
                    self._join_late(later, waiting, member, delta)
                    return
            if owner.latecomers is None:
                owner.latecomers = {}
            owner.latecomers.setdefault(bit, []).append((member, delta))

    def _merge_late(self, heir: Branch, delta: Sequence[NodeWrites]) -> None:
        """Give the lattice writes of a late branch to the branch that went on without it."""
        heir = last_heir(heir)
        lattice = self.schema.lattice
        entries = [
            entry._replace(writes=kept)
            for entry in delta
            if (
                kept := tuple(
                    [w for w in entry.writes if w[0] in lattice and type(w[1]) is not Overwrite]
                )
            )
        ]
        if not entries or heir.status == "gone":
            return
        heir.unfolded.extend(entries)
        if heir.generation is not None or heir.forks or self._keep_delta:
            heir.delta.extend(entries)
        if heir.status == "ended" and heir.generation is not None:
            heir.generation.children[heir.path] = heir  # it may have been pruned as empty
            if heir.generation not in heir.generation.owner.forks:
                heir.generation.owner.forks.append(heir.generation)

    def _join_late(
        self, generation: Generation, barrier: Barrier, member: Member, delta: list[NodeWrites]
    ) -> None:
        branch = Branch(member.path, generation, generation.owner.values, barrier.spec.name)
        branch.step = member.branch.step  # no two calls of one path have the same step
        branch.status = "waiting"
        branch.delta = delta
        branch.members = (member,)
        member.branch = branch
        self.branches[branch.path] = branch
        generation.children[branch.path] = branch
        self._alive += 1
        barrier.join_late(member, branch)
        self._touch(generation, barrier)

    # -- opening ------------------------------------------------------------------------------

    def _open(self, generation: Generation, barrier: Barrier, status: OutcomeStatus) -> None:
        spec = barrier.spec
        join = spec.join
        barrier.opened = True
        self._stop_timers(barrier)
        stragglers = self._stragglers(barrier)
        outcome = self._outcome(generation, barrier, status, stragglers)
        self.outcomes.setdefault(spec.name, Outcomes()).append(outcome)
        self._commands.append(Notify(SyncPointOpened(self._at, spec.name, outcome)))
        too_few = len(outcome.arrived) < join.minimum
        if too_few or (status == "timeout" and join.on_timeout != "proceed"):
            if join.on_timeout in ("proceed", "raise"):
                raise SyncPointError(spec.name, _why_not(outcome, join.minimum), outcome)
            detour: tuple[Target, ...] = (Target(join.on_timeout),)
        else:
            detour = ()
        merged = self._merge(generation, barrier)
        if join.stragglers == "cancel":
            self._cancel_stragglers(generation, barrier, stragglers)
        self._release(generation)
        merged.outcome = outcome
        merged.place = spec.name
        vertex = self.plan.vertices[spec.name]
        if detour:
            self._go(merged, vertex, detour)
        else:
            self._pass(merged, vertex)

    def _stragglers(self, barrier: Barrier) -> list[Branch]:
        """The branches that could still have arrived, in path order."""
        bit = barrier.spec.bit
        if not barrier.on_the_way and not barrier.guests:
            return []
        tops = dict.fromkeys(member.branch for member in barrier.members)
        return [top for top in tops if _hopes(top, bit)]

    def _outcome(
        self,
        generation: Generation,
        barrier: Barrier,
        status: OutcomeStatus,
        stragglers: Sequence[Branch],
    ) -> Outcome:
        late: list[Participant] = []
        cancelled: list[Participant] = []
        failed: list[Participant] = []
        dead: list[Participant] = []
        arrived: list[Participant] = []
        there = set(barrier.arrived)
        slow = set(stragglers)
        detach = barrier.spec.join.stragglers == "detach"
        for member in barrier.members:
            participant = new_record(Participant, (member.path, member.id, member.node, None))
            top = member.branch
            if top in there:
                arrived.append(participant)
            elif top in slow:
                member.fate = "late" if detach else "cancelled"
                (late if detach else cancelled).append(participant)
            elif member.fate is not None:
                (late if member.fate == "late" else cancelled).append(participant)
            elif top.failures:
                failed.append(participant._replace(error=min(top.failures, key=_first)[1]))
            else:
                dead.append(participant)
        return Outcome(
            sync_point=barrier.spec.name,
            status=status,
            branch=generation.owner.path,
            generation=barrier.number,
            arrived=tuple(arrived),
            failed=tuple(failed),
            late=tuple(late),
            cancelled=tuple(cancelled),
            dead=tuple(dead),
            waited=self._at - generation.opened_at,
        )

    def _merge(self, generation: Generation, barrier: Barrier) -> Branch:
        """Merge what the arrived branches wrote into the branch that goes on."""
        spec, owner = barrier.spec, generation.owner
        reach = self.plan.vertices[spec.name].reach & ~spec.bit
        tops = sorted(barrier.arrived, key=by_path)
        arrived: list[tuple[Branch, Sequence[Branch]]] = []
        # Nearly always it is a whole generation, of which no branch has forked.
        whole = spec.last and len(tops) == len(generation.children) and not any(map(_forked, tops))
        if whole:
            hopeful = [top for top in tops if top.hopes]
            contributions = [(top, top.delta) for top in tops]
        else:
            arrived = [(top, _waiting_at(top, spec)) for top in tops]
            hopeful = [leaf for _, leaves in arrived for leaf in leaves if leaf.hopes]
            contributions = [(top, self._take(top, leaves)) for top, leaves in arrived]
        hoping = Counter([bit for leaf in hopeful for bit in leaf.bits])
        delta, contested = self._merger.concatenate(contributions)
        if spec.last:
            merged = owner
            if contested:
                delta = self._merger.handed_to(merged, delta)
            merged.unfolded.extend(delta)
            merged.delta.extend(delta)  # ``_release`` drops it where nobody will ask for it
            merged.hopes = generation.scope & reach
        else:
            step = max([top.step for top in tops], default=0)
            merged = self._successor(generation, tops)
            merged.step = step
            if contested:
                delta = self._merger.handed_to(merged, delta)
            merged.delta = delta
            merged.unfolded = list(delta)
            scope = generation.scope
            for bit, other in generation.barriers.items():
                if not other.opened:
                    scope |= bit
            merged.hopes = scope & reach
            if not tops:
                for bit, other in generation.barriers.items():
                    if merged.hopes & bit:
                        other.guests.add(merged)
            for top, leaves in arrived:
                if top.leaves is not None:  # it has forked, and may have others on the way
                    self._recount(generation, top, leaves, merged)
        self._alive += 1
        if whole:
            self._consume_all(generation, tops, merged)
        for top, leaves in arrived:
            self._consume(top, leaves, merged)
        merged.status = "running"
        barrier.heir = merged
        # For every sync point further out it counts in place of those it came from.
        for bit in bits_of(_mask(hoping) | merged.hopes):
            if bit not in generation.barriers:
                hopes = 1 if merged.hopes & bit else 0
                outer, above = self._locate(owner, bit)
                assert above.leaves is not None
                leaves_left = above.leaves[bit] + hopes - hoping[bit]
                self._count(outer, outer.barriers[bit], above, leaves_left)
        return merged

    def _successor(self, generation: Generation, tops: Sequence[Branch]) -> Branch:
        """The branch that goes on from a sync point which is not the last: the first of those
        that it merged, now carrying the places of all of them."""
        owner = generation.owner
        # One that has gone on from another sync point of this fork is there itself no more.
        if not tops or tops[0].status not in ("waiting", "forked"):
            merged = Branch((*owner.path, owner.next_child), generation, owner.values, END)
            owner.next_child += 1
            self.branches[merged.path] = merged
            generation.children[merged.path] = merged
        else:
            merged = tops[0]
            merged.apart = bool(merged.forks)
            merged.values = owner.values
        members = [member for top in tops for member in top.members]
        merged.members = tuple(sorted(members, key=by_path))
        for member in members:
            member.branch = merged
        return merged

    def _recount(
        self, generation: Generation, top: Branch, leaves: Iterable[Branch], merged: Branch
    ) -> None:
        """Count what is left of a branch of which some were merged, for the other sync points.

        Its place is carried by the merged branch now; what else is on the way comes as a guest.
        """
        assert top.leaves is not None
        gone = Counter(bit for leaf in leaves for bit in leaf.bits)
        for bit, barrier in generation.barriers.items():
            left = top.leaves.get(bit, 0) - gone[bit]
            if top is merged:
                left += 1 if merged.hopes & bit else 0
            elif left and not barrier.opened:
                barrier.guests.add(top)
            elif _waiting_at(top, barrier.spec) and not barrier.opened:
                barrier.arrive(top, ())
            top.leaves[bit] = left
        if top is not merged:
            top.members = ()

    def _take(self, top: Branch, leaves: Sequence[Branch]) -> list[NodeWrites]:
        """Take the writes of ``top`` and of those below it that have arrived."""
        if top.leaves is None:
            delta, top.delta = top.delta, []
            return delta
        return self._merger.take(top, leaves, _between(leaves, top))

    def _consume_all(self, generation: Generation, tops: Sequence[Branch], merged: Branch) -> None:
        """Take a whole generation out of the tree, of which no branch has forked."""
        self._alive -= len(tops)
        for top in tops:
            top.status = "gone"
            top.hopes = 0
            top.heir = merged
            self.branches.pop(top.path, None)
        generation.children = {}
        self._release(generation)

    def _consume(self, top: Branch, leaves: Sequence[Branch], merged: Branch) -> None:
        """Take what was merged out of the tree."""
        self._alive -= len(leaves)
        for leaf in leaves:
            if leaf is not merged:
                leaf.hopes = 0
                leaf.heir = merged
                if leaf.leaves is None:
                    leaf.members = ()
                self._forget(leaf)
                self._prune(leaf)
        if top is not merged and top.status == "forked":
            top.heir = merged

    def _cancel_stragglers(
        self, generation: Generation, barrier: Barrier, stragglers: Sequence[Branch]
    ) -> None:
        if not stragglers:
            return
        bit = barrier.spec.bit
        for other in generation.barriers.values():
            if self.plan.vertices[other.spec.name].reach & bit:
                self._close(other)
        for top in stragglers:
            stopped = []
            waiting = _waiting_at(top, barrier.spec)
            for branch in list(subtree(top)):
                for inner in branch.forks:
                    for other in inner.barriers.values():
                        if self.plan.vertices[other.spec.name].reach & bit:
                            self._close(other)
                if branch.is_leaf and (branch.hopes & bit or branch in waiting):
                    stopped.append(branch)
            _void(stopped, top)  # it would have been taken whole, or not at all
            for branch in stopped:
                if branch.status in ("running", "routing"):
                    self._commands.append(CancelBranch(branch.path, branch.step))
                self._drop(branch)

    def _close(self, barrier: Barrier) -> None:
        """All that could arrive here is being cancelled: it will not open in this generation."""
        if not barrier.opened:
            barrier.opened = True
            self._stop_timers(barrier)

    def _stop_timers(self, barrier: Barrier) -> None:
        self._commands += [StopTimer(key) for key in barrier.timer_due]
        barrier.timer_due = {}
        barrier.timer_left = {}

    # -- branches that wait for siblings ------------------------------------------------------

    def _done(self, branch: Branch) -> None:
        """A leaf has come to a stand: those that wait for it, or for one above it, may go on."""
        for each in upwards(branch):
            generation = each.generation
            if generation is None or not generation.dependents:
                continue
            paths = [member.path for member in each.members]
            if any(path in generation.dependents for path in paths) and self._is_done(each):
                delta = self._merger.collect(each)
                for path in paths:
                    generation.finished[path] = delta if path == paths[0] else []
                    for held in generation.dependents.pop(path, ()):
                        self._one_less(generation, held, path)

    def _is_done(self, top: Branch) -> bool:
        """Whether no branch at or below ``top`` goes on by itself: all have ended, or wait at a
        sync point of its own generation or further out, and none further in has yet to open."""
        assert top.generation is not None
        depth = len(top.generation.owner.path)
        for branch in subtree(top):
            for inner in branch.forks:
                if not all(barrier.opened for barrier in inner.barriers.values()):
                    return False
            if branch.status in ("running", "routing", "held", "parked"):
                return False
            if branch.status == "waiting":
                spec = self.plan.vertices[branch.place].sync_point
                assert spec is not None
                generation, _ = self._locate(branch, spec.bit)
                # Where it has come too late, it is about to be dealt with as such.
                if len(generation.owner.path) > depth or generation.barriers[spec.bit].opened:
                    return False
        return True

    def _one_less(self, generation: Generation, held: Branch, path: BranchPath) -> None:
        if held.status != "held" or held.held_for is None:
            return
        held.held_for.discard(path)
        if held.held_for or held.target is None:
            return
        paths = sorted(held.members[0].after)
        place = {each: number for number, each in enumerate(paths)}
        waits = [generation.waits.get(each, ()) for each in paths]
        order = in_order([[place[each] for each in before] for before in waits])
        base = self._merger.join([generation.finished.get(paths[number], []) for number in order])
        held.unfolded = [*base, *held.unfolded]  # an update may have written to it
        held.held_for = None
        held.status = "running"
        self._enter(held, held.target)

    # -- the end ------------------------------------------------------------------------------

    def _finish(self) -> None:
        root = self._root
        assert root is not None
        entries = self._merger.collect(root) if root.forks else root.delta
        rest = entries[len(root.delta) :]
        values = self.schema.fold(root.values, [*root.unfolded, *rest])
        self.values = {**values, **self.live_values}
        self.delta += entries
        self.live_values = {}
        for outcomes in self.outcomes.values():
            outcomes.sort(key=lambda outcome: (outcome.branch, outcome.generation))
        if root.failures:
            self._report_failures(root, root.failures)
        self.running = False
        self.branches.clear()
        self._root = None
        self._ended = []
        _take_apart(root)
        self._commands.append(Finish())

    def _report_failures(
        self, root: Branch, failures: Sequence[tuple[BranchPath, PlaitError]]
    ) -> None:
        """Name the failed branches that no sync point has named, in an outcome of END."""
        named = {
            participant.branch
            for outcomes in self.outcomes.values()
            for outcome in outcomes
            for participant in outcome.failed
        }
        failed = [
            Participant(path, None, "", error)
            for path, error in sorted(failures, key=_first)
            if not any(path[:length] in named for length in range(1, len(path) + 1))
        ]
        if not failed:
            return
        arrived = sorted([as_participant(branch) for branch in self._ended])
        self.outcomes[END] = Outcomes(
            [
                Outcome(
                    END,
                    "partial",
                    root.path,
                    0,
                    arrived=tuple(arrived),
                    failed=tuple(failed),
                )
            ]
        )


def _take_apart(root: Branch) -> None:
    """Let go of what is left of a tree at once: without its circles, nothing keeps it."""
    todo = [root]
    while todo:
        branch = todo.pop()
        branch.members = ()
        for generation in branch.forks:
            todo += generation.children.values()
            generation.children = {}
            generation.barriers = {}
        branch.forks = []


_forked: Final = attrgetter("leaves")
"""Whether a branch that came to a sync point had forked on its way: a truth value."""


def _waiting_at(top: Branch, spec: SyncPointSpec) -> list[Branch]:
    """The branches at or below ``top`` that wait at a sync point of its generation."""
    if top.leaves is None:  # it has not forked
        return [top] if top.status == "waiting" and top.place == spec.name else []
    assert top.arrivals is not None
    return [leaf for leaf in top.arrivals.get(spec.bit, ()) if leaf.status == "waiting"]


def _taking_part(top: Branch, barrier: Barrier) -> Sequence[Member]:
    """The members that a branch carries, as far as they take part."""
    if len(top.members) < 2:
        return top.members
    participants = set(barrier.members)
    return [member for member in top.members if member in participants]


def _between(leaves: Iterable[Branch], top: Branch) -> set[Branch]:
    """The leaves, ``top``, and every branch on the way from one to the other."""
    found: set[Branch] = set()
    for leaf in leaves:
        for each in upwards(leaf):
            if each in found:
                break
            found.add(each)
            if each is top:
                break
    return found


def _void(leaves: Sequence[Branch], top: Branch) -> None:
    """Drop what the leaves wrote, and what was written on the way to them."""
    for each in _between(leaves, top):
        if not each.apart or each in leaves:
            each.delta = []


def _hopes(top: Branch, bit: int) -> bool:
    """Whether a branch at or below ``top`` can still arrive."""
    return bool(top.hopes & bit) if top.leaves is None else top.leaves.get(bit, 0) > 0


def _mask(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= bit
    return mask


def _first(failure: tuple[BranchPath, PlaitError]) -> BranchPath:
    return failure[0]


def _urgency(item: tuple[Any, ...]) -> tuple[int, int]:
    """What to look at first, for ``(generation, barrier, ...)``: the deepest, then by rank."""
    generation: Generation = item[0]
    barrier: Barrier = item[1]
    return len(generation.owner.path), -barrier.spec.rank


def _all_before(child: Branch, by_id: dict[str, Branch]) -> frozenset[BranchPath]:
    """The paths of all siblings on which a branch depends, directly or not."""
    found: set[BranchPath] = set()
    todo = [child]
    while todo:
        target = todo.pop().target
        for name in target.after if target is not None else ():
            sibling = by_id[name]
            if sibling.path not in found:
                found.add(sibling.path)
                todo.append(sibling)
    return frozenset(found)


def _why_not(outcome: Outcome, minimum: int) -> str:
    """Why a sync point cannot go on, in a sentence with a way out."""
    count = len(outcome.arrived)
    missing = "; ".join(
        f"{format_path(each.branch)} ({each.id or each.node}) {fate}"
        for fate, members in (
            ("failed", outcome.failed),
            ("took another way", outcome.dead),
            ("was cancelled", outcome.cancelled),
            ("was late", outcome.late),
        )
        for each in members[:5]
    )
    if outcome.status == "timeout" and count >= minimum:
        return (
            f"its deadline passed after {outcome.waited:g} s with {count} of {outcome.activated} "
            f"arrived: {missing}. on_timeout='proceed' goes on with those, or name a node to go to"
        )
    return (
        f"{count} of {outcome.activated} branches arrived, fewer than the minimum of {minimum}"
        + (f": {missing}" if missing else "")
        + f". Join(minimum={count}) goes on with those, or on_timeout names a node to go to"
    )
