"""One text of many findings, which cites them by number: what is asked for, and how it is judged.

A model is asked for sentences with the numbers of the findings that they rest on. Nothing that it
says of itself counts. What can be measured is: whether each number names a finding, whether a
sentence has its words and its figures from what it cites, whether the text repeats itself, how long
it is, and how many of the findings it uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.terms import terms

__all__ = [
    "Assembled",
    "CitedSentence",
    "Draft",
    "FindingText",
    "Judgement",
    "SynthesisTask",
    "WrittenSynthesis",
    "extract",
    "faults_of",
    "judge",
    "prompt",
    "prompt_for_one",
    "schema_of",
]

SUPPORT = 0.5
"""The least share of a sentence's terms that what it cites must have, for it to rest on that."""

CARRIES = 0.25
"""The least share of a sentence's terms that a single finding must have, to be rightly cited."""

_WORDS_PER_SENTENCE = 12
_LONGEST_SENTENCE = 400
_TOO_LONG = 1.5
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class FindingText(_Record):
    """A finding as it is numbered and cited."""

    text: str
    """What was found."""
    source: str
    """Where it stands."""


class SynthesisTask(_Record):
    """The payload of a task for a synthesis."""

    title: str
    """What the text is to be about."""
    findings: Annotated[tuple[FindingText, ...], Field(min_length=1)]
    """What it is to be made of; the first has the number 1."""


class CitedSentence(_Record):
    """A sentence, and what it rests on."""

    text: Annotated[str, Field(min_length=1, max_length=_LONGEST_SENTENCE)]
    """The sentence."""
    cites: tuple[int, ...] = ()
    """The numbers of findings."""


class Draft(BaseModel):
    """What a model is asked for."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    sentences: Annotated[tuple[CitedSentence, ...], Field(min_length=1)]
    """The text."""


class Assembled(Draft):
    """A draft that was asked for sentence by sentence."""

    failed: tuple[str, ...] = ()
    """The checks that sentences failed which were left out."""
    rejected: tuple[str, ...] = ()
    """These sentences."""


class WrittenSynthesis(_Record):
    """A synthesis, whoever wrote it in the end."""

    title: str
    """What it is about."""
    sentences: tuple[CitedSentence, ...]
    """The text."""
    findings: tuple[FindingText, ...]
    """What its numbers stand for; the first is 1."""
    model: str
    """The model that was asked."""
    by_model: bool
    """Whether the text is the model's; else it was extracted from the findings."""
    failed_checks: tuple[str, ...] = ()
    """Why what the model wrote was not taken, or not all of it: the checks that it failed."""
    rejected: str = ""
    """What was not taken, as the model wrote it."""
    style: Literal["prose", "bullets"] = "prose"
    """Sentences one after the other, or one to a line."""
    citations: Literal["numbers", "names", "none"] = "numbers"
    """How a sentence names what it cites."""

    @property
    def text(self) -> str:
        """The sentences, with their citations."""
        told = [sentence.text + self._citation(sentence) for sentence in self.sentences]
        return " ".join(told) if self.style == "prose" else "\n".join(f"- {one}" for one in told)

    def _citation(self, sentence: CitedSentence) -> str:
        if self.citations == "numbers":
            return "".join(f" [{number}]" for number in sentence.cites)
        if self.citations == "names" and sentence.cites:
            names = dict.fromkeys(self.findings[number - 1].source for number in sentence.cites)
            return f" ({', '.join(names)})"
        return ""


class Judgement(_Record):
    """What could be measured of a text."""

    quality: Annotated[float, Field(ge=0, le=1)]
    """0 to 1, by `how`."""
    how: str
    """The formula of the quality, with its numbers."""


