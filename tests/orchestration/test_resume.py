"""A brief whose run was cut off goes on from its thread, and does no finished task again."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait import Store, SyncPointError, ThreadExists, ThreadNotFound
from plait.durable import DurableStore
from plait.orchestration import (
    BUNDLED_BRIEF,
    Brief,
    ParallelOrchestrator,
    Progress,
    Report,
    build_flow,
    load_brief,
    orchestrate,
    parse_brief,
    recall,
    resume,
)
from plait.testing import CrashAt, Crashed
from plait.testing.memory_backend import MemoryBackend

BRIEF = """
title = "T"
[[tasks]]
id = "first"
type = "research"
question = "How do coroutines wait?"
sources = ["*.md"]
[[tasks]]
id = "none"
type = "research"
question = "How do tasks wait?"
sources = ["none.md"]
[[tasks]]
id = "later"
type = "research"
question = "How do tasks end?"
sources = ["*.md"]
depends_on = ["first", "none"]
"""

EVENTS = 10
"""In the journal of a run of that brief."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    waiting = "# Waiting\nA coroutine waits for what others still have to do."
    (tmp_path / "a.md").write_text(f"{waiting}\n\n# Ending\nOther tasks end when they are done.")
    return tmp_path


@pytest.fixture
def store() -> Store:
    return DurableStore(MemoryBackend())


async def crash(store: Store, folder: Path, event: int, *, kept: bool = False) -> None:
    """Carry out the brief until an event is journalled, and let the process die of that."""
    brief = parse_brief(BRIEF)
    orchestrator = ParallelOrchestrator(store=CrashAt(store, event, kept=kept))
    with pytest.raises((Crashed, BaseExceptionGroup)):  # it is told to every branch
        await orchestrator.run(brief, folder, thread_id="t")


async def whole(brief: Brief, folder: Path, store: Store) -> Report:
    return await orchestrate(brief, folder, Progress(brief), store=store, thread_id="whole")


def without_times(report: Report) -> object:
    """What a report says, but for how long things took."""
    results = [result.model_copy(update={"seconds": 0.0}) for result in report.results]
    assert report.gathering is not None
    return report.status, results, report.merged.absences, report.gathering.status


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("event", range(2, EVENTS + 1))
async def test_from_every_event_a_run_goes_on_to_the_same_report(
    store: Store, folder: Path, event: int, kept: bool
) -> None:
    expected = await whole(parse_brief(BRIEF), folder, store)
    await crash(store, folder, event, kept=kept)
    progress = await recall("t", store)
    done = [result.task for result in progress.results]
    lines: list[str] = []
    report = await resume("t", progress, lines.append, store=store)
    assert without_times(report) == without_times(expected)
    began = {line.split(":")[0] for line in lines if ": begins" in line}
    assert began.isdisjoint(done)
    assert {task.status for task in progress.tasks.values()} == {"done", "failed"}


async def test_a_resumed_run_knows_what_was_done_before(store: Store, folder: Path) -> None:
    await crash(store, folder, 6)
    progress = await recall("t", store)
    assert [(task.task, task.status, task.branch) for task in progress.tasks.values()] == [
        ("first", "done", "0.0"),
        ("none", "failed", "0.1"),
        ("later", "waiting", "0.2"),
    ]
    assert progress.tasks["none"].remark == 'MissingSourceError: source "none.md": no file matches'
    report = progress.stopped(status="interrupted", reason="Ctrl-C.")
    assert [result.task for result in report.results] == ["first"]


async def test_a_resumed_run_says_first_how_much_was_done(store: Store, folder: Path) -> None:
    await crash(store, folder, 6)
    lines: list[str] = []
    await resume("t", await recall("t", store), lines.append, store=store)
    assert lines[0] == "1 of 3 tasks were done before"
    assert lines[1] == "later: begins (branch 0.2, technical)"


async def test_a_thread_that_is_finished_gives_its_report_again(store: Store, folder: Path) -> None:
    report = await whole(parse_brief(BRIEF), folder, store)
    progress = await recall("whole", store)
    assert progress.gathering == report.gathering
    assert await resume("whole", progress, store=store) == report


async def test_a_run_that_a_sync_point_failed_fails_again(store: Store, folder: Path) -> None:
    text = BRIEF.replace("*.md", "none.md")
    brief = parse_brief(text.replace("[[tasks]]", '[join]\non_timeout = "raise"\n[[tasks]]', 1))
    with pytest.raises(SyncPointError) as first:
        await whole(brief, folder, store)
    with pytest.raises(SyncPointError) as again:
        await resume("whole", await recall("whole", store), store=store)
    assert str(again.value) == str(first.value)


async def test_a_thread_is_begun_once(store: Store, folder: Path) -> None:
    await whole(parse_brief(BRIEF), folder, store)
    with pytest.raises(ThreadExists, match="resume it"):
        await whole(parse_brief(BRIEF), folder, store)


async def test_a_thread_that_another_process_begins_meanwhile_is_not_begun_again(
    folder: Path,
) -> None:
    class Early(DurableStore):
        """Was asked just before the other one began."""

        async def thread(self, thread_id: str) -> None:
            return None

    store = Early(MemoryBackend())
    report = await whole(parse_brief(BRIEF), folder, store)
    with pytest.raises(ThreadExists, match="resume"):
        await whole(parse_brief(BRIEF), folder, store)
    assert await resume("whole", await recall("whole", store), store=store) == report


async def test_a_thread_that_is_not_there_cannot_be_resumed(store: Store) -> None:
    with pytest.raises(ThreadNotFound):
        await recall("t", store)


async def test_the_whole_state_of_the_bundled_brief_is_kept_exactly(store: Store) -> None:
    report = await whole(load_brief(BUNDLED_BRIEF), BUNDLED_BRIEF.parent, store)
    read = await build_flow(store=store).state("whole")
    kept = report.model_copy(update={"timeline": None})  # which is from the journal
    assert (read.status, read.state.report) == ("completed", kept)
    assert read.state.brief == load_brief(BUNDLED_BRIEF)
    assert read.state.gatherings == [*report.earlier, report.gathering]


async def test_a_brief_is_carried_out_without_a_store(folder: Path) -> None:
    brief = parse_brief(BRIEF)
    report = await orchestrate(brief, folder, Progress(brief))
    assert report.status == "completed"
