"""The deliberate faults still fit the kernel; whether the laws see them is `make mutations`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.properties.mutations import FAULTS, Fault, copy_tree, mutate, try_fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_kernel_once_and_leaves_it_readable(fault: Fault, tmp_path: Path) -> None:
    copy_tree(tmp_path)
    for changed in mutate(tmp_path, fault):
        ast.parse(changed.read_text(), str(changed))


def test_every_fault_has_a_name_of_its_own_and_changes_something() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(edit.old != edit.new for fault in FAULTS for edit in fault.edits)


def test_the_laws_catch_a_merge_in_order_of_arrival() -> None:
    (fault,) = (each for each in FAULTS if "order of arrival" in each.name)
    assert try_fault(fault).caught_by is not None
