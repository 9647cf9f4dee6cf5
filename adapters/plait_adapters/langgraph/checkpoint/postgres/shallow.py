"""Savers in PostgreSQL that keep the latest checkpoint only."""

from __future__ import annotations

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.postgres import ShallowPostgresSaver
from plait_adapters.langgraph.checkpoint.postgres.aio import AsyncShallowPostgresSaver

__all__ = ["AsyncShallowPostgresSaver", "ShallowPostgresSaver"]

__getattr__ = missing(__name__)
