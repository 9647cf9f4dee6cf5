"""Snapshots of random programs, whole and forged.

``PLAIT_EXAMPLES`` sets how many examples each law is tried on.
"""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plait import PlaitError, StoreError
from plait.codec import Codec, TypeRegistry
from plait.events import Outcomes, TimerKey
from plait.machine import Machine
from plait.snapshots import Ref, Shared, Spec, header_of, register_types, restore, take
from plait.tree import all_entries, last_heir, upwards
from tests.properties.conftest import EVERY
from tests.properties.drive import Case, drive, prepare
from tests.properties.programs import Features, Program, programs

law = settings(EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "100")))


def make_codec() -> Codec:
    registry = TypeRegistry()
    register_types(registry)
    return Codec(registry)


CODEC = make_codec()
PROGRAMS = programs(Features(subgraphs=False))


def copied(machine: Machine, case: Case) -> Machine:
    """The same machine, from its snapshot."""
    content = CODEC.decode(take(machine, "f", CODEC))
    assert header_of(content).plan == "f"
    return restore(content, case.plan)


@law
@given(PROGRAMS, st.randoms(use_true_random=False), st.sets(st.integers(0, 40), max_size=3))
def test_a_machine_goes_on_from_its_snapshots_as_if_nothing_had_been(
    program: Program, rng: random.Random, positions: set[int]
) -> None:
    case = prepare(program)
    run = drive(case, rng)
    machine, restored = Machine(case.plan), Machine(case.plan)
    for position, event in enumerate(run.journal):
        if position in positions:
            restored = copied(restored, case)
        assert list(map(repr, restored.handle(event))) == list(map(repr, machine.handle(event)))
    assert restored.current_values() == machine.current_values()
    assert restored.outcomes.keys() == machine.outcomes.keys()


NAMES = ["", "n0", "n1", "s0", "<end>", "__class__", "__dict__", "_merger", "plan", "values"]
JUNK = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from(NAMES), st.floats(-1, 2)),
    *(st.just(-(2**70)), st.just(2**70), st.binary(max_size=2), st.just([]), st.just({})),
    *(st.builds(kind, st.integers(-1, 9) | st.sampled_from(NAMES)) for kind in (Ref, Shared, Spec)),
    *(st.builds(TimerKey, st.none(), st.integers(), st.text(), st.text()), st.just([()])),
    *(st.lists(st.integers(-1, 3), max_size=2).map(tuple), st.just({(): ()}), st.just({1})),
)


def forge(content: Any, draw: Any) -> Any:
    """The same, with something else somewhere within."""
    while True:
        if (
            isinstance(content, (list, tuple))
            and not isinstance(content, Outcomes)
            and content
            and draw(st.integers(0, 9))
        ):
            index = draw(st.integers(0, len(content) - 1))
            items = list(content)
            items[index] = forge(items[index], draw)
            if type(content) in {list, tuple}:
                return type(content)(items)
            return content._replace(**dict(zip(content._fields, items, strict=True)))  # type: ignore[union-attr]
        if type(content) is dict and content and draw(st.integers(0, 9)):
            key = draw(st.sampled_from(sorted(content, key=repr)))
            if draw(st.integers(0, 9)):
                return {**content, key: forge(content[key], draw)}
            return {**content, draw(st.sampled_from(NAMES)): content[key]}
        return draw(JUNK)


def walk(machine: Machine) -> None:
    """All walks over a machine; none may go on for ever."""
    for branch in machine.branches.values():
        assert len(list(upwards(branch))) < 10_000
        assert len(list(branch.bits)) < 100
        last_heir(branch)
        all_entries(branch)


@law
@given(PROGRAMS, st.randoms(use_true_random=False), st.data())
def test_a_forged_snapshot_is_refused_or_is_a_machine(
    program: Program, rng: random.Random, data: st.DataObject
) -> None:
    case = prepare(program)
    run = drive(case, rng)
    machine = Machine(case.plan)
    for event in run.journal[: data.draw(st.integers(1, 40))]:
        machine.handle(event)
    content = CODEC.decode(take(machine, "f", CODEC))
    for _ in range(10):
        forged = forge(content, data.draw)
        try:
            header_of(forged)
            restored = restore(forged, case.plan)
        except StoreError:
            continue
        try:
            walk(restored)
            restored.current_values()
        except PlaitError:
            pass
