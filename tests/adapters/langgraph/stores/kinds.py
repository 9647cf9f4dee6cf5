"""Stores of every kind, each on a place of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from plait_adapters.langgraph.store.memory import InMemoryStore

__all__ = ["KINDS", "store_of"]

KINDS = ["memory"]


@asynccontextmanager
async def store_of(kind: str, **options: Any) -> AsyncIterator[Any]:
    """A store of one kind, on an empty place."""
    yield InMemoryStore(**options)
