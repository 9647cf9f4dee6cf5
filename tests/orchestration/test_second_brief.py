"""A second brief, on real files of the installed Python, with specialists that misbehave.

The texts are topics of the language reference, written out as files; the numbers are measured here:
sizes and lines of modules of the standard library. One specialist is slow, one fails, one hangs.
"""

from __future__ import annotations

import csv
import sysconfig
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import anyio
import pytest

from plait import SyncPointError
from plait.orchestration import (
    BranchResult,
    ParallelOrchestrator,
    Progress,
    Report,
    Settings,
    Specialist,
    Work,
    parse_brief,
    work_on,
)
from tests.orchestration.specialists import IDLE

TASKS = """
[[tasks]]
id = "calls"
type = "research"
question = "How are positional and keyword arguments of a call evaluated?"
sources = ["topics/*.txt"]

[[tasks]]
id = "prices"
type = "research"
question = "Which operators bind most tightly?"
focus = "market"
sources = ["topics/*.txt"]

[[tasks]]
id = "rivals"
type = "research"
question = "How do comparisons of different types differ?"
focus = "competitors"
sources = ["topics/*.txt"]

[[tasks]]
id = "growth"
type = "analysis"
analysis_type = "trend"
columns = ["lines", "bytes"]
sources = ["modules.csv"]
priority = "high"

[[tasks]]
id = "sizes"
type = "analysis"
analysis_type = "describe"
columns = ["bytes"]
sources = ["modules.csv"]
depends_on = ["growth"]

[[tasks]]
id = "absent"
type = "research"
question = "What do practitioners say?"
sources = ["nowhere/*.txt"]
"""

NAMES = ["calls", "prices", "rivals", "growth", "sizes", "absent"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts and numbers, written from what is installed."""
    folder = tmp_path_factory.mktemp("brief")
    (folder / "topics").mkdir()
    for name in ("calls", "comparisons", "operator-summary", "lambda", "async"):
        (folder / "topics" / f"{name}.txt").write_text(topics[name], encoding="utf-8")
    with (folder / "modules.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["module", "bytes", "lines"])
        for path in sorted(Path(sysconfig.get_path("stdlib"), "asyncio").glob("*.py")):
            text = path.read_bytes()
            rows.writerow([path.stem, len(text), text.count(b"\n")])
    return folder


async def slow(work: Work) -> BranchResult:
    """Does its work, and takes its time before."""
    await anyio.sleep(0.3)
    return await work_on(work)


async def fails(work: Work) -> BranchResult:
    """Fails, and may do better another time; it never does."""
    raise ConnectionError("the market is closed")


async def hangs(work: Work) -> BranchResult:
    """Never comes to an end by itself."""
    await anyio.sleep_forever()
    raise AssertionError("nobody wakes it")


MISBEHAVING: dict[str, Specialist] = {"primary": slow, "market": fails, "competitive": hangs}


async def carry_out(folder: Path, join: str, **settings: object) -> Report:
    brief = parse_brief(f'title = "Calls and sizes"\n[join]\n{join}\n{TASKS}')
    progress = Progress(brief)
    facts = {"mode": "parallel", "deadline": 3.0, "grace": 0.2, "attempts": 1} | settings
    orchestrator = ParallelOrchestrator(
        Settings.model_validate(facts), specialists=MISBEHAVING, measure=lambda: IDLE
    )
    try:
        carried = await orchestrator.run(brief, folder, progress=progress)
    except SyncPointError as error:
        return progress.stopped(status="failed", reason=f"{error}.")
    assert carried.report is not None
    return carried.report


def fates(report: Report) -> dict[str, str]:
    """What became of each task, by the report: each is in it exactly once."""
    found = {result.task: "done" for result in report.results}
    absent = {absence.task: absence.status for absence in report.merged.absences}
    assert not found.keys() & absent.keys()
    assert sorted(found | absent) == sorted(NAMES) == sorted(report.tasks)
    performance = report.merged.performance
    assert performance.successful == len(found)
    assert performance.activated == len(NAMES)
    for absence in report.merged.absences:
        assert absence.reason
    return found | absent


DONE = {"calls": "done", "growth": "done", "sizes": "done"}


@pytest.mark.parametrize(
    ("join", "status", "check"),
    [
        # Three of six are done in time; the failing and the hanging one go to another branch.
        ("", "complete", lambda fates: fates["prices"] == fates["rivals"] == "done"),
        ('quorum = "all"\ntimeout = 2.0', "complete", lambda fates: fates["rivals"] == "done"),
        ('quorum = "any"', "quorum", lambda fates: "done" in fates.values()),
        ("quorum = 3\ntimeout = 4.0", "quorum", lambda fates: fates["rivals"] == "cancelled"),
        ("quorum = 0.5\ntimeout = 4.0", "quorum", lambda fates: fates["prices"] == "failed"),
        (
            "quorum = {growth = 0.5, sizes = 0.5}\ntimeout = 4.0",
            "quorum",
            lambda fates: fates["growth"] == fates["sizes"] == "done",
        ),
        (
            'timeout = 2.0\non_timeout = "proceed"',
            "timeout",
            lambda fates: fates["rivals"] == "cancelled" and fates["prices"] == "failed",
        ),
    ],
    ids=["default", "all", "any", "count", "share", "weights", "proceed"],
)
async def test_under_every_policy_the_report_accounts_for_every_task(
    folder: Path, join: str, status: str, check: Callable[[dict[str, str]], bool]
) -> None:
    report = await carry_out(folder, join)
    found = fates(report)
    assert report.gathering is not None
    assert report.gathering.status == status
    assert check(found), found
    assert found["absent"] in ("failed", "cancelled")
    assert report.status == "completed"


async def test_a_policy_that_raises_leaves_a_report_of_what_was_finished(folder: Path) -> None:
    report = await carry_out(folder, 'quorum = "all"\ntimeout = 2.0\non_timeout = "raise"')
    assert report.status == "failed"
    found = fates(report)
    assert {name: fate for name, fate in found.items() if fate == "done"} == DONE


async def test_a_minimum_that_is_not_reached_is_a_critical_failure(folder: Path) -> None:
    report = await carry_out(folder, "minimum = 6")
    assert report.status == "failed"
    assert report.verdict.status == "critical_failure"
    assert "6 at least are asked for" in report.reason
    assert fates(report)["absent"] == "failed"


async def test_the_numbers_are_those_of_the_files(folder: Path) -> None:
    report = await carry_out(folder, 'quorum = "all"\ntimeout = 2.0')
    sizes = next(result for result in report.results if result.task == "sizes")
    with (folder / "modules.csv").open(encoding="utf-8") as file:
        measured = [int(row["bytes"]) for row in csv.DictReader(file)]
    mean = next(m for m in sizes.measures if m.name == "mean of bytes")
    assert mean.value == pytest.approx(sum(measured) / len(measured))
    assert mean.n == len(measured)
    calls = next(result for result in report.results if result.task == "calls")
    assert all(found.quote in topics[Path(found.document).stem] for found in calls.findings)
