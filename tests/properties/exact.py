"""Equality that nothing slips through: the same types all through, order and bits."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pydantic

from plait import Overwrite


def identical(first: Any, second: Any) -> bool:
    """Whether nobody could tell two values apart, identity aside."""
    if type(first) is not type(second):
        return False
    if isinstance(first, enum.Enum):
        return first is second
    return bool(_facts(first) == _facts(second)) and _all_identical(_parts(first), _parts(second))


def _all_identical(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(map(identical, first, second))


def _facts(value: Any) -> Any:
    """What is compared by ``==``: the bits of a float, the text of a Decimal, ..."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, complex):
        return struct.pack(">dd", value.real, value.imag)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (dt.datetime, dt.time)):
        return (value.replace(tzinfo=None), value.fold, str(value.tzinfo))
    if isinstance(value, collections.deque):
        return value.maxlen
    if isinstance(value, collections.defaultdict):
        return value.default_factory
    if isinstance(value, pydantic.BaseModel):
        return value.model_fields_set
    if _is_container(value):
        return None
    return value


def _parts(value: Any) -> list[Any]:
    """What is compared part by part, in order."""
    if isinstance(value, (dt.datetime, dt.time)):
        return [value.tzinfo]
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=_order)
    if isinstance(value, (list, tuple, collections.deque)):
        return list(value)
    if isinstance(value, pydantic.BaseModel):
        return [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__]
    if isinstance(value, Overwrite):
        return [value.value]
    if isinstance(value, BaseException):
        return [str(value), value.args, vars(value), value.__cause__, value.__context__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []


def _is_container(value: Any) -> bool:
    kinds = (Mapping, set, frozenset, list, tuple, BaseException, Overwrite)
    return isinstance(value, kinds) or dataclasses.is_dataclass(value)


def _order(value: Any) -> tuple[str, str]:
    """Some order of set elements that does not depend on hashes; NaN and -0.0 have one too."""
    if isinstance(value, (set, frozenset)):
        return (type(value).__name__, repr(sorted(map(_order, value))))
    if isinstance(value, tuple):
        return (type(value).__name__, repr(list(map(_order, value))))
    return (type(value).__name__, repr(value))
