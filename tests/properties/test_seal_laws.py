"""Rows that were changed by somebody without the key are never taken for another row.

``PLAIT_EXAMPLES`` sets how many examples each law is tried on.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import StoreError
from plait.codec import DecodingError
from plait.seal import Cipher, Protection, Signer
from tests.properties.conftest import EVERY
from tests.properties.exact import identical
from tests.properties.stored import CODEC, VALUES

law = settings(EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "300")))

KEYS = {"new": b"n" * 32, "old": b"o" * 32}
SEALED = pytest.mark.parametrize(
    "protection",
    [Protection(Signer(KEYS), "tenant"), Protection(Cipher(KEYS), "tenant")],
    ids=["signed", "encrypted"],
)

records = st.one_of(
    st.sampled_from([CODEC.encode(value) for value in VALUES]), st.binary(max_size=40)
)
places = st.tuples(st.text("ab\0", max_size=3), st.integers(0, 3), st.binary(max_size=2))


def changed(row: bytes, other: bytes, draw: Any) -> bytes:
    """A row with bits flipped, cut off, longer, or spliced from two."""
    result = bytearray(row)
    how = draw(st.sampled_from(["flip", "overwrite", "cut", "extend", "splice"]))
    place = draw(st.integers(0, len(row) - 1))
    if how == "flip":
        for bit in draw(st.sets(st.integers(0, 8 * len(row) - 1), min_size=1, max_size=5)):
            result[bit // 8] ^= 1 << bit % 8
    elif how == "overwrite":
        patch = draw(st.binary(min_size=1, max_size=9))
        result[place : place + len(patch)] = patch
    elif how == "cut":
        del result[place:]
    elif how == "extend":
        result += draw(st.binary(min_size=1, max_size=9))
    else:
        result[place:] = other[draw(st.integers(0, len(other) - 1)) :]
    return bytes(result)


def with_checksum(row: bytes) -> bytes:
    """The same, with the checksum that anybody can compute."""
    if len(row) < 6:
        return row
    return row[:2] + zlib.crc32(row[6:], zlib.crc32(row[:2])).to_bytes(4, "big") + row[6:]


@SEALED
@law
@given(record=records, place=places)
def test_a_sealed_record_comes_back(
    protection: Protection, record: bytes, place: tuple[str, int, bytes]
) -> None:
    row, link = protection.seal_event(*place, record)
    assert protection.open_event(*place, row) == (record, link)
    thread_id, position, _ = place
    row = protection.seal_snapshot(thread_id, position, link, record)
    assert protection.open_snapshot(thread_id, position, row) == (record, link)


@SEALED
@law
@given(data=st.data(), record=records, another=records)
def test_a_sealed_row_that_was_changed_is_refused(
    protection: Protection, data: st.DataObject, record: bytes, another: bytes
) -> None:
    row, link = protection.seal_event("t", 1, b"", record)
    other, _ = protection.seal_event("t", 2, link, another)
    forged = changed(row, other, data.draw)
    if data.draw(st.booleans(), "an attacker, not an accident"):
        forged = with_checksum(forged)
    if forged != row:
        with pytest.raises(StoreError, match="event 1 of thread 't'"):
            protection.open_event("t", 1, b"", forged)


@SEALED
@law
@given(record=records, place=places, other=places)
def test_a_sealed_row_is_worth_nothing_elsewhere(
    protection: Protection,
    record: bytes,
    place: tuple[str, int, bytes],
    other: tuple[str, int, bytes],
) -> None:
    row, _ = protection.seal_event(*place, record)
    thread_id, position, _ = place
    if place != other:
        with pytest.raises(StoreError):
            protection.open_event(*other, row)
    with pytest.raises(StoreError):
        protection.open_snapshot(thread_id, position, row)
    with pytest.raises(StoreError):
        protection.open_plan(thread_id, row)


@law
@given(st.data(), st.sampled_from(VALUES), st.sampled_from(VALUES))
def test_a_plain_record_that_was_changed_by_accident_is_refused(
    data: st.DataObject, value: Any, another: Any
) -> None:
    written = CODEC.encode(value)
    damaged = changed(written, CODEC.encode(another), data.draw)
    try:
        read = CODEC.decode(damaged)
    except DecodingError:
        return
    assert identical(read, value) or identical(read, another)
