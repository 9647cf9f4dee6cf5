"""The words of a question that are worth searching for."""

from __future__ import annotations

import re

__all__ = ["STOP_WORDS", "terms"]

# Words that carry a question's grammar, not its subject. A language's own ("for", "with", "is")
# are among them: in text about programming they are everywhere.
_STOP = """
    a about after all also am an and any are as at be because been before being between
    both but by can could did do does doing done during each either every few for from get
    gets had has have having he her here his how i if in into is it its itself just let
    may me might more most much must my no nor not of off on once one only or other our
    out over own same shall she should so some such than that the their them then there
    these they this those through to too under until up upon us use used uses using very
    via was we were what when where whether which while who whom whose why will with
    within without would you your
"""

STOP_WORDS = frozenset(_STOP.split())
"""Words that are not searched for."""


def terms(question: str) -> tuple[str, ...]:
    """The distinct words of a question, lower case, in order; no stop words, no single letters."""
    words = re.findall(r"[^\W_]+(?:_[^\W_]+)*", question.casefold())
    return tuple(dict.fromkeys(w for w in words if w not in STOP_WORDS and len(w) > 1))
