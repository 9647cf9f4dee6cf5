"""The README's Python examples, each run as it stands in a namespace of its own."""

import ast
import inspect
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

README = Path(__file__).parent.parent / "README.md"
SKIP = "<!-- test: skip -->"
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One fenced block, and the line of the page on which its code begins (from 1)."""

    code: str
    line: int


def examples(page: str) -> list[Example]:
    """The Python blocks of a Markdown page, without those that a comment before them skips."""
    return [
        Example(match["code"], page.count("\n", 0, match.start("code")) + 1)
        for match in BLOCK.finditer(page)
        if not page[: match.start()].rstrip().endswith(SKIP)
    ]


def run(example: Example, module: types.ModuleType) -> None:
    # The empty lines make a traceback name the line of the page.
    source = "\n" * (example.line - 1) + example.code
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, str(README), "exec", flags=flags, dont_inherit=True)
    call = types.FunctionType(code, module.__dict__)
    result = call()
    if inspect.iscoroutine(result):

        async def finish() -> None:
            await result

        anyio.run(finish)


def run_page(page: str, monkeypatch: pytest.MonkeyPatch) -> list[types.ModuleType]:
    modules = []
    for example in examples(page):
        module = types.ModuleType(f"readme_line_{example.line}")
        # Schemas look their annotations up in the module that they name as their own.
        monkeypatch.setitem(sys.modules, module.__name__, module)
        run(example, module)
        modules.append(module)
    return modules


@pytest.mark.parametrize(
    "example", examples(README.read_text(encoding="utf-8")), ids=lambda e: f"line_{e.line}"
)
def test_the_readme_example_runs(
    example: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"readme_line_{example.line}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    run(example, module)


def test_an_example_may_await_at_top_level(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "```python\nimport anyio\nawait anyio.lowlevel.checkpoint()\ndone = True\n```\n"
    (module,) = run_page(page, monkeypatch)
    assert module.__dict__["done"]


def test_each_example_has_a_namespace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "```python\nfirst = 1\n```\n\n```python\nalone = 'first' not in globals()\n```\n"
    _, second = run_page(page, monkeypatch)
    assert second.__dict__["alone"]


def test_an_example_with_a_skip_comment_is_left_out() -> None:
    page = f"{SKIP}\n```python\nraise SystemExit\n```\n\n```python\nkept = 1\n```\n"
    assert [example.code for example in examples(page)] == ["kept = 1\n"]


def test_a_failing_example_names_the_line_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "# Title\n\n```python\nfine = 1\nraise LookupError\n```\n"
    with pytest.raises(LookupError) as caught:
        run_page(page, monkeypatch)
    assert caught.traceback[-1].lineno + 1 == 5
