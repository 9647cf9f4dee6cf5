"""A program that has every kind of event in its journal, and values of every kind in those.

``python -m tests.golden.program FILE`` runs it and writes down what a store keeps. A file that
a release has written stays as it is for good: later releases must read it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import operator
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anyio
import pydantic

from plait import (
    END,
    START,
    Flow,
    Graph,
    Join,
    NodeContext,
    Overwrite,
    Retry,
    Send,
    interrupt,
    reducers,
)
from plait.durable import DurableStore
from plait.testing import VirtualClock
from plait.testing.memory_backend import MemoryBackend

THREAD = "golden"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    due: dt.datetime
    price: decimal.Decimal
    colour: Colour = Colour.RED


class Note(pydantic.BaseModel):
    text: str
    parts: tuple[int, ...] = ()


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    tags: Annotated[frozenset[str], reducers.union]
    total: Annotated[int, operator.add]
    note: Note
    item: Item
    anything: Any


VALUES: dict[str, Any] = {
    "text": "naïve \0 \ud800 🪢",
    "bytes": bytes(range(256)),
    "numbers": [0, -1, 2**70, 1.5, float("inf"), 1e-300, True, None],
    "nested": {"tuple": (1, (2, [3])), "set": {1, 2}, "keys": {(1, 2): "pair", 3: "three"}},
    "when": [
        dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC),
        dt.date(1999, 12, 31),
        dt.timedelta(days=-1, microseconds=5),
    ],
    "id": uuid.UUID(int=7),
    "amount": decimal.Decimal("1.10"),
}


async def plan(_state: State) -> dict[str, Any]:
    return {"anything": VALUES, "tags": frozenset({"planned"})}


def send(_state: State) -> list[Send]:
    due = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    return [
        Send(
            "work", Item(name, due, decimal.Decimal(place), colour), id=name, after=after, weight=w
        )
        for place, (name, colour, after, w) in enumerate(
            [
                ("a", Colour.RED, (), 1.0),
                ("b", Colour.BLUE, ("a",), 2.0),
                ("c", Colour.RED, (), 0.5),
                ("d", Colour.BLUE, (), 1.0),
            ]
        )
    ]


async def work(item: Item, ctx: NodeContext) -> dict[str, Any]:
    if item.name == "b" and ctx.attempt == 1:
        raise OSError("not at the first attempt")
    if item.name == "c":
        raise LookupError("nothing found")
    if item.name == "d":
        await anyio.sleep(100)
    return {"log": [item.name], "total": 1, "tags": frozenset({item.name})}


async def ask(state: State) -> dict[str, Any]:
    answer = interrupt({"question": "how many?", "so far": state["total"]})
    return {"total": answer, "note": Note(text="asked", parts=(1, 2))}


async def last(_state: State) -> dict[str, Any]:
    return {"log": Overwrite(["over"]), "item": Item("z", VALUES["when"][0], VALUES["amount"])}


async def added(_state: State) -> None:
    """A node that the first version of the graph does not have."""


def build(store: DurableStore, *, version: int = 2) -> Flow[Any]:
    graph = Graph(State, name="golden")
    graph.add_node(plan)
    graph.add_node(work, retry=Retry(attempts=2, initial=1, jitter=False), on_error="record")
    graph.add_node(ask)
    graph.add_node(last)
    graph.add_sync_point("gather", Join(quorum=lambda arrived: len(arrived) > 3, timeout=30))
    graph.add_conditional_edges(START, lambda _: "plan", ["plan"])
    graph.add_conditional_edges("plan", send, ["work"])
    graph.add_edge("work", "gather")
    graph.add_edge("gather", "ask")
    graph.add_edge("ask", "last")
    if version > 1:
        graph.add_node(added)
        graph.add_edge("last", "added")
        graph.add_edge("added", END)
    graph.add_edge("last", END)
    return graph.compile(store, interrupt_after=["last"])


async def run(backend: MemoryBackend) -> Any:
    """Run it to its end, through interrupts, an update, and a new version of the graph."""
    store = DurableStore(backend)
    first, second = build(store, version=1), build(store)
    asked = await first.run({"total": 1}, thread_id=THREAD)
    parked = await second.resume(THREAD, {asked.interrupts[0].id: 5})
    await second.resume(THREAD, {parked.interrupts[0].id: None})
    await second.update(THREAD, {"tags": frozenset({"updated"})}, as_node="plan")
    return (await second.state(THREAD)).state


def shown(value: Any) -> str:
    """A value as text that is the same in every process, unlike the ``repr`` of a set."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(key)}: {shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({sorted(map(shown, value))})"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    return repr(value)


def write(path: Path) -> None:
    """Write down what a store keeps, and what is made of it."""
    clock = VirtualClock()
    backend = MemoryBackend(clock=lambda: clock.now)
    state = clock.run(run(backend))
    rows = clock.run(backend.read(THREAD, 0, limit=10_000))
    plans = clock.run(_plans(backend))
    content = {
        "events": [base64.b64encode(row.data).decode() for row in rows],
        "plans": {name: base64.b64encode(data).decode() for name, data in plans.items()},
        "state": shown(dict(sorted(state.items()))),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


async def _plans(backend: MemoryBackend) -> dict[str, bytes]:
    found = {}
    for version in (1, 2):
        flow = build(DurableStore(backend), version=version)
        name = await flow._past.fingerprint()
        found[name] = await backend.load_plan(name) or b""
    return found


if __name__ == "__main__":
    write(Path(sys.argv[1]))
