"""Running a compiled graph: threads, snapshots, results, and both backends."""

import asyncio
from contextlib import suppress
from typing import Any

import anyio
import pytest

from plait import (
    END,
    Flow,
    Join,
    MemoryStore,
    NodeContext,
    NodeError,
    RunResult,
    Snapshot,
    ThreadBusy,
    ThreadExists,
    ThreadNotFound,
)
from plait.events import NodeCompleted, RunStarted
from plait.testing import VirtualClock
from tests.kernel.build import Log, build, does, fan, run

BOOM = ValueError("boom")


async def snapshots(flow: Flow[Any], thread_id: str) -> list[Snapshot[Any]]:
    return [snapshot async for snapshot in flow.history(thread_id)]


def test_a_result_says_how_the_run_ended() -> None:
    result: RunResult[Any] = VirtualClock().run(build("START a END").compile().run(thread_id="t"))
    assert (result.status, result.thread_id, result.interrupts) == ("completed", "t", ())
    assert dict(result.outcomes) == {}


def test_a_run_without_a_thread_gets_a_new_one() -> None:
    flow = build("START a END").compile()
    first, second = (VirtualClock().run(flow.run()) for _ in range(2))
    assert first.thread_id != second.thread_id
    assert second.state["items"] == ["a"]


def test_two_runs_on_one_thread_append_to_one_history() -> None:
    paths: list[Any] = []

    async def note(state: Any, ctx: NodeContext) -> Any:
        paths.append((ctx.branch, list(state["items"])))
        return {"items": ["a"], "text": "first run"}

    async def twice() -> Any:
        flow = build("START a END", a=note).compile()
        await flow.run({"items": ["one"]}, thread_id="t")
        return await flow.run({"items": ["two"]}, thread_id="t")

    assert VirtualClock().run(twice()).state["items"] == ["one", "a", "two", "a"]
    assert paths == [((0,), ["one"]), ((1,), ["one", "a", "two"])]


@pytest.mark.parametrize("fails", [False, True], ids=["finished", "unfinished"])
def test_a_run_that_wants_a_new_thread_is_refused_where_there_is_one(fails: bool) -> None:
    async def twice() -> Any:
        node = does(raises=BOOM) if fails else does(items=["a"])
        flow = build("START a END", a=node).compile()
        with suppress(NodeError):
            await flow.run({"items": ["one"]}, "t", new=True)
        before = await flow.state("t")
        with pytest.raises(ThreadExists, match=r"exists.*resume"):
            await flow.run({"items": ["two"]}, "t", new=True)
        with pytest.raises(ThreadExists):
            await flow.stream({"items": ["two"]}, "t", new=True).__anext__()
        assert await flow.state("t") == before
        return before.status

    assert VirtualClock().run(twice()) == ("running" if fails else "completed")


def test_outcomes_are_those_of_the_last_run() -> None:
    async def twice() -> Any:
        flow = fan(Join(), 1, 2).compile()
        await flow.run({}, thread_id="t")
        return await flow.run({}, thread_id="t")

    (outcome,) = VirtualClock().run(twice()).outcomes["gather"]
    assert (outcome.branch, outcome.generation) == ((1,), 0)


def test_a_thread_that_is_being_run_is_busy() -> None:
    async def both() -> None:
        flow = build("START a END", a=does(takes=10)).compile()
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "t")
            await anyio.sleep(1)
            with pytest.raises(ThreadBusy, match="'t' is being run at this moment"):
                await flow.run({}, "t")
            with pytest.raises(ThreadBusy):
                await flow.resume("t")

    VirtualClock().run(both())


def test_different_threads_of_one_flow_run_side_by_side() -> None:
    async def both() -> None:
        flow = build("START a END", a=does(takes=10)).compile()
        async with anyio.create_task_group() as group:
            group.start_soon(flow.run, {}, "one")
            group.start_soon(flow.run, {}, "two")

    clock = VirtualClock()
    clock.run(both())
    assert clock.now == 10


def test_a_store_may_be_shared_between_flows() -> None:
    store = MemoryStore()

    async def hand_over() -> Any:
        with pytest.raises(NodeError):
            await build("START a b END", b=does(raises=BOOM)).compile(store).run({}, "t")
        return await build("START a b END").compile(store).resume("t")

    assert VirtualClock().run(hand_over()).state["items"] == ["a", "b"]


def test_a_run_that_was_refused_leaves_no_thread() -> None:
    async def refused() -> None:
        flow = build("START a END").compile()
        with pytest.raises(Exception, match="colour"):
            await flow.run({"colour": "red"}, thread_id="t")
        await flow.state("t")

    with pytest.raises(ThreadNotFound, match="'t' is not known"):
        VirtualClock().run(refused())


