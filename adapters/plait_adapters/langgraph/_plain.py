"""Values as plain data that can be compared and written as JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIMES = {"ts", "timestamp", "created_at"}


def plain(value: Any) -> Any:
    """The value as plain data; ids and times, which differ from run to run, are left out."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _ID.sub("(id)", value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(each) for key, each in value.items() if key not in _TIMES}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(each) for each in value), key=repr)
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {plain(str(value))}"
    if hasattr(value, "model_dump"):
        return {"class": type(value).__name__, **plain(value.model_dump())}
    if dataclasses.is_dataclass(value):
        facts = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {"class": type(value).__name__, **plain(facts)}
    if type(value).__name__ == "Interrupt":
        return {"class": "Interrupt", "value": plain(value.value)}
    return plain(repr(value))


def differences(one: Any, two: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Where two pieces of plain data differ: the place, and what each has there."""
    if isinstance(one, dict) and isinstance(two, dict):
        found = []
        for key in dict.fromkeys([*one, *two]):
            where = f"{place}.{key}" if place else str(key)
            if key not in one or key not in two:
                found.append((where, one.get(key, "(absent)"), two.get(key, "(absent)")))
            else:
                found += differences(one[key], two[key], where)
        return found
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [each for i, (a, b) in pairs for each in differences(a, b, f"{place}[{i}]")]
    return [] if one == two else [(place, one, two)]
