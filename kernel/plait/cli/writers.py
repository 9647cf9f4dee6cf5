"""What writes up a report once it is there: `--agents model`.

A package offers it by an entry point of the group `plait.writers`: a function that is called with
what `--model` says, and gives an asynchronous context manager of what writes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from plait.cli.refusals import Refused
from plait.errors import PlaitError
from plait.orchestration import Report

__all__ = ["GROUP", "VARIABLE", "Write", "Written", "open_writer"]

GROUP: Final = "plait.writers"
"""The group of entry points."""

VARIABLE: Final = "PLAIT_MODEL"
"""The environment variable with the model, where the command names none."""


class Written(Protocol):
    """A text that was written about a report."""

    def to_markdown(self) -> str:
        """For a reader: parts of the second level, after those of the report."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        ...


Write = Callable[[Report], Awaitable[Written]]
"""Writes up a report."""


@asynccontextmanager
async def open_writer(options: argparse.Namespace) -> AsyncIterator[Write | None]:
    """What is to write up the report of this command; nothing without `--agents model`.

    Raises:
        Refused: there is no model, or it cannot be asked.
    """
    if options.agents != "model":
        if options.model is not None:
            raise Refused("--model is for agents that use one: add --agents model")
        yield None
        return
    model = options.model or os.environ.get(VARIABLE)
    if not model:
        raise Refused(
            "it is not said which model: --model local, --model URL, or the environment variable "
            f"{VARIABLE}"
        )
    open_, problems = _found(options.agents), (PlaitError, ValueError)
    async with AsyncExitStack() as stack:
        try:
            write: Write = await stack.enter_async_context(open_(model))
        except problems as error:
            raise Refused(f"--model {model}: {' '.join(str(error).split())}") from error
        yield write


def _found(name: str) -> Any:
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise Refused(f"no installed package writes with --agents {name}")
    try:
        return known[name].load()
    except ImportError as error:
        raise Refused(
            f"--agents {name} needs a package that is not installed ({error.name}): "
            f"pip install 'plait[{name}s]'"
        ) from error
