"""What agents can do, by name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["AgentCapability", "CapabilityName"]


class AgentCapability(StrEnum):
    """The capabilities that Plait itself has a meaning for.

    Each is its name, so a user adds another by using it: ``{"translation"}``, or a ``StrEnum`` of
    their own. What no template offers is refused by name when an agent is asked for.
    """

    RESEARCH = "research"
    """Finds what is said about a question, and quotes it."""
    ANALYSIS = "analysis"
    """Computes on numbers, with intervals."""
    SYNTHESIS = "synthesis"
    """Makes one text of many findings, and cites them."""
    VALIDATION = "validation"
    """Checks results against what they rest on."""
    MONITORING = "monitoring"
    """Watches others at work, and reports figures."""
    COORDINATION = "coordination"
    """Sees to it that every task is accounted for, and allots again what failed."""


CapabilityName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=60),
    AfterValidator(str),
]
"""A capability in a record: its plain name, in lower case."""
