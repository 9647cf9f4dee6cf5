"""A store in SQLite: not here, and every name says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
