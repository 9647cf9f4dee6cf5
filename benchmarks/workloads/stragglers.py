"""W5: branches of several nodes, one of which is slow in each level.

The ideal makespan is that of the branch whose own nodes take longest. A scheduler of lock-step
rounds waits for the slow one of every round.
"""

from __future__ import annotations

import random

from benchmarks.bodies import write_item_after

from .base import Case
from .lines import cases as lines

SEED = 5


def cases(
    *,
    quick: bool = False,
    branches: int = 20,
    depth: int = 5,
    usual: float = 0.010,
    slow: float = 0.100,
) -> list[Case]:
    """The branches; ``usual`` and ``slow`` are seconds for each node."""
    if quick:
        depth = min(depth, 3)
    chance = random.Random(SEED)
    # A slow node falls upon another branch in each level, or the ideal would be all luck.
    unlucky = chance.sample(range(branches), depth)
    seconds = [
        [slow if unlucky[level] == b else usual for level in range(depth)] for b in range(branches)
    ]
    bodies = [
        [write_item_after(seconds[b][level], b * depth + level) for level in range(depth)]
        for b in range(branches)
    ]
    (check,) = (case.check for case in lines(branches=branches, depth=depth))
    return [
        Case(
            "W5",
            f"stragglers-{branches}x{depth}",
            f"{branches} branches of {depth}, one slow node in each level",
            1,
            "run",
            lambda contender: contender.lines(bodies),
            check,
            ideal=max(map(sum, seconds)),
        )
    ]
