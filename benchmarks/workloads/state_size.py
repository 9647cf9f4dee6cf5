"""W4: a chain that carries a long list along. A step must not pay for what it does not touch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bodies import ADD_ONE, State

from .base import Case, WrongResultError

SIZES = (0, 10_000, 100_000)


def cases(*, quick: bool = False, nodes: int = 50, sizes: Sequence[int] = SIZES) -> list[Case]:
    """The chain, with lists of several lengths in the state."""
    if quick:
        sizes = [min(sizes), max(sizes)]
    return [_case(nodes, size) for size in sizes]


def _case(nodes: int, size: int) -> Case:
    data = list(range(size))

    def check(state: State) -> None:
        if state.get("n") != nodes or len(state.get("data", ())) != size:
            raise WrongResultError(f"n is {state.get('n')}, data has {len(state['data'])} elements")

    return Case(
        "W4",
        f"state-{size}",
        f"chain of {nodes}, {size:,} elements in the state",
        nodes,
        "node",
        lambda contender: contender.chain(nodes, ADD_ONE, {"n": 0, "data": data}),
        check,
        beside="elements",
    )
