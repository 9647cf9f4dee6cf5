"""How much work a program makes: bytecodes of the kernel, bytes of memory, tasks. No clock."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import plait

KERNEL = str(Path(plait.__file__).parent)

Work = Callable[[], Awaitable[Any]]


def operations(work: Work) -> int:
    """How many bytecodes of Plait's own code are carried out.

    What C functions do is not in it: a copied list shows in ``peak``. The first run, which fills
    caches, does not count.
    """
    count = 0

    def in_frame(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return in_frame

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(KERNEL):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return in_frame

    async def traced() -> None:
        await work()
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            await work()
        finally:
            sys.settrace(before)

    asyncio.run(traced())
    return count


def peak(work: Work) -> int:
    """Bytes: the peak of what Python allocates while the work is done, once caches are filled."""

    async def traced() -> int:
        await work()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await work()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return most - before

    return asyncio.run(traced())


def growth(measure: Callable[[Work], int], program: Callable[[int], Work], size: int) -> float:
    """What the work of a program grows by from 2 to 4 times a size, over what from 1 to 2 times.

    2.0 says that it is linear; what it costs whatever the size drops out of the differences.
    """
    small, middle, large = (measure(program(factor * size)) for factor in (1, 2, 4))
    return (large - middle) / (middle - small)
