"""Runs a graph under many schedules, and shows the shortest one that changes its result.

A *schedule* says who goes first. Every call of a node is held before it begins and again before
its result is taken, and whenever everything waits, the schedule lets one of them go, or lets time
pass for those that sleep. The reference is the run in path order: as if the branches were run one
after the other. Time is virtual throughout, also as ``time.time()`` and its kin tell it.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import pydantic_core
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from plait.commands import StartTimer
from plait.errors import format_path, shorten
from plait.events import BranchPath, JournalEvent, NodeCompleted, RunStarted
from plait.executor import Executor
from plait.flow import Flow, RunResult
from plait.machine import Machine
from plait.node import NodeContext, call_node
from plait.plan import NodeSpec, Plan
from plait.store import ListJournal

from .clock import VirtualClock
from .equality import copied, same

__all__ = ["ScheduleDependence", "assert_schedule_independent", "replay"]

S = TypeVar("S")
Choices = tuple[int, ...]

_START = 1_000_000_000.0
"""The time of day at which runs begin: in September 2001."""

_LATER = 86_400.0 + 3_661.5
"""How much later one run begins: another day, hour, minute and second, and half a second."""

_STEP = 0.001
"""Seconds that pass when somebody is let go, so that who reads the clock can tell the order."""

_SHOWN_STEPS = 30
_SHOWN_WRITERS = 5

_DEFAULT_FILE = ".plait/schedule-{flow}.json"


class ScheduleDependence(AssertionError):
    """A graph's result depends on the schedule.

    Attributes:
        channel: the channel that differs; ``None`` if it is not a channel (an error, an outcome).
        expected: its value in path order.
        found: its value under the schedule.
        file: where the schedule was saved; ``None`` if nowhere.
    """

    def __init__(
        self, message: str, channel: str | None, expected: Any, found: Any, file: Path | None
    ) -> None:
        self.channel = channel
        self.expected = expected
        self.found = found
        self.file = file
        super().__init__(message)


def assert_schedule_independent(
    flow: Flow[Any] | Callable[[], Flow[Any]],
    input: Any = None,  # noqa: A002 - as in Flow.run
    *,
    context: Any = None,
    schedules: int = 100,
    save: str | Path | None = _DEFAULT_FILE,
    seed: int = 0,
    equal: Callable[[Any, Any], bool] | None = None,
) -> None:
    """Assert that a graph comes to the same final state whatever order its nodes finish in.

    Runs it in path order, then the same again, then the same a day later, and then under as many
    other schedules as asked for, which Hypothesis chooses. Each run has a store in memory, a
    virtual clock and a copy of the input for itself; the flow's own store is not touched. Call it
    from a plain ``def`` test, since it runs event loops.

    Who arrives in time where a quorum or a deadline decides *is* a matter of timing, so runs are
    compared if the same branches were late or cancelled. Deadlines do not pass because the schedule
    holds somebody, but only if nodes sleep that long.

    The clock is virtual for whoever calls ``time.time()``, ``monotonic()`` or ``perf_counter()``
    through the module; ``datetime.now()`` or a ``from time import time`` show as a run that does
    not repeat itself.

    Args:
        flow: the flow, or a function that makes it anew for every run, if it holds objects that
            runs must not share.
        input, context: as for ``Flow.run``.
        schedules: how many schedules to try.
        save: the file for a schedule that differs, for :func:`replay`; ``{flow}`` stands for the
            flow's name. ``None``: none is written.
        seed: which schedules; the same seed makes the same ones.
        equal: when two values of a channel count as the same, in place of ``==``.

    Raises:
        ScheduleDependence: an ``AssertionError`` that shows the shortest schedule found that
            differs, the channel, both values and the nodes that wrote them.
        Exception: what the run in path order raises.
    """
    search = _Search(flow, input, context, equal or same)
    reference = search.run(_Schedule())
    if reference.error is not None:
        raise reference.error
    for probe in (_Schedule(again=True), _Schedule(start=_START + _LATER)):
        found = search.run(probe)
        if search.differs(found):
            raise search.report(found, save)
    choices = search.find(schedules, seed)
    if choices is not None:
        raise search.report(search.run_choices(search.shorten(choices)), save)


def replay(
    flow: Flow[S] | Callable[[], Flow[S]],
    file: str | Path,
    input: Any = None,  # noqa: A002 - as in Flow.run
    *,
    context: Any = None,
) -> RunResult[S]:
    """Run a graph once more under a schedule that :func:`assert_schedule_independent` has saved.

    Args:
        flow: the flow, or a function that makes it.
        file: the schedule's file.
        input: the run's input, where it could not be saved because it is no JSON.
        context: as for ``Flow.run``.

    Raises:
        ValueError: it is not such a file, or the input is missing.
        Exception: what the run raises.
    """
    try:
        saved = json.loads(Path(file).read_text(encoding="utf-8"))
        schedule = _Schedule(tuple(saved["choices"]), saved["start"], saved["again"])
        has_input = saved["has_input"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} does not hold a schedule") from error
    if input is None:
        if not has_input:
            raise ValueError(f"the input is not in {file}, since it is no JSON: give input=...")
        input = saved["input"]  # noqa: A001
    run = _Search(flow, input, context, same).run(schedule)
    if run.error is not None:
        raise run.error
    assert run.result is not None
    return run.result


# -- one run ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Who goes first, and when the run begins."""

    choices: Choices = ()
    """At each point where there is a choice, the number of who is let go; 0 from then on."""
    start: float = _START
    """Seconds since the epoch."""
    again: bool = False
    """Run twice, and take the second."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What happened at one point."""

    done: str
    instead_of: str | None
    """What path order would have done, where that is something else."""


