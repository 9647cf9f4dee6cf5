"""The rounds of :mod:`tests.faults.races`, as many of them as take seconds."""

from __future__ import annotations

from tests.faults.races import Figures, two_answers, two_inputs, two_owners


def test_of_several_processes_that_want_a_thread_one_has_it_at_a_time() -> None:
    figures = Figures()
    for seed in range(150):
        two_owners(seed, figures)
    assert figures.wrong == []
    assert figures.overlapping > 50  # a thread was taken over while a node was running
    assert min(figures.refused[name] for name in ("LeaseLost", "ThreadBusy", "StoreError")) > 5
    assert figures.refused["ThreadExists"]  # somebody had found no thread, and came too late


def test_whoever_begins_a_thread_that_is_no_longer_new_is_found_out() -> None:
    figures = Figures()
    for seed in range(60):
        two_owners(seed, figures, new=False)
    assert any("begun 2 times" in each for each in figures.wrong)


def test_clocks_that_are_wrong_change_nothing_but_the_times_of_events() -> None:
    days = 0
    for seed in range(60):
        figures = Figures(), Figures()
        wrong = two_owners(seed, figures[0])
        right = two_owners(seed, figures[1], skewed=False)
        assert figures[0] == figures[1]
        assert wrong.history() == right.history()
        assert wrong.sim.clock.now == right.sim.clock.now
        days += wrong.span() > 40_000 + right.span()  # its owners had very different clocks
    assert days >= 3


def test_of_two_inputs_at_once_one_is_taken_and_the_other_told() -> None:
    figures = Figures()
    for seed in range(150):
        two_inputs(seed, figures)
    assert (figures.rounds, figures.wrong) == (150, [])
    assert figures.refused["ThreadBusy"] >= 150


def test_of_two_answers_at_once_one_is_taken_and_carried_out() -> None:
    figures = Figures()
    for seed in range(150):
        two_answers(seed, figures)
    assert (figures.rounds, figures.wrong) == (150, [])
    assert figures.refused["InterruptError"] == 150
