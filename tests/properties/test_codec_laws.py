"""The laws of the codec, over arbitrary values and arbitrary damage.

``PLAIT_EXAMPLES`` sets how many examples each law is tried on.
"""

from __future__ import annotations

import collections
import datetime as dt
import os
import pathlib
import struct
import zlib
from typing import Any

import ormsgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait import Overwrite
from plait.codec import Codec, DecodingError, EncodingError, records
from plait.events import (
    Interrupt,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeInterrupted,
    Routed,
    RunStarted,
    StateUpdated,
    Target,
)
from tests.properties.exact import identical
from tests.properties.stored import (
    CODEC,
    EVENTS,
    VALUES,
    Access,
    Colour,
    Finding,
    Open,
    Point,
    Source,
    Span,
)

EXAMPLES = int(os.environ.get("PLAIT_EXAMPLES", "150"))

law = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
names = st.text("abc\0:t", max_size=3)
zones = st.one_of(
    st.none(),
    st.timezones(),
    st.builds(
        dt.timezone,
        st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)),
    ),
)
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers()),
    *(st.integers(-(2**80), 2**80), texts, names, st.binary(max_size=8)),
    *(st.dates(), st.datetimes(timezones=zones), st.times(timezones=zones), st.timedeltas()),
    *(st.decimals(), st.uuids(), st.sampled_from(Colour), st.builds(Access, st.integers(0, 3))),
    st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=6)),
)
keys = st.recursive(
    scalars.filter(lambda value: not _is_signalling(value)),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.frozensets(inner, max_size=2), st.builds(Point, inner, inner)
    ),
    max_leaves=3,
)


def _is_signalling(value: Any) -> bool:
    """A signalling NaN has no hash."""
    return hasattr(value, "is_snan") and bool(value.is_snan())


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(keys, inner, max_size=3)
    return st.one_of(
        *(st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple)),
        *(st.sets(keys, max_size=3), st.frozensets(keys, max_size=3)),
        *(st.dictionaries(names, inner, max_size=3), mappings),
        *(mappings.map(collections.OrderedDict), mappings.map(_defaultdict)),
        st.dictionaries(keys, st.integers(), max_size=3).map(collections.Counter),
        st.builds(collections.deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 9)),
        *(st.builds(Overwrite, inner), st.builds(Point, inner, inner)),
        st.builds(Source, inner, inner),
        st.builds(Span, inner, st.builds(Source, texts)),
        st.builds(_finding, texts, st.dictionaries(texts, inner, max_size=2)),
        st.builds(_open, inner, names),
    )


def _defaultdict(content: dict[Any, Any]) -> collections.defaultdict[Any, Any]:
    return collections.defaultdict(list, content)


def _finding(title: str, meta: dict[str, Any]) -> Finding:
    return Finding.model_construct(title=title, meta=meta)


def _open(more: Any, name: str) -> Open:
    return Open.model_validate({"more": more, "name": "n", "x" + name: 1})


values = st.recursive(scalars | st.sampled_from(VALUES), _containers, max_leaves=12)


@law
@given(values)
def test_every_value_comes_back_the_same_all_through(value: Any) -> None:
    assert identical(CODEC.decode(CODEC.encode(value)), value)


writes = st.lists(st.tuples(texts, values), max_size=3).map(tuple)
targets = st.lists(
    texts.map(Target)
    | st.tuples(
        *(texts, values, st.none() | texts, st.lists(texts, max_size=2).map(tuple)),
        st.floats(0.1, 9) | st.integers(1, 9),
    ).map(lambda fields: Target(*fields)),
    max_size=2,
).map(tuple)
paths = st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
interrupts = st.lists(
    st.builds(
        Interrupt, texts, values, paths, texts, st.sampled_from(["within", "before", "after"])
    ),
    max_size=2,
).map(tuple)
times = st.floats(0, 2e9) | st.integers(0, 2**31)
journal_events: st.SearchStrategy[JournalEvent] = st.one_of(
    st.builds(RunStarted, times, paths, writes),
    st.builds(
        NodeCompleted, times, paths, texts, st.integers(1, 99), writes, targets, times, interrupts
    ),
    st.builds(NodeInterrupted, times, paths, texts, st.integers(0, 99), interrupts),
    st.builds(InterruptsAnswered, times, writes),
    st.builds(StateUpdated, times, paths, texts, writes),
    st.builds(Routed, times, paths, texts, targets),
    st.sampled_from(EVENTS),
)


