"""Branches that depend on siblings: ``Send(..., after=...)``."""

from __future__ import annotations

from typing import Any

import pytest

from plait import END, START, ConflictError, Graph, Join, Send
from tests.kernel.build import Log, build, does, ids, run, sizes, timed

SPEEDS = [(1, 2, 3), (3, 2, 1), (2, 1, 3)]


def after(*sends: Send, **nodes: Any) -> Graph:
    """START makes these Sends; the nodes that they name go on to ``gather``."""
    graph = build(
        "gather merge END", gather=nodes.pop("join", Join()), merge=nodes.pop("merge", does())
    )
    names = list(dict.fromkeys(send.node for send in sends))
    for name in names:
        graph.add_node(name, nodes.get(name, does(items=[name])), on_error="record")
        graph.add_edge(name, "gather")
    graph.add_conditional_edges(START, lambda _: list(sends), names)
    return graph


def test_a_branch_is_held_until_those_it_depends_on_have_arrived() -> None:
    log = Log()
    graph = after(
        Send("c", id="c", after=("a", "b")),
        Send("a", id="a"),
        Send("b", id="b"),
        a=log.node("a", takes=2),
        b=log.node("b", takes=5),
        c=log.node("c", takes=1),
    )
    _, seconds = timed(graph)
    assert (log.entries[-1], seconds) == (("c", 5), 6)


def test_its_base_is_the_forks_and_what_those_wrote_and_no_other_siblings() -> None:
    log = Log()
    graph = after(
        Send("a", id="a"),
        Send("b", id="b", after="a"),
        Send("c", id="c", after="b"),
        Send("d", id="d"),
        c=log.node("c"),
    )
    run(graph)
    assert log.saw["c"]["items"] == ["a", "b"]


@pytest.mark.parametrize("speeds", SPEEDS)
def test_it_is_merged_after_those_it_depends_on_else_in_path_order(speeds: Any) -> None:
    graph = after(
        Send("c", id="c", after="b"),
        Send("a", id="a"),
        Send("b", id="b"),
        **{name: does(takes, items=[name]) for name, takes in zip("abc", speeds, strict=True)},
    )
    assert run(graph).state["items"] == ["a", "b", "c"]


def test_the_later_one_wins_a_channel_that_takes_one_writer() -> None:
    graph = after(
        Send("b", id="b", after="a"), Send("a", id="a"), a=does(text="first"), b=does(text="second")
    )
    assert run(graph).state["text"] == "second"


def test_those_that_depend_on_the_same_one_are_concurrent() -> None:
    graph = after(
        Send("a", id="a"),
        Send("b", id="b", after="a"),
        Send("c", id="c", after="a"),
        b=does(text="b"),
        c=does(text="c"),
    )
    with pytest.raises(ConflictError, match="'text'"):
        run(graph)


def test_a_failed_sibling_lets_those_go_on_that_depend_on_it_without_its_writes() -> None:
    log = Log()
    graph = after(
        Send("a", id="a"),
        Send("b", id="b", after="a"),
        a=does(raises=ValueError("boom")),
        b=log.node("b"),
        merge=log.outcome(),
    )
    run(graph)
    assert log.saw["b"]["items"] == []
    assert sizes(log.saw["outcome"]) == (1, 1, 0, 0, 0)


def test_a_sibling_that_ended_elsewhere_counts_with_its_writes() -> None:
    log = Log()
    graph = after(Send("a", id="a"), Send("b", id="b", after="a"), b=log.node("b"))
    graph.add_node("away", does(items=["away"])).add_edge("away", END)
    graph.add_conditional_edges(
        START, lambda _: [Send("away", id="x"), Send("b", id="y", after="x")], ["away", "b"]
    )
    run(graph)
    assert log.saw["b"]["items"] == ["away"]


