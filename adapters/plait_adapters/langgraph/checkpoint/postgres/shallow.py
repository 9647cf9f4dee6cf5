"""Savers in PostgreSQL that keep the latest checkpoint only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.postgres import ShallowPostgresSaver
from plait_adapters.langgraph.checkpoint.postgres.aio import AsyncShallowPostgresSaver

__all__ = ["AsyncShallowPostgresSaver", "ShallowPostgresSaver"]

if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
