"""Instruments for testing graphs and reducers.

Three of them need the extra ``plait[testing]``, which brings Hypothesis: ``check_reducer``,
``laws_table`` and ``assert_schedule_independent``, with what belongs to them. The others need
nothing. Fixtures for pytest are in ``plait.testing.plugin``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .clock import StalledError, VirtualClock
from .faults import CrashAt, Crashed, FailAt, Gate, InjectedFault

if TYPE_CHECKING:
    from .laws import Law, LawReport, LawResult, LawViolation, check_reducer, laws_table
    from .schedules import ScheduleDependence, assert_schedule_independent, replay

__all__ = [
    "CrashAt",
    "Crashed",
    "FailAt",
    "Gate",
    "InjectedFault",
    "Law",
    "LawReport",
    "LawResult",
    "LawViolation",
    "ScheduleDependence",
    "StalledError",
    "VirtualClock",
    "assert_schedule_independent",
    "check_reducer",
    "laws_table",
    "replay",
]

_NEED_HYPOTHESIS = {
    **dict.fromkeys(
        ["Law", "LawReport", "LawResult", "LawViolation", "check_reducer", "laws_table"], "laws"
    ),
    **dict.fromkeys(["ScheduleDependence", "assert_schedule_independent", "replay"], "schedules"),
}


def __getattr__(name: str) -> object:
    """Import what needs Hypothesis only when it is asked for."""
    if name not in _NEED_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_NEED_HYPOTHESIS[name]}", __name__)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ImportError(
            f"{__name__}.{name} needs Hypothesis: install plait[testing]", name="hypothesis"
        ) from error
    return getattr(module, name)
