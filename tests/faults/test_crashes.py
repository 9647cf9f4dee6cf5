"""The sweep of :mod:`tests.faults.crashes`, as much of it as takes seconds."""

from __future__ import annotations

from tests.faults.crashes import DURABILITIES, Point, points, run_point, sweep


def test_a_crash_at_any_call_of_the_store_loses_and_repeats_nothing() -> None:
    figures, bad = sweep(500, every=11)
    assert (figures.wrong, bad) == ([], [])
    assert (figures.finished_again, figures.lost, figures.doubled) == (0, 0, 0)
    assert figures.points == 500
    assert figures.crashes > 400
    assert figures.again > 500  # those that were running are called again


def test_the_points_of_a_program_are_always_the_same() -> None:
    made = [point for point, _ in points(150, every=5)]
    assert made == [point for point, _ in points(150, every=5)]
    assert {point.durability for point in made} == set(DURABILITIES)


def test_an_undisturbed_run_calls_every_node_once() -> None:
    figures, state, _ = run_point(Point(0))
    assert (figures.crashes, figures.again, figures.wrong) == (0, 0, [])
    assert {name.partition("/")[0] for name in state["log"]} >= {"plan", "judge", "settle", "end"}
