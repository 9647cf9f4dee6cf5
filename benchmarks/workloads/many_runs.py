"""W7: many small runs at once in one process."""

from __future__ import annotations

import asyncio

from benchmarks.bodies import ADD_ONE_LATER, State
from benchmarks.contenders.base import Contender, Run

from .base import Case, expect


def cases(*, quick: bool = False, runs: int = 1_000, nodes: int = 10) -> list[Case]:
    """Chains side by side, each a run of its own; every node suspends once."""
    if quick:
        runs = min(runs, 50)
    check_one = expect("n", nodes)

    def build(contender: Contender) -> Run:
        chain = contender.chain(nodes, ADD_ONE_LATER, {"n": 0})

        async def one() -> State:
            return await chain()

        async def run() -> State:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(runs)]
            return {"all": [task.result() for task in tasks]}

        return run

    def check(state: State) -> None:
        expect("runs", runs)({"runs": len(state["all"])})
        for each in state["all"]:
            check_one(each)

    return [
        Case(
            "W7",
            f"runs-{runs}x{nodes}",
            f"{runs:,} runs of {nodes} nodes at once",
            runs,
            "run",
            build,
            check,
            memory=True,
        )
    ]
