"""How a node's output becomes writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from plait_adapters.langgraph._internal._constants import TASKS
from plait_adapters.langgraph.errors import InvalidUpdateError
from plait_adapters.langgraph.types import Send

if TYPE_CHECKING:
    from plait_adapters.langgraph._internal._task import Task

__all__ = (
    "PASSTHROUGH",
    "SKIP_WRITE",
    "ChannelWrite",
    "ChannelWriteEntry",
    "ChannelWriteTupleEntry",
    "Writer",
)

SKIP_WRITE: Final[Any] = object()
"""What a mapper returns to write nothing."""
PASSTHROUGH: Final[Any] = object()
"""In place of a value: the node's output."""

StaticWrite: TypeAlias = tuple[str, Any, str | None]
"""A write that may come: channel, value, and the label of its edge in a drawing."""


class ChannelWriteEntry(NamedTuple):
    """One write to one channel."""

    channel: str
    value: Any = PASSTHROUGH
    """What is written; by default, the node's output."""
    skip_none: bool = False
    """Write nothing if it is ``None``."""
    mapper: Callable[[Any], Any] | None = None
    """Makes what is written from the value."""


class ChannelWriteTupleEntry(NamedTuple):
    """Writes that a function makes from a value."""

    mapper: Callable[[Any], Sequence[tuple[str, Any]] | None]
    value: Any = PASSTHROUGH
    """What it is called with; by default, the node's output."""
    static: Sequence[StaticWrite] | None = None
    """The writes that may come of it, for drawings."""


class Writer:
    """Makes writes from a node's output, after the node has run."""

    waits: bool = False
    """Whether :meth:`route` is to be awaited in place of :meth:`write`."""

    def write(self, output: Any, task: Task) -> None:
        """Add writes to the task's."""
        raise NotImplementedError

    async def route(self, output: Any, task: Task) -> None:
        """As :meth:`write`, where that calls a user's function."""
        raise NotImplementedError

    def static(self) -> Sequence[StaticWrite]:
        """The writes that may come beside those that always do, for drawings."""
        return ()


class ChannelWrite(Writer):
    """Writes that are the same for every output, or are the output.

    Args:
        writes: entries and Sends.

    Raises:
        InvalidUpdateError: an entry writes to a reserved channel.
    """

    def __init__(
        self,
        writes: Sequence[ChannelWriteEntry | ChannelWriteTupleEntry | Send],
        *,
        tags: Sequence[str] | None = None,
    ) -> None:
        self.writes: list[ChannelWriteEntry | ChannelWriteTupleEntry | Send] = list(writes)
        self.tags: Sequence[str] | None = tags
        for entry in self.writes:
            if isinstance(entry, ChannelWriteEntry) and entry.channel == TASKS:
                raise InvalidUpdateError("Cannot write to the reserved channel TASKS")

    def write(self, output: Any, task: Task) -> None:
        """Add the entries to the task's writes."""
        task.write(assemble(self.writes, output))

    def static(self) -> Sequence[StaticWrite]:
        """What the entries say may come of them."""
        return [
            each
            for entry in self.writes
            if isinstance(entry, ChannelWriteTupleEntry)
            for each in entry.static or ()
        ]


def assemble(
    entries: Sequence[ChannelWriteEntry | ChannelWriteTupleEntry | Send], output: Any
) -> list[tuple[str, Any]]:
    """The writes of some entries for an output."""
    writes: list[tuple[str, Any]] = []
    for entry in entries:
        if isinstance(entry, Send):
            writes.append((TASKS, entry))
            continue
        value = output if entry.value is PASSTHROUGH else entry.value
        if isinstance(entry, ChannelWriteTupleEntry):
            writes.extend(entry.mapper(value) or ())
            continue
        if entry.mapper is not None:
            value = entry.mapper(value)
        if value is not SKIP_WRITE and not (entry.skip_none and value is None):
            writes.append((entry.channel, value))
    return writes
