"""The contenders: a module for each. ``find`` gives those that this environment can run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from .base import Contender

_MODULES = (
    "plait_kernel",
    "bare_asyncio",
    "bare_bsp",
    "bare_anyio",
    "langgraph",
    "langgraph_facade",
    "pydantic_graph",
    "burr",
    "llamaindex",
    "agent_framework",
)


def find_one(name: str) -> Contender:
    """The contender of that name; what comes after it is not imported. Raises ``LookupError``."""
    for module in _MODULES:
        made: list[Contender] = importlib.import_module(f".{module}", __name__).contenders()
        for each in made:
            if each.name == name:
                return each
    raise LookupError(f"there is no contender {name!r}")


def find(names: Sequence[str] | None = None) -> tuple[list[Contender], dict[str, str]]:
    """The contenders of the given names (by default all), and why the others are not there."""
    found: list[Contender] = []
    missing: dict[str, str] = {}
    for module in _MODULES:
        try:
            made = importlib.import_module(f".{module}", __name__).contenders()
        except ModuleNotFoundError as error:
            missing[module] = f"{error.name} is not installed here: `make bench` installs it"
            continue
        found += made
    if names:
        wanted = [name.lower() for name in names]
        found = [each for each in found if any(want in each.name.lower() for want in wanted)]
    return found, missing
