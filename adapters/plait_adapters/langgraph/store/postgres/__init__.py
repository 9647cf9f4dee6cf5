"""Stores in PostgreSQL."""

from plait_adapters.langgraph._support import missing

from .aio import AsyncPostgresStore
from .base import PoolConfig, PostgresIndexConfig, PostgresStore

__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresIndexConfig", "PostgresStore"]


__getattr__ = missing(__name__)
