"""How a command ends: its exit code, and what one line says of what went wrong."""

from __future__ import annotations

import re
import time
from enum import IntEnum

from plait.errors import (
    GraphChanged,
    GraphError,
    InputError,
    LeaseLost,
    PlaitError,
    ThreadBusy,
    ThreadError,
    ThreadNotFound,
)
from plait.orchestration.errors import ReviewError

__all__ = ["ExitCode", "Refused", "code_of", "in_one_line"]


class ExitCode(IntEnum):
    """What a command says to the shell."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    SUSPENDED = 3
    INTERRUPTED = 130


class Refused(Exception):
    """What was asked for cannot be done, and nothing was done. The message is one line."""


def code_of(error: PlaitError) -> ExitCode:
    """Whether a command failed, or was refused before anything happened."""
    if isinstance(error, (GraphError, InputError, ReviewError)):
        return ExitCode.REFUSED
    if isinstance(error, ThreadError) and not isinstance(error, LeaseLost):
        return ExitCode.REFUSED
    return ExitCode.FAILED


def in_one_line(error: PlaitError) -> str:
    """What went wrong and what to do about it, in the words of the command line."""
    match error:
        case ThreadNotFound(thread_id=thread_id):
            return f"there is no thread {thread_id!r}: `plait runs` lists those that there are"
        case ThreadBusy(expires=float(expires)):
            return f"{error} (at {time.strftime('%H:%M:%S', time.localtime(expires))})"
        case GraphChanged(thread_id=thread_id, differences=differences):
            return (
                f"thread {thread_id!r} has a run that another graph began: "
                f"{'; '.join(differences)}; resume it with that graph, or with --migrate to go on "
                "with this one"
            )
        case _:
            text = re.sub(r":\n\s*-\s*", ": ", str(error))
            return re.sub(r"\s*\n\s*(- )?", "; ", text)
