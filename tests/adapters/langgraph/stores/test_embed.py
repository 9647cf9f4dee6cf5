"""Paths into values, as the real LangGraph reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import get_text_at_path as theirs
from langgraph.store.base import tokenize_path as tokens_of_theirs

from plait_adapters.langgraph.store.base import get_text_at_path, tokenize_path
from plait_adapters.langgraph.store.base.embed import ensure_embeddings

PATHS = st.text("ab.[]{}*,01-", max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("xy", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "ab"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, PATHS)
def test_the_texts_at_a_path_are_those_that_langgraph_finds(value: Any, path: str) -> None:
    assert tokenize_path(path) == tokens_of_theirs(path)
    assert get_text_at_path(value, path) == theirs(value, path)


async def test_a_function_that_embeds_may_be_either() -> None:
    async def later(texts: Any) -> Any:
        return [[float(len(text))] for text in texts]

    both = ensure_embeddings(lambda texts: [[1.0]] * len(texts)), ensure_embeddings(later)

    assert both[0].embed_query("x") == await both[0].aembed_query("x") == [1.0]
    assert await both[1].aembed_documents(["abc"]) == [[3.0]]
    with pytest.raises(ValueError, match="asynchronous"):
        both[1].embed_query("x")


@pytest.mark.parametrize("embed", [None, "openai:small", 3], ids=repr)
def test_what_cannot_embed_is_refused(embed: Any) -> None:
    with pytest.raises(ValueError, match="embed"):
        ensure_embeddings(embed)
