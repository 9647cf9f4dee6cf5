"""The results as SVG, written by hand: log-log growth and bars of ratios."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contenders.base import Contender
from .measure import Result, median
from .report import series_over_size

_COLOURS = ("#0b6e4f", "#7fb069", "#9aa0a6", "#5f6368", "#c4c7c5", "#b3261e", "#e37400", "#1967d2")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 420, 80, 50, 170, 60
_BAR, _LABEL = 22, 330


def draw(results: Sequence[Result], contenders: Sequence[Contender], folder: Path) -> list[Path]:
    """Write the plots for which there are results; return their paths."""
    colours = {each.name: _COLOURS[k % len(_COLOURS)] for k, each in enumerate(contenders)}
    drawn = {}
    for prefix, title in (("fork", "A fork of n branches"), ("journal", "A journal of n turns")):
        points = series_over_size(results, prefix, "cpu")
        if any(len(line) > 1 for line in points.values()):
            drawn[f"{prefix}.svg"] = _lines(points, colours, f"{title}: CPU seconds a run")
    bars = _ratios(results, contenders)
    if bars:
        drawn["ratios.svg"] = _bars(bars, colours, "CPU time, as a multiple of Plait's")
    paths = []
    for name, svg in drawn.items():
        paths.append(folder / name)
        paths[-1].write_text(svg, encoding="utf-8")
    return paths


def _ratios(
    results: Sequence[Result], contenders: Sequence[Contender]
) -> list[tuple[str, str, float]]:
    """(case, contender, ratio) of everyone but Plait itself."""
    found = []
    for result in results:
        plait = result.series.get("Plait")
        if plait is None or not plait.cpu or result.case.ideal is not None:
            continue
        for contender in contenders:
            if contender.kind != "plait" and result.series[contender.name].cpu:
                ratio = median(result.ratios(contender.name, "Plait"))
                found.append((f"{result.case.workload} {result.case.title}", contender.name, ratio))
    return found


def _lines(
    series: Mapping[str, Sequence[tuple[int, float]]], colours: Mapping[str, str], title: str
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

    parts = [_text(_LEFT, 28, title, weight="bold")]
    for power in range(y_low, y_high + 1):
        x, y = place(x_low, power)
        parts.append(_rule(x, y, _WIDTH - _RIGHT, y))
        parts.append(_text(x - 8, y + 4, f"{10.0**power:g} s", anchor="end"))
    for power in range(math.ceil(x_low), math.floor(x_high) + 1):
        x, y = place(power, y_low)
        parts.append(_rule(x, y, x, _TOP))
        parts.append(_text(x, y + 20, f"{10**power:,}", anchor="middle"))
    ends = []
    for name, line in series.items():
        placed = [place(math.log10(x), math.log10(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2.5"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>' for x, y in placed
        ]
        ends.append((placed[-1][1], name))
    lowest = -math.inf
    for y, name in sorted(ends):  # labels that would overlap move down
        lowest = max(y + 4, lowest + 15)
        parts.append(_text(_WIDTH - _RIGHT + 10, lowest, name, colour=colours[name]))
    return _svg(_WIDTH, _HEIGHT, parts)


def _bars(bars: Sequence[tuple[str, str, float]], colours: Mapping[str, str], title: str) -> str:
    longest = math.log10(max(10.0, *(ratio for _, _, ratio in bars)))
    least = math.log10(min(0.1, *(ratio for _, _, ratio in bars)))
    scale = (_WIDTH - _LABEL - 60) / (longest - least)
    zero = _LABEL - least * scale
    parts = [_text(12, 28, f"{title} (logarithmic; left of the line is cheaper)", weight="bold")]
    y, last = 50.0, ""
    body = []
    for case, name, ratio in bars:
        if case != last:
            y += 10
            body.append(_text(12, y + 10, case, weight="bold"))
            y, last = y + _BAR, case
        width = math.log10(ratio) * scale
        body.append(
            f'<rect x="{min(zero, zero + width):.1f}" y="{y:.1f}" width="{abs(width):.1f}" '
            f'height="{_BAR - 8}" fill="{colours[name]}"/>'
        )
        body.append(_text(_LABEL - 90, y + 11, name, anchor="end"))
        body.append(
            _text(
                max(zero, zero + width) + 5,
                y + 11,
                f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}",
            )
        )
        y += _BAR
    parts += [*body, _rule(zero, 44, zero, y, colour="#202124")]
    return _svg(_WIDTH, int(y + 20), parts)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            '<g font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *parts,
            "</g></svg>\n",
        ]
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = "#202124",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{html.escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str = "#dadce0") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
