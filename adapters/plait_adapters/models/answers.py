"""An answer of the form that was asked for: validated, and asked for again with what was wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from plait_adapters.models.client import Completion, Message, Request
from plait_adapters.models.errors import ModelAnswerError

__all__ = ["Answer", "Fault", "ask_until_it_fits", "parse", "told_in_words"]

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

Ask = Callable[[Request], Awaitable[Completion]]
"""Asks a model once."""

_FENCE = re.compile(r"\A```[a-z]*\s*\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)
_MOST_FAULTS = 10


class Fault(Exception):
    """An answer is not what was asked for. Raised by what reads it, and told to the model.

    Attributes:
        faults: what is wrong, a sentence each.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer that fits."""

    value: T
    """What was read out of it."""
    completion: Completion
    """As it came."""
    rounds: int
    """How many answers it took."""


async def ask_until_it_fits(
    ask: Ask,
    request: Request,
    read: Callable[[Completion], T],
    *,
    repairs: int = 1,
    endpoint: str = "the model",
) -> Answer[T]:
    """Ask, and if the answer does not fit, say why and ask again.

    Args:
        ask: asks once.
        request: what to ask.
        read: takes what is wanted out of an answer; raises `Fault` if it does not fit.
        repairs: how many further answers are asked for.
        endpoint: how errors call who was asked.

    Raises:
        ModelAnswerError: the last answer does not fit, either.
        and what `ask` raises.
    """
    rounds = 0
    while True:
        rounds += 1
        completion = await ask(request)
        try:
            return Answer(read(completion), completion, rounds)
        except Fault as fault:
            faults = list(fault.faults)
            if completion.finished == "length":
                faults.append(
                    f"it was cut off at the limit of {request.max_tokens} tokens: be shorter"
                )
            if rounds > repairs:
                raise ModelAnswerError(endpoint, completion.text, faults, rounds) from fault
        correction = _correction(completion, faults, request.schema)
        request = replace(request, messages=(*request.messages, *correction))


def _correction(
    completion: Completion, faults: Sequence[str], schema: Mapping[str, Any] | None
) -> tuple[Message, Message]:
    lines = ["That answer cannot be used:", *(f"- {fault}" for fault in faults), "Answer again."]
    if schema is not None:
        # It may have been told to the server alone, which did not heed it.
        lines.append(told_in_words(schema))
    return Message("assistant", completion.text), Message("user", "\n".join(lines))


def parse(kind: type[ModelT], text: str, *, context: Mapping[str, Any] | None = None) -> ModelT:
    """Read an answer in JSON, which may stand in a fence of Markdown.

    Args:
        kind: what it is to be.
        text: the answer.
        context: for the validators of ``kind``.

    Raises:
        Fault: it is something else; a sentence for each thing that is wrong.
    """
    fenced = _FENCE.match(text.strip())
    try:
        return kind.model_validate_json(fenced[1] if fenced else text, context=context)
    except ValidationError as error:
        raise Fault(*_sentences(error)) from error


def _sentences(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    sentences = [
        f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}"
        for each in found[:_MOST_FAULTS]
    ]
    if len(found) > _MOST_FAULTS:
        sentences.append(f"and {len(found) - _MOST_FAULTS} more")
    return sentences


def told_in_words(schema: Mapping[str, Any]) -> str:
    """A schema for a prompt: not every server heeds the one that it is given."""
    return f"Answer with JSON alone, by this JSON schema: {json.dumps(schema)}"
