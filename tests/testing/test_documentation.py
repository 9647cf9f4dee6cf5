"""kernel/TESTING.md: its examples print what it says, and its table is what comes out."""

import re
import sys
import types
from pathlib import Path

import pytest

from plait.testing import laws_table
from tests.test_readme import Example, examples, run

PAGE = Path(__file__).parents[2] / "kernel" / "TESTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
OUTPUT = re.compile(r"\A```\n\n```text\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def output(example: Example) -> str:
    """What the page says that an example prints: the text block right after it."""
    after = TEXT[TEXT.index(example.code) + len(example.code) :]
    found = OUTPUT.match(after)
    return found["text"] if found else ""


@pytest.mark.parametrize("example", examples(TEXT), ids=lambda e: f"line_{e.line}")
def test_an_example_prints_what_the_page_says(
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"testing_line_{example.line}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    run(example, module)
    assert capsys.readouterr().out == output(example)


def test_the_table_of_laws_is_what_comes_out() -> None:
    found = re.search(r"<!-- begin: laws -->\n(.*?)<!-- end: laws -->", TEXT, re.DOTALL)
    assert found is not None
    assert found[1].strip() == laws_table().strip()