@dataclass(slots=True)
class _Run:
    """What came of one run."""

    schedule: _Schedule
    values: dict[str, Any]
    result: RunResult[Any] | None
    error: Exception | None
    steps: list[_Step]
    widths: list[int]
    """At each point where there was a choice, how many ways there were."""
    events: Sequence[JournalEvent] = ()

    @property
    def deviations(self) -> int:
        """How many choices it takes to tell the schedule from path order."""
        return len(self.schedule.choices)

    def races(self) -> Any:
        """Who came too late where a quorum or a deadline decided."""
        return [
            (name, outcome.branch, outcome.generation, _paths(outcome.late + outcome.cancelled))
            for name, outcomes in sorted(self.outcomes().items())
            for outcome in outcomes
        ]

    def outcomes(self) -> Mapping[str, Sequence[Any]]:
        return self.result.outcomes if self.result is not None else {}

    def asked(self) -> list[tuple[str, Any]]:
        """The interrupts with which it is suspended, if it is."""
        interrupts = self.result.interrupts if self.result is not None else ()
        return [(interrupt.id, interrupt.value) for interrupt in interrupts]

    def writers(self, channel: str) -> str:
        """The nodes that wrote a channel, in the order in which they finished."""
        found = []
        for event in self.events:
            if isinstance(event, RunStarted) and any(name == channel for name, _ in event.writes):
                found.append("the input")
            if isinstance(event, NodeCompleted) and any(
                name == channel for name, _ in event.writes
            ):
                found.append(_who(event.node, event.branch))
        if len(found) > _SHOWN_WRITERS:
            found[_SHOWN_WRITERS:] = [f"{len(found) - _SHOWN_WRITERS} more"]
        return ", then ".join(found) or "no node"


def _paths(participants: Sequence[Any]) -> list[BranchPath]:
    return [participant.branch for participant in participants]


def _who(node: str, branch: BranchPath) -> str:
    return f"{node!r} (branch {format_path(branch)})"


@dataclass(eq=False, slots=True)
class _Held:
    """A call of a node that waits to be let go."""

    context: NodeContext
    act: Literal["begins", "finishes", "fails"]
    released: anyio.Event = field(default_factory=anyio.Event)

    @property
    def rank(self) -> tuple[BranchPath, str, int, str]:
        """Path order; a subgraph's calls have paths below that of its node."""
        return self.context.branch, self.context.thread_id, self.context.attempt, self.context.node

    def __str__(self) -> str:
        return f"{_who(self.context.node, self.context.branch)} {self.act}"


