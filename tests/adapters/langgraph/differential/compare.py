"""Whether the facade does with a program what LangGraph does."""

from __future__ import annotations

import functools
from typing import Any

from tests.adapters.langgraph.differential.build import FACADE, LANGGRAPH
from tests.adapters.langgraph.differential.programs import Program
from tests.adapters.langgraph.differential.session import carry_out

AGAIN = 4
"""How often LangGraph is asked again: it need not give one answer where threads are in play."""

reference = functools.partial(carry_out, LANGGRAPH)
facade = functools.partial(carry_out, FACADE)


def check(program: Program) -> None:
    """Run a program on both.

    Raises:
        AssertionError: the records differ, and LangGraph gave no other one when asked again; names
            the first call that differs.
    """
    here, there = facade(program), reference(program)
    if here == there:
        return
    # Where LangGraph itself gives several answers, one of them is right.
    if any(reference(program) == here for _ in range(AGAIN)):
        return
    place, mine, its = first_difference(here, there)
    raise AssertionError(
        f"entry {place} of the record differs\n  here:  {mine!r}\n  there: {its!r}\n{program!r}"
    )


def first_difference(here: Any, there: Any, place: str = "") -> tuple[str, Any, Any]:
    """Where two records part, and what each has there."""
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = [(f"[{i}]", *pair) for i, pair in enumerate(zip(here, there, strict=True))]
    elif isinstance(here, dict) and isinstance(there, dict) and here.keys() == there.keys():
        pairs = [(f"[{key!r}]", here[key], there[key]) for key in here]
    else:
        return place, here, there
    for step, mine, its in pairs:
        if mine != its:
            return first_difference(mine, its, place + step)
    return place, here, there
