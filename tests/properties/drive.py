"""Drives a machine without an event loop: a schedule says which of the things under way comes next.

A `Case` is a program compiled once; `drive` takes it through one schedule, or `resume` what is left
of one, in well under a millisecond. Scripts are interpreted here, from the program's data, and what
they write and where they lead goes through the same checks as in the executor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
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
from plait.errors import NodeError, PlaitError
from plait.events import (
    NO_ARGUMENT,
    BranchForked,
    BranchPath,
    Interrupt,
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
    Writes,
    format_path,
)
from plait.machine import INPUT, Machine
from plait.node import check_output, find_targets
from plait.plan import Plan, Vertex
from plait.state import Values
from plait.tree import Questions
from tests.properties.programs import (
    KINDS,
    VISITS,
    BrokenNode,
    Channel,
    Node,
    Program,
    Visit,
    _public,
    answer,
    build,
    digest,
    run_input,
    script,
)

__all__ = [
    "STEPS",
    "TRACE",
    "Call",
    "Case",
    "Choose",
    "EndlessRun",
    "Item",
    "Run",
    "at_random",
    "by_numbers",
    "drive",
    "following",
    "prepare",
    "resume",
    "similar",
    "traced",
]

TRACE = "trace"
"""The channel to which every call appends a token of its own."""

STEPS = 20_000
"""More than any drawn program needs: a run that takes more goes round in a circle."""


class EndlessRun(Exception):
    """The run did not end within the steps that it may take."""


@dataclass
class Case:
    """A program, compiled, with what its scripts need worked out once.

    tokens: a number for every call of the program, the same in each schedule.
    """

    program: Program
    plan: Plan
    input: dict[str, Any]
    nodes: dict[str, Node]
    kinds: dict[str, str]
    inner: dict[str, Case]
    tokens: dict[Hashable, int] = field(default_factory=dict)

    @property
    def traced(self) -> bool:
        return TRACE in self.kinds


def prepare(program: Program, tokens: dict[Hashable, int] | None = None) -> Case:
    """Compile a program.

    Raises:
        plait.PlaitError: it is refused.
    """
    tokens = {} if tokens is None else tokens
    return Case(
        program,
        build(program).compile().plan,
        run_input(program),
        {node.name: node for node in program.nodes},
        {channel.name: channel.kind for channel in program.all_channels()},
        {n.name: prepare(n.subgraph, tokens) for n in program.nodes if n.subgraph is not None},
        tokens,
    )


def traced(program: Program) -> Program:
    """The program, and those inside it, with the channel `TRACE`."""
    nodes = [
        node if node.subgraph is None else replace(node, subgraph=traced(node.subgraph))
        for node in program.nodes
    ]
    channels = (*program.channels, Channel(TRACE, "append"))
    return replace(program, channels=channels, nodes=tuple(nodes))


# --- what is under way ---


class Call:
    """A call of a node: with what it saw when it began."""

    __slots__ = (
        "answered",
        "answers",
        "attempt",
        "command",
        "key",
        "node",
        "output",
        "seen",
        "values",
        "visit",
    )

    def __init__(
        self,
        command: RunNode,
        node: Node,
        values: Values,
        argument: Any,
        questions: Questions | None = None,
    ) -> None:
        self.command = command
        self.key: Hashable = command
        self.node = node
        self.values = values
        self.seen: Any = values if argument is NO_ARGUMENT else argument
        self.visit = script(node, self.seen) if node.subgraph is None else Visit()
        self.attempt = 1 if questions is None else questions.attempt
        given = {} if questions is None else questions.answers
        self.answered = len(given)
        self.answers = sum(given.values()) if self.visit.asks else 0
        self.output: tuple[Writes, tuple[Target, ...]] | None = None


class Route:
    """Routers behind START or a sync point that are to be asked."""

    __slots__ = ("command", "key")

    def __init__(self, command: RouteBranch) -> None:
        self.command = command
        self.key: Hashable = command


class Timer:
    __slots__ = ("command", "key")

    def __init__(self, command: StartTimer) -> None:
        self.command = command
        self.key: Hashable = command.timer


class Judge:
    """A predicate that is to be asked."""

    __slots__ = ("command", "key")

    def __init__(self, command: JudgeQuorum) -> None:
        self.command = command
        self.key: Hashable = (
            "judge",
            command.branch,
            command.generation,
            command.sync_point,
            len(command.arrivals),
        )


class Answer:
    """A question that somebody is to answer."""

    __slots__ = ("interrupt", "key")

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self.key: Hashable = ("answer", interrupt.id)


Item = Call | Route | Timer | Judge | Answer

Choose = Callable[[Sequence[Item], int], int]
"""What is ready, and how many events (but for retries) there have been, to the place of the next.
It is asked also where there is no choice.
Inside a subgraph, which is one step of the schedule, the second is -1."""


def by_numbers(numbers: Iterable[int]) -> Choose:
    """A schedule by choice: each number picks among what is ready; after them, the first."""
    source = iter(numbers)
    return lambda ready, _: next(source, 0) % len(ready) if len(ready) > 1 else 0


def at_random(rng: random.Random) -> Choose:
    """A schedule at random."""
    below = rng.random
    return lambda ready, _: int(below() * len(ready)) if len(ready) > 1 else 0


def following(keys: Sequence[Hashable], met: Collection[Hashable] = ()) -> Choose:
    """The schedule of another run, as far as it can be followed: its `Run.keys`.

    Args:
        met: those of them that are predicates which were satisfied. A resumed run asks once about
            all arrivals where the other one had several questions open, and since no predicate
            of a program is less satisfied with more, that question stands for the smaller ones.
    """
    left = list(reversed(keys))
    taken = -1  # the position at which the next key was chosen; it is used up with the event

    def choose(ready: Sequence[Item], position: int) -> int:
        nonlocal taken
        if position < 0:
            return 0
        if 0 <= taken < position:
            left.pop()
        taken = -1
        while left:
            for place, item in enumerate(ready):
                if item.key == left[-1] or (left[-1] in met and _asks_more(item.key, left[-1])):
                    taken = position
                    return place
            left.pop()
        return 0

    return choose


def _asks_more(one: Any, other: Any) -> bool:
    """Whether a question is the other one about more arrivals."""
    return type(one) is tuple and one[:-1] == other[:-1] and one[-1] > other[-1]


def similar(keys: Sequence[Hashable], rng: random.Random, width: float) -> Choose:
    """A schedule like that of another run, but that events change places with near ones."""
    order = {key: place + rng.uniform(0, width) for place, key in enumerate(keys)}
    last = len(keys) + width

    def choose(ready: Sequence[Item], _: int) -> int:
        return min(range(len(ready)), key=lambda place: order.get(ready[place].key, last))

    return choose


# --- a run ---


@dataclass
class Run:
    """What a schedule came to.

    Attributes:
        journal: the events, those of earlier runs on the thread and of the resumed prefix first.
        keys: what each event but a retry was the end of (not of the prefix, nor a run's beginning).
        commands: what the machine answered to each event.
        views: for each call: how many events there had been, the command, and what it saw.
        notices: forks and openings, each with how many events led to it.
        stale: calls that went on though the machine did not want their result any more.
        ends: the final values and the outcomes of each run on the thread that has ended.
        state: the final values of the last run, or None.
        hung: the machine says that it is running, and nothing is under way that could end.
            With nothing under way at all, `error` is what the executor raises then.
        left: what was still under way when the run was finished.
    """

    case: Case
    machine: Machine
    journal: list[JournalEvent] = field(default_factory=list)
    keys: list[Hashable] = field(default_factory=list)
    commands: list[list[Command]] = field(default_factory=list)
    views: list[tuple[int, RunNode, Values]] = field(default_factory=list)
    notices: list[tuple[int, BranchForked | SyncPointOpened]] = field(default_factory=list)
    stale: list[RunNode | RouteBranch] = field(default_factory=list)
    ends: list[tuple[Values, Mapping[str, Sequence[plait.Outcome]]]] = field(default_factory=list)
    state: Values | None = None
    error: PlaitError | None = None
    hung: bool = False
    left: list[Item] = field(default_factory=list)

    @property
    def outcomes(self) -> Mapping[str, Sequence[plait.Outcome]]:
        return self.machine.outcomes

    @property
    def failure(self) -> str | None:
        """The class of the error, if the run failed."""
        return None if self.error is None else type(self.error).__name__


def drive(
    case: Case,
    choose: Choose | Sequence[int] | random.Random = (),
    *,
    machine: Callable[[Plan], Machine] = Machine,
    runs: int = 1,
    eager: bool = False,
    limit: int = STEPS,
) -> Run:
    """Run a program under one schedule.

    Args:
        choose: which of the ready things comes next.
        machine: makes the machine.
        runs: how many runs there are on the thread, one after the other.
        eager: routers and predicates answer at once, and are no choice of the schedule.
        limit: the most steps that it may take.

    Raises:
        EndlessRun: it takes more.
    """
    driver = _Driver(case, machine(case.plan), _choose(choose), eager, limit=limit)
    for _ in range(runs):
        driver.begin()
        if driver.run.state is None:
            break
    return driver.run


def resume(
    case: Case,
    journal: Sequence[JournalEvent],
    choose: Choose | Sequence[int] | random.Random = (),
    *,
    eager: bool = False,
) -> Run:
    """Go on from a journal with a new machine, as after a crash."""
    machine = Machine(case.plan)
    driver = _Driver(case, machine, _choose(choose), eager)
    for event in journal:
        commands = machine.handle(event)
        if commands and type(commands[-1]) is Finish:
            driver.run.ends.append((machine.values, machine.outcomes))
    driver.run.journal += journal
    driver.now = journal[-1].at if journal else 0.0
    driver.go_on()
    return driver.run


def _choose(given: Choose | Sequence[int] | random.Random) -> Choose:
    if isinstance(given, random.Random):
        return at_random(given)
    return given if callable(given) else by_numbers(given)


class _Driver:
    def __init__(
        self,
        case: Case,
        machine: Machine,
        choose: Choose,
        eager: bool,
        prefix: tuple[Hashable, ...] = (),
        limit: int = STEPS,
    ) -> None:
        self.case = case
        self.machine = machine
        self.choose = choose
        self.eager = eager
        self.prefix = prefix
        self.limit = limit
        self.run = Run(case, machine)
        self.now = 0.0
        self.under_way: dict[Hashable, Item] = {}
        self.calls: dict[BranchPath, Hashable] = {}
        self.asking = any(visit.asks for node in case.program.nodes for visit in node.visits)

    def begin(self) -> None:
        """Start a run, and take it to its end."""
        machine = self.machine
        self.run.state = None
        writes = machine.schema.check_input(machine.values, self.case.input)
        path = (machine.runs,) if not self.prefix else self.prefix[0]
        assert isinstance(path, tuple)
        self.dispatch(RunStarted(self.now, path, writes))
        self.work()

    def go_on(self) -> None:
        """Take a run that has begun to its end."""
        if self.machine.failure is not None:
            self.run.error = self.machine.failure
            return
        self.carry_out(self.machine.outstanding())
        if self.asking:
            self.put_questions()
        self.work()

    def work(self) -> None:
        run, machine, under_way = self.run, self.machine, self.under_way
        for _ in range(self.limit):
            if run.error is not None or not machine.running:
                break
            ready = [
                item
                for item in under_way.values()
                if type(item) is not Call or not item.visit.forever
            ]
            if not ready:
                run.hung = True
                if not under_way:
                    run.error = machine.standstill()
                return
            if self.asking:
                self.check_suspended(ready)
            item = ready[self.choose(ready, len(run.keys))]
            self.step(item)
        else:
            raise EndlessRun
        if run.error is None:
            run.state = machine.values
            run.left = list(under_way.values())

    def check_suspended(self, ready: Sequence[Item]) -> None:
        """The machine says so when answers, and perhaps deadlines, are all that can come.

        A predicate may still be thinking about a sync point that has opened without it.
        """
        asked = any(type(item) is Answer for item in ready)
        kinds = {type(item) for item in self.under_way.values()} - {Answer, Timer}
        said = f"suspended: {self.machine.suspended}, with {list(self.under_way)} under way"
        if self.machine.suspended:
            assert asked, said
            assert kinds <= {Judge}, said
        else:
            assert not asked or kinds, said

    # -- one step --

    def step(self, item: Item) -> None:
        self.now += 0.0625
        if isinstance(item, Call | Route) and not self.machine.expects(item.command):
            self.run.stale.append(item.command)
            self.done(item)
        elif type(item) is Call:
            self.end_call(item)
        elif type(item) is Route:
            self.route(item.command)
        elif type(item) is Timer:
            del self.under_way[item.key]
            self.now = max(self.now, item.command.due)
            self.dispatch(TimerFired(self.now, item.command.timer), item.key)
        elif type(item) is Judge:
            del self.under_way[item.key]
            self.judge(item.command, item.key)
        elif type(item) is Answer:
            given = ((item.interrupt.id, answer(item.interrupt.value)),)
            self.dispatch(InterruptsAnswered(self.now, given), item.key)

    def end_call(self, call: Call) -> None:
        """An attempt ends, or it asks, or the routers that it asked have answered."""
        if call.output is None:
            if call.answered < call.visit.asks:
                self.ask(call)
                return
            if call.attempt <= call.visit.failures:
                self.fail(call, BrokenNode(call.node.name))
                return
            try:
                call.output = self.outcome_of(call)
            except PlaitError as error:
                self.fail(call, error, final=True)
                return
            if not self.eager and self.case.plan.vertices[call.node.name].targets is None:
                return  # A router may take its time, and others go on meanwhile.
        writes, targets = call.output
        self.done(call)
        path, name = call.command.branch, call.node.name
        event = NodeCompleted(self.now, path, name, call.attempt, writes, targets, self.now)
        self.dispatch(event, call.key)

    def ask(self, call: Call) -> None:
        """The call asks its next question, and its branch is parked."""
        self.done(call)
        path, step, number = call.command.branch, call.command.step, call.answered
        name = f"{format_path(path)}:{step}:{number}"
        asked = (Interrupt(name, number, path, call.node.name),)
        event = NodeInterrupted(self.now, path, call.node.name, call.attempt, asked)
        self.dispatch(event, call.key)

    def put_questions(self) -> None:
        """What is to be answered is as much under way as a call is."""
        machine, under_way = self.machine, self.under_way
        open_questions = {("answer", each.id): each for each in machine.interrupts}
        for key in [key for key, item in under_way.items() if type(item) is Answer]:
            if key not in open_questions:
                del under_way[key]
        for key, interrupt in open_questions.items():
            if key not in under_way:
                under_way[key] = Answer(interrupt)

    def outcome_of(self, call: Call) -> tuple[Writes, tuple[Target, ...]]:
        """What a call wrote and where it leads. Raises what a node may be blamed for."""
        vertex = self.case.plan.vertices[call.node.name]
        assert vertex.node is not None
        goto: Any = ()
        if call.node.subgraph is not None:
            writes = self.run_inner(call)
        else:
            output = scripted(self.case, call, self.token(call))
            writes, goto = check_output(self.case.plan.schema, vertex.node, output)
        if vertex.targets is not None and goto == ():
            return writes, vertex.targets
        branch = self.machine.branches[call.command.branch]
        return writes, self.route_from(
            vertex, lambda: self.machine.view_after(branch, writes), goto
        )

    def route_from(
        self, vertex: Vertex, state: Callable[[], Values], goto: Any = ()
    ) -> tuple[Target, ...]:
        steps = find_targets(self.case.plan, vertex, state, goto)
        try:
            steps.send(None)
        except StopIteration as stop:
            targets: tuple[Target, ...] = stop.value
            return targets
        raise AssertionError("a router of a program does not wait")

    def token(self, call: Call) -> int | None:
        if not self.case.traced:
            return None
        key = (*self.prefix, call.command.branch, call.command.step)
        return self.case.tokens.setdefault(key, len(self.case.tokens))

    def run_inner(self, call: Call) -> Writes:
        """Run a subgraph from its parent's values, and hand back what it wrote."""
        case = self.case.inner[call.node.name]
        machine = Machine(case.plan, keep_delta=True)
        given = call.seen if isinstance(call.seen, Mapping) else {}
        known = case.plan.schema.channels
        machine.values = {**machine.values, **{n: v for n, v in given.items() if n in known}}
        place = ((*call.command.branch, 0), call.command.step)
        # The schedule goes on inside.
        inner = _Driver(case, machine, lambda ready, _: self.choose(ready, -1), self.eager, place)
        inner.begin()
        if inner.run.error is not None:
            raise inner.run.error
        assert not inner.run.hung, "the subgraph hangs"
        outer = self.case.kinds
        delta = [write for entry in machine.delta if entry.node != INPUT for write in entry.writes]
        return tuple([write for write in delta if write[0] in outer])

    def fail(self, call: Call, cause: Exception, *, final: bool = False) -> None:
        path, name = call.command.branch, call.node.name
        if not final and call.attempt < call.node.attempts:
            self.dispatch(NodeRetried(self.now, path, name, call.attempt, cause, 0.0))
            call.attempt += 1
            return
        self.done(call)
        error = NodeError(name, path, call.attempt, cause)
        handling = call.node.on_error
        self.dispatch(NodeFailed(self.now, path, name, call.attempt, error, handling), call.key)

    def done(self, item: Call | Route) -> None:
        del self.under_way[item.key]
        self.calls.pop(item.command.branch, None)

    def route(self, command: RouteBranch) -> None:
        self.under_way.pop(command, None)
        self.calls.pop(command.branch, None)
        branch = self.machine.branches[command.branch]
        vertex = self.case.plan.vertices[command.node]
        try:
            targets = self.route_from(vertex, lambda: self.machine.view(branch))
        except PlaitError as error:
            self.run.error = error
            return
        self.dispatch(Routed(self.now, command.branch, command.node, targets), command)

    def judge(self, command: JudgeQuorum, key: Hashable) -> None:
        spec = self.case.plan.vertices[command.sync_point].sync_point
        assert spec is not None
        quorum: Any = spec.join.quorum
        met = bool(quorum(command.arrivals))
        event = QuorumJudged(
            self.now,
            command.branch,
            command.generation,
            command.sync_point,
            arrivals=len(command.arrivals),
            met=met,
        )
        self.dispatch(event, key)

    # -- events and commands --

    def dispatch(self, event: JournalEvent, key: Hashable = None) -> None:
        run = self.run
        run.journal.append(event)
        if key is not None:
            run.keys.append(key)
        commands = self.machine.handle(event)
        run.commands.append(commands)
        self.carry_out(commands)
        if self.asking:
            self.put_questions()

    def carry_out(self, commands: Sequence[Command]) -> None:
        machine, under_way, run = self.machine, self.under_way, self.run
        for command in commands:
            kind = type(command)
            if kind is RunNode:
                assert isinstance(command, RunNode)
                if not machine.expects(command):  # what came after it has undone it
                    continue
                branch = machine.branches[command.branch]
                values = machine.view(branch)
                run.views.append((len(run.journal), command, values))
                under_way[command] = Call(
                    command,
                    self.case.nodes[command.node],
                    values,
                    branch.argument,
                    branch.questions,
                )
                self.calls[command.branch] = command
            elif kind is Notify:
                assert isinstance(command, Notify)
                run.notices.append((len(run.journal), command.event))
            elif isinstance(command, CancelBranch):
                key = self.calls.get(command.branch)
                if isinstance(key, RunNode | RouteBranch) and key.step == command.step:
                    del under_way[key], self.calls[command.branch]
            elif isinstance(command, StartTimer):
                under_way[command.timer] = Timer(command)
            elif isinstance(command, StopTimer):
                under_way.pop(command.timer, None)
            elif isinstance(command, RouteBranch):
                if not machine.expects(command):
                    continue
                if self.eager:
                    self.route(command)
                else:
                    under_way[command] = Route(command)
                    self.calls[command.branch] = command
            elif isinstance(command, JudgeQuorum):
                item = Judge(command)
                if self.eager:
                    self.judge(command, item.key)
                else:
                    under_way[item.key] = item
            elif isinstance(command, Finish):
                run.ends.append((machine.values, machine.outcomes))
            elif isinstance(command, Fail):
                run.error = run.error or command.error


def scripted(case: Case, call: Call, token: int | None) -> Any:
    """What the function of a scripted node returns."""
    update: dict[str, Any] = {VISITS: {call.node.name: 1}}
    seen = call.seen
    for write in call.visit.writes:
        kind = case.kinds[write.channel]
        number = write.value + call.answers
        if write.reads is not None:
            number += digest(seen if isinstance(seen, int) else seen.get(write.reads))
        value = KINDS[kind].wrap(number)
        if write.overwrite:
            value = plait.Overwrite([number] if kind == "append" else value)
        update[write.channel] = value
    if token is not None:
        update[TRACE] = token
    if call.visit.goto:
        return plait.Command(update=update, goto=[_public(target) for target in call.visit.goto])
    return update