# -- looking back -----------------------------------------------------------------------------


def test_the_state_at_every_position_is_a_replay_of_the_journal_up_to_there() -> None:
    async def look() -> Any:
        flow = build("START a b END").compile()
        await flow.run({"text": "given"}, thread_id="t")
        return [await flow.state("t", at) for at in (0, 1, 2, 3, None)]

    seen = VirtualClock().run(look())
    assert [snapshot.position for snapshot in seen] == [0, 1, 2, 3, 3]
    assert [snapshot.state["items"] for snapshot in seen] == [[], [], ["a"], ["a", "b"], ["a", "b"]]
    assert [snapshot.next for snapshot in seen] == [(), ("a",), ("b",), (), ()]
    assert [snapshot.status for snapshot in seen] == ["completed"] + ["running"] * 2 + [
        "completed"
    ] * 2
    assert seen[0].event is None
    assert isinstance(seen[1].event, RunStarted)
    assert isinstance(seen[2].event, NodeCompleted)


@pytest.mark.parametrize("at", [-1, 4])
def test_a_position_that_the_journal_has_not_is_an_error(at: int) -> None:
    async def look() -> None:
        flow = build("START a b END").compile()
        await flow.run({}, thread_id="t")
        await flow.state("t", at)

    with pytest.raises(ValueError, match="positions 0 to 3"):
        VirtualClock().run(look())


def test_the_history_is_every_position_newest_first() -> None:
    async def look() -> Any:
        flow = fan(Join(), 1, 2).compile()
        await flow.run({}, thread_id="t")
        return await snapshots(flow, "t"), [await flow.state("t", n) for n in range(5, 0, -1)]

    history, states = VirtualClock().run(look())
    assert history == states[: len(history)]
    assert [snapshot.position for snapshot in history] == list(range(len(history), 0, -1))


def test_a_snapshot_names_the_branches_that_were_alive_and_what_was_written_so_far() -> None:
    async def look() -> Any:
        flow = fan(Join(), 3, 1, 2).compile()
        await flow.run({}, thread_id="t")
        return {s.position: s for s in await snapshots(flow, "t")}

    seen = VirtualClock().run(look())
    middle = next(s for s in seen.values() if s.state["items"] == [1, 2])
    alive = [(view.path, view.node, view.status) for view in middle.branches]
    assert alive == [
        ((0, 0), "work", "running"),
        ((0, 1), "gather", "waiting"),
        ((0, 2), "gather", "waiting"),
    ]
    assert middle.next == ("work",)


def test_a_replay_calls_no_user_code() -> None:
    log = Log()

    async def look() -> Any:
        flow = build("START a END", a=log.node("a", items=["a"])).compile()
        await flow.run({}, thread_id="t")
        await snapshots(flow, "t")
        return await flow.state("t")

    assert VirtualClock().run(look()).state["items"] == ["a"]
    assert log.order == ["a"]


def test_the_state_of_a_failed_run_is_what_had_finished() -> None:
    async def look() -> Any:
        flow = build("START a b END", "START c END", b=does(1, BOOM)).compile()
        with pytest.raises(NodeError):
            await flow.run({}, thread_id="t")
        return await flow.state("t")

    snapshot = VirtualClock().run(look())
    assert (snapshot.status, snapshot.state["items"]) == ("running", ["a", "c"])


@pytest.mark.parametrize("what", ["state", "history"])
def test_an_unknown_thread_has_no_state_and_no_history(what: str) -> None:
    async def look() -> None:
        flow = build("START a END").compile()
        await (flow.state("t") if what == "state" else snapshots(flow, "t"))

    with pytest.raises(ThreadNotFound):
        VirtualClock().run(look())


def test_a_snapshot_has_the_outcomes_so_far() -> None:
    async def look() -> Any:
        flow = fan(Join(), 1, 2).compile()
        await flow.run({}, thread_id="t")
        return await snapshots(flow, "t")

    history = VirtualClock().run(look())
    assert history[0].outcomes["gather"].latest.status == "complete"
    assert dict(history[-1].outcomes) == {}


