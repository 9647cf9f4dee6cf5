"""Journals of random programs, forged: what a replay says to events that no run has written.

``PLAIT_EXAMPLES`` sets how many examples the law is tried on.
"""

from __future__ import annotations

import os
import random
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import Flow, MemoryStore, PlaitError
from plait.events import NO_ARGUMENT, JournalEvent, Target, TimerKey
from tests.properties.conftest import EVERY
from tests.properties.drive import drive, prepare
from tests.properties.programs import Features, Program, programs

law = settings(EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "100")))

NAMES = st.sampled_from(["", "n0", "n1", "s0", "one", "sum", "__start__", "__end__", "__class__"])
PATHS = st.lists(st.integers(-1, 3), max_size=3).map(tuple)
TARGETS = st.builds(
    Target, NAMES, st.just(NO_ARGUMENT) | st.integers(), st.none() | NAMES, st.tuples(NAMES)
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "at": st.floats(),
    "branch": PATHS,
    "node": NAMES,
    "sync_point": NAMES,
    "generation": st.integers(-1, 3),
    "arrivals": st.integers(-1, 3),
    "met": st.booleans(),
    "handling": NAMES,
    "attempt": st.integers(-1, 3),
    "writes": st.lists(st.tuples(NAMES, st.integers() | NAMES), max_size=2).map(tuple),
    "targets": st.lists(TARGETS, max_size=3).map(tuple),
    "timer": st.builds(
        TimerKey, PATHS, st.integers(-1, 3), NAMES, st.sampled_from(["deadline", "grace"])
    ),
}
"""What the codec lets through."""


def forge(journal: list[JournalEvent], draw: Any) -> list[JournalEvent]:
    """The same journal with an event changed, moved, doubled or missing."""
    forged = list(journal)
    place = draw(st.integers(0, len(forged) - 1))
    event = forged[place]
    how = draw(st.sampled_from(["change", "change", "change", "move", "double", "remove"]))
    if how == "change":
        name = draw(st.sampled_from([name for name in event._fields if name in FIELDS]))
        forged[place] = event._replace(**{name: draw(FIELDS[name])})
    elif how == "double":
        forged.insert(place, event)
    else:
        del forged[place]
        if how == "move":
            forged.insert(draw(st.integers(0, len(forged))), event)
    return forged


async def look_at(flow: Flow[Any], journal: list[JournalEvent]) -> None:
    store = MemoryStore()
    async with store.lease("t") as written:
        for event in journal:
            written.append(event)
    try:
        await Flow(flow.plan, store).state("t")
    except PlaitError:
        pass


@law
@given(
    programs(Features(subgraphs=False)),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_a_forged_journal_is_refused_or_is_a_history(
    program: Program, rng: random.Random, data: st.DataObject
) -> None:
    case = prepare(program)
    journal = drive(case, rng).journal
    flow: Flow[Any] = Flow(case.plan)
    for _ in range(5):
        forged = journal
        for _ in range(data.draw(st.integers(1, 3))):
            forged = forge(forged, data.draw) or journal
        anyio.run(look_at, flow, forged)
