"""What the benchmarks time, counted: how the work grows as n doubles."""

from __future__ import annotations

import asyncio
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable

import pytest
from packaging.requirements import Requirement

import plait
from benchmarks import bodies
from benchmarks.bodies import ADD_ONE, ADD_ONE_LATER, Writes, item, meeting, write_item
from benchmarks.contenders.plait_kernel import PlaitKernel
from plait import END, START, Graph
from tests.benchmarks.work import Work, growth, operations, peak

KERNEL = PlaitKernel(plait, "Plait")
LINEAR = pytest.approx(2.0, rel=0.05)

AT_ONCE = 100


def chain(nodes: int) -> Work:
    return KERNEL.chain(nodes, ADD_ONE, {"n": 0})


def fork(branches: int) -> Work:
    return KERNEL.fork(branches, item)


def lines(branches: int) -> Work:
    return KERNEL.lines([[write_item(0)] * 5] * branches)


def side_by_side(runs: int) -> Work:
    """So many runs of ten nodes at once."""
    one = KERNEL.chain(10, ADD_ONE_LATER, {"n": 0})

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(runs):
                group.create_task(run())

    async def run() -> None:
        await one()

    return work


def building(nodes: int) -> Work:
    async def work() -> None:
        chain(nodes)

    return work


async def suspends(i: int) -> Writes:
    await asyncio.sleep(0)
    return {"items": [i]}


PROGRAMS: dict[str, tuple[Callable[[int], Work], int]] = {
    "nodes of a chain": (chain, 50),
    "turns of a loop": (KERNEL.loop, 100),
    "branches of a fork": (fork, 100),
    "branches that all wait": (lambda n: KERNEL.fork(n, meeting(n)), 100),
    "branches of five nodes": (lines, 20),
    "branches under a limit": (lambda n: KERNEL.fork(n, suspends, limit=AT_ONCE), 200),
    "runs at once": (side_by_side, 25),
    "nodes of a graph that is built": (building, 100),
}
"""What is counted, and the smallest number of them."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_operations_are_linear_in(name: str) -> None:
    program, size = PROGRAMS[name]
    assert growth(operations, program, size) == LINEAR


@pytest.mark.parametrize("name", PROGRAMS)
def test_memory_is_at_most_linear_in(name: str) -> None:
    program, size = PROGRAMS[name]
    # Lists and dicts grow in leaps, so that the differences leap, too.
    assert growth(peak, program, 2 * size) < 2.6


def test_a_branch_costs_the_same_in_a_fork_of_100_as_in_one_of_3200() -> None:
    of_100, of_200, of_1600, of_3200 = map(operations, map(fork, (100, 200, 1_600, 3_200)))
    assert (of_3200 - of_1600) / 1_600 == pytest.approx((of_200 - of_100) / 100, rel=0.02)


def carrying(elements: int) -> Work:
    """A chain with a long list in the state, which no node touches."""
    return KERNEL.chain(50, ADD_ONE, {"n": 0, "data": list(range(elements))})


def test_a_step_does_not_pay_for_the_size_of_the_state() -> None:
    empty, full = carrying(0), carrying(100_000)
    assert operations(full) == operations(empty)
    # One copy of the list would be 800,000 bytes.
    assert peak(full) == pytest.approx(peak(empty), abs=8_000)


def among(others: int) -> Work:
    """A loop of 20 turns in a graph with so many other nodes."""
    graph = Graph(bodies.Work)
    graph.add_node("turn", ADD_ONE.on_mapping)
    graph.add_edge(START, "turn")
    names = [f"n{number}" for number in range(others)]
    graph.add_conditional_edges(
        "turn", lambda state: "turn" if state["n"] < 20 else END, ["turn", *names, END]
    )
    for name in names:
        graph.add_node(name, ADD_ONE.on_mapping)
        graph.add_edge(name, "turn")
    flow = graph.compile()
    return lambda: flow.run({"n": 0})


def test_a_step_in_a_graph_of_3000_nodes_costs_what_one_costs_in_a_graph_of_30() -> None:
    assert operations(among(3_000)) == operations(among(30))


async def test_no_more_tasks_live_than_branches_may_run() -> None:
    most = 0

    async def count(i: int) -> Writes:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return await suspends(i)

    before = len(asyncio.all_tasks())
    for branches in (2_000, 8_000):
        await KERNEL.fork(branches, count, limit=AT_ONCE)()
        assert AT_ONCE // 2 <= most - before <= AT_ONCE + 2


def test_a_branch_under_a_limit_takes_as_much_memory_among_8000_as_among_2000() -> None:
    of_2000, of_8000 = (peak(KERNEL.fork(n, suspends, limit=AT_ONCE)) / n for n in (2_000, 8_000))
    assert of_8000 < 1.1 * of_2000


def test_the_kernel_stands_on_few_packages() -> None:
    found: set[str] = set()
    waiting = ["plait"]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            needs = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [
                each.name
                for each in needs
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    assert len(found) <= 12, sorted(found)


def test_importing_plait_adds_few_modules_to_those_of_what_it_stands_on() -> None:
    code = "import sys, anyio, pydantic, structlog; import plait; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = [name for name in done.stdout.split() if name.partition(".")[0] == "plait"]
    assert len(added) <= 32, added
