"""What it costs to run small pieces of work in four ways; the origin of `async_costs.csv`.

`python -m plait.orchestration.briefs.measure > async_costs.csv` measures it again, in some ten
seconds. The table that comes with Plait was made with CPython 3.11 on two shared cores; what holds
elsewhere is how the ways compare, not the microseconds. The work is the smallest there is,
`asyncio.sleep(0)` or, in a thread, `time.sleep(0)`, so what is measured is the way it is run. The
order of the measurements is shuffled with a fixed seed, so that a slow minute of the machine does
not fall on one way alone.
"""

from __future__ import annotations

import asyncio
import csv
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

__all__ = ["COLUMNS", "WAYS", "measure"]

COLUMNS = ("way", "tasks", "milliseconds", "microseconds_per_task")
"""`tasks`: how many pieces of work; `milliseconds`: for all of them together."""


async def _one_after_another(tasks: int) -> None:
    for _ in range(tasks):
        await asyncio.sleep(0)


async def _gather(tasks: int) -> None:
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(tasks)))


async def _task_group(tasks: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(asyncio.sleep(0))


async def _threads(tasks: int) -> None:
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(tasks)))


WAYS: dict[str, Callable[[int], Awaitable[None]]] = {
    "one after another": _one_after_another,
    "asyncio.gather": _gather,
    "asyncio.TaskGroup": _task_group,
    "asyncio.to_thread": _threads,
}
"""The four ways, by the names that the table gives them."""


async def measure(sizes: Sequence[int], runs: int) -> list[tuple[str, int, float, float]]:
    """Rows of `COLUMNS`: each way with each number of tasks, `runs` times."""
    plan = [(way, tasks) for way in WAYS for tasks in sizes for _ in range(runs)]
    random.Random(1).shuffle(plan)
    rows = []
    for way, tasks in plan:
        started = time.perf_counter()
        await WAYS[way](tasks)
        seconds = time.perf_counter() - started
        rows.append((way, tasks, round(seconds * 1e3, 3), round(seconds / tasks * 1e6, 2)))
    return sorted(rows)


def main() -> None:
    """Write the table to the standard output."""
    rows = asyncio.run(measure((100, 200, 500, 1_000, 2_000, 5_000), 5))
    csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
