"""What the channels with a reducer have in common."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable
from typing import Any, NotRequired, Required

from plait_adapters.langgraph._internal._constants import OVERWRITE
from plait_adapters.langgraph.errors import ErrorCode, InvalidUpdateError, create_error_message
from plait_adapters.langgraph.types import Overwrite

_CONCRETE: dict[Any, type[Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}


def concrete(typ: Any) -> Any:
    """A class that can be called for an empty value, from an annotation."""
    while hasattr(typ, "__origin__"):
        typ = typ.__args__[0] if typ.__origin__ in (Required, NotRequired) else typ.__origin__
    try:
        return _CONCRETE.get(typ, typ)
    except TypeError:  # not hashable
        return typ


def overwritten(value: Any) -> tuple[bool, Any]:
    """Whether a write is an ``Overwrite``, also in one of its forms in JSON; and with what."""
    kind = type(value)
    if kind is Overwrite:
        return True, value.value
    if isinstance(value, dict):
        if len(value) == 1 and OVERWRITE in value:
            return True, value[OVERWRITE]
        if value.get("type") == OVERWRITE and "value" in value:
            return True, value["value"]
    elif kind.__name__ == "Overwrite" and getattr(value, "type", None) == OVERWRITE:
        return True, value.value
    return False, None


def same_reducer(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two schemas mean the same reducer. Lambdas are given the benefit of the doubt."""
    return one is other or "<lambda>" in (
        getattr(one, "__name__", ""),
        getattr(other, "__name__", ""),
    )


def second_overwrite() -> InvalidUpdateError:
    """The error of a step that overwrites one channel twice."""
    return InvalidUpdateError(
        create_error_message(
            message="Can receive only one Overwrite value per super-step.",
            error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
        )
    )
