"""What is streamed within; LangGraph's protocols of graphs are not here, and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from plait_adapters.langgraph._support import missing

StreamChunk: TypeAlias = tuple[tuple[str, ...], str, Any]
"""A namespace, a mode and data."""

if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
