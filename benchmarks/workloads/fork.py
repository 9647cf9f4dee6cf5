"""W2: branches side by side, whose results are reduced to a list in the order of the branches."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bodies import item, meeting

from .base import Case, expect

LIMIT = 100
"""How many branches may run at the same time, in the variant with a limit."""
SIZES = (10, 100, 1_000, 10_000)


def cases(*, quick: bool = False, sizes: Sequence[int] = SIZES) -> list[Case]:
    """Bodies that do not suspend, without and with a limit; and bodies that all wait at once."""
    if quick:
        sizes = [size for size in sizes if 10 < size <= 1_000]
    made = []
    for n in sizes:
        result = expect("items", list(range(n)))
        made.append(
            Case(
                "W2",
                f"fork-{n}",
                f"fork of {n:,}, bodies do not suspend",
                n,
                "branch",
                lambda contender, n=n: contender.fork(n, item),  # type: ignore[misc]
                result,
                memory=True,
                size=n,
            )
        )
    for n in sizes:
        if n < 1_000 < max(sizes) or (quick and n != max(sizes)):
            continue
        result = expect("items", list(range(n)))
        made += [
            Case(
                "W2",
                f"fork-limit-{n}",
                f"fork of {n:,}, at most {LIMIT} at a time",
                n,
                "branch",
                lambda contender, n=n: contender.fork(n, item, limit=LIMIT),  # type: ignore[misc]
                result,
            ),
            Case(
                "W2",
                f"fork-wait-{n}",
                f"fork of {n:,}, all wait at once",
                n,
                "branch",
                lambda contender, n=n: contender.fork(n, meeting(n)),  # type: ignore[misc]
                result,
            ),
        ]
    return made
