"""Whether the facade does with a program what LangGraph does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from tests.adapters.langgraph.differential.build import FACADE, LANGGRAPH
from tests.adapters.langgraph.differential.programs import Program
from tests.adapters.langgraph.differential.session import OPEN, carry_out

AGAIN = 8
"""How often one is asked again. With threads in play, a program of plain functions may have several
outcomes; and of several tasks that fail in one step LangGraph takes any, out of a set."""

reference = functools.partial(carry_out, LANGGRAPH)
facade = functools.partial(carry_out, FACADE)


def check(program: Program, record: Callable[[str, Program], list[Any]] = carry_out) -> None:
    """Run a program on both.

    Args:
        program: what to run.
        record: carries it out with the library of a root.

    Raises:
        AssertionError: the records differ, and LangGraph did not give the facade's when asked again
            (nor, if the program is of plain functions, the facade LangGraph's); names the first
            entry that differs.
    """
    here, there = [record(FACADE, program)], [record(LANGGRAPH, program)]
    while not _agree(here[-1], there) and not _agree(there[-1], here):
        if len(there) > AGAIN:
            place, mine, its = first_difference(here[0], there[0])
            raise AssertionError(
                f"entry {place} of the record differs\n  here:  {mine!r}\n  there: {its!r}\n"
                f"{program!r}"
            )
        if program.sync:
            here.append(record(FACADE, program))
        there.append(record(LANGGRAPH, program))


def _agree(record: list[Any], others: list[list[Any]]) -> bool:
    """Whether a record is one of the others, as far as either engine is bound."""
    for other in others:
        bound = min(each.index(OPEN) if OPEN in each else len(each) for each in (record, other))
        if OPEN in (*record, *other) and record[:bound] == other[:bound]:
            return True
        if record == other:
            return True
    return False


def first_difference(here: Any, there: Any, place: str = "") -> tuple[str, Any, Any]:
    """Where two records part, and what each has there."""
    pairs: list[tuple[str, Any, Any]]
    if isinstance(here, list) and isinstance(there, list):
        absent = "(nothing)"
        both = enumerate(zip_longest(here, there, fillvalue=absent))
        pairs = [(f"[{i}]", mine, its) for i, (mine, its) in both]
    elif isinstance(here, dict) and isinstance(there, dict) and here.keys() == there.keys():
        pairs = [(f"[{key!r}]", here[key], there[key]) for key in here]
    else:
        return place, here, there
    for step, mine, its in pairs:
        if mine != its:
            return first_difference(mine, its, place + step)
    return place, here, there
