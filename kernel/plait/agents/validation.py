"""A validation specialist that needs no model: it checks results against what they rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import ClassVar, Literal

import anyio.to_thread
from pydantic import BaseModel, ConfigDict

from plait.agents.agent import AgentContext, AgentResources, AgentResult, AgentTask
from plait.agents.errors import AgentError
from plait.agents.specification import AgentSpecification
from plait.agents.terms import terms

__all__ = [
    "Check",
    "ClaimedNumber",
    "Quotation",
    "Validation",
    "ValidationAgent",
    "ValidationRequest",
    "validate",
]


class _Record(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Quotation(_Record):
    """Words that are said to stand in a source."""

    text: str
    """The words."""
    source: str
    """The name of the source."""


class ClaimedNumber(_Record):
    """A number, and the interval in which it is said to lie."""

    name: str
    """What it is."""
    value: float
    """The number as it is claimed."""
    low: float
    """The lower end of the interval, which counts as within."""
    high: float
    """The upper end."""


class ValidationRequest(_Record):
    """What is to be checked: the payload of a validation task."""

    quotes: tuple[Quotation, ...] = ()
    """Each must stand in its source word for word, but for white space."""
    sources: Mapping[str, str] = {}
    """The whole texts of the sources, by name."""
    numbers: tuple[ClaimedNumber, ...] = ()
    """Each must lie in its interval."""
    text: str = ""
    """What must answer the questions."""
    questions: tuple[str, ...] = ()
    """Each term of them must occur in the text."""


class Check(_Record):
    """One thing that was looked at."""

    kind: Literal["quote", "number", "coverage"]
    """What was checked: a quotation, a number, a term of a question."""
    subject: str
    """The quotation, the name of the number, or the term."""
    passed: bool
    """Whether it is as it should be."""
    found: str
    """What was found, in a sentence."""


class Validation(_Record):
    """What became of each check."""

    checks: tuple[Check, ...]
    """In the order of the request: quotations, numbers, terms."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that did not pass."""
        return tuple(check for check in self.checks if not check.passed)


def validate(request: ValidationRequest) -> AgentResult:
    """Check results against what they rest on.

    Returns:
        A result whose content is a `Validation`; its quality is the share of checks that passed, 0
        where there was nothing to check.
    """
    checks = (*_quotes(request), *_numbers(request), *_coverage(request))
    validation = Validation(checks=checks)
    kinds = {
        kind: [check for check in checks if check.kind == kind]
        for kind in dict.fromkeys(check.kind for check in checks)
    }
    parts = ", ".join(
        f"{sum(check.passed for check in found)} of {len(found)} "
        f"{'terms' if kind == 'coverage' else kind + 's'}"
        for kind, found in kinds.items()
    )
    passed = len(checks) - len(validation.failed)
    how = f"{passed} of {len(checks)} checks passed: {parts}" if checks else "nothing to check"
    return AgentResult(
        content=validation,
        quality=passed / len(checks) if checks else 0.0,
        how=how,
        wanting=tuple(check.found for check in validation.failed),
    )


def _quotes(request: ValidationRequest) -> Iterator[Check]:
    flat = {name: " ".join(text.split()) for name, text in request.sources.items()}
    for quote in request.quotes:
        words, source = " ".join(quote.text.split()), flat.get(quote.source)
        passed = False
        if source is None:
            found = f"There is no source {quote.source}."
        elif not words:
            found = f"Nothing is quoted from {quote.source}."
        elif words in source:
            passed, found = True, f"It stands in {quote.source}."
        else:
            match = SequenceMatcher(None, source, words, autojunk=False).find_longest_match()
            shared = words[match.b : match.b + match.size].strip()
            found = f"It does not stand in {quote.source}; " + (
                f"of it, “{_short(shared)}” does." if shared else "no part of it does."
            )
        yield Check(kind="quote", subject=_short(words), passed=passed, found=found)


def _numbers(request: ValidationRequest) -> Iterator[Check]:
    for number in request.numbers:
        value, low, high = number.value, number.low, number.high
        if any(map(math.isnan, (value, low, high))):
            passed, found = False, f"{number.name} or its interval is no number."
        elif low > high:
            passed, found = False, f"The interval of {number.name} ends before it begins."
        else:
            passed = low <= value <= high
            found = f"{number.name} is {value:g}, {'in' if passed else 'outside of'} "
            found += f"{low:g} to {high:g}."
        yield Check(kind="number", subject=number.name, passed=passed, found=found)


def _coverage(request: ValidationRequest) -> Iterator[Check]:
    has = set(terms(request.text))
    for term in dict.fromkeys(term for question in request.questions for term in terms(question)):
        passed = term in has
        found = f"The text {'has' if passed else 'does not have'} “{term}”."
        yield Check(kind="coverage", subject=term, passed=passed, found=found)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


class ValidationAgent:
    """Checks results. The payload of its tasks is a `ValidationRequest`, the content of its results
    a `Validation`."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        self.specification = specification

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Check, in a worker thread."""
        request = task.payload
        if not isinstance(request, ValidationRequest):
            raise AgentError(
                f"task {task.id!r} gives a validation {type(request).__name__}: give its payload "
                "as a ValidationRequest"
            )
        return await anyio.to_thread.run_sync(validate, request, abandon_on_cancel=True)
