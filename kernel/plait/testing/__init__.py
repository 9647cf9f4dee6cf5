"""Instruments for testing graphs and reducers.

Three of them need the extra ``plait[testing]``, which brings Hypothesis: ``check_reducer``,
``laws_table`` and ``assert_schedule_independent``, with what belongs to them. The suites that
every store passes need pytest: ``StoreSuite`` and, for the rows under a durable store,
``BackendSuite``. The others need nothing. Fixtures for pytest are in ``plait.testing.plugin``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .clock import StalledError, VirtualClock
from .faults import CrashAt, Crashed, FailAt, Gate, InjectedFault

if TYPE_CHECKING:
    from .conformance import BackendSuite
    from .laws import Law, LawReport, LawResult, LawViolation, check_reducer, laws_table
    from .schedules import ScheduleDependence, assert_schedule_independent, replay
    from .store_suite import StoreSuite

__all__ = [
    "BackendSuite",
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
    "StoreSuite",
    "VirtualClock",
    "assert_schedule_independent",
    "check_reducer",
    "laws_table",
    "replay",
]

_ELSEWHERE = {
    **dict.fromkeys(
        ["Law", "LawReport", "LawResult", "LawViolation", "check_reducer", "laws_table"], "laws"
    ),
    **dict.fromkeys(["ScheduleDependence", "assert_schedule_independent", "replay"], "schedules"),
    "BackendSuite": "conformance",
    "StoreSuite": "store_suite",
}
_NEEDED = {"hypothesis": "Hypothesis: install plait[testing]", "pytest": "pytest"}


def __getattr__(name: str) -> object:
    """Import what needs Hypothesis or pytest only when it is asked for."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_ELSEWHERE[name]}", __name__)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        raise ImportError(
            f"{__name__}.{name} needs {_NEEDED[error.name]}", name=error.name
        ) from error
    return getattr(module, name)
