"""Graphs of nodes that subscribe to channels; what every compiled graph is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

from .main import NodeBuilder, Pregel

__all__ = ("NodeBuilder", "Pregel")


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
