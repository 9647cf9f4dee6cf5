"""Cutting texts into passages: pieces short enough to quote, each with the place where it stands.

A passage never crosses a heading. Prose is cut at blank lines, and paragraphs are joined while a
passage stays below `LENGTH` words. Python is cut into its docstrings and its longer comments,
tables and JSON into their records.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import threading
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

from plait.orchestration.sources import Document

__all__ = ["LENGTH", "Passage", "passages_of"]

LENGTH = 110
"""Words after which a passage is not made longer: about what a reader takes in as one quotation."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document."""

    document: Document
    """Where it is from."""
    place: str
    """Where in the document: a line with the heading above it, a row, a path."""
    heading: str
    """The heading it stands under, or the name of what it describes; may be empty."""
    text: str
    """The words, with their line breaks."""


_Piece = tuple[str, str, str]
"""Place, heading, text."""

# Link targets, directives and badges of descriptions: lines that a reader of the page never sees.
_MARKUP = re.compile(r"\s*(\.\. |:[\w-]+:|\[?!\[|\[[^\]]+\]:\s|</?\w[^>]*>\s*$)")


@dataclass(frozen=True, slots=True)
class _Paragraph:
    line: int
    heading: str
    block: int
    """Paragraphs of one block have nothing but blank lines between them, so they may be joined."""
    text: str


def passages_of(document: Document) -> list[Passage]:
    """The passages of one document, in their order; of a malformed file, as of plain text."""
    cut = _CUTTERS.get(document.kind, _cut_prose)
    try:
        pieces = list(cut(document.text))
    except (SyntaxError, ValueError, csv.Error, tokenize.TokenError, RecursionError):
        pieces = list(_cut_prose(document.text))
    return [Passage(document, *piece) for piece in pieces if piece[2].strip()]


def _cut_prose(text: str) -> Iterator[_Piece]:
    """Prose whose headings are underlined with punctuation, or marked with `#`."""
    for paragraph in _joined(_paragraphs_under_headings(text.splitlines())):
        yield f"line {paragraph.line}{_in(paragraph.heading)}", paragraph.heading, paragraph.text


def _paragraphs_under_headings(lines: list[str]) -> Iterator[_Paragraph]:
    heading, block = "", 0
    for first, run in _runs(lines):
        start, held = first, run
        if found := _heading_of(run):
            heading, taken = found
            block, start, held = block + 1, first + taken, run[taken:]
        if all(_MARKUP.match(line) for line in held):
            block += 1
            continue
        for line, piece in _short(start, held):
            yield _Paragraph(line, heading, block, piece)


def _heading_of(run: list[str]) -> tuple[str, int] | None:
    """The heading that a run of lines begins with, and how many lines it takes."""
    if marked := re.match(r"#{1,6}\s+(.*?)[\s#]*$", run[0]):
        return marked[1], 1
    if len(run) > 1 and _is_underline(run[1]) and not run[0][0].isspace():
        return run[0].strip(), 2
    if len(run) > 2 and _is_underline(run[0]) and _is_underline(run[2]):
        return run[1].strip(), 3
    return None


