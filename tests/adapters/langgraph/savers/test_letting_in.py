"""LangGraph's own savers, strict about types, under graphs of this package."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from plait_adapters.langgraph.checkpoint._letting_in import letting_in
from plait_adapters.langgraph.func import entrypoint
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Command, Send, interrupt

THREAD: Any = {"configurable": {"thread_id": "1"}}


@dataclass
class Answer:
    text: str


class State(TypedDict, total=False):
    answers: Annotated[list[Answer], operator.add]


def strict(*, encrypted: bool) -> InMemorySaver:
    serde: Any = JsonPlusSerializer(allowed_msgpack_modules=None)
    if encrypted:
        serde = EncryptedSerializer.from_pycryptodome_aes(serde, key=b"0123456789abcdef")
    return InMemorySaver(serde=serde)


def ask(state: Any) -> State:
    return {"answers": [Answer(interrupt(state["question"]))]}


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_strict_saver_lets_in_what_a_graph_stores(
    encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if encrypted:
        pytest.importorskip("Crypto", reason="LangGraph encrypts by pycryptodome")
    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_conditional_edges(START, lambda _: [Send("ask", {"question": q}) for q in "ab"])
    saver = strict(encrypted=encrypted)
    compiled = graph.compile(checkpointer=saver)

    asked = compiled.invoke({}, THREAD)["__interrupt__"]
    done = compiled.invoke(Command(resume={each.id: each.value * 2 for each in asked}), THREAD)

    assert done == {"answers": [Answer("aa"), Answer("bb")]}
    assert compiled.get_state(THREAD).values == done
    assert "Blocked" not in caplog.text
    assert saver.get_tuple(THREAD) is not None


def test_a_strict_saver_lets_in_what_a_function_gives(caplog: pytest.LogCaptureFixture) -> None:
    @entrypoint(checkpointer=strict(encrypted=False))
    def again(text: str, *, previous: Answer | None) -> Answer:
        return Answer((previous.text if previous else "") + text)

    again.invoke("a", THREAD)

    assert again.invoke("b", THREAD) == Answer("ab")
    assert "Blocked" not in caplog.text


@pytest.mark.parametrize("checkpointer", [None, True, False], ids=repr)
def test_what_is_no_saver_stays_what_it_is(checkpointer: Any) -> None:
    assert letting_in(checkpointer, State) is checkpointer


def test_a_saver_that_lets_in_everything_stays_the_same() -> None:
    saver = InMemorySaver()

    assert letting_in(saver, State) is saver
