"""What to say of a name of LangGraph that is not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TABLE = "adapters/plait_adapters/langgraph/SUPPORT.md"
"""Where every public name of LangGraph stands, with what became of it here."""

REASONS: dict[str, str] = {}
"""Why a name is not here, by ``module.name`` below the root; or by ``module``, if none is."""


def absent(module: str, name: str) -> AttributeError:
    """The error for a name that a module lacks; ``from ... import`` makes it an ImportError."""
    below = module.partition("plait_adapters.langgraph.")[2]
    reason = REASONS.get(f"{below}.{name}") or REASONS.get(below)
    because = f": {reason}" if reason else ""
    return AttributeError(
        f"module {module!r} has no attribute {name!r}{because}. What of LangGraph is here, and "
        f"what is not, is listed in {TABLE}",
        name=name,
    )


def missing(module: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module all of whose names are there already."""

    def look(name: str) -> Any:
        raise absent(module, name)

    return look
