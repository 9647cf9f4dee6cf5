"""Identifiers of checkpoints: they sort by time."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Final

from plait_adapters.langgraph._support import missing

__all__ = ["UUID", "uuid6"]

UUID = uuid.UUID

_EPOCH: Final = 0x01B21DD213814000
"""From the beginning of UUIDs (1582-10-15) to that of Unix, in steps of 100 ns (RFC 9562, 5.1)."""

_lock = threading.Lock()
_last = 0


def uuid6(node: int | None = None, clock_seq: int | None = None) -> UUID:
    """A UUID of version 6 (RFC 9562, 5.6): its text sorts by the time at which it was made.

    Each one that a process makes is larger than those before.

    Args:
        node: 48 bits; by default random ones.
        clock_seq: the lowest 14 bits of this are taken; by default random ones.
    """
    global _last  # noqa: PLW0603 - two clocks would not keep the order
    with _lock:
        _last = ticks = max(time.time_ns() // 100 + _EPOCH, _last + 1)
    sequence = random.getrandbits(14) if clock_seq is None else clock_seq & 0x3FFF
    node = random.getrandbits(48) if node is None else node & 0xFFFFFFFFFFFF
    high, low = ticks >> 12, ticks & 0xFFF
    return UUID(int=high << 80 | 0x6 << 76 | low << 64 | 0b10 << 62 | sequence << 48 | node)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
