"""W3: parallel branches of several nodes each."""

from __future__ import annotations

from benchmarks.bodies import write_item

from .base import Case, expect


def cases(*, quick: bool = False, branches: int = 50, depth: int = 5) -> list[Case]:
    """Branches side by side; every node of every branch writes its number."""
    bodies = [[write_item(b * depth + level) for level in range(depth)] for b in range(branches)]

    def check_in_any_order(state: object) -> None:
        expect("items", list(range(branches * depth)))(
            {"items": sorted(state["items"])}  # type: ignore[index]
        )

    return [
        Case(
            "W3",
            f"lines-{branches}x{depth}",
            f"{branches} branches of {depth} nodes",
            branches * depth,
            "node",
            lambda contender: contender.lines(bodies),
            check_in_any_order,
        )
    ]
