"""The laws of the design page, held by the machine alone under schedules that Hypothesis chooses.

The checks are in `laws.py`; `run_laws.py` runs the same ones a hundred thousand times.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import assume, find, given, note, settings
from hypothesis import strategies as st

import plait
from plait.machine import Machine
from plait.merging import Merger
from plait.plan import Plan
from tests.properties import laws
from tests.properties.drive import (
    Case,
    EndlessRun,
    Run,
    at_random,
    drive,
    prepare,
    similar,
    traced,
)
from tests.properties.programs import (
    CALM,
    Features,
    Invalid,
    Program,
    build,
    invalid_programs,
    programs,
)
from tests.properties.shaken import shaken_programs

law = settings(settings.get_profile(os.environ.get("PLAIT_PROFILE", "ci")))

schedules = st.lists(st.integers(0, 20), max_size=30)
seeds = st.integers(0, 2**16)
ANY = programs(Features())


def run_of(program: Program, schedule: list[int], **options: Any) -> Run:
    return drive(prepare(traced(program)), schedule, **options)


@law
@given(ANY, schedules, st.integers(1, 2))
def test_the_journal_gives_the_same_commands_views_and_values_again(
    program: Program, schedule: list[int], runs: int
) -> None:
    laws.check_determinism(run_of(program, schedule, runs=runs))


@law
@given(programs(CALM), schedules, schedules)
def test_every_schedule_of_a_calm_program_ends_the_same(
    program: Program, one: list[int], other: list[int]
) -> None:
    case = prepare(traced(program))
    laws.check_schedule_independence(drive(case, one), drive(case, other))


@law
@given(ANY, schedules, seeds, st.sampled_from((1.5, 3.0, 8.0)))
def test_where_time_decides_the_same_arrivals_give_the_same_state(
    program: Program, schedule: list[int], seed: int, width: float
) -> None:
    case = prepare(traced(program))
    first = drive(case, schedule)
    near = drive(case, similar(first.keys, random.Random(seed), width))
    assume(laws.check_same_arrivals(first, near))


@law
@given(ANY, schedules, st.integers(1, 2))
def test_no_branch_sees_a_write_that_is_not_in_its_past(
    program: Program, schedule: list[int], runs: int
) -> None:
    laws.check_isolation(run_of(program, schedule, runs=runs))


@law
@given(ANY, schedules, st.integers(1, 2))
def test_every_write_is_in_the_final_state_once_or_its_branch_is_named(
    program: Program, schedule: list[int], runs: int
) -> None:
    laws.check_conservation(run_of(program, schedule, runs=runs))


@law
@given(ANY, schedules)
def test_every_participant_is_named_once_and_nothing_opens_twice(
    program: Program, schedule: list[int]
) -> None:
    laws.check_outcomes(run_of(program, schedule))


@law
@given(ANY, schedules, st.integers(1, 2))
def test_a_run_that_can_go_no_further_has_ended(
    program: Program, schedule: list[int], runs: int
) -> None:
    laws.check_progress(run_of(program, schedule, runs=runs))


@law
@given(ANY, schedules)
def test_from_every_prefix_exactly_what_was_under_way_begins_again(
    program: Program, schedule: list[int]
) -> None:
    laws.check_under_way(run_of(program, schedule))


@law
@given(ANY, schedules, st.integers(1, 200))
def test_a_resumed_run_with_the_same_choices_ends_the_same(
    program: Program, schedule: list[int], cut: int
) -> None:
    run = run_of(program, schedule)
    laws.check_recovery(run, 1 + cut % len(run.journal))


@law
@given(ANY, schedules, st.integers(1, 200), seeds)
def test_a_resumed_run_with_other_choices_keeps_every_write(
    program: Program, schedule: list[int], cut: int, seed: int
) -> None:
    run = run_of(program, schedule)
    again = laws.check_recovery(run, 1 + cut % len(run.journal), at_random(random.Random(seed)))
    assert again is not None
    laws.check_conservation(again)


@law
@given(programs(CALM), schedules, st.integers(1, 200), seeds)
def test_a_calm_program_ends_the_same_wherever_it_is_cut_off(
    program: Program, schedule: list[int], cut: int, seed: int
) -> None:
    run = run_of(program, schedule)
    again = laws.check_recovery(run, 1 + cut % len(run.journal), at_random(random.Random(seed)))
    assert again is not None
    laws.check_schedule_independence(run, again)


@law
@given(ANY, schedules, seeds)
def test_other_names_do_the_same_event_by_event(
    program: Program, schedule: list[int], seed: int
) -> None:
    case = prepare(traced(program))
    old = laws.names_of(case.program)
    new = random.Random(seed).sample([*old, *(f"x{n}" for n in range(len(old)))], len(old))
    names = dict(zip(old, new, strict=True))
    other = prepare(laws.renamed(case.program, names.__getitem__), case.tokens)
    laws.check_renaming(drive(case, schedule), other, names)


@law
@given(programs(CALM), schedules, seeds)
def test_the_order_of_unrelated_declarations_does_not_matter(
    program: Program, schedule: list[int], seed: int
) -> None:
    case = prepare(traced(program))
    other = prepare(laws.reordered(case.program, random.Random(seed)), case.tokens)
    laws.check_schedule_independence(drive(case, schedule), drive(other, schedule))


@law
@given(ANY, schedules)
def test_the_reference_led_through_the_same_choices_ends_the_same(
    program: Program, schedule: list[int]
) -> None:
    laws.check_refinement(run_of(program, schedule, eager=True))


@law
@given(invalid_programs())
def test_what_cannot_work_is_refused_by_compile(invalid: Invalid) -> None:
    note(invalid.fault)
    with pytest.raises(plait.PlaitError):
        build(invalid.program).compile()


@law
@given(shaken_programs(), schedules)
def test_a_program_knocked_out_of_place_is_refused_or_keeps_the_laws(
    program: Program, schedule: list[int]
) -> None:
    try:
        run = run_of(program, schedule, limit=200)
    except (plait.PlaitError, EndlessRun):
        return
    laws.check_progress(run)
    laws.check_determinism(run)
    laws.check_isolation(run)
    laws.check_conservation(run)
    laws.check_under_way(run)


# --- a planted fault ---


class HastyMerger(Merger):
    """Puts deltas together in the order in which their branches arrived."""

    def __init__(self, schema: Any, arrivals: list[Any]) -> None:
        super().__init__(schema)
        self.arrivals = arrivals

    def concatenate(self, contributions: Any) -> Any:
        """As it should, but for the order."""
        late = len(self.arrivals)
        order = {branch: place for place, branch in enumerate(self.arrivals)}
        hasty = sorted(contributions, key=lambda each: order.get(each[0], late))
        return super().concatenate(hasty)


class HastyMachine(Machine):
    """A machine with an order bug."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.arrivals: list[Any] = []
        self._merger = HastyMerger(plan.schema, self.arrivals)

    def _arrived(self, generation: Any, barrier: Any, top: Any) -> None:
        self.arrivals.append(top)
        super()._arrived(generation, barrier, top)


def ends_differ(case: Case, schedule: list[int]) -> bool:
    one, other = (drive(case, each, machine=HastyMachine) for each in ([], schedule))
    return laws.end_of(one) != laws.end_of(other)


def test_a_merge_in_order_of_arrival_is_found_and_shrinks_to_two_choices() -> None:
    program, schedule = find(
        st.tuples(programs(CALM), schedules),
        lambda example: ends_differ(prepare(traced(example[0])), example[1]),
        settings=settings(law, max_examples=2000),
        random=random.Random(0),
    )
    assert len(schedule) <= 2
    # START, the fork and its two branches, and what the grammar puts around them.
    assert len(program.nodes) <= 4
