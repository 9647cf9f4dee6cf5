"""Branches: what they see, how they are numbered, and when they run."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from plait import END, START, Command, Graph, Join, NodeContext, RoutingError, Send
from plait.store import MemoryStore
from plait.tree import Branch
from tests.kernel.build import Log, Work, build, does, fan, run, sends_once, timed


def test_a_branch_sees_the_state_at_its_fork_and_its_own_writes_and_no_siblings() -> None:
    log = Log()
    graph = build(
        "START before a1 a2 gather after END",
        "before b1 b2 gather",
        before=does(items=["before"]),
        gather=Join(),
        a1=does(items=["a"]),
        a2=log.node("a2", takes=5),
        b1=does(takes=1, items=["b"]),
        b2=log.node("b2"),
        after=log.node("after"),
    )
    run(graph)
    assert log.saw["a2"]["items"] == ["before", "a"]
    assert log.saw["b2"]["items"] == ["before", "b"]
    assert log.saw["after"]["items"] == ["before", "a", "b"]


def test_a_fast_branch_starts_its_second_node_while_its_slow_sibling_still_runs() -> None:
    log = Log()
    graph = build(
        "START fast next gather END",
        "START slow gather",
        gather=Join(),
        fast=log.node("fast", takes=1),
        next=log.node("next"),
        slow=log.node("slow", takes=60),
    )
    _, seconds = timed(graph)
    begun = dict(log.entries)
    assert begun["next"] == begun["fast"] + 1
    assert seconds == 60


def test_branches_that_wait_wait_side_by_side() -> None:
    result, seconds = timed(fan(Join(), *[7.0] * 100))
    assert len(result.state["items"]) == 100
    assert seconds == 7


def test_paths_say_where_a_branch_was_forked() -> None:
    paths: dict[str, Any] = {}

    def note(name: str) -> Any:
        async def node(_state: Any, ctx: NodeContext) -> None:
            paths[name] = ctx.branch

        return node

    names = ["first", "a", "b", "b1", "b2", "after"]
    graph = build(
        "START first a outer after END",
        "first b b1 inner outer",
        "b b2 inner",
        outer=Join(),
        inner=Join(),
        **{name: note(name) for name in names},
    )
    run(graph)
    assert paths == {
        "first": (0,),
        "a": (0, 0),
        "b": (0, 1),
        "b1": (0, 1, 0),
        "b2": (0, 1, 1),
        "after": (0,),
    }


def test_a_branch_that_goes_on_to_one_node_is_the_same_branch() -> None:
    paths: list[Any] = []

    async def note(_state: Any, ctx: NodeContext) -> None:
        paths.append(ctx.branch)

    run(build("START a b c END", a=note, b=note, c=note))
    assert paths == [(0,), (0,), (0,)]


def test_the_children_of_a_later_fork_go_on_counting() -> None:
    paths: list[Any] = []

    async def note(_state: Any, ctx: NodeContext) -> None:
        paths.append(ctx.branch)

    graph = build(
        "START a g h c i END",
        "START b g",
        "h d i",
        g=Join(),
        i=Join(),
        a=note,
        b=note,
        c=note,
        d=note,
    )
    run(graph)
    assert sorted(paths) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_send_gives_its_node_an_argument_in_place_of_the_state() -> None:
    assert run(fan(Join(), 0, 0, 0)).state["items"] == [0, 1, 2]


def test_a_send_without_an_argument_gives_the_state() -> None:
    log = Log()
    graph = build("START a b END", a=does(text="written"), b=log.node("b"))
    graph.add_node("c", log.node("c"))
    graph.add_conditional_edges("a", lambda _: [Send("c")], ["c"])
    graph.add_edge("c", END)
    run(graph)
    assert log.saw["c"]["text"] == log.saw["b"]["text"] == "written"


def test_only_the_first_node_of_a_branch_gets_the_argument_of_its_send() -> None:
    log = Log()
    graph = build("second END", second=log.node("second"))
    graph.add_node("first", log.node("first", items=["x"]))
    graph.add_conditional_edges(START, lambda _: Send("first", 42), ["first"])
    graph.add_edge("first", "second")
    run(graph)
    assert log.saw["first"] == 42
    assert log.saw["second"]["items"] == ["x"]


def test_the_same_target_twice_opens_two_branches() -> None:
    graph = build("work gather END", gather=Join())
    graph.add_conditional_edges(START, sends_once("work", "work"), ["work"])
    assert run(graph).state["items"] == ["work", "work"]


def test_edges_and_routers_lead_on_in_the_order_in_which_they_were_declared() -> None:
    graph = Graph(Work)
    for name in "abcd":
        graph.add_node(name, does(items=[name]))
    graph.add_node("start", does(), targets=["d"])
    graph.add_edge(START, "start")
    graph.add_conditional_edges("start", lambda _: "c", ["c"])
    graph.add_edge("start", "a")
    graph.add_conditional_edges("start", lambda _: ["b"], ["b"])
    for name in "abcd":
        graph.add_edge(name, END)
    assert run(graph).state["items"] == ["c", "a", "b"]


def test_a_commands_way_comes_in_addition_to_the_edges_and_after_them() -> None:
    async def choose(_state: Any) -> Any:
        return Command({"items": ["choose"]}, goto=["b", Send("c")])

    graph = Graph(Work).add_node(choose, targets=["b", "c"]).add_edge(START, "choose")
    for name in "abc":
        graph.add_node(name, does(items=[name])).add_edge(name, END)
    graph.add_edge("choose", "a")
    assert run(graph).state["items"] == ["choose", "a", "b", "c"]


def test_a_command_may_only_go_where_it_was_declared_to() -> None:
    async def choose(_state: Any) -> Any:
        return Command(goto="b")

    graph = build("START choose a b END", choose=choose)
    with pytest.raises(Exception, match=r"goes to 'b', which is not declared") as caught:
        run(graph)
    assert isinstance(caught.value.__cause__, RoutingError)


def test_a_command_may_repeat_an_edge_of_its_own_node() -> None:
    async def choose(_state: Any) -> Any:
        return Command(goto="a")

    assert run(build("START choose a END", choose=choose)).state["items"] == ["a", "a"]


def test_a_command_without_declared_targets_may_go_anywhere() -> None:
    async def choose(_state: Any) -> Command:
        return Command(goto="far")

    graph = build("START choose", "far END", choose=choose)
    assert run(graph).state["items"] == ["far"]


def test_a_router_sees_the_state_after_its_nodes_own_writes() -> None:
    graph = build("START a", "b END", "c END", a=does(text="go to c"))
    graph.add_conditional_edges("a", lambda state: state["text"][-1], ["b", "c"])
    assert run(graph).state["items"] == ["c"]


def test_a_router_may_be_a_coroutine_function() -> None:
    async def choose(_state: Any) -> str:
        await anyio.sleep(3)
        return "b"

    graph = build("START a", "b END", "c END")
    graph.add_conditional_edges("a", choose, ["b", "c"])
    result, seconds = timed(graph)
    assert result.state["items"] == ["a", "b"]
    assert seconds == 3


def test_a_router_may_be_given_names_for_what_it_returns() -> None:
    graph = build("START a", "b END", "c END")
    graph.add_conditional_edges("a", lambda _: [True, False], {True: "b", False: "c"})
    assert run(graph).state["items"] == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", [None, []])
def test_a_router_that_returns_nothing_ends_the_branch(nothing: Any) -> None:
    graph = build("START a", "b END")
    graph.add_conditional_edges("a", lambda _: nothing, ["b"])
    assert run(graph).state["items"] == ["a"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("nowhere", "chose 'nowhere', which is no node"),
        (START, "which is no node"),
        ("b", "not among its declared targets"),
        (7, "returned 7, which is no name and no Send"),
        ([Send("a", 1, weight=0)], "gives the weight 0: it must be a number above 0"),
        ([Send("a", 1, weight=True)], "gives the weight True"),
        (Send(END, 1), "sends an argument to END, where nothing takes it"),
        (Send("meet", 1), "sends an argument to sync point 'meet'"),
        ([Send("a", id="x"), Send("a", id="x")], "two branches have the id 'x'"),
        ([Send("a", after="y")], "comes after 'y', which is no id of a sibling (there are: none)"),
        (
            [Send("a", id="x", after="y"), Send("a", id="y", after=["x"])],
            "the branches 'x', 'y' wait for each other",
        ),
    ],
)
def test_what_a_router_cannot_return_is_an_error_at_the_fork(chosen: Any, words: str) -> None:
    log = Log()
    graph = build("START first", "a meet END", "b meet", meet=Join(), a=log.node("a"))
    graph.add_edge(START, "b")
    graph.add_conditional_edges("first", lambda _: chosen, ["a", "meet", END])
    with pytest.raises(Exception, match="after 'first'") as caught:
        run(graph)
    assert words in str(caught.value.__cause__)
    assert log.order == []


def test_what_a_routers_mapping_lacks_is_an_error() -> None:
    graph = build("START a", "b END")
    graph.add_conditional_edges("a", lambda _: "other", {"one": "b"})
    with pytest.raises(Exception, match="returned 'other', which its mapping lacks"):
        run(graph)


def test_the_end_waits_for_every_live_branch() -> None:
    result, seconds = timed(build("START a END", "START b END", b=does(takes=60, items=["b"])))
    assert result.state["items"] == ["a", "b"]
    assert seconds == 60


def test_a_fork_of_no_branches_and_no_sync_point_ends_the_run() -> None:
    graph = build("a END")
    graph.add_conditional_edges(START, lambda _: [], ["a"])
    assert run(graph).status == "completed"


def test_a_send_says_what_it_is() -> None:
    send = Send("a", 1, id="x", after="y", weight=2.0)
    assert repr(send) == "Send('a', 1, id='x', after=('y',), weight=2.0)"
    assert send == Send("a", 1, id="x", after=("y",), weight=2.0)
    assert send != Send("a", 2)
    assert repr(Send("a")) == "Send('a')"


def test_a_loop_that_forks_in_each_turn_may_be_longer_than_the_stack_is_deep() -> None:
    graph = build("START turn side END", turn=does(sum=1), side=does(items=["side"]))
    graph.add_conditional_edges("turn", lambda s: "turn" if s["sum"] < 1500 else END, ["turn", END])
    state = run(graph).state
    assert (state["sum"], len(state["items"])) == (1500, 1500)


@pytest.mark.parametrize(
    "ways",
    [
        ("START a gather after END", "START b gather"),
        ("START a END", "START b END"),
        ("START a a1 inner gather after END", "a a2 inner", "START b gather"),
    ],
    ids=["gathered", "ended", "nested"],
)
async def test_a_finished_run_leaves_no_branch_to_the_garbage_collector(
    ways: tuple[str, ...],
) -> None:
    parts = {name: Join() for name in ("gather", "inner") if any(name in way for way in ways)}
    flow = build(*ways, **parts).compile()
    await flow.run()
    gc.collect()
    gc.disable()
    try:
        before = sum(type(each) is Branch for each in gc.get_objects())
        await flow.run()
        after = sum(type(each) is Branch for each in gc.get_objects())
    finally:
        gc.enable()
    assert after == before


async def test_records_have_all_their_fields_and_contexts_are_compared_by_identity() -> None:
    seen: list[NodeContext] = []

    async def again(_state: Any, ctx: NodeContext) -> None:
        seen.append(ctx)

    store = MemoryStore()
    flow = build("START a gather b END", "START c gather", a=again, b=again, gather=Join()).compile(
        store
    )
    result = await flow.run({}, "t")
    records: list[Any] = [*await store.read("t"), *result.outcomes["gather"].latest.arrived]
    records += [target for event in records for target in getattr(event, "targets", ())]
    assert all(len(each) == len(type(each)._fields) for each in [*records, *seen])
    assert seen[0] == seen[0] != seen[1]
    assert len({*seen, *seen}) == 2