@law
@given(journal_events)
def test_every_event_comes_back_the_same_all_through(event: JournalEvent) -> None:
    assert identical(CODEC.decode_event(CODEC.encode_event(event)), event)


@law
@given(journal_events.filter(lambda event: type(event) in {NodeCompleted, RunStarted}))
def test_an_event_is_stored_the_same_by_the_short_way_and_by_the_long_one(
    event: NodeCompleted | RunStarted,
) -> None:
    short = records.lower_plain(event, CODEC.max_value_bytes)
    if short is None:
        return
    fields = records._FIELDS[type(event)]
    long = records._lower_fields(CODEC._encoder(careful=False), fields, event)
    try:
        expected = CODEC._pack([short[0], *long])
    except TypeError:  # a lone surrogate or a large int: both are left to another encoder
        with pytest.raises(TypeError):
            CODEC._pack(short)
    else:
        assert CODEC._pack(short) == expected


class Stranger:
    """Of a type that nobody registered."""


@law
@given(st.recursive(scalars | st.builds(Stranger) | st.just(range(2)), _containers, max_leaves=12))
def test_a_value_is_exact_or_refused(value: Any) -> None:
    try:
        written = CODEC.encode(value)
    except EncodingError as error:
        assert error.type in {f"{Stranger.__module__}.Stranger", "range"}  # noqa: PT017
    else:
        assert identical(CODEC.decode(written), value)


@law
@given(values, st.data())
def test_damage_is_found(value: Any, data: st.DataObject) -> None:
    written = CODEC.encode(value)
    damaged = bytearray(written)
    if data.draw(st.booleans(), "cut"):
        del damaged[data.draw(st.integers(0, len(written) - 1), "length") :]
    else:
        for bit in data.draw(st.lists(st.integers(0, 8 * len(damaged) - 1), max_size=4), "bits"):
            damaged[bit // 8] ^= 1 << bit % 8
    try:
        read = CODEC.decode(bytes(damaged))
    except DecodingError:
        assert damaged != written
    else:
        assert identical(read, value)


def _sealed(flags: int, body: bytes) -> bytes:
    head = bytes((1, flags))
    return head + struct.pack(">I", zlib.crc32(body, zlib.crc32(head))) + body


def _read(codec: Codec, data: bytes, flags: int) -> None:
    try:
        if flags:
            codec.decode_event(data)
        else:
            codec.decode(data)
    except DecodingError:
        pass


@law
@given(values, st.data())
def test_forged_bytes_end_in_no_other_error(value: Any, data: st.DataObject) -> None:
    body = bytearray(CODEC.encode(value)[6:])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for flags in (0, 1):
        _read(CODEC, _sealed(flags, bytes(body)), flags)


TAGS = [f"\0{tag}" for tag in "duitsfqockyzADTLZMUex"] + [
    *(
        "\0pp",
        "\0Pp",
        "\0Pw",
        "\0:Source",
        "\0:Span",
        "\0:Finding",
        "\0:Open",
        "\0:Names",
        "\0:Point",
    ),
    *("\0:Colour", "\0:Access", "\0:Overwrite", "\0:plait.NodeError", "\0:plait.Outcome"),
    *("\0:plait.Outcomes", "\0:plait.NoArgument", "\0:plait.SyncPointError", "\0:plait.Target"),
]
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(["", "RED", "list", "UTC", "a", "1", "url", "name", "root", "title"])
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.dictionaries(st.sampled_from([*TAGS, "url", "tags", "name"]), inner, max_size=3)
        | st.builds(lambda tag, tree: {tag: tree}, st.sampled_from(TAGS), inner)
    ),
    max_leaves=12,
)


@law
@given(trees)
def test_forged_trees_end_in_no_other_error(tree: Any) -> None:
    body = ormsgpack.packb(tree)
    for flags in (0, 1):
        _read(CODEC, _sealed(flags, body), flags)


@law
@given(st.binary(max_size=60))
def test_arbitrary_bytes_end_in_no_other_error(data: bytes) -> None:
    for flags in (0, 1):
        _read(CODEC, data, flags)
        _read(CODEC, _sealed(flags, data), flags)
