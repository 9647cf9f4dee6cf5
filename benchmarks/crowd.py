"""W9: the peak of memory when a run has far more branches than may run at the same time.

Each contender forks once, in an interpreter of its own; what counts is the most that it ever has
resident, beyond what it had when the graph was built. ``python -m benchmarks.crowd NAME BRANCHES``
is that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .bodies import Writes
from .contenders import find_one
from .contenders.base import CannotExpressError, Contender, Run
from .workloads.base import expect

BRANCHES, LIMIT = 100_000, 100
PATIENCE = 30.0
"""Seconds, after which a contender is left blank."""


@dataclass(slots=True)
class Crowd:
    """What one contender showed."""

    contender: str
    branches: int
    peak: int | None = None
    """Bytes that the process grew by, at most."""
    seconds: float | None = None
    """Of processor time."""
    reason: str | None = None
    """Why it is left blank."""


def measure(contenders: Sequence[Contender], *, quick: bool = False) -> list[Crowd]:
    """Let every contender fork; if it is to be quick, a tenth of the branches and no peers."""
    branches = BRANCHES // 10 if quick else BRANCHES
    found = []
    for contender in contenders:
        if quick and contender.kind == "peer":
            continue
        found.append(crowd := Crowd(contender.name, branches))
        try:
            contender.fork(branches, item_later, limit=LIMIT)
        except CannotExpressError as reason:
            crowd.reason = str(reason)
            continue
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.crowd", contender.name, str(branches)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                capture_output=True,
                text=True,
                check=True,
                timeout=PATIENCE,
            )
            crowd.peak, crowd.seconds = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            crowd.reason = f"not done after {PATIENCE:g} s"
        except subprocess.CalledProcessError as failure:
            crowd.reason = f"fails: {failure.stderr.splitlines()[-1]}"
    return found


async def item_later(i: int) -> Writes:
    """Write the branch's number after one turn of the event loop."""
    await asyncio.sleep(0)
    return {"items": [i]}


def main(name: str, branches: int) -> None:
    """Print, as JSON, the bytes that this process grows by and the processor seconds it takes."""
    contender = find_one(name)
    small = contender.fork(LIMIT, item_later, limit=LIMIT)
    asyncio.run(_checked(small, LIMIT))  # what is imported late, is imported now
    work = contender.fork(branches, item_later, limit=LIMIT)
    before, begun = _peak(), time.process_time()
    asyncio.run(_checked(work, branches))
    print(json.dumps([_peak() - before, time.process_time() - begun]))


async def _checked(work: Run, branches: int) -> None:
    expect("items", list(range(branches)))(await work())


def _peak() -> int:
    """Bytes: the most that this process ever had resident."""
    try:  # on Linux, what getrusage says may be the peak of the process that started this one
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
