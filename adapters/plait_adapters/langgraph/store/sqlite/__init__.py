"""Stores in SQLite."""

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

from .aio import AsyncSqliteStore
from .base import SqliteIndexConfig, SqliteStore

__all__ = ["AsyncSqliteStore", "SqliteIndexConfig", "SqliteStore"]


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
