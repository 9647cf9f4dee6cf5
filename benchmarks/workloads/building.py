"""W10: what it costs to build and compile a graph, and whether a step pays for its size."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bodies import ADD_ONE, State
from benchmarks.contenders.base import CannotExpressError, Contender, Run

from .base import Case, expect

SIZES = (30, 3_000)
"""Of the graphs in which a turn is timed."""
TURNS = 100


def cases(
    *, quick: bool = False, nodes: int = 1_000, sizes: Sequence[int] = SIZES, turns: int = TURNS
) -> list[Case]:
    """Chains of two lengths, built and compiled, not run; loops in two graphs, only run."""
    if quick:
        return [_case(nodes // 10)]
    return [_case(nodes // 10), _case(nodes), *[_turn(size, turns) for size in sizes]]


def _turn(nodes: int, turns: int) -> Case:
    """Loops of the same length, so that what a run costs beside its turns is in both alike."""
    return Case(
        "W10",
        f"step-{nodes}",
        f"a turn in a graph of {nodes:,} nodes",
        turns,
        "turn",
        lambda contender: contender.loop(turns, others=nodes - 1),
        expect("n", turns),
        beside="turns",
    )


def _case(nodes: int) -> Case:
    def build(contender: Contender) -> Run:
        if contender.kind == "floor":
            raise CannotExpressError("has no graph to build")

        async def run() -> State:
            contender.chain(nodes, ADD_ONE, {"n": 0})
            return {}

        return run

    def check(state: State) -> None:
        """A graph that is not right shows itself in W1."""

    return Case(
        "W10",
        f"build-{nodes}",
        f"building a chain of {nodes:,}",
        nodes,
        "node",
        build,
        check,
        size=nodes,
        beside="building",
    )
