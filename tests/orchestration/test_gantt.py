"""A timeline is drawn, in SVG and in characters, so that everybody can read it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.orchestration.critical_path import Segment
from plait.orchestration.gantt import ticks, to_svg, to_text
from plait.orchestration.timeline import Arrived, Gate, Row, Span, Timeline

SVG = "{http://www.w3.org/2000/svg}"


def span(kind: str, start: float, end: float, *, failed: bool = False) -> Span:
    return Span.model_validate(
        {"kind": kind, "name": "research", "start": start, "end": end, "failed": failed}
    )


def row(label: str, *spans: Span, fate: str = "done") -> Row:
    return Row.model_validate({"label": label, "branch": "0.1", "fate": fate, "spans": spans})


def gate(name: str, opened: float, *, waited_for: str = "", waited: float = 0.0) -> Gate:
    return Gate(
        name=name,
        status="complete",
        forked=0.0,
        opened=opened,
        branches=(
            Arrived(label="technical", fate="failed", at=opened / 2),
            Arrived(label="market", fate="done", at=opened),
        ),
        waited_for=waited_for,
        waited=waited,
    )


def timeline(seconds: float, *rows: Row, gates: tuple[Gate, ...] = ()) -> Timeline:
    path = [
        Segment(
            kind="node", name=s.name, branch=r.label, start=s.start, end=s.end, cause=1, effect=2
        )
        for r in rows[:1]
        for s in r.spans
    ]
    return Timeline(began=0.0, seconds=seconds, rows=rows, gates=gates, path=tuple(path))


DRAWN = timeline(
    10.0,
    row("run", span("node", 0, 1), span("node", 9, 10)),
    row("market", span("queue", 1, 2), span("node", 2, 8), span("sync", 8, 9)),
    row("technical", span("held", 1, 3), span("attempt", 3, 4, failed=True), fate="failed"),
    gates=(gate("gather", 9.0, waited_for="market", waited=4.1),),
)


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_branch_and_sync_point_is_in_the_picture_with_its_name() -> None:
    told = texts(to_svg(DRAWN, "What we want to know"))
    for wanted in ("What we want to know", "run", "market", "technical", "gather: complete"):
        assert wanted in told
    assert "10.00 s, 3 branches. This run waited 4.10 s for market alone, at gather." in told


def test_who_cannot_see_the_picture_hears_what_it_shows() -> None:
    root = ET.fromstring(to_svg(DRAWN))
    assert root.get("role") == "img"
    ids = {each.get("id"): each.text or "" for each in root if each.get("id")}
    title, described = (root.get("aria-labelledby") or "").split()
    assert ids[title] == "Timeline"
    assert "technical: failed, from 1.00 s to 4.00 s." in ids[described]
    assert "gather opened as complete at 9.00 s, with 1 of 2 branches." in ids[described]


def test_it_has_colours_for_light_pages_and_for_dark_ones() -> None:
    style = ET.fromstring(to_svg(DRAWN)).find(f"{SVG}style")
    assert style is not None
    light, _, dark = (style.text or "").partition("@media (prefers-color-scheme: dark)")
    classes = set(re.findall(r"\.(\w+)", light))
    assert classes == set(re.findall(r"\.(\w+)", dark)) | (classes - {"page", "node", "path"})
    used = {
        name
        for each in ET.fromstring(to_svg(DRAWN)).iter()
        for name in (each.get("class") or "").split()
    }
    assert used <= classes


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    ("name", "least"),
    [("ink", 7), ("faint", 4.5), ("work", 4.5), ("bad", 4.5), ("path", 3), ("wait", 3)],
)
def test_colours_stand_out_from_their_page(scheme: int, name: str, least: float) -> None:
    from plait.orchestration.gantt import _COLOURS

    one, other = (luminance(_COLOURS[each][scheme]) for each in (name, "page"))
    assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= least


labels = st.text(max_size=40)


@settings(max_examples=100, deadline=None)
@given(labels, labels, st.floats(0, 1e6))
def test_no_name_can_break_the_picture_or_bring_anything_into_it(
    title: str, label: str, seconds: float
) -> None:
    drawn = timeline(seconds, row(label, span("node", 0, seconds)), gates=(gate(label, seconds),))
    root = ET.fromstring(to_svg(drawn, title))
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "line", "g", "path"}
    names = {name for each in root.iter() for name in each.attrib}
    assert not any("href" in name or name.startswith("on") or name == "style" for name in names)
    assert "url(" not in (root.findtext(f"{SVG}style") or "")


def test_everything_is_inside_the_picture() -> None:
    root = ET.fromstring(to_svg(DRAWN))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for each in root.iter(f"{SVG}rect"):
        x, y = float(each.get("x", 0)), float(each.get("y", 0))
        assert 0 <= x <= x + float(each.get("width", 0)) <= width
        assert 0 <= y <= y + float(each.get("height", 0)) <= height
    for each in root.iter(f"{SVG}line"):
        assert all(0 <= float(each.get(name, 0)) <= width for name in ("x1", "x2"))


def test_of_many_branches_the_longest_are_drawn_and_the_rest_counted() -> None:
    rows = [row(f"t{i}", span("node", 0, i + 1)) for i in range(1_000)]
    drawn = timeline(1_000.0, row("run", span("node", 0, 1)), *rows)
    told = texts(to_svg(drawn))
    assert "t999" in told
    assert "t1" not in told
    assert "and 941 more branches" in told
    assert "and 941 more branches" in to_text(drawn)


def test_a_run_that_took_no_time_is_drawn_all_the_same() -> None:
    drawn = timeline(0.0, row("run", span("node", 0, 0)))
    assert "run" in texts(to_svg(drawn))
    assert to_text(drawn).splitlines()[1] == "run █"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, [0.0]), (2.8, [0, 0.5, 1, 1.5, 2, 2.5]), (60.0, [0, 10, 20, 30, 40, 50, 60])],
)
def test_ticks_are_round(seconds: float, expected: list[float]) -> None:
    assert ticks(seconds) == expected


@given(st.floats(1e-6, 1e9))
def test_ticks_are_few_and_within_the_run(seconds: float) -> None:
    found = ticks(seconds)
    assert 2 <= len(found) <= 9
    assert found[-1] <= seconds * (1 + 1e-6)


def test_in_characters_work_and_waiting_differ() -> None:
    lines = to_text(DRAWN, 20).splitlines()
    assert lines[0] == "          0 s          10.00 s"
    assert lines[1] == "run       ██                ██"
    assert lines[2] == "market      ░░████████████──"
    assert lines[3] == "technical   ····xx             failed"
