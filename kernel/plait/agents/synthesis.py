"""A synthesis specialist that needs no model: it chooses sentences, and cites where they are from.

Nothing is worded anew, so nothing is said that no finding says. Sentences are ranked by LexRank
(`plait.agents.sentences`) and taken by maximal marginal relevance (Carbonell and Goldstein, "The
Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries", 1998): the
next is the one that says most and repeats least, as long as the text does not become too long.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from plait.agents.agent import AgentContext, AgentResources, AgentResult, AgentTask
from plait.agents.errors import AgentError
from plait.agents.sentences import Vector, cosine, cut, lexrank, stems, vectors_of
from plait.agents.specialization import SynthesisSpecialization
from plait.agents.specification import AgentSpecification

__all__ = [
    "CitedSentence",
    "Finding",
    "Synthesis",
    "SynthesisAgent",
    "SynthesisRequest",
    "render",
    "synthesise",
]

RELEVANCE = 0.7
"""What a sentence's rank counts for when the next is taken; the rest is how little it repeats."""

ALIKE = 0.8
"""The cosine from which on two sentences say the same: one is taken, and both are cited."""

QUESTION_PART = 3.0
"""What a sentence with all the terms of the question weighs in addition to 1."""

_FEWEST_WORDS = 4

_FOCUSED = 0.2
"""How much of a rank is recommended by others where there is a question: then being about it counts
more than being central (Otterbacher, Erkan and Radev, "Using Random Walks for Question-focused
Sentence Retrieval", 2005)."""


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Finding(_Record):
    """Something that was found, as it was said."""

    text: str
    """One sentence or more."""
    source: str
    """Where it is from, as a reader is told."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What it counts for beside the others."""


class SynthesisRequest(_Record):
    """What a synthesis is made of: the payload of its task."""

    findings: tuple[Finding, ...]
    """They are cited by their numbers, from 1, in this order."""
    question: str = ""
    """What the text should be about; by default whatever the findings are about."""


class CitedSentence(_Record):
    """A sentence, and which findings say so."""

    text: str
    """The sentence, without its citations."""
    cites: tuple[int, ...]
    """The numbers of the findings that say it, from 1."""


