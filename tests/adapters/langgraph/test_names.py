"""LangGraph's public names: which are here is computed, and what is not says so."""

import importlib
import warnings

import pytest

pytest.importorskip("langgraph", reason="the names are computed from LangGraph itself")

from plait_adapters.langgraph._support import REASONS, TABLE, absent
from tests.adapters.langgraph import names


def test_every_name_that_is_not_here_has_a_reason() -> None:
    unexplained = [each for each in names.lacking() if names.reason_for(*each) is None]
    assert not unexplained


def test_no_reason_is_given_for_what_is_here() -> None:
    stale = []
    for key in REASONS:
        module, _, name = key.rpartition(".")
        if key not in names.MODULES and names.is_here(module, name):
            stale.append(key)
    assert not stale


def test_the_table_is_up_to_date() -> None:
    assert names.TABLE.read_text(encoding="utf-8") == names.table(), (
        "write it anew: python -m tests.adapters.langgraph.names"
    )


def test_the_table_is_where_errors_say_it_is() -> None:
    assert names.ROOT / TABLE == names.TABLE


@pytest.mark.parametrize("module", names.MODULES)
def test_a_missing_name_is_an_error_that_leads_to_the_table(module: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are deprecated, and say so when first imported
            there = importlib.import_module(f"plait_adapters.langgraph.{module}")
    except ModuleNotFoundError:
        assert module in REASONS
        return
    with pytest.raises((AttributeError, ImportError), match=r"SUPPORT\.md"):
        there.no_such_name  # noqa: B018


def test_an_error_gives_the_reason_where_one_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONS, "graph.Old", "it was never public")
    error = absent("plait_adapters.langgraph.graph", "Old")
    assert "it was never public" in str(error)


def test_what_is_langchain_cores_is_imported_from_there() -> None:
    from langchain_core.messages.tool import ToolOutputMixin

    from plait_adapters.langgraph import types

    assert types.ToolOutputMixin is ToolOutputMixin
    assert isinstance(types.Command(), types.ToolOutputMixin)