class _Gatekeeper:
    """Holds every call of a node, and lets them go as a schedule says."""

    def __init__(self, clock: VirtualClock, choices: Choices, machine: Machine) -> None:
        self.steps: list[_Step] = []
        self.widths: list[int] = []
        self.taken: list[int] = []
        self._clock = clock
        self._choices = choices
        self._machine = machine
        self._held: list[_Held] = []
        self._time_may_pass = not _has_inner_deadlines(machine.plan)

    async def __call__(self, spec: NodeSpec, state: Any, context: NodeContext) -> Any:
        await self._hold(context, "begins")
        try:
            result = await call_node(spec, state, context)
        except Exception:
            await self._hold(context, "fails")
            raise
        await self._hold(context, "finishes")
        return result

    async def _hold(
        self, context: NodeContext, act: Literal["begins", "finishes", "fails"]
    ) -> None:
        held = _Held(context, act)
        self._held.append(held)
        try:
            await held.released.wait()
        finally:
            if held in self._held:
                self._held.remove(held)

    def let_go(self) -> bool:
        """Everything waits: let one of those that are held go on, or let time pass."""
        if not self._held:
            return False
        held = sorted(self._held, key=lambda each: each.rank)
        ways: list[_Held | None] = [*held]
        if self._next_is_a_sleeper():
            ways.append(None)
        number = 0
        if len(ways) > 1:
            position = len(self.widths)
            if position < len(self._choices):
                number = self._choices[position] % len(ways)
            self.widths.append(len(ways))
            self.taken.append(number)
        chosen, usual = ways[number], ways[0]
        self.steps.append(_Step(_told(chosen), _told(usual) if number else None))
        if chosen is None:
            return False
        self._held.remove(chosen)
        self._clock.now += _STEP
        chosen.released.set()
        return True

    def _next_is_a_sleeper(self) -> bool:
        """Whether the next timer is a node's, not the deadline of a sync point.

        How long somebody is held is the schedule's doing, and should not cost anyone a deadline.
        """
        delay = self._clock.next_timer
        if delay is None or not self._time_may_pass:
            return False
        due = self._clock.start + self._clock.now + delay
        timers = [item for item in self._machine.outstanding() if isinstance(item, StartTimer)]
        return all(due < timer.due for timer in timers)


def _told(way: _Held | None) -> str:
    return "time passes" if way is None else str(way)


def _has_inner_deadlines(plan: Plan) -> bool:
    """Whether a subgraph has deadlines; its machine is its own, so nobody can tell when."""
    inner = [
        vertex.node.fn.plan  # type: ignore[attr-defined]  # a Flow
        for vertex in plan.vertices.values()
        if vertex.node is not None and vertex.node.kind == "flow"
    ]
    return any(
        spec.join.timeout is not None or spec.join.grace
        for plan in inner
        for spec in plan.sync_points.values()
    ) or any(map(_has_inner_deadlines, inner))


@contextmanager
def _virtual_time(clock: VirtualClock) -> Iterator[None]:
    """Let the clocks of the ``time`` module show virtual time, and seed ``random``."""

    def seconds() -> float:
        return clock.start + clock.now

    def nanoseconds() -> int:
        return round(seconds() * 1e9)

    functions: dict[str, Callable[[], float]] = {}
    for name in ("time", "monotonic", "perf_counter"):
        functions |= {name: seconds, f"{name}_ns": nanoseconds}
    real = {name: getattr(time, name) for name in functions}
    state = random.getstate()
    try:
        for name, function in functions.items():
            setattr(time, name, function)
        yield
    finally:
        for name, function in real.items():
            setattr(time, name, function)
        random.setstate(state)


