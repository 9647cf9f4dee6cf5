"""A branch that is stuck: whatever the policy, its sync point opens by its deadline.

The branch hangs in an await or in a worker thread. The virtual clock raises `StalledError` where a
run would hang, so a test that ends shows that nothing waits without a limit. What a stuck branch
brings once it has come loose is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from plait import (
    ANY,
    END,
    START,
    Flow,
    Graph,
    Join,
    NodeError,
    Outcome,
    RunResult,
    Send,
    SyncPointError,
)
from plait.events import NodeCompleted, SyncPointOpened
from plait.testing import StalledError, VirtualClock
from tests.faults.points import rows
from tests.kernel.build import build, does, ids, other_tasks, outcome_of

DEADLINE = 30.0
LOOSE = 1000.0
"""When a stuck branch that was left to run on comes loose, in virtual seconds."""

IN_TIME: dict[str, tuple[Join, str, float]] = {
    "all, with a timeout": (Join(timeout=DEADLINE), "timeout", DEADLINE),
    "timeout from the first arrival": (
        Join(timeout=DEADLINE, timeout_from="first_arrival"),
        "timeout",
        1 + DEADLINE,
    ),
    "any": (Join(quorum=ANY), "quorum", 1),
    "a count": (Join(quorum=2), "quorum", 2),
    "a count that the stuck one is needed for": (
        Join(quorum=3, timeout=DEADLINE),
        "timeout",
        DEADLINE,
    ),
    "a share": (Join(quorum=0.6), "quorum", 2),
    "a share that the stuck one is needed for": (
        Join(quorum=0.9, timeout=DEADLINE),
        "timeout",
        DEADLINE,
    ),
    "weights": (Join(quorum={"a": 0.5, "b": 0.5, "stuck": 1.0}), "quorum", 2),
    "a predicate": (Join(quorum=lambda arrivals: len(arrivals) == 2), "quorum", 2),
    "a predicate that is never content": (
        Join(quorum=lambda _: False, timeout=DEADLINE),
        "timeout",
        DEADLINE,
    ),
    "a quorum with a grace time": (Join(quorum=2, grace=5), "quorum", 2 + 5),
    "a grace time beyond the deadline": (
        Join(quorum=2, grace=500, timeout=DEADLINE),
        "timeout",
        DEADLINE,
    ),
    "no minimum": (Join(timeout=DEADLINE, minimum=0), "timeout", DEADLINE),
    "another way on timeout": (
        Join(timeout=DEADLINE, on_timeout="rescue"),
        "timeout",
        DEADLINE,
    ),
}
settings = pytest.mark.parametrize(
    ("join", "status", "seconds"), IN_TIME.values(), ids=IN_TIME.keys()
)


class Patient(VirtualClock):
    """A virtual clock that goes on though a worker thread is stuck, once it is."""

    def __init__(self, node: InThread) -> None:
        super().__init__()
        self.node = node

    def threads_are_busy(self) -> bool:
        # A thread that has yet to begin would find its call cancelled, and report nothing.
        return super().threads_are_busy() and not self.node.entered.is_set()


def graph(join: Join, stuck: Any, **options: Any) -> Graph:
    """Two branches that arrive after 1 and 2 s, and one that is stuck."""
    ways = ["START a gather after END", "START b gather"]
    if join.on_timeout == "rescue":
        ways.append("rescue END")
    made = build(*ways, gather=join, a=does(1, items=["a"]), b=does(2, items=["b"]))
    made.add_node("stuck", stuck, **options).add_edge(START, "stuck").add_edge("stuck", "gather")
    return made


async def forever(_state: Any) -> None:
    await anyio.Event().wait()


async def asleep(_state: Any) -> None:
    await anyio.sleep_forever()


async def loose(_state: Any) -> Any:
    await anyio.sleep(LOOSE)
    return {"items": ["late"], "seen": {"late"}}


def detached(join: Join) -> Join:
    return Join(
        join.quorum,
        join.grace,
        join.timeout,
        join.timeout_from,
        join.on_timeout,
        join.minimum,
        stragglers="detach",
    )


def gathered(result: RunResult[Any]) -> Outcome:
    return result.outcomes["gather"].latest


# -- stuck in an await ------------------------------------------------------------------------


@settings
def test_a_stuck_branch_is_cancelled_when_the_sync_point_opens(
    join: Join, status: str, seconds: float
) -> None:
    clock = VirtualClock()
    found = gathered(clock.run(graph(join, forever).compile().run({})))
    assert (found.status, found.waited, clock.now) == (status, seconds, seconds)
    assert ids(found.cancelled)[-1] == "stuck"


@settings
def test_a_stuck_branch_that_was_left_to_run_on_does_not_hold_up_the_sync_point(
    join: Join, status: str, seconds: float
) -> None:
    clock = VirtualClock()
    result = clock.run(graph(detached(join), loose).compile().run({}))
    found = gathered(result)
    assert (found.status, found.waited) == (status, seconds)
    assert ids(found.late)[-1] == "stuck"
    assert "late" not in result.state["items"]
    assert clock.now == LOOSE, "END waits for every branch"


@settings
def test_a_node_that_is_stuck_before_its_sync_point_ends_by_its_own_time_limit(
    join: Join, status: str, seconds: float
) -> None:
    clock = VirtualClock()
    made = graph(detached(join), forever, timeout=LOOSE, on_error="record")
    found = gathered(clock.run(made.compile().run({})))
    assert (found.status, found.waited, clock.now) == (status, seconds, LOOSE)


def test_a_deadline_that_must_not_pass_fails_the_run_in_time() -> None:
    clock = VirtualClock()
    flow = graph(Join(timeout=DEADLINE, on_timeout="raise"), forever).compile()

    async def main() -> set[Any]:
        with pytest.raises(SyncPointError, match="its deadline passed after 30 s with 2 of 3"):
            await flow.run({})
        return other_tasks()

    assert clock.run(main()) == set()
    assert clock.now == DEADLINE


def test_a_stuck_branch_of_an_inner_fork_does_not_hold_up_the_outer_one() -> None:
    ways = ("START a x inner outer END", "a y inner", "START b outer")
    made = build(*ways, inner=Join(), outer=Join(timeout=DEADLINE), x=forever)
    clock = VirtualClock()
    found = clock.run(made.compile().run({})).outcomes["outer"].latest
    assert (found.status, ids(found.cancelled), clock.now) == ("timeout", ["a"], DEADLINE)


def test_branches_that_wait_for_a_stuck_one_do_not_hold_up_the_sync_point() -> None:
    made = build("a gather END", "b gather", gather=Join(timeout=DEADLINE), a=forever)
    sends = [Send("a", id="a"), Send("b", id="b", after="a"), Send("b", id="c")]
    made.add_conditional_edges(START, lambda _: sends, ["a", "b"])
    found = outcome_of(made)
    assert (found.status, found.waited) == ("timeout", DEADLINE)
    assert (ids(found.arrived), ids(found.cancelled)) == (["c"], ["a", "b"])


def test_a_stuck_branch_in_a_pool_gives_its_place_back() -> None:
    made = build("START a gather b END", gather=Join(quorum=ANY), a=does(1))
    made.add_node("stuck", forever, pool="p").add_edge(START, "stuck").add_edge("stuck", "gather")
    made.add_node("c", does(1), pool="p").add_edge("b", "c").add_edge("c", END)
    flow = made.compile(pools={"p": 1})
    clock = VirtualClock()
    clock.run(flow.run({}))
    limiter = flow.pools["p"]
    assert isinstance(limiter, anyio.CapacityLimiter)
    assert (clock.now, limiter.borrowed_tokens) == (2, 0)


@pytest.mark.parametrize("node", [forever, asleep])
def test_without_any_limit_a_stuck_branch_stops_the_run_which_the_clock_tells(node: Any) -> None:
    with pytest.raises(StalledError):
        VirtualClock().run(graph(Join(), node).compile().run({}))


@pytest.mark.parametrize("late", ["drop", "merge", "next_round"])
def test_what_a_stuck_branch_brings_late_is_refused_or_merged_as_the_policy_says(
    late: Any,
) -> None:
    join = Join(quorum=2, stragglers="detach", late=late)
    result = VirtualClock().run(graph(join, loose).compile().run({}))
    assert result.state["items"] == ["a", "b", "after"], "never: its order would be by chance"
    assert result.state["seen"] == ({"late"} if late == "merge" else set())


# -- stuck in a thread ------------------------------------------------------------------------


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets stuck threads go, at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()


class InThread:
    """A ``def`` node that is stuck until it is released."""

    def __init__(self, release: threading.Event) -> None:
        self.release = release
        self.entered = threading.Event()

    def __call__(self, _state: Any) -> Any:
        self.entered.set()
        self.release.wait(60)
        return {"items": ["late"], "seen": {"late"}}


def watch_threads() -> threading.Event:
    """Set as soon as a worker thread has handed its result to the running loop."""
    loop, reported = asyncio.get_running_loop(), threading.Event()
    call_soon = loop.call_soon_threadsafe

    def report(*args: Any, **options: Any) -> Any:
        handle = call_soon(*args, **options)
        reported.set()
        return handle

    vars(loop)["call_soon_threadsafe"] = report
    return reported


@settings
def test_a_stuck_thread_is_let_go_when_the_sync_point_opens(
    join: Join, status: str, seconds: float, release: threading.Event
) -> None:
    node = InThread(release)
    clock = Patient(node)
    found = gathered(clock.run(graph(join, node).compile().run({})))
    assert (found.status, found.waited, clock.now) == (status, seconds, seconds)
    assert ids(found.cancelled)[-1] == "stuck"


@pytest.mark.parametrize("limit", ["timeout of the node", "straggler", "failure", "caller"])
def test_what_a_thread_that_was_let_go_returns_is_refused(
    limit: str, release: threading.Event
) -> None:
    node = InThread(release)
    failing = limit == "failure"
    join = Join(timeout=None if limit in {"timeout of the node", "caller"} else DEADLINE)
    options: dict[str, Any] = {"on_error": "record"}
    if limit == "timeout of the node":
        options["timeout"] = DEADLINE
    made = graph(join, node, **options)
    if failing:
        made.add_node("bad", does(3, ValueError("boom"))).add_edge(START, "bad")
        made.add_edge("bad", "gather")
    flow = made.compile()

    async def main() -> Any:
        try:
            with anyio.move_on_after(3 if limit == "caller" else None):
                await flow.run({}, thread_id="t")
        except NodeError:
            assert failing
        saved = rows(flow)
        reported = watch_threads()
        release.set()
        assert reported.wait(60)
        await anyio.sleep(LOOSE)
        return saved

    saved = Patient(node).run(main())
    assert rows(flow) == saved
    assert "stuck" not in {event.node for event in saved if isinstance(event, NodeCompleted)}


def test_a_thread_that_was_detached_holds_up_the_end_and_its_result_is_refused(
    release: threading.Event,
) -> None:
    node = InThread(release)
    flow = graph(Join(quorum=2, stragglers="detach"), node).compile()
    opened: list[float] = []

    class Releasing(Patient):
        """Goes on to where nothing but the thread is waited for, and then releases it."""

        def threads_are_busy(self) -> bool:
            if opened:
                release.set()
                return VirtualClock.threads_are_busy(self)
            return super().threads_are_busy()

    clock = Releasing(node)
    result = clock.run(read(flow, opened))
    assert (opened, result.state["items"]) == ([2], ["a", "b", "after"])
    assert ids(gathered(result).late) == ["stuck"]


async def read(flow: Flow[Any], opened: list[float]) -> RunResult[Any]:
    async with flow.stream({}) as events:
        async for event in events:
            if isinstance(event, SyncPointOpened):
                opened.append(event.at)  # noqa: PERF401 - it is read meanwhile
    assert events.result is not None
    return events.result
