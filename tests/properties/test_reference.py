"""The reference interpreter on examples that were worked out by hand from the design page."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.programs import (
    CALM,
    CHANNELS,
    END,
    LIVE,
    START,
    VISITS,
    Edge,
    Features,
    Node,
    Policy,
    Program,
    Router,
    Sent,
    SyncPoint,
    Visit,
    Write,
    programs,
)
from tests.properties.reference import Result, Topology, by_clock, in_order, run


def node(name: str, *writes: Write, ticks: int = 1, **options: Any) -> Node:
    """A node that writes the same on every visit."""
    return Node(name, (Visit(writes, ticks=ticks),), **options)


def ways(*paths: str) -> tuple[Edge, ...]:
    """Edges from paths such as "START a b"."""
    ends = {"START": START, "END": END}
    steps = [[ends.get(name, name) for name in path.split()] for path in paths]
    return tuple(Edge(a, b) for path in steps for a, b in itertools.pairwise(path))


def routed(router: Router, *paths: str) -> tuple[Edge | Router, ...]:
    """Edges from paths, and a router after them."""
    return (*ways(*paths), router)


def program(
    nodes: list[Node], *links: Edge | Router, policy: Policy | None = None, **more: Any
) -> Program:
    """A program with the sync point `s` if there is a policy."""
    syncs = (SyncPoint("s", policy),) if policy is not None else ()
    return Program((*CHANNELS, *LIVE), tuple(nodes), links, **{"syncs": syncs, **more})


def fork(*branches: Node, policy: Policy = Policy()) -> Program:  # noqa: B008 - it is frozen
    """`f` forks into the branches, `s` gathers them, `m` comes after."""
    names = [branch.name for branch in branches]
    paths = [f"f {name} s" for name in names]
    nodes = [node("f"), *branches, node("m")]
    return program(nodes, *ways("START f", *paths, "s m END"), policy=policy)


def state(result: Result) -> dict[str, Any]:
    """The final state without the counts of visits and what was never written."""
    assert result.error is None, result.error
    assert not result.hung
    assert result.state is not None
    return {name: value for name, value in result.state.items() if value and name != VISITS}


def verdicts(result: Result, sync: str = "s") -> list[tuple[str, dict[str, str]]]:
    return [(o.status, dict(o.verdicts)) for o in result.outcomes if o.sync == sync]


def test_a_chain_overwrites_a_channel_without_a_reducer() -> None:
    nodes = [node("a", Write("one", 1)), node("b", Write("one", 2))]
    chain = program(nodes, *ways("START a b END"))
    assert state(run(chain)) == {"one": 2}


@pytest.mark.parametrize("choices", [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 1, 1)])
def test_branches_merge_in_path_order_and_not_in_order_of_arrival(choices: tuple[int, ...]) -> None:
    three = fork(*(node(name, Write("list", i)) for i, name in enumerate("cab")))
    result = run(three, in_order(choices))
    assert state(result) == {"list": [0, 1, 2]}
    assert verdicts(result) == [("complete", dict.fromkeys(("0.0", "0.1", "0.2"), "arrived"))]


def test_a_branch_sees_its_own_writes_and_never_a_siblings() -> None:
    nodes = [node("f", Write("sum", 10)), node("a", Write("sum", 1)), node("b", Write("sum", 2))]
    nodes += [node("c", Write("list", 0, reads="sum"))]
    links = ways("START f a s", "f b c s", "s END")
    assert state(run(program(nodes, *links, policy=Policy()))) == {"sum": 13, "list": [12]}


def test_two_concurrent_writers_of_one_exclusive_channel_are_a_conflict() -> None:
    two = fork(node("a", Write("one", 1)), node("b", Write("one", 1)))
    assert run(two).error == "ConflictError"


def test_an_overwrite_replaces_what_came_before_and_conflicts_with_a_sibling() -> None:
    alone = fork(node("a", Write("list", 7, overwrite=True)), node("b", Write("sum", 1)))
    given_input = Program(
        alone.channels, alone.nodes, alone.links, alone.syncs, (Write("list", 1),)
    )
    assert state(run(given_input)) == {"list": [7], "sum": 1}
    both = fork(node("a", Write("list", 7, overwrite=True)), node("b", Write("list", 1)))
    assert run(both).error == "ConflictError"


def test_writers_ordered_by_after_do_not_conflict_and_the_later_one_wins() -> None:
    worker = Node("w", (Visit((Write("one", 1),)), Visit((Write("one", 2, reads="one"),))))
    sends = (Sent("w", "x", after=("y",), arg=1), Sent("w", "y", arg=0))
    links = routed(Router("f", (sends,), ("w",)), "START f", "w s END")
    result = run(program([node("f"), worker], *links, policy=Policy()))
    # The argument takes the place of the state, so `reads` gives the argument itself: 2 + 1.
    assert state(result) == {"one": 3}
    assert result.steps == ("0 f", "0.1 w", "0.0 w")


def test_a_held_branch_sees_what_its_sibling_gathered_exactly_once() -> None:
    sends = (Sent("w", "x"), Sent("w", "y", after=("x",)))
    nodes = [node("f"), node("w"), node("n", Write("sum", 1), Write("list", 0, reads="sum"))]
    links = routed(Router("w", (("n",),), ("n",)), "START f", "n s s2 END")
    fan = Router("f", (sends,), ("w",))
    syncs = (SyncPoint("s", fork="w"), SyncPoint("s2", fork="f"))
    assert state(run(program(nodes, fan, *links, syncs=syncs))) == {"sum": 2, "list": [0, 1]}


def test_a_circle_of_dependencies_is_an_error_at_the_fork() -> None:
    sends = (Sent("w", "x", after=("y",)), Sent("w", "y", after=("x",)))
    links = routed(Router("f", (sends,), ("w",)), "START f", "w s END")
    assert run(program([node("f"), node("w")], *links, policy=Policy())).error == "RoutingError"


def test_a_branch_that_takes_another_way_is_dead_and_its_writes_come_last() -> None:
    nodes = [node("f"), node("a", Write("list", 1)), node("b", Write("list", 2))]
    nodes += [node("m", Write("list", 3))]
    links = routed(Router("a", ((END,),), ("s", END)), "START f a", "f b s m END")
    result = run(program(nodes, *links, policy=Policy()))
    assert verdicts(result) == [("partial", {"0.0": "dead", "0.1": "arrived"})]
    assert state(result) == {"list": [2, 3, 1]}


def test_a_loop_through_the_fork_opens_a_new_generation_with_paths_that_go_on() -> None:
    loop = fork(node("a", Write("sum", 1)), node("b"))
    links = tuple(link for link in loop.links if link != Edge("m", END))
    again = Router("m", (("f",), (END,)), ("f", END))
    result = run(Program(loop.channels, loop.nodes, (*links, again), loop.syncs))
    assert [(o.generation, o.those("arrived")) for o in result.outcomes] == [
        (0, ("0.0", "0.1")),
        (1, ("0.2", "0.3")),
    ]
    assert state(result) == {"sum": 2}


def test_a_recorded_failure_is_named_and_contributes_nothing() -> None:
    broken = Node("a", (Visit((Write("sum", 5),), failures=1),), on_error="record")
    result = run(fork(broken, node("b", Write("sum", 1))))
    assert verdicts(result) == [("partial", {"0.0": "failed", "0.1": "arrived"})]
    assert state(result) == {"sum": 1}
    assert result.unaccounted == ()


def test_too_few_arrivals_are_an_error_unless_none_are_needed() -> None:
    broken = Node("a", (Visit(failures=1),), on_error="record")
    two = (broken, Node("b", broken.visits, on_error="record"))
    assert run(fork(*two)).error == "SyncPointError"
    assert verdicts(run(fork(*two, policy=Policy(minimum=0))))[0][0] == "partial"


def test_a_quorum_waits_for_its_grace_and_cancels_the_stragglers() -> None:
    policy = Policy(quorum=2 / 3, grace=2)
    branches = [node(n, Write("list", t), ticks=t) for n, t in (("a", 3), ("b", 8), ("c", 1))]
    result = by_clock(fork(*branches, policy=policy))
    those = {"0.0": "arrived", "0.1": "cancelled", "0.2": "arrived"}
    assert verdicts(result) == [("quorum", those)]
    assert [o.waited for o in result.outcomes] == [5]
    assert state(result) == {"list": [3, 1]}


def test_a_deadline_goes_on_with_what_has_arrived() -> None:
    never = Node("b", (Visit(forever=True),))
    result = by_clock(fork(node("a", Write("sum", 1)), never, policy=Policy(timeout=4)))
    assert verdicts(result) == [("timeout", {"0.0": "arrived", "0.1": "cancelled"})]
    assert state(result) == {"sum": 1}
    angry = fork(node("a"), never, policy=Policy(timeout=4, on_timeout="raise"))
    assert by_clock(angry).error == "SyncPointError"


@pytest.mark.parametrize(("late", "final"), [("drop", {"set": {1}}), ("merge", {"set": {1, 2}})])
def test_a_late_branch_is_dropped_or_merged_into_lattices(late: str, final: dict[str, Any]) -> None:
    slow = node("b", Write("set", 2), Write("list", 2), ticks=9)
    policy = Policy(quorum="any", stragglers="detach", late=late)
    result = by_clock(fork(node("a", Write("set", 1)), slow, policy=policy))
    assert verdicts(result) == [("quorum", {"0.0": "arrived", "0.1": "late"})]
    assert state(result) == final


def test_a_late_branch_joins_the_next_generation() -> None:
    slow = Node("b", (Visit((Write("list", 2),), ticks=3), Visit(ticks=9)))
    policy = Policy(quorum="any", grace=1, stragglers="detach", late="next_round")
    once = fork(node("a", Write("list", 1)), slow, policy=policy)
    links = tuple(link for link in once.links if link != Edge("m", END))
    again = Router("m", (("f",), (END,)), ("f", END))
    result = by_clock(Program(once.channels, once.nodes, (*links, again), once.syncs))
    # It comes in at 4, when the second generation has not been opened; there it counts by its path.
    assert [dict(o.verdicts) for o in result.outcomes] == [
        {"0.0": "arrived", "0.1": "late"},
        {"0.1": "arrived", "0.2": "arrived", "0.3": "late"},
    ]
    assert state(result) == {"list": [1, 2, 1]}


def staged() -> Program:
    nodes = [node(n, Write("list", i)) for i, n in enumerate(("a", "b", "c", "d"))]
    links = ways("START f a s1 d s2 END", "f b s1", "f c s2")
    return program([node("f"), *nodes], *links, syncs=(SyncPoint("s1"), SyncPoint("s2")))


def test_a_sync_point_that_is_not_the_last_goes_on_in_the_first_branchs_place() -> None:
    result = run(staged())
    assert verdicts(result, "s1") == [("complete", {"0.0": "arrived", "0.1": "arrived"})]
    assert list(verdicts(result, "s2")[0][1]) == ["0.0", "0.1", "0.2"]
    assert "0.0 d" in result.steps
    assert state(result) == {"list": [0, 1, 3, 2]}


def test_sends_that_fork_again_belong_to_the_outer_sync_point() -> None:
    nodes = [node(n) for n in ("f", "w", "x", "y", "z")]
    links = routed(Router("f", (("w", "w"),), ("w",)), "START f", "w x s1", "w y s1 z s2 END")
    nested = program(nodes, *links, syncs=(SyncPoint("s1"), SyncPoint("s2")))
    assert Topology(nested).owners == {"s1": "w", "s2": "f"}
    assert verdicts(run(nested), "s2") == [("complete", {"0.0": "arrived", "0.1": "arrived"})]


def test_a_participant_that_forks_on_arrives_as_a_whole_and_leaves_the_rest_behind() -> None:
    nodes = [node(n, Write("list", i)) for i, n in enumerate(("a", "x", "y", "b"))]
    links = ways("START f a x s", "a y END", "f b s END")
    result = run(program([node("f"), *nodes], *links, policy=Policy()))
    assert verdicts(result) == [("complete", {"0.0": "arrived", "0.1": "arrived"})]
    assert state(result) == {"list": [0, 1, 3, 2]}


def test_live_writes_survive_the_cancellation_of_their_branch() -> None:
    nodes = [node("f"), node("a", ticks=5), node("b", Write("live", 1)), node("c", ticks=9)]
    links = ways("START f a s", "f b c s END")
    assert state(by_clock(program(nodes, *links, policy=Policy(quorum="any")))) == {"live": {1}}


def test_a_subgraph_hands_over_its_delta_and_not_its_final_state() -> None:
    steps = [node("i", Write("list", 2)), node("j", Write("list", 3))]
    inner = program(steps, *ways("START i j END"))
    nodes = [node("a", Write("list", 1)), Node("g", subgraph=inner)]
    result = run(program(nodes, *ways("START a g END")))
    assert state(result) == {"list": [1, 2, 3]}
    assert result.state is not None
    assert result.state[VISITS] == {"a": 1, "i": 1, "j": 1}


def test_a_failure_that_no_sync_point_accounts_for_is_named() -> None:
    chain = program([Node("a", (Visit(failures=1),), on_error="record")], *ways("START a END"))
    result = run(chain)
    assert (state(result), result.unaccounted) == ({}, ("0",))


def test_a_router_that_returns_nothing_opens_the_sync_point_at_once() -> None:
    links = routed(Router("f", ((),), ("w",)), "START f", "w s m END")
    nodes = [node("f"), node("w"), node("m", Write("sum", 1))]
    assert run(program(nodes, *links, policy=Policy())).error == "SyncPointError"
    result = run(program(nodes, *links, policy=Policy(minimum=0)))
    assert (verdicts(result), state(result)) == ([("complete", {})], {"sum": 1})


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(programs(CALM), st.lists(st.integers(0, 20), max_size=30))
def test_calm_programs_end_the_same_under_every_schedule(
    drawn: Program, choices: list[int]
) -> None:
    first, other = run(drawn, in_order()), run(drawn, in_order(choices))
    assert not first.hung
    assert (first.state, first.error) == (other.state, other.error)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(programs(Features()), st.lists(st.integers(0, 20), max_size=30))
def test_no_program_hangs_and_the_counts_of_every_outcome_add_up(
    drawn: Program, choices: list[int]
) -> None:
    known = {"arrived", "failed", "late", "cancelled", "dead"}
    for result in (by_clock(drawn), run(drawn, in_order(choices))):
        assert result.error is not None or not result.hung
        assert all(what in known for o in result.outcomes for _, what in o.verdicts)
        opened = [(o.sync, o.owner, o.generation) for o in result.outcomes]
        assert len(set(opened)) == len(opened)
