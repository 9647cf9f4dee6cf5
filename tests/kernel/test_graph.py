"""What compile() refuses, each with a sentence that says what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from plait import (
    ALL,
    ANY,
    END,
    START,
    Command,
    Graph,
    GraphError,
    Join,
    NodeError,
    Retry,
    Send,
)
from plait.plan import Router
from tests.kernel.build import Work, build, does, run, sends_once


def two(join: Join) -> Graph:
    """Two branches that meet at ``gather``, by this policy."""
    return build("START a gather END", "START b gather", gather=join)


def node(**options: Any) -> Graph:
    """One node, ``n``, with these options."""
    return Graph(Work).add_node("n", does(), **options).add_edge(START, "n").add_edge("n", END)


def router(source: str, targets: Any) -> Graph:
    """``a`` goes on to END; and this router."""
    return build("START a END").add_conditional_edges(source, lambda _: END, targets)


async def takes_three(_a: Any, _b: Any, _c: Any) -> None:
    """No node can be called like this."""


async def goes_to_nowhere(_state: Any) -> Command[Literal["nowhere"]]:
    return Command(goto="nowhere")


async def wanders(_state: Any) -> Command:
    return Command(goto=END)


def chooses(_state: Any) -> Literal["a", "b"]:
    return "a"


def ambiguous() -> Graph:
    """Two routers one after the other, of which either may open several branches."""
    graph = build("START p", "q", "a g END", "b g", g=Join())
    graph.add_conditional_edges("p", lambda _: "q", ["q", END])
    return graph.add_conditional_edges("q", lambda _: "a", ["a", "b"])


def opened() -> Graph:
    """START forks; but if ``v`` may lead anywhere, not every way to ``g`` passes ``p``."""
    return build("START p c g END", "START v END", "p d g", g=Join(quorum=1), v=wanders)


REFUSED: list[tuple[str, Callable[[], Graph], str]] = [
    # -- names
    ("nothing begins", lambda: build("a END"), "nothing begins: add_edge(START, ...)"),
    (
        "an unknown target",
        lambda: build("START plan END").add_edge("plan", "pln"),
        "the edge 'plan' -> 'pln' names 'pln', which is not there: did you mean 'plan'?",
    ),
    (
        "an unknown source",
        lambda: build("START a END").add_edge("elsewhere", "a"),
        "names 'elsewhere', which is not there: add it, or correct the name",
    ),
    ("an edge from END", lambda: build("START a END a"), "starts at END"),
    ("an edge to START", lambda: build("START a END", "a START"), "leads to START"),
    (
        "an edge twice",
        lambda: build("START a END").add_edge("a", END),
        "the edge from 'a' to '__end__' is there twice",
    ),
    (
        "two nodes of one name",
        lambda: build("START a END").add_node("a", does()),
        "there are two nodes or sync points named 'a'",
    ),
    (
        "a node and a sync point of one name",
        lambda: two(Join()).add_sync_point("a"),
        "there are two nodes or sync points named 'a'",
    ),
    ("a reserved name", lambda: node().add_node(END, does()), "'__end__' is reserved"),
    ("a word of the policies", lambda: node().add_node("raise", does()), "a word of the policies"),
    (
        "a node without a function",
        lambda: node().add_node("m"),  # type: ignore[call-overload]
        "add_node('m') has no function",
    ),
    ("a node that is no function", lambda: node().add_node("m", 7), "is 7, which is no function"),  # type: ignore[call-overload]
    (
        "a node of three arguments",
        lambda: node().add_node(takes_three),
        "node 'takes_three' takes 3 arguments: it is called as node(state) or node(state, ctx)",
    ),
    (
        "an unknown target of a router",
        lambda: router("a", ["b"]),
        "the router '<lambda>' after 'a' names 'b', which is not there",
    ),
    ("a router to START", lambda: router("a", [START]), "leads to START"),
    (
        "an unknown target of a Command",
        lambda: build("START n END", n=goes_to_nowhere),
        "a Command of node 'n' names 'nowhere'",
    ),
    ("an unknown on_error", lambda: node(on_error="m"), "on_error of node 'n' names 'm'"),
    (
        "an unknown on_timeout",
        lambda: two(Join(timeout=1, on_timeout="c")),
        "on_timeout of sync point 'gather' names 'c'",
    ),
    (
        "an unknown fork",
        lambda: build("START a g END", "START b g", g=Join(), forks={"g": "c"}),
        "fork= of sync point 'g' names 'c'",
    ),
    # -- ways
    (
        "an unreachable node",
        lambda: build("START a END", "b END"),
        "no way leads to node 'b': add an edge to it, declare it as a target, or remove it",
    ),
    (
        "an unreachable sync point",
        lambda: build("START a END", "g END", g=Join()),
        "no way leads to sync point 'g'",
    ),
    (
        "a node without a way to END",
        lambda: build("START a END", "START b"),
        "no way leads from node 'b' to END: add_edge('b', END)",
    ),
    (
        "a loop without a way out",
        lambda: build("START a END", "START b c b"),
        "no way leads from node 'b' to END",
    ),
    # -- sync points
    (
        "a sync point outside any fork",
        lambda: build("START a g END", g=Join()),
        "sync point 'g' is outside any fork",
    ),
    (
        "a sync point after a router that chooses",
        lambda: build("a g END", "b g", g=Join()).add_conditional_edges(START, chooses),
        "sync point 'g' is outside any fork",
    ),
    (
        "a sync point of two possible forks",
        ambiguous,
        "say which with add_sync_point(..., fork=...)",
    ),
    (
        "a fork that is not before its sync point",
        lambda: build("START a g END", "START b g", g=Join(), forks={"g": "b"}),
        "cannot gather the branches of fork 'b', since not every way to it runs through there",
    ),
    (
        "a cycle through a sync point past its fork",
        lambda: build("START a g c a", "START b g", "c END", g=Join()),
        "a cycle leads from sync point 'g' back to it without passing its fork",
    ),
    (
        "a quorum beyond what is opened",
        lambda: two(Join(quorum=3)),
        "quorum=3 can never be met, since '__start__' opens 2 branches towards it",
    ),
    (
        "a minimum beyond what is opened",
        lambda: two(Join(minimum=3)),
        "minimum=3 can never be met",
    ),
    (
        "an open Command that changes the fork of a partial quorum",
        opened,
        "may lead anywhere: declare the targets there",
    ),
    # -- policies
    ("a quorum of none", lambda: two(Join(quorum=0)), "quorum=0 is below 1"),
    ("a share of none", lambda: two(Join(quorum=0.0)), "quorum=0.0 is no share"),
    ("a share beyond all", lambda: two(Join(quorum=1.5)), "quorum=1.5 is no share"),
    ("no share at all", lambda: two(Join(quorum=math.nan)), "quorum=nan is no share"),
    ("a quorum that is true", lambda: two(Join(quorum=True)), "quorum=True is none of ALL, ANY"),
    (
        "a quorum in words",
        lambda: two(Join(quorum="all")),  # type: ignore[arg-type]
        "quorum='all' is none of ALL, ANY, count, share, weights, predicate",
    ),
    (
        "weights that never add up",
        lambda: two(Join(quorum={"a": 0.5, "b": 0.25})),
        "weights add up to 0.75, and it is met at 1",
    ),
    (
        "a weight below nothing",
        lambda: two(Join(quorum={"a": -1, "b": 3})),
        "every weight of the quorum must be a finite number, 0 or more",
    ),
    ("a grace below nothing", lambda: two(Join(grace=-1)), "grace=-1 must be seconds, 0 or more"),
    ("a grace without end", lambda: two(Join(grace=math.inf)), "grace=inf must be seconds"),
    ("a deadline of nothing", lambda: two(Join(timeout=0)), "timeout=0 must be seconds above 0"),
    ("a minimum below nothing", lambda: two(Join(minimum=-1)), "minimum=-1 must be a count"),
    ("a minimum in parts", lambda: two(Join(minimum=0.5)), "minimum=0.5 must be a count"),  # type: ignore[arg-type]
    (
        "stragglers that are unknown",
        lambda: two(Join(stragglers="kill")),  # type: ignore[arg-type]
        "stragglers='kill' must be one of 'cancel', 'detach'",
    ),
    (
        "latecomers that are unknown",
        lambda: two(Join(late="keep")),  # type: ignore[arg-type]
        "late='keep' must be one of 'drop', 'merge', 'next_round'",
    ),
    (
        "a deadline from elsewhere",
        lambda: two(Join(timeout_from="start")),  # type: ignore[arg-type]
        "timeout_from='start' must be one of 'fork', 'first_arrival'",
    ),
    (
        "a clock that is unknown",
        lambda: two(Join(clock_on_interrupt="stop")),  # type: ignore[arg-type]
        "clock_on_interrupt='stop' must be one of",
    ),
    (
        "an on_timeout that is no word",
        lambda: two(Join(on_timeout=5)),  # type: ignore[arg-type]
        "on_timeout=5 must be 'proceed', 'raise' or a node",
    ),
    # -- nodes
    ("a time limit of nothing", lambda: node(timeout=0), "timeout=0 must be seconds above 0"),
    ("no attempt", lambda: node(retry=Retry(attempts=0)), "needs at least 1 attempt"),
    ("a delay below nothing", lambda: node(retry=Retry(initial=-1)), "delays of 0 seconds or more"),
    (
        "a pool that is not there",
        lambda: node(pool="gpu"),
        "node 'n' wants a place in pool 'gpu': compile(pools={'gpu': ...})",
    ),
    (
        "a channel that is not there",
        lambda: node(writes=["item"]),
        "node 'n' declares that it writes names 'item', which is not there: did you mean 'items'?",
    ),
]


@pytest.mark.parametrize(
    ("make", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_compile_refuses(make: Callable[[], Graph], words: str) -> None:
    with pytest.raises(GraphError) as caught:
        make().compile()
    assert words in str(caught.value)


def test_all_faults_come_in_one_error() -> None:
    graph = two(Join(quorum=0, grace=-1)).add_edge("a", "nowhere").add_node("a", does())
    with pytest.raises(GraphError) as caught:
        graph.compile()
    assert len(caught.value.faults) == 4
    assert str(caught.value).startswith("graph 'example' cannot be compiled:\n  - ")


def test_late_merge_wants_a_channel_with_a_lattice_reducer() -> None:
    from typing import TypedDict

    class Plain(TypedDict):
        text: str

    graph = build("START a g END", "START b g", schema=Plain, g=Join(late="merge"))
    with pytest.raises(GraphError, match="needs a channel with a lattice reducer"):
        graph.compile()


# -- what it allows ---------------------------------------------------------------------------


@pytest.mark.parametrize("quorum", [ALL, ANY, 2, 0.5, 1.0, {"a": 1}, lambda _: True])
def test_every_kind_of_quorum_is_allowed(quorum: Any) -> None:
    assert run(two(Join(quorum=quorum))).status == "completed"


def test_a_node_is_named_after_its_function() -> None:
    async def plan(_state: Any) -> None:
        """Does nothing."""

    graph = Graph(Work).add_node(plan).add_edge(START, "plan").add_edge("plan", END)
    assert "plan" in graph.plan().vertices


def test_a_flow_added_without_a_name_has_its_graphs() -> None:
    inner = build("START a END").compile()
    graph = Graph(Work).add_node(inner).add_edge(START, "example").add_edge("example", END)
    assert run(graph).state["items"] == ["a"]


def test_a_graph_is_named_after_its_schema() -> None:
    assert Graph(Work).name == "Work"
    assert Graph(Work, "mine").name == "mine"


def test_a_plan_is_not_changed_by_what_is_added_to_its_graph_later() -> None:
    graph = build("START a END")
    flow = graph.compile()
    graph.add_node("b", does(items=["b"])).add_edge("a", "b").add_edge("b", END)
    assert run(flow).state["items"] == ["a"]


def returns_list(_state: Any) -> list[Literal["b", "c"]]:
    return ["c", "b"]


def returns_union(_state: Any) -> Literal["b"] | Literal["c"]:  # noqa: PYI030 - it is read
    return "b"


def returns_sequence(_state: Any) -> Sequence[Literal["b", "c"]]:
    return ("b",)


def returns_names(_state: Any) -> list[str]:
    return ["b"]


def returns_sends(_state: Any) -> list[Send]:
    return [Send("b")]


def returns_any_name(_state: Any) -> str:
    return "b"


def returns_nothing_known(_state: Any) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
    return "b"


class Chooser:
    def __call__(self, _state: Any) -> Literal["b", "c"]:
        return "b"


@pytest.mark.parametrize(
    ("router", "targets"),
    [
        (returns_list, ("b", "c")),
        (returns_union, ("b", "c")),
        (returns_sequence, ("b", "c")),
        (Chooser(), ("b", "c")),
        (returns_any_name, None),
        (returns_names, None),
        (returns_sends, None),
        (returns_nothing_known, None),
        (lambda _: "b", None),
    ],
)
def test_a_routers_targets_are_read_from_its_annotation(router: Any, targets: Any) -> None:
    graph = build("START a END", "b END", "c END").add_conditional_edges("a", router)
    graph.add_edge("a", "b").add_edge("a", "c")
    (way,) = [way for way in graph.plan().vertices["a"].ways if isinstance(way, Router)]
    assert way.targets == targets
    assert run(graph).status == "completed"


async def to_b(_state: Any) -> Command[Literal["b"]]:
    return Command(goto="b")


async def to_b_or_c(_state: Any) -> Command[Literal["b"]] | Command[Literal["c"]] | None:
    return Command[Any](goto=["c", Send("b")])


async def maybe_anywhere(_state: Any) -> Command | None:
    return Command(goto="b")


async def local_name(_state: Any) -> Command[Local]:  # type: ignore[name-defined]  # noqa: F821
    return Command(goto="b")


@pytest.mark.parametrize(
    ("fn", "targets"),
    [(to_b, ("b",)), (to_b_or_c, ("b", "c")), (maybe_anywhere, None), (local_name, None)],
)
def test_where_a_command_may_go_is_read_from_its_nodes_annotation(fn: Any, targets: Any) -> None:
    graph = build("START a END", "b END", "c END", a=fn).add_edge("a", "c").add_edge("a", "b")
    spec = graph.plan().vertices["a"].node
    assert spec is not None
    assert spec.targets == targets
    assert run(graph).status == "completed"


def test_a_builtin_may_be_a_node() -> None:
    assert run(build("START n END", n=dict), {"text": "x"}).state["text"] == "x"


def test_a_fork_may_be_named_where_it_is_not_clear() -> None:
    graph = build("START p", "q", "a g END", "b g", g=Join(), forks={"g": "q"})
    graph.add_conditional_edges("p", lambda _: "q", ["q", END])
    graph.add_conditional_edges("q", lambda _: ["a", "b"], ["a", "b"])
    assert len(run(graph).outcomes["g"].latest.arrived) == 2


def test_a_router_that_makes_sends_to_the_sync_point_itself_forks() -> None:
    graph = build("g END", g=Join()).add_conditional_edges(START, sends_once("g", "g"), ["g"])
    assert len(run(graph).outcomes["g"].latest.arrived) == 2


def test_a_node_error_is_the_only_thing_that_wraps_a_nodes_exception() -> None:
    with pytest.raises(NodeError) as caught:
        run(build("START n END", n=does(raises=KeyError("x"))))
    assert type(caught.value.__cause__) is KeyError
