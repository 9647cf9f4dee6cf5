"""What the figures are to be, and what they are. It is a table to read: no goal fails a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .durable import JOBS, Durability
from .footprint import FLOOR, Footprint
from .measure import median
from .report import markdown
from .results import Results

_PLAIT = "Plait"


@dataclass(frozen=True, slots=True)
class Figure:
    """What was reached."""

    value: float
    once: bool = False
    """Whether one of the two that are compared has one run only."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure of one workload, and the limit that it is to keep."""

    workload: str
    """By which ``make bench ONLY=...`` gives the figure."""
    text: str
    """What is compared."""
    limit: float
    side: Literal["at most", "at least", "exactly"]
    reached: Callable[[Results], Figure | None]
    """The figure; ``None`` where the results do not have it."""
    unit: str = "×"

    def met(self, value: float) -> bool:
        """Whether a figure keeps the limit, as it is shown: to two decimals."""
        shown = round(value, 2)
        if self.side == "exactly":
            return shown == self.limit
        return shown <= self.limit if self.side == "at most" else shown >= self.limit


def _ratio(key: str, of: str, to: str) -> Callable[[Results], Figure | None]:
    """CPU time of one contender over that of another, in one case."""

    def reached(results: Results) -> Figure | None:
        value = results.ratio(key, of, to)
        return None if value is None else Figure(value, results.once(key, of, to))

    return reached


def _dearer(key: str, floor: str) -> Callable[[Results], Figure | None]:
    """CPU time of Plait over that of a floor."""
    return _ratio(key, _PLAIT, floor)


def _faster(key: str, peer: str) -> Callable[[Results], Figure | None]:
    """CPU time of a peer over that of Plait."""
    return _ratio(key, peer, _PLAIT)


def _grown(large: str, small: str) -> Callable[[Results], Figure | None]:
    """CPU time of Plait for a unit of one case over that of another, repeat by repeat."""

    def reached(results: Results) -> Figure | None:
        upper, lower = (results.series(key, _PLAIT) for key in (large, small))
        if upper is None or lower is None:
            return None
        once = upper.once or lower.once
        if once or len(upper.cpu) != len(lower.cpu):
            return Figure(median(upper.cpu) / median(lower.cpu), once)
        return Figure(median([a / b for a, b in zip(upper.cpu, lower.cpu, strict=True)]))

    return reached


def _makespan(results: Results) -> Figure | None:
    result = next((each for each in results.timed if each.case.workload == "W5"), None)
    mine = None if result is None else result.series.get(_PLAIT)
    if result is None or mine is None or not result.case.ideal or not mine.wall:
        return None
    return Figure(median(mine.wall) / result.case.ideal)


def _memory_of_a_run(results: Results) -> Figure | None:
    result = results.case("runs-1000x10")
    mine = None if result is None else result.series.get(_PLAIT)
    peak = None if mine is None else mine.peak
    return None if peak is None else Figure(peak / 1024)


def _milliseconds_to_build(results: Results) -> Figure | None:
    seconds = results.cpu("build-1000", _PLAIT)
    return None if seconds is None else Figure(seconds * 1_000 * 1e3)


def _durable(results: Results, name: str) -> Durability | None:
    found = (each for each in results.durable if each.system == "PostgreSQL")
    return next((each for each in found if each.contender == name and each.reason is None), None)


def _durable_cpu(job: str, of: str, to: str) -> Callable[[Results], Figure | None]:
    """CPU time of one contender over another's, both in PostgreSQL."""

    def reached(results: Results) -> Figure | None:
        upper, lower = _durable(results, of), _durable(results, to)
        if upper is None or lower is None:
            return None
        return Figure(upper.ratio(lower, job), job in upper.once or job in lower.once)

    return reached


def _commits_of_a_step(name: str) -> Callable[[Results], Figure | None]:
    """Of a chain, beyond the three that begin and end any run."""

    def reached(results: Results) -> Figure | None:
        found = _durable(results, name)
        if found is None:
            return None
        return Figure((median(found.commits["chain"]) - 3) / JOBS[0].completions)

    return reached


def _stored(results: Results) -> Figure | None:
    """Bytes on the disk over those of rows that hold the same and nothing else."""
    mine, bare = _durable(results, "Plait, sync"), _durable(results, "bare asyncpg")
    if mine is None or bare is None:
        return None
    steps = max(mine.stored)
    return Figure(mine.stored[steps] / bare.stored[steps])


def _stored_growth(results: Results) -> Figure | None:
    mine = _durable(results, "Plait, sync")
    if mine is None or max(mine.stored) < 400:
        return None
    few, many = min(mine.stored), max(mine.stored)
    return Figure((mine.stored[many] / many) / (mine.stored[few] / few))


def _footprint(results: Results, name: str) -> Footprint | None:
    return next((each for each in results.footprints if each.contender == name), None)


def _import(to: str) -> Callable[[Results], Figure | None]:
    def reached(results: Results) -> Figure | None:
        mine, other = _footprint(results, _PLAIT), _footprint(results, to)
        if mine is None or other is None:
            return None
        return Figure(median([a / b for a, b in zip(mine.seconds, other.seconds, strict=True)]))

    return reached


def _packages(results: Results) -> Figure | None:
    mine = _footprint(results, _PLAIT)
    return None if mine is None or mine.packages is None else Figure(mine.packages)


