"""Load: a brief of many tasks, in pools of a fixed size; what is the peak of each pool?

    python -m tests.orchestration.load --tasks 1000 --pool 20

Every task is a real one: a question that is searched for in a file of its own. The first ones
begin when all have come who are let in, so that the peaks say what the pools do, and not how fast
the machine is. It prints the peaks, the time, and the memory of the process quarter by quarter.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import anyio

from plait.orchestration import (
    BRANCHES,
    BranchResult,
    Brief,
    Machine,
    ParallelOrchestrator,
    Settings,
    Task,
    Work,
    work_on,
)
from plait.orchestration.resources import memory_of_process

IDLE = Machine(cores=8, cpu_availability=0.9, memory=2**40, how="said so")


@dataclass(frozen=True, slots=True)
class Load:
    """What a run under load was like."""

    tasks: int
    done: int
    peaks: dict[str, int]
    seconds: float
    memory: tuple[int, ...]
    """Bytes of the process after each quarter of the tasks."""


def brief_of(count: int, folder: Path) -> Brief:
    """A brief with so many tasks, spread over all branches; each has a file of its own."""
    tasks = []
    for i in range(count):
        if i % 5 < 3:
            name = folder / f"{i}.md"
            name.write_text(f"# Number {i}\nThe branch of number {i} waits for all the others.\n")
            focus = ("", "market", "competitors")[i % 5]
            facts = {"type": "research", "question": f"What does {i} wait for?", "focus": focus}
        else:
            name = folder / f"{i}.csv"
            name.write_text("x,y\n" + "".join(f"{x},{x * i}\n" for x in range(12)))
            priority = ("high", "low")[i % 2]
            facts = {"type": "analysis", "analysis_type": "trend", "priority": priority}
        tasks.append(Task.model_validate({"id": f"t{i}", "sources": (name.name,), **facts}))
    return Brief(title=f"{count} tasks", tasks=tuple(tasks))


async def carry_load(count: int, pool: int, folder: Path) -> Load:
    """Carry out a brief of so many tasks, each branch with so many places."""
    brief = brief_of(count, folder)
    ended, memory = 0, list[int]()
    first, full = True, anyio.Event()

    async def noted(work: Work) -> BranchResult:
        nonlocal ended, first
        if first:
            first = False
            await anyio.wait_all_tasks_blocked()  # all have come who are let in
            full.set()
        await full.wait()
        result = await work_on(work)
        ended += 1
        if ended % max(1, count // 4) == 0:
            gc.collect()
            memory.append(memory_of_process() or 0)
        return result

    settings = Settings(
        mode="adaptive",
        adaptive_branches=pool * len(BRANCHES),
        machine_limit=pool * len(BRANCHES),
        pools=dict.fromkeys(BRANCHES, pool),
        deadline=3600.0,
        quorum=1.0,
    )
    orchestrator = ParallelOrchestrator(
        settings, specialists=dict.fromkeys(BRANCHES, noted), measure=lambda: IDLE
    )
    began = time.perf_counter()
    carried = await orchestrator.run(brief, folder)
    assert carried.report is not None
    return Load(
        tasks=count,
        done=len(carried.report.results),
        peaks={branch: each.peak for branch, each in orchestrator.crew.pools.pools.items()},
        seconds=time.perf_counter() - began,
        memory=tuple(memory),
    )


def main() -> None:
    """Carry out one brief, and print what it was like."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load = anyio.run(carry_load, options.tasks, options.pool, Path(folder))
    print(f"{load.done} of {load.tasks} tasks done in {load.seconds:.1f} s")
    print("peaks: " + ", ".join(f"{branch} {peak}" for branch, peak in load.peaks.items()))
    print("memory: " + ", ".join(f"{each / 2**20:.0f} MiB" for each in load.memory))


if __name__ == "__main__":
    main()
