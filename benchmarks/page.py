"""What Plait costs, written from the results: a section of the README, and a page of all tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from . import goals, moved, plots, report
from .contenders.base import Named
from .results import Results

BEGIN = "<!-- benchmarks: begin; written by python -m benchmarks --into -->"
END = "<!-- benchmarks: end -->"

_SHOWN = (
    "Plait",
    "bare asyncio",
    "bare BSP",
    "bare anyio",
    "LangGraph",
    "pydantic-graph",
    "Burr",
    "Agent Framework",
    "LlamaIndex Workflows",
)
"""The columns; of the rest there is no room."""

_EACH = (
    "What one unit of each workload takes, in microseconds of CPU time (`make bench ONLY=W1` and "
    "so on gives one workload with its quartiles, its memory, and why a place is blank):"
)
_DURABLE = (
    "Runs that survive their process: completed nodes a second, what a node costs, and what is "
    "stored (`make bench ONLY=W6`):"
)


def write_into(page: Path, results: Results, folder: Path) -> None:
    """Write the section between its two markers anew, the plots that it shows, and all tables.

    Args:
        page: the Markdown file.
        results: what was measured.
        folder: where the plots go, and ``tables.md``.

    Raises:
        ValueError: the page does not have the two markers, each once and in their order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{page} needs the lines {BEGIN!r} and {END!r}, each once")
    drawn = plots.draw(results.timed, results.contenders, folder)
    tables = folder / "tables.md"
    tables.write_text(f"# All tables\n\n{everything(results)}", encoding="utf-8")
    shown = section(results, [_seen_from(page, path) for path in drawn], _seen_from(page, tables))
    page.write_text(f"{before}{begin}\n\n{shown}\n{end}{after}", encoding="utf-8")


def section(results: Results, drawn: Sequence[str], tables: str) -> str:
    """The section in Markdown: what a unit of each workload takes, how that grows, and the goals.

    Args:
        results: what was measured.
        drawn: the plots, as seen from the page.
        tables: the page of all tables, as seen from the page.
    """
    text = _measured(results)
    if results.timed:
        text += [_EACH, _headless(report.summary_table(results.timed, _columns(results)))]
    text += [f"![{_caption(path)}]({path})" for path in drawn]
    text += [*_growth(results), *_moved(results)]
    text.append(
        f"[All tables]({tables}): the same with wall clock, quartiles, memory and ratios to the "
        "floors, and what is durable, installed, imported and forked widely."
    )
    return _joined([*text, *_goals(results)])


def everything(results: Results) -> str:
    """All tables in Markdown."""
    text = _measured(results)
    text += [report.table(each, results.contenders) for each in results.timed]
    text += _growth(results)
    if results.crowds:
        text += [
            "The peak of memory of one wide fork (`make bench ONLY=W9`):",
            _headless(report.crowd_table(results.crowds)),
        ]
    if results.durable:
        tables = report.durable_tables(results.durable).split("### ")[1:]
        text += [_DURABLE, *map(_headless, tables)]
    text += _moved(results)
    if results.footprints:
        text += [
            "What is imported and installed (`make bench ONLY=W8`):",
            _headless(report.footprint_table(results.footprints)),
        ]
    return _joined([*text, *_goals(results)])


def _measured(results: Results) -> list[str]:
    size = " QUICK=1" if results.quick else ""
    machine = report.machine_text(results.machine, results.settings.repeats)
    return [
        f"Measured by `make bench{size}`{_duration(sum(results.took.values()))}, on this machine:",
        "\n".join(f"> {line}" for line in machine.splitlines()),
    ]


def _columns(results: Results) -> list[Named]:
    columns: list[Named] = [each for each in results.contenders if each.name in _SHOWN]
    return sorted(columns, key=lambda each: _SHOWN.index(each.name))


def _growth(results: Results) -> list[str]:
    table = report.growth_table(results.timed)
    said = "How it grows, as the exponent of n (`make bench ONLY=W2,W9`):"
    return [said, _headless(table)] if table else []


def _moved(results: Results) -> list[str]:
    said = "LangGraph's programs with nothing but their imports changed (`make bench ONLY=W11`):"
    return [said, _headless(moved.table(results.moved))] if results.moved else []


def _goals(results: Results) -> list[str]:
    table = goals.table(results)
    return ["What the figures are to be, and are:", _headless(table)] if table else []


def _joined(text: Sequence[str]) -> str:
    return "\n\n".join(each.strip() for each in text) + "\n"


def _seen_from(page: Path, path: Path) -> str:
    return os.path.relpath(path, page.parent)


def _duration(seconds: float) -> str:
    if not seconds:
        return ""
    return f", in {seconds:.0f} s" if seconds < 120 else f", in {seconds / 60:.0f} minutes"


def _headless(table: str) -> str:
    """A table without the heading that it has on a terminal."""
    return table.partition("\n\n")[2]


def _caption(path: str) -> str:
    return {
        "fork.svg": "CPU time of a fork over the number of its branches, log-log",
        "journal.svg": "CPU time of a run with history over the number of its turns, log-log",
        "ratios.svg": "CPU time of each contender as a multiple of Plait's",
    }[Path(path).name]
