"""The specialists of a brief as agents: fitted to a task, chosen by what is measured, retired."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from plait import MemoryStore
from plait.agents import (
    AgentFactory,
    AgentResult,
    NoSuitableAgentError,
    PerformanceThread,
    TaskRequirements,
)
from plait.orchestration import Brief, ParallelOrchestrator, Settings, parse_brief
from plait.orchestration.brief import Task
from plait.orchestration.errors import MissingSourceError
from plait.orchestration.results import BranchResult, Measure
from plait.orchestration.specialists import Work, work_on
from plait.orchestration.templates import (
    ResearchAgent,
    _looked_up,
    chart_of,
    dynamic_specialist,
    specialist_factory,
)

NOTES = """\
# Coroutines

A coroutine suspends where it awaits something, and others run meanwhile.

# Threads

A thread that waits is suspended by the operating system, and others run.

# Loops

The event loop runs whichever task can go on, one after the other.

# Locks

A task that waits for a lock is suspended until the lock is released.
"""
ROWS = "size,seconds\n" + "".join(f"{n},{n * 2 + n % 3}\n" for n in range(30))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.md").write_text(NOTES, encoding="utf-8")
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def research(**options: Any) -> Task:
    given = {"id": "r", "type": "research", "question": "What is suspended?", **options}
    return Task(**{"sources": ("notes.md",), **given})


def analysis(**options: Any) -> Task:
    return Task(
        **{"id": "a", "type": "analysis", "analysis_type": "describe", "sources": ("rows.csv",)}
        | options
    )


async def done(task: Task, folder: Path, special: Mapping[str, Any] | None = None) -> BranchResult:
    """What an agent with such parameters gives for a task."""
    from plait.agents import AgentTask

    wanted = TaskRequirements(
        capabilities=frozenset({task.type}), specialization=special or {}, retry_attempts=1
    )
    async with await specialist_factory().generate_agent_for_task(wanted) as agent:
        work = Work(task=task, folder=folder, branch="technical")
        result = await agent.run(AgentTask(id=task.id, requirements=wanted, payload=work))
    assert isinstance(result.content, BranchResult)
    return result.content


# -- research ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_depth_is_the_most_passages(folder: Path, depth: int) -> None:
    # A document speaks twice at most.
    (folder / "more.md").write_text(NOTES.replace("others run", "nothing else"), encoding="utf-8")
    found = await done(research(sources=("*.md",)), folder, {"depth": depth})
    assert len(found.findings) == depth


async def test_focus_lifts_passages_that_have_its_words(folder: Path) -> None:
    best = [
        (await done(research(), folder, {"focus": focus, "depth": 1})).findings[0].quote
        for focus in ("lock released", "operating system")
    ]
    assert "lock" in best[0]
    assert "operating system" in best[1]


async def test_sources_say_where_to_look(folder: Path) -> None:
    found = await done(research(sources=("nowhere.md",)), folder, {"sources": ("notes.md",)})
    assert found.findings[0].document == "notes.md"


async def test_quotations_are_looked_up_unless_that_is_not_wanted(folder: Path) -> None:
    looked = await done(research(), folder)
    assert "2 of 2 quotations were looked up again." in looked.notes
    trusted = await done(research(), folder, {"fact_checking": False})
    assert trusted.notes == looked.notes[:-1]
    assert trusted.findings == looked.findings


async def test_a_comment_of_several_lines_stands_as_it_is_quoted(folder: Path) -> None:
    code = "x = 1\n# A task is suspended when it waits\n# and released when a lock is free.\n"
    (folder / "code.py").write_text(code, encoding="utf-8")
    found = await done(research(sources=("code.py",)), folder)
    assert "\nand released" in found.findings[0].quote
    assert "1 of 1 quotations were looked up again." in found.notes


async def test_a_quotation_that_does_not_stand_is_left_out(folder: Path) -> None:
    found = await done(research(), folder, {"fact_checking": False})
    gone = found.findings[0]
    text = NOTES.replace(gone.quote, "Something else.")
    assert text != NOTES
    (folder / "notes.md").write_text(text, encoding="utf-8")
    kept = _looked_up(found, folder)
    assert kept.findings == found.findings[1:]
    assert kept.quality == found.quality / 2
    assert "× 0.50 of the quotations that stand" in kept.quality_how


# -- analysis ---------------------------------------------------------------------------------


async def test_the_framework_is_the_kind_of_analysis(folder: Path) -> None:
    found = await done(analysis(), folder, {"framework": "trend"})
    assert found.measures[0].name == "change of seconds for one unit of size"


async def test_a_higher_confidence_gives_wider_intervals(folder: Path) -> None:
    widths = []
    for level in (0.5, 0.9, 0.99):
        (first, *_) = (await done(analysis(), folder, {"confidence_level": level})).measures
        assert first.low is not None
        assert first.high is not None
        assert f"{level:.0%} interval" in first.how
        widths.append(first.high - first.low)
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


async def test_the_usual_confidence_is_that_of_the_bundled_specialist(folder: Path) -> None:
    task = analysis()
    bundled = await work_on(Work(task=task, folder=folder, branch="primary"))
    assert (await done(task, folder)).measures == bundled.measures


async def test_the_method_of_points_gives_no_intervals(folder: Path) -> None:
    task = analysis(analysis_type="groups", columns=("size", "seconds"))
    found = await done(task, folder, {"methods": ("point",), "framework": "describe"})
    assert all(measure.low is None for measure in found.measures)
    assert "no interval asked for" in found.measures[0].how


async def test_charts_draw_each_interval_where_it_lies(folder: Path) -> None:
    found = await done(analysis(), folder, {"charts": True})
    plain = await done(analysis(), folder)
    assert found.notes == (*plain.notes, *chart_of(found.measures))
    assert [note.split(" ", 1)[1].split(",")[0] for note in found.notes[-2:]] == [
        "mean of size",
        "mean of seconds",
    ]


def test_a_chart_begins_at_the_least_and_ends_at_the_most() -> None:
    measures = [
        Measure(name="a", value=1, low=0, high=2, n=9, how="h"),
        Measure(name="b", value=9, low=8, high=10, n=9, how="h"),
        Measure(name="c", value=5, n=9, how="h"),
    ]
    first, second = chart_of(measures)
    assert first == "────●────" + "·" * 31 + " a, from 0 to 10"
    assert second == "·" * 31 + "────●────" + " b, from 0 to 10"


# -- dynamic ----------------------------------------------------------------------------------


BRIEF = """
title = "Waiting"
[[tasks]]
id = "r"
type = "research"
question = "What is suspended?"
sources = ["notes.md"]
[[tasks]]
id = "a"
type = "analysis"
analysis_type = "describe"
sources = ["rows.csv"]
depends_on = ["r"]
"""


def brief() -> Brief:
    return parse_brief(BRIEF)


async def test_agents_are_made_for_a_brief_and_the_report_says_which_and_why(folder: Path) -> None:
    orchestrator = ParallelOrchestrator(Settings(agents="dynamic"))
    carried = await orchestrator.run(brief(), folder)
    assert carried.report is not None
    said = {result.task: result.notes[-1] for result in carried.report.results}
    assert said["r"].startswith("Done by agent research-passages-")
    assert "Why this type: analysis-tables can do analysis: 1.00 = 0.4 × match 1/1" in said["a"]
    assert orchestrator.agents is not None
    assert not orchestrator.agents.agents


async def test_dynamic_agents_find_what_the_bundled_specialists_find(folder: Path) -> None:
    found = []
    for agents in ("bundled", "dynamic"):
        carried = await ParallelOrchestrator(Settings(agents=agents)).run(brief(), folder)
        assert carried.report is not None
        found.append([(each.findings, each.measures) for each in carried.report.results])
    assert found[0] == found[1]


async def test_how_agents_did_is_kept_with_the_threads_and_chooses_the_next(folder: Path) -> None:
    class Unlucky(ResearchAgent):
        async def run(self, task: Any, context: Any) -> AgentResult:
            raise MissingSourceError("notes.md", "not today")

    def makers() -> AgentFactory:
        factory = specialist_factory()
        factory.register_agent_template(
            "a-first",
            Unlucky,
            {"research"},
            specialization=factory.templates["research-passages"].specification.specialization,
        )
        return factory

    store, chosen = MemoryStore(), []
    for _ in range(2):
        orchestrator = ParallelOrchestrator(store=store, agents=makers())
        carried = await orchestrator.run(brief(), folder)
        assert carried.report is not None
        chosen.append([result.task for result in carried.report.results])
    history = await PerformanceThread(store).load()
    assert history["a-first"].failures >= 1
    assert history["analysis-tables"].tasks == 2
    assert chosen[1] == ["r", "a"]


async def test_a_task_that_no_agent_can_do_fails_alone(folder: Path) -> None:
    work = Work(task=research(), folder=folder, branch="technical")
    with pytest.raises(NoSuitableAgentError):
        await dynamic_specialist(AgentFactory())(work)
    carried = await ParallelOrchestrator(agents=AgentFactory()).run(brief(), folder)
    assert carried.report is not None
    assert carried.report.results == ()


async def test_a_cancelled_task_leaves_no_agent(folder: Path) -> None:
    factory = specialist_factory()
    work = Work(task=research(sources=("pydoc:",)), folder=folder, branch="technical")
    with anyio.move_on_after(0.001):
        await dynamic_specialist(factory)(work)
    assert not factory.agents
