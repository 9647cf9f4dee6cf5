"""One trivial run fits in the head: how many of Plait's functions one node's run touches."""

import asyncio
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import plait
from tests.kernel.build import build, does

LIBRARY = str(Path(plait.__file__).parent)
INLINED = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")
"""Frames of their own in some versions of Python only; a reader does not jump there."""


def functions_of_one_run() -> set[CodeType]:
    """What of the library is called from ``flow.run`` to the result, for one node."""
    flow = build("START n END", n=does(text="done")).compile()
    touched: set[CodeType] = set()

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(LIBRARY) and code.co_name not in INLINED:
            touched.add(code)

    async def once() -> None:
        sys.setprofile(profile)
        try:
            await flow.run({"text": "given"})
        finally:
            sys.setprofile(None)

    asyncio.run(once())
    return touched


def test_one_nodes_run_touches_few_functions_in_few_files() -> None:
    touched = functions_of_one_run()
    files = sorted({Path(code.co_filename).stem for code in touched})
    print(f"one node's run: {len(touched)} functions in {len(files)} files: {', '.join(files)}")
    for code in sorted(touched, key=lambda each: (each.co_filename, each.co_firstlineno)):
        print(f"    {Path(code.co_filename).stem}.{code.co_qualname}")
    assert len(touched) <= 50
    assert len(files) <= 8
