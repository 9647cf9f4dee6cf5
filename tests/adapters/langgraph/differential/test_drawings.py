"""What graphs show of themselves is the same on LangGraph and on the facade."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import assume, given, settings

pytest.importorskip("langgraph", reason="the facade is compared with LangGraph itself")

from tests.adapters.langgraph.differential.build import (
    FACADE,
    LANGGRAPH,
    Library,
    World,
    build,
    schema_of,
)
from tests.adapters.langgraph.differential.programs import (
    EVERY_CHECK,
    Program,
    Schema,
    Shape,
    programs,
)

DRAWINGS = int(os.environ.get("PLAIT_DIFFERENTIAL", "300")) // 3
FEW = settings(
    max_examples=DRAWINGS, deadline=None, derandomize=True, suppress_health_check=EVERY_CHECK
)


def graph_of(root: str, program: Program) -> Any:
    library = Library(root)
    assert isinstance(program.shape, Shape)
    return build(library, World(), program.shape, schema_of(library, program.schema))


def drawn(root: str, program: Program) -> Any:
    """The drawings of a program's graph, shallow and deep; as JSON and as Mermaid."""
    app = graph_of(root, program)
    drawings = [app.get_graph(xray=xray) for xray in (False, 1, True)]
    return [(json.dumps(each.to_json(), sort_keys=True), each.draw_mermaid()) for each in drawings]


@FEW
@given(programs())
def test_a_graph_is_drawn_alike_on_both(program: Program) -> None:
    try:
        theirs = drawn(LANGGRAPH, program)
    except TypeError:  # it cannot sort labelled edges among others
        assume(False)
    assert drawn(FACADE, program) == theirs


def schemas(root: str, kind: Schema) -> Any:
    library = Library(root)
    builder = library.graph.StateGraph(schema_of(library, kind))
    app = builder.add_node("a", len).add_edge("__start__", "a").compile()
    return (
        app.get_input_jsonschema(),
        app.get_output_jsonschema(),
        app.get_input_schema().model_json_schema(),
        app.get_output_schema().model_json_schema(),
    )


@pytest.mark.parametrize("kind", ["dataclass", "pydantic"])
def test_a_graph_has_the_same_schemas_on_both(kind: Schema) -> None:
    assert schemas(FACADE, kind) == schemas(LANGGRAPH, kind)
