"""Interrupts in the machine: who is parked, which clocks stand still, who waits for whom.

The laws themselves hold for programs whose nodes ask, too; see `test_laws.py`.
"""

from __future__ import annotations

import os
import random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait import ANY, END, START, Join, Send
from plait.commands import RunNode, StartTimer
from plait.events import (
    Interrupt,
    InterruptsAnswered,
    NodeCompleted,
    NodeInterrupted,
    Routed,
    RunStarted,
    Target,
)
from plait.machine import Machine
from tests.kernel.build import build, does
from tests.properties.drive import STEPS, EndlessRun, Item, _Driver, at_random, prepare, traced
from tests.properties.programs import Features, Program, programs

law = settings(settings.get_profile(os.environ.get("PLAIT_PROFILE", "ci")))


class Watched(_Driver):
    """Looks at the machine after each step."""

    def step(self, item: Item) -> None:
        super().step(item)
        if self.run.error is None:
            self.check_clocks()
            self.check_questions()

    def check_clocks(self) -> None:
        """No clock goes on of a sync point that a parked branch could reach, and no other stops."""
        still = set()
        for branch in self.machine.branches.values():
            for bit in branch.bits if branch.status == "parked" else ():
                generation, _ = self.machine._locate(branch, bit)
                still.add(generation.barriers[bit])
        for branch in self.machine.branches.values():
            for generation in branch.forks:
                for barrier in generation.barriers.values():
                    assert not (barrier.timer_due if barrier in still else barrier.timer_left)

    def check_questions(self) -> None:
        """Whoever has an open question is alive and parked, and nobody else is parked."""
        branches = self.machine.branches
        asking = {interrupt.branch for interrupt in self.machine.interrupts}
        assert asking == {path for path in branches if branches[path].status == "parked"}


@law
@given(programs(Features()), st.integers(0, 2**32))
def test_at_every_step_the_right_clocks_stand_still_and_the_right_branches_are_parked(
    program: Program, seed: int
) -> None:
    case = prepare(traced(program))
    choose = at_random(random.Random(seed))
    try:
        Watched(case, Machine(case.plan), choose, eager=False, limit=STEPS).begin()
    except EndlessRun:
        assume(False)


def answer(name: str) -> InterruptsAnswered:
    return InterruptsAnswered(0, ((name, None),))


def status(machine: Machine, *path: int) -> str:
    return machine.branches[path].status


def test_a_branch_goes_on_when_all_that_its_node_asked_is_answered() -> None:
    machine = Machine(build("START a END").plan())
    machine.handle(RunStarted(0, (0,), ()))
    asked = tuple([Interrupt(name, None, (0,), "a") for name in ("x", "y")])
    machine.handle(NodeInterrupted(0, (0,), "a", 1, asked))
    assert machine.handle(answer("y")) == []
    assert status(machine, 0) == "parked"
    assert machine.handle(answer("x")) == [RunNode((0,), "a", 1)]


def test_a_question_is_gone_with_its_branch() -> None:
    machine = Machine(build("START a g END", "START b g", g=Join(quorum=ANY)).plan())
    machine.handle(RunStarted(0, (0,), ()))
    asked = Interrupt("?", None, (0, 0), "a")
    machine.handle(NodeInterrupted(0, (0, 0), "a", 1, (asked,)))
    assert machine.interrupts == (asked,)
    machine.handle(NodeCompleted(0, (0, 1), "b", 1, (), (Target("g"),), 0))
    assert machine.open_interrupts == 0
    assert not machine.running
    assert machine.handle(answer("?")) == []


def test_who_is_held_for_a_branch_waits_for_all_that_it_forked() -> None:
    sends = [Send("a", id="a"), Send("b", after="a")]
    graph = build("a x END", "a y END").add_conditional_edges(START, lambda _: sends, ["a", "b"])
    machine = Machine(graph.add_node("b", does()).add_edge("b", END).plan())
    machine.handle(RunStarted(0, (0,), ()))
    machine.handle(Routed(0, (0,), START, (Target("a", id="a"), Target("b", after=("a",)))))
    machine.handle(NodeCompleted(0, (0, 0), "a", 1, (), (Target("x"), Target("y")), 0))
    asked = Interrupt("?", None, (0, 0, 0), "x")
    machine.handle(NodeInterrupted(0, (0, 0, 0), "x", 1, (asked,)))
    machine.handle(NodeCompleted(0, (0, 0, 1), "y", 1, (), (Target(END),), 0))
    assert status(machine, 0, 1) == "held"
    machine.handle(answer("?"))
    machine.handle(NodeCompleted(0, (0, 0, 0), "x", 1, (), (Target(END),), 0))
    assert status(machine, 0, 1) == "running"


def test_a_clock_stands_still_until_the_last_of_several_parked_branches_goes_on() -> None:
    machine = Machine(build("START a g END", "START b g", g=Join(timeout=10)).plan())
    machine.handle(RunStarted(0, (0,), ()))
    for number, node in enumerate("ab"):
        asked = Interrupt(node, None, (0, number), node)
        machine.handle(NodeInterrupted(number, (0, number), node, 1, (asked,)))
    first = machine.handle(InterruptsAnswered(100, (("a", None),)))
    assert first == [RunNode((0, 0), "a", 0)]
    second = machine.handle(InterruptsAnswered(200, (("b", None),)))
    (due,) = [command.due for command in second if isinstance(command, StartTimer)]
    assert due == 210  # none of its ten seconds had passed when the first branch was parked
