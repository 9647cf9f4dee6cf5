"""How what branches wrote becomes one state."""

import itertools
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest

from plait import (
    END,
    START,
    ConflictError,
    Graph,
    GraphError,
    Join,
    Overwrite,
    ReducerError,
    Send,
    reducers,
)
from tests.kernel.build import Log, build, does, run


class Counted(TypedDict):
    total: Annotated[float, operator.add]
    names: Annotated[list[str], operator.add]


def two(first: Any, second: Any, **parts: Any) -> Graph:
    """Two branches, ``a`` and ``b``, that meet at ``gather``."""
    return build("START a gather END", "START b gather", gather=Join(), a=first, b=second, **parts)


@pytest.mark.parametrize("speeds", list(itertools.permutations((1, 2, 3))))
def test_deltas_are_merged_in_path_order_and_not_in_order_of_arrival(speeds: Any) -> None:
    graph = build(
        "START a gather END",
        "START b gather",
        "START c gather",
        gather=Join(),
        **{name: does(takes, items=[name]) for name, takes in zip("abc", speeds, strict=True)},
    )
    assert run(graph, {"items": ["base"]}).state["items"] == ["base", "a", "b", "c"]


@pytest.mark.parametrize("speeds", list(itertools.permutations((1, 2, 3))))
def test_branches_that_meet_at_the_end_are_merged_in_path_order(speeds: Any) -> None:
    graph = build(
        *(f"START {name} END" for name in "abc"),
        **{name: does(takes, items=[name]) for name, takes in zip("abc", speeds, strict=True)},
    )
    assert run(graph).state["items"] == ["a", "b", "c"]


def test_what_nobody_gathered_comes_after_all_that_the_owner_wrote() -> None:
    graph = build(
        "START a gather merge END",
        "START b gather",
        "START aside end END",
        gather=Join(),
        aside=does(items=["aside"]),
        b=does(takes=9, items=["b"]),
    )
    assert run(graph).state["items"] == ["a", "b", "merge", "aside", "end"]


@pytest.mark.parametrize("names", list(itertools.permutations("xyz")))
def test_renaming_a_node_changes_no_result(names: tuple[str, ...]) -> None:
    first, second, third = names
    graph = build(
        f"START {first} gather {third} END",
        f"START {second} gather",
        gather=Join(),
        **{first: does(2, items=[1]), second: does(1, items=[2]), third: does(items=[3])},
    )
    assert run(graph).state["items"] == [1, 2, 3]


def test_two_writers_of_a_channel_without_a_reducer_fail_with_both_names() -> None:
    with pytest.raises(ConflictError) as caught:
        run(two(does(text="one"), does(text="two")))
    error = caught.value
    assert (error.channel, error.branches, error.nodes) == ("text", ((0, 0), (0, 1)), ("a", "b"))
    for words in ("'text'", "node 'a' in branch 0.0", "node 'b' in branch 0.1", "Annotated["):
        assert words in str(error)


def test_two_writers_that_meet_at_the_end_are_in_conflict_as_well() -> None:
    with pytest.raises(ConflictError, match="'text'"):
        run(build("START a END", "START b END", a=does(text="one"), b=does(text="two")))


def test_the_owners_writes_after_the_fork_and_a_leftovers_are_concurrent() -> None:
    graph = build(
        "START a gather merge END",
        "START b gather",
        "START aside END",
        gather=Join(),
        merge=does(text="one"),
        aside=does(text="two"),
    )
    with pytest.raises(ConflictError) as caught:
        run(graph)
    assert caught.value.nodes == ("merge", "aside")


def test_a_fork_and_what_comes_after_its_sync_point_write_one_after_the_other() -> None:
    graph = build(
        "START first a gather last END",
        "first b gather",
        gather=Join(),
        first=does(text="first"),
        a=does(text="a"),
        last=does(text="last"),
    )
    assert run(graph).state["text"] == "last"


def test_writes_of_one_branch_overwrite_each_other() -> None:
    graph = build("START a b END", a=does(text="one"), b=does(text="two"))
    assert run(graph).state["text"] == "two"


class WritesText(TypedDict):
    text: str


def test_where_the_graph_alone_shows_two_writers_it_is_refused() -> None:
    async def write(_state: Any) -> WritesText:
        return {"text": "x"}

    graph = build("START a b gather END", "START c gather", gather=Join(), b=write, c=write)
    with pytest.raises(GraphError, match="'b' and 'c' both write channel 'text' in parallel"):
        graph.compile()


def test_the_same_channel_in_alternative_branches_is_not_refused() -> None:
    async def write(_state: Any) -> WritesText:
        return {"text": "x"}

    graph = build("a END", "b END", a=write, b=write)
    graph.add_conditional_edges(START, lambda _: "b", ["a", "b"])
    assert run(graph).state["text"] == "x"


# -- Overwrite --------------------------------------------------------------------------------


