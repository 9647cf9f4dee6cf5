"""Many values as few arguments of one statement.

asyncpg has to ask the server about the type of an array before it can send one, unless it is one of
texts. So numbers go as the text of an array, and bytes one after the other, with where each begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["as_array", "packed"]


def as_array(numbers: Iterable[float]) -> str:
    """Numbers as the text of an array: in SQL, ``$1::text::bigint[]``."""
    return f"{{{','.join(map(str, numbers))}}}"


def packed(parts: Sequence[bytes]) -> tuple[str, str, bytes]:
    """Where each part begins (from 1), how long it is, and all of them.

    In SQL, ``substring($3::bytea from start for length)``.
    """
    lengths = [len(part) for part in parts]
    starts = accumulate(lengths[:-1], initial=1) if lengths else ()
    return as_array(starts), as_array(lengths), b"".join(parts)
