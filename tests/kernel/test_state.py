"""Schemas, input, and the door through which every write goes."""

import collections
import dataclasses
import operator
import typing
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NotRequired, TypedDict

import anyio
import pydantic
import pytest
import typing_extensions

from plait import (
    END,
    START,
    Graph,
    GraphError,
    InputError,
    MutationError,
    NodeError,
    Overwrite,
    Send,
    WriteError,
    reducers,
)
from tests.kernel.build import build, does, run


class Brief(pydantic.BaseModel):
    question: str
    findings: Annotated[list[str], reducers.append] = []
    cost: Annotated[float, operator.add] = 0.0
    tags: Annotated[list[str], operator.add] = pydantic.Field(default_factory=lambda: ["new"])
    score: Annotated[int, pydantic.Field(ge=0)] = 0


@dataclasses.dataclass
class Job:
    name: str
    parts: Annotated[list[int], operator.add] = dataclasses.field(default_factory=list)
    level: int = 3
    kind: ClassVar[str] = "job"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str = "x"


class Bag(TypedDict):
    numbers: Annotated[list[int], operator.add]
    counter: Annotated[collections.Counter[str], operator.add]
    names: Annotated[Sequence[str], reducers.append]
    largest: Annotated[int, reducers.maximum]
    text: NotRequired[str]
    plain: Annotated[str, "a note, and no reducer"]


def one(schema: type, **writes: Any) -> Graph:
    """One node that writes this."""
    return build("START n END", schema=schema, n=does(**writes))


# -- input ------------------------------------------------------------------------------------


def test_the_final_state_is_an_instance_of_the_schema() -> None:
    assert run(one(Brief), {"question": "why"}).state == Brief(question="why")
    assert run(one(Job), {"name": "a"}).state == Job("a")
    assert run(one(Frozen)).state == Frozen("x")
    assert type(run(one(Bag)).state) is dict


def test_a_new_thread_starts_from_the_schemas_defaults() -> None:
    state = run(one(Brief), {"question": "why"}).state
    assert (state.findings, state.cost, state.tags) == ([], 0.0, ["new"])


def test_a_typed_dict_starts_from_the_empty_value_of_what_has_a_reducer() -> None:
    state = run(one(Bag)).state
    assert state == {"numbers": [], "counter": collections.Counter(), "names": []}


def test_a_channel_whose_reducer_has_no_identity_takes_the_first_write_as_it_is() -> None:
    assert run(one(Bag, largest=-5)).state["largest"] == -5


def test_an_input_is_folded_like_any_other_write() -> None:
    state = run(one(Brief), {"question": "why", "tags": ["given"], "findings": "one"}).state
    assert (state.tags, state.findings) == (["new", "given"], ["one"])


def test_a_default_is_made_anew_for_each_thread() -> None:
    async def spoil(state: Any) -> None:
        state.tags.append("spoilt")

    graph = build("START n END", schema=Brief, n=spoil)
    run(graph, {"question": "one"})
    assert run(one(Brief), {"question": "two"}).state.tags == ["new"]


def test_an_input_may_be_an_instance_of_which_the_fields_that_were_set_count() -> None:
    assert run(one(Brief), Brief(question="why", cost=2)).state.tags == ["new"]
    assert run(one(Brief), Brief(question="why", cost=2)).state.cost == 2
    assert run(one(Job), Job("a", [1])).state == Job("a", [1])


def test_an_input_that_does_not_fit_names_every_fault_and_nothing_runs() -> None:
    calls: list[Any] = []

    async def node(state: Any) -> None:
        calls.append(state)

    with pytest.raises(InputError) as caught:
        run(build("START n END", schema=Brief, n=node), {"cost": "much", "colour": "red"})
    faults = caught.value.faults
    assert len(faults) == 3
    assert "'cost'" in faults[0]
    assert "'much'" in faults[0]
    assert "'colour'" in faults[1]
    assert "'question' is required" in faults[2]
    assert calls == []


@pytest.mark.parametrize("given", [7, "text", ["a"]])
def test_an_input_that_is_no_mapping_is_an_error(given: Any) -> None:
    with pytest.raises(InputError, match="expected a mapping or a Brief, got"):
        run(one(Brief), given)


def test_a_dataclass_without_a_default_is_required() -> None:
    with pytest.raises(InputError, match="'name' is required"):
        run(one(Job))


# -- writes -----------------------------------------------------------------------------------


def test_a_write_is_validated_by_its_fields_type_and_converted() -> None:
    state = run(one(Brief, cost="1.5", score="7"), {"question": "why"}).state
    assert (state.cost, state.score) == (1.5, 7)


def test_a_write_that_is_not_valid_names_node_channel_type_and_value_shortened() -> None:
    with pytest.raises(NodeError) as caught:
        run(one(Brief, cost="x" * 500), {"question": "why"})
    error = caught.value.__cause__
    assert isinstance(error, WriteError)
    assert (error.node, error.channel, error.value) == ("n", "cost", "x" * 500)
    assert "float" in error.expected
    assert len(str(error)) < 300


def test_the_constraints_of_a_field_are_checked() -> None:
    with pytest.raises(NodeError, match="greater than or equal to 0"):
        run(one(Brief, score=-1), {"question": "why"})


def test_an_overwrite_is_validated_as_a_whole_value() -> None:
    assert run(one(Brief, cost=Overwrite("2")), {"question": "why", "cost": 5}).state.cost == 2.0
    with pytest.raises(NodeError, match="'tags'"):
        run(one(Brief, tags=Overwrite(7)), {"question": "why"})


