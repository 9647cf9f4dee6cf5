"""Graphs of nodes that subscribe to channels; what every compiled graph is."""

from __future__ import annotations

from .main import NodeBuilder, Pregel

__all__ = ("NodeBuilder", "Pregel")
