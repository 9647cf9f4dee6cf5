"""What is not supported says so."""

from __future__ import annotations

SUPPORT_TABLE = "adapters/plait_adapters/langgraph/SUPPORT.md"
"""Where it is said what is supported; from the root of the project."""


def unsupported(what: str) -> NotImplementedError:
    """The error of something that LangGraph has and this package has not."""
    return NotImplementedError(
        f"{what} is not supported by plait_adapters.langgraph: see {SUPPORT_TABLE}"
    )
