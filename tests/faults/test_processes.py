"""Real processes, really killed: a little of what the programs in `processes/` do at length.

Each of them runs for as long as one likes: see their first lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from plait import Flow
from plait.backend import Backend, Record
from plait.durable import DurableStore
from plait.events import ThreadId
from plait.store import Durability
from tests.faults.processes.judge import Figures
from tests.faults.processes.kills import kill_at_random
from tests.faults.processes.life import Death
from tests.faults.processes.payments import kill_while_paying
from tests.faults.processes.program import compiled
from tests.faults.processes.rivals import CONTESTS, contest
from tests.faults.processes.sweep import STORES, Point, found_at, opened, sweep

pytestmark = pytest.mark.slow

SEED = 20


@pytest.mark.parametrize("kind", STORES)
async def test_killed_at_any_commit_a_thread_goes_on_as_if_nothing_had_been(kind: str) -> None:
    found = sum((await sweep(kind, 60)).values(), Figures())
    print(found)
    assert found.deaths == 60
    assert not found.faults


@pytest.mark.parametrize("kind", STORES)
async def test_killed_at_any_instant_only_what_was_running_is_called_again(kind: str) -> None:
    found = await kill_at_random(kind, 30, SEED)
    print(found)
    assert found.deaths >= 30
    assert not found.faults


async def test_killed_while_paying_nothing_is_paid_twice_or_not_at_all() -> None:
    found = await kill_while_paying(40, SEED)
    print(found)
    assert found.kills >= 40
    assert not found.faults


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", CONTESTS)
async def test_of_two_that_want_the_same_one_has_it(kind: str, name: str) -> None:
    score = await contest(kind, name, 5, SEED)
    print(score)
    assert score.rounds >= 5
    assert sum(score.refused.values()) > 0
    assert not score.faults


class Hasty:
    """A backend that acknowledges what it stores with the next append only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._late: list[Record] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def append(self, records: Sequence[Record]) -> set[ThreadId]:
        late, self._late = self._late, list(records)
        return await self._backend.append(late) if late else set()

    async def release(self, thread_id: ThreadId, epoch: int, status: str) -> None:
        await self.append(())
        await self._backend.release(thread_id, epoch, status)


def hastily(store: DurableStore, durability: Durability) -> Flow[Any]:
    """The program on a store that acknowledges too early."""
    hasty: Any = Hasty(store.backend)  # all else is handed on
    store.backend = hasty
    return compiled(store, durability)


async def test_a_store_that_acknowledges_too_early_is_found_out() -> None:
    async with opened("sqlite") as place:
        undisturbed = await place.undisturbed("sync", 0)
        found = Figures()
        for at in (4, 7, 10):
            point = Point("sync", 0, Death(at, "before"))
            found += await found_at(place, point, undisturbed, hastily)
    assert found.begun_unsaved > 0
    assert not found.stuck
