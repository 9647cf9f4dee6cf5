"""The real LangGraph on every saver: it does what it does on its own."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from tests.adapters.langgraph.savers.programs import PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_langgraph_gives_the_same_states_and_history(saver: Any, program: Any) -> None:
    assert await program(saver) == await program(InMemorySaver())


async def test_langgraph_takes_it_for_a_saver(saver: Any) -> None:
    assert isinstance(saver, BaseCheckpointSaver)
