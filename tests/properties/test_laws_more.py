"""Laws about what the grammar of programs avoids or does not see: conflicts, keys, routers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plait import END, START, Graph, Join, MemoryStore, NodeContext, NodeError, Send
from plait.events import NodeCompleted, SyncPointOpened
from plait.reducers import append, as_reducer, live, total
from tests.kernel.build import Work
from tests.properties import laws
from tests.properties.drive import drive, prepare, traced
from tests.properties.programs import (
    CHANNELS,
    AtLeast,
    Node,
    Policy,
    Program,
    Router,
    Sent,
    SyncPoint,
    Visit,
    Write,
)
from tests.properties.programs import (
    END as FINISH,
)
from tests.properties.test_refinement import NOBODY_AT_THE_FIRST_STAGE, VirtualLoop, path_edges

law = settings(deadline=None)
schedules = st.lists(st.integers(0, 20), max_size=30)
VIRTUAL = {"loop_factory": VirtualLoop}


WRITES = (
    Write("one", 1),
    Write("two", 2),
    Write("list", 3),
    Write("list", 4, overwrite=True),
    Write("items", 5),
    Write("items", 6, overwrite=True),
)
some_writes = st.lists(st.sampled_from(WRITES), max_size=2, unique_by=lambda write: write.channel)
BESIDE = path_edges("START f a d s m END", "f b s", "f c END")
"""A fork of three: two meet, and what follows them runs beside the third."""


@law
@given(st.lists(some_writes, min_size=6, max_size=6), schedules)
def test_exactly_what_the_reference_calls_a_conflict_is_one(
    writes: list[list[Write]], schedule: list[int]
) -> None:
    nodes = [Node(name, (Visit(tuple(each)),)) for name, each in zip("fabcdm", writes, strict=True)]
    program = Program(CHANNELS, tuple(nodes), BESIDE, (SyncPoint("s"),))
    laws.check_refinement(drive(prepare(traced(program)), schedule, eager=True))


def test_what_reached_the_end_counts_among_the_arrivals() -> None:
    nodes = tuple(Node(name) for name in "fabcd")
    # One of the two whom the straggler `b` forks into never comes to the sync point.
    links = path_edges("START f a s END", "f b c s", "b d END")
    policy = Policy(quorum="any", grace=1.25, stragglers="cancel")
    case = prepare(traced(Program(CHANNELS, nodes, links, (SyncPoint("s", policy),))))
    runs = [drive(case, random.Random(seed).choices(range(5), k=20)) for seed in range(40)]
    same = [laws.check_same_arrivals(runs[0], other) for other in runs]
    assert True in same[1:]
    assert False in same


@law
@given(schedules)
def test_a_predicate_is_not_asked_again_about_the_same_arrivals(schedule: list[int]) -> None:
    nodes = tuple(Node(name) for name in "fabcdm")
    syncs = (SyncPoint("s", Policy(quorum=AtLeast(2))),)
    program = Program(CHANNELS, nodes, BESIDE, syncs)
    laws.check_under_way(drive(prepare(traced(program)), schedule))


@law
@example([0, 0, 0, 1, 1, 2], 4)
@given(schedules, st.integers(1, 20))
def test_after_a_crash_one_question_stands_for_all_that_a_predicate_was_asking(
    schedule: list[int], cut: int
) -> None:
    fan = tuple(Sent("work", f"b{number}") for number in range(4))
    nodes = (Node("fork", (Visit(goto=fan),), targets=("work",)), Node("work"))
    policy = Policy(quorum=AtLeast(2), grace=1, stragglers="detach")
    edges = path_edges("START fork", "work s END")
    program = Program(CHANNELS, nodes, edges, (SyncPoint("s", policy, fork="fork"),))
    run = drive(prepare(traced(program)), schedule)
    laws.check_recovery(run, 1 + cut % len(run.journal))


@law
@given(schedules)
def test_a_router_behind_a_sync_point_is_asked_after_a_crash(schedule: list[int]) -> None:
    nodes = tuple(Node(name) for name in "fabm")
    edges = path_edges("START f a s", "f b s", "m END")
    router = Router("s", (("m",),), ("m",))
    program = Program(CHANNELS, nodes, (*edges, router), (SyncPoint("s"),))
    laws.check_under_way(drive(prepare(traced(program)), schedule))


NOBODY_AT_THE_FIRST = replace(
    NOBODY_AT_THE_FIRST_STAGE,
    syncs=(SyncPoint("last"), SyncPoint("first", Policy(minimum=0))),
)


@law
@given(schedules)
def test_a_sync_point_waits_for_what_comes_from_one_at_which_nobody_arrived(
    schedule: list[int],
) -> None:
    run = drive(prepare(traced(NOBODY_AT_THE_FIRST)), schedule, eager=True)
    laws.check_conservation(run)
    laws.check_refinement(run)
    (opened,) = (
        number
        for number, notice in run.notices
        if isinstance(notice, SyncPointOpened) and notice.sync_point == "last"
    )
    done = {event.node for event in run.journal[:opened] if isinstance(event, NodeCompleted)}
    assert {"c", "d"} <= done


@law
@given(schedules)
def test_what_an_inner_sync_point_cancelled_is_dead_to_the_outer_one(schedule: list[int]) -> None:
    """Its owner took another way, and which of its branches were cancelled was said further in."""
    nodes = (
        Node("f"),
        Node("a", (Visit(goto=(Sent("w"), Sent("w"))),), targets=("w",)),
        *map(Node, "bwc"),
    )
    ways = Router("c", ((FINISH,), ("outer",)), (FINISH, "outer"))
    edges = path_edges("START f a", "f b outer END", "w inner c")
    syncs = (
        SyncPoint("inner", Policy(timeout=3, minimum=0), fork="a"),
        SyncPoint("outer", Policy(minimum=0), fork="f"),
    )
    program = Program(CHANNELS, nodes, (*edges, ways), syncs)
    laws.check_refinement(drive(prepare(traced(program)), schedule, eager=True))


@law
@given(schedules)
def test_who_comes_late_and_finds_no_next_round_is_left_out_whole(schedule: list[int]) -> None:
    edges = path_edges("START f a s END", "f b s", "a c END")
    policy = Policy(timeout=3, minimum=0, stragglers="detach", late="next_round")
    syncs = (SyncPoint("s", policy, fork="f"),)
    program = Program(CHANNELS, tuple(map(Node, "fabc")), edges, syncs)
    laws.check_refinement(drive(prepare(traced(program)), schedule, eager=True))


@law
@given(schedules)
def test_a_branch_is_not_done_while_a_sync_point_further_in_has_yet_to_open(
    schedule: list[int],
) -> None:
    """Nobody arrives at the inner one, which lets its owner go on, and write, all the same."""
    nodes = (
        Node("f", (Visit(goto=(Sent("a", "one"), Sent("d", "two", after=("one",)))),), ("a", "d")),
        Node("a", (Visit(goto=(Sent("b"),)),), ("b",)),
        Node("b", (Visit(failures=1),), on_error="record"),
        Node("c", (Visit((Write("list", 1),)),)),
        Node("d", (Visit((Write("list", 2, reads="list"),)),)),
    )
    syncs = (SyncPoint("inner", Policy(minimum=0), fork="a"), SyncPoint("outer", fork="f"))
    edges = path_edges("START f", "b inner c outer END", "d outer")
    run = drive(prepare(traced(Program(CHANNELS, nodes, edges, syncs))), schedule, eager=True)
    laws.check_refinement(run)
    assert run.state is not None
    assert run.state["list"] == [1, 3]


@law
@given(schedules, st.booleans())
def test_who_came_late_gives_nothing_to_those_behind_it_whether_it_forked_or_not(
    schedule: list[int], forks: bool
) -> None:
    sends = (Sent("a", "one"), Sent("d", "two", after=("one",)))
    nodes = (
        Node("f", (Visit(goto=sends),), ("a", "d")),
        Node("a", (Visit((Write("list", 1),)),)),
        Node("d", (Visit((Write("list", 2, reads="list"),)),)),
        *map(Node, "bc"),
    )
    edges = path_edges("START f", "outer END", "d END")
    edges += path_edges("a b inner outer", "a c inner") if forks else path_edges("a outer")
    nodes = nodes if forks else nodes[:3]
    policy = Policy(timeout=3, minimum=0, stragglers="detach")
    syncs = (SyncPoint("outer", policy, fork="f"), SyncPoint("inner"))[: 1 + forks]
    run = drive(prepare(traced(Program(CHANNELS, nodes, edges, syncs))), schedule, eager=True)
    laws.check_refinement(run)


@law
@given(st.lists(st.integers()), st.lists(st.integers(), min_size=1))
def test_a_plain_function_folds_writes_in_their_order(start: list[int], writes: list[int]) -> None:
    plain = as_reducer(lambda old, new: [*old, new], list)
    assert plain.fold(start, writes) == [*start, *writes]


class Counting(TypedDict):
    count: Annotated[int, live(total)]
    items: Annotated[list[int], append]


@law
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_write_to_a_live_channel_counts_once(amounts: list[int], rng: random.Random) -> None:
    async def node(amount: Any) -> dict[str, int]:
        await anyio.sleep(rng.random())
        return {"count": amount, "items": amount}

    graph = Graph(Counting, "counting")
    graph.add_node("node", node)
    graph.add_conditional_edges(START, lambda _: [Send("node", a) for a in amounts], ["node"])
    graph.add_edge("node", END)
    flow = graph.compile()
    result = anyio.run(lambda: flow.run({"count": 1}), backend_options=VIRTUAL)
    assert dict(result.state) == {"count": 1 + sum(amounts), "items": amounts}


def gathering(takes: Sequence[float], join: Join) -> Any:
    """A fan of branches that take so many seconds each, write their numbers, and meet."""

    async def node(number: Any) -> dict[str, int]:
        await anyio.sleep(takes[number])
        return {"count": 1, "items": number}

    def fan(_state: Any) -> list[Send]:
        return [Send("node", number) for number in range(len(takes))]

    graph = Graph(Counting, "gathering")
    graph.add_node("node", node)
    graph.add_sync_point("s", join)
    graph.add_conditional_edges(START, fan, ["node"])
    graph.add_edge("node", "s")
    graph.add_edge("s", END)
    flow = graph.compile()
    return anyio.run(lambda: flow.run({}), backend_options=VIRTUAL)


# Tenths of seconds, of which no two are equal, nor one plus the grace time to another.
fans = st.lists(st.integers(1, 90), min_size=2, max_size=6, unique=True)


@law
@given(fans, st.sampled_from((0.05, 2.05, 5.05)), st.sampled_from(("cancel", "detach")))
def test_the_grace_time_runs_once_from_the_quorum_and_late_writes_are_dropped(
    tenths: list[int], grace: float, stragglers: Any
) -> None:
    takes = [tenth / 10 for tenth in tenths]
    result = gathering(takes, Join(quorum=1, grace=grace, stragglers=stragglers))
    due = min(takes) + grace
    in_time = [number for number, seconds in enumerate(takes) if seconds <= due]
    (outcome,) = result.outcomes["s"]
    assert outcome.waited == pytest.approx(min(due, max(takes)), abs=1e-3)
    assert result.state["items"] == in_time


@law
@given(st.permutations((0.5, 1.5, 2.5, 3.5)))
def test_a_branch_sees_all_that_it_comes_after_and_is_merged_behind_them(
    takes: list[float],
) -> None:
    seen: list[list[int]] = []

    async def node(number: Any) -> Any:
        await anyio.sleep(takes[number])
        return {"items": number}

    async def last(state: Any) -> Any:
        seen.append(state["items"])
        return {"items": 0}

    sends = [Send("last", id="0", after=("2", "1"))]
    sends += [Send("node", number, id=str(number)) for number in (1, 2, 3)]
    graph = Graph(Counting, "held")
    graph.add_node("node", node)
    graph.add_node("last", last)
    graph.add_sync_point("s")
    graph.add_conditional_edges(START, lambda _: sends, ["node", "last"])
    for name in ("node", "last"):
        graph.add_edge(name, "s")
    graph.add_edge("s", END)
    flow = graph.compile()
    result = anyio.run(lambda: flow.run({}), backend_options=VIRTUAL)
    assert seen == [[1, 2]]
    assert result.state["items"] == [1, 2, 0, 3]


class Crash(Exception):
    """Ends a run."""


class Twice:
    """A node between a fickle router and its end, run through three times, that fails once."""

    def __init__(self, fails_at: int) -> None:
        self.fails_at = fails_at
        self.keys: Counter[str] = Counter()
        self.chosen: list[str] = []
        self.asked = 0

    async def node(self, _state: Any, ctx: NodeContext) -> dict[str, Any]:
        if self.keys.total() == self.fails_at:
            self.fails_at = -1
            raise Crash
        self.keys[ctx.idempotency_key] += 1
        self.chosen.append(ctx.node)
        return {"items": ctx.node}

    def route(self, _state: Any) -> str:
        """Where to go on: never the same for long, so that to ask again is to go elsewhere."""
        self.asked += 1
        return ("a", "b", "b", "a", "b")[self.asked - 1] if self.asked < 6 else END

    def flow(self) -> Any:
        graph = Graph(Work, "fickle")
        for name in ("a", "b"):
            graph.add_node(name, self.node)
            graph.add_conditional_edges(name, self.route, ["a", "b", END])
        graph.add_edge(START, "a")
        return graph.compile(store=MemoryStore())


@pytest.mark.parametrize("fails_at", range(6))
def test_no_key_is_used_twice_and_no_router_is_asked_again_after_a_failure(fails_at: int) -> None:
    twice = Twice(fails_at)
    flow = twice.flow()

    async def main() -> Any:
        with pytest.raises(NodeError):
            await flow.run({}, thread_id="t")
        return await flow.resume("t")

    result = anyio.run(main)
    assert result.state["items"] == twice.chosen == ["a", "a", "b", "b", "a", "b"]
    assert twice.asked == 6
    assert set(twice.keys.values()) == {1}
