"""Wide forks: 100,000 branches go through, in bounded memory, and the work grows with their number.

Work is counted in calls of functions, Python's and C's, so that no test looks at a clock.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest

from plait import END, START, Flow, Graph, Join, Send
from plait.testing import VirtualClock
from tests.kernel.build import Work, build, does

ROOT = Path(__file__).parents[2]

AT_ONCE = 100
"""How many nodes run at the same time."""

WIDEST = """
import resource, sys
from plait.testing import VirtualClock
from tests.faults.test_scale import fork, WIDTH

result = VirtualClock().run(fork(WIDTH).run({}))
outcome = result.outcomes["gather"].latest
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(result.state["sum"], len(outcome.arrived), peak * (1024 if sys.platform == "linux" else 1))
"""
"""Prints the sum, the arrivals, and the peak of the memory in bytes."""

WIDTH = 100_000


async def add(_state: Any) -> Any:
    await anyio.sleep(1)
    return {"sum": 1}


def fork(width: int, join: Join | None = Join(), **options: Any) -> Flow[Any]:  # noqa: B008 - it is frozen
    """A fork of so many branches, which meet again unless ``join`` is ``None``."""
    graph = build("gather merge END", gather=join, merge=does()) if join else Graph(Work)
    graph.add_node("work", add, **options).add_edge("work", "gather" if join else END)
    sends = [Send("work", id=str(number)) for number in range(width)]
    graph.add_conditional_edges(START, lambda _: sends, ["work"])
    return graph.compile(max_concurrency=AT_ONCE, pools={"pool": 10})


def nested(width: int) -> Flow[Any]:
    """A fork of forks: ten times a tenth of the branches."""
    graph = Graph(Work).add_node("plan", add).add_node("work", add)
    graph.add_sync_point("inner").add_sync_point("outer")
    graph.add_edge("work", "inner").add_edge("inner", "outer").add_edge("outer", END)
    graph.add_conditional_edges(START, lambda _: [Send("plan")] * 10, ["plan"])
    graph.add_conditional_edges("plan", lambda _: [Send("work")] * (width // 10), ["work"])
    return graph.compile(max_concurrency=AT_ONCE)


def chain(width: int) -> Flow[Any]:
    """One branch that goes round a loop so many times."""
    graph = Graph(Work).add_node("add", add).add_edge(START, "add")

    def again(state: Any) -> str:
        return END if state["sum"] >= width else "add"

    return graph.add_conditional_edges("add", again, ["add", END]).compile()


def rounds(width: int) -> Flow[Any]:
    """A fork of two that is passed so many times."""
    ways = ("START plan a gather", "plan b gather")
    graph = build(*ways, gather=Join(), plan=add, a=does(1), b=does(1))

    def again(state: Any) -> str:
        return END if state["sum"] >= width else "plan"

    return graph.add_conditional_edges("gather", again, ["plan", END]).compile()


def in_a_row(width: int) -> Flow[Any]:
    """Branches of which each waits for the one before it."""
    graph = build("gather END", gather=Join())
    graph.add_node("work", add).add_edge("work", "gather")
    sends = [Send("work", id="0")]
    sends += [Send("work", id=str(each), after=str(each - 1)) for each in range(1, width)]
    return graph.add_conditional_edges(START, lambda _: sends, ["work"]).compile()


SHAPES: dict[str, Callable[[int], Flow[Any]]] = {
    "complete": fork,
    "without a sync point": lambda width: fork(width, None),
    "a deadline": lambda width: fork(width, Join(timeout=1e6)),
    "a deadline that passes": lambda width: fork(width, Join(timeout=1.5)),
    "a quorum of a half": lambda width: fork(width, Join(quorum=0.5)),
    "a quorum with a grace time": lambda width: fork(width, Join(quorum=0.5, grace=1)),
    "stragglers that run on": lambda width: fork(width, Join(quorum=0.5, stragglers="detach")),
    "a pool": lambda width: fork(width, pool="pool"),
    "nested": nested,
    "chain": chain,
    "rounds": lambda width: rounds(width // 4),
}


def calls(flow: Flow[Any]) -> int:
    """How many functions are called in a run."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    clock, before = VirtualClock(), sys.getprofile()
    sys.setprofile(note)
    try:
        clock.run(flow.run({}))
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_work_of_a_run_grows_with_its_branches_and_not_faster(
    shape: Callable[[int], Flow[Any]],
) -> None:
    small, middle, large = (calls(shape(width)) for width in (200, 400, 800))
    # What a run costs whatever its width drops out of the differences.
    assert (large - middle) / (middle - small) == pytest.approx(2, rel=0.1)


def test_branches_in_a_row_cost_no_more_than_the_square_of_their_number() -> None:
    small, middle, large = (calls(in_a_row(width)) for width in (25, 50, 100))
    assert (large - middle) / (middle - small) < 4.4


@pytest.mark.slow
def test_a_fork_of_a_hundred_thousand_branches_goes_through_in_less_than_a_gigabyte() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WIDEST],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'kernel'}:{ROOT}", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    total, arrived, peak = map(int, done.stdout.split())
    assert (total, arrived) == (WIDTH, WIDTH)
    assert peak < 2**30
