"""How much two texts say the same: the resemblance of their shingles.

A shingle is a run of words; the resemblance is the Jaccard index of two texts' sets of shingles
(Broder, "On the resemblance and containment of documents", 1997): 1 for the same words in the same
order, 0 for texts that have no run in common.
"""

from __future__ import annotations

import re
from typing import TypeAlias

__all__ = ["Shingles", "resemblance", "shingles"]

Shingles: TypeAlias = frozenset[tuple[str, ...]]


def shingles(text: str, size: int = 3) -> Shingles:
    """The runs of `size` words in a text, without case and punctuation; a shorter one is one."""
    words = re.findall(r"\w+", text.casefold())
    runs = max(1, len(words) - size + 1)
    return frozenset(tuple(words[i : i + size]) for i in range(runs)) if words else frozenset()


def resemblance(one: Shingles, other: Shingles) -> float:
    """The share of the shingles of both texts together that both have, from 0 to 1."""
    if not one or not other:
        return 1.0 if one == other else 0.0
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
