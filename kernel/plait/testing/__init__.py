"""Instruments for testing graphs and reducers; needs the extra ``plait[testing]``."""

from .clock import StalledError, VirtualClock

__all__ = ["StalledError", "VirtualClock"]
