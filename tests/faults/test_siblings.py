"""One branch fails, at every position and every moment: what becomes of its siblings.

What has finished is in the journal and stays there; each sibling that is waiting is cancelled
once; a clean-up that is shielded comes to its end; and the caller sees the first failure, with
its cause, and never a group of exceptions.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import anyio
import pytest

from plait import END, START, Flow, Graph, Join, NodeContext, NodeError, Send
from plait.events import NodeCompleted, NodeFailed
from tests.faults.points import StepClock, completions, rows
from tests.kernel.build import Work, build, does, other_tasks

BOOM = ValueError("boom")

SHORT, LONG, TIDY = 4.0, 10.0, 5.0
"""Seconds that siblings take, by turns, and their shielded clean-up after that."""

POSITIONS = range(4)
MOMENTS = {
    "before the first await of later siblings": 0.0,
    "while all of them wait": 2.0,
    "when some of them stop waiting": SHORT,
    "while some of them clean up": SHORT + 2,
    "when some of them have cleaned up": SHORT + TIDY,
    "when others stop waiting": LONG,
    "while the others clean up": LONG + 2,
    "when the others have cleaned up": LONG + TIDY,
    "after all of them": LONG + TIDY + 2,
}


class Siblings:
    """Four branches of one fork, of which one fails; notes what happens to each.

    Attributes:
        cancellations: by branch, how many times a CancelledError came to its await.
        broken: the branches whose shielded clean-up was broken off.
        tidy: the branches whose clean-up came to its end.
        returned: the branches whose node came to its return.
    """

    def __init__(self, position: int, moment: float, error: Exception = BOOM) -> None:
        self.position = position
        self.moment = moment
        self.error = error
        self.cancellations = dict.fromkeys(POSITIONS, 0)
        self.broken: list[int] = []
        self.tidy: list[int] = []
        self.returned: list[int] = []
        self.clock = StepClock()

    async def work(self, number: int) -> Any:
        if number == self.position:
            if self.moment:
                await anyio.sleep(self.moment)
            raise self.error
        try:
            await anyio.sleep(SHORT if number % 2 else LONG)
        except asyncio.CancelledError:
            self.cancellations[number] += 1
            raise
        finally:
            await self.clean_up(number)
        self.returned.append(number)
        return {"items": [number]}

    async def clean_up(self, number: int) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await anyio.sleep(TIDY)
            except asyncio.CancelledError:
                self.broken.append(number)
                raise
        self.tidy.append(number)

    def flow(self) -> Flow[Any]:
        graph = Graph(Work).add_node("work", self.work).add_sync_point("gather")
        graph.add_edge("work", "gather").add_edge("gather", END)
        router = [Send("work", number) for number in POSITIONS]
        return graph.add_conditional_edges(START, lambda _: router, ["work"]).compile()

    def run(self) -> tuple[BaseException, Flow[Any], set[Any]]:
        """Run until the failure comes out: it, the flow, and the tasks that are left."""
        flow = self.flow()

        async def main() -> tuple[BaseException, Flow[Any], set[Any]]:
            try:
                await flow.run({}, thread_id="t")
            except BaseException as error:
                return error, flow, other_tasks()
            raise AssertionError("no failure came out")

        return self.clock.run(main())


everywhere = pytest.mark.parametrize(
    ("position", "moment"),
    [
        pytest.param(position, moment, id=f"{position} {name}")
        for position, (name, moment) in itertools.product(POSITIONS, MOMENTS.items())
    ],
)


@everywhere
def test_the_caller_sees_the_failure_with_its_cause(position: int, moment: float) -> None:
    error, _, tasks = Siblings(position, moment).run()
    assert isinstance(error, NodeError)
    assert (error.__cause__, error.branch, tasks) == (BOOM, (0, position), set())
    assert not isinstance(error.__context__, BaseExceptionGroup)


@everywhere
def test_each_sibling_that_waits_is_cancelled_once(position: int, moment: float) -> None:
    siblings = Siblings(position, moment)
    siblings.run()
    for number, count in siblings.cancellations.items():
        takes = SHORT if number % 2 else LONG
        waits = number != position and moment < takes
        assert count <= 1
        if moment not in {0, takes}:  # at one instant, either may come first
            assert count == waits


@everywhere
def test_shielded_clean_up_comes_to_its_end(position: int, moment: float) -> None:
    siblings = Siblings(position, moment)
    siblings.run()
    begun = [number for number, count in siblings.cancellations.items() if count]
    assert siblings.broken == []
    assert sorted(siblings.tidy) == sorted({*begun, *siblings.returned})


@everywhere
def test_what_has_finished_is_in_the_journal(position: int, moment: float) -> None:
    siblings = Siblings(position, moment)
    _, flow, _ = siblings.run()
    journal = rows(flow)
    assert completions(journal) == [((0, number), "work") for number in sorted(siblings.returned)]
    assert [event.branch for event in journal if isinstance(event, NodeFailed)] == [(0, position)]


@everywhere
def test_what_has_finished_is_not_done_again(position: int, moment: float) -> None:
    siblings = Siblings(position, moment)
    _, flow, _ = siblings.run()
    finished, siblings.position = [*siblings.returned], -1
    siblings.returned.clear()
    result = siblings.clock.run(flow.resume("t"))
    assert result.state["items"] == [*POSITIONS]
    assert sorted(siblings.returned) == sorted({*POSITIONS} - {*finished})


@pytest.mark.parametrize("second", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_several_failures_the_first_comes_out(second: float, order: tuple[str, str]) -> None:
    first, other = order
    parts = {first: does(1, BOOM), other: does(1 + second, KeyError(other))}
    flow = build("START a END", "START b END", "START c END", **parts, c=does(60)).compile()
    with pytest.raises(NodeError) as caught:
        StepClock().run(flow.run({}, thread_id="t"))
    assert caught.value.node == (first if second else "a")
    failures = [event for event in rows(flow) if isinstance(event, NodeFailed)]
    assert failures[0].error is caught.value


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_sibling_whose_clean_up_fails_does_not_hide_the_first_failure(number: int) -> None:
    async def spoil(_state: Any) -> None:
        try:
            await anyio.sleep(60)
        finally:
            raise RuntimeError("the clean-up's own")

    parts: dict[str, Any] = dict.fromkeys([f"s{each}" for each in range(number)], spoil)
    ways = [f"START {name} END" for name in parts]
    flow = build(*ways, "START bad END", bad=does(1, BOOM), **parts).compile()
    with pytest.raises(NodeError) as caught:
        StepClock().run(flow.run())
    assert (caught.value.node, caught.value.__cause__) == ("bad", BOOM)


def test_an_await_in_clean_up_that_is_not_shielded_is_cancelled_again() -> None:
    reached: list[str] = []

    async def careless(_state: Any) -> None:
        try:
            await anyio.sleep(60)
        finally:
            reached.append("begun")
            await anyio.sleep(1)
            reached.append("done")

    flow = build("START a END", "START bad END", a=careless, bad=does(1, BOOM)).compile()
    clock = StepClock()
    with pytest.raises(NodeError):
        clock.run(flow.run())
    assert (reached, clock.now) == (["begun"], 1)


def test_no_node_begins_once_the_run_has_failed() -> None:
    begun: list[str] = []

    async def note(_state: Any, ctx: NodeContext) -> None:
        begun.append(ctx.node)

    async def shielded(_state: Any) -> Any:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return {"items": ["shielded"]}

    parts = {"x": does(2, BOOM), "a": shielded, "b": note, "c": note}
    flow = build("START x END", "START a b c END", **parts).compile()
    clock = StepClock()
    with pytest.raises(NodeError):
        clock.run(flow.run({}, thread_id="t"))
    assert (begun, clock.now) == ([], 5)
    assert [event.node for event in rows(flow) if isinstance(event, NodeCompleted)] == ["a"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_failure_below_forks_and_subgraphs_is_the_cause_of_each_node_above(depth: int) -> None:
    part: Any = does(1, BOOM)
    for _ in range(depth):
        ways = ("START a x gather END", "START b gather", "START c END")
        part = build(*ways, gather=Join(), x=part, b=does(60), c=does(60)).compile()

    async def main() -> set[Any]:
        with pytest.raises(NodeError) as caught:
            await part.run()
        error: BaseException | None = caught.value
        for level in range(1, depth + 1):
            assert isinstance(error, NodeError)
            assert error.node == "/".join("x" * level)
            error = error.__cause__
        assert error is BOOM
        return other_tasks()

    assert StepClock().run(main()) == set()
