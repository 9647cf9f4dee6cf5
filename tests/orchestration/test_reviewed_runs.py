"""Runs under review: a person decides, once for each question, whatever process goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plait import InterruptError, Store
from plait.durable import DurableStore
from plait.orchestration import (
    Brief,
    Carried,
    ParallelOrchestrator,
    ReviewError,
    Settings,
    WorkflowState,
    parse_brief,
    recall,
)
from plait.testing.memory_backend import MemoryBackend

TASK = """
[[tasks]]
id = "{0}"
type = "research"
question = "How do tasks wait?"
sources = ["{0}.md"]
"""

BRIEF = parse_brief('title = "T"\n' + TASK.format("a") + TASK.format("b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        text = f"# Waiting\nAll tasks wait for others in the way that {name} has."
        (tmp_path / f"{name}.md").write_text(text)
    return tmp_path


class Reviewed:
    """A brief under review; each step is done by an orchestrator of its own, as by a process."""

    def __init__(self, folder: Path, brief: Brief = BRIEF, **options: Any) -> None:
        self.folder = folder
        self.brief = brief
        self.store: Store = DurableStore(MemoryBackend())
        self.options = options

    def orchestrator(self, settings: Settings) -> ParallelOrchestrator:
        return ParallelOrchestrator(settings, store=self.store, **self.options)

    async def begin(self) -> Carried:
        orchestrator = self.orchestrator(Settings(review=True))
        return await orchestrator.run(self.brief, self.folder, thread_id="t")

    async def answer(self, carried: Carried, answer: Any) -> Carried:
        (asked,) = carried.interrupts
        known = await recall("t", self.store)  # all that another process has to go by
        orchestrator = self.orchestrator(known.settings)
        return await orchestrator.resume("t", known.brief, {asked.id: answer})


async def test_two_approvals_lead_to_the_report(folder: Path) -> None:
    run = Reviewed(folder)
    gathered = await run.begin()
    (asked,) = gathered.interrupts
    assert (gathered.status, asked.node, gathered.report) == (
        "suspended",
        "sync_point_manager",
        None,
    )
    assert asked.value["asks"] == "Are these results enough?"
    assert "a: 1 findings, quality 0.70." in asked.value["facts"]
    merged = await run.answer(gathered, "approve")
    assert merged.interrupts[0].node == "quality_validator"
    assert "By the rules: quality approved." in merged.interrupts[0].value["facts"]
    done = await run.answer(merged, "approve: fine")
    assert done.report is not None
    assert done.report.verdict.decided == "A person approved this: fine."
    assert [review.decision for review in done.state.reviews] == ["approve", "approve"]
    assert done.timeline is not None
    assert "person" in {part.kind for part in done.timeline.path}


@pytest.mark.parametrize("stop", [0, 1])
async def test_a_revision_does_again_what_is_named_and_asks_again(folder: Path, stop: int) -> None:
    run = Reviewed(folder)
    carried = await run.begin()
    for _ in range(stop):
        carried = await run.answer(carried, "approve")
    again = await run.answer(carried, "revise b: in other words")
    (asked,) = again.interrupts
    assert (asked.node, asked.value["round"]) == ("sync_point_manager", 1)
    assert sorted(result.task for result in again.state.results) == ["a", "b", "b"]
    done = await run.answer(await run.answer(again, "approve"), "approve")
    assert done.report is not None
    assert [review.round for review in done.state.reviews][-2:] == [1, 1]


@pytest.mark.parametrize("stop", [0, 1])
async def test_a_rejection_ends_the_run_and_the_report_says_who_and_why(
    folder: Path, stop: int
) -> None:
    run = Reviewed(folder)
    carried = await run.begin()
    for _ in range(stop):
        carried = await run.answer(carried, "approve")
    carried = await run.answer(carried, "reject: not what I asked")
    assert carried.report is not None
    assert carried.report.status == "failed"
    assert "A person rejected it: not what I asked" in carried.report.reason


NODES = ("sync_point_manager", "quality_validator")


async def test_an_answer_that_is_none_is_refused_and_changes_nothing(folder: Path) -> None:
    run = Reviewed(folder)
    gathered = await run.begin()
    with pytest.raises(ReviewError, match="there is no task c"):
        await run.answer(gathered, "revise c")
    assert (await run.answer(gathered, "approve")).status == "suspended"


async def test_of_two_answers_one_is_carried_out(folder: Path) -> None:
    run = Reviewed(folder)
    gathered = await run.begin()
    await run.answer(gathered, "approve")
    with pytest.raises(InterruptError, match="answered already"):
        await run.answer(gathered, "reject: too late")


async def test_a_node_of_ones_own_is_asked_about_too_and_sees_the_review(folder: Path) -> None:
    seen: list[str] = []

    async def validate(state: WorkflowState) -> dict[str, Any]:
        assert state.integration_result is not None
        seen.append(state.reviews[-1].sentence)
        from plait.orchestration import Verdict

        return {"verdict": Verdict(status="quality_approved"), "to_redo": ()}

    run = Reviewed(folder, nodes={"quality_validator": validate})
    merged = await run.answer(await run.begin(), "approve")
    done = await run.answer(merged, "approve: by me")
    assert seen == ["A person approved this: by me."]
    assert done.report is not None


async def test_without_review_nobody_is_asked(folder: Path) -> None:
    carried = await ParallelOrchestrator().run(BRIEF, folder)
    assert carried.status == "completed"


async def test_any_graph_may_stop_before_these_nodes_by_their_names(folder: Path) -> None:
    orchestrator = ParallelOrchestrator(interrupt_before=NODES)
    carried = await orchestrator.run(BRIEF, folder, thread_id="t")
    for node in NODES:
        (asked,) = carried.interrupts
        assert (asked.node, asked.when) == (node, "before")
        carried = await orchestrator.resume("t", BRIEF, {asked.id: None})
    assert carried.report is not None
