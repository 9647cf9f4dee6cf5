"""Many tasks in one brief: pools are full and never exceeded, and memory stays flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestration.load import carry_load


async def test_a_hundred_tasks_fill_their_pools_and_never_exceed_them(tmp_path: Path) -> None:
    load = await carry_load(100, 4, tmp_path)
    assert load.done == load.tasks == 100
    assert set(load.peaks.values()) == {4}


@pytest.mark.slow
async def test_a_thousand_tasks_in_pools_of_twenty(tmp_path: Path) -> None:
    load = await carry_load(1000, 20, tmp_path)
    assert load.done == load.tasks == 1000
    assert set(load.peaks.values()) == {20}
    first, *_, last = load.memory
    assert last - first < 64 * 2**20
