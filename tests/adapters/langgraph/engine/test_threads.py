"""Threads: checkpoints, interrupts, time travel, writing from outside."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from plait_adapters.langgraph.checkpoint.memory import InMemorySaver
from plait_adapters.langgraph.errors import EmptyInputError, InvalidUpdateError
from plait_adapters.langgraph.graph import START, StateGraph
from plait_adapters.langgraph.types import Command, interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def chain(*nodes: Any, saver: Any = None, **options: Any) -> Any:
    """Nodes one after the other."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_sequence([(f"n{index}", node) for index, node in enumerate(nodes)])
    builder.add_edge(START, "n0")
    return builder.compile(checkpointer=InMemorySaver() if saver is None else saver, **options)


def says(word: str) -> Any:
    return lambda state: {"log": [word]}


def asks(*questions: str) -> Any:
    return lambda state: {"log": [interrupt(question) for question in questions]}


def test_a_second_run_goes_on_from_the_state_of_the_first() -> None:
    app = chain(says("a"))
    app.invoke({"log": ["1"]}, CONFIG)
    assert app.invoke({"log": ["2"]}, CONFIG)["log"] == ["1", "a", "2", "a"]


def test_a_run_that_asks_says_what_and_goes_on_with_the_answer() -> None:
    app = chain(says("a"), asks("who?"), says("c"))
    result = app.invoke({"log": []}, CONFIG)
    assert [each.value for each in result["__interrupt__"]] == ["who?"]
    assert app.get_state(CONFIG).next == ("n1",)
    assert app.invoke(Command(resume="me"), CONFIG)["log"] == ["a", "me", "c"]
    assert app.get_state(CONFIG).next == ()


async def test_answers_are_matched_by_the_order_of_the_questions() -> None:
    app = chain(asks("1?", "2?"))
    first = await app.ainvoke({"log": []}, CONFIG)
    second = await app.ainvoke(Command(resume="one"), CONFIG)
    assert first["__interrupt__"][0].id != second["__interrupt__"][0].id
    assert (await app.ainvoke(Command(resume="two"), CONFIG))["log"] == ["one", "two"]


def test_several_open_questions_are_answered_by_their_ids() -> None:
    builder: Any = StateGraph(State)
    builder.add_node("a", asks("a?")).add_node("b", asks("b?"))
    builder.add_edge(START, "a").add_edge(START, "b")
    app = builder.compile(checkpointer=InMemorySaver())
    asked = {each.value: each.id for each in app.invoke({"log": []}, CONFIG)["__interrupt__"]}
    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        app.invoke(Command(resume="x"), CONFIG)
    left = app.invoke(Command(resume={asked["b?"]: "B"}), CONFIG)["__interrupt__"]
    assert [each.value for each in left] == ["a?"]
    assert app.invoke(Command(resume="A"), CONFIG)["log"] == ["A", "B"]


def test_what_a_sibling_wrote_is_kept_and_it_does_not_run_again() -> None:
    calls: list[str] = []

    def works(state: State) -> Any:
        calls.append("works")
        return {"log": ["kept"]}

    def fails(state: State) -> Any:
        calls.append("fails")
        if calls.count("fails") == 1:
            raise OSError("no luck")
        return {"log": ["late"]}

    builder: Any = StateGraph(State)
    builder.add_node(works).add_node(fails).add_edge(START, "works").add_edge(START, "fails")
    app = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(OSError, match="no luck"):
        app.invoke({"log": []}, CONFIG)
    assert app.invoke(None, CONFIG)["log"] == ["late", "kept"]
    assert sorted(calls) == ["fails", "fails", "works"]


def test_a_run_stops_before_and_after_nodes() -> None:
    app = chain(says("a"), says("b"), says("c"), interrupt_before=["n1"], interrupt_after=["n1"])
    assert app.invoke({"log": []}, CONFIG) == {"log": ["a"]}
    assert app.invoke(None, CONFIG) == {"log": ["a", "b"]}
    assert app.invoke(None, CONFIG) == {"log": ["a", "b", "c"]}


def test_history_shows_each_checkpoint_the_newest_first() -> None:
    app = chain(says("a"), says("b"))
    app.invoke({"log": ["in"]}, CONFIG)
    states = list(app.get_state_history(CONFIG))
    facts = [(each.metadata["source"], each.metadata["step"], each.next) for each in states]
    assert facts == [
        ("loop", 2, ()),
        ("loop", 1, ("n1",)),
        ("loop", 0, ("n0",)),
        ("input", -1, ("__start__",)),
    ]
    assert [each.values.get("log") for each in states] == [
        ["in", "a", "b"],
        ["in", "a"],
        ["in"],
        [],
    ]
    assert len(list(app.get_state_history(CONFIG, limit=2))) == 2


def test_a_run_may_begin_again_at_any_checkpoint() -> None:
    calls: list[str] = []

    def counts(state: State) -> Any:
        calls.append("n1")
        return {"log": [f"b{len(calls)}"]}

    app = chain(says("a"), counts)
    app.invoke({"log": []}, CONFIG)
    before = next(each for each in app.get_state_history(CONFIG) if each.next == ("n1",))
    assert app.invoke(None, before.config)["log"] == ["a", "b2"]
    assert app.get_state(CONFIG).values["log"] == ["a", "b2"]
    assert any(each.metadata["source"] == "fork" for each in app.get_state_history(CONFIG))


