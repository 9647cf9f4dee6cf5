"""Specialists for tests: quick, slow, failing, hanging, overloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from plait.orchestration import (
    BranchResult,
    Brief,
    Carried,
    Finding,
    Machine,
    Measure,
    ParallelOrchestrator,
    Settings,
    Specialist,
    Work,
    parse_brief,
)

IDLE = Machine(cores=8, cpu_availability=0.9, memory=2**33, how="said so")

HERE = Path(__file__).parent


def answer(work: Work, quality: float = 0.9, seconds: float = 0.0) -> BranchResult:
    """A result for a task, as good as is said."""
    task = work.task
    facts: dict[str, Any] = {}
    if task.type == "research":
        found = Finding(
            quote=f"About {task.id}.", source="*.md", document=task.id, place="line 1", score=1.0
        )
        facts["findings"] = (found,)
    else:
        facts["measures"] = (Measure(name=task.id, value=1.0, n=10, how="said so"),)
    return BranchResult(
        task=task.id,
        type=task.type,
        heading=task.heading,
        quality=quality,
        quality_how="said so",
        seconds=seconds,
        read="nothing",
        sources=((task.id, 1.0),),
        **facts,
    )


class Answers:
    """A specialist that answers after a time, and remembers what it was asked.

    Args:
        seconds: how long it takes.
        quality: how good its results are; or how good by the number of the round.
        failing: what it raises, by task; once for each time that it is named in a list.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        quality: float | Mapping[int, float] = 0.9,
        failing: Mapping[str, list[Exception] | Exception] | None = None,
    ) -> None:
        self.seconds = seconds
        self.quality = quality
        self.failing = dict(failing or {})
        self.asked: list[Work] = []
        self.at_work = 0
        self.peak = 0
        self.peaks: Counter[str] = Counter()

    async def __call__(self, work: Work) -> BranchResult:
        self.asked.append(work)
        self.at_work += 1
        self.peak = max(self.peak, self.at_work)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.at_work -= 1
        error = self.failing.get(work.task.id)
        if isinstance(error, list):
            error = error.pop(0) if error else None
        if error is not None:
            raise error
        quality = self.quality
        if isinstance(quality, Mapping):
            quality = quality.get(work.round, 0.9)
        return answer(work, quality, self.seconds)

    @property
    def tasks(self) -> list[str]:
        """The tasks that it was asked to do, in order."""
        return [work.task.id for work in self.asked]


async def hangs(work: Work) -> BranchResult:
    """Never comes to an end by itself."""
    await anyio.sleep_forever()
    raise AssertionError("nobody wakes it")


def brief(text: str) -> Brief:
    """A brief without a title of its own."""
    return parse_brief(f'title = "T"\n{text}')


def task(name: str, *more: str, type: str = "research") -> str:  # noqa: A002 - the brief's word
    """The table of a task."""
    lines = [f'id = "{name}"', f'type = "{type}"', *more]
    if type == "research":
        lines.append('question = "How do tasks wait?"')
        lines.append('sources = ["*.py"]')
    else:
        lines.append('analysis_type = "trend"')
        lines.append('sources = ["*.csv"]')
    return "\n[[tasks]]\n" + "\n".join(lines) + "\n"


def everybody(specialist: Specialist) -> dict[str, Specialist]:
    """One specialist for all branches."""
    branches = ("technical", "market", "competitive", "primary", "secondary")
    return dict.fromkeys(branches, specialist)


async def carry_out(
    what: Brief,
    specialists: Mapping[str, Specialist] | Specialist,
    settings: Settings | None = None,
    **more: Any,
) -> Carried:
    """Carry out a brief on an idle machine."""
    if not isinstance(specialists, Mapping):
        specialists = everybody(specialists)
    more.setdefault("measure", lambda: IDLE)
    orchestrator = ParallelOrchestrator(settings, specialists=specialists, **more)
    return await orchestrator.run(what, HERE, thread_id="t")