# -- backends and logs ------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_run_is_the_same_on_both_backends(anyio_backend: str) -> None:
    graph = build(
        "START a gather merge END",
        "START b gather",
        "START slow gather",
        gather=Join(quorum=2, timeout=50),
        slow=does(takes=60),
        merge=lambda _state: {"items": ["thread"]},
    )
    result = await graph.compile(debug=False).run({})
    assert result.state["items"] == ["a", "b", "thread"]
    assert result.outcomes["gather"].latest.status == "quorum"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_failure_is_the_same_on_both_backends(anyio_backend: str) -> None:
    flow = build("START a END", "START b END", a=does(raises=BOOM), b=does(60)).compile()
    with pytest.raises(NodeError) as caught:
        await flow.run({})
    assert caught.value.__cause__ is BOOM


def test_a_flow_says_what_it_is() -> None:
    assert repr(build("START a b END").compile()) == "<Flow 'example': 2 vertices>"


def test_debug_logs_every_event_with_its_facts() -> None:
    import structlog.testing

    with structlog.testing.capture_logs() as logs:
        run(fan(Join(), 1, BOOM), debug=True)
    events = [entry["event"] for entry in logs]
    assert {"run started", "node started", "node failed", "branch forked"} <= set(events)
    assert {"sync point opened", "node completed"} <= set(events)
    (failed,) = [entry for entry in logs if entry["event"] == "node failed"]
    assert (failed["node"], failed["branch"]) == ("work", (0, 1))
    assert all("thread_id" in entry for entry in logs)


def test_a_nodes_log_is_bound_to_its_place() -> None:
    import structlog.testing

    async def node(_state: Any, ctx: NodeContext) -> None:
        ctx.log.info("hello", answer=42)
        await ctx.emit("noted")

    with structlog.testing.capture_logs() as logs:
        VirtualClock().run(build("START a END", a=node).compile(debug=True).run({}, "t"))
    (said,) = [entry for entry in logs if entry["event"] == "hello"]
    assert (said["thread_id"], said["branch"], said["node"], said["attempt"]) == ("t", "0", "a", 1)
    assert "emitted" in [entry["event"] for entry in logs]


def test_an_end_is_never_the_place_of_a_live_branch() -> None:
    async def look() -> Any:
        flow = build("START a END", "START b END", b=does(takes=5)).compile()
        await flow.run({}, thread_id="t")
        return await snapshots(flow, "t")

    history = VirtualClock().run(look())
    assert all(view.node != END for snapshot in history for view in snapshot.branches)


def test_the_journal_of_a_thread_is_its_events_up_to_a_position() -> None:
    flow = build("START a b END").compile()
    clock = VirtualClock()
    clock.run(flow.run({}, thread_id="t"))
    past = clock.run(flow.journal("t", at=2))
    assert (past.position, past.snapshot) == (0, None)
    assert [type(event).__name__ for event in past.events] == ["RunStarted", "NodeCompleted"]
    assert len(clock.run(flow.journal("t")).events) == 3
    with pytest.raises(ValueError, match="has positions 0 to 3, not 9"):
        clock.run(flow.journal("t", at=9))


@pytest.mark.parametrize("when", ["before", "after"])
def test_events_have_the_right_time_though_the_process_is_held_up_as_it_looks_at_the_clock(
    when: str,
) -> None:
    clock = VirtualClock(start=1e9)
    store = MemoryStore()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        right, held_up = loop.wall_time, iter([0.5, 0.2, 0.0])

        def wall_time() -> float:
            clock.now += next(held_up) if when == "before" else 0
            told: float = right()
            clock.now += next(held_up) if when == "after" else 0
            return told

        loop.wall_time = wall_time
        await build("START a END", a=does(takes=1)).compile(store).run({}, thread_id="t")

    clock.run(main())
    times = [event.at - clock.start for event in clock.run(store.read("t"))]
    assert times == pytest.approx([clock.now - 1, clock.now], abs=1e-3)


def test_a_flow_on_another_store_is_the_same_graph_with_the_same_options() -> None:
    store = MemoryStore()
    flow = build("START a END").compile(interrupt_before="a", max_interrupts=7, max_concurrency=2)
    other = flow.with_store(store)
    clock = VirtualClock()
    assert clock.run(other.run({}, thread_id="t")).status == "suspended"
    assert (other.plan, other.store, other.max_concurrency) == (flow.plan, store, 2)
    assert other.interrupts.limit == 7
    with pytest.raises(ThreadNotFound):
        clock.run(flow.state("t"))


def test_a_store_tells_of_one_thread_what_it_tells_in_its_list() -> None:
    store = MemoryStore()
    flow = build("START a END").compile(store=store)
    clock = VirtualClock()
    clock.run(flow.run({}, thread_id="t"))
    assert [clock.run(store.thread("t"))] == list(clock.run(store.threads()))
    assert clock.run(store.thread("none")) is None
