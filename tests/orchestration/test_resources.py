"""What the machine has, with psutil and without."""

from __future__ import annotations

import sys

import pytest

from plait.orchestration import Machine, measure_machine
from plait.orchestration.resources import memory_of_process


@pytest.mark.parametrize("psutil", [True, False])
def test_the_machine_is_measured_with_psutil_and_without(
    psutil: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not psutil:
        monkeypatch.setitem(sys.modules, "psutil", None)
    machine = measure_machine()
    assert machine.cores >= 1
    assert machine.cpu_availability is not None
    assert machine.memory is None or machine.memory > 2**20
    assert machine.how.startswith("psutil: " if psutil else "standard library: ")
    memory = memory_of_process()
    assert memory is not None
    assert 2**20 < memory < 2**40


def test_where_nobody_knows_how_busy_it_is_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr("os.getloadavg", unknown)
    machine = measure_machine()
    assert machine.cpu_availability is None
    assert machine.how.endswith("is not known")


@pytest.mark.parametrize(("memory", "limit"), [(None, 12), (2**40, 12), (3 * 2**20, 3), (0, 1)])
def test_a_machine_carries_what_its_cores_and_its_memory_do(memory: int | None, limit: int) -> None:
    machine = Machine(cores=8, cpu_availability=None, memory=memory, how="said so")
    assert machine.limit(2**20) == limit
