"""Results are kept in a file, held against the goals, and written into a page."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from benchmarks import crowd, goals, measure, page, report
from benchmarks.__main__ import main
from benchmarks.bodies import State
from benchmarks.contenders import find
from benchmarks.contenders.base import Contender, Run
from benchmarks.crowd import Crowd
from benchmarks.durable import JOBS, Durability
from benchmarks.footprint import FLOOR, Footprint
from benchmarks.measure import Result, Series, Settings
from benchmarks.results import Results, Who
from benchmarks.workloads import MODULES, cases
from benchmarks.workloads.base import Case

NAMES = {
    "Plait": "plait",
    "bare asyncio": "floor",
    "bare BSP": "floor",
    "bare anyio": "floor",
    "LangGraph": "peer",
    "Burr": "peer",
}
KEEPERS = ("bare asyncpg", "bare asyncpg, group commit", "Plait, sync", "Plait, async")
MACHINE = {
    "processor": "Z80",
    "cores": 1,
    "memory_gib": 0.1,
    "system": "CP/M",
    "python": "CPython",
    "versions": {"plait": "1"},
}


def everything() -> Results:
    """Of all that there is to measure: everybody takes one second, one byte, one commit."""
    keepers = dict.fromkeys(KEEPERS, "floor") | {"LangGraph, sync": "peer"}
    figures = {job.key: [1.0] for job in JOBS}
    return Results(
        MACHINE,
        Settings(repeats=1),
        [Who(name, kind) for name, kind in NAMES.items()],
        {},
        timed=[
            Result(case, {name: Series(name, [1.0], [1.0], 1, 1.0) for name in NAMES})
            for case in cases([*MODULES], quick=False)
        ],
        durable=[
            Durability(
                name, "PostgreSQL", kind, figures, figures, {job.key: [1] for job in JOBS},
                {25: 25, 100: 100, 400: 400},
            )
            for name, kind in keepers.items()
        ],
        footprints=[Footprint(name, [1.0], [1], 1, 1, 1) for name in ("Plait", "LangGraph", FLOOR)],
        crowds=[Crowd("Plait", 100_000, 200_000_000, 1.0), Crowd("Burr", 10, reason="no limit")],
    )  # fmt: skip


def test_the_file_of_the_results_says_all_that_they_say() -> None:
    kept = json.dumps(everything().as_json())
    again = Results.from_json(json.loads(kept))
    assert json.dumps(again.as_json()) == kept
    assert goals.table(again) == goals.table(everything())
    assert page.everything(again) == page.everything(everything())


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 1, not 3: measure again"):
        Results.from_json({"format": 1})


@pytest.mark.parametrize("goal", goals.GOALS, ids=lambda goal: f"{goal.workload}-{goal.text}")
def test_there_is_a_figure_for_every_goal(goal: goals.Goal) -> None:
    assert goal.reached(everything()) is not None
    assert goal.reached(Results(MACHINE, Settings(), [], {})) is None


def test_a_goal_is_met_by_what_is_shown() -> None:
    most, least, exact = (
        goals.Goal("W0", "", 1.5, side, lambda results: None)
        for side in ("at most", "at least", "exactly")
    )
    assert [most.met(value) for value in (1.2, 1.504, 1.51)] == [True, True, False]
    assert [least.met(value) for value in (1.49, 1.5, 9.0)] == [False, True, True]
    assert [exact.met(value) for value in (1.49, 1.5, 1.51)] == [False, True, False]


def test_the_goals_that_are_not_met_are_said_not_to_be() -> None:
    rows = goals.table(everything()).splitlines()
    (slow,) = [row for row in rows if "LangGraph ÷ loop" in row]
    assert "1.00×" in slow
    assert "**no**" in slow
    assert len(rows) == 6 + len(goals.GOALS)


def test_a_goal_without_a_figure_is_shown_where_its_workload_was_measured() -> None:
    results = everything()
    results.timed = [each for each in results.timed if each.case.key != "fork-10000"]
    assert "10,000" not in goals.table(results)
    results.took["W2"] = 1.0
    table = goals.table(results)
    (row,) = [row for row in table.splitlines() if "LangGraph ÷ 10,000" in row]
    assert [cell.strip() for cell in row.split("|")[3:5]] == ["", ""]
    assert table.endswith(" missed, 2 without a figure in this run.\n")


def test_of_who_is_slow_there_is_one_run_which_is_said_wherever_it_is_shown() -> None:
    results = everything()
    result = results.case("fork-10000")
    assert result is not None
    result.series["LangGraph"] = Series("LangGraph", [90.0], [90.0], 1, once=True)
    result.series["Plait"] = Series("Plait", [1.0, 2.0, 4.0], [1.0, 2.0, 4.0], 1)
    (row,) = [row for row in goals.table(results).splitlines() if "LangGraph ÷ 10,000" in row]
    assert "45.00×, one run" in row
    columns = [Who(name, NAMES[name]) for name in ("Plait", "LangGraph")]
    assert " one run |" in report.table(result, columns)
    summary = report.summary_table(results.timed, columns)
    assert "90,000,000 ¹" in summary
    assert "¹ of one run only" in summary
    assert "¹" not in report.summary_table(everything().timed, columns)


@pytest.mark.parametrize(
    "name", ["timed", "durable", "footprints", "crowds", "moved", "contenders", "took"]
)
def test_a_page_is_written_without_what_was_not_measured(name: str) -> None:
    results = dataclasses.replace(everything(), **{name: type(getattr(everything(), name))()})
    for text in (page.section(results, [], "tables.md"), page.everything(results)):
        assert "Measured by `make bench`" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_written_without_one_of_the_contenders(name: str) -> None:
    results = everything()
    results.contenders = [each for each in results.contenders if each.name != name]
    for result in results.timed:
        del result.series[name]
    assert "| W1 chain of 100" in page.section(results, [], "tables.md")
    assert "### W1" in page.everything(results)


@pytest.mark.parametrize("name", [*KEEPERS, "LangGraph, sync"])
def test_a_page_is_written_where_one_of_the_durable_ones_fails(name: str) -> None:
    results = everything()
    (at,) = (i for i, each in enumerate(results.durable) if each.contender == name)
    results.durable[at] = Durability(name, "PostgreSQL", "peer", reason="it is tired")
    text = page.everything(results)
    assert f"{name} (PostgreSQL) is left blank: it is tired" in text
    goal = "`make bench ONLY=W6` |"
    assert text.count(goal) < page.everything(everything()).count(goal)


def test_how_long_each_workload_took_is_printed_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--quick", "--only", "W1,W3", "--contenders", "bare", "--repeats", "1"]
    assert main([*few, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["took"]
    assert [*kept] == ["W1", "W3"]
    assert all(seconds > 0 for seconds in kept.values())
    assert report.took_table(kept) in printed


def test_what_was_measured_is_kept_when_what_comes_later_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*, quick: bool) -> list[Case]:
        raise LookupError("no such luck")

    monkeypatch.setattr(MODULES["W5"], "cases", fails)
    few = ["--quick", "--only", "W3,W5", "--contenders", "bare", "--repeats", "1"]
    with pytest.raises(LookupError, match="luck"):
        main([*few, "--output", str(tmp_path)])
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [each["workload"] for each in kept["results"]] == ["W3"]


def test_only_the_section_of_a_page_is_rewritten(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.write_into(readme, everything(), tmp_path / "figures")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{page.BEGIN}\n\nMeasured by `make bench`")
    assert text.endswith(f" missed.\n\n{page.END}\nafter\n")
    assert "old" not in text
    assert "[All tables](figures/tables.md)" in text
    assert "make bench ONLY=W8" in (tmp_path / "figures" / "tables.md").read_text(encoding="utf-8")
    for name in ("fork", "journal", "ratios"):
        assert f"](figures/{name}.svg)" in text
        assert (tmp_path / "figures" / f"{name}.svg").exists()
    page.write_into(readme, everything(), tmp_path / "figures")
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "text", ["", page.BEGIN, f"{page.END}{page.BEGIN}", 2 * page.BEGIN + page.END]
)
def test_a_page_without_a_place_for_it_is_left_alone(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="each once"):
        page.write_into(readme, everything(), tmp_path)
    assert readme.read_text(encoding="utf-8") == text


def test_a_page_is_written_from_results_of_earlier(tmp_path: Path) -> None:
    results, readme = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(json.dumps(everything().as_json()), encoding="utf-8")
    readme.write_text(f"{page.BEGIN}{page.END}", encoding="utf-8")
    folders = ["--output", str(tmp_path / "out"), "--figures", str(tmp_path / "figures")]
    assert main(["--results", str(results), "--into", str(readme), *folders]) == 0
    assert "make bench ONLY=W6" in readme.read_text(encoding="utf-8")


def test_the_readme_has_a_place_for_it() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert (text.count(page.BEGIN), text.count(page.END)) == (1, 1)


async def test_who_takes_too_long_by_a_smaller_case_is_not_waited_for() -> None:
    plait = [each for each in find()[0] if each.name == "Plait"]
    small, large = (each for each in MODULES["W2"].cases(sizes=(10, 10_000))[:2])
    found = await measure.measure(
        [small, large], plait, Settings(repeats=1, sample=0.0, longest=0.02, longest_traced=0.0)
    )
    assert found[0].series["Plait"].reason is None
    assert "by what a smaller one took" in str(found[1].series["Plait"].reason)


async def test_who_is_slow_runs_once_and_is_held_against_the_median_of_the_others() -> None:
    both = [each for each in find()[0] if each.name in ("Plait", "bare asyncio")]
    settings = Settings(repeats=3, sample=0.0)
    (case,) = MODULES["W3"].cases(branches=3, depth=2)
    runs = dict.fromkeys([each.name for each in both], 0)

    def counted(contender: Contender) -> Run:
        run = case.build(contender)

        async def count() -> State:
            runs[contender.name] += 1
            if contender.name == "Plait":
                burn(0.02)
            state: State = await run()
            return state

        return count

    counting = dataclasses.replace(case, build=counted)
    slow = dataclasses.replace(settings, slow=0.015)
    (result,) = await measure.measure([counting], both, slow)
    plait, bare = result.series["Plait"], result.series["bare asyncio"]
    assert (plait.once, bare.once) == (True, False)
    assert runs == {"Plait": 2, "bare asyncio": 5}
    assert result.ratios("Plait", "bare asyncio") == [plait.cpu[0] / measure.median(bare.cpu)]


def burn(seconds: float) -> None:
    """Take so much of the processor."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_the_peak_of_a_fork_is_taken_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crowd, "BRANCHES", 3_000)
    here = [each for each in find()[0] if each.name in ("Plait", "bare asyncio")]
    found = crowd.measure(here)
    assert [(each.contender, each.reason) for each in found] == [
        ("Plait", None),
        ("bare asyncio", None),
    ]
    assert all(100 < (each.peak or 0) / 3_000 < 10_000 for each in found)
