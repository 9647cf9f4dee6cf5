"""Research: the passages of the sources that answer a question best, by full-text search.

The index is SQLite's FTS5, in memory, with Porter stemming; the ranking is its BM25 (Robertson and
Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; k1 = 1.2, b = 0.75), where
a word in a heading counts twice. A passage matches if it has any of the question's terms.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from plait.orchestration.errors import ResearchError
from plait.orchestration.passages import Passage, passages_of
from plait.orchestration.results import Finding
from plait.orchestration.sources import Checkpoint, Document
from plait.orchestration.terms import terms

__all__ = ["Answer", "research"]

COVERAGE_PART = 0.7
"""The part of the quality that is coverage; the rest is the score margin."""

FOCUS_PART = 0.5
"""What a score for the focus counts for, beside one for the question."""

_LIMIT = 3
_PER_DOCUMENT = 2
# What scores less than a third of the best has one of the words, and is about something else.
_LEAST_PART_OF_BEST = 1 / 3
# A passage of a few words scores high, since BM25 divides by length, and tells a reader nothing.
_FEWEST_WORDS = 6
_RECORDS = (".csv", ".json")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found."""

    findings: tuple[Finding, ...]
    """The best passages, best first."""
    quality: float
    """0 to 1, by `how`."""
    how: str
    """The formula of the quality, with its numbers."""
    read: str
    """What was searched."""
    shares: tuple[tuple[str, float], ...]
    """The documents quoted, each with its share of the summed scores."""
    notes: tuple[str, ...]
    """What the search cannot promise."""


def research(
    question: str,
    documents: Sequence[Document],
    check: Checkpoint,
    *,
    focus: str = "",
    already: Collection[str] = (),
    depth: int = 1,
    most: int = _LIMIT,
) -> Answer:
    """Search documents for the passages that answer a question.

    Args:
        question: in words; its terms are those of `plait.orchestration.terms`.
        documents: what to search.
        check: called between pieces of work, to stop it.
        focus: words that lift a passage that has them, without being asked for: they rank, but a
            passage with them alone does not match, and they do not count as coverage.
        already: quotes that are not to be given again.
        depth: how thoroughly to search. Beyond 1, so many times as many passages may be quoted, and
            for each term that none of them has, the best passage that has it comes first.
        most: how many passages may be quoted at a depth of 1.

    Raises:
        ResearchError: this Python's SQLite was built without FTS5, or the question has no terms.
    """
    asked = terms(question)
    if not asked:
        raise ResearchError(f'the question "{question}" has no word to search for')
    passages = _cut(documents, check)
    with closing(sqlite3.connect(":memory:")) as index:
        _fill(index, passages, check)
        check()
        ranked = _ranked(index, asked, [t for t in terms(focus) if t not in asked])
        check()
        needed = _rare(index, asked, ranked, most * depth if depth > 1 else 0)
        chosen = _choose(ranked, passages, already, depth, needed, most)
        covered = [term for term in asked if _has(index, term, [row for row, _ in chosen])]
    scores = [score for _, score in ranked]
    findings = tuple(_finding(passages[row], score) for row, score in chosen)
    quality, how = _quality(asked, covered, scores)
    return Answer(
        findings=findings,
        quality=quality,
        how=how,
        read=f"{_count(len(documents), 'document')}, {_count(len(passages), 'passage')}, "
        f"{len(scores)} of them with a term of the question",
        shares=_shares(findings),
        notes=_notes(asked, covered, findings, already),
    )


def _cut(documents: Iterable[Document], check: Checkpoint) -> list[Passage]:
    passages: list[Passage] = []
    for document in documents:
        check()
        passages += [
            passage
            for passage in passages_of(document)
            if document.kind in _RECORDS or len(passage.text.split()) >= _FEWEST_WORDS
        ]
    return passages


def _fill(index: sqlite3.Connection, passages: Sequence[Passage], check: Checkpoint) -> None:
    try:
        index.execute(
            "CREATE VIRTUAL TABLE passage USING fts5(heading, words, tokenize='porter unicode61')"
        )
    except sqlite3.DatabaseError as error:
        raise ResearchError(
            f"this Python's SQLite has no full-text search (FTS5): {error}"
        ) from error

    def rows() -> Iterator[tuple[int, str, str]]:
        for i, passage in enumerate(passages):
            check()
            yield i, f"{passage.document.name} {passage.heading}", passage.text

    index.executemany("INSERT INTO passage(rowid, heading, words) VALUES (?, ?, ?)", rows())


