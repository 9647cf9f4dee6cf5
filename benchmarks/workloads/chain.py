"""W1: nodes one after the other. What a step costs when there is nothing to schedule."""

from __future__ import annotations

from benchmarks.bodies import ADD_ONE, State, Tally, no_op
from benchmarks.contenders.base import Contender, Run

from .base import Case, WrongResultError, expect


def _no_ops(nodes: int) -> Case:
    tally = Tally()

    def build(contender: Contender) -> Run:
        run = contender.chain(nodes, no_op(tally), {"n": 0})

        async def counted() -> State:
            tally.calls = 0
            return await run()

        return counted

    def check(state: State) -> None:
        if tally.calls != nodes:
            raise WrongResultError(f"{tally.calls} nodes ran, not {nodes}")

    return Case(
        "W1", f"chain-noop-{nodes}", f"chain of {nodes}, no-op", nodes, "node", build, check
    )


def cases(*, quick: bool = False, nodes: int = 100, turns: int = 1_000) -> list[Case]:
    """A chain of no-op nodes, one whose nodes write, and a loop."""
    if quick:
        turns = min(turns, 300)
    return [
        _no_ops(nodes),
        Case(
            "W1",
            f"chain-{nodes}",
            f"chain of {nodes}, each adds one",
            nodes,
            "node",
            lambda contender: contender.chain(nodes, ADD_ONE, {"n": 0}),
            expect("n", nodes),
        ),
        Case(
            "W1",
            f"loop-{turns}",
            f"loop of {turns:,} turns",
            turns,
            "turn",
            lambda contender: contender.loop(turns),
            expect("n", turns),
        ),
    ]
