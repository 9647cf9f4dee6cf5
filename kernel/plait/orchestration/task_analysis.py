"""Task analysis: how complex a brief is, how much its tasks hang together, and so which mode.

Pure: it is told what the sources weigh and what the machine has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.branches import branch_for
from plait.orchestration.brief import Task
from plait.orchestration.resources import Machine
from plait.orchestration.results import Share
from plait.orchestration.settings import Mode, Settings

__all__ = ["ModeDecision", "Score", "complexity_of", "decide_mode", "interdependency_of"]

DECLARED_PART = 0.5
SIZE_PART = 0.3
KINDS_PART = 0.2


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Score(_Record):
    """A number from 0 to 1, and where it is from."""

    value: Share
    """The number."""
    how: str
    """Its formula, with its numbers."""


class ModeDecision(_Record):
    """How a brief is carried out, and why."""

    mode: Mode
    """The mode."""
    width: Annotated[int, Field(ge=1)]
    """How many branches may work at once, to begin with."""
    most: Annotated[int, Field(ge=1)]
    """The most that this may become."""
    why: str
    """The reason, with the numbers that it hangs on."""
    complexity: Score
    """How much work there is, and how many kinds of it."""
    interdependency: Score
    """How much the tasks hang together."""
    machine: Machine
    """What the machine had."""
    machine_limit: Annotated[int, Field(ge=1)]
    """How many branches it carries at once."""
    free_places: dict[str, int]
    """The free places of each pool."""


def complexity_of(tasks: Sequence[Task], sizes: Mapping[str, int], settings: Settings) -> Score:
    """How much work there is: 0.5 × declared + 0.3 × size + 0.2 × variety.

    *Declared* is the mean of the complexities that the brief declares. *Size* is b / (b + large)
    for b bytes of sources. *Variety* is the number of kinds of work (a branch of research, a kind
    of analysis) over `kinds`, at most 1.
    """
    if not tasks:
        return Score(value=0.0, how="0: there is no task")
    declared = sum(task.complexity for task in tasks) / len(tasks)
    read = sum(sizes.get(task.id, 0) for task in tasks)
    size = read / (read + settings.large)
    kinds = {task.analysis_type or branch_for(task)[0] for task in tasks}
    variety = min(1.0, len(kinds) / settings.kinds)
    value = DECLARED_PART * declared + SIZE_PART * size + KINDS_PART * variety
    return Score(
        value=min(1.0, value),
        how=f"{DECLARED_PART} × declared + {SIZE_PART} × size + {KINDS_PART} × variety: "
        f"declared {declared:.2f} on average, {read:,} bytes of sources "
        f"({size:.2f} of b / (b + {settings.large:,})), {len(kinds)} kinds of work "
        f"({', '.join(sorted(kinds))}; {variety:.2f} of {settings.kinds})",
    )


def interdependency_of(tasks: Sequence[Task]) -> Score:
    """How much tasks hang together: the greater of density and chain.

    *Density* is the number of dependencies over that of possible ones, n (n - 1) / 2. *Chain* is
    the longest chain of dependencies, in steps, over the number of tasks: a long chain leaves
    nothing to do side by side, however few dependencies make it.
    """
    count = len(tasks)
    edges = sum(len(set(task.depends_on)) for task in tasks)
    possible = count * (count - 1) // 2
    density = edges / possible if possible else 0.0
    steps = longest_chain(tasks)
    chain = steps / count if count else 0.0
    return Score(
        value=min(1.0, max(density, chain)),
        how=f"max(density, chain): {edges} of {possible} possible dependencies "
        f"(density {density:.2f}), a longest chain of {steps} steps over {count} tasks "
        f"(chain {chain:.2f})",
    )


def longest_chain(tasks: Sequence[Task]) -> int:
    """The steps of the longest chain of dependencies, which have no cycle."""
    needs = {task.id: task.depends_on for task in tasks}
    depth: dict[str, int] = {}
    for start in needs:
        way = [start]
        while way:
            task = way[-1]
            unknown = [other for other in needs[task] if other in needs and other not in depth]
            if unknown:
                way += unknown
                continue
            before = [depth[other] for other in needs[task] if other in needs]
            depth[task] = 1 + max(before) if before else 0
            way.pop()
    return max(depth.values(), default=0)


def decide_mode(
    complexity: Score,
    interdependency: Score,
    machine: Machine,
    free_places: Mapping[str, int],
    settings: Settings,
) -> ModeDecision:
    """Which mode, and how many branches at once, from what is known before the work begins.

    `parallel` if the complexity and the CPU availability are above their thresholds; else
    `sequential` if the interdependency is above its own; else `adaptive`. Where the CPU
    availability cannot be measured, it is not `parallel`.
    """
    limit = settings.machine_limit or machine.limit(settings.memory_per_branch)
    most = max(1, min(limit, sum(free_places.values())))
    available = machine.cpu_availability
    shown = "not known" if available is None else f"{available:.2f}"
    facts = (
        f"complexity {complexity.value:.2f} (threshold {settings.parallel_above_complexity:g}), "
        f"CPU availability {shown} (threshold {settings.parallel_above_cpu:g}), "
        f"interdependency {interdependency.value:.2f} "
        f"(threshold {settings.sequential_above_interdependency:g})"
    )
    mode: Mode
    if settings.mode is not None:
        mode, reason = settings.mode, "it was asked for"
    elif (
        complexity.value > settings.parallel_above_complexity
        and available is not None
        and available > settings.parallel_above_cpu
    ):
        mode, reason = "parallel", "complexity and CPU availability are above their thresholds"
    elif interdependency.value > settings.sequential_above_interdependency:
        mode, reason = "sequential", "the interdependency is above its threshold"
    else:
        mode, reason = "adaptive", "neither the thresholds of parallel nor of sequential are passed"
    width = {
        "parallel": min(settings.parallel_branches, most),
        "sequential": 1,
        "adaptive": min(settings.adaptive_branches, most),
    }[mode]
    return ModeDecision(
        mode=mode,
        width=width,
        most=most if mode == "adaptive" else width,
        why=f"{reason}: {facts}",
        complexity=complexity,
        interdependency=interdependency,
        machine=machine,
        machine_limit=limit,
        free_places=dict(free_places),
    )
