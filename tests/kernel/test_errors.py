"""Every exception is in one tree, carries its facts, and says what to do."""

from __future__ import annotations

import plait
from plait import PlaitError, ThreadError, WriteError
from plait.errors import format_path, shorten
from plait.events import NO_ARGUMENT, Outcome, Outcomes, Participant, Target


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


def test_every_exception_is_a_plait_error() -> None:
    found = [getattr(plait, name) for name in plait.__all__ if name.endswith("Error")]
    assert all(issubclass(each, PlaitError) for each in found)
    for name in ("ThreadNotFound", "ThreadBusy", "ThreadUnfinished"):
        assert issubclass(getattr(plait, name), ThreadError)


def test_a_value_is_shown_shortened() -> None:
    assert shorten("x" * 200) == "'" + "x" * 78 + "…"
    assert shorten([1]) == "[1]"


def test_a_broken_repr_does_not_hide_the_fault() -> None:
    assert shorten(Broken()) == "<Broken whose repr raises RuntimeError>"
    assert "Broken" in str(WriteError("n", "text", "a str", Broken()))


def test_a_path_is_written_with_dots() -> None:
    assert format_path((0, 3, 1)) == "0.3.1"


def test_an_outcome_counts_and_sorts_those_who_took_part() -> None:
    a, b, c, d, e = (Participant((0, number), None, "n") for number in range(5))
    outcome = Outcome("g", "quorum", (0,), 0, (c,), (e,), (a,), (d,), (b,), 1.5)
    assert (outcome.activated, outcome.progress) == (5, 0.2)
    assert outcome.missing == (a, b, d, e)
    outcomes = Outcomes([outcome])
    assert (outcomes.latest, outcomes.missing) == (outcome, outcome.missing)


def test_a_target_without_an_argument_says_so() -> None:
    assert "NO_ARGUMENT" in repr(Target("a"))
    assert Target("a").argument is NO_ARGUMENT
