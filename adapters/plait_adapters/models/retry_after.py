"""How long a server asks to wait: ``Retry-After``, in both forms (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["seconds_to_wait"]


def seconds_to_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait before the next request, at least 0; ``None`` if the server did not say.

    A date is held against the server's own ``Date`` if there is one, so that its clock and this
    machine's may differ. ``Retry-After-Ms`` (milliseconds), which some send as well, is finer and
    goes before.

    Args:
        headers: those of the response, with keys in lower case or in a mapping that does not care.
        now: the time on this machine, with a time zone.
    """
    finer = _number(headers.get("retry-after-ms"))
    if finer is not None:
        return finer / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is not None:
        return seconds
    until = _date(said)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date")) or now)).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    # A date without a zone ("-0000") is in UTC by the standard.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