def test_a_list_of_items_or_one_item_may_be_appended() -> None:
    graph = build(
        "START a b c END",
        schema=Brief,
        a=does(findings="one"),
        b=does(findings=["two", "three"]),
        c=does(findings=[]),
    )
    assert run(graph, {"question": "why"}).state.findings == ["one", "two", "three"]


def put(value: dict[str, int], write: tuple[str, int]) -> dict[str, int]:
    return {**value, write[0]: write[1]}


class Table(pydantic.BaseModel):
    rows: Annotated[dict[str, int], put] = {}
    loose: Annotated[Any, lambda value, write: write] = None


def test_where_a_reducer_says_what_it_takes_a_write_is_validated_by_that() -> None:
    assert run(one(Table, rows=("a", "1"))).state.rows == {"a": 1}
    with pytest.raises(NodeError, match="tuple"):
        run(one(Table, rows={"a": 1}))


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    number: int = 0
    largest: Annotated[int, reducers.declare(max)] = 0
    nested: Brief = Brief(question="default")


class Private(pydantic.BaseModel):
    number: int = 0
    _secret: int = 5


def test_a_strict_model_is_strict() -> None:
    assert run(one(Strict, number=1, largest=5)).state.largest == 5
    with pytest.raises(NodeError, match="'number'"):
        run(one(Strict, number="1"))


def test_a_model_with_private_attributes_is_made_with_them() -> None:
    assert run(one(Private, number="3")).state._secret == 5


def test_a_field_may_be_a_model_of_its_own() -> None:
    assert run(one(Strict, nested={"question": "why"})).state.nested == Brief(question="why")


def test_schemas_that_do_not_validate_take_what_they_are_given() -> None:
    assert run(one(Job, level="high"), {"name": "a"}).state.level == "high"


def test_an_unknown_channel_is_named_with_those_that_there_are() -> None:
    with pytest.raises(NodeError, match="one of the channels of Bag: 'numbers', 'counter'"):
        run(one(Bag, colour="red"))


def test_what_a_node_sees_is_its_own_to_change_but_for_the_values() -> None:
    async def spoil(state: Any) -> None:
        state["text"] = "spoilt"
        state["new"] = 1

    assert run(build("START n END", schema=Bag, n=spoil), {"text": "x"}).state["text"] == "x"


# -- what is no schema ------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [int, dict, "Brief"])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    graph = Graph(schema).add_node("n", does()).add_edge(START, "n").add_edge("n", END)
    with pytest.raises(GraphError, match="not a pydantic model, a dataclass or a TypedDict"):
        graph.compile()


class Unresolved(TypedDict):
    here: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - that is the fault


def test_annotations_that_cannot_be_resolved_are_refused() -> None:
    with pytest.raises(GraphError, match="annotations of Unresolved cannot be resolved"):
        one(Unresolved).compile()


class Odd(TypedDict):
    kind: Annotated[list[int], list, operator.neg, max]
    wrapped: typing_extensions.ReadOnly[Annotated[set[int], reducers.union]]
    keyword: Annotated[str, lambda value, *, write: value]
    unsigned: Annotated[dict[str, int], dict.update]
    union: typing.Union[int, str]  # noqa: UP007 - both spellings are read


def test_only_a_function_of_two_arguments_is_taken_for_a_reducer() -> None:
    plan = one(Odd).plan()
    assert plan.schema.exclusive == {"kind", "keyword", "union", "unsigned"}
    assert plan.schema.channels["wrapped"].reducer is reducers.union


# -- debug ------------------------------------------------------------------------------------


async def spoil(state: Any) -> None:
    state["numbers"].append(1)


def test_debug_finds_a_node_that_changes_its_state_and_names_it_and_the_channel() -> None:
    graph = build("START n END", schema=Bag, n=spoil)
    with pytest.raises(NodeError) as caught:
        run(graph, debug=True)
    assert isinstance(caught.value.__cause__, MutationError)
    assert (caught.value.__cause__.node, caught.value.__cause__.channel) == ("n", "numbers")


def test_without_debug_nothing_is_checked() -> None:
    assert run(build("START n END", schema=Bag, n=spoil)).status == "completed"


def test_debug_finds_a_node_that_changes_the_argument_of_its_send() -> None:
    async def work(argument: list[int]) -> None:
        argument.clear()

    graph = Graph(Bag).add_node(work).add_edge("work", END)
    graph.add_conditional_edges(START, lambda _: Send("work", [1]), ["work"])
    with pytest.raises(NodeError, match="'the argument of its Send' in place"):
        run(graph, debug=True)


def test_a_mutation_is_not_retried_away() -> None:
    from plait import Retry

    calls: list[int] = []

    async def node(state: Any) -> None:
        calls.append(1)
        await spoil(state)

    graph = Graph(Bag).add_node("n", node, retry=Retry()).add_edge(START, "n").add_edge("n", END)
    with pytest.raises(NodeError):
        run(graph, debug=True)
    assert calls == [1]


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise TypeError

    __hash__ = None  # type: ignore[assignment]


def test_debug_passes_over_what_cannot_be_copied_or_compared() -> None:
    import threading

    given = {"text": threading.Lock(), "plain": Incomparable()}
    assert run(one(Bag, numbers=[1]), given, debug=True).state["numbers"] == [1]


def test_a_node_after_a_def_router_in_debug_logs_nothing_by_default(capsys: Any) -> None:
    anyio.run(one(Bag).compile().run)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