GOALS: tuple[Goal, ...] = (
    Goal("W1", "chain ÷ bare BSP", 0.6, "at most", _dearer("chain-100", "bare BSP")),
    Goal("W1", "loop ÷ bare BSP", 0.6, "at most", _dearer("loop-1000", "bare BSP")),
    Goal("W1", "LangGraph ÷ chain", 40, "at least", _faster("chain-100", "LangGraph")),
    Goal("W1", "LangGraph ÷ loop", 40, "at least", _faster("loop-1000", "LangGraph")),
    Goal("W1", "Burr ÷ chain", 5, "at least", _faster("chain-100", "Burr")),
    Goal("W1", "Burr ÷ loop", 5, "at least", _faster("loop-1000", "Burr")),
    Goal(
        "W2",
        "1,000 branches, 100 at a time ÷ bare asyncio",
        1.5,
        "at most",
        _dearer("fork-limit-1000", "bare asyncio"),
    ),
    Goal(
        "W2", "1,000 branches ÷ bare asyncio", 2.5, "at most", _dearer("fork-1000", "bare asyncio")
    ),
    Goal("W2", "a branch of 10,000 ÷ one of 100", 1.3, "at most", _grown("fork-10000", "fork-100")),
    Goal("W2", "LangGraph ÷ 1,000 branches", 30, "at least", _faster("fork-1000", "LangGraph")),
    Goal("W2", "LangGraph ÷ 10,000 branches", 60, "at least", _faster("fork-10000", "LangGraph")),
    Goal(
        "W2",
        "1,000 branches that wait at once ÷ bare anyio",
        1.3,
        "at most",
        _dearer("fork-wait-1000", "bare anyio"),
    ),
    Goal(
        "W3", "50 branches of 5 ÷ bare asyncio", 4, "at most", _dearer("lines-50x5", "bare asyncio")
    ),
    Goal("W3", "LangGraph ÷ 50 branches of 5", 25, "at least", _faster("lines-50x5", "LangGraph")),
    Goal(
        "W4",
        "a step with 100,000 elements ÷ one with none",
        1.1,
        "at most",
        _grown("state-100000", "state-0"),
    ),
    Goal("W5", "makespan ÷ ideal", 1.05, "at most", _makespan),
    Goal("W6", "commits for a step, sync", 1, "exactly", _commits_of_a_step("Plait, sync"), ""),
    Goal(
        "W6",
        "CPU of a chain, sync ÷ bare asyncpg",
        1.5,
        "at most",
        _durable_cpu("chain", "Plait, sync", "bare asyncpg"),
    ),
    Goal("W6", "commits for a step, async", 0.2, "at most", _commits_of_a_step("Plait, async"), ""),
    Goal(
        "W6",
        "CPU of a chain, async ÷ bare asyncpg",
        0.2,
        "at most",
        _durable_cpu("chain", "Plait, async", "bare asyncpg"),
    ),
    Goal(
        "W6",
        "CPU of 200 runs at once, sync ÷ group commit",
        4,
        "at most",
        _durable_cpu("runs", "Plait, sync", "bare asyncpg, group commit"),
    ),
    Goal(
        "W6",
        "LangGraph ÷ 200 runs at once, sync",
        25,
        "at least",
        _durable_cpu("runs", "LangGraph, sync", "Plait, sync"),
    ),
    Goal("W6", "stored bytes ÷ bare rows", 2, "at most", _stored),
    Goal("W6", "bytes of a step, of 400 ÷ of 25", 1.1, "at most", _stored_growth),
    Goal("W7", "1,000 runs ÷ bare asyncio", 8, "at most", _dearer("runs-1000x10", "bare asyncio")),
    Goal("W7", "LangGraph ÷ 1,000 runs", 22, "at least", _faster("runs-1000x10", "LangGraph")),
    Goal("W7", "memory of a run at its peak", 6, "at most", _memory_of_a_run, "KiB"),
    Goal("W8", f"import ÷ {FLOOR}", 1.3, "at most", _import(FLOOR)),
    Goal("W8", "import ÷ LangGraph", 0.2, "at most", _import("LangGraph")),
    Goal("W8", "packages", 12, "at most", _packages, ""),
    Goal("W10", "building 1,000 nodes", 10, "at most", _milliseconds_to_build, "ms"),
    Goal(
        "W10",
        "a node of 1,000 that are built ÷ one of 100",
        1.1,
        "at most",
        _grown("build-1000", "build-100"),
    ),
    Goal(
        "W10",
        "a step in a graph of 3,000 nodes ÷ one of 30",
        1.1,
        "at most",
        _grown("step-3000", "step-30"),
    ),
)


def _shown(value: float) -> str:
    return (
        str(value) if isinstance(value, int) else f"{value:.2f}" if value < 100 else f"{value:.0f}"
    )


def _unit(goal: Goal) -> str:
    return f" {goal.unit}" if goal.unit not in ("", "×") else goal.unit


def table(results: Results, goals: Sequence[Goal] = GOALS) -> str:
    """The goals of the workloads that were measured, as a Markdown table; empty if there is none.

    A goal of which these sizes and contenders give no figure is in it, without one.
    """
    rows = []
    for goal in goals:
        figure = goal.reached(results)
        if figure is None and goal.workload not in results.took:
            continue
        rows.append(
            [
                f"{goal.workload}: {goal.text}",
                f"{goal.side} {goal.limit:g}{_unit(goal)}",
                "" if figure is None else _reached(goal, figure),
                "" if figure is None else "yes" if goal.met(figure.value) else "**no**",
                f"`make bench ONLY={goal.workload}`",
            ]
        )
    if not rows:
        return ""
    met, missed, blank = (sum(row[3] == sign for row in rows) for sign in ("yes", "**no**", ""))
    counts = f"{met} met, {missed} missed"
    counts += f", {blank} without a figure in this run" if blank else ""
    heads = ["CPU time, unless it says otherwise", "goal", "reached", "met", "by"]
    return f"### Goals\n\n{markdown(heads, rows)}\n\n{counts}.\n"


def _reached(goal: Goal, figure: Figure) -> str:
    return f"{_shown(figure.value)}{_unit(goal)}{', one run' if figure.once else ''}"
