"""A person reviews a run of a brief, at the terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from plait.cli.telling import warn
from plait.events import Interrupt
from plait.orchestration import ReviewError, read_review

__all__ = ["ask_person", "tell_what_is_asked"]


def ask_person(asked: Sequence[Interrupt]) -> dict[str, Any] | None:
    """Ask what a run under review asks, and read answers from the standard input.

    What cannot be understood is asked again. `None`: the input has ended without an answer.
    """
    answers: dict[str, Any] = {}
    for interrupt in asked:
        _show(interrupt.value)
        answer = _heard(interrupt.value)
        if answer is None:
            return None
        answers[interrupt.id] = answer
    return answers


def tell_what_is_asked(asked: Sequence[Interrupt], words: str | None, *, shown: bool) -> None:
    """Say what a run that is left waiting asks, unless that was shown, and what answers it."""
    for interrupt in asked:
        if not shown:
            _show(interrupt.value)
        if words is None:
            warn("The thread is not kept, so nobody can answer any more.")
        else:
            warn(
                f"It waits for an answer: {words} --answer {shlex.quote(f'{interrupt.id}=approve')}"
            )


def _show(question: Any) -> None:
    warn("")
    for fact in question["facts"]:
        warn(f"  {fact}")
    if "problem" in question:
        warn(question["problem"])
    warn(question["asks"])


_PROMPT = "approve, revise [TASK ...][: REMARK] or reject[: REASON]> "


def _heard(question: Any) -> str | None:
    while True:
        print(
            "approve, revise [TASK ...][: REMARK] or reject[: REASON]> ",
            end="",
            file=sys.stderr,
            flush=True,
        )
        line = sys.stdin.readline()
        if not line.endswith("\n"):  # the end of the input, or a line that was cut off by it
            warn("")
            if not line:
                return None
        try:
            read_review(line, question["node"], question["round"], question["tasks"])
        except ReviewError as error:
            if line.strip():
                warn(str(error))
        else:
            return line.strip()
