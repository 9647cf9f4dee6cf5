"""The laws with interrupts: any node may ask before it returns, and answers come at any time."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.commands import RunNode, StartTimer
from plait.events import Interrupt, InterruptsAnswered, JournalEvent, NodeInterrupted
from plait.machine import Machine
from tests.properties import laws
from tests.properties.drive import (
    STEPS,
    Call,
    Case,
    EndlessRun,
    Run,
    Timer,
    _Driver,
    at_random,
    drive,
    prepare,
    traced,
)
from tests.properties.programs import CALM, Features, Program, programs

law = settings(settings.get_profile(os.environ.get("PLAIT_PROFILE", "ci")))

seeds = st.integers(0, 2**32)
# Who asks is decided here, beside the program.
ANY = programs(Features(asking=False))
QUIET = programs(replace(CALM, asking=False))
MOST = 3
"""How often a call asks at most."""


class Answer:
    """Somebody is about to answer."""

    __slots__ = ("interrupt", "key")

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self.key: Hashable = interrupt.id


class Asking(_Driver):
    """A driver whose nodes ask now and then, as a seed says."""

    def __init__(self, case: Case, machine: Machine, seed: int) -> None:
        self.random = random.Random(seed)
        super().__init__(case, machine, at_random(self.random), eager=False, limit=STEPS)

    def step(self, item: Any) -> None:
        if isinstance(item, Answer):
            self.now += 0.0625
            del self.under_way[item.key]
            if item.interrupt in self.machine.interrupts:  # else its branch is gone
                answers = ((item.interrupt.id, None),)
                self.dispatch(InterruptsAnswered(self.now, answers), item.key)
        else:
            super().step(item)
        due = {key: each.command.due for key, each in self.under_way.items() if type(each) is Timer}
        wanted = [each for each in self.machine.outstanding() if isinstance(each, StartTimer)]
        if self.machine.running and self.run.error is None:
            assert due == {timer.timer: timer.due for timer in wanted}
            self.check_clocks()

    def check_clocks(self) -> None:
        """No clock goes on of a sync point that a parked branch could reach."""
        for branch in self.machine.branches.values():
            for bit in branch.bits if branch.status == "parked" else ():
                generation, _ = self.machine._locate(branch, bit)
                assert not generation.barriers[bit].timer_due

    def end_call(self, call: Call) -> None:
        command = call.command
        questions = self.machine.branches[command.branch].questions
        before = len(questions.answers) if questions is not None else 0
        if call.output is None and before < MOST and self.random.random() < 0.3:
            self.done(call)
            self.dispatch(self.asked(command, before), command)
        else:
            super().end_call(call)

    def asked(self, command: RunNode, before: int) -> NodeInterrupted:
        path, node = command.branch, command.node
        name = f"{'.'.join(map(str, path))}:{command.step}:"
        found = [
            Interrupt(f"{name}{before + number}", None, path, node)
            for number in range(self.random.randint(1, 2))
        ]
        return NodeInterrupted(self.now, path, node, 1, tuple(found))

    def dispatch(self, event: JournalEvent, key: Hashable = None) -> None:
        super().dispatch(event, key)
        if isinstance(event, NodeInterrupted):
            for interrupt in event.interrupts:
                self.under_way[interrupt.id] = Answer(interrupt)  # type: ignore[assignment]


def ask(program: Program, seed: int, *, runs: int = 1) -> Run:
    """One run, or several, in which nodes ask."""
    case = prepare(traced(program))
    driver = Asking(case, Machine(case.plan), seed)
    for _ in range(runs):
        try:
            driver.begin()
        except EndlessRun:
            assume(False)
        if driver.run.state is None:
            break
    return driver.run


def go_on(run: Run, at: int, seed: int) -> Run:
    """Go on from a prefix of a journal, as after a crash."""
    machine = Machine(run.case.plan)
    driver = Asking(run.case, machine, seed)
    for event in run.journal[:at]:
        machine.handle(event)
    driver.run.journal += run.journal[:at]
    driver.now = run.journal[at - 1].at
    for interrupt in machine.interrupts:
        driver.under_way[interrupt.id] = Answer(interrupt)  # type: ignore[assignment]
    driver.go_on()
    return driver.run


@law
@given(QUIET, seeds)
def test_whoever_asks_and_whenever_the_answers_come_the_state_is_the_same(
    program: Program, seed: int
) -> None:
    case = prepare(traced(program))
    asked = Asking(case, Machine(case.plan), seed)
    asked.begin()
    laws.check_schedule_independence(drive(case, ()), asked.run)


@law
@given(ANY, seeds, st.integers(1, 2))
def test_the_journal_gives_the_same_commands_and_values_again(
    program: Program, seed: int, runs: int
) -> None:
    laws.check_determinism(ask(program, seed, runs=runs))


@law
@given(ANY, seeds, st.integers(1, 2))
def test_every_write_is_in_the_final_state_once_or_its_branch_is_named(
    program: Program, seed: int, runs: int
) -> None:
    laws.check_conservation(ask(program, seed, runs=runs))


@law
@given(ANY, seeds)
def test_every_participant_is_named_once_and_nothing_opens_twice(
    program: Program, seed: int
) -> None:
    laws.check_outcomes(ask(program, seed))


@law
@given(ANY, seeds, st.integers(1, 2))
def test_no_branch_sees_a_write_that_is_not_in_its_past(
    program: Program, seed: int, runs: int
) -> None:
    laws.check_isolation(ask(program, seed, runs=runs))


@law
@given(QUIET, seeds, st.data())
def test_from_every_prefix_a_calm_run_comes_to_the_same_state(
    program: Program, seed: int, data: st.DataObject
) -> None:
    whole = ask(program, seed)
    at = data.draw(st.integers(1, len(whole.journal)), "cut")
    assume(whole.error is None)
    again = go_on(whole, at, data.draw(seeds, "seed"))
    assert again.error is None
    assert again.state == whole.state
