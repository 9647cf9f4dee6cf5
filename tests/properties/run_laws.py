"""All laws under a hundred thousand schedules or more, on all cores: `make laws`.

    python -m tests.properties.run_laws [--schedules N] [--seed S] [--jobs J]

First random programs, each held to every law under a handful of schedules; then one program, which
must end the same under all of as many schedules again. Prints how much was done; exits with 1 and
the smallest example that Hypothesis could find if a law is broken. The seed repeats a run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, fields

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.properties.drive import drive, prepare, traced
from tests.properties.laws import Tally, check_program, end_of
from tests.properties.programs import (
    CALM,
    CHANNELS,
    END,
    START,
    Edge,
    Features,
    Node,
    Program,
    Router,
    Sent,
    SyncPoint,
    Visit,
    Write,
    programs,
)

PROGRAMS_AT_ONCE = 100
SCHEDULES_AT_ONCE = 5_000
ROUNDS = 1
"""Five schedules or so each; more programs find more than more schedules of the same."""

_WORKERS = ("a", "b", "c")
ONE_PROGRAM = Program(
    CHANNELS,
    (
        Node("plan", (Visit((Write("one", 1),)), Visit((Write("list", 7, reads="list"),)))),
        Node("work", tuple(Visit((Write("list", n, reads="list"),)) for n in range(3))),
        Node("left", (Visit((Write("items", 1, reads="list"), Write("set", 1, reads="items"))),)),
        Node("right", (Visit((Write("items", 2, reads="sum"), Write("sum", 3))),)),
        Node("join", (Visit((Write("sum", 1, reads="items"),)),)),
        Node("aside", (Visit((Write("list", 9),)),)),
        Node("turn", (Visit((Write("top", 2, reads="list"),)),)),
    ),
    (
        Edge(START, "plan"),
        Router(
            "plan",
            (tuple(Sent("work", n, ("b",) if n == "a" else ()) for n in _WORKERS),),
            ("work",),
        ),
        Edge("work", "left"),
        Edge("work", "right"),
        Edge("work", "aside"),
        Edge("aside", END),
        Edge("left", "pair"),
        Edge("right", "pair"),
        Edge("pair", "join"),
        Edge("join", "all"),
        Edge("all", "turn"),
        Router("turn", (("plan",), (END,)), ("plan", END)),
    ),
    (SyncPoint("pair"), SyncPoint("all", fork="plan")),
)
"""Two rounds of three branches that depend on each other, fork, leave something behind and meet."""


@dataclass
class Share(Tally):
    """What one task did.

    shrinks: how many smaller examples were found for a broken law; attempts: and how many tried.
    """

    calm: int = 0
    shrinks: int = 0
    attempts: int = 0
    failure: str = ""
    states: int = 0

    def add(self, other: Share) -> None:
        for each in fields(Share):
            value = getattr(self, each.name) or getattr(other, each.name)
            if each.name == "states":
                value = max(self.states, other.states)
            elif each.name != "failure":
                value = getattr(self, each.name) + getattr(other, each.name)
            setattr(self, each.name, value)


def random_programs(number: int, count: int, calm: bool) -> Share:
    """Hold so many programs to all laws; everything follows from `number`."""
    share = Share()
    failed = 0

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
    )
    @given(programs(CALM if calm else Features()), st.integers(0, 2**32))
    def every_law(program: Program, schedules: int) -> None:
        nonlocal failed
        share.attempts += failed > 0
        try:
            check_program(program, random.Random(schedules), share, calm=calm, rounds=ROUNDS)
        except Exception:
            failed += 1
            raise

    try:
        every_law()
    except Exception as error:  # whatever it is, it is the result of this task
        share.failure = f"{_told(error)}\n(task {number}, calm={calm})"
        share.shrinks = max(failed - 1, 0)
    share.calm = share.programs if calm else 0
    return share


def _told(error: BaseException) -> str:
    """An error and its notes, where Hypothesis put the example; of several, all of them."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(map(_told, error.exceptions))
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def one_program(number: int, count: int) -> Share:
    """Run one program under so many schedules."""
    share = Share()
    case = prepare(traced(ONE_PROGRAM))
    rng = random.Random(number)
    expected = end_of(drive(case))
    for _ in range(count):
        found = end_of(share.count(drive(case, rng)))
        if found != expected:
            share.failure = f"one schedule ends as\n{expected}\nanother as\n{found}"
            share.states = 2
            return share
    share.states = 1
    return share


def tasks(pool: ProcessPoolExecutor, first: int) -> Iterator[Future[Share]]:
    """Random programs without end, calm ones and others by turns."""
    for number in range(first, sys.maxsize):
        yield pool.submit(random_programs, number, PROGRAMS_AT_ONCE, number % 2 == 0)


def gather(source: Iterator[Future[Share]], jobs: int, schedules: int) -> Share:
    """Take tasks until they have done so many schedules, or one has failed."""
    total = Share()
    running: set[Future[Share]] = set()
    more = True
    while more or running:
        while more and len(running) < 2 * jobs:
            task = next(source, None)
            more = task is not None
            if task is not None:
                running.add(task)
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for task in done:
            total.add(task.result())
        if total.failure or total.schedules >= schedules:
            more = False
            running = {task for task in running if not task.cancel()}
    return total


def main() -> int:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given_ = parser.parse_args()
    first = given_.seed * 1_000_000
    print(f"seed {given_.seed}, {given_.jobs} processes", flush=True)
    with ProcessPoolExecutor(given_.jobs) as pool:
        began = time.monotonic()
        many = gather(tasks(pool, first), given_.jobs, given_.schedules)
        took = time.monotonic() - began
        print(
            f"random programs: {many.programs:,} programs ({many.calm:,} calm), "
            f"{many.schedules:,} schedules, {many.events:,} events, {took:.0f} s "
            f"({many.schedules / took:,.0f} schedules a second)\n"
            f"  in pairs with the same arrivals: {many.compared:,}; "
            f"shrinks: {many.shrinks:,} of {many.attempts:,} tried",
            flush=True,
        )
        began = time.monotonic()
        whole, rest = divmod(given_.schedules, SCHEDULES_AT_ONCE)
        parts = [SCHEDULES_AT_ONCE] * whole + [rest] * (rest > 0)
        same = gather(
            (pool.submit(one_program, first + n, count) for n, count in enumerate(parts)),
            given_.jobs,
            given_.schedules,
        )
        took = time.monotonic() - began
        print(
            f"one program: {same.schedules:,} schedules, {same.events:,} events, {took:.0f} s "
            f"({same.schedules / took:,.0f} a second), "
            + ("one final state" if same.states == 1 else "several final states"),
            flush=True,
        )
    for failure in filter(None, (many.failure, same.failure)):
        print(f"\nA law is broken:\n{failure}", file=sys.stderr)
    return 1 if many.failure or same.failure else 0


if __name__ == "__main__":
    sys.exit(main())