def _run(make: Callable[[], Flow[Any]], given: Any, context: Any, schedule: _Schedule) -> _Run:
    flow, clock, journal = make(), VirtualClock(schedule.start), ListJournal()
    machine = Machine(flow.plan)
    gatekeeper = _Gatekeeper(clock, schedule.choices, machine)
    clock.on_idle = gatekeeper.let_go

    async def drive() -> RunResult[Any]:
        executor = Executor(
            machine,
            journal,
            "schedule",
            context=context,
            max_concurrency=flow.max_concurrency,
            pools={
                name: anyio.CapacityLimiter(pool.total_tokens)
                if isinstance(pool, anyio.CapacityLimiter)
                else pool
                for name, pool in flow.pools.items()
            },
            debug=flow.debug,
            interrupts=flow.interrupts,
            runner=gatekeeper,
        )
        writes = flow.plan.schema.check_input(machine.values, given)
        await executor.run(RunStarted(executor.now(), (0,), writes))
        state = flow.plan.schema.instance(machine.current_values())
        status: Literal["completed", "suspended"] = "suspended" if machine.running else "completed"
        outcomes, asked = dict(machine.outcomes), machine.interrupts
        return RunResult(state, status, outcomes, executor.thread_id, asked)

    result, error = None, None
    with _virtual_time(clock):
        # One run that is repeated gets other random numbers, so that it differs if it uses them.
        random.seed(int(schedule.again))
        try:
            result = clock.run(drive())
        except Exception as raised:
            error = raised
    return _Run(
        schedule=replace(schedule, choices=_trimmed(gatekeeper.taken)),
        values=copied(machine.current_values()) if result is not None else {},
        result=result,
        error=error,
        steps=gatekeeper.steps,
        widths=gatekeeper.widths,
        events=journal.events,
    )


def _trimmed(choices: Sequence[int]) -> Choices:
    """Without the zeros at the end, which go without saying."""
    length = len(choices)
    while length and choices[length - 1] == 0:
        length -= 1
    return tuple(choices[:length])


# -- the search -------------------------------------------------------------------------------


