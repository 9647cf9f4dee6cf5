"""Killed before, within and after each commit of the journal; resumed by another process.

    python -m tests.faults.processes.sweep [--points N] [--stores sqlite postgres] [--jobs J]

A worker kills itself with SIGKILL at the n-th commit, for every n, in all three durabilities. Then
another process resumes the thread, and it must come to the state of one that nobody killed: no
call again whose completion was saved, no write lost, none doubled. Prints what was found, and
exits with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import anyio

from plait.durable import DurableStore, open_store
from plait.flow import Flow
from plait.store import Durability
from tests.faults.processes.family import live_on
from tests.faults.processes.judge import Figures, Saved, Undisturbed, judge, saved
from tests.faults.processes.life import Death, Life, When
from tests.faults.processes.program import Effects, compiled
from tests.postgres.server import database, fresh_schema

__all__ = ["STORES", "Place", "found_at", "opened", "sweep"]

STORES: Final = ("sqlite", "postgres")
DURABILITIES: Final[tuple[Durability, ...]] = get_args(Durability)


@dataclass
class Place:
    """A store and a table of effects that processes share, as this process sees them."""

    url: str
    options: dict[str, Any]
    effects: Effects
    store: DurableStore
    flows: dict[Durability, Flow[Any]]
    numbers: Iterator[int]

    def life(self, name: str, thread_id: str, **what: Any) -> Life:
        """A life here."""
        return Life(
            name=name,
            store=self.url,
            effects=self.effects.path,
            thread_id=thread_id,
            options=self.options,
            **what,
        )

    async def saved(self, life: Life) -> Saved:
        """What is saved of a thread."""
        return await saved(self.flows[life.durability], life.thread_id)

    async def undisturbed(self, durability: Durability, seed: int) -> Undisturbed:
        """What a thread comes to that nobody disturbs."""
        thread_id = f"undisturbed-{durability}-{seed}-{next(self.numbers)}"
        report = await live_on(self.life("0", thread_id, durability=durability, seed=seed))
        assert report is not None
        assert report.status == "completed", report
        return Undisturbed.of(report.state, self.effects.of(thread_id), report.commits)


@asynccontextmanager
async def opened(kind: str, compile_: Any = compiled, **options: Any) -> AsyncIterator[Place]:
    """A new store of this kind; gone in the end."""
    with tempfile.TemporaryDirectory(prefix="plait-processes-") as folder:
        if kind == "sqlite":
            # What dies are processes; to wait for the disk would show nothing.
            url, more = f"sqlite:///{folder}/runs.db", {"synchronous": "NORMAL"}
        else:
            url, more = database(), {"schema": fresh_schema()}
        options = {**more, **options}
        effects = Effects.make(Path(folder) / "effects.db")
        store = open_store(url, **options)
        assert isinstance(store, DurableStore)
        flows: dict[Durability, Flow[Any]] = {
            durability: compile_(store, durability) for durability in DURABILITIES
        }
        try:
            yield Place(url, options, effects, store, flows, itertools.count())
        finally:
            await store.close()
            effects.close()


class Point(NamedTuple):
    """Where a process dies."""

    durability: Durability
    seed: int
    death: Death


async def found_at(
    place: Place, point: Point, undisturbed: Undisturbed, compile_: Any = compiled
) -> Figures:
    """Kill a process at a point, have another one resume, and compare.

    Commits take along what is ready, so there may be fewer: then it dies a little earlier.
    """
    durability, seed, death = point
    thread_id = f"{durability}-{seed}-{next(place.numbers)}"
    life = place.life("life 1", thread_id, durability=durability, seed=seed, death=death)
    life = replace(life, compile=compile_)
    report = await live_on(life)
    if report is not None:
        earlier = Death(min(death.at - 1, report.commits), death.when)
        return await found_at(place, point._replace(death=earlier), undisturbed, compile_)
    deaths = [(life.name, await place.saved(life))]
    report = await live_on(replace(life, name="life 2", death=None))
    state = report.state if report is not None and report.status == "completed" else None
    return judge(
        undisturbed,
        state,
        place.effects.of(thread_id),
        deaths,
        saves_first=durability == "sync",
    )


async def _points(
    place: Place, durability: Durability, count: int
) -> AsyncIterator[tuple[Point, Undisturbed]]:
    """The points of one program after another; of the last, some that are spread over it."""
    for seed in itertools.count():
        undisturbed = await place.undisturbed(durability, seed)
        # The number of commits is a matter of luck, within a little.
        commits = undisturbed.commits
        whens: Sequence[When] = get_args(When)
        deaths = [Death(at, when) for at in range(1, commits + 1) for when in whens]
        if count < len(deaths):
            deaths = [deaths[n * len(deaths) // count] for n in range(count)]
        for death in deaths:
            yield Point(durability, seed, death), undisturbed
        count -= len(deaths)
        if not count:
            return


async def sweep(kind: str, points: int, jobs: int = 2) -> dict[str, Figures]:
    """So many points on a store of this kind, shared by the durabilities."""
    found = {f"{kind} {durability}": Figures() for durability in DURABILITIES}
    limiter = anyio.CapacityLimiter(jobs)
    async with opened(kind) as place:

        async def take(point: Point, undisturbed: Undisturbed) -> None:
            async with limiter:
                figures = await found_at(place, point, undisturbed)
            found[f"{kind} {point.durability}"] += figures

        async with anyio.create_task_group() as group:
            for number, durability in enumerate(DURABILITIES):
                share = points // 3 + (number < points % 3)
                async for point, undisturbed in _points(place, durability, share):
                    group.start_soon(take, point, undisturbed)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes at every commit.")
    parser.add_argument("--points", type=int, default=1000, help="how many, over all stores")
    parser.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    total = Figures()
    for kind in options.stores:
        began = time.monotonic()
        for name, found in anyio.run(
            sweep, kind, options.points // len(options.stores), options.jobs
        ).items():
            print(f"{name}: {found}")
            total += found
        print(f"{kind}: {time.monotonic() - began:.1f} s")
    print(f"in all: {total}")
    if total.faults:
        print(f"broken: {total.faults}")
    return bool(total.faults)


if __name__ == "__main__":
    sys.exit(main())
