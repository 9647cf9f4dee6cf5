"""Server-sent events, as far as streams of completions use them.

The rules are those of the HTML standard, section 9.2.6: an event is its ``data`` lines, joined by
newlines, and ends at an empty line; a line that begins with a colon is a comment; one space after
the first colon does not count. An event that the stream does not end is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

__all__ = ["Events"]


class Events:
    """The data of each event in lines; an asynchronous iterator over them, without their ends.

    Args:
        lines: those of the stream, without their ends.
        last: the data of the event after which there is none.

    Attributes:
        over: whether the last event has come, and not merely the end of the lines.
    """

    def __init__(self, lines: AsyncIterator[str], last: str) -> None:
        self._lines = lines
        self._last = last
        self.over: bool = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> str:
        data: list[str] = []
        if self.over:
            raise StopAsyncIteration
        async for line in self._lines:
            if not line and data:
                found = "\n".join(data)
                if found.strip() != self._last:
                    return found
                self.over = True
                break
            field, _, value = line.partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
        raise StopAsyncIteration

    async def close(self, seconds: float) -> None:
        """Read what is left for so long, and no longer: generators over a connection that are not
        read to their end, or cancelled in it, would be closed by nobody."""
        with anyio.move_on_after(seconds):
            async for _ in self._lines:
                pass
