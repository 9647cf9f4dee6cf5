"""The suite that LangGraph publishes for savers, whole, on every saver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from tests.adapters.langgraph.savers.kinds import KINDS, saver_of


@pytest.mark.parametrize("kind", KINDS)
async def test_every_saver_passes_the_whole_published_suite(kind: str) -> None:
    @checkpointer_test(name=kind)
    async def registered() -> AsyncIterator[Any]:
        async with saver_of(kind) as saver:
            yield saver

    report = await validate(registered)

    failures = [failure for result in report.results.values() for failure in result.failures]
    assert not failures
    assert report.results.keys() == {str(capability.value) for capability in ALL_CAPABILITIES}
    assert all(result.passed for result in report.results.values())
