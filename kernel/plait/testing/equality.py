"""When two values count as the same, and copies to compare them with."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

__all__ = ["copied", "floats_in", "same"]

T = TypeVar("T")


def same(first: Any, second: Any, slack: float = 0.0) -> bool:
    """Whether two values are equal.

    ``nan`` equals ``nan``, and floats may differ by ``slack``. Looks into lists, tuples and dicts;
    all else is compared by ``==``. Values that cannot be compared (arrays, say) are the same only
    if they are one object.
    """
    if first is second:
        return True
    if isinstance(first, float) and isinstance(second, (int, float)):
        return (
            first == second
            or abs(first - second) <= slack
            or (math.isnan(first) and math.isnan(second))
        )
    if isinstance(second, float):
        return isinstance(first, int) and same(second, first, slack)
    if type(first) is type(second):
        if isinstance(first, (list, tuple)):
            return len(first) == len(second) and all(
                same(a, b, slack) for a, b in zip(first, second, strict=True)
            )
        if isinstance(first, dict):
            return first.keys() == second.keys() and all(
                same(value, second[key], slack) for key, value in first.items()
            )
    try:
        return bool(first == second)
    except Exception:  # arrays say that the truth of many comparisons is ambiguous
        return False


def floats_in(value: Any) -> Iterator[float]:
    """All finite floats in a value, through lists, tuples and dicts."""
    if isinstance(value, float):
        if math.isfinite(value):
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from floats_in(item)
    elif isinstance(value, Mapping):
        yield from floats_in(list(value.values()))


def copied(value: T) -> T:
    """A deep copy; what cannot be copied is shared."""
    try:
        return copy.deepcopy(value)
    except Exception:  # locks, sockets, generators, ...
        result: Any = value
        if type(result) is dict:
            result = {key: copied(item) for key, item in result.items()}
        elif type(result) is list:
            result = [copied(item) for item in result]
        return cast("T", result)
