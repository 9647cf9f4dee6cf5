"""Stores in PostgreSQL."""

from .aio import AsyncPostgresStore
from .base import PoolConfig, PostgresIndexConfig, PostgresStore

__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresIndexConfig", "PostgresStore"]
