"""Sentences: how a text is cut into them, and which say most of what all of them say.

The rank is LexRank (Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text
Summarization", 2004): sentences are a graph in which each recommends those that it resembles, by
the cosine of their TF-IDF vectors, and the rank is the share of time that a random reader spends
at each.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from plait.agents.terms import terms

__all__ = ["Vector", "cosine", "cut", "lexrank", "stems", "vectors_of"]

_TURNS = 50
_EXACT = 1e-9

Vector = Mapping[str, float]
"""The weights of the terms of a sentence; its length is 1, or 0 if it has no term."""

_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|resp|approx|Dr|Mr|Mrs|Prof|Fig|No|[A-Z])\.$")


def cut(text: str) -> list[str]:
    """The sentences of a text, each on one line; a paragraph without a full stop is one."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        start = 0
        for end in _END.finditer(flat):
            if not _ABBREVIATED.search(flat[start : end.start()]):
                found.append(flat[start : end.end()].strip())
                start = end.end()
        if flat[start:]:
            found.append(flat[start:])
    return found


def vectors_of(sentences: Sequence[str]) -> list[Vector]:
    """The TF-IDF vectors of sentences; a term that is in all of them weighs nothing."""
    counts = [Counter(words) for words in map(stems, sentences)]
    spread = Counter(word for count in counts for word in count)
    rarity = {word: math.log((1 + len(sentences)) / n) for word, n in spread.items()}
    found: list[Vector] = []
    for count in counts:
        weights = {word: n * rarity[word] for word, n in count.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        found.append({word: weight / length for word, weight in weights.items()} if length else {})
    return found


def stems(sentence: str) -> tuple[str, ...]:
    """The terms of a sentence, plurals like singulars."""
    return tuple(
        word[:-1] if word.endswith("s") and len(word) > 3 else word for word in terms(sentence)
    )


def cosine(one: Vector, other: Vector) -> float:
    """How much two sentences resemble each other, 0 to 1."""
    small, large = sorted((one, other), key=len)
    return min(1.0, sum(weight * large.get(word, 0.0) for word, weight in small.items()))


def lexrank(
    vectors: Sequence[Vector],
    bias: Sequence[float],
    check: Callable[[], None],
    damping: float = 0.85,
) -> list[float]:
    """The rank of each sentence; they sum to 1.

    Args:
        vectors: those of the sentences.
        bias: how likely a reader is to begin at each sentence, in proportion; not all 0.
        check: called between pieces of work, to stop it.
        damping: the part of a rank that is recommended by others; the rest is by the bias.
    """
    total = sum(bias)
    start = [each / total for each in bias]
    likes = _resemblances(vectors, check)
    sums = [sum(row.values()) for row in likes]
    ranks = start
    for _ in range(_TURNS):
        check()
        # A sentence like no other sends its reader back to the start.
        lost = sum(rank for rank, sent in zip(ranks, sums, strict=True) if not sent)
        new = [(1 - damping + damping * lost) * each for each in start]
        for rank, row, sent in zip(ranks, likes, sums, strict=True):
            for other, weight in row.items():
                new[other] += damping * rank * weight / sent
        moved = sum(abs(a - b) for a, b in zip(new, ranks, strict=True))
        ranks = new
        if moved < _EXACT:
            break
    return ranks


def _resemblances(vectors: Sequence[Vector], check: Callable[[], None]) -> list[dict[int, float]]:
    having: dict[str, list[int]] = defaultdict(list)
    for index, vector in enumerate(vectors):
        for word in vector:
            having[word].append(index)
    rows: list[dict[int, float]] = []
    for index, vector in enumerate(vectors):
        check()
        row: dict[int, float] = defaultdict(float)
        for word, weight in vector.items():
            for other in having[word]:
                if other != index:
                    row[other] += weight * vectors[other][word]
        rows.append(row)
    return rows
