"""The results as SVG, written by hand: log-log growth and bars of ratios.

The pictures have no background, and take the colours of ink, rules and contenders from the page's
colour scheme, so that they read on light pages and on dark ones.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contenders.base import Named
from .measure import Result, median
from .report import series_over_size

_COLOURS = (
    ("#00795c", "#3fd6ac"),
    ("#6aa84f", "#a5d68c"),
    ("#9aa0a6", "#767c82"),
    ("#6f757b", "#9da3a9"),
    ("#3c4043", "#d2d5d9"),
    ("#b3261e", "#ff8a80"),
    ("#c2185b", "#f48fb1"),
    ("#e37400", "#ffb74d"),
    ("#1967d2", "#8ab4f8"),
    ("#7b1fa2", "#ce93d8"),
    ("#795548", "#c8a99c"),
    ("#00838f", "#80deea"),
)
"""For each contender, in their order: its colour on a light page, and on a dark one."""
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 420, 70, 60, 180, 60
_BAR, _LABEL, _HEAD = 14, 150, 74


def draw(results: Sequence[Result], contenders: Sequence[Named], folder: Path) -> list[Path]:
    """Write the plots for which there are results; return their paths."""
    classes = {each.name: f"c{k % len(_COLOURS)}" for k, each in enumerate(contenders)}
    floors = {each.name for each in contenders if each.kind == "floor"}
    drawn = {}
    for prefix, title, across in (
        ("fork", "A fork of n branches", "branches"),
        ("journal", "A run of n turns whose history is kept", "turns"),
    ):
        points = series_over_size(results, prefix, "cpu")
        if any(len(line) > 1 for line in points.values()):
            drawn[f"{prefix}.svg"] = _lines(
                points, classes, floors, f"{title}: CPU time of a run", across
            )
    bars = _ratios(results, contenders)
    if bars:
        drawn["ratios.svg"] = _bars(bars, classes)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, svg in drawn.items():
        paths.append(folder / name)
        paths[-1].write_text(svg, encoding="utf-8")
    return paths


def _ratios(
    results: Sequence[Result], contenders: Sequence[Named]
) -> dict[str, list[tuple[str, float]]]:
    """By case, (contender, ratio) of everyone but Plait itself; of a series, its largest size."""
    last = {_series(result): result for result in results}
    found = {}
    for result in last.values():
        plait = result.series.get("Plait")
        if plait is None or not plait.cpu or result.case.ideal is not None:
            continue
        bars = [
            (each.name, median(result.ratios(each.name, "Plait")))
            for each in contenders
            if each.kind != "plait" and result.series[each.name].cpu
        ]
        if bars:
            found[f"{result.case.workload} {result.case.title}"] = bars
    return found


def _series(result: Result) -> tuple[str, str]:
    """What the sizes of one series have in common: the name of the case without its number."""
    return result.case.workload, result.case.key.rpartition("-")[0]


def _lines(
    series: Mapping[str, Sequence[tuple[int, float]]],
    classes: Mapping[str, str],
    floors: set[str],
    title: str,
    across: str,
) -> str:
    xs = [math.log10(x) for line in series.values() for x, _ in line]
    ys = [math.log10(y) for line in series.values() for _, y in line]
    x_low, x_high, y_low, y_high = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys))
    x_span, y_span = max(x_high - x_low, 1e-9), max(y_high - y_low, 1)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - x_low) / x_span * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - (y - y_low) / y_span * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_text(14, 28, title, "ink bold")]
    for power in range(y_low, y_high + 1):
        x, y = place(x_low, power)
        parts.append(_rule(x, y, _WIDTH - _RIGHT, y))
        parts.append(_text(x - 8, y + 4, _seconds(power), "soft end"))
    for power in range(math.ceil(x_low), math.floor(x_high) + 1):
        x, y = place(power, y_low)
        parts.append(_rule(x, y, x, _TOP))
        parts.append(_text(x, y + 20, f"{10**power:,}", "soft middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 16, across, "soft middle"))
    ends = []
    for name, line in series.items():
        placed = [place(math.log10(x), math.log10(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        dashes = ' stroke-dasharray="5 4"' if name in floors else ""
        parts.append(f'<polyline class="{classes[name]} line" points="{path}"{dashes}/>')
        parts += [
            f'<circle class="{classes[name]}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            for x, y in placed
        ]
        x, y = placed[-1]
        if len(placed) > 1 and x > _WIDTH - _RIGHT - 1:
            ends.append((x, y, name))
        else:
            parts.append(_text(x + 10, y + 4, name, f"{classes[name]} label"))
    ends.sort(key=lambda end: end[1])
    right = _WIDTH - _RIGHT + 22
    for (x, y, name), label in zip(ends, _apart([y for _, y, _ in ends]), strict=True):
        parts.append(
            f'<polyline class="{classes[name]} thin" points="{x + 6:.1f},{y:.1f} '
            f'{right - 4},{label:.1f}"/>'
        )
        parts.append(_text(right, label + 4, name, f"{classes[name]} label"))
    return _svg(_WIDTH, _HEIGHT, title, classes, parts)


def _apart(ends: Sequence[float], least: float = 16) -> list[float]:
    """Heights for labels that do not overlap, as near as may be to where their lines end."""
    heights: list[float] = []
    for y in ends:
        heights.append(max(y, heights[-1] + least) if heights else y)
    lowest = _HEIGHT - _BOTTOM + 10.0
    for k in range(len(heights) - 1, -1, -1):
        heights[k] = min(heights[k], lowest)
        lowest = heights[k] - least
    return heights


def _seconds(power: int) -> str:
    """A power of ten in seconds, as it is said: 10 ms."""
    for unit, size in (("s", 0), ("ms", -3), ("µs", -6)):
        if power >= size:
            return f"{10 ** (power - size):,} {unit}"
    return f"{10.0 ** (power + 9):g} ns"


def _bars(cases: Mapping[str, Sequence[tuple[str, float]]], classes: Mapping[str, str]) -> str:
    ratios = [ratio for bars in cases.values() for _, ratio in bars]
    most = math.ceil(math.log10(max(10.0, *ratios)))
    least = math.floor(math.log10(min(0.1, *ratios)))
    scale = (_WIDTH - _LABEL - 60) / (most - least)
    zero = _LABEL - least * scale
    title = "CPU time, as a multiple of Plait's"
    parts, y = [], float(_HEAD)
    for case, bars in cases.items():
        parts.append(_text(14, y + 14, case, "ink bold"))
        y += 22
        for power in range(least, most + 1):
            x, kind = zero + power * scale, "axis" if power == 0 else "rule"
            parts.append(_rule(x, y, x, y + _BAR * len(bars), kind))
        for name, ratio in bars:
            width = math.log10(ratio) * scale
            left, right = min(zero, zero + width), max(zero, zero + width)
            parts.append(
                f'<rect class="{classes[name]}" x="{left:.1f}" y="{y + 2:.1f}" '
                f'width="{right - left:.1f}" height="{_BAR - 4}" rx="1.5"/>'
            )
            parts.append(_text(_LABEL - 8, y + 11, name, "soft end small"))
            parts.append(_text(right + 5, y + 11, _times(ratio), "ink small"))
            y += _BAR
        y += 10
    frame = [
        _text(14, 28, title, "ink bold"),
        _text(14, 46, "logarithmic; right of the line takes longer than Plait", "soft small"),
    ]
    for power in range(least, most + 1):
        x = zero + power * scale
        frame.append(_text(x, _HEAD - 8, f"{10.0**power:g}×", "soft middle small"))
    return _svg(_WIDTH, int(y + 10), title, classes, [*frame, *parts])


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2f}×"


def _style(used: set[str]) -> str:
    """The rules of a picture, for both colour schemes."""

    def scheme(dark: int, ink: str, soft: str, rule: str) -> list[str]:
        return [
            f".ink{{fill:{ink}}}.soft{{fill:{soft}}}",
            f".rule{{stroke:{rule}}}.axis{{stroke:{ink}}}",
            *[
                f".c{k}{{fill:{pair[dark]};stroke:{pair[dark]}}}"
                for k, pair in enumerate(_COLOURS)
                if f"c{k}" in used
            ],
        ]

    return "\n".join(
        [
            "text{font:12px system-ui,sans-serif;stroke:none}",
            ".bold{font-weight:600}.small{font-size:11px}.label{font-weight:500}",
            ".end{text-anchor:end}.middle{text-anchor:middle}",
            *scheme(0, "#1f2328", "#59636e", "#d8dce0"),
            "@media (prefers-color-scheme:dark){",
            *scheme(1, "#e6edf3", "#9aa4ae", "#343b43"),
            "}",
            "rect{stroke:none}.line{fill:none;stroke-width:2.2}",
            ".thin{fill:none;stroke-width:1;opacity:.45}text.label{stroke:none}",
        ]
    )


def _svg(
    width: int, height: int, title: str, classes: Mapping[str, str], parts: Sequence[str]
) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{_style(set(classes.values()))}\n</style>",
            *parts,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str = "rule") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
