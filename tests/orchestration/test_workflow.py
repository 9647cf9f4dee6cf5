"""A brief is carried out on the kernel: branches, sync point, merge, validation, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from plait import SyncPointError
from plait.orchestration import (
    BUNDLED_BRIEF,
    Brief,
    DeadlineError,
    MissingSourceError,
    Progress,
    Report,
    Task,
    build_flow,
    load_brief,
    orchestrate,
    parse_brief,
)
from plait.orchestration.briefs.measure import COLUMNS, WAYS, main, measure
from plait.orchestration.specialists import carry_out

EVERYTHING = "{stdlib}/**/*.py"
"""A source that takes seconds to read: what is slow in these tests is slow by its work."""


def task(
    name: str, *more: str, sources: str = '"*.md"', question: str = "How do tasks wait?"
) -> str:
    head = f'[[tasks]]\nid = "{name}"\ntype = "research"\nquestion = "{question}"\n'
    return head + f"sources = [{sources}]\n" + "".join(f"{line}\n" for line in more)


def brief(*tasks: str, join: str = "") -> Brief:
    return parse_brief(f'title = "T"\n[join]\n{join}\n' + "".join(tasks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.md").write_text(
        "# Waiting\nA task waits for another to end.\n\n# Ending\nA task ends when it is done."
    )
    (tmp_path / "two.md").write_text(
        "Other tasks wait for locks.\n\n# More\nBread is for eating at dinner."
    )
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,4\n3,7\n")
    return tmp_path


async def run(what: Brief, folder: Path, lines: list[str] | None = None) -> Report:
    told = None if lines is None else lines.append
    return await orchestrate(what, folder, Progress(what), told)


async def test_every_task_that_arrives_is_in_the_report(folder: Path) -> None:
    table = 'id = "n"\ntype = "analysis"\nanalysis_type = "trend"\nsources = ["*.csv"]\n'
    report = await run(brief(task("a"), f"[[tasks]]\n{table}"), folder)
    assert report.status == "completed"
    assert [result.task for result in report.results] == ["a", "n"]
    assert report.gathering is not None
    assert (report.gathering.status, report.gathering.progress) == ("complete", 1.0)
    assert report.results[1].measures[0].value == pytest.approx(2.5)
    assert report.results[1].sources == (("t.csv", 1.0),)


async def test_a_missing_source_is_a_failed_branch_and_not_a_crash(folder: Path) -> None:
    report = await run(brief(task("a"), task("b", sources='"*.md", "none/*.md"')), folder)
    (absence,) = report.merged.absences
    assert (absence.task, absence.status) == ("b", "failed")
    assert absence.reason == 'MissingSourceError: source "none/*.md": no file matches'
    assert report.gathering is not None
    assert report.gathering.status == "partial"


async def test_a_branch_that_depends_on_another_sees_what_it_quoted(folder: Path) -> None:
    what = brief(task("later", 'depends_on = ["first"]'), task("first"))
    report = await run(what, folder)
    later, first = report.results
    assert {f.quote for f in first.findings}.isdisjoint(f.quote for f in later.findings)
    assert "Passages that the tasks before it have quoted are left out." in later.notes


async def test_a_branch_whose_dependency_failed_says_so(folder: Path) -> None:
    what = brief(task("a", sources='"none.md"'), task("b", 'depends_on = ["a"]'))
    report = await run(what, folder)
    assert report.results[0].notes == ("It depends on a, which gave no result.",)


async def test_an_analysis_tells_apart_what_its_dependency_quoted(folder: Path) -> None:
    look = task("look", sources='"dist:"', question="What runs on asyncio or Trio?")
    table = (
        '[[tasks]]\nid = "n"\ntype = "analysis"\nanalysis_type = "groups"\nsources = ["dist:"]\n'
        'columns = ["quoted_by_look", "files"]\ndepends_on = ["look"]\n'
    )
    found, numbers = (await run(brief(look, table), folder)).results
    yes = next(m for m in numbers.measures if m.name == "mean of files where quoted_by_look is yes")
    assert yes.n == len({finding.document for finding in found.findings})


async def test_the_sync_point_opens_at_the_quorum_and_names_who_was_not_there(
    folder: Path,
) -> None:
    slow = task("slow", 'priority = "high"', sources=f'"{EVERYTHING}"')
    what = brief(slow, task("a"), task("b"), join="quorum = 2")
    report = await run(what, folder)
    (absence,) = report.merged.absences
    assert (absence.task, absence.status) == ("slow", "cancelled")
    assert report.gathering is not None
    assert (report.gathering.status, report.gathering.arrived) == ("quorum", 2)


@pytest.mark.parametrize("quorum", ['"any"', "0.5", "{a = 1.0}"])
async def test_every_kind_of_quorum_reaches_the_sync_point(folder: Path, quorum: str) -> None:
    what = brief(task("a"), task("slow", sources=f'"{EVERYTHING}"'), join=f"quorum = {quorum}")
    report = await run(what, folder)
    assert report.gathering is not None
    assert report.gathering.status == "quorum"


async def test_a_task_is_given_up_at_its_own_deadline(folder: Path) -> None:
    slow = task("slow", "deadline = 0.05", sources=f'"{EVERYTHING}"')
    report = await run(brief(task("a"), slow), folder)
    assert report.merged.absences[0].reason == (
        "DeadlineError: not done within its deadline of 0.05 s"
    )


async def test_a_run_without_any_result_fails_and_its_report_says_why(folder: Path) -> None:
    what = brief(task("a", sources='"none.md"'))
    report = await run(what, folder)
    assert (report.status, report.verdict.status) == ("failed", "critical_failure")
    assert report.reason.startswith("0 of 1 tasks have a result (progress 0.00)")
    assert report.merged.absences[0].status == "failed"


async def test_a_brief_may_have_its_run_fail_at_the_sync_point(folder: Path) -> None:
    what = brief(task("a", sources='"none.md"'), join='on_timeout = "raise"')
    progress = Progress(what)
    with pytest.raises(SyncPointError) as caught:
        await orchestrate(what, folder, progress)
    report = progress.stopped(status="failed", reason=str(caught.value))
    assert report.merged.absences[0].status == "failed"
    assert report.verdict.status == "critical_failure"


async def test_what_happens_is_told_in_lines(folder: Path) -> None:
    lines: list[str] = []
    what = brief(task("a"), task("b", 'depends_on = ["a"]', sources='"none.md"'))
    assert Progress(what).tasks["b"].remark == "after a"
    await run(what, folder, lines)
    assert lines[0].startswith("task_analyzer: mode sequential: the interdependency is above")
    assert lines[1] == "parallel_coordinator: 2 branches"
    assert lines[2] == "a: begins (branch 0.0, technical)"
    assert lines[3].startswith("a: done after 0.")
    assert "findings, quality" in lines[3]
    assert lines[4] == "b: begins (branch 0.1, technical)"
    assert lines[5].endswith('s: MissingSourceError: source "none.md": no file matches')
    assert lines[6].startswith("gather: partial, 1 of 2 branches after ")
    assert lines[7].startswith("sync_point_manager: partial, conditional: 1 of 2 tasks")


async def test_cancelling_the_caller_leaves_what_was_finished(folder: Path) -> None:
    what = brief(
        task("a"), task("slow", sources=f'"{EVERYTHING}"'), task("c", 'depends_on = ["slow"]')
    )
    progress = Progress(what)
    with anyio.CancelScope() as scope:

        def told(line: str) -> None:
            if line.startswith("a: done"):
                scope.cancel()

        await orchestrate(what, folder, progress, told)
    assert scope.cancelled_caught
    report = progress.stopped(status="interrupted", reason="Ctrl-C.")
    assert [result.task for result in report.results] == ["a"]
    reasons = {absence.task: absence.reason for absence in report.merged.absences}
    assert reasons["slow"] == "at work when the run was interrupted"
    assert reasons["c"] == "not begun when the run was interrupted"


async def test_the_order_of_sending_is_priority_and_then_the_longest(folder: Path) -> None:
    lines: list[str] = []
    what = brief(
        task("later", 'priority = "low"'),
        task("short", "complexity = 0.1"),
        task("long", "complexity = 0.9"),
        task("first", 'priority = "high"'),
    )
    await run(what, folder, lines)
    began = [line for line in lines if ": begins" in line]
    assert sorted(began, key=lambda line: line[line.index("branch") :]) == [
        "first: begins (branch 0.0, technical)",
        "long: begins (branch 0.1, technical)",
        "short: begins (branch 0.2, technical)",
        "later: begins (branch 0.3, technical)",
    ]


async def test_the_bundled_brief_runs_on_this_machine_and_is_honest_about_itself() -> None:
    report = await run(load_brief(BUNDLED_BRIEF), BUNDLED_BRIEF.parent)
    assert [(a.task, a.reason) for a in report.merged.absences] == [
        ("field-notes", 'MissingSourceError: source "interviews/*.md": no file matches')
    ]
    first, revision = report.earlier[0], report.gathering
    assert (first.status, first.arrived, first.activated) == ("partial", 9, 10)
    assert revision is not None
    assert (revision.status, revision.activated) == ("complete", 1)
    (old, *_) = report.merged.superseded
    assert old.task == "blocking-calls"
    assert old.quality < 0.9 <= old.by
    assert report.verdict.status == "quality_approved"
    assert report.timeline is not None
    assert "blocking-calls (2)" in [row.label for row in report.timeline.rows]
    documents = {attribution.document for attribution in report.merged.attributions}
    kinds = {name.split(":")[0] if ":" in name else Path(name).suffix for name in documents}
    assert kinds >= {"pydoc", "dist", ".py", ".csv"}
    assert all(result.quality_how for result in report.results)


def test_the_graph_is_drawn_with_its_sync_point() -> None:
    drawn = build_flow(brief(task("a"), join="quorum = 0.75\ngrace = 2")).draw_mermaid()
    for part in ("research_market", "load_balancer", "gather", "75%", "grace 2 s"):
        assert part in drawn


# -- specialists


def only(text: str) -> Task:
    return brief(text).tasks[0]


async def test_a_specialist_leaves_the_event_loop_free(folder: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await carry_out(only(task("a", sources='"{stdlib}/asyncio/*.py"')), folder, [])
        group.cancel_scope.cancel()
    assert ticks > 3


async def test_a_specialist_stops_reading_once_it_is_unwanted(folder: Path) -> None:
    with pytest.raises(DeadlineError) as caught:
        await carry_out(only(task("a", "deadline = 0.02", sources=f'"{EVERYTHING}"')), folder, [])
    assert caught.value.seconds == 0.02
    with pytest.raises(MissingSourceError):
        await carry_out(only(task("a", "deadline = 60", sources='"x.md"')), folder, [])


# -- the measurements that come with the brief


async def test_the_measurements_are_made_as_their_table_says() -> None:
    rows = await measure([2, 3], runs=1)
    assert [(way, tasks) for way, tasks, *_ in rows] == [
        (way, tasks) for way in sorted(WAYS) for tasks in (2, 3)
    ]
    for _, tasks, milliseconds, each in rows:
        assert milliseconds > 0
        assert each == pytest.approx(milliseconds * 1e3 / tasks, abs=0.6)


def test_the_bundled_table_has_the_columns_of_its_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def few(sizes: Any, runs: int) -> list[tuple[str, int, float, float]]:
        return await measure(sizes[:1], 1)

    monkeypatch.setattr("plait.orchestration.briefs.measure.measure", few)
    main()
    lines = capsys.readouterr().out.splitlines()
    table = (BUNDLED_BRIEF.parent / "async_costs.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == table[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + len(WAYS)
