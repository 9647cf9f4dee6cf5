"""What LangGraph does with a random program, the facade does: states, streams, history, errors."""

import logging
import os
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings

pytest.importorskip("langgraph", reason="the facade is compared with LangGraph itself")

from tests.adapters.langgraph.differential.compare import check, first_difference, reference
from tests.adapters.langgraph.differential.events import carry_out_events
from tests.adapters.langgraph.differential.programs import (
    EVERY_CHECK,
    Act,
    Node,
    Program,
    Shape,
    functions,
    programs,
)

here = pytest.mark.skipif(
    find_spec("plait_adapters.langgraph.pregel") is None, reason="the engine is not there"
)
PROGRAMS = int(os.environ.get("PLAIT_DIFFERENTIAL", "300"))
# The same programs each time, so that a change is judged by its own doing; `make laws` draws anew.
FEW = settings(
    max_examples=PROGRAMS // 3,
    deadline=None,
    derandomize=True,
    suppress_health_check=EVERY_CHECK,
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Programs go to nodes that are not there; LangGraph logs so."""
    caplog.set_level(logging.ERROR)


@here
@FEW
@given(programs(sync=False))
def test_a_program_that_suspends_does_the_same_on_both(program: Program) -> None:
    check(program)


@here
@FEW
@given(programs(sync=True))
def test_a_program_of_plain_functions_does_the_same_on_both(program: Program) -> None:
    check(program)


@here
@settings(FEW, max_examples=PROGRAMS // 6)
@given(functions())
def test_an_entrypoint_does_the_same_on_both(program: Program) -> None:
    check(program)


@here
@settings(FEW, max_examples=PROGRAMS // 6)
@given(programs(sync=False))
def test_the_events_of_a_program_that_suspends_are_the_same_on_both(program: Program) -> None:
    check(program, carry_out_events)


@here
@settings(FEW, max_examples=PROGRAMS // 6)
@given(programs(sync=True))
def test_the_events_of_a_program_of_plain_functions_are_the_same_on_both(program: Program) -> None:
    check(program, carry_out_events)


def chain(*names: str, asks: int = 0) -> Shape:
    edges = [((a,), b) for a, b in zip(("__start__", *names), (*names, "__end__"), strict=True)]
    nodes = [Node(name, writes=(("last", 1),), asks=asks) for name in names]
    return Shape(tuple(nodes), tuple(edges))


def test_the_record_has_what_a_run_gave_and_left() -> None:
    record = reference(Program(chain("a", "b"), (Act("run", 2),)))
    result, snapshot, history, calls = record
    assert result["log"] == ["in2", "a@2", "b@3"]
    assert snapshot["next"] == []
    assert [(entry["source"], parent) for entry, parent in history] == [
        ("loop", 1),
        ("loop", 2),
        ("loop", 3),
        ("input", None),
    ]
    assert calls == {"a None": 1, "b None": 1}


def test_programs_that_differ_have_records_that_differ() -> None:
    one, two = Program(chain("a"), (Act("run"),)), Program(chain("b"), (Act("run"),))
    assert reference(one) != reference(two)


def test_the_first_difference_is_found_in_nested_records() -> None:
    found = first_difference([1, {"a": [2, 3]}], [1, {"a": [2, 4]}])
    assert found == ("[1]['a'][1]", 3, 4)


@pytest.mark.parametrize("modes", [("values",), ("updates", "custom"), ("debug",)])
def test_a_record_of_an_interrupt_does_not_depend_on_ids(modes: tuple[str, ...]) -> None:
    acts = (Act("run", 1, modes=modes), Act("answer_all", 2, modes=modes))
    program = Program(chain("a", "b", asks=1), acts)
    assert reference(program) == reference(program)


def paused(**beside: Any) -> Program:
    """A step in which one node asks and another is done, after one that wrote for one step only."""
    nodes = Node("a", writes=(("brief", 1), ("any", 1))), Node("f", asks=1), Node("d", **beside)
    edges = ((("__start__",), "a"), (("a",), "f"), (("a",), "d"))
    return Program(Shape(nodes, edges), (Act("run", 3), Act("command", 1)), limit=9)


@here
@pytest.mark.parametrize(
    "program", [paused(), paused(form="none"), paused(writes=(("brief", 2), ("any", 2)))]
)
def test_what_lives_for_one_step_is_shown_alike_in_a_step_that_waits(program: Program) -> None:
    check(program)