def _ranked(
    index: sqlite3.Connection, asked: Sequence[str], preferred: Sequence[str]
) -> list[tuple[int, float]]:
    """Every passage with a term of the question, by score; ties in the order of the sources."""
    scores = _bm25(index, asked)
    for row, score in _bm25(index, preferred).items() if preferred else ():
        if row in scores:
            scores[row] += FOCUS_PART * score
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _bm25(index: sqlite3.Connection, words: Sequence[str]) -> dict[int, float]:
    # SQLite gives better matches smaller numbers, below zero.
    rows = index.execute(
        "SELECT rowid, -bm25(passage, 2.0, 1.0) FROM passage WHERE passage MATCH ?",
        (" OR ".join(_quoted(word) for word in words),),
    )
    return {int(row): float(score) for row, score in rows}


def _quoted(word: str) -> str:
    """A word as a string of the query language, in which nothing is an operator."""
    escaped = word.replace('"', '""')
    return f'"{escaped}"'


def _has(index: sqlite3.Connection, term: str, rows: Sequence[int]) -> bool:
    """Whether one of the rows matches the term, by the index's own stemming."""
    matching = {row for (row,) in index.execute("SELECT rowid FROM passage(?)", (_quoted(term),))}
    return not matching.isdisjoint(rows)


def _rare(
    index: sqlite3.Connection, asked: Sequence[str], ranked: Sequence[tuple[int, float]], count: int
) -> list[tuple[int, float]]:
    """For a deeper search, the best passage for each term that the best ones have not."""
    needed: list[tuple[int, float]] = []
    if count:
        best = [row for row, _ in ranked[:count]]
        for term in asked:
            if not _has(index, term, best):
                having = _bm25(index, [term])
                needed += [(row, score) for row, score in ranked if row in having][:1]
    return needed


def _choose(
    ranked: Sequence[tuple[int, float]],
    passages: Sequence[Passage],
    already: Collection[str],
    depth: int,
    needed: Sequence[tuple[int, float]],
    limit: int,
) -> list[tuple[int, float]]:
    """The best few, so that several documents can speak: none more than twice, and nothing twice.

    A description of a distribution speaks for that distribution, and so once. What is needed comes
    before what is good.
    """
    chosen: list[tuple[int, float]] = []
    said = {_folded(quote) for quote in already}
    quoted: Counter[str] = Counter()
    for row, score in (*needed, *ranked):
        if score < _LEAST_PART_OF_BEST * ranked[0][1] and (row, score) not in needed:
            break
        passage = passages[row]
        words = _folded(passage.text)
        for_this = 1 if passage.document.kind == "dist" else _PER_DOCUMENT * depth
        if words in said or quoted[passage.document.name] == for_this:
            continue
        said.add(words)
        quoted[passage.document.name] += 1
        chosen.append((row, score))
        if len(chosen) == limit * depth:
            break
    return sorted(chosen, key=lambda item: -item[1])


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _finding(passage: Passage, score: float) -> Finding:
    return Finding(
        quote=passage.text.strip("\n"),
        source=passage.document.source,
        document=passage.document.name,
        place=passage.place,
        score=score,
    )


def _quality(
    asked: Sequence[str], covered: Sequence[str], scores: Sequence[float]
) -> tuple[float, str]:
    if not covered:
        return 0.0, "0: no passage was found to quote"
    coverage = len(covered) / len(asked)
    middle = median(scores)
    # With one match there is nothing to stand out from.
    margin = max(0.0, (scores[0] - middle) / scores[0]) if len(scores) > 1 else 0.0
    quality = COVERAGE_PART * coverage + (1 - COVERAGE_PART) * margin
    return quality, (
        f"{COVERAGE_PART:.1f} × coverage + {1 - COVERAGE_PART:.1f} × margin: "
        f"the quotations have {len(covered)} of the question's {len(asked)} terms "
        f"(coverage {coverage:.2f}); the best of {_count(len(scores), 'match', 'matches')} scores "
        f"{scores[0]:.2f} against a median of {middle:.2f} (margin {margin:.2f})"
    )


def _shares(findings: Sequence[Finding]) -> tuple[tuple[str, float], ...]:
    total = sum(finding.score for finding in findings)
    shares: dict[str, float] = {}
    for finding in findings:
        shares[finding.document] = shares.get(finding.document, 0.0) + finding.score / total
    return tuple(shares.items())


def _notes(
    asked: Sequence[str],
    covered: Sequence[str],
    findings: Sequence[Finding],
    already: Collection[str],
) -> tuple[str, ...]:
    notes = []
    absent = [term for term in asked if term not in covered]
    if not findings:
        notes.append(f"No passage has any of: {', '.join(asked)}.")
    elif absent:
        notes.append(f"No quotation has: {', '.join(absent)}.")
    if already:
        notes.append("Passages that the tasks before it have quoted are left out.")
    return tuple(notes)


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
