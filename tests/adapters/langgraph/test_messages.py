"""Merging messages, and user-interface messages: what LangGraph's reducers do, these do."""

import copy
import importlib
import subprocess
import sys
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("langchain_core", reason="messages are those of langchain-core")
pytest.importorskip("langgraph", reason="the reducers are compared with LangGraph's")

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
)
from langgraph.graph.message import _messages_delta_reducer as their_delta_reducer
from langgraph.graph.message import add_messages as theirs
from langgraph.graph.ui import ui_message_reducer as their_ui_reducer

from plait_adapters.langgraph.graph.message import (
    REMOVE_ALL_MESSAGES,
    _messages_delta_reducer,
    add_messages,
)
from plait_adapters.langgraph.graph.ui import ui_message_reducer

IDS = st.sampled_from(["1", "2", "3"])
MESSAGES = st.one_of(
    st.tuples(st.text(max_size=2), IDS).map(lambda each: HumanMessage(each[0], id=each[1])),
    st.tuples(st.text(max_size=2), st.none() | IDS).map(lambda e: AIMessage(e[0], id=e[1])),
    st.tuples(st.text(max_size=2), IDS).map(lambda e: AIMessageChunk(content=e[0], id=e[1])),
    (IDS | st.just(REMOVE_ALL_MESSAGES)).map(lambda name: RemoveMessage(id=name)),
    st.tuples(st.sampled_from(["user", "ai"]), st.text(max_size=2)),
    st.text(max_size=2),
)
LEFT = st.lists(MESSAGES.filter(lambda each: not isinstance(each, RemoveMessage)), max_size=4)
FORMATS = st.sampled_from([None, "langchain-openai"])


def told(reducer: Any, *given: Any, **keywords: Any) -> Any:
    """What a reducer returns or raises, with new ids left out."""
    try:
        merged = reducer(*given, **keywords)
    except ValueError as error:
        return type(error)
    known = {"1", "2", "3", None}
    return [
        (type(each), each.content, each.id if each.id in known else "new")
        if isinstance(each, BaseMessage)
        else each
        for each in merged
    ]


def copied(messages: Any) -> Any:
    if isinstance(messages, list):
        return [copied(each) for each in messages]
    return copy.copy(messages) if isinstance(messages, BaseMessage) else messages


@given(LEFT, st.lists(MESSAGES, max_size=4) | MESSAGES, FORMATS)
def test_messages_are_merged_as_langgraph_merges_them(left: Any, right: Any, way: Any) -> None:
    mine = told(add_messages, copied(left), copied(right), format=way)
    assert mine == told(theirs, copied(left), copied(right), format=way)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="Unrecognized format='other'"):
        add_messages([], [], format="other")  # type: ignore[call-overload]


WHOLE = MESSAGES.filter(lambda each: not isinstance(each, AIMessageChunk))


WRITES = st.lists(WHOLE | st.lists(WHOLE, max_size=3), max_size=4)


@given(WRITES, WRITES)
def test_writes_to_a_delta_channel_are_merged_likewise(first: Any, more: Any) -> None:
    def in_batches(reducer: Any) -> Any:
        return reducer(reducer([], copied(first)), copied(more))

    mine = told(in_batches, _messages_delta_reducer)
    assert mine == told(in_batches, their_delta_reducer)


def test_without_messages_it_is_the_reducer_of_a_format() -> None:
    image = {"type": "image", "source_type": "url", "url": "http://localhost/a.png"}
    merge: Any = add_messages(format="langchain-openai")
    (message,) = merge([], [HumanMessage([image])])
    assert message.content == [{"type": "image_url", "image_url": {"url": image["url"]}}]


@pytest.mark.parametrize("given", [{"left": []}, {"right": []}])
def test_one_side_alone_is_refused(given: dict[str, Any]) -> None:
    reducer: Any = add_messages
    with pytest.raises(ValueError, match="Must specify non-null arguments"):
        reducer(**given)


def test_a_state_of_messages_has_the_reducer() -> None:
    module: Any = importlib.import_module("plait_adapters.langgraph.graph.message")
    hint = get_type_hints(module.MessagesState, include_extras=True)["messages"]
    assert hint.__metadata__ == (add_messages,)


def test_langchain_is_imported_only_when_messages_are_merged() -> None:
    code = (
        "import sys, plait_adapters.langgraph.graph.message as m; print('langchain_core' in "
        "sys.modules); m.add_messages([], ['a']); print('langchain_core' in sys.modules)"
    )
    paths = f"import sys; sys.path[:] = {[path for path in sys.path if path]!r}\n"
    done = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True"]


UI = st.one_of(
    st.builds(
        lambda name, props, merge: {
            "type": "ui",
            "id": name,
            "name": "card",
            "props": props,
            "metadata": {"merge": merge},
        },
        IDS,
        st.dictionaries(IDS, st.integers(0, 1), max_size=2),
        st.booleans(),
    ),
    st.builds(lambda name: {"type": "remove-ui", "id": name}, IDS),
)


@given(st.lists(UI.filter(lambda each: each["type"] == "ui"), max_size=3), st.lists(UI, max_size=4))
def test_user_interface_messages_are_merged_likewise(left: Any, right: Any) -> None:
    assert told(ui_message_reducer, left, right) == told(their_ui_reducer, left, right)
