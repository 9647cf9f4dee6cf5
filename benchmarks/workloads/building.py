"""W10: what it costs to build and compile a graph, and whether a step pays for its size."""

from __future__ import annotations

from benchmarks.bodies import ADD_ONE, State
from benchmarks.contenders.base import CannotExpressError, Contender, Run

from .base import Case, expect


def cases(*, quick: bool = False, nodes: int = 1_000) -> list[Case]:
    """Chains of two lengths, built and compiled, not run; and of two others, only run."""
    if quick:
        return [_case(nodes // 10)]
    return [_case(nodes // 10), _case(nodes), *map(_long, (nodes * 3 // 10, nodes * 3))]


def _long(nodes: int) -> Case:
    """A chain long enough for what a run costs beside its steps not to count."""
    return Case(
        "W10",
        f"step-{nodes}",
        f"a step in a graph of {nodes:,} nodes",
        nodes,
        "node",
        lambda contender: contender.chain(nodes, ADD_ONE, {"n": 0}),
        expect("n", nodes),
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
    )
