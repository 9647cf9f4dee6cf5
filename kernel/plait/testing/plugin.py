"""Fixtures for pytest. In a ``conftest.py``::

    from plait.testing.plugin import clock, gate

or, in the one at the root of the tests, ``pytest_plugins = ["plait.testing.plugin"]``.

They are not registered by themselves: pytest would import plait before a measurement of coverage
has begun.
"""

from __future__ import annotations

import pytest

from .clock import VirtualClock
from .faults import Gate

__all__ = ["clock", "gate"]


@pytest.fixture
def clock() -> VirtualClock:
    """A clock on which waiting takes no time: ``clock.run(flow.run({...}))``."""
    return VirtualClock()


@pytest.fixture
def gate() -> Gate:
    """A gate that is closed."""
    return Gate()
