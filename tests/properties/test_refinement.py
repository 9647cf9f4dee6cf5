"""The kernel, run with real tasks on a virtual clock, agrees with the reference interpreter."""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, assume, example, given, note, settings
from hypothesis import strategies as st

import plait
from tests.properties.programs import (
    CALM,
    CHANNELS,
    END,
    START,
    Edge,
    Features,
    Invalid,
    Node,
    Pace,
    Policy,
    Program,
    SyncPoint,
    Visit,
    Write,
    answer,
    build,
    invalid_programs,
    programs,
    run_input,
)
from tests.properties.reference import Result, by_clock, in_order, run

VERDICTS = ("arrived", "failed", "late", "cancelled", "dead")


class _SkippingSelector(selectors.DefaultSelector):
    """Does not wait: it says how long it would have waited."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the run hangs: nothing is ready and nothing is scheduled")
        self.waited += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when there is nothing else to do, and then at once."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.waited


def seeded(seed: int | None) -> Pace | None:
    """Durations that look random, are the same in every run, and practically never tie.

    Without a seed they are those that the program says.
    """
    if seed is None:
        return None
    return lambda branch, node, visit: random.Random(f"{seed} {branch} {node} {visit}").uniform(
        0.5, 9.5
    )


@dataclass(frozen=True)
class Seen:
    """What a run of the kernel, or of the reference, came to, in a form that can be compared."""

    state: dict[str, Any] | None
    error: str | None
    outcomes: tuple[tuple[Any, ...], ...] = ()
    waited: tuple[float, ...] = ()
    unaccounted: tuple[str, ...] = ()


def path(branch: Any) -> str:
    return branch if isinstance(branch, str) else ".".join(map(str, branch))


def by_kernel(program: Program, pace: Pace | None = None) -> Seen:
    """Run `program` on Plait, on a virtual clock."""
    flow = build(program, pace).compile(store=plait.MemoryStore())

    async def main() -> Any:
        result = await flow.run(run_input(program), thread_id="thread")
        while result.status == "suspended":
            asked = result.interrupts[-1]  # and the earlier ones later
            result = await flow.resume("thread", {asked.id: answer(asked.value)})
        return result

    try:
        result = anyio.run(main, backend_options={"loop_factory": VirtualLoop})
    except plait.PlaitError as error:
        return Seen(None, type(error).__name__)
    outcomes = dict(result.outcomes)
    loose = [p for outcome in outcomes.pop(plait.END, ()) for p in outcome.failed]
    return Seen(
        dict(result.state),
        None,
        tuple(
            (
                name,
                outcome.generation,
                outcome.status,
                *(tuple(path(p.branch) for p in getattr(outcome, what)) for what in VERDICTS),
            )
            for name in sorted(outcomes)
            for outcome in outcomes[name]
        ),
        tuple(outcome.waited for name in sorted(outcomes) for outcome in outcomes[name]),
        tuple(path(participant.branch) for participant in loose),
    )


def by_reference(result: Result) -> Seen:
    if result.error is not None:
        return Seen(None, result.error)
    return Seen(
        result.state,
        None,
        tuple((o.sync, o.generation, o.status, *map(o.those, VERDICTS)) for o in result.outcomes),
        tuple(o.waited for o in result.outcomes),
        result.unaccounted,
    )


def timeless(seen: Seen) -> Seen:
    """Without how long anything took."""
    return replace(seen, waited=())


def path_edges(*paths: str) -> tuple[Edge, ...]:
    ends = {"START": START, "END": END}
    steps = [[ends.get(name, name) for name in text.split()] for text in paths]
    return tuple(Edge(a, b) for names in steps for a, b in itertools.pairwise(names))


def writers(names: str) -> tuple[Node, ...]:
    """Nodes of one letter each, which write their places to a list."""
    return tuple(Node(n, (Visit((Write("list", i),), ticks=i),)) for i, n in enumerate(names, 1))


TWO_STAGES = Program(
    CHANNELS,
    (*writers("facde"), Node("b", (Visit(failures=1),), on_error="record")),
    (*path_edges("START f a END", "f b first c last END", "f d last", "e first"), Edge("f", "e")),
    # The last one is declared first, which must not matter.
    (SyncPoint("last"), SyncPoint("first")),
)
NOBODY_AT_THE_FIRST_STAGE = replace(
    TWO_STAGES,
    nodes=(
        *writers("fadc"),
        Node("b", (Visit(failures=1, ticks=5),), on_error="record"),
        Node("e", (Visit(failures=1, ticks=6),), on_error="record"),
    ),
)
A_FIRST_BRANCH_THAT_FORKS = Program(
    CHANNELS,
    writers("faxbdcy"),
    path_edges("START f a x first d last END", "a y END", "f b first", "f c last"),
    (SyncPoint("first"), SyncPoint("last")),
)
A_PART_LEFT_BEHIND = Program(
    CHANNELS,
    (
        *writers("fxby"),
        Node("a", (Visit((Write("one", 1),)),)),
        # After the sync point, so not at the same time as the write of `a`.
        Node("m", (Visit((Write("one", 2),)),)),
    ),
    path_edges("START f a x s m END", "a y END", "f b s"),
    (SyncPoint("s"),),
)
A_STRAGGLER_THAT_FORKS = Program(
    CHANNELS,
    writers("fabxy"),
    path_edges("START f a s END", "f b x s", "b y s"),
    (SyncPoint("s", Policy(quorum="any", grace=1.5)),),
)

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
law = settings(max_examples=150, deadline=None, suppress_health_check=SLOW)


@law
@example(TWO_STAGES, 0, [])
@example(NOBODY_AT_THE_FIRST_STAGE, 0, [])
@example(A_FIRST_BRANCH_THAT_FORKS, 0, [])
@example(A_PART_LEFT_BEHIND, 0, [])
@given(programs(CALM), st.integers(0, 3), st.lists(st.integers(0, 20), max_size=20))
def test_every_schedule_ends_as_the_reference_says(
    program: Program, seed: int, choices: list[int]
) -> None:
    expected = timeless(by_reference(run(program, in_order(choices))))
    found = timeless(by_kernel(program, seeded(seed)))
    note(f"kernel:    {found}\nreference: {expected}")
    assert found == expected


@law
@example(A_STRAGGLER_THAT_FORKS, None)
@given(programs(Features(asking=False)), st.none() | st.integers(0, 3))
def test_with_quorums_deadlines_and_failures_the_same_times_give_the_same_run(
    program: Program, seed: int | None
) -> None:
    reference = by_clock(program, seeded(seed))
    # Two things at one moment have no order that both sides could be held to.
    assume(not reference.tied)
    expected, found = by_reference(reference), by_kernel(program, seeded(seed))
    note(f"kernel:    {found}\nreference: {expected}")
    assert timeless(found) == timeless(expected)
    assert found.waited == pytest.approx(expected.waited)


@law
@given(invalid_programs())
def test_what_is_wrong_with_a_graph_is_refused_by_compile(invalid: Invalid) -> None:
    with pytest.raises(plait.PlaitError):
        build(invalid.program).compile()
