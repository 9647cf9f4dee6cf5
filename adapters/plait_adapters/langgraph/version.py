"""The version of LangGraph whose public face this package has."""

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing

__all__ = ("__version__",)

__version__ = "1.2.22"


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
