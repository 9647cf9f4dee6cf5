"""Nodes and agents made of langchain-core's models and tools (the extra `plait[langgraph]`).

A name is imported from its module when it is first asked for, and langchain-core with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._support import absent

if TYPE_CHECKING:
    from plait_adapters.langgraph.prebuilt._tool_calls import ToolCallTransformer
    from plait_adapters.langgraph.prebuilt.chat_agent_executor import create_react_agent
    from plait_adapters.langgraph.prebuilt.tool_node import (
        InjectedState,
        InjectedStore,
        ToolNode,
        ToolRuntime,
        tools_condition,
    )
    from plait_adapters.langgraph.prebuilt.tool_validator import ValidationNode

__all__ = [
    "InjectedState",
    "InjectedStore",
    "ToolCallTransformer",
    "ToolNode",
    "ToolRuntime",
    "ValidationNode",
    "create_react_agent",
    "tools_condition",
]

_HOME = dict.fromkeys(__all__, "tool_node") | {
    "ToolCallTransformer": "_tool_calls",
    "ValidationNode": "tool_validator",
    "create_react_agent": "chat_agent_executor",
}


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home is None:
            raise absent(__name__, name)
        try:
            found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "langchain_core":
                raise
            raise ImportError(
                f"{__name__}.{name} needs langchain-core: pip install 'plait[langgraph]'"
            ) from error
        globals()[name] = found
        return found
