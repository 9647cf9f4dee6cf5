"""Every journal format ever released is read: what its files hold replays to the same state."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from plait.backend import Record
from plait.codec.records import _FIELDS
from plait.durable import DurableStore
from plait.testing import VirtualClock
from plait.testing.memory_backend import MemoryBackend
from tests.golden import program

FILES = sorted(Path(__file__).parent.glob("*.json"))
each_format = pytest.mark.parametrize(
    "content",
    [json.loads(path.read_text(encoding="utf-8")) for path in FILES],
    ids=[path.stem for path in FILES],
)


async def loaded(content: Any, events: int | None = None) -> MemoryBackend:
    """A store that holds what a file does, or the beginning of it."""
    backend = MemoryBackend()
    grant = await backend.acquire(program.THREAD, "golden", 1.0, "golden")
    rows = [base64.b64decode(row) for row in content["events"]][:events]
    records = [
        Record(program.THREAD, grant.epoch, position, row) for position, row in enumerate(rows, 1)
    ]
    assert not await backend.append(records)
    await backend.release(program.THREAD, grant.epoch, "running")
    for name, description in content["plans"].items():
        await backend.save_plan(name, base64.b64decode(description))
    return backend


def test_there_is_a_file_for_every_format() -> None:
    assert [path.stem for path in FILES] == ["format-1"]


@each_format
async def test_a_journal_replays_to_the_state_it_had(content: Any) -> None:
    flow = program.build(DurableStore(await loaded(content)))
    snapshot = await flow.state(program.THREAD)
    assert program.shown(dict(sorted(snapshot.state.items()))) == content["state"]
    assert snapshot.status == "completed"


@each_format
async def test_it_holds_every_kind_of_event_and_is_written_the_same_today(content: Any) -> None:
    flow = program.build(DurableStore(await loaded(content)))
    events = [step.event async for step in flow.history(program.THREAD)][::-1]
    assert {type(event) for event in events} == set(_FIELDS)
    codec = flow._past.format.codec
    assert codec is not None
    encoded = [codec.encode_event(event) for event in events if event is not None]
    assert encoded == [base64.b64decode(row) for row in content["events"]]


@each_format
def test_from_every_prefix_of_it_the_run_goes_on(content: Any) -> None:
    updated = len(content["events"]) - 1

    async def resume(events: int) -> str:
        flow = program.build(DurableStore(await loaded(content, events)))
        result = await flow.resume(program.THREAD)
        while result.interrupts:
            answers = {interrupt.id: 5 for interrupt in result.interrupts}
            result = await flow.resume(program.THREAD, answers)
        return program.shown(dict(sorted(result.state.items())))

    ends = {VirtualClock().run(resume(events)) for events in range(1, updated + 1)}
    assert len(ends) == 1