def test_an_overwrite_replaces_what_its_branch_sees_and_voids_its_earlier_writes() -> None:
    log = Log()
    graph = build(
        "START a a2 look gather END",
        "START b gather",
        gather=Join(),
        a2=does(items=Overwrite(["new"])),
        look=log.node("look", items=["more"]),
        b=does(),
    )
    assert run(graph, {"items": ["base"]}).state["items"] == ["new", "more"]
    assert log.saw["look"]["items"] == ["new"]


@pytest.mark.parametrize("overwriter", ["a", "b"])
def test_an_overwrite_that_meets_a_concurrent_write_is_a_conflict(overwriter: str) -> None:
    nodes = {name: does(items=[name]) for name in "ab"}
    nodes[overwriter] = does(items=Overwrite([]))
    with pytest.raises(ConflictError, match="Overwrite") as caught:
        run(build("START a gather END", "START b gather", gather=Join(), **nodes))
    assert (caught.value.channel, caught.value.nodes) == ("items", ("a", "b"))


def test_an_overwrite_of_a_channel_with_one_writer_is_a_plain_write() -> None:
    assert run(build("START a END", a=does(text=Overwrite("x")))).state["text"] == "x"


def test_an_overwrite_after_the_sync_point_is_no_conflict() -> None:
    graph = build(
        "START a gather c END", "START b gather", gather=Join(), c=does(items=Overwrite([]))
    )
    assert run(graph).state["items"] == []


def test_an_overwrite_says_what_it_is() -> None:
    assert repr(Overwrite([1])) == "Overwrite([1])"
    assert Overwrite(1) == Overwrite(1) != Overwrite(2)
    assert hash(Overwrite(1)) == hash(Overwrite(1))


# -- reducers ---------------------------------------------------------------------------------


def test_any_function_of_two_arguments_is_a_reducer() -> None:
    graph = build(
        "START a gather END",
        "START b gather",
        schema=Counted,
        gather=Join(),
        a=does(total=1.5, names=["a"]),
        b=does(total=2.0, names=["b"]),
    )
    assert run(graph, {"total": 10}).state == {"total": 13.5, "names": ["a", "b"]}


def test_a_reducer_that_raises_is_named_with_the_node_whose_write_it_was() -> None:
    with pytest.raises(ReducerError) as caught:
        run(two(does(sum=1), does(sum="two")))
    error = caught.value
    assert (error.channel, error.node) == ("sum", "b")
    assert isinstance(error.__cause__, TypeError)
    assert "'two'" in str(error)


def test_a_reducer_that_raises_on_an_overwritten_value_is_named_too() -> None:
    with pytest.raises(ReducerError) as caught:
        run(build("START a b END", a=does(sum=Overwrite("x")), b=does(sum=1)))
    assert caught.value.node == "b"


def test_a_reducer_that_raises_only_once_is_named_with_the_last_write() -> None:
    moods = iter([True])

    def moody(value: int, write: int) -> int:
        if next(moods, False):
            raise ValueError("not now")
        return value + write

    class Moody(TypedDict):
        number: Annotated[int, moody]

    with pytest.raises(ReducerError, match="not now") as caught:
        run(build("START a END", schema=Moody, a=does(number=1)))
    assert caught.value.node == "a"


