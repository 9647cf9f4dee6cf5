"""The LangGraph facade: LangGraph's programs with nothing but their imports changed."""

from __future__ import annotations

from .base import Contender
from .langgraph import LangGraph


class Facade(LangGraph):
    """See the module."""

    name = "Plait's facade"
    kind = "plait"
    distribution = None
    import_name = "plait_adapters.langgraph.graph"
    root = "plait_adapters.langgraph"


def contenders() -> list[Contender]:
    """What this module brings into the run."""
    return [Facade()]
