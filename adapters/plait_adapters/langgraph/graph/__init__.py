"""Graphs over a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._support import absent
from plait_adapters.langgraph.constants import END, START

from .state import StateGraph

if TYPE_CHECKING:
    from .message import MessageGraph, MessagesState, add_messages

__all__ = ("END", "START", "MessageGraph", "MessagesState", "StateGraph", "add_messages")

_OF_MESSAGES = ("MessageGraph", "MessagesState", "add_messages")


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        # What is about messages is loaded by programs that have some.
        if name in _OF_MESSAGES:
            from . import message

            return getattr(message, name)
        raise absent(__name__, name)