class CountingList(list[Any]):
    """A list that counts the items that are read out of it."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            CountingList.read += 1
            yield item


@pytest.mark.parametrize("reducer", [reducers.append, operator.add], ids=["append", "+"])
@pytest.mark.parametrize("n", [100, 1000])
def test_folding_n_appends_takes_a_number_of_steps_that_grows_as_n(reducer: Any, n: int) -> None:
    CountingList.read = 0
    writes = [CountingList([number]) for number in range(n)]
    result = reducers.as_reducer(reducer, list).fold(CountingList(range(n)), writes)
    assert len(result) == 2 * n
    assert CountingList.read <= 2 * n


def test_a_fan_of_n_copies_a_growing_list_once() -> None:
    folds: list[int] = []

    def join(value: list[int], writes: Any) -> list[int]:
        folds.append(len(value) + len(writes))
        return [*value, *itertools.chain.from_iterable(writes)]

    counting = reducers.Reducer(
        lambda value, write: join(value, [write]), associative=True, identity=list, batch=join
    )

    class Counting(TypedDict):
        items: Annotated[list[int], counting]

    async def work(number: int) -> Any:
        return {"items": [number]}

    graph = Graph(Counting).add_node(work).add_sync_point("gather")
    graph.add_edge("work", "gather").add_edge("gather", END)
    graph.add_conditional_edges(START, lambda _: [Send("work", n) for n in range(500)], ["work"])
    assert len(run(graph).state["items"]) == 500
    assert sum(folds) <= 1010


def test_the_state_of_a_node_call_is_not_copied() -> None:
    seen: list[Any] = []
    big = list(range(1000))

    async def look(state: Any) -> None:
        seen.append(state["items"])

    run(build("START a b END", a=look, b=look), {"items": big})
    assert seen[0] is seen[1]


# -- live channels ----------------------------------------------------------------------------


class Shared(TypedDict):
    found: Annotated[set[str], reducers.live(reducers.union)]
    items: Annotated[list[Any], reducers.append]


def test_a_write_to_a_live_channel_is_seen_by_siblings_at_their_next_node() -> None:
    log = Log()
    graph = build(
        "START a gather END",
        "START b b2 gather",
        schema=Shared,
        gather=Join(),
        a=does(takes=1, found={"a"}),
        b=log.node("b", takes=2),
        b2=log.node("b2", found={"b2"}),
    )
    result = run(graph, {"found": {"given"}})
    assert (log.saw["b"]["found"], log.saw["b2"]["found"]) == ({"given"}, {"given", "a"})
    assert result.state["found"] == {"given", "a", "b2"}


def test_a_live_write_survives_the_cancellation_of_its_branch() -> None:
    graph = build(
        "START a gather END",
        "START b slow gather",
        schema=Shared,
        gather=Join(quorum=1),
        a=does(takes=1),
        b=does(found={"b"}, items=["b"]),
        slow=does(takes=60),
    )
    assert run(graph).state == {"found": {"b"}, "items": []}


def test_a_router_sees_live_writes() -> None:
    seen: list[Any] = []
    graph = build("START a END", "END", schema=Shared, a=does(found={"a"}))
    graph.add_conditional_edges("a", lambda state: seen.append(state["found"]), [END])
    run(graph)
    assert seen == [{"a"}]


def test_a_live_channel_cannot_be_overwritten() -> None:
    graph = build("START a END", schema=Shared, a=does(found=Overwrite({"x"})))
    with pytest.raises(Exception, match="a live channel cannot be overwritten"):
        run(graph)


def test_a_live_channel_keeps_its_value_into_the_next_run() -> None:
    import anyio

    async def twice() -> Any:
        flow = build("START a END", schema=Shared, a=does(found={"a"})).compile()
        await flow.run({"found": {"x"}}, thread_id="t")
        return (await flow.run({"found": {"y"}}, thread_id="t")).state

    assert anyio.run(twice)["found"] == {"x", "y", "a"}


@pytest.mark.parametrize(
    "reducer", [reducers.append, reducers.merge_dicts, reducers.declare(operator.add)]
)
def test_a_live_channel_with_a_reducer_that_depends_on_order_is_refused(reducer: Any) -> None:
    class Wrong(TypedDict):
        items: Annotated[list[Any], reducers.live(reducer)]

    with pytest.raises(GraphError, match=r"'items' is live, but its reducer .* order"):
        build("START a END", schema=Wrong).compile()


# -- subgraphs --------------------------------------------------------------------------------


class Inner(TypedDict):
    items: Annotated[list[Any], reducers.append]
    private: int


def test_a_subgraph_hands_back_its_writes_so_that_nothing_is_folded_twice() -> None:
    log = Log()
    inner = build("START x y END", x=log.node("x", items=["x"], text="inner")).compile()
    graph = build("START a sub b END", sub=inner)
    result = run(graph, {"items": ["base"]})
    assert log.saw["x"]["items"] == ["base", "a"]
    assert result.state["items"] == ["base", "a", "x", "y", "b"]
    assert result.state["text"] == "inner"


def test_a_subgraph_shares_the_channels_that_both_have_and_no_others() -> None:
    log = Log()
    inner = build("START x END", schema=Inner, x=log.node("x", items=["x"], private=1)).compile()
    result = run(build("START a sub END", a=does(text="a", items=["a"]), sub=inner))
    assert log.saw["x"] == {"items": ["a"]}
    assert result.state["items"] == ["a", "x"]
    assert "private" not in result.state


def test_the_forks_of_a_subgraph_are_merged_in_order_and_handed_back() -> None:
    inner = build(
        "START x gather END", "START y gather", "START z END", gather=Join(), x=does(5, items=["x"])
    ).compile()
    result = run(build("START sub gather END", "START b gather", sub=inner, gather=Join()))
    assert result.state["items"] == ["x", "y", "z", "b"]


def test_a_subgraph_may_be_sent_its_input() -> None:
    log = Log()
    inner = build("START x END", x=log.node("x", items=["x"])).compile()
    graph = build("gather END", gather=Join()).add_node("sub", inner).add_edge("sub", "gather")
    graph.add_conditional_edges(
        START, lambda _: [Send("sub", {"text": "one"}), Send("sub", {"text": "two"})], ["sub"]
    )
    assert run(graph, {"items": ["base"]}).state["items"] == ["base", "x", "x"]
    assert log.saw["x"]["text"] == "two"
    assert log.saw["x"]["items"] == []


def test_live_writes_of_a_subgraph_are_handed_back() -> None:
    inner = build("START x END", schema=Shared, x=does(found={"x"})).compile()
    assert run(build("START sub END", schema=Shared, sub=inner)).state["found"] == {"x"}


def test_an_overwrite_in_a_subgraph_overwrites_in_its_parent() -> None:
    inner = build("START x y END", x=does(items=Overwrite(["new"]))).compile()
    assert run(build("START a sub END", sub=inner)).state["items"] == ["new", "y"]
