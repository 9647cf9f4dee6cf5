"""Texts are cut into passages that say where they stand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration.passages import LENGTH, passages_of
from plait.orchestration.sources import SUFFIXES, Document


def cut(kind: str, text: str) -> list[tuple[str, str, str]]:
    document = Document("s", "n", kind, text)
    return [(p.place, p.heading, p.text) for p in passages_of(document)]


def test_markdown_is_cut_at_headings() -> None:
    text = (
        "Before.\n\n# One #\nFirst.\n\nSecond.\n\n```\n# no heading\n\nx = 1\n```\n## Two\n\nThird."
    )
    assert cut(".md", text) == [
        ("line 1", "", "Before."),
        ('line 4, "One"', "One", "First.\n\nSecond.\n\n```\n# no heading\n\nx = 1\n```"),
        ('line 15, "Two"', "Two", "Third."),
    ]


def test_underlined_headings_are_headings() -> None:
    text = "=====\nTitle\n=====\n\nOne.\n\nPart\n----\nTwo.\n\n   indented\n   ---"
    assert cut(".rst", text) == [
        ('line 5, "Title"', "Title", "One."),
        ('line 9, "Part"', "Part", "Two.\n\n   indented\n   ---"),
    ]


def test_lines_that_only_link_are_no_passages_and_part_what_they_stand_between() -> None:
    text = "One.\n\n.. image:: x.svg\n   :alt: X\n\n[![badge](a)](b)\n\nTwo."
    assert [words for *_, words in cut("dist", text)] == ["One.", "Two."]


def test_a_passage_is_neither_joined_nor_left_too_long() -> None:
    paragraph = " ".join(["word"] * (LENGTH - 1))
    assert len(cut(".txt", f"{paragraph}\n\n{paragraph}")) == 2
    lines = "\n".join(["word " * 10] * 200)
    pieces = cut(".txt", lines)
    assert all(len(text.split()) <= 3 * LENGTH + 10 for *_, text in pieces)
    assert "\n".join(text for *_, text in pieces) == lines
    assert pieces[1][0] == "line 35"


def test_html_is_read_without_its_markup_and_scripts() -> None:
    text = "<title>T</title><script>var x</script><h1>Head &amp; all</h1><p>One<br>two</p></style>"
    assert cut(".html", text) == [
        ("passage 1", "", "T"),
        ('passage 2, "Head & all"', "Head & all", "One\n\ntwo"),
    ]


def test_python_is_cut_into_docstrings_and_longer_comments() -> None:
    text = '''"""About."""
# one remark
x = 1  # beside
class A:
    # The first line
    # and the second.
    async def f(self):
        """Does f.

        More.
        """
'''
    assert cut(".py", text) == [
        ("line 1", "", "About."),
        ("line 5", "", "The first line\nand the second."),
        ("line 8, A.f", "A.f", "Does f.\n\nMore."),
    ]


def test_json_is_cut_into_records() -> None:
    data = {"name": "x", "n": 1, "rows": [{"a": "b"}, ["c"]]}
    assert cut(".json", json.dumps(data)) == [
        ("$", "", "name: x; n: 1"),
        ("$.rows[0]", "", "a: b"),
        ("$.rows[1][0]", "", "c"),
    ]
    assert cut(".json", '{"a": {}}') == []


def test_csv_is_cut_into_rows() -> None:
    assert cut(".csv", "a,b\n1,2\n3\n") == [("row 1", "", "a: 1; b: 2"), ("row 2", "", "a: 3")]
    assert cut(".csv", "") == []


@pytest.mark.parametrize(
    ("kind", "text"), [(".py", "def broken(:"), (".json", "{"), (".csv", 'a\n"x"y\n')]
)
def test_a_malformed_file_is_read_as_plain_text(kind: str, text: str) -> None:
    assert [words for *_, words in cut(kind, text)] == [text.rstrip("\n")]


@given(st.sampled_from([*SUFFIXES, "pydoc", "dist"]), st.text(max_size=300))
def test_no_text_breaks_the_cutting_and_no_passage_is_empty(kind: str, text: str) -> None:
    assert all(words.strip() and place for place, _, words in cut(kind, text))


@given(
    st.lists(st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1), max_size=20)
)
def test_prose_keeps_every_word_in_order(words: list[str]) -> None:
    pieces = cut(".txt", "\n\n".join(words))
    assert " ".join(text for *_, text in pieces).split() == words
