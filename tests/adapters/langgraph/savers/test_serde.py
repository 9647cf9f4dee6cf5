"""Values as bytes: what comes back, what is refused, and that nothing is imported by name."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import ipaddress
import os
import pathlib
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.types import Command, Interrupt, Overwrite, Send, TimeoutPolicy

from plait.codec import DecodingError, EncodingError
from plait_adapters.langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from plait_adapters.langgraph.checkpoint.serde.jsonplus import (
    JsonPlusSerializer,
    UnknownEncodingError,
    register_annotations,
)
from plait_adapters.langgraph.checkpoint.serde.types import _DeltaSnapshot


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: Any = None


class Brief(pydantic.BaseModel):
    title: str
    points: list[Point] = []


class Pair(NamedTuple):
    left: Any
    right: Any


class Marks(enum.Flag):
    A = 1
    B = 2


def again(value: Any, serde: Any = None) -> Any:
    serde = serde or JsonPlusSerializer()
    return serde.loads_typed(serde.dumps_typed(value))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.datetimes() | st.decimals(allow_nan=False) | st.uuids(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
    | st.dictionaries(st.integers(), inner),
    max_leaves=10,
)  # fmt: skip


@given(PLAIN)
def test_pythons_own_types_come_back_as_they_were(value: Any) -> None:
    assert again(value) == value
    assert type(again(value)) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        AIMessage(
            "look",
            id="1",
            tool_calls=[{"name": "f", "args": {"x": 1}, "id": "c", "type": "tool_call"}],
        ),
        AIMessageChunk(content="lo"),
        HumanMessage([{"type": "text", "text": "hi"}], name="me"),
        SystemMessage("be brief"),
        ToolMessage("3", tool_call_id="c", artifact={"raw": (1, 2)}),
        RemoveMessage(id="1"),
        Document("text", metadata={"page": 3}),
        Send("node", {"x": HumanMessage("hi")}),
        Send("node", 1, timeout=TimeoutPolicy(run_timeout=2.0)),
        Interrupt({"question": "?"}, id="abc"),
        Command(update={"x": 1}, goto=["a", Send("b", 2)], graph="__parent__", resume={"i": 1}),
        Overwrite([1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_langchain_and_langgraph_put_into_a_state_comes_back(value: Any) -> None:
    found = again([value], JsonPlusSerializer(learns=False))

    assert found == [value]
    assert type(found[0]) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        *(Colour.RED, Marks.A | Marks.B, Point(1, Point(2)), Pair(1, [Colour.RED])),
        *(Brief(title="t", points=[Point(1)]), _DeltaSnapshot([1]), pathlib.PurePosixPath("/a")),
        *(re.compile("a+", re.IGNORECASE), ipaddress.ip_address("::1"), {1, "a"}, frozenset({2})),
        *(pydantic.SecretStr("s"), dt.timedelta(days=1), decimal.Decimal("1.10"), uuid.UUID(int=7)),
        *(ipaddress.ip_network("10.0.0.0/8"), dt.time(1, 2, tzinfo=dt.UTC), complex(1, 2)),
        *(bytearray(b"x"), b"x", None, "\ud800", 2**70, float("inf")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_and_other_types_come_back(value: Any) -> None:
    assert again(value) == value
    assert type(again(value)) is type(value)


def test_an_array_comes_back_as_it_was() -> None:
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.arange(6.0).reshape(2, 3),
        numpy.arange(6).reshape(2, 3).T,
        numpy.arange(9)[::2],
        numpy.array(True),
        numpy.array(["a", "bc"]),
    ]

    for found, array in zip(again(arrays, JsonPlusSerializer(learns=False)), arrays, strict=True):
        assert found.dtype == array.dtype
        assert numpy.array_equal(found, array)
    with pytest.raises(EncodingError, match="tolist"):
        again(numpy.array([object()]))


def test_an_exception_comes_back_as_its_repr() -> None:
    assert again([ValueError("no")]) == ["ValueError('no')"]


def test_a_serializer_for_storage_refuses_types_that_are_not_registered() -> None:
    with pytest.raises(EncodingError, match=r"value\['x'\].*Point.*register"):
        again({"x": Point(1)}, JsonPlusSerializer().for_storage())


@pytest.mark.parametrize("allowed", [Point, (__name__, "Point")], ids=["type", "name"])
def test_a_type_that_is_named_to_it_is_registered(allowed: Any) -> None:
    serde = JsonPlusSerializer(allowed_msgpack_modules=[allowed]).for_storage()

    assert again(Point(1), serde) == Point(1)
    assert again(Point(1), JsonPlusSerializer().for_storage().with_msgpack_allowlist([allowed]))


def test_all_types_to_which_annotations_lead_are_registered() -> None:
    serde = JsonPlusSerializer(learns=False)

    register_annotations(serde, dict[str, Brief], Pair)

    assert again(Brief(title="t", points=[Point(1)]), serde).points == [Point(1)]
    with pytest.raises(EncodingError):
        serde.dumps_typed(Colour.RED)


def test_a_type_that_is_defined_again_takes_the_place_of_the_one_before() -> None:
    def define() -> Any:
        @dataclass
        class Local:
            x: int

        return Local

    serde, first, second = JsonPlusSerializer(), define(), define()
    serde.dumps_typed(first(1))

    assert type(again(second(2), serde)) is second


@pytest.mark.parametrize(
    "value", [lambda: 1, object(), Point, iter([])], ids=["function", "object", "class", "iterator"]
)
def test_what_is_no_data_is_refused_when_it_is_written(value: Any) -> None:
    with pytest.raises(EncodingError):
        JsonPlusSerializer().dumps_typed({"x": [value]})


@pytest.mark.parametrize(
    "options",
    [
        {"pickle_fallback": True},
        {"allowed_msgpack_modules": True},
        {"allowed_json_modules": [("a", "b")]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_be_had_is_refused_when_it_is_asked_for(options: Any) -> None:
    with pytest.raises(ValueError, match="not supported"):
        JsonPlusSerializer(**options)


def test_data_of_langgraphs_own_and_pickles_are_not_read() -> None:
    serde = JsonPlusSerializer()

    with pytest.raises(DecodingError):
        serde.loads_typed(("msgpack", b"\x81\xa1x\x01"))
    with pytest.raises(UnknownEncodingError):
        serde.loads_typed(("pickle", b"cos\nsystem\n"))
    with pytest.raises(NotImplementedError):
        serde.loads_typed(("json", b"{}"))


@given(st.binary(min_size=1, max_size=8), st.integers(min_value=0))
def test_bytes_that_were_changed_are_not_read(patch: bytes, place: int) -> None:
    serde = JsonPlusSerializer()
    how, data = serde.dumps_typed({"x": [1, "two", Send("node", 3)]})
    start = place % len(data)
    changed = (data[:start] + patch + data[start + len(patch) :])[: len(data)]

    if changed != data:
        with pytest.raises(DecodingError):
            serde.loads_typed((how, changed))


def test_nothing_is_imported_for_a_name_that_was_read() -> None:
    writing = JsonPlusSerializer()
    _, data = writing.dumps_typed([Point(1)])
    program = (
        "import sys; from plait.codec import DecodingError\n"
        "from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer\n"
        f"try: JsonPlusSerializer().loads_typed(('msgpack', {data!r}))\n"
        "except DecodingError as error: print(error)\n"
        f"assert {__name__!r} not in sys.modules and 'langchain_core' not in sys.modules"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert "not registered" in done.stdout


def test_an_encrypted_value_shows_nothing_and_cannot_be_changed() -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    how, data = serde.dumps_typed({"secret": "canary"})

    assert how == "msgpack+aes"
    assert b"canary" not in data
    assert serde.loads_typed((how, data)) == {"secret": "canary"}
    with pytest.raises(DecodingError, match="changed"):
        serde.loads_typed((how, data[:-1] + bytes([data[-1] ^ 1])))


def test_a_plain_value_is_not_read_where_values_are_encrypted() -> None:
    plain = JsonPlusSerializer().dumps_typed([1])

    with pytest.raises(DecodingError, match="not encrypted"):
        EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef").loads_typed(plain)
