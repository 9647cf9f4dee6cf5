"""Many values as few arguments of one statement.

asyncpg has to ask the server about the type of an array before it can send one, unless it is one of
texts. So numbers go as the text of an array, and bytes one after the other, with where each begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["as_array", "packed", "texts_as_array"]


def as_array(numbers: Iterable[float]) -> str:
    """Numbers as the text of an array: in SQL, ``$1::text::bigint[]``."""
    return f"{{{','.join(map(str, numbers))}}}"


def texts_as_array(texts: Iterable[str]) -> str:
    """Texts as the text of an array: in SQL, ``$1::text::text[]``. For an array of such arrays."""
    between = '","'
    whole = between.join(texts := [*texts])
    if "\\" in whole or whole.count('"') != 2 * max(0, len(texts) - 1):
        quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
        whole = between.join(quoted)
    return f'{{"{whole}"}}' if texts else "{}"


def packed(parts: Sequence[bytes]) -> tuple[str, str, bytes]:
    """Where each part begins (from 1), how long it is, and all of them.

    In SQL, ``substring($3::bytea from start for length)``.
    """
    lengths = [len(part) for part in parts]
    starts = accumulate(lengths[:-1], initial=1) if lengths else ()
    return as_array(starts), as_array(lengths), b"".join(parts)
