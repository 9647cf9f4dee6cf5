"""How long a server asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_adapters.models.retry_after import seconds_to_wait

NOW = datetime(2024, 6, 1, 12, 0, 0, tzinfo=UTC)


@given(st.integers(0, 10**9))
def test_seconds_are_seconds(seconds: int) -> None:
    assert seconds_to_wait({"retry-after": str(seconds)}, NOW) == seconds


@given(st.integers(-(10**6), 10**6))
def test_a_date_is_as_far_as_it_is_and_the_past_is_now(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert seconds_to_wait({"retry-after": date}, NOW) == max(0, seconds)


@given(st.timedeltas(timedelta(days=-1000), timedelta(days=1000)))
def test_a_clock_that_is_wrong_here_changes_nothing(off: timedelta) -> None:
    headers = {
        "retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True),
        "date": format_datetime(NOW, usegmt=True),
    }
    assert seconds_to_wait(headers, NOW + off) == 30


@given(st.text(max_size=40))
def test_whatever_a_server_writes_it_is_a_time_or_nothing(text: str) -> None:
    seconds = seconds_to_wait({"retry-after": text, "date": text, "retry-after-ms": text}, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_what_is_no_time_says_nothing(text: str) -> None:
    assert seconds_to_wait({"retry-after": text}, NOW) is None


def test_a_date_without_a_zone_is_in_utc() -> None:
    date = (NOW + timedelta(seconds=5)).strftime("%a, %d %b %Y %H:%M:%S -0000")
    assert seconds_to_wait({"retry-after": date}, NOW) == 5