class Synthesis(_Record):
    """One text of many findings."""

    sentences: tuple[CitedSentence, ...]
    """What it says, in order."""
    text: str
    """All of it, in the style and with the citations that were asked for."""
    sources: tuple[str, ...]
    """Where each finding is from, by its number less 1."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    finding: int
    place: int
    vector: Vector
    rank: float

    @property
    def words(self) -> int:
        return len(self.text.split())


def synthesise(
    request: SynthesisRequest,
    wanted: SynthesisSpecialization,
    check: Callable[[], None] = lambda: None,
) -> AgentResult:
    """Make one text of findings.

    Args:
        request: the findings.
        wanted: style, audience, length and citations.
        check: called between pieces of work, to stop it.

    Returns:
        A result whose content is a `Synthesis`.
    """
    candidates = _ranked(request, wanted, check)
    chosen = _choose(candidates, wanted.length, check)
    chosen.sort(key=lambda each: (each.finding, each.place))
    sentences = tuple(
        CitedSentence(text=each.text, cites=_citing(each, candidates)) for each in chosen
    )
    sources = tuple(finding.source for finding in request.findings)
    synthesis = Synthesis(
        sentences=sentences, text=render(sentences, sources, wanted), sources=sources
    )
    quality, how = _quality(request, candidates, chosen, sentences)
    return AgentResult(
        content=synthesis,
        quality=quality,
        how=how,
        wanting=_wanting(request, candidates, sentences, wanted.length),
        notes=("The sentences are chosen, not worded: each stands in a finding as it is.",),
    )


def render(
    sentences: Sequence[CitedSentence], sources: Sequence[str], wanted: SynthesisSpecialization
) -> str:
    """Sentences as a text, in the style and with the citations that are wanted."""
    said = [f"{each.text}{_citation(each, sources, wanted)}" for each in sentences]
    text = "\n".join(f"- {each}" for each in said) if wanted.style == "bullets" else " ".join(said)
    if wanted.citations != "numbers" or not sentences:
        return text
    cited = sorted({number for each in sentences for number in each.cites})
    return f"{text}\n\n" + "\n".join(f"[{number}] {sources[number - 1]}" for number in cited)


def _citation(
    sentence: CitedSentence, sources: Sequence[str], wanted: SynthesisSpecialization
) -> str:
    if wanted.citations == "none":
        return ""
    if wanted.citations == "numbers":
        return " " + "".join(f"[{number}]" for number in sentence.cites)
    names = dict.fromkeys(sources[number - 1] for number in sentence.cites)
    return f" ({'; '.join(names)})"


def _ranked(
    request: SynthesisRequest, wanted: SynthesisSpecialization, check: Callable[[], None]
) -> list[_Candidate]:
    places = [
        (sentence, number, place)
        for number, finding in enumerate(request.findings, start=1)
        for place, sentence in enumerate(cut(finding.text))
        if len(sentence.split()) >= _FEWEST_WORDS
    ]
    if not places:
        return []
    check()
    vectors = vectors_of([sentence for sentence, _, _ in places])
    asked = stems(request.question)
    weights = [
        request.findings[number - 1].weight
        * (1 + QUESTION_PART * _share(asked, stems(sentence)))
        * (plainness(sentence) if wanted.audience == "general" else 1.0)
        for sentence, number, _ in places
    ]
    # A reader begins where the weight is; and what is recommended counts by its weight again.
    ranks = lexrank(vectors, weights, check, **({"damping": _FOCUSED} if asked else {}))
    ranks = [rank * weight for rank, weight in zip(ranks, weights, strict=True)]
    best = max(ranks)
    return [
        _Candidate(*place, vector, rank / best)
        for place, vector, rank in zip(places, vectors, ranks, strict=True)
    ]


def _share(asked: Sequence[str], said: Sequence[str]) -> float:
    return len(set(asked).intersection(said)) / len(set(asked)) if asked else 0.0


def plainness(sentence: str) -> float:
    """How easily a sentence is read, above 0 and up to 1: 1 for up to 15 words of up to 5 letters,
    less in proportion as it is longer, and half if there is code in it."""
    words = sentence.split()
    letters = sum(len(word) for word in words) / len(words)
    code = 0.5 if re.search(r"[_(){}\[\]=<>`]|\w\.\w", sentence) else 1.0
    return min(1.0, 15 / len(words)) * min(1.0, 5 / letters) * code


def _choose(
    candidates: Sequence[_Candidate], length: int, check: Callable[[], None]
) -> list[_Candidate]:
    chosen: list[_Candidate] = []
    left = [each for each in candidates if each.words <= length]
    repeats = dict.fromkeys(map(id, left), 0.0)
    room = length
    while left:
        check()
        best = max(
            left, key=lambda each: RELEVANCE * each.rank - (1 - RELEVANCE) * repeats[id(each)]
        )
        chosen.append(best)
        room -= best.words
        for each in left:
            repeats[id(each)] = max(repeats[id(each)], cosine(each.vector, best.vector))
        left = [
            each
            for each in left
            if each is not best and each.words <= room and repeats[id(each)] < ALIKE
        ]
    return chosen


def _citing(sentence: _Candidate, candidates: Sequence[_Candidate]) -> tuple[int, ...]:
    alike = {each.finding for each in candidates if cosine(each.vector, sentence.vector) >= ALIKE}
    return tuple(sorted({sentence.finding, *alike}))


def _quality(
    request: SynthesisRequest,
    candidates: Sequence[_Candidate],
    chosen: Sequence[_Candidate],
    sentences: Sequence[CitedSentence],
) -> tuple[float, str]:
    if not sentences:
        return 0.0, "0: no sentence of a finding fits"
    weights: dict[str, float] = {}
    for each in candidates:
        for word, weight in each.vector.items():
            weights[word] = weights.get(word, 0.0) + each.rank * weight
    said = {word for each in chosen for word in each.vector}
    total = sum(weights.values())
    content = sum(weights[word] for word in said) / total if total else 1.0
    numbers = {number for each in sentences for number in each.cites}
    cited = sum(request.findings[number - 1].weight for number in numbers)
    share = cited / sum(finding.weight for finding in request.findings)
    quality = min(1.0, 0.5 * content + 0.5 * share)
    return quality, (
        f"0.5 × content + 0.5 × cited: the text has {content:.2f} of the weight of all terms of "
        f"the findings (TF-IDF × LexRank), and cites {len(numbers)} of {len(request.findings)} "
        f"findings, {share:.2f} of their weight"
    )


def _wanting(
    request: SynthesisRequest,
    candidates: Sequence[_Candidate],
    sentences: Sequence[CitedSentence],
    length: int,
) -> tuple[str, ...]:
    if not request.findings:
        return ("There are no findings.",)
    if not candidates:
        return (f"No finding has a sentence of {_FEWEST_WORDS} words or more.",)
    if not sentences:
        return (f"No sentence has {length} words or fewer.",)
    cited = {number for each in sentences for number in each.cites}
    absent = [str(n) for n in range(1, len(request.findings) + 1) if n not in cited]
    return (f"Not cited: {', '.join(absent)}.",) if absent else ()


class _Unwanted(Exception):
    """Raised in the thread whose work nobody waits for any more."""


class SynthesisAgent:
    """Makes one text of findings. The payload of its tasks is a `SynthesisRequest`, the content of
    its results a `Synthesis`; its specialization is a `SynthesisSpecialization`."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        special = specification.specialization
        if not isinstance(special, SynthesisSpecialization):
            raise TypeError(f"its specialization is {special!r}: give a SynthesisSpecialization")
        self.wanted = special

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Make the text, in a worker thread."""
        request = task.payload
        if not isinstance(request, SynthesisRequest):
            raise AgentError(
                f"task {task.id!r} gives a synthesis {type(request).__name__}: give its payload as "
                "a SynthesisRequest"
            )
        unwanted = threading.Event()

        def check() -> None:
            if unwanted.is_set():
                raise _Unwanted

        try:
            return await anyio.to_thread.run_sync(
                synthesise, request, self.wanted, check, abandon_on_cancel=True
            )
        finally:
            unwanted.set()
