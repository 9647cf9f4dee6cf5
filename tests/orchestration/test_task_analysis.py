"""Scores of a brief, and the mode that follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import Machine, Settings, Task
from plait.orchestration.task_analysis import (
    Score,
    complexity_of,
    decide_mode,
    interdependency_of,
)

SETTINGS = Settings()
IDLE = Machine(cores=8, cpu_availability=0.9, memory=2**33, how="said so")
FREE: dict[str, int] = dict.fromkeys(
    ("technical", "market", "competitive", "primary", "secondary"), 20
)


def task(name: str, *after: str, **more: object) -> Task:
    facts: dict[str, object] = {
        "id": name,
        "type": "research",
        "question": "How do tasks wait?",
        "sources": ("*.md",),
        "depends_on": after,
    }
    return Task.model_validate(facts | more)


@st.composite
def briefs(draw: st.DrawFn) -> list[Task]:
    """Tasks, each of which depends on some of those before it."""
    tasks: list[Task] = []
    for i in range(draw(st.integers(1, 12))):
        after = draw(st.sets(st.sampled_from([t.id for t in tasks]))) if tasks else set()
        tasks.append(task(f"t{i}", *sorted(after), complexity=draw(st.floats(0, 1))))
    return tasks


@given(briefs(), st.integers(0, 10**12))
def test_every_score_is_from_0_to_1_and_says_how_it_was_computed(
    tasks: list[Task], size: int
) -> None:
    for score in (
        complexity_of(tasks, {each.id: size for each in tasks}, SETTINGS),
        interdependency_of(tasks),
    ):
        assert 0 <= score.value <= 1
        assert score.how


@given(briefs(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_to_read_is_never_less_complex(tasks: list[Task], size: int, more: int) -> None:
    def score(each: int) -> float:
        return complexity_of(tasks, {one.id: each for one in tasks}, SETTINGS).value

    assert score(size) <= score(size + more)


@given(briefs())
def test_a_dependency_taken_away_never_makes_tasks_hang_together_more(tasks: list[Task]) -> None:
    less = [each.model_copy(update={"depends_on": each.depends_on[1:]}) for each in tasks]
    assert interdependency_of(less).value <= interdependency_of(tasks).value


def test_complexity_is_declared_work_size_and_variety() -> None:
    tasks = [
        task("a", complexity=1.0),
        task("b", type="analysis", question="", analysis_type="trend", sources=("*.csv",)),
    ]
    score = complexity_of(tasks, {"a": 600_000, "b": 400_000}, SETTINGS)
    assert score.value == pytest.approx(0.5 * 0.75 + 0.3 * 0.5 + 0.2 * 2 / 5)
    assert "2 kinds of work (technical, trend; 0.40 of 5)" in score.how


def test_a_chain_hangs_together_however_few_dependencies_make_it() -> None:
    chain = [task("t0"), *(task(f"t{i}", f"t{i - 1}") for i in range(1, 10))]
    score = interdependency_of(chain)
    assert score.value == 0.9
    assert "9 of 45 possible dependencies (density 0.20)" in score.how


def test_tasks_that_all_depend_on_each_other_hang_together_wholly() -> None:
    assert interdependency_of([task("a"), task("b", "a")]).value == 1.0
    assert interdependency_of([task("a"), task("b")]).value == 0.0
    assert interdependency_of([task("a")]).value == 0.0


def decide(
    complexity: float, interdependency: float, machine: Machine = IDLE, **settings: object
) -> tuple[str, int, int]:
    decision = decide_mode(
        Score(value=complexity, how="said so"),
        Score(value=interdependency, how="said so"),
        machine,
        FREE,
        Settings.model_validate(settings),
    )
    assert f"complexity {complexity:.2f} (threshold" in decision.why
    return decision.mode, decision.width, decision.most


def busy(availability: float | None) -> Machine:
    return IDLE.model_copy(update={"cpu_availability": availability})


@pytest.mark.parametrize(
    ("complexity", "interdependency", "machine", "wanted"),
    [
        (0.81, 0.9, IDLE, ("parallel", 5, 5)),
        (0.8, 0.9, IDLE, ("sequential", 1, 1)),
        (0.81, 0.9, busy(0.7), ("sequential", 1, 1)),
        (0.81, 0.6, busy(0.7), ("adaptive", 3, 12)),
        (0.1, 0.6, IDLE, ("adaptive", 3, 12)),
        (0.9, 0.0, busy(None), ("adaptive", 3, 12)),
        (0.9, 0.0, IDLE.model_copy(update={"memory": 2 * 2**26}), ("parallel", 2, 2)),
        (0.1, 0.0, IDLE.model_copy(update={"memory": 1}), ("adaptive", 1, 1)),
    ],
)
def test_the_mode_follows_from_the_thresholds_and_the_machine(
    complexity: float, interdependency: float, machine: Machine, wanted: tuple[str, int, int]
) -> None:
    assert decide(complexity, interdependency, machine) == wanted


def test_thresholds_and_limits_are_settings() -> None:
    assert decide(0.5, 0.0, parallel_above_complexity=0.4, parallel_branches=4)[:2] == (
        "parallel",
        4,
    )
    assert decide(0.9, 0.0, mode="sequential")[:2] == ("sequential", 1)
    assert decide(0.0, 0.0, adaptive_branches=2, machine_limit=7) == ("adaptive", 2, 7)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 64), st.integers(1, 64))
def test_no_mode_goes_beyond_the_machine(
    complexity: float, interdependency: float, cores: int, limit: int
) -> None:
    machine = IDLE.model_copy(update={"cores": cores})
    mode, width, most = decide(complexity, interdependency, machine, machine_limit=limit)
    assert 1 <= width <= most <= limit
    assert mode != "parallel" or width <= 5
