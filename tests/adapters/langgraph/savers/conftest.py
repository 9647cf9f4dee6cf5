"""What the tests of savers share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.adapters.langgraph.savers.kinds import KINDS, saver_of


@pytest.fixture(params=KINDS)
async def saver(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A saver of every kind in turn."""
    async with saver_of(request.param) as saver:
        yield saver