def schema_of(task: SynthesisTask, length: int) -> dict[str, Any]:
    """The JSON schema of a draft for these findings, of about so many words."""
    schema = Draft.model_json_schema()
    schema["additionalProperties"] = False
    schema["properties"]["sentences"]["maxItems"] = max(1, length // _WORDS_PER_SENTENCE)
    sentence = schema["$defs"]["CitedSentence"]
    sentence["required"] = ["text", "cites"]
    cites = sentence["properties"]["cites"]
    cites.pop("default")
    cites.update(minItems=1, maxItems=3)
    cites["items"].update(minimum=1, maximum=len(task.findings))
    return schema


def prompt(task: SynthesisTask, length: int, audience: str) -> str:
    """What a model is asked: a text of at most so many words, for an ``expert`` or ``general``
    audience."""
    numbered = "\n".join(
        f"[{number}] {' '.join(finding.text.split())} ({finding.source})"
        for number, finding in enumerate(task.findings, start=1)
    )
    reader = "people who know the subject" if audience == "expert" else "everybody"
    return (
        f"These are findings about: {task.title}\n\n{numbered}\n\n"
        f"Say in your own words, in at most {length} words and for {reader}, what they show "
        "together. Use nothing but the findings. Each sentence comes with the numbers of the "
        "findings that it rests on."
    )


def prompt_for_one(finding: FindingText) -> str:
    """What a model is asked that can do no more than to say one sentence in its own words."""
    return f"Rewrite this sentence: {' '.join(finding.text.split())}"


def faults_of(draft: Draft, task: SynthesisTask, length: int) -> list[str]:
    """The checks that a draft fails, a sentence each; none if it can be taken."""
    faults = []
    known = range(1, len(task.findings) + 1)
    for place, sentence in enumerate(draft.sentences, start=1):
        faults += [
            f"sentence {place} cites finding {number}, and there are findings 1 to {known[-1]}"
            for number in sentence.cites
            if number not in known
        ]
        if not sentence.cites:
            faults.append(f"sentence {place} cites nothing")
        elif all(number in known for number in sentence.cites):
            faults += _faults_against_what_it_cites(place, sentence, task)
    if repeated := _repeated(draft):
        faults.append(f"it says the same twice: “{repeated}”")
    words = sum(len(sentence.text.split()) for sentence in draft.sentences)
    if words > _TOO_LONG * length:
        faults.append(f"it has {words} words, and {length} are asked for")
    return faults


def _faults_against_what_it_cites(
    place: int, sentence: CitedSentence, task: SynthesisTask
) -> Iterator[str]:
    cites = ", ".join(map(str, sentence.cites))
    if not _rests_on(sentence, task):
        yield f"sentence {place} has fewer than half of its words from what it cites, {cites}"
    cited = " ".join(task.findings[number - 1].text for number in sentence.cites)
    strange = [n for n in _NUMBER.findall(sentence.text) if n not in _NUMBER.findall(cited)]
    if strange:
        yield f"sentence {place} says {', '.join(strange)}, which is not in what it cites, {cites}"


def judge(sentences: Sequence[CitedSentence], task: SynthesisTask) -> Judgement:
    """The quality of a text: the mean of three shares.

    Of the sentences: those that have at least half of their terms from all that they cite. Of the
    citations: those that carry, since the one finding has at least a quarter of the sentence's
    terms; so citing everything everywhere gains nothing. Of the findings: those that are cited by a
    citation that carries.
    """
    held = sum(_rests_on(sentence, task) for sentence in sentences)
    citations = [(one, number) for one in sentences for number in dict.fromkeys(one.cites)]
    carrying = [number for one, number in citations if _share(one, [number], task) >= CARRIES]
    shares = (
        _part(held, len(sentences)),
        _part(len(carrying), len(citations)),
        _part(len(set(carrying)), len(task.findings)),
    )
    return Judgement(
        quality=sum(shares) / len(shares),
        how=f"mean of: {held} of {len(sentences)} sentences have half of their terms from what "
        f"they cite; {len(carrying)} of {len(citations)} citations have a quarter of them alone; "
        f"{len(set(carrying))} of {len(task.findings)} findings are cited by such",
    )


def extract(task: SynthesisTask, length: int) -> tuple[CitedSentence, ...]:
    """A text without a model: the first sentence of each finding, in order, as many as fit into so
    many words; at least one."""
    chosen: list[CitedSentence] = []
    left = length
    for number, finding in enumerate(task.findings, start=1):
        first = _SENTENCE.split(" ".join(finding.text.split()))[0][:_LONGEST_SENTENCE]
        left -= len(first.split())
        if left < 0 and chosen:
            break
        if first:
            chosen.append(CitedSentence(text=first, cites=(number,)))
    return tuple(chosen)


def _rests_on(sentence: CitedSentence, task: SynthesisTask) -> bool:
    """Whether what a sentence cites has at least half of its terms."""
    return _share(sentence, sentence.cites, task) >= SUPPORT


def _share(sentence: CitedSentence, cites: Iterable[int], task: SynthesisTask) -> float:
    """The share of a sentence's terms that findings have; 0 for a sentence without terms."""
    cited = " ".join(
        f"{task.findings[number - 1].text} {task.findings[number - 1].source}"
        for number in cites
        if 0 < number <= len(task.findings)
    )
    said = terms(sentence.text)
    there = frozenset(terms(cited))
    return _part(sum(term in there for term in said), len(said))


def _part(count: int, whole: int) -> float:
    return count / whole if whole else 0.0


def _repeated(draft: Draft) -> str | None:
    """A sentence that stands in a text twice, if one does."""
    seen: set[tuple[str, ...]] = set()
    for sentence in draft.sentences:
        for part in _SENTENCE.split(sentence.text):
            words = terms(part)
            if words and words in seen:
                return part
            seen.add(words)
    return None
