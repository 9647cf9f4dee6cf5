"""The documentation's typical programs run unchanged but for the import, and do the same."""

import asyncio
import re
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="the programs are run on LangGraph as well")

from tests.adapters.langgraph.differential.session import Recorder

FOLDER = Path(__file__).parent / "programs"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "scripted")


def moved(source: str) -> str:
    """A program moved over: one search and replace."""
    return re.sub(r"\b(from|import) langgraph\b", r"\1 plait_adapters.langgraph", source)


def load(name: str, source: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = str(FOLDER / f"{name}.py")
    sys.modules[name] = module  # annotations are looked up in the module
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def run(name: str, *, move: bool) -> Any:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*moved to `langchain", DeprecationWarning)
        module = load(f"{name}_{'here' if move else 'there'}", moved(source) if move else source)
        found = asyncio.run(module.main())
    module.check(found)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_what_it_did(name: str) -> None:
    recorder = Recorder()
    there, here = run(name, move=False), run(name, move=True)
    assert recorder.plain(here) == recorder.plain(there)
