"""LangGraph and what mirrors it on every saver: they do what LangGraph does on its own."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from tests.adapters.langgraph.savers.programs import FACADE, LANGGRAPH, PROGRAMS, Engine


@pytest.mark.parametrize("engine", [LANGGRAPH, FACADE], ids=repr)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_states_and_history_are_the_same(saver: Any, program: Any, engine: Engine) -> None:
    assert await program(engine, saver) == await program(LANGGRAPH, InMemorySaver())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.filterwarnings("ignore:Deserializing")
async def test_the_facade_takes_langgraphs_own_saver(program: Any) -> None:
    assert await program(FACADE, InMemorySaver()) == await program(LANGGRAPH, InMemorySaver())


async def test_langgraph_takes_it_for_a_saver(saver: Any) -> None:
    assert isinstance(saver, BaseCheckpointSaver)
