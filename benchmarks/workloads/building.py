"""W10: what it costs to build and compile a graph."""

from __future__ import annotations

from benchmarks.bodies import ADD_ONE, State
from benchmarks.contenders.base import CannotExpressError, Contender, Run

from .base import Case


def cases(*, quick: bool = False, nodes: int = 1_000) -> list[Case]:
    """Chains of two lengths, built and compiled, not run."""
    return [_case(nodes // 10)] if quick else [_case(nodes // 10), _case(nodes)]


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