class _Search:
    """One call of :func:`assert_schedule_independent`."""

    def __init__(
        self,
        flow: Flow[Any] | Callable[[], Flow[Any]],
        given: Any,
        context: Any,
        equal: Callable[[Any, Any], bool],
    ) -> None:
        if isinstance(flow, Flow):
            fixed = flow
            self.make: Callable[[], Flow[Any]] = lambda: fixed
        else:
            self.make = flow
        self.given = given
        self.context = context
        self.equal = equal
        self.references: list[tuple[Any, _Run]] = []
        self.runs: dict[Choices, _Run] = {}

    def run(self, schedule: _Schedule) -> _Run:
        """Run once; the first run of its kind becomes the reference for others of that kind."""
        if schedule.again:
            self._run(replace(schedule, again=False))
        run = self._run(schedule)
        if run.error is None and self.reference(run) is None:
            self.references.append((run.races(), run))
        return run

    def _run(self, schedule: _Schedule) -> _Run:
        return _run(self.make, copied(self.given), copied(self.context), schedule)

    def run_choices(self, choices: Choices) -> _Run:
        """Run under a schedule, once: a graph may not repeat itself, but a search must."""
        choices = _trimmed(choices)
        if choices not in self.runs:
            self.runs[choices] = self.run(_Schedule(choices))
        return self.runs[choices]

    def reference(self, run: _Run) -> _Run | None:
        """The run to compare with: the first one with the same latecomers."""
        if run.error is not None:
            return self.references[0][1]
        races = run.races()
        return next((other for known, other in self.references if known == races), None)

    def difference(self, run: _Run) -> tuple[str | None, str, Any, Any] | None:
        """Where a run differs from its reference: the channel, what it is, and both values."""
        reference = self.reference(run)
        assert reference is not None
        if run.error is not None:
            return None, "the run", _Words("completes"), _Words(_raised(run.error))
        missing = _Words("(no value)")
        for channel in {**reference.values, **run.values}:
            expected, found = (each.values.get(channel, missing) for each in (reference, run))
            if expected is missing or found is missing or not self.equal(expected, found):
                return channel, f"channel {channel!r}", expected, found
        expected, found = reference.asked(), run.asked()
        if not self.equal(expected, found):
            return None, "what waits for an answer", expected, found
        for name, outcomes in run.outcomes().items():
            found = [(_paths(o.arrived), _paths(o.failed), _paths(o.dead)) for o in outcomes]
            others = reference.outcomes().get(name, ())
            expected = [(_paths(o.arrived), _paths(o.failed), _paths(o.dead)) for o in others]
            if expected != found:
                what = f"the outcome of {name!r} (who arrived, failed, took another way)"
                return None, what, expected, found
        return None

    def differs(self, run: _Run) -> bool:
        return self.difference(run) is not None

    def find(self, schedules: int, seed: int) -> Choices | None:
        """Choices that make a difference, as small as Hypothesis can make them."""
        widths = self.run_choices(()).widths
        if not widths:  # nothing ever runs beside anything
            return None
        choice = st.integers(0, max(widths) - 1)
        points = len(widths)
        few, all_ = (st.lists(choice, min_size=n, max_size=points) for n in (0, points))
        try:
            return find(
                (few | all_).map(tuple),
                lambda choices: self.differs(self.run_choices(choices)),
                settings=settings(
                    max_examples=schedules,
                    database=None,
                    deadline=None,
                    phases=(Phase.generate, Phase.shrink),
                ),
                random=random.Random(seed),
            )
        except NoSuchExample:
            return None

    def shorten(self, choices: Choices) -> Choices:
        """The smallest of the schedules that are one change away, and so on until none is smaller.

        Hypothesis has looked at many of them; this makes the result the same for all its versions.
        """
        best = self.run_choices(choices).schedule.choices
        while True:
            smaller = next(
                (other for other in _smaller(best) if self.differs(self.run_choices(other))),
                None,
            )
            if smaller is None:
                return best
            best = smaller

    # -- telling ------------------------------------------------------------------------------

    def report(self, run: _Run, save: str | Path | None) -> ScheduleDependence:
        """The failure, in words and as a file."""
        difference = self.difference(run)
        reference = self.reference(run)
        assert difference is not None
        assert reference is not None
        channel, what, expected, found = difference
        flow = self.make().name
        here = "in this run" if run.deviations == 0 else "in this schedule"
        there = "in path order" if reference.deviations == 0 else "in the one before"
        width = max(len(here), len(there))
        lines = [f"flow {flow!r}: the result depends on {_cause(run)}", *_steps(run), f"  {what}:"]
        for where, value, each in ((there, expected, reference), (here, found, run)):
            lines.append(f"    {where:<{width}}  {shorten(value, 200)}")
            if channel is not None:
                lines.append(f"    {'':<{width}}  written by {each.writers(channel)}")
        file = None
        if save is not None:
            file = Path(str(save).format(flow=re.sub(r"[^\w.-]", "_", flow)))
            self._save(run, file, lines)
            lines.append(f"  saved: plait.testing.replay(flow, {str(file)!r}) repeats it")
        return ScheduleDependence("\n".join(lines), channel, expected, found, file)

    def _save(self, run: _Run, file: Path, lines: Sequence[str]) -> None:
        given = self.given
        try:
            if hasattr(given, "model_dump"):
                given = given.model_dump(exclude_unset=True)
            plain = pydantic_core.to_jsonable_python(given)
            has_input = plain == given
        except pydantic_core.PydanticSerializationError:
            plain, has_input = None, False
        schedule = run.schedule
        saved = {
            "about": list(lines),
            "choices": schedule.choices,
            "start": schedule.start,
            "again": schedule.again,
            "has_input": has_input,
            "input": plain if has_input else None,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class _Words:
    """Shows words as they are."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


def _raised(error: Exception) -> str:
    return f"raises {type(error).__name__}: {error}"


def _smaller(choices: Choices) -> Iterator[Choices]:
    """Shorter ones first; then those with smaller numbers."""
    for length in range(len(choices)):
        yield choices[:length]
    for position in range(len(choices)):
        yield choices[:position] + choices[position + 1 :]
    for position, choice in enumerate(choices):
        for lower in range(choice):
            yield (*choices[:position], lower, *choices[position + 1 :])


def _cause(run: _Run) -> str:
    if run.schedule.again:
        return (
            "something outside of it: the same schedule gave two results. "
            "Look for an object that runs share, randomness, or a clock"
        )
    if run.schedule.start != _START:
        return "the time of day: the same schedule, begun a day later, gave another result"
    return "the order in which nodes run. The shortest schedule found that differs:"


def _steps(run: _Run) -> list[str]:
    """What happens up to the last deviation from path order."""
    last = max((n for n, step in enumerate(run.steps) if step.instead_of is not None), default=-1)
    lines = [
        f"    {number}. {step.done}"
        + (f", before {step.instead_of}" if step.instead_of is not None else "")
        for number, step in enumerate(run.steps[: last + 1], 1)
    ]
    if len(lines) > _SHOWN_STEPS:
        half = _SHOWN_STEPS // 2
        lines[half:-half] = [f"    ... {len(lines) - 2 * half} more ..."]
    if lines:
        lines.append("    and from then on in path order")
    return lines
