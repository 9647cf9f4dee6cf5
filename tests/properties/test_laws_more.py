"""Laws about what the grammar of programs avoids or does not see: conflicts, keys, routers."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import END, START, Graph, MemoryStore, NodeContext, NodeError, Send
from plait.reducers import append, as_reducer, live, total
from tests.kernel.build import Work
from tests.properties import laws
from tests.properties.drive import drive, prepare, traced
from tests.properties.programs import CALM, Node, Program, Visit, Write, programs
from tests.properties.test_refinement import VirtualLoop

law = settings(deadline=None)
schedules = st.lists(st.integers(0, 20), max_size=30)
seeds = st.integers(0, 2**16)
VIRTUAL = {"loop_factory": VirtualLoop}


def crowded(program: Program, seed: int) -> Program:
    """The program with writes that may meet another to the same channel, here and there."""
    rng = random.Random(seed)
    extra = (
        Write("one", 1),
        Write("two", 2),
        Write("list", 3),
        Write("list", 4, overwrite=True),
        Write("items", 5, overwrite=True),
    )

    def visit(old: Visit) -> Visit:
        write = rng.choice(extra)
        taken = write.channel in {each.channel for each in old.writes}
        return old if taken or rng.random() < 0.5 else replace(old, writes=(*old.writes, write))

    def node(old: Node) -> Node:
        return replace(old, visits=tuple(map(visit, old.visits)))

    return replace(program, nodes=tuple(map(node, program.nodes)))


@law
@given(programs(replace(CALM, subgraphs=False)), schedules, seeds)
def test_exactly_what_the_reference_calls_a_conflict_is_one(
    program: Program, schedule: list[int], seed: int
) -> None:
    case = prepare(traced(crowded(program, seed)))
    laws.check_refinement(drive(case, schedule, eager=True))


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
