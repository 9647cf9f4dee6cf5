"""What the server of processes imports: everything, as a run of the program shows it.

A process that is forked from it begins with all that is imported late as well.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

import plait_adapters.postgres  # noqa: F401
from plait_adapters.sqlite import SQLiteStore
from tests.faults.processes.life import Life, finish
from tests.faults.processes.program import Effects, World, compiled


async def _warm_up(folder: Path) -> None:
    world = World(Effects.make(folder / "effects.db"), seed=0, pace=0)
    life = Life("warm", "", "", "t")
    async with SQLiteStore(folder / "runs.db") as store:  # its threads end here
        await finish(compiled(store, "sync"), life, world)
    world.effects.close()


with tempfile.TemporaryDirectory() as name:
    anyio.run(_warm_up, Path(name))
