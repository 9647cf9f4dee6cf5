"""Reading the events of a run while it runs."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import anyio
import pytest

from plait import (
    Event,
    Flow,
    Join,
    MemoryStore,
    NodeContext,
    NodeError,
    RunResult,
    RunStream,
    ThreadNotFound,
)
from plait.events import (
    BranchForked,
    Emitted,
    NodeCompleted,
    NodeStarted,
    RunCompleted,
    RunStarted,
    SyncPointOpened,
)
from plait.testing import CrashAt, Crashed, VirtualClock
from tests.kernel.build import Log, build, does, fan, ids, other_tasks


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_stream_gives_every_event_in_order_and_the_result_at_the_end() -> None:
    async def read() -> Any:
        stream = build("START a END").compile().stream({}, thread_id="t")
        async with stream as events:
            return [event async for event in events], events.result

    events, result = VirtualClock().run(read())
    assert names(events) == ["RunStarted", "NodeStarted", "NodeCompleted", "RunCompleted"]
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].state == result.state == {"items": ["a"], "seen": set(), "sum": 0}
    assert (events[-1].thread_id, events[-1].status) == ("t", "completed")


def test_a_stream_tells_of_forks_and_sync_points() -> None:
    async def read() -> list[Event]:
        async with fan(Join(), 2, 1).compile().stream({}) as events:
            return [event async for event in events]

    events = VirtualClock().run(read())
    (forked,) = [event for event in events if isinstance(event, BranchForked)]
    (opened,) = [event for event in events if isinstance(event, SyncPointOpened)]
    done = [event for event in events if isinstance(event, NodeCompleted)]
    assert ids(forked.children) == ["b0", "b1"]
    assert (opened.at, opened.outcome.waited) == (2, 2)
    assert [(event.branch, event.started, event.at) for event in done[:2]] == [
        ((0, 1), 0, 1),
        ((0, 0), 0, 2),
    ]


def test_events_come_while_the_run_is_going_on() -> None:
    async def read() -> list[float]:
        flow = build("START a b END", a=does(takes=5), b=does(takes=5)).compile()
        async with flow.stream({}) as events:
            return [
                anyio.current_time() async for event in events if isinstance(event, NodeStarted)
            ]

    assert VirtualClock().run(read()) == [0, 5]


def test_a_node_may_emit_values_of_its_own() -> None:
    async def node(_state: Any, ctx: NodeContext) -> None:
        ctx.emit({"part": 1})
        await ctx.emit({"part": 2})

    async def read() -> list[Emitted]:
        async with build("START a END", a=node).compile().stream({}) as events:
            return [event async for event in events if isinstance(event, Emitted)]

    emitted = VirtualClock().run(read())
    assert [event.value for event in emitted] == [{"part": 1}, {"part": 2}]
    assert (emitted[0].node, emitted[0].branch) == ("a", (0,))


def test_the_events_of_a_subgraph_come_with_their_nodes_way() -> None:
    inner = build("START x END").compile()

    async def read() -> list[str]:
        async with build("START sub END", sub=inner).compile().stream({}) as events:
            return [event.node async for event in events if isinstance(event, NodeStarted)]

    assert VirtualClock().run(read()) == ["sub", "sub/x"]


def test_a_slow_reader_holds_the_run_back() -> None:
    log = Log()
    nodes = [f"n{number}" for number in range(50)]
    graph = build(f"START {' '.join(nodes)} END", **{name: log.node(name) for name in nodes})

    async def read() -> list[int]:
        ahead = []
        async with graph.compile().stream({}, buffer=4) as events:
            read = 0
            async for event in events:
                if isinstance(event, NodeCompleted):
                    read += 1
                await anyio.sleep(1)
                ahead.append(len(log.entries) - read)
        return ahead

    assert max(VirtualClock().run(read())) <= 4
    assert len(log.entries) == 50


def test_a_node_that_awaits_its_emit_is_held_back() -> None:
    sent: list[int] = []

    async def node(_state: Any, ctx: NodeContext) -> None:
        for number in range(20):
            await ctx.emit(number)
            sent.append(number)

    async def read() -> list[int]:
        ahead = []
        async with build("START a END", a=node).compile().stream({}, buffer=3) as events:
            async for event in events:
                await anyio.sleep(1)
                if isinstance(event, Emitted):
                    ahead.append(len(sent) - event.value)
        return ahead

    assert max(VirtualClock().run(read())) <= 6
    assert len(sent) == 20


def test_a_stream_that_is_left_midway_leaves_no_task_and_a_thread_that_resumes() -> None:
    async def leave() -> Any:
        flow = fan(Join(timeout=500), 5, 60).compile()
        async with flow.stream({}, thread_id="t") as events:
            async for event in events:
                if isinstance(event, NodeCompleted):
                    break
        assert other_tasks() == set()
        return await flow.resume("t")

    assert VirtualClock().run(leave()).state["items"] == [0, 1]


def test_a_stream_may_be_read_without_a_block_and_closed() -> None:
    async def close() -> set[Any]:
        stream = fan(Join(), 5, 60).compile().stream({})
        async for event in stream:
            if isinstance(event, NodeCompleted):
                break
        await stream.aclose()
        return other_tasks()

    clock = VirtualClock()
    assert clock.run(close()) == set()
    assert clock.now == 5


def test_a_stream_that_is_forgotten_ends_its_run() -> None:
    async def forget() -> set[Any]:
        stream = fan(Join(), 5, 60).compile().stream({})
        await anext(stream)
        del stream
        gc.collect()
        await anyio.sleep(1)
        return other_tasks()

    assert VirtualClock().run(forget()) == set()


def test_a_stream_without_a_block_gives_everything_and_the_result() -> None:
    async def read() -> Any:
        stream = build("START a END").compile().stream({})
        events = [event async for event in stream]
        await stream.aclose()
        return events, stream.result

    events, result = VirtualClock().run(read())
    assert isinstance(events[0], RunStarted)
    assert result.state["items"] == ["a"]


def test_closing_a_stream_within_its_block_ends_the_run() -> None:
    async def close() -> Any:
        async with fan(Join(), 60).compile().stream({}) as events:
            await anext(events)
            await events.aclose()
        return other_tasks(), events.result

    clock = VirtualClock()
    assert clock.run(close()) == (set(), None)
    assert clock.now == 0


def test_a_stream_that_was_never_read_has_nothing_to_close() -> None:
    async def close() -> Any:
        stream = fan(Join(), 60).compile().stream({})
        await stream.aclose()
        return other_tasks()

    assert VirtualClock().run(close()) == set()


@pytest.mark.parametrize("block", [True, False])
def test_a_failure_is_raised_to_the_reader_after_the_last_event(block: bool) -> None:
    seen: list[Event] = []

    async def read() -> None:
        stream = build("START a END", a=does(1, ValueError("boom"))).compile().stream({})
        async with stream if block else contextlib.nullcontext(stream) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - what was read before the error counts

    with pytest.raises(NodeError, match="boom"):
        VirtualClock().run(read())
    assert names(seen)[-1] == "NodeFailed"


def test_an_error_of_the_reader_ends_the_run_and_is_raised_as_it_is() -> None:
    async def read() -> None:
        async with fan(Join(), 60).compile().stream({}) as events:
            async for _ in events:
                raise KeyError("the reader's")

    with pytest.raises((KeyError, ExceptionGroup)) as caught:
        VirtualClock().run(read())
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_a_stream_wants_a_block(anyio_backend: str) -> None:
    stream = build("START a END").compile().stream({})
    with pytest.raises(RuntimeError, match="async with"):
        await anext(stream)
    async with build("START a END").compile().stream({}) as events:
        assert names([event async for event in events])[-1] == "RunCompleted"


def test_an_awaited_emit_without_a_reader_does_not_wait() -> None:
    async def node(_state: Any, ctx: NodeContext) -> None:
        for number in range(1000):
            await ctx.emit(number)

    assert VirtualClock().run(build("START a END", a=node).compile().run({})).status == "completed"


# -- a run that is resumed


def crashed(thread_id: str) -> tuple[Flow[Any], Log]:
    """A flow on whose thread the first of two nodes is finished."""
    log = Log()
    graph = build("START a b END", a=log.node("a"), b=log.node("b", items=["b"]))
    store = MemoryStore()
    with pytest.raises(Crashed):
        VirtualClock().run(graph.compile(store=CrashAt(store, 3)).run({}, thread_id=thread_id))
    return graph.compile(store=store), log


async def read_all(stream: RunStream[Any]) -> tuple[list[Event], RunResult[Any] | None]:
    async with stream as events:
        return [event async for event in events], events.result


def test_the_stream_of_a_resumed_run_tells_what_happens_now() -> None:
    flow, log = crashed("t")
    events, result = VirtualClock().run(read_all(flow.resume_stream("t")))
    assert names(events) == ["NodeStarted", "NodeCompleted", "RunCompleted"]
    assert log.order == ["a", "b", "b"]
    assert result is not None
    assert result.state["items"] == ["b"]


def test_the_stream_of_a_resumed_run_begins_with_the_answers() -> None:
    async def ask(_state: Any, ctx: NodeContext) -> Any:
        return {"items": [ctx.interrupt("?"), ctx.context]}

    flow = build("START ask END", ask=ask).compile()
    clock = VirtualClock()
    (asked,) = clock.run(flow.run({}, thread_id="t")).interrupts
    events, result = clock.run(read_all(flow.resume_stream("t", {asked.id: "!"}, "given")))
    assert names(events)[:2] == ["InterruptsAnswered", "NodeStarted"]
    assert result is not None
    assert result.state["items"] == ["!", "given"]


def test_the_stream_of_a_finished_thread_is_empty_and_has_its_result() -> None:
    flow = build("START a END").compile()
    clock = VirtualClock()
    finished = clock.run(flow.run({}, thread_id="t"))
    assert clock.run(read_all(flow.resume_stream("t"))) == ([], finished)


def test_a_run_that_cannot_be_resumed_fails_its_stream() -> None:
    stream = build("START a END").compile().resume_stream("none")
    with pytest.raises(ThreadNotFound):
        VirtualClock().run(read_all(stream))


def test_leaving_the_stream_of_a_resumed_run_cancels_it() -> None:
    flow, log = crashed("t")

    async def leave() -> None:
        async with flow.resume_stream("t") as events:
            async for _ in events:
                break
        assert not other_tasks()

    clock = VirtualClock()
    clock.run(leave())
    assert clock.run(flow.state("t")).status == "running"
    assert clock.run(flow.resume("t")).state["items"] == ["b"]
    assert log.order.count("a") == 1
