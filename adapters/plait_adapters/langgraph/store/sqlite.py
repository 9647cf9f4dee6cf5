"""A store in SQLite: not here, and every name says why."""

from __future__ import annotations

from plait_adapters.langgraph._support import missing

__getattr__ = missing(__name__)
