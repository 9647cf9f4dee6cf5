"""The rounds of :mod:`tests.faults.races`, as many of them as take seconds."""

from __future__ import annotations

from tests.faults.races import Figures, two_answers, two_inputs, two_owners


def test_of_several_processes_that_want_a_thread_one_has_it_at_a_time() -> None:
    figures = Figures()
    for seed in range(300):
        two_owners(seed, figures)
    assert figures.wrong == []
    assert figures.overlapping > 100  # a thread was taken over while a node was running
    assert min(figures.refused[name] for name in ("LeaseLost", "ThreadBusy", "StoreError")) > 10


def test_of_two_inputs_at_once_one_is_taken_and_the_other_told() -> None:
    figures = Figures()
    for seed in range(300):
        two_inputs(seed, figures)
    assert (figures.rounds, figures.wrong) == (300, [])
    assert figures.refused["ThreadBusy"] >= 300


def test_of_two_answers_at_once_one_is_taken_and_carried_out() -> None:
    figures = Figures()
    for seed in range(300):
        two_answers(seed, figures)
    assert (figures.rounds, figures.wrong) == (300, [])
    assert figures.refused["InterruptError"] == 300