def _runs(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines without a blank one or a heading between them; a fence of code is one run."""
    held, start, fenced = list[str](), 1, False
    for number, line in enumerate([*lines, ""], 1):
        fence = line.lstrip().startswith(("```", "~~~"))
        ends = not fenced and (not line.strip() or re.match(r"#{1,6}\s", line))
        if held and (ends or number > len(lines)):
            yield start, held
            held = []
        if line.strip() or held:
            start = start if held else number
            held.append(line)
        fenced ^= fence


def _is_underline(line: str) -> bool:
    line = line.rstrip()
    return len(line) >= 3 and line[0] in "=-~*^#+\"'`" and len(set(line)) == 1


def _short(start: int, lines: list[str]) -> Iterator[tuple[int, str]]:
    """The lines, cut where they would make a passage more than three times too long."""
    held, words = list[str](), 0
    for number, line in enumerate(lines, start):
        if held and words > 3 * LENGTH:
            yield start, "\n".join(held)
            held, words, start = [], 0, number
        held.append(line)
        words += len(line.split())
    yield start, "\n".join(held)


def _joined(paragraphs: Iterable[_Paragraph]) -> Iterator[_Paragraph]:
    """Neighbours of one block, joined while they are short."""
    held: _Paragraph | None = None
    for paragraph in paragraphs:
        joined = f"{held.text}\n\n{paragraph.text}" if held else ""
        if held and held.block == paragraph.block and len(joined.split()) <= LENGTH:
            held = replace(held, text=joined)
            continue
        if held:
            yield held
        held = paragraph
    if held:
        yield held


def _in(heading: str) -> str:
    return f', "{heading}"' if heading else ""


class _Reader(HTMLParser):
    """The text of a page as lines: headings marked with `#`, blocks parted by blank lines."""

    _BLOCKS = frozenset(
        ("p", "div", "section", "article", "li", "tr", "pre", "table", "ul", "ol", "dl", "dd", "br")
    )
    _SILENT = frozenset(("script", "style", "template"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._muted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._muted += tag in self._SILENT
        if re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n# ")
        elif tag in self._BLOCKS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._muted -= tag in self._SILENT and self._muted > 0
        if tag in self._BLOCKS or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._muted:
            self.parts.append(re.sub(r"\s+", " ", data))


def _cut_html(text: str) -> Iterator[_Piece]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    # Lines of the text as it is read are not lines of the file, so passages are numbered.
    lines = [line.strip() for line in "".join(reader.parts).splitlines()]
    for number, paragraph in enumerate(_joined(_paragraphs_under_headings(lines)), 1):
        yield f"passage {number}{_in(paragraph.heading)}", paragraph.heading, paragraph.text


# CPython 3.11 and 3.12 count the depth of the tree being made in one place for all threads: two at
# a time may end in "SystemError: AST constructor recursion depth mismatch" (python/cpython#106905).
_one_tree_at_a_time = threading.Lock()


def _cut_python(text: str) -> Iterator[_Piece]:
    paragraphs: list[_Paragraph] = []
    with _one_tree_at_a_time:
        tree = ast.parse(text)
    for block, (node, name) in enumerate(_described(tree, "")):
        if docstring := ast.get_docstring(node):
            first = node.body[0].lineno
            paragraphs += [
                _Paragraph(first + line - 1, name, block, piece)
                for start, held in _runs(docstring.splitlines())
                for line, piece in _short(start, held)
            ]
    joined = [*_joined(paragraphs), *_comments(text)]
    for paragraph in sorted(joined, key=lambda paragraph: paragraph.line):
        place = f"line {paragraph.line}" + (f", {paragraph.heading}" if paragraph.heading else "")
        yield place, paragraph.heading, paragraph.text


_Described = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _described(node: _Described, name: str) -> Iterator[tuple[_Described, str]]:
    yield node, name
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _described(child, f"{name}.{child.name}".lstrip("."))


def _comments(text: str) -> Iterator[_Paragraph]:
    """Comments of two lines and more; shorter ones are remarks on the line below them."""
    comments = {
        token.start[0]: token.string.lstrip("#! ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    held: list[str] = []
    for line, comment in comments.items():
        held.append(comment)
        if line + 1 not in comments:
            if len(held) > 1:
                yield _Paragraph(line - len(held) + 1, "", -line, "\n".join(held))
            held = []


def _cut_json(text: str) -> Iterator[_Piece]:
    for path, words in _leaves(json.loads(text), "$"):
        yield path, "", words


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every object with its plain members as one record, and every plain value outside objects."""
    if isinstance(value, dict):
        plain = [f"{k}: {v}" for k, v in value.items() if not isinstance(v, dict | list)]
        if plain:
            yield path, "; ".join(plain)
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{i}]")
    else:
        yield path, str(value)


def _cut_csv(text: str) -> Iterator[_Piece]:
    rows = csv.reader(io.StringIO(text), strict=True)
    names = next(rows, [])
    for number, row in enumerate(rows, 1):
        pairs = zip(names, row, strict=False)
        yield f"row {number}", "", "; ".join(f"{name}: {value}" for name, value in pairs)


_CUTTERS: dict[str, Callable[[str], Iterator[_Piece]]] = {
    ".html": _cut_html,
    ".py": _cut_python,
    ".json": _cut_json,
    ".csv": _cut_csv,
}
