"""Stores in PostgreSQL."""

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

from .aio import AsyncPostgresStore
from .base import PoolConfig, PostgresIndexConfig, PostgresStore

__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresIndexConfig", "PostgresStore"]


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
