"""W9: how time and memory grow with a run's journal. (How they grow with a fork, W2 shows.)"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .base import Case, expect

SIZES = (10, 100, 1_000, 10_000)


def cases(*, quick: bool = False, sizes: Sequence[int] = SIZES) -> list[Case]:
    """Loops whose every turn can be looked up afterwards."""
    if quick:
        sizes = [size for size in sizes if 10 < size <= 1_000]
    return [
        Case(
            "W9",
            f"journal-{n}",
            f"loop of {n:,} turns, history kept",
            n,
            "turn",
            lambda contender, n=n: contender.loop(n, history=True),  # type: ignore[misc]
            expect("n", n),
            memory=True,
            size=n,
        )
        for n in sizes
    ]


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The k for which ``values`` grow as ``sizes ** k``: least squares on the logarithms."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - x_mean) ** 2 for x in xs
    )
