"""A little of `make chaos`; and that its checker finds what it looks for."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import anyio
import asyncpg
import pytest

from tests.faults.processes.chaos import SCHEMA, Supervisor
from tests.faults.processes.shapes import KINDS, SHAPES, Around, compiled, kind_of
from tests.postgres.server import Server

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("PLAIT_CHAOS", "15"))


async def test_whatever_is_ended_every_run_comes_to_its_end(tmp_path: Path) -> None:
    with Server() as server:
        supervisor = Supervisor(tmp_path, server, rate=4, seed=1, pause=(2, 8))
        found = await supervisor.run(SECONDS)
    print(found)
    assert found.runs > SECONDS
    assert found.restarts
    assert found.kills
    assert not found.faults


class Cutter(Supervisor):
    """Has runs that pay, and cuts the connections on which they do."""

    async def _give_work(self) -> None:
        paying = [number for number in range(SHAPES) if KINDS[number % len(KINDS)] == "payments"]
        while True:
            self._number += 1
            self.register.add(f"run-{self._number}", self._chance.choice(paying), 0)
            await anyio.sleep(0.25)

    async def _disturb_server(self) -> None:
        connection = await asyncpg.connect(self.server.url)
        try:
            while True:
                await anyio.sleep(0.2)
                with anyio.CancelScope(shield=True), suppress(asyncpg.UndefinedTableError):
                    # Held up by a lock, so that there is a statement to be cut.
                    async with connection.transaction():
                        await connection.execute(
                            f"lock table {SCHEMA}.payments in share row exclusive mode"
                        )
                        await anyio.sleep(0.1)
                        await connection.execute(
                            "select pg_terminate_backend(pid) from pg_stat_activity where "
                            "pid <> pg_backend_pid() and "
                            f"query like 'insert into {SCHEMA}.payments%'"
                        )
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()


async def test_a_node_whose_own_statement_is_cut_is_called_again_and_pays_once(
    tmp_path: Path,
) -> None:
    with Server() as server:
        found = await Cutter(tmp_path, server, rate=4, seed=3, pause=(50, 60)).run(8)
    print(found)
    assert any(name.startswith("NodeError") for name in found.met)
    assert not found.faults


class Forger(Supervisor):
    """Has a run of each shape, and falsifies what there is before it looks at it."""

    async def _give_work(self) -> None:
        for shape in range(SHAPES):
            self.register.add(f"run-{shape + 1}", shape, 0)
        await anyio.sleep_forever()

    async def look_at_all(self) -> None:
        connection = await asyncpg.connect(self.server.url)
        for statement in (
            "delete from {0}.events where thread_id = 'run-1'",
            "delete from {0}.threads where thread_id = 'run-1'",
            "delete from {0}.events where thread_id = 'run-2' and position = 2",
            "insert into {0}.payments select * from {0}.payments limit 1",
        ):
            await connection.execute(statement.format(SCHEMA))
        await connection.close()
        self.effects._connection.execute(
            "insert into effects select thread_id, 'ghost', key, note, attempt, ? from effects "
            "where thread_id = 'run-3' limit 1",
            (time.time() + 1,),
        )
        async with self.open() as store:
            plain = {"chain", "fork", "rounds"}
            task = next(each for each in self.register.all()[3:] if kind_of(each.shape) in plain)
            around = Around(self.effects, SCHEMA, task.seed)
            await compiled(task.shape, store).run({"seed": task.seed}, task.thread_id, around)
        await super().look_at_all()


async def test_what_is_forged_is_found(tmp_path: Path) -> None:
    with Server() as server:
        found = await Forger(tmp_path, server, rate=1, seed=2, pause=(50, 60)).run(1)
    assert found.lost == 1
    assert found.gaps == 1
    assert found.again_although_saved == 1
    assert found.payments_wrong == 1
    assert (found.twice, found.wrong) == (1, 1)
    assert any("was begun 2 times" in each for each in found.details)
    assert not found.stuck
