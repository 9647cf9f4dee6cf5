"""How what is in a checkpoint becomes bytes: see :mod:`.jsonplus`, :mod:`.encrypted`."""

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
