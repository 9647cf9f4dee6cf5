"""The section of the README that says what Plait costs, written from the results."""

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
    """Write the section between its two markers anew, and the plots that it shows.

    Args:
        page: the Markdown file.
        results: what was measured.
        folder: where the plots go.

    Raises:
        ValueError: the page does not have the two markers, each once and in their order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{page} needs the lines {BEGIN!r} and {END!r}, each once")
    drawn = plots.draw(results.timed, results.contenders, folder)
    shown = section(results, [os.path.relpath(path, page.parent) for path in drawn])
    page.write_text(f"{before}{begin}\n\n{shown}\n{end}{after}", encoding="utf-8")


def section(results: Results, drawn: Sequence[str]) -> str:
    """The section in Markdown; ``drawn`` are the plots, as seen from the page."""
    columns: list[Named] = [each for each in results.contenders if each.name in _SHOWN]
    columns.sort(key=lambda each: _SHOWN.index(each.name))
    size = " QUICK=1" if results.quick else ""
    took = sum(results.took.values())
    text = [
        f"Measured by `make bench{size}`{_duration(took)}, on this machine:",
        "\n".join(
            f"> {line}"
            for line in report.machine_text(results.machine, results.settings.repeats).splitlines()
        ),
    ]
    if results.timed:
        text += [_EACH, _headless(report.summary_table(results.timed, columns))]
    text += [f"![{_caption(path)}]({path})" for path in drawn]
    if growth := report.growth_table(results.timed):
        text += ["How it grows, as the exponent of n (`make bench ONLY=W2,W9`):", _headless(growth)]
    if results.crowds:
        text += [
            "The peak of memory of one wide fork (`make bench ONLY=W9`):",
            _headless(report.crowd_table(results.crowds)),
        ]
    if results.durable:
        tables = report.durable_tables(results.durable).split("### ")[1:]
        text += [_DURABLE, *map(_headless, tables)]
    if results.moved:
        text += [
            "LangGraph's programs with nothing but their imports changed (`make bench ONLY=W11`):",
            _headless(moved.table(results.moved)),
        ]
    if results.footprints:
        text += [
            "What is imported and installed (`make bench ONLY=W8`):",
            _headless(report.footprint_table(results.footprints)),
        ]
    if reached := goals.table(results):
        text += ["What the figures are to be, and are:", _headless(reached)]
    return "\n\n".join(each.strip() for each in text) + "\n"


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
