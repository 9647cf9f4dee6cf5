"""What a run is given, as writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from plait_adapters.langgraph.errors import InvalidUpdateError
from plait_adapters.langgraph.types import Command, Send

from ._constants import BRANCH_TO, NULL_TASK_ID, RESUME, START, TASKS

logger = logging.getLogger(__name__)


def input_writes(channels: str | Sequence[str], given: Any) -> list[tuple[str, Any]]:
    """The writes of an input.

    Raises:
        TypeError: the graph has several input channels, and the input is no mapping.
    """
    if given is None:
        return []
    if isinstance(channels, str):
        return [(channels, given)]
    if not isinstance(given, dict):
        raise TypeError(f"Expected chunk to be a dict, got {type(given).__name__}")
    writes = []
    for name, value in given.items():
        if name in channels:
            writes.append((name, value))
        else:
            logger.warning("Input channel %s not found in %s", name, channels)
    return writes


def command_writes(command: Command[Any]) -> Iterator[tuple[str, str, Any]]:
    """What a command from outside the run writes: the task (none), the channel, the value.

    Raises:
        InvalidUpdateError: it is for a graph around this one.
        TypeError: it goes to something that is no name and no Send.
    """
    if command.graph == Command.PARENT:
        raise InvalidUpdateError("There is no parent graph")
    goto: Any = command.goto
    for target in goto if isinstance(goto, (list, tuple)) else (goto,):
        if isinstance(target, Send):
            yield NULL_TASK_ID, TASKS, target
        elif isinstance(target, str):
            yield NULL_TASK_ID, BRANCH_TO.format(target), START
        else:
            raise TypeError(f"In Command.goto, expected Send/str, got {type(target).__name__}")
    if command.resume is not None:
        yield NULL_TASK_ID, RESUME, command.resume
    if command.update:
        for name, value in command._update_as_tuples():
            yield NULL_TASK_ID, name, value
