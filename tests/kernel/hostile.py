"""Records that an attacker might write, and a watch over what reading them does."""

from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import ormsgpack

__all__ = ["forge", "nothing_runs"]


def forge(tree: Any, flags: int = 0, version: int = 1) -> bytes:
    """A record with a right checksum around whatever an attacker likes."""
    body = tree if isinstance(tree, bytes) else ormsgpack.packb(tree)
    head = bytes((version, flags))
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "big") + body


SUSPECT = (
    "import",
    "exec",
    "compile",
    "open",
    "os.",
    "subprocess.",
    "pickle.",
    "socket.",
    "ctypes.",
)
seen: list[str] | None = None


def watch(event: str, _: tuple[Any, ...]) -> None:
    """What the interpreter itself reports, from Python and from C."""
    if seen is not None and event.startswith(SUSPECT):
        seen.append(event)


sys.addaudithook(watch)


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """No code is loaded or run within, nothing is opened, no process is started."""
    global seen  # noqa: PLW0603 - a hook cannot be taken off again
    seen = []
    try:
        yield
    finally:
        found, seen = seen, None
    assert found == []
