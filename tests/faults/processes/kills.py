"""Killed at any instant, again and again; resumed by another process each time.

    python -m tests.faults.processes.kills [--kills N] [--stores sqlite postgres] [--seed S]

The delays are drawn from a seed. At most what was running when its process died is called again,
under the same key, and every thread ends as one that nobody killed. Prints what was found, and
exits with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Final

import anyio

from tests.faults.processes.family import Being
from tests.faults.processes.judge import Figures, Saved, Undisturbed, judge
from tests.faults.processes.life import Report
from tests.faults.processes.sweep import DURABILITIES, STORES, Place, opened

__all__ = ["kill_at_random"]

_LIVES: Final = 5
"""How many lives a thread has; the last is not cut short."""


async def kill_at_random(kind: str, kills: int, seed: int, jobs: int = 2) -> Figures:
    """So many kills on a store of this kind."""
    found = Figures()
    chance = random.Random(seed)
    undisturbed: dict[object, Undisturbed] = {}
    async with opened(kind) as place:
        began = time.monotonic()
        for durability in DURABILITIES:
            for program in range(2):
                key = (durability, program)
                undisturbed[key] = await place.undisturbed(durability, program)
        span = (time.monotonic() - began) / len(undisturbed)

        async def work(number: int) -> None:
            nonlocal found
            while found.deaths < kills:
                key = (DURABILITIES[number % 3], number // 3 % 2)
                figures = await _one_thread(place, *key, undisturbed[key], chance, span)
                found += figures
                number += jobs

        async with anyio.create_task_group() as group:
            for number in range(jobs):
                group.start_soon(work, number)
    return found


async def _one_thread(
    place: Place,
    durability: str,
    program: int,
    undisturbed: Undisturbed,
    chance: random.Random,
    span: float,
) -> Figures:
    """Kill whoever runs a thread, until it is complete."""
    thread_id = f"{durability}-{program}-{next(place.numbers)}"
    deaths: list[tuple[str, Saved]] = []
    report: Report | None = None
    for number in range(1, _LIVES + 1):
        life = place.life(f"life {number}", thread_id, durability=durability, seed=program)
        async with Being(life) as being:
            await being.wait_until_ready()
            if number < _LIVES:
                with anyio.move_on_after(chance.uniform(0, span)):
                    report = await being.wait()
                if report is None:
                    being.kill()
            report = report or await being.wait()
        if report is not None:
            break
        deaths.append((life.name, await place.saved(life)))
    state = report.state if report is not None and report.status == "completed" else None
    return judge(
        undisturbed,
        state,
        place.effects.of(thread_id),
        deaths,
        saves_first=durability == "sync",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill processes at random.")
    parser.add_argument("--kills", type=int, default=1000, help="how many, over all stores")
    parser.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    total = Figures()
    print(f"seed {options.seed}")
    for kind in options.stores:
        began = time.monotonic()
        kills = options.kills // len(options.stores)
        found = anyio.run(kill_at_random, kind, kills, options.seed, options.jobs)
        print(f"{kind}: {found}; {time.monotonic() - began:.1f} s")
        total += found
    print(f"in all: {total}")
    if total.faults:
        print(f"broken: {total.faults}")
    return bool(total.faults)


if __name__ == "__main__":
    sys.exit(main())