def test_a_state_can_be_written_as_if_by_a_node_and_goes_on_behind_it() -> None:
    app = chain(says("a"), says("b"), interrupt_before=["n1"])
    app.invoke({"log": []}, CONFIG)
    app.update_state(CONFIG, {"log": ["by hand"]})
    assert app.get_state(CONFIG).next == ("n1",)
    assert app.invoke(None, CONFIG)["log"] == ["a", "by hand", "b"]


def test_an_update_for_a_node_that_does_not_exist_is_refused() -> None:
    app = chain(says("a"))
    with pytest.raises(InvalidUpdateError, match="Node x does not exist"):
        app.update_state(CONFIG, {"log": []}, as_node="x")


def test_a_new_thread_has_an_empty_state_and_nothing_to_go_on_with() -> None:
    app = chain(says("a"))
    assert app.get_state(CONFIG).values == {}
    with pytest.raises(EmptyInputError):
        app.invoke(None, CONFIG)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_durability_leaves_the_same_last_checkpoint(durability: Any) -> None:
    app = chain(says("a"), asks("?"), says("c"))
    await app.ainvoke({"log": []}, CONFIG, durability=durability)
    assert (await app.ainvoke(Command(resume="b"), CONFIG, durability=durability))["log"] == [
        "a",
        "b",
        "c",
    ]
    number = len([each async for each in app.aget_state_history(CONFIG)])
    assert number == (2 if durability == "exit" else 5)


async def test_an_error_of_the_saver_ends_the_run() -> None:
    class Broken(InMemorySaver):
        async def aput(self, *args: Any, **more: Any) -> Any:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await chain(says("a"), saver=Broken()).ainvoke({"log": []}, CONFIG)


async def test_a_saver_with_waits_of_its_own_stores_in_order() -> None:
    import anyio

    class Slow(InMemorySaver):
        async def aput(self, *args: Any, **more: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return self.put(*args, **more)

        async def aput_writes(self, *args: Any, **more: Any) -> None:
            await anyio.lowlevel.checkpoint()
            self.put_writes(*args, **more)

    app = chain(says("a"), asks("?"), saver=Slow())
    await app.ainvoke({"log": []}, CONFIG)
    assert (await app.aget_state(CONFIG)).interrupts[0].value == "?"
    assert (await app.ainvoke(Command(resume="b"), CONFIG))["log"] == ["a", "b"]


def test_answers_of_the_wrong_type_are_refused_and_the_question_stays_open() -> None:
    from pydantic import ValidationError

    app = chain(lambda state: {"log": [str(interrupt("how many?", response_schema=int))]})
    app.invoke({"log": []}, CONFIG)
    with pytest.raises(ValidationError):
        app.invoke(Command(resume="many"), CONFIG)
    assert app.invoke(Command(resume=3), CONFIG)["log"] == ["3"]


def test_without_a_checkpointer_there_is_no_state_to_ask_for() -> None:
    builder: Any = StateGraph(State)
    app = builder.add_node("a", says("a")).add_edge(START, "a").compile()
    with pytest.raises(ValueError, match="No checkpointer set"):
        app.get_state(CONFIG)
    with pytest.raises(TypeError, match="Invalid checkpointer"):
        builder.compile(checkpointer="memory")


async def test_a_run_that_is_cancelled_can_go_on_and_its_nodes_have_not_failed() -> None:
    import anyio

    calls: list[int] = []

    async def waits_once(state: State) -> Any:
        calls.append(1)
        if len(calls) == 1:
            await anyio.sleep_forever()
        return {"log": ["b"]}

    app = chain(says("a"), waits_once)
    with anyio.move_on_after(0.05):
        await app.ainvoke({"log": []}, CONFIG)
    (task,) = (await app.aget_state(CONFIG)).tasks
    assert (task.name, task.error) == ("n1", None)
    assert await app.ainvoke(None, CONFIG) == {"log": ["a", "b"]}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_saver_that_blocks_is_called_in_order_and_its_errors_come_out(durability: Any) -> None:
    class Plain(InMemorySaver):
        def put(self, *args: Any, **more: Any) -> Any:
            if args[0]["configurable"]["thread_id"] == "bad":
                raise OSError("disk full")
            return super().put(*args, **more)

    app = chain(says("a"), asks("?"), saver=Plain())
    app.invoke({"log": []}, CONFIG, durability=durability)
    assert app.invoke(Command(resume="b"), CONFIG, durability=durability)["log"] == ["a", "b"]
    with pytest.raises(OSError, match="disk full"):
        app.invoke({"log": []}, {"configurable": {"thread_id": "bad"}}, durability=durability)


class Recorder(InMemorySaver):
    """Keeps what it was given, too."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        place = await super().aput(config, checkpoint, metadata, new_versions)
        self.given.append((place, checkpoint, new_versions))
        return place


async def test_a_checkpoint_has_all_values_and_the_versions_of_what_changed() -> None:
    saver = Recorder()
    app = chain(says("a"), asks("who?"), says("c"), saver=saver)
    await app.ainvoke({"log": []}, CONFIG)
    await app.ainvoke(Command(resume="me"), CONFIG)
    await app.ainvoke({"log": ["again"]}, CONFIG)

    before: dict[str, Any] = {}
    for place, checkpoint, new_versions in saver.given:
        versions = checkpoint["channel_versions"]
        found = saver.get_tuple(place)
        assert found is not None
        assert found.checkpoint["channel_values"] == checkpoint["channel_values"]
        assert new_versions.items() == versions.items() - before.items()
        before = versions
