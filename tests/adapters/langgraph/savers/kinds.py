"""Savers of every kind, each on a place of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver

__all__ = ["KINDS", "saver_of"]

KINDS = ["memory"]


@asynccontextmanager
async def saver_of(kind: str, **options: Any) -> AsyncIterator[Any]:
    """A saver of one kind, on an empty place."""
    yield InMemorySaver(**options)
