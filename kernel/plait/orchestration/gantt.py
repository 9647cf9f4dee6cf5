"""A timeline drawn: as a picture in SVG, and in characters.

The picture needs nothing but itself: no script, no font, no file beside it. It has the colours of a
light page or of a dark one, as the reader's system prefers, says in its description what it shows,
and shows nothing by colour alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as ET

from plait.orchestration.critical_path import Segment
from plait.orchestration.timeline import Gate, Row, Span, Timeline

__all__ = ["describe", "path_rows", "ticks", "to_svg", "to_text", "waits_of"]

_WIDTH = 960
_ROW = 24
_BAR = 14
_TOP = 78
_RIGHT = 24
_LETTER = 6.4
"""Pixels that a character of 11 pixels takes at most, by a generous guess: there is no font here to
measure it by."""
_MOST_ROWS = 60
_LONGEST = 30

# Light, then dark. Each pair has a contrast of at least 4.5 (text) or 3 (shapes) to its page.
_COLOURS = {
    "page": ("#ffffff", "#16181d"),
    "ink": ("#1b1f27", "#eceef2"),
    "faint": ("#596273", "#a4adbd"),
    "grid": ("#d9dde4", "#353b47"),
    "work": ("#2f6fb3", "#5b9ee6"),
    "bad": ("#b3372c", "#f0796c"),
    "wait": ("#8a93a3", "#7d8798"),
    "path": ("#a65f00", "#f0ac3d"),
}

_RULES = """
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: %(ink)s }
.h { font-size: 14px; font-weight: 600 }
.f { fill: %(faint)s }
.e { text-anchor: end }
.m { text-anchor: middle }
.page, .in { fill: %(page)s }
.grid { stroke: %(grid)s; stroke-width: 1 }
.gate { stroke: %(ink)s; stroke-width: 1; stroke-dasharray: 4 3 }
.node { fill: %(work)s }
.attempt, .failed { fill: %(bad)s }
.sync { stroke: %(wait)s; stroke-width: 2 }
.queue { fill: none; stroke: %(wait)s; stroke-width: 1 }
.held, .pause, .person { stroke: %(wait)s; stroke-width: 2; stroke-dasharray: 2 3 }
.cut { fill: none; stroke: %(bad)s; stroke-width: 1.5; stroke-dasharray: 4 2 }
.cross { stroke: %(bad)s; stroke-width: 2; fill: none }
.path { fill: %(path)s }
"""


def _style() -> str:
    light = {name: pair[0] for name, pair in _COLOURS.items()}
    dark = {name: pair[1] for name, pair in _COLOURS.items()}
    return f"{_RULES % light}@media (prefers-color-scheme: dark) {{{_RULES % dark}}}\n"


# -- in SVG -----------------------------------------------------------------------------------


def to_svg(timeline: Timeline, title: str = "Timeline") -> str:
    """A timeline as an SVG document: a row for each branch, a line for each sync point.

    Of more than 60 branches, the first and those that took longest are drawn, and how many are not.
    """
    rows, left_out = _chosen(timeline.rows)
    scale = _Scale(timeline.seconds, rows)
    bottom = _TOP + _ROW * len(rows)
    height = bottom + 84 + (18 if left_out else 0)
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "role": "img",
            "aria-labelledby": "gantt-title gantt-desc",
        },
    )
    _add(svg, "title", id="gantt-title").text = _clean(title)
    _add(svg, "desc", id="gantt-desc").text = _clean(" ".join(describe(timeline)))
    _add(svg, "style").text = _style()
    _add(svg, "rect", "page", width=_WIDTH, height=height)
    _text(svg, 16, 24, _short(title, 100), "h")
    _text(svg, 16, 42, _short(_headline(timeline), 140), "f")
    _axis(svg, scale, bottom)
    for number, row in enumerate(rows):
        _row(svg, scale, _TOP + _ROW * number, row, timeline)
    _gates(svg, scale, bottom, timeline.gates)
    _path(svg, scale, rows, timeline)
    if left_out:
        _text(svg, 16, bottom + 34, f"and {left_out} more branches", "f")
    _legend(svg, height - 22)
    ET.indent(svg, " ")
    return ET.tostring(svg, encoding="unicode") + "\n"


class _Scale:
    """Where a time is on the page."""

    def __init__(self, seconds: float, rows: Sequence[Row]) -> None:
        longest = max((len(_short(row.label, _LONGEST)) for row in rows), default=0)
        self.left = 16 + max(60.0, longest * _LETTER) + 12
        self.seconds = seconds
        self._width = _WIDTH - _RIGHT - self.left

    def __call__(self, time: float) -> float:
        share = time / self.seconds if self.seconds > 0 else 0.0
        return round(self.left + self._width * min(1.0, share), 2)


def _axis(svg: ET.Element, scale: _Scale, bottom: float) -> None:
    for tick in ticks(scale.seconds):
        x = scale(tick)
        _line(svg, "grid", x, _TOP - 6, x, bottom + 4)
        _text(svg, x, bottom + 18, f"{tick:g} s", "f m")


def ticks(seconds: float) -> list[float]:
    """Round times from 0 to the end, at most eight."""
    if not seconds > 1e-9:  # less than any clock shows
        return [0.0]
    rough = seconds / 7
    power = 10 ** math.floor(math.log10(rough))
    step = next((power * nice for nice in (1, 2, 5) if power * nice >= rough), power * 10)
    return [round(step * i, 12) for i in range(int(seconds / step + 1e-9) + 1)]


def _row(svg: ET.Element, scale: _Scale, top: float, row: Row, timeline: Timeline) -> None:
    group = _add(svg, "g")
    _add(group, "title").text = _clean(f"{row.label} (branch {row.branch}): {row.fate}")
    _text(group, scale.left - 12, top + 16, _short(row.label, _LONGEST), "e")
    for span in row.spans:
        _span(group, scale, top, span, row)
    end = max((span.end for span in row.spans), default=None)
    if end is None:
        return
    if row.fate == "failed":
        x, y = scale(end) + 6, top + _ROW / 2
        _add(group, "path", "cross", d=f"M{x - 3} {y - 3}l6 6m0 -6l-6 6")
    work = [span for span in row.spans if span.kind in {"node", "attempt"}]
    if not work or row.label == "run":
        return
    said = f"{sum(span.end - span.start for span in work):.2f} s"
    bar, needed = max(work, key=lambda span: span.end - span.start), len(said) * _LETTER + 8
    if row.fate == "done" and scale(bar.end) - scale(bar.start) > needed:
        _text(group, scale(bar.end) - 5, top + 16, said, "in e")
    elif row.fate != "done" and scale(timeline.seconds) - scale(end) > needed + 80:
        _text(group, scale(end) + 14, top + 16, f"{said}, {row.fate}", "f")


def _span(group: ET.Element, scale: _Scale, top: float, span: Span, row: Row) -> None:
    start, end = scale(span.start), scale(span.end)
    bar, middle = top + (_ROW - _BAR) / 2, top + _ROW / 2
    drawn: ET.Element
    if span.kind in {"node", "attempt"}:
        kind: str = "failed" if span.failed else span.kind
        if row.fate == "cancelled" and span is row.spans[-1]:
            kind = "cut"
        drawn = _rect(group, kind, start, bar, end - start, _BAR)
    elif span.kind == "queue":
        drawn = _rect(group, "queue", start, bar + 4, end - start, _BAR - 8)
    else:
        drawn = _line(group, span.kind, start, middle, end, middle)
    _add(drawn, "title").text = _clean(f"{_SAID[span.kind]} {span.name}: {_range(span)}")


_SAID = {
    "node": "in",
    "attempt": "an attempt that failed at",
    "queue": "waiting for a place at",
    "pause": "pausing before another attempt at",
    "person": "waiting for a person at",
    "held": "held before",
    "sync": "waiting for others at",
}


def _range(span: Span) -> str:
    return f"{span.end - span.start:.3f} s, from {span.start:.3f} to {span.end:.3f}"


def _gates(svg: ET.Element, scale: _Scale, bottom: float, gates: Iterable[Gate]) -> None:
    free = -math.inf
    for gate in gates:
        x = scale(gate.opened)
        group = _add(svg, "g")
        _add(group, "title").text = _clean(sentence_of(gate))
        _line(group, "gate", x, _TOP - 10, x, bottom)
        label = _short(f"{gate.name}: {gate.status}", 40)
        half = len(label) * _LETTER / 2
        middle = min(max(x, half + 4), _WIDTH - half - 4)
        if middle - half > free:  # else it would lie on the one before; its tooltip says the same
            _text(group, round(middle, 2), _TOP - 16, label, "m")
            free = middle + half


def _path(svg: ET.Element, scale: _Scale, rows: Sequence[Row], timeline: Timeline) -> None:
    """A band under what is on the critical path."""
    tops = {row.label: _TOP + _ROW * number for number, row in enumerate(rows)}
    group = _add(svg, "g")
    _add(group, "title").text = "The critical path"
    for part in timeline.path:
        if part.branch in tops and part.seconds > 0:
            start, end = scale(part.start), scale(part.end)
            y = tops[part.branch] + (_ROW + _BAR) / 2 + 1
            _rect(group, "path", start, y, end - start, 3)


def _legend(svg: ET.Element, y: float) -> None:
    x = 16.0
    words = (
        ("node", "at work"),
        ("failed", "failed"),
        ("cut", "cancelled"),
        ("queue", "waiting for a place"),
        ("held", "held, paused or asking"),
        ("sync", "waiting at a sync point"),
        ("path", "critical path"),
    )
    for kind, said in words:
        if kind in {"held", "sync"}:
            _line(svg, kind, x, y - 4, x + 18, y - 4)
        elif kind == "path":
            _rect(svg, kind, x, y - 5, 18, 3)
        else:
            _rect(svg, kind, x, y - 9, 18, 10)
        _text(svg, x + 23, y, said, "f")
        x += 23 + len(said) * 5.8 + 16


def _add(parent: ET.Element, tag: str, class_: str = "", **attributes: object) -> ET.Element:
    given = {name: str(value) for name, value in attributes.items()}
    return ET.SubElement(parent, tag, ({"class": class_} if class_ else {}) | given)


def _text(parent: ET.Element, x: float, y: float, text: str, class_: str = "") -> None:
    _add(parent, "text", class_, x=x, y=y).text = text


def _line(
    parent: ET.Element, class_: str, x1: float, y1: float, x2: float, y2: float
) -> ET.Element:
    return _add(parent, "line", class_, x1=x1, y1=y1, x2=x2, y2=y2)


def _rect(
    parent: ET.Element, class_: str, x: float, y: float, width: float, height: float
) -> ET.Element:
    wide = max(1.0, round(width, 2))  # what took no time is seen all the same
    return _add(parent, "rect", class_, x=x, y=y, width=wide, height=height)


def _clean(text: str) -> str:
    """Text without the characters that XML does not know."""
    return re.sub(
        r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]", "\N{REPLACEMENT CHARACTER}", text
    )


def _short(text: str, length: int) -> str:
    text = " ".join(_clean(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


# -- in words ---------------------------------------------------------------------------------


def describe(timeline: Timeline) -> Iterable[str]:
    """What the picture shows, in sentences."""
    yield _headline(timeline)
    for gate in timeline.gates:
        yield sentence_of(gate)
    for row in timeline.rows[:_MOST_ROWS]:
        if row.spans:
            start, end = row.spans[0].start, row.spans[-1].end
            yield f"{row.label}: {row.fate}, from {start:.2f} s to {end:.2f} s."


def _headline(timeline: Timeline) -> str:
    branches = len(timeline.rows)
    text = f"{timeline.seconds:.2f} s, {branches} {'branch' if branches == 1 else 'branches'}."
    # That a round of one branch waited for that branch alone goes without saying.
    gates = [gate for gate in timeline.gates if gate.waited_for and len(gate.branches) > 1]
    if gates:
        slowest = max(gates, key=lambda gate: gate.waited)
        text += f" {waited_of(slowest)}"
    return text


def waited_of(gate: Gate) -> str:
    """For whom a sync point waited last, in a sentence."""
    return f"This run waited {gate.waited:.2f} s for {gate.waited_for} alone, at {gate.name}."


def sentence_of(gate: Gate) -> str:
    """A sync point in a sentence."""
    arrived = sum(one.fate == "done" for one in gate.branches)
    return (
        f"{gate.name} opened as {gate.status} at {gate.opened:.2f} s, with {arrived} of "
        f"{len(gate.branches)} branches."
    )


def waits_of(timeline: Timeline) -> Iterable[str]:
    """How each sync point opened, and for whom it waited last, in sentences."""
    for gate in timeline.gates:
        yield sentence_of(gate)
        if gate.waited_for:
            yield waited_of(gate)


def path_rows(timeline: Timeline) -> list[tuple[str, str, str, str]]:
    """The critical path for a reader: since when, for how long, in which branch, on what.

    The twelve longest stretches are told one by one, in the order of time, the others together.
    """
    told = sorted(timeline.path, key=lambda part: -part.seconds)[:_MOST_SEGMENTS]
    told = [part for part in told if part.seconds >= 0.0005]
    rows = [
        (f"{part.start:.2f} s", f"{part.seconds:.3f} s", part.branch, _spent_on(part))
        for part in timeline.path
        if part in told
    ]
    rest = math.fsum(part.seconds for part in timeline.path if part not in told)
    if len(told) < len(timeline.path):
        rows.append(("", f"{rest:.3f} s", "", "all that is shorter, together"))
    return rows


_MOST_SEGMENTS = 12

_SPENT: Mapping[str, str] = {
    "node": "{0}",
    "attempt": "an attempt at {0} that failed",
    "queue": "waiting for a place for {0}",
    "pause": "the pause before another attempt at {0}",
    "person": "waiting for a person at {0}",
    "grace": "the grace time of {0}",
    "deadline": "the deadline of {0}",
    "routing": "choosing the way on from {0}",
}


def _spent_on(part: Segment) -> str:
    return _SPENT[part.kind].format(part.name)


# -- in characters ----------------------------------------------------------------------------

_MARKS = {
    "node": "█",
    "attempt": "▓",
    "queue": "░",
    "pause": "·",
    "person": "?",
    "held": "·",
    "sync": "─",
}


def to_text(timeline: Timeline, width: int = 60) -> str:
    """A timeline in characters, one line for each branch, the time line above them."""
    rows, left_out = _chosen(timeline.rows)
    longest = max((len(_short(row.label, _LONGEST)) for row in rows), default=0)

    def column(time: float) -> int:
        share = time / timeline.seconds if timeline.seconds > 0 else 0.0
        return min(width, int(share * width))

    lines = [f"{'':{longest}} 0 s{f'{timeline.seconds:.2f} s':>{width - 3}}"]
    for row in rows:
        cells = [" "] * width
        for span in row.spans:
            mark = "x" if span.failed else _MARKS[span.kind]
            first, last = min(width - 1, column(span.start)), column(span.end)
            # A wait does not hide the work that ended or begins in the same cell.
            for i in range(first, max(first + 1, last)):
                if cells[i] == " " or span.kind in {"node", "attempt"}:
                    cells[i] = mark
        fate = "" if row.fate == "done" else f" {row.fate}"
        lines.append(f"{_short(row.label, _LONGEST):{longest}} {''.join(cells)}{fate}".rstrip())
    if left_out:
        lines.append(f"and {left_out} more branches")
    lines.append("█ at work  x failed  ░ waiting for a place  · held or paused  ─ at a sync point")
    return "\n".join(lines)


def _chosen(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows to draw, and how many are left out: the shortest."""
    seen = [row for row in rows if row.spans]
    if len(seen) <= _MOST_ROWS:
        return seen, 0
    numbers = range(1, len(seen))
    longest = sorted(numbers, key=lambda i: seen[i].spans[0].start - seen[i].spans[-1].end)
    kept = sorted([0, *longest[: _MOST_ROWS - 1]])
    return [seen[i] for i in kept], len(seen) - _MOST_ROWS
