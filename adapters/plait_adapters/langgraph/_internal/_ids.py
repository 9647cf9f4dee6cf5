"""Ids of checkpoints, tasks and interrupts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import cache
from hashlib import blake2b, sha1
from typing import Any, NamedTuple

from ._constants import NS_SEP

_NODE = f"{random.getrandbits(48):012x}"
_last = 0


def checkpoint_id(clock_seq: int) -> str:
    """A UUID of version 6, whose text sorts by time: later ids of a process are larger.

    Format: RFC 9562, section 5.6; the time counts 100 ns steps since 15 October 1582.
    """
    global _last  # noqa: PLW0603 - one clock for the process
    now = time.time_ns() // 100 + 0x01B21DD213814000
    now = _last = max(now, _last + 1)
    return checkpoint_id_of(now, clock_seq)


def checkpoint_id_of(ticks: int, clock_seq: int) -> str:
    """The UUID of a time, in steps of 100 ns since 15 October 1582."""
    return "%08x-%04x-6%03x-%04x-%s" % (  # noqa: UP031 - an f-string takes twice the time
        ticks >> 28,
        ticks >> 12 & 0xFFFF,
        ticks & 0xFFF,
        0x8000 | (clock_seq & 0x3FFF),
        _NODE,
    )


def digest_bytes(data: bytes) -> str:
    """32 hexadecimal digits that stand for some bytes."""
    return blake2b(data, digest_size=16).hexdigest()


class Ids(NamedTuple):
    """A way to name tasks and questions after what they are: who asks again gets the same."""

    task_digest: Callable[[bytes], str]
    """Makes at least 32 hexadecimal digits that stand for a task."""
    digest: Callable[[bytes], str]
    """Makes 32 hexadecimal digits that stand for a question."""
    is_packed: bool
    """Whether the id of the checkpoint goes in as its bytes, and the rest follows unseparated."""

    def task(self, checkpoint_id: str, *parts: str) -> str:
        """The id of the task of a checkpoint that the parts describe, written as a UUID."""
        if self.is_packed:
            data = _packed(checkpoint_id) + "".join(parts).encode()
        else:
            data = "\x1f".join((checkpoint_id, *parts)).encode()
        text = self.task_digest(data)
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"

    def interrupt(self, namespace: str, answered: int = 0) -> str:
        """The id of a task's question, of which ``answered`` questions have been answered before.

        A question is known by the number of answers that its task has, not by the order of calls,
        which differs from run to run where a task asks in parallel.
        """
        asked = f"{namespace}{NS_SEP}{answered}" if answered else namespace
        return self.digest(asked.encode())


def _packed(checkpoint_id: str) -> bytes:
    try:
        return bytes.fromhex(checkpoint_id.replace("-", ""))
    except ValueError:  # a saver's own kind of id
        return checkpoint_id.encode()


def _sha1(data: bytes) -> str:
    return sha1(data, usedforsecurity=False).hexdigest()


@cache
def known_ids() -> tuple[Ids, ...]:
    """The ways by which stored tasks may be named; the first is the one to name new ones.

    Where ``xxhash`` is installed, as wherever langchain-core is, that is LangGraph's way: either
    of the two goes on with what the other has left half done.
    """
    own = Ids(digest_bytes, digest_bytes, is_packed=False)
    try:
        from xxhash import xxh3_128_hexdigest
    except ImportError:
        return (own,)
    newer = Ids(xxh3_128_hexdigest, xxh3_128_hexdigest, is_packed=True)
    return newer, own, Ids(_sha1, xxh3_128_hexdigest, is_packed=True)


def is_interrupt_id(value: Any) -> bool:
    """Whether a key of a mapping of answers may be an interrupt's id."""
    return isinstance(value, str) and len(value) == 32 and not value.strip("0123456789abcdef")


def path_key(path: Any) -> str:
    """A task's path as text that sorts as the writes of a step are applied."""
    if isinstance(path, (tuple, list)):
        try:
            return f"~{', '.join(path)}"
        except TypeError:  # it has more than names
            pass
        parts = [part if type(part) is str else path_key(part) for part in path]
        return f"~{', '.join(parts)}"
    return f"{path:010d}" if isinstance(path, int) else str(path)
