"""The findings of a brief's report, written up by a language model.

`open_writer` is what ``plait orchestrate --agents model --model ...`` uses; it is found by the
entry point ``model`` of the group ``plait.writers``.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from plait.agents import AgentError, AgentFactory, AgentResult, AgentTask, TaskRequirements
from plait.orchestration import BranchResult, Measure, Report
from plait_adapters.models.client import ModelClient
from plait_adapters.models.endpoint import Endpoint
from plait_adapters.models.local import LOCAL_URL, local_model
from plait_adapters.models.synthesis import FindingText, SynthesisTask, WrittenSynthesis
from plait_adapters.models.templates import SYNTHESIS, register

__all__ = ["Write", "WrittenReport", "open_writer", "task_of"]

MOST_FINDINGS = 8
"""The most findings that a model is given."""

MOST_CHARACTERS = 320
"""Of each finding, so many characters at most: a passage may fill a screen."""

_LOCAL_FINDINGS = 6
_LOCAL_AIMS: Mapping[str, Any] = {"max_tokens": 64, "length": 120, "simple": True}
"""A model of 98 MB can say a sentence in other words. On a busy machine it writes some ten tokens a
second."""

_LOCAL_SECONDS = 1800.0
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PROSE = 0.9
_FEWEST_WORDS = 5


class WrittenReport(BaseModel):
    """A synthesis of a report's findings, with what it took."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    synthesis: WrittenSynthesis | None = None
    """The text; none, if there was nothing to write about or the model could not be asked."""
    problem: str = ""
    """Why there is none."""
    quality: float = 0.0
    """0 to 1, by `how`."""
    how: str = ""
    """How the quality was computed."""
    tokens: int = 0
    """Tokens that were read and written."""
    cost: float | None = None
    """Dollars; nothing where the prices are not known."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain data."""
        return self.model_dump(mode="json")

    def to_markdown(self) -> str:
        """The text for a reader, and who wrote it."""
        if self.synthesis is None:
            return f"## Synthesis\n\n{self.problem}\n"
        written = self.synthesis
        parts = [
            "## Synthesis" if written.by_model else "## Synthesis, extracted",
            written.text,
            "\n".join(
                f"{number}. {finding.source}: {' '.join(finding.text.split())}"
                for number, finding in enumerate(written.findings, start=1)
            ),
            self._who(written),
        ]
        if written.failed_checks:
            if written.by_model:
                parts.append("Sentences of it that failed these checks are left out:")
            parts.append("\n".join(f"- {fault}" for fault in written.failed_checks))
            parts.append(f"What the model wrote:\n\n{_quoted(written.rejected)}")
        return "\n\n".join(parts) + "\n"

    def _who(self, written: WrittenSynthesis) -> str:
        paid = "" if self.cost is None else f", {self.cost:.4f} dollars"
        took = f"{self.tokens} tokens{paid}"
        judged = (
            f"Quality **{self.quality:.2f}** of 1: {self.how}. It says how far the words come from "
            "what is cited; not whether they are true, nor how well they read."
        )
        if written.by_model:
            return f"Written by {written.model} ({took}). {judged}"
        return (
            "These sentences are taken from the findings as they stand. What was written by "
            f"{written.model} ({took}) failed these checks, also when it was told so. {judged}"
        )


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])


Write = Callable[[Report], Awaitable[WrittenReport]]
"""Writes up a report."""


@asynccontextmanager
async def open_writer(model: str) -> AsyncIterator[Write]:
    """What writes reports with a model, for as long as the block runs.

    Args:
        model: ``local``, the path of a file in GGUF, or the address of an endpoint, whose name, key
            and prices the environment holds (`PLAIT_MODEL_NAME` and so on).

    Raises:
        ValueError: the address makes no sense.
        LocalModelError: the model on this machine cannot be served.
        ModelError: the endpoint does not answer, or serves several models, and none is named.
    """
    local = model == LOCAL_URL or model.endswith(".gguf")
    async with AsyncExitStack() as stack:
        if local:
            weights = None if model == LOCAL_URL else Path(model)
            endpoint = await stack.enter_async_context(local_model(weights))
        else:
            endpoint = Endpoint.from_environment(model, os.environ)
        client = await stack.enter_async_context(ModelClient(endpoint))
        await client.model()
        factory = AgentFactory()
        register(factory)

        async def write(report: Report) -> WrittenReport:
            task = task_of(report, _LOCAL_FINDINGS, leads=True) if local else task_of(report)
            if task is None:
                return WrittenReport(problem="Nothing was found that could be written about.")
            asked = TaskRequirements(
                type=SYNTHESIS,
                capabilities=frozenset({"synthesis"}),
                specialization=_LOCAL_AIMS if local else {},
                timeout_seconds=_LOCAL_SECONDS if local else None,
            )
            try:
                async with await factory.generate_agent_for_task(asked, client) as agent:
                    result = await agent.run(
                        AgentTask(id="synthesis", requirements=asked, payload=task)
                    )
            except AgentError as error:
                return WrittenReport(problem=f"The model could not be asked: {error}.")
            return _written(result, client)

        yield write


def _written(result: AgentResult, client: ModelClient) -> WrittenReport:
    return WrittenReport(
        synthesis=result.content,
        quality=result.quality,
        how=result.how,
        tokens=result.tokens,
        cost=None if client.endpoint.prices is None else result.cost,
        notes=result.notes,
    )


def task_of(
    report: Report,
    most: int = MOST_FINDINGS,
    characters: int = MOST_CHARACTERS,
    *,
    leads: bool = False,
) -> SynthesisTask | None:
    """What a report's findings are, for a model: the first of each task, the heaviest task first,
    then the second of each, and so on. Nothing if it has none.

    Args:
        report: what was found.
        most: how many findings at most.
        characters: how many characters of each; longer ones are cut at a word.
        leads: whether only the first sentence of each is given, and only where that is prose.
    """
    results = {result.task: result for result in report.results}
    weight = [part.task for part in report.merged.contributions if part.task in results]
    rows = zip_longest(*(tuple(_findings_of(results[task])) for task in weight))
    found: list[FindingText] = [each for row in rows for each in row if each is not None]
    if leads:
        found = [each for each in map(_lead, found) if each is not None]
    distinct = {finding.text: finding for finding in reversed(found)}
    chosen = [finding for finding in found if distinct.get(finding.text) is finding][:most]
    if not chosen:
        return None
    cut = [each.model_copy(update={"text": _cut(each.text, characters)}) for each in chosen]
    return SynthesisTask(title=report.title, findings=tuple(cut))


def _lead(finding: FindingText) -> FindingText | None:
    """The first sentence of a finding, if it is prose: at least five words, nine tenths letters."""
    first = _SENTENCE_END.split(finding.text)[0]
    plain = sum(letter.isalpha() or letter.isspace() for letter in first)
    if len(first.split()) < _FEWEST_WORDS or plain < _PROSE * len(first):
        return None
    return finding.model_copy(update={"text": first})


def _findings_of(result: BranchResult) -> Iterator[FindingText]:
    for finding in result.findings:
        text = " ".join(finding.quote.split())
        yield FindingText(text=text, source=f"{finding.document}, {finding.place}")
    for measure in result.measures:
        yield FindingText(text=_sentence(measure), source=f"{result.task}, {measure.n} rows")


def _sentence(measure: Measure) -> str:
    between = ""
    if measure.low is not None and measure.high is not None:
        between = f" (95% interval {measure.low:.4g} to {measure.high:.4g})"
    return f"The {measure.name} is {measure.value:.4g}{between}."


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return text[:characters].rsplit(" ", 1)[0] + " …"
