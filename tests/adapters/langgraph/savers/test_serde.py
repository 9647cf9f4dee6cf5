"""Values as bytes: what comes back, what is refused, and that nothing is imported by name."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import ipaddress
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid
import warnings
from collections.abc import Iterator
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
from plait_adapters.langgraph.checkpoint.serde.event_hooks import (
    SerdeEvent,
    register_serde_event_listener,
)
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


class Number(enum.IntEnum):
    ONE = 1


class Odd(enum.Enum):
    TUPLE = (1, 2)


class Open(pydantic.BaseModel, extra="allow"):
    x: int


Events = list[SerdeEvent]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """What is told of types in the test; nothing was warned of before."""
    monkeypatch.setattr("plait_adapters.langgraph.checkpoint.serde._known._warned", set())
    events: Events = []
    unregister = register_serde_event_listener(events.append)
    yield events
    unregister()


def again(value: Any, serde: Any = None) -> Any:
    serde = serde or JsonPlusSerializer()
    return serde.loads_typed(serde.dumps_typed(value))


def strict(*allowed: Any) -> JsonPlusSerializer:
    return JsonPlusSerializer(allowed_msgpack_modules=allowed)


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
    found = again([value], strict())

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


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic's first version ends before it")
def test_secrets_of_pydantics_first_version_come_back() -> None:
    from pydantic import v1

    for secret in (v1.SecretStr("s"), v1.SecretBytes(b"s")):
        assert again([secret], strict()) == [secret]
        listed = JsonPlusSerializer(allowed_msgpack_modules=[type(secret)])
        assert again([secret], listed) == [secret]


def test_an_array_comes_back_as_it_was() -> None:
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.arange(6.0).reshape(2, 3),
        numpy.arange(6).reshape(2, 3).T,
        numpy.arange(9)[::2],
        numpy.array(True),
        numpy.array(["a", "bc"]),
    ]

    for found, array in zip(again(arrays, strict()), arrays, strict=True):
        assert found.dtype == array.dtype
        assert numpy.array_equal(found, array)
    with pytest.raises(EncodingError, match="tolist"):
        again(numpy.array([object()]))


def test_an_exception_comes_back_as_its_repr() -> None:
    assert again([ValueError("no")]) == ["ValueError('no')"]


LEFT = [
    *(
        (Colour.RED, "red"),
        (Marks.A | Marks.B, 3),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
    ),
    *((Pair(1, [Colour.RED]), (1, ["red"])), (Number.ONE, 1), (Odd.TUPLE, "TUPLE")),
    (Brief(title="t", points=[Point(1)]), {"title": "t", "points": [{"x": 1, "y": None}]}),
    (Brief(title="t"), {"title": "t", "points": []}),
    (Open.model_validate({"x": 1, "more": Point(2)}), {"x": 1, "more": {"x": 2, "y": None}}),
]


@pytest.mark.parametrize(("value", "left"), LEFT, ids=lambda value: type(value).__name__)
def test_a_type_that_is_not_let_in_is_blocked_and_leaves_plain_data(
    value: Any, left: Any, caplog: pytest.LogCaptureFixture, fresh: Events
) -> None:
    data = strict().dumps_typed({"x": [value]})

    found = strict().loads_typed(data)["x"][0]

    assert found == left
    assert type(found) is type(left)
    event = {"kind": "msgpack_blocked", "module": __name__, "name": type(value).__name__}
    assert event in fresh
    assert f"Blocked {__name__}.{type(value).__name__}" in caplog.text


@pytest.mark.parametrize("value", [value for value, _ in LEFT], ids=repr)
def test_a_type_that_nobody_has_registered_comes_back_where_its_module_is_loaded(
    value: Any, caplog: pytest.LogCaptureFixture, fresh: Events
) -> None:
    data = JsonPlusSerializer().dumps_typed(value)
    other = JsonPlusSerializer()

    assert other.loads_typed(data) == other.loads_typed(data) == value
    assert type(other.loads_typed(data)) is type(value)
    assert {event["kind"] for event in fresh} == {"msgpack_unregistered_allowed"}
    name = f"{__name__}.{type(value).__qualname__}, an unregistered type"
    assert caplog.text.count(name) == 1


@pytest.mark.parametrize("allowed", [Point, (__name__, "Point")], ids=["type", "name"])
def test_a_type_that_is_named_to_it_is_registered(allowed: Any, fresh: Events) -> None:
    assert again(Point(1), strict(allowed)) == Point(1)
    assert again(Point(1), strict().with_msgpack_allowlist([allowed])) == Point(1)
    assert again(Brief(title="t", points=[Point(1)]), strict(Brief)).points == [Point(1)]
    assert fresh == []


def test_an_allowlist_makes_another_serializer_unless_it_has_nothing_new() -> None:
    serde = strict(Point)

    assert serde.with_msgpack_allowlist([Point, (__name__, "Point")]) is serde
    assert serde.with_msgpack_allowlist([]) is serde
    assert again(Pair(1, 2), serde.with_msgpack_allowlist([Pair])) == Pair(1, 2)
    assert type(again(Pair(1, 2), serde)) is tuple


def test_a_type_that_is_named_before_it_is_there_is_registered_when_it_is_met() -> None:
    serde = strict(("no.such.module", "Later"))
    later: Any = dataclass(
        type("Later", (), {"__annotations__": {"x": int}, "__module__": "no.such.module"})
    )

    assert again(later(1), serde) == later(1)
    assert again(later(1), strict()) == {"x": 1}


def test_a_type_whose_module_is_gone_leaves_plain_data(
    caplog: pytest.LogCaptureFixture, fresh: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = JsonPlusSerializer().dumps_typed({"x": Point(1)})
    monkeypatch.delitem(sys.modules, __name__)

    assert JsonPlusSerializer().loads_typed(data) == {"x": {"x": 1, "y": None}}
    assert "Could not find" in caplog.text
    assert fresh == []


@pytest.mark.parametrize("value", ["true", "1", "YES"])
def test_the_environment_may_ask_for_strictness(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", value)

    assert again(Point(1)) == {"x": 1, "y": None}
    assert again(Point(1), JsonPlusSerializer(allowed_msgpack_modules=True)) == Point(1)


def test_a_listener_that_fails_keeps_nothing_from_being_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: SerdeEvent) -> None:
        raise RuntimeError(event["name"])

    unregister = register_serde_event_listener(fail)
    assert again(Point(1)) == Point(1)
    unregister()
    unregister()

    assert "RuntimeError: Point" in caplog.text


SUBCLASSES = [str, int, float, bytes, list, tuple, dict, set, frozenset]


@pytest.mark.parametrize("base", SUBCLASSES, ids=lambda base: base.__name__)
def test_an_instance_of_a_subclass_of_a_built_in_type_comes_back_as_one_of_that(base: Any) -> None:
    sample = {str: "text", int: 7, float: 0.5, bytes: b"x", dict: {"a": [1]}}.get(base, (1, (2,)))
    value = type("Mine", (base,), {"__str__": lambda self: "other", "__len__": lambda self: 0})(
        sample
    )

    found = again({"x": value}, strict())["x"]
    assert type(found) is base
    assert found == base(sample)


def test_the_text_of_a_message_comes_back_as_text() -> None:
    assert again([AIMessage("hello").text]) == ["hello"]


def test_models_of_pydantics_first_version_come_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydantic.v1 import BaseModel

    class Old(BaseModel):
        x: int
        y: Any = None

    value = Old(x=1, y=Point(2))
    assert again(value) == value
    assert again(value).__fields_set__ == {"x", "y"}
    assert again(value, strict()) == {"x": 1, "y": {"x": 2, "y": None}}


def test_all_types_to_which_annotations_lead_are_registered() -> None:
    serde = strict()

    register_annotations(serde, dict[str, Brief], Pair)

    assert again(Brief(title="t", points=[Point(1)]), serde).points == [Point(1)]
    assert again(Colour.RED, serde) == "red"


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
        serde.loads_typed(("yaml", b"{}"))


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
        "import sys\n"
        "from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer\n"
        f"print(JsonPlusSerializer().loads_typed(('msgpack', {data!r})))\n"
        f"assert {__name__!r} not in sys.modules and 'langchain_core' not in sys.modules"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout.strip() == "[{'x': 1, 'y': None}]"
    assert "Could not find" in done.stderr


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


# -- JSON that LangGraph has written ---------------------------------------------------------------


def call(*names: str, lc: int = 2, **kwargs: Any) -> dict[str, Any]:
    return {"lc": lc, "type": "constructor", "id": [*names], "kwargs": kwargs}


def read(value: Any, allowed: Any = None) -> Any:
    serde = JsonPlusSerializer(allowed_json_modules=allowed)
    return serde.loads_typed(("json", json.dumps(value).encode()))


def test_langchains_and_langgraphs_objects_in_old_json_come_back() -> None:
    found = read(
        {
            "new": [call("langchain_core", "messages", "human", "HumanMessage", content="hi")],
            "old": call("langchain", "schema", "messages", "AIMessage", lc=1, content="lo"),
            "send": call("langgraph", "types", "Send", node="a", arg={"x": 1}),
            "id": [1, {"lc": 2}],
        }
    )

    assert found == {
        "new": [HumanMessage("hi")],
        "old": AIMessage("lo"),
        "send": Send("a", {"x": 1}),
        "id": [1, {"lc": 2}],
    }


def test_other_classes_in_old_json_are_plain_data_unless_they_are_let_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    point, run = call(*__name__.split("."), "Point", x=1), call("subprocess", "run", args=["ls"])

    assert read([point, run]) == [point, run]
    assert read([point, run], True) == [Point(1), run]
    assert read([point, run], [(*__name__.split("."), "Point")]) == [Point(1), run]
    assert read(call("no", "Such", x=1), [("no", "Such")]) == call("no", "Such", x=1)
    assert "Blocked subprocess.run" in caplog.text
    assert "no.Such is let in, and is not there" in caplog.text


def test_an_object_in_old_json_that_its_class_refuses_is_plain_data(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = call("langchain_core", "messages", "ai", "AIMessage", content="x", type="human")
    unknown = call("langchain", "llms", "Nonsense", lc=1)

    assert read([refused, unknown]) == [refused, unknown]
    assert "AIMessage cannot be made" in caplog.text


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00"], ids=["cut", "binary"])
def test_what_is_no_json_is_an_error(content: bytes) -> None:
    with pytest.raises(DecodingError, match="no JSON"):
        JsonPlusSerializer().loads_typed(("json", content))