def test_a_sibling_that_forked_on_is_done_when_all_of_its_own_are() -> None:
    log = Log()
    graph = after(Send("a", id="a"), Send("c", id="c", after="a"), c=log.node("c"))
    graph = build(
        "a a1 gather END",
        "a a2 gather",
        "c gather",
        gather=Join(),
        a2=does(takes=8, items=["a2"]),
        c=log.node("c"),
        forks={"gather": START},
    )
    graph.add_conditional_edges(
        START, lambda _: [Send("a", id="a"), Send("c", id="c", after="a")], ["a", "c"]
    )
    run(graph)
    assert log.entries == [("c", 8)]
    assert log.saw["c"]["items"] == ["a", "a1", "a2"]


def test_a_held_branch_is_cancelled_with_the_other_stragglers() -> None:
    graph = after(
        Send("a", id="a"),
        Send("b", id="b"),
        Send("c", id="c", after="b"),
        join=Join(quorum=1),
        a=does(takes=1),
        b=does(takes=60),
    )
    result, seconds = timed(graph)
    outcome = result.outcomes["gather"].latest
    assert (seconds, ids(outcome.cancelled)) == (1, ["b", "c"])


def test_a_branch_may_depend_on_one_that_a_sync_point_has_merged_already() -> None:
    log = Log()
    graph = build(
        "a early next late END",
        "b early",
        "c late",
        "d late",
        early=Join(),
        late=Join(),
        c=does(takes=5, items=["c"]),
        d=log.node("d", items=["d"]),
    )
    sends = [Send(name, id=name) for name in "abc"] + [Send("d", id="d", after=["a", "c"])]
    graph.add_conditional_edges(START, lambda _: sends, list("abcd"))
    assert run(graph).state["items"] == ["a", "b", "next", "c", "d"]
    assert log.saw["d"]["items"] == ["a", "c"]


def test_the_place_of_a_branch_that_was_merged_away_counts_as_well() -> None:
    log = Log()
    graph = build(
        "a early next late END",
        "b early",
        "c late",
        "d late",
        early=Join(),
        late=Join(),
        c=does(takes=5, items=["c"]),
        d=log.node("d", items=["d"]),
    )
    sends = [Send(name, id=name) for name in "abc"] + [Send("d", id="d", after=["b", "c"])]
    graph.add_conditional_edges(START, lambda _: sends, list("abcd"))
    assert run(graph).state["items"] == ["a", "b", "next", "c", "d"]
    assert log.saw["d"]["items"] == ["b", "c"]


def test_a_dependency_by_two_ways_is_one_dependency() -> None:
    log = Log()
    graph = after(
        Send("a", id="a"),
        Send("b", id="b", after="a"),
        Send("c", id="c", after=("a", "b")),
        c=log.node("c", items=["c"]),
    )
    assert run(graph).state["items"] == ["a", "b", "c"]
    assert log.saw["c"]["items"] == ["a", "b"]


def test_a_sibling_that_waits_in_an_inner_fork_is_not_done() -> None:
    log = Log()
    graph = build(
        "a a1 inner joined gather END",
        "a a2 inner",
        "c gather",
        gather=Join(),
        inner=Join(),
        a2=does(takes=8, items=["a2"]),
        c=log.node("c"),
    )
    sends = [Send("a", id="a"), Send("c", id="c", after="a")]
    graph.add_conditional_edges(START, lambda _: sends, ["a", "c"])
    run(graph)
    assert log.entries == [("c", 8)]
    assert log.saw["c"]["items"] == ["a", "a1", "a2", "joined"]


def test_a_held_branch_that_was_cancelled_does_not_begin() -> None:
    log = Log()
    graph = after(
        Send("c", id="c", after="b"),
        Send("a", id="a"),
        Send("b", id="b"),
        join=Join(quorum=1),
        a=does(takes=1),
        b=does(takes=60),
        c=log.node("c"),
    )
    result, seconds = timed(graph)
    assert (seconds, log.order) == (1, [])
    assert ids(result.outcomes["gather"].latest.cancelled) == ["c", "b"]


def test_a_group_that_both_precedes_and_follows_a_branch_keeps_path_order() -> None:
    graph = build("a early late END", "b late", "c early", early=Join(), late=Join())
    sends = [Send("a", id="a"), Send("b", id="b", after="a"), Send("c", id="c", after="b")]
    graph.add_conditional_edges(START, lambda _: sends, list("abc"))
    assert run(graph).state["items"] == ["a", "c", "b"]
