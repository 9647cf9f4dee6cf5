"""What the tests of stores share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.adapters.langgraph.stores.kinds import KINDS, store_of


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A store of every kind in turn."""
    async with store_of(request.param) as store:
        yield store
