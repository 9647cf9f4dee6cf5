"""The benchmarks measure work that is done: every workload at a tiny size, on all that is here."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import contenders, measure, moved, plots, report
from benchmarks.bodies import State
from benchmarks.contenders.base import CannotExpressError, Contender, Run
from benchmarks.workloads import (
    building,
    chain,
    fork,
    growth,
    lines,
    many_runs,
    state_size,
    stragglers,
)
from benchmarks.workloads.base import Case, WrongResultError

TINY = [
    *chain.cases(nodes=3, turns=4),
    *fork.cases(sizes=(1, 5)),
    *lines.cases(branches=3, depth=2),
    *state_size.cases(nodes=2, sizes=(0, 10)),
    *stragglers.cases(branches=3, depth=2, usual=0.0, slow=0.0),
    *many_runs.cases(runs=3, nodes=2),
    *growth.cases(sizes=(3,)),
    *building.cases(nodes=20, sizes=(1, 5), turns=3),
]
# The peers live in an environment of their own; these are there in any.
HERE = [each for each in contenders.find()[0] if each.kind != "peer"]


@pytest.mark.parametrize("contender", HERE, ids=lambda each: each.name)
@pytest.mark.parametrize("case", TINY, ids=lambda case: case.key)
async def test_a_contender_does_the_work_or_says_why_not(case: Case, contender: Contender) -> None:
    try:
        run = case.build(contender)
    except CannotExpressError:
        assert contender.kind == "floor"
        return
    for _ in range(2):
        case.check(await run())


def test_nobody_wins_by_not_doing_the_work() -> None:
    # The tally of a chain of no-ops may be right here, from the test before.
    for case in TINY:
        if case.workload != "W10" and "noop" not in case.key:
            with pytest.raises(WrongResultError):
                case.check({"n": -1, "items": [-1], "data": [], "all": []})


async def test_ratios_are_taken_within_a_repeat_and_show_in_the_table() -> None:
    settings = measure.Settings(repeats=3, sample=0.0)
    (result,) = await measure.measure(chain.cases(nodes=2)[:1], HERE, settings)
    assert [len(series.wall) for series in result.series.values()] == [3] * len(HERE)
    assert result.ratios("Plait", "Plait") == [1.0, 1.0, 1.0]
    assert "| bare anyio" in report.table(result, HERE)


async def test_cases_whose_figures_are_compared_are_measured_in_the_same_repeats() -> None:
    (plait,) = (each for each in HERE if each.name == "Plait")
    order: list[str] = []

    def watched(case: Case) -> Case:
        def build(contender: Contender) -> Run:
            run = case.build(contender)

            async def watch() -> State:
                order.append(case.key)
                state: State = await run()
                return state

            return watch

        return replace(case, build=build)

    cases = [watched(case) for case in state_size.cases(nodes=2, sizes=(0, 10))]
    settings = measure.Settings(repeats=3, sample=0.0)
    results = await measure.measure(cases, [plait], settings)
    assert [result.case.key for result in results] == ["state-0", "state-10"]
    of_the_repeats = [order[at : at + 2] for at in range(4, 10, 2)]
    assert all(set(each) == {"state-0", "state-10"} for each in of_the_repeats)


async def test_growth_is_fitted_and_drawn(tmp_path: Path) -> None:
    settings = measure.Settings(repeats=1, sample=0.0)
    results = await measure.measure(fork.cases(sizes=(100, 200))[:2], HERE, settings)
    assert "CPU time of a fork" in report.growth_table(results)
    drawn = plots.draw(results, HERE, tmp_path)
    assert [path.name for path in drawn] == ["fork.svg", "ratios.svg"]


def test_the_exponent_of_a_power_is_that_power() -> None:
    assert growth.exponent([1, 10, 100], [5, 500, 50_000]) == pytest.approx(2.0)


async def test_a_moved_program_does_the_work_on_both_engines() -> None:
    pytest.importorskip("langgraph")
    settings = measure.Settings(repeats=1, sample=0.0, longest_traced=0.0)
    tiny = [job for job in moved.jobs() if job.key in {"chain", "fan-10", "lines"}]
    results = await moved.measure(settings, None, programs=tiny)
    assert [result.case.key for result in results[:2]] == [
        "chain, no checkpointer",
        "fan-10, no checkpointer",
    ]
    assert all(series.reason is None for each in results for series in each.series.values())
    assert "| chain of 100, memory" in moved.table(results)
