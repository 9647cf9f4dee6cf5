"""Profiles for the property tests, and the seed that repeats a run of them.

`PLAIT_PROFILE` names the profile: `ci` (the default: this folder takes a minute or so on one core)
or `thorough` (ten times that). A run prints its seed. It is always the same one, so that a change
is judged by its own doing; `--hypothesis-seed=...` gives another, and `make laws` draws one anew.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, core, settings

EVERY = settings(
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
settings.register_profile("ci", EVERY, max_examples=400)
settings.register_profile("thorough", EVERY, max_examples=4000)
PROFILE = os.environ.get("PLAIT_PROFILE", "ci")

if core.global_force_seed is None:
    core.global_force_seed = 2026  # type: ignore[assignment]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the first test, so that the seed is known even if a test never ends."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(
            f"properties: profile {PROFILE}, --hypothesis-seed={core.global_force_seed}"
        )
