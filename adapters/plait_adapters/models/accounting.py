"""What a request takes out of a pool: estimated before, and settled after.

A request is one of ``requests_per_minute``, its prompt and the most that may be written to it are
``tokens_per_minute``, and ``dollars`` are what those tokens cost. A pool that lacks one of these
units is not asked for it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass

from plait_adapters.models.endpoint import Prices

__all__ = ["UNITS", "Usage", "estimate_tokens", "units_of"]

UNITS = ("requests_per_minute", "tokens_per_minute", "dollars")
"""The units of a pool that requests to a model are counted in."""

_BYTES_PER_TOKEN = 3
_PER_MESSAGE = 8


@dataclass(frozen=True, slots=True)
class Usage:
    """What answers took."""

    requests: int = 0
    """Requests that the endpoint accepted."""
    read: int = 0
    """Tokens that the model read."""
    written: int = 0
    """Tokens that it wrote."""
    estimated: bool = False
    """Whether an endpoint did not say, and tokens are estimated from the lengths of texts."""

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.read + self.written

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.read + other.read,
            self.written + other.written,
            self.estimated or other.estimated,
        )


def estimate_tokens(texts: Iterable[str]) -> int:
    """How many tokens texts have, without their model's tokenizer: rather too many.

    One for three bytes of UTF-8, rounded up, and eight for each message. (Byte-pair tokenizers make
    about one of four bytes of English prose; of code and other languages, more.)
    """
    return sum(math.ceil(len(text.encode()) / _BYTES_PER_TOKEN) + _PER_MESSAGE for text in texts)


def units_of(usage: Usage, prices: Prices | None, known: Container[str]) -> dict[str, float]:
    """What a use amounts to, in those units of a pool that it knows.

    Raises:
        ValueError: dollars are counted, and there are no prices.
    """
    if "dollars" in known and prices is None:
        raise ValueError(
            "the pool counts dollars, and the endpoint has no prices: give it "
            "Prices(read=..., written=...) in dollars per million tokens, 0 if it is free"
        )
    cost = prices.of(usage.read, usage.written) if prices is not None else 0.0
    amounts = dict(zip(UNITS, (usage.requests, usage.tokens, cost), strict=True))
    return {name: amount for name, amount in amounts.items() if name in known}
