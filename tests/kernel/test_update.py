"""A thread is written to from outside a run, and forked from any position of its journal."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
import pytest
from pydantic import BaseModel

from plait import (
    END,
    START,
    ConflictError,
    Flow,
    Graph,
    Join,
    MemoryStore,
    NodeError,
    Overwrite,
    ReducerError,
    Send,
    Snapshot,
    ThreadBusy,
    ThreadError,
    ThreadExists,
    ThreadNotFound,
    WriteError,
    interrupt,
)
from plait.errors import StoreError
from plait.events import StateUpdated
from plait.testing import VirtualClock
from tests.kernel.build import Log, Work, build, does

T = TypeVar("T")


class Thread:
    """A thread of a flow in virtual time."""

    def __init__(self, graph: Graph, **options: Any) -> None:
        self.flow: Flow[Any] = graph.compile(**options)
        self.clock = VirtualClock()

    def await_(self, what: Coroutine[Any, Any, T]) -> T:
        return self.clock.run(what)

    def run(self, given: Any = None) -> Any:
        return self.await_(self.flow.run(given, thread_id="t"))

    def resume(self, answers: dict[str, Any] | None = None) -> Any:
        return self.await_(self.flow.resume("t", answers))

    def state(self, thread_id: str = "t", at: int | None = None) -> Snapshot[Any]:
        return self.await_(self.flow.state(thread_id, at))

    def update(self, values: Any, *arguments: Any, **more: Any) -> Snapshot[Any]:
        return self.await_(self.flow.update("t", values, *arguments, **more))

    def fork(self, at: int, new: str = "new") -> Snapshot[Any]:
        return self.await_(self.flow.fork("t", at, new))


async def asks(_state: Any) -> Any:
    return {"text": interrupt("?")}


# -- a finished thread ------------------------------------------------------------------------


def test_an_update_of_a_finished_thread_is_folded_over_its_state() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    snapshot = thread.update({"items": ["more"], "text": "new"})
    assert (snapshot.state["items"], snapshot.state["text"]) == (["a", "more"], "new")
    assert (snapshot.status, snapshot.position) == ("completed", 3)
    assert isinstance(snapshot.event, StateUpdated)
    assert snapshot == thread.state()


def test_the_next_run_begins_with_it() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    thread.update({"items": Overwrite(["replaced"])})
    assert thread.run({"items": ["given"]}).state["items"] == ["replaced", "given", "a"]


def test_it_is_recorded_under_the_name_of_a_node() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    first, second = thread.update({"sum": 1}), thread.update({"sum": 1}, "a")
    assert isinstance(first.event, StateUpdated)
    assert isinstance(second.event, StateUpdated)
    assert (first.event.node, second.event.node) == ("an update", "a")
    blamed = thread.await_(thread.flow.blame("t", "sum"))
    assert [(each.position, each.node, each.attempt) for each in blamed] == [
        (3, "an update", 0),
        (4, "a", 0),
    ]


def test_without_values_nothing_is_recorded() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    assert thread.update({}).position == 2


def test_history_shows_the_state_before_and_after() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    thread.update({"items": ["more"]})

    async def items() -> list[Any]:
        return [each.state["items"] async for each in thread.flow.history("t")]

    assert thread.await_(items()) == [["a", "more"], ["a"], []]


# -- an unfinished thread ---------------------------------------------------------------------


def test_the_only_branch_that_is_alive_has_the_update_and_its_node_sees_it() -> None:
    log = Log()
    thread = Thread(build("START a b END", b=log.node("b")), interrupt_before=["b"])
    thread.run()
    snapshot = thread.update({"items": ["from outside"]})
    assert snapshot.status == "suspended"
    assert snapshot.state["items"] == ["a", "from outside"]
    result = thread.resume({"0:2:before": None})
    assert log.saw["b"]["items"] == ["a", "from outside"]
    assert result.state["items"] == ["a", "from outside"]


def test_a_failed_run_is_helped_by_an_update() -> None:
    async def picky(state: Any) -> Any:
        if state.get("text") != "right":
            raise ValueError("wrong text")
        return {"items": ["done"]}

    thread = Thread(build("START a END", a=picky))
    with pytest.raises(NodeError):
        thread.run({"text": "wrong"})
    thread.update({"text": "right"})
    assert thread.resume().state["items"] == ["done"]


def test_with_several_branches_alive_it_must_be_said_which() -> None:
    log = Log()
    thread = Thread(
        build("START a END", "START b END", a=log.node("a"), b=log.node("b")),
        interrupt_before=["a", "b"],
    )
    thread.run()
    with pytest.raises(ThreadError, match=r"branch=: \(0, 0\) at 'a', \(0, 1\) at 'b'"):
        thread.update({"items": ["x"]})
    with pytest.raises(ThreadError, match=r"0\.7 is none of them"):
        thread.update({"items": ["x"]}, branch=(0, 7))
    assert thread.state().position == 3
    thread.update({"items": ["x"]}, branch=(0, 1))
    thread.resume({"0.0:0:before": None, "0.1:0:before": None})
    assert (log.saw["a"]["items"], log.saw["b"]["items"]) == ([], ["x"])


def test_it_is_merged_in_the_place_of_its_branch() -> None:
    thread = Thread(
        build("START a gather END", "START b gather", gather=Join(), a=asks),
    )
    thread.run()
    thread.update({"items": ["x"]}, branch=(0, 0))
    assert thread.resume({"0.0:0:0": "answer"}).state["items"] == ["x", "b"]


def test_a_branch_that_waits_at_a_sync_point_can_be_written_to() -> None:
    thread = Thread(build("START a gather END", "START b gather", gather=Join(), a=asks))
    thread.run()
    thread.update({"items": ["x"]}, branch=(0, 1))
    assert thread.resume({"0.0:0:0": "answer"}).state["items"] == ["b", "x"]


def test_a_branch_that_is_held_sees_it_behind_what_it_waited_for() -> None:
    log = Log()
    graph = Graph(Work).add_node("a", asks).add_node("b", log.node("b"))
    graph.add_conditional_edges(
        START, lambda _: [Send("a", id="a"), Send("b", after="a")], ["a", "b"]
    )
    thread = Thread(graph.add_edge("a", END).add_edge("b", END))
    thread.run()
    thread.update({"items": ["x"]}, branch=(0, 1))
    thread.resume({"0.0:0:0": "answer"})
    assert (log.saw["b"]["text"], log.saw["b"]["items"]) == ("answer", ["x"])


def test_a_conflict_with_a_sibling_is_one_as_ever() -> None:
    thread = Thread(build("START a gather END", "START b gather", gather=Join(), a=asks))
    thread.run()
    thread.update({"text": "mine"}, branch=(0, 1))
    with pytest.raises(ConflictError, match=r"'an update' in branch 0\.1"):
        thread.resume({"0.0:0:0": "answer"})


def test_a_live_channel_is_updated_for_every_branch() -> None:
    from typing import Annotated, TypedDict

    from plait import reducers

    saw = []

    async def looks(state: Any) -> None:
        interrupt("?")
        saw.append(state["live"])

    state = TypedDict(  # noqa: UP013 - its annotation is no string here
        "state", {"live": Annotated[set[str], reducers.live(reducers.union)]}
    )
    graph = Graph(state).add_node("a", looks).add_node("b", looks)
    for name in "ab":
        graph.add_edge(START, name).add_edge(name, END)
    thread = Thread(graph)
    thread.run()
    thread.update({"live": {"x"}}, branch=(0, 0))
    thread.resume({"0.0:0:0": None, "0.1:0:0": None})
    assert saw == [{"x"}, {"x"}]


def test_a_finished_thread_has_no_branch_to_update() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    with pytest.raises(ThreadError, match="no branch to update"):
        thread.update({"items": ["x"]}, branch=(0,))


# -- what cannot be written -------------------------------------------------------------------


class Strict(BaseModel):
    count: int = 0


def test_it_is_checked_like_what_a_node_returns() -> None:
    thread = Thread(
        Graph(Strict).add_node("a", does(count=1)).add_edge(START, "a").add_edge("a", END)
    )
    thread.run()
    assert thread.update({"count": "3"}).state.count == 3
    for values in ({"count": "many"}, {"none": 1}, ["count"]):
        with pytest.raises(WriteError, match="'an update'"):
            thread.update(values)
    assert thread.state().position == 3


def test_what_the_node_has_not_declared_is_refused_in_its_name() -> None:
    graph = Graph(Work).add_node("a", does(text="x"), writes=["text"])
    thread = Thread(graph.add_edge(START, "a").add_edge("a", END))
    thread.run()
    with pytest.raises(WriteError, match="writes to what it declares only"):
        thread.update({"items": ["x"]}, as_node="a")
    for name in ("b", END):
        with pytest.raises(ValueError, match="is no node"):
            thread.update({"items": ["x"]}, as_node=name)


def test_a_reducer_that_raises_does_so_before_anything_is_recorded() -> None:
    thread = Thread(build("START a END", "START b END", a=asks))
    thread.run()
    with pytest.raises(ReducerError, match="'an update'"):
        thread.update({"sum": "one"}, branch=(0, 0))
    thread.resume({"0.0:0:0": "answer"})
    with pytest.raises(ReducerError):
        thread.update({"sum": "one"})
    assert thread.state().position == 5


def test_only_a_thread_that_is_known_and_free_can_be_updated() -> None:
    async def main() -> None:
        flow = build("START a END", a=does(5)).compile()
        with pytest.raises(ThreadNotFound):
            await flow.update("t", {"items": []})
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: flow.run({}, "t"))
            await anyio.sleep(1)
            with pytest.raises(ThreadBusy):
                await flow.update("t", {"items": ["x"]})

    VirtualClock().run(main())


# -- forks ------------------------------------------------------------------------------------


def test_a_fork_is_a_thread_of_its_own() -> None:
    thread = Thread(build("START a b END"))
    thread.run()
    assert thread.fork(2).state["items"] == ["a"]
    result = thread.await_(thread.flow.resume("new"))
    assert result.state["items"] == ["a", "b"]
    thread.await_(thread.flow.run({}, "new"))
    assert thread.state("new").state["items"] == ["a", "b"] * 2
    assert thread.state().state["items"] == ["a", "b"]


def test_two_answers_are_tried_in_two_threads() -> None:
    thread = Thread(build("START a END", a=asks))
    thread.run()
    snapshot = thread.fork(2)
    assert (snapshot.status, snapshot.thread_id) == ("suspended", "new")
    assert thread.resume({"0:1:0": "yes"}).state["text"] == "yes"
    other = thread.await_(thread.flow.resume("new", {"0:1:0": "no"}))
    assert other.state["text"] == "no"


def test_a_fork_is_updated_without_its_origin() -> None:
    thread = Thread(build("START a END"))
    thread.run()
    thread.fork(2)
    updated = thread.await_(thread.flow.update("new", {"items": ["x"]}))
    assert updated.state["items"] == ["a", "x"]
    assert thread.state().state["items"] == ["a"]


def test_a_thread_cannot_be_forked_from_nowhere_nor_onto_another() -> None:
    thread = Thread(build("START a END"))
    with pytest.raises(ThreadNotFound):
        thread.fork(1)
    thread.run()
    for at in (0, 3, -1):
        with pytest.raises(ValueError, match="positions 1 to 2"):
            thread.fork(at)
    thread.fork(1)
    for taken in ("new", "t"):
        with pytest.raises(ThreadExists, match="exists already"):
            thread.fork(1, taken)


def test_the_store_refuses_by_itself_what_it_cannot_fork() -> None:
    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(ThreadNotFound):
            await store.fork("t", 1, "new")
        await build("START a END").compile(store).run({}, "t")
        with pytest.raises(StoreError, match="positions 1 to 2"):
            await store.fork("t", 3, "new")

    VirtualClock().run(main())
