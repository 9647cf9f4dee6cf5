"""The specialists of a brief as agents, made for each task by a factory.

The work is that of `plait.orchestration.specialists`; here it is fitted to a task by the parameters
of `ResearchSpecialization` and `AnalysisSpecialization`, and who does it is chosen by what the
registered types are capable of and how they have done.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from plait import Retry, Store, ThreadBusy
from plait.agents import (
    AgentCapability,
    AgentContext,
    AgentError,
    AgentFactory,
    AgentResources,
    AgentResult,
    AgentSpecification,
    AgentTask,
    AnalysisSpecialization,
    MonitoredAgent,
    Performance,
    PerformanceThread,
    ResearchSpecialization,
    ResourcePool,
    TaskRequirements,
    register_bundled_templates,
)
from plait.agents.validation import Quotation, ValidationRequest, validate
from plait.orchestration.branches import LENSES
from plait.orchestration.errors import is_permanent
from plait.orchestration.passages import passages_of
from plait.orchestration.results import BranchResult, Measure
from plait.orchestration.sources import read_documents
from plait.orchestration.specialists import Specialist, Work, carry_out

__all__ = [
    "AnalysisAgent",
    "ResearchAgent",
    "dynamic_specialist",
    "keep_performance",
    "recall_performance",
    "register_specialists",
    "specialist_factory",
]


def register_specialists(factory: AgentFactory) -> None:
    """Let a factory make the specialists of a brief: for research, and for analysis."""
    lucky = Retry(on=lambda error: not is_permanent(error) and not isinstance(error, AgentError))
    factory.register_agent_template(
        "research-passages",
        ResearchAgent,
        {AgentCapability.RESEARCH},
        specialization=ResearchSpecialization(),
        retry=lucky,
    )
    factory.register_agent_template(
        "analysis-tables",
        AnalysisAgent,
        {AgentCapability.ANALYSIS},
        specialization=AnalysisSpecialization(),
        retry=lucky,
    )


def specialist_factory(pool: ResourcePool | None = None) -> AgentFactory:
    """A factory of all the agents that come with Plait and need no model."""
    factory = AgentFactory(pool)
    register_specialists(factory)
    register_bundled_templates(factory)
    return factory


def dynamic_specialist(factory: AgentFactory) -> Specialist:
    """A specialist for any branch, which has an agent made for each task and retires it after.

    The result's notes say which agent did it, and why that one. An attempt of the agent is an
    attempt of the branch's node, which sees to repeating it.

    Raises, when called, what the factory and the agent raise.
    """

    async def work_by_agent(work: Work) -> BranchResult:
        requirements = requirements_of(work)
        async with await factory.generate_agent_for_task(requirements) as agent:
            task = AgentTask(id=work.task.id, requirements=requirements, payload=work)
            context = AgentContext(idempotency_key=work.idempotency_key)
            result = (await agent.run(task, context)).content
            if not isinstance(result, BranchResult):
                raise AgentError(
                    f"agent {agent.id!r} gave {type(result).__name__} for task {task.id!r}; "
                    "expected a BranchResult"
                )
            return result.model_copy(update={"notes": (*result.notes, _by_whom(agent))})

    return work_by_agent


def requirements_of(work: Work) -> TaskRequirements:
    """What a task of a brief asks of its agent."""
    special: dict[str, Any] = {}
    if work.task.type == "research":
        special["focus"] = " ".join((work.task.focus, *sorted(LENSES.get(work.branch, ())))).strip()
    elif work.task.analysis_type is not None:
        special["framework"] = work.task.analysis_type
    return TaskRequirements(
        capabilities=frozenset({work.task.type}),
        specialization=special,
        timeout_seconds=work.task.deadline,
        retry_attempts=1,
    )


def _by_whom(agent: MonitoredAgent) -> str:
    assert agent.selection is not None, "it was made for a task"
    return f"Done by agent {agent.id}. Why this type: {agent.selection.why}."


class ResearchAgent:
    """Quotes passages. The payload of its tasks is a `Work`, the content of its results a
    `BranchResult`; its specialization is a `ResearchSpecialization`."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        special = specification.specialization
        if not isinstance(special, ResearchSpecialization):
            raise TypeError(f"its specialization is {special!r}: give a ResearchSpecialization")
        self.wanted = special

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Search, in a worker thread, and look up what is to be quoted."""
        work, wanted = _work_of(task), self.wanted
        changes: dict[str, Any] = {"focus": wanted.focus or work.task.focus}
        if wanted.sources:
            changes["sources"] = wanted.sources
        fitted = work.task.model_copy(update=changes)
        result = await carry_out(
            fitted,
            work.folder,
            work.before,
            # An iteration that is to improve on another one searches deeper.
            depth=work.depth + context.iteration - 1,
            meter=work.meter,
            most=wanted.depth,
        )
        if wanted.fact_checking:
            result = await anyio.to_thread.run_sync(
                _looked_up, result, work.folder, abandon_on_cancel=True
            )
        return _as_agents_give(result)


class AnalysisAgent:
    """Computes on tables. The payload of its tasks is a `Work`, the content of its results a
    `BranchResult`; its specialization is an `AnalysisSpecialization`."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        special = specification.specialization
        if not isinstance(special, AnalysisSpecialization):
            raise TypeError(f"its specialization is {special!r}: give an AnalysisSpecialization")
        self.wanted = special

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Compute, in a worker thread."""
        work, wanted = _work_of(task), self.wanted
        framework = wanted.framework or work.task.analysis_type
        fitted = work.task.model_copy(update={"analysis_type": framework})
        result = await carry_out(
            fitted,
            work.folder,
            work.before,
            meter=work.meter,
            confidence=wanted.confidence_level if "bootstrap" in wanted.methods else None,
        )
        if wanted.charts:
            notes = (*result.notes, *chart_of(result.measures))
            result = result.model_copy(update={"notes": notes})
        return _as_agents_give(result)


def _work_of(task: AgentTask) -> Work:
    if not isinstance(task.payload, Work):
        raise AgentError(
            f"task {task.id!r} gives a specialist {type(task.payload).__name__}: give its payload "
            "as a Work"
        )
    return task.payload


def _as_agents_give(result: BranchResult) -> AgentResult:
    return AgentResult(
        content=result,
        quality=result.quality,
        how=result.quality_how,
        wanting=() if result.findings or result.measures else ("Nothing was found.",),
        notes=result.notes,
    )


def _looked_up(result: BranchResult, folder: Path) -> BranchResult:
    """Read the sources of quotations again, and leave out what does not stand there."""
    # As passages, since some are laid out anew: a comment of code loses its signs, a row of a table
    # gets the names of its columns.
    texts = {
        document.name: "\n\n".join([passage.text for passage in passages_of(document)])
        for source in {finding.source for finding in result.findings}
        for document in read_documents(source, folder, lambda: None)
    }
    checked = [finding for finding in result.findings if finding.document in texts]
    if not checked:
        return result
    quotes = tuple(Quotation(text=each.quote, source=each.document) for each in checked)
    validation = validate(ValidationRequest(quotes=quotes, sources=texts))
    checks = zip(checked, validation.content.checks, strict=True)
    false = [finding for finding, check in checks if not check.passed]
    if not false:
        note = f"{len(checked)} of {len(result.findings)} quotations were looked up again."
        return result.model_copy(update={"notes": (*result.notes, note)})
    kept = tuple(finding for finding in result.findings if finding not in false)
    share = len(kept) / len(result.findings)
    note = f"{len(false)} quotations did not stand in their documents any more, and are left out."
    return result.model_copy(
        update={
            "findings": kept,
            "quality": result.quality * share,
            "quality_how": f"({result.quality_how}) × {share:.2f} of the quotations that stand",
            "sources": _shares(result.sources, {finding.document for finding in kept}),
            "notes": (*result.notes, note),
        }
    )


def _shares(sources: Sequence[tuple[str, float]], kept: set[str]) -> tuple[tuple[str, float], ...]:
    left = [(name, share) for name, share in sources if name in kept]
    total = sum(share for _, share in left)
    return tuple((name, min(1.0, share / total)) for name, share in left)


def chart_of(measures: Sequence[Measure]) -> list[str]:
    """Each number with an interval as a line: where the interval lies between the ends of all."""
    drawn = [(m, m.low, m.high) for m in measures if m.low is not None and m.high is not None]
    if not drawn:
        return []
    least, most = min(low for _, low, _ in drawn), max(high for _, _, high in drawn)
    width = (most - least) or 1.0

    def place(value: float) -> int:
        return round((_CHART - 1) * (value - least) / width)

    lines = []
    for measure, low, high in drawn:
        cells = ["·"] * _CHART
        cells[place(low) : place(high) + 1] = ["─"] * (place(high) - place(low) + 1)
        cells[min(_CHART - 1, max(0, place(measure.value)))] = "●"
        lines.append(f"{''.join(cells)} {measure.name}, from {least:.4g} to {most:.4g}")
    return lines


_CHART = 40
"""Characters that the line of a chart is long."""


# -- how agents have done, with the threads of a store -------------------------------------------


async def recall_performance(factory: AgentFactory, store: Store) -> None:
    """Let a factory know how agents have done in earlier runs of this store."""
    for name, past in (await PerformanceThread(store).load()).items():
        factory.performance[name] = past.then(factory.news.get(name, Performance()))


async def keep_performance(factory: AgentFactory, store: Store) -> None:
    """Keep how agents have done since the last time; later, if somebody else is at it now."""
    news = factory.take_news()
    try:
        await PerformanceThread(store).add(news)
    except ThreadBusy:
        factory.return_news(news)
