"""The public face as type checkers see it: what must check, and what must not.

Nothing here is run. ``make types`` checks it; a line that should be refused carries an ignore, and
an ignore that is not needed is an error.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, assert_type

from pydantic import BaseModel

from plait import (
    ALL,
    END,
    START,
    Arrival,
    Blame,
    Command,
    Event,
    Flow,
    Graph,
    Interrupt,
    Join,
    NodeContext,
    Outcome,
    Overwrite,
    Retry,
    RunResult,
    Send,
    Snapshot,
    interrupt,
    reducers,
)
from plait.events import JournalEvent
from plait.reducers import Reducer


class Model(BaseModel):
    items: Annotated[list[int], operator.add] = []
    text: str = ""


@dataclass
class Record:
    count: Annotated[int, reducers.total] = 0


class Mapped(TypedDict):
    seen: Annotated[set[str], reducers.live(reducers.union)]


async def plain(state: Model) -> Mapping[str, Any]:
    return {"items": [1]}


async def with_context(state: Model, ctx: NodeContext) -> None:
    assert_type(ctx.branch, tuple[int, ...])
    assert_type(ctx.outcome, Outcome | None)
    await ctx.emit(1)
    assert_type(ctx.interrupt("?"), Any)


def in_thread(state: Model) -> dict[str, Any]:
    return {"text": interrupt("?"), "items": Overwrite([2])}


async def choosing(state: Model) -> Command[Literal["plain", "with_context"]]:
    return Command(update={"text": "x"}, goto="plain")


async def states_keep_their_types() -> None:
    flow = Graph(Model).add_node(plain).add_edge(START, "plain").add_edge("plain", END).compile()
    assert_type(flow, Flow[Model])
    result = await flow.run({"text": "x"})
    assert_type(result, RunResult[Model])
    assert_type(result.state.items, list[int])
    assert_type(result.outcomes["gather"].latest.missing[0].id, str | None)
    assert_type(await flow.state("t"), Snapshot[Model])
    async for snapshot in flow.history("t"):
        assert_type(snapshot.state, Model)
    async with flow.stream() as events:
        async for _ in events:
            pass
        assert_type(events.result, RunResult[Model] | None)
    record = await Graph(Record).compile().run()
    assert_type(record.state.count, int)
    mapped = await Graph(Mapped).compile().run()
    assert_type(mapped.state["seen"], set[str])


async def threads_keep_their_types() -> None:
    flow = Graph(Model).compile(interrupt_before="plain", interrupt_after=["a"], max_interrupts=9)
    suspended = await flow.resume("t")
    assert_type(suspended.interrupts, tuple[Interrupt, ...])
    assert_type(suspended.interrupts[0].branch, tuple[int, ...])
    assert_type(await flow.resume("t", {"0:1:0": 1}, context=2), RunResult[Model])
    snapshot = await flow.update("t", {"text": "x"}, "plain", branch=(0, 1))
    assert_type(snapshot, Snapshot[Model])
    assert_type(snapshot.interrupts, tuple[Interrupt, ...])
    assert_type(await flow.fork("t", 3, "new"), Snapshot[Model])
    assert_type(await flow.blame("t", "items"), tuple[Blame, ...])
    assert_type(flow.with_store("memory:"), Flow[Model])
    async with flow.resume_stream("t", {"0:1:0": 1}, migrate=True, buffer=9) as events:
        assert_type([event async for event in events], list[Event])
    assert_type(events.result, RunResult[Model] | None)
    assert_type((await flow.journal("t", at=3)).events, Sequence[JournalEvent])


def graphs_take_what_they_should() -> None:
    graph = Graph(Model, "named")
    graph.add_node(with_context, retry=Retry(attempts=2, on=(OSError, ValueError)), timeout=1.5)
    graph.add_node("named", in_thread, on_error="record", pool="gpu", writes=["text"])
    graph.add_node("inner", Graph(Model).compile())
    graph.add_node(choosing, targets=["plain"])
    graph.add_sync_point("all", Join(quorum=ALL))
    graph.add_sync_point("share", Join(quorum=0.5, grace=1, timeout=2, timeout_from="fork"))
    graph.add_sync_point("weights", Join(quorum={"a": 1.0}), fork="named")
    graph.add_sync_point("asked", Join(quorum=lambda arrivals: len(arrivals) > 1))
    graph.add_conditional_edges("named", lambda state: [Send("plain", 1, id="b", after="a")])
    graph.add_conditional_edges("named", lambda state: "yes", {"yes": "plain"})
    graph.compile(max_concurrency=3, pools={"gpu": 1}, debug=True)


def judges_see_arrivals(arrivals: tuple[Arrival, ...]) -> bool:
    assert_type(arrivals[0].weight, float)
    return True


def reducers_keep_their_types() -> None:
    @reducers.declare(associative=True, identity=int)
    def add(value: int, write: int) -> int:
        return value + write

    assert_type(add, Reducer[int])
    assert_type(reducers.declare(max, commutative=True)(1, 2), Any)


def what_is_wrong_is_refused() -> None:
    Graph(3)  # type: ignore[arg-type]
    Join(stragglers="forget")  # type: ignore[arg-type]
    Join(late="never")  # type: ignore[arg-type]
    Send()  # type: ignore[call-arg]
    Graph(Model).add_edge(START)  # type: ignore[call-arg]
    Graph(Model).add_node(plain, retries=3)  # type: ignore[call-overload]
    Graph(Model).add_sync_point("s", 0.75)  # type: ignore[arg-type]
    Retry(on="all")  # type: ignore[arg-type]
    Graph(Model).compile(interrupt_before=3)  # type: ignore[arg-type]
