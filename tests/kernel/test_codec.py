"""What is stored comes back exactly, or is refused with its place; what is read runs no code."""

from __future__ import annotations

import ast
import collections
import dataclasses
import datetime as dt
import decimal
import functools
import io
import os
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import ormsgpack
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait import Overwrite, PlaitError, SyncPointError, WriteError, errors
from plait.codec import (
    Codec,
    DecodingError,
    EncodingError,
    RecordedError,
    RegistrationError,
    TypeRegistry,
    ValueTooLarge,
)
from plait.errors import NodeError
from plait.events import (
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeRetried,
    Outcome,
    Participant,
    Routed,
    RunStarted,
    Target,
)
from tests.kernel.hostile import forge, nothing_runs
from tests.properties.exact import identical
from tests.properties.stored import (
    CODEC,
    EVENTS,
    OPEN,
    VALUES,
    Access,
    Brief,
    Colour,
    Finding,
    Names,
    Open,
    Point,
    Source,
    Span,
    make_codec,
)

# -- the round trip ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_it_comes_back_exactly(value: Any) -> None:
    for whole in (value, [value], {"k": (value, {"l": value})}):
        assert identical(CODEC.decode(CODEC.encode(whole)), whole)


def test_what_is_stored_shares_nothing_with_what_was_given() -> None:
    given = {"a": [1], "b": (2, [3])}
    read = CODEC.decode(CODEC.encode(given))
    read["a"].append(2)
    read["b"][1].append(4)
    assert given == {"a": [1], "b": (2, [3])}


def test_a_model_is_rebuilt_without_its_validators() -> None:
    class Doubling(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def double(cls, number: int) -> int:
            return number * 2

    codec = Codec()
    codec.registry.register(Doubling, "Doubling")
    assert codec.decode(codec.encode(Doubling(number=4))).number == 8


def test_which_fields_were_set_and_what_is_extra_or_private_is_kept() -> None:
    value = Open(more=1)  # type: ignore[call-arg]
    value._secret = 8
    read = CODEC.decode(CODEC.encode(value))
    assert (read.model_fields_set, read.model_extra, read._secret) == ({"more"}, {"more": 1}, 8)


def test_a_cached_property_is_computed_again() -> None:
    @dataclasses.dataclass
    class Square:
        side: int

        @functools.cached_property
        def area(self) -> int:
            return self.side**2

    codec = Codec()
    codec.registry.register(Square)
    square = Square(3)
    assert square.area == 9
    assert vars(codec.decode(codec.encode(square))) == {"side": 3}


# -- refusals ---------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Bag(dict[str, int]):
    pass


@dataclasses.dataclass
class Unknown:
    a: int = 1


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


def laughs() -> Any:
    value: Any = ["ha"]
    for _ in range(50):
        value = [value, value]
    return value


class Offset(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    dst = utcoffset

    def tzname(self, _: dt.datetime | None) -> str:
        return "here"


BAD: list[Any] = [
    *(object(), lambda: 1, print, int, Unknown(), Unknown, Text("a"), Bag(), range(3), ..., ast),
    *(threading.Lock(), io.StringIO(), memoryview(b"a"), iter([1]), Exception("x"), slice(1)),
    *(ormsgpack.Ext(1, b""), ormsgpack.Fragment(b"\1"), os.environ, collections.ChainMap()),
    *(
        collections.defaultdict(lambda: 1),
        dt.datetime(2024, 1, 1, tzinfo=Offset()),
        KeyError(1),
        deep(65),
        cycle(),
    ),
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"k": [v]}, lambda v: {1: (v,)}])
def test_what_cannot_be_stored_is_refused(value: Any, wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(EncodingError):
        CODEC.encode(wrap(value))
    with pytest.raises(EncodingError):
        CODEC.encode_event(NodeCompleted(1.0, (0,), "n", 1, (("c", wrap(value)),), (), 1.0))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([0, 1, 2, Finding(title="t", meta={"x": object()})], "[3].meta['x']"),
        ({"a": (1, [object()])}, "['a'][1][0]"),
        ({1: {2: object()}}, "[1][2]"),
        ({(1, Text("t")): 1}, " key (1, 't')[1]"),
        ({frozenset({Text("t")})}, " element element"),
        (Span(1, Source("u", [Text("t")])), ".source.tags[0]"),
        (Point(0, [object()]), ".y[0]"),
        (OPEN.model_copy(update={"name": object()}), ".name"),
        (collections.deque([1, object()]), "[1]"),
        (Overwrite([object()]), "[0]"),
    ],
)
def test_the_refusal_says_where_and_what_to_do(value: Any, path: str) -> None:
    with pytest.raises(EncodingError, match="register") as caught:
        CODEC.encode(value, node="search", channel="findings")
    error = caught.value
    assert (error.node, error.channel, error.path) == ("search", "findings", path)
    assert f"node 'search' wrote findings{path} of type {error.type}" in str(error)


def test_an_event_names_its_node_and_channel_or_the_argument() -> None:
    with pytest.raises(EncodingError, match=r"node 'n' wrote c\[1\] of type .*Text"):
        CODEC.encode_event(
            NodeCompleted(1.0, (0,), "n", 1, (("a", 1), ("c", [1, Text("")])), (), 1.0)
        )
    with pytest.raises(EncodingError, match=r"node 'r' wrote the argument of 'w'\['k'\]"):
        CODEC.encode_event(Routed(1.0, (0,), "r", (Target("w", {"k": Text("")}),)))
    with pytest.raises(EncodingError, match="node 'the input' wrote a of type"):
        CODEC.encode_event(RunStarted(1.0, (0,), (("a", Text("")),)))


def test_state_outside_the_fields_is_refused_and_not_dropped() -> None:
    source = Source("u")
    source.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(EncodingError, match="'extra' is no field"):
        CODEC.encode(source)
    del source.url
    with pytest.raises(EncodingError, match="'url' has no value"):
        CODEC.encode(source)


def test_cycles_and_depth_bombs_are_refused_quickly() -> None:
    for value in (deep(65), deep(100_000), cycle()):
        with pytest.raises(EncodingError, match="nested deeper than 64 levels, or it contains"):
            CODEC.encode(value)
    with pytest.raises(ValueTooLarge):
        make_codec(max_value_bytes=100_000).encode(laughs())
    assert identical(CODEC.decode(CODEC.encode(deep(64))), deep(64))


def test_the_deepest_value_of_every_kind_is_read_again() -> None:
    wraps: list[Callable[[Any], Any]] = [
        *(lambda v: (v,), lambda v: {1: v}, lambda v: collections.deque([v])),
        *(lambda v: collections.defaultdict(list, {1: v}), lambda v: {"a": v}),
        *(Overwrite, Source, lambda v: Open(name="n", more=v)),  # type: ignore[call-arg]
    ]
    for wrap in wraps:
        value: Any = 1
        written = b""
        for _ in range(70):
            try:
                written = CODEC.encode([value])
            except EncodingError:
                break
            CODEC.decode(written)
            value = wrap(value)
        else:
            pytest.fail("never refused")


def test_a_value_over_the_limit_is_named() -> None:
    codec = make_codec(max_value_bytes=1000)
    with pytest.raises(ValueTooLarge, match=r"1,103 bytes, and a value may take 1,000") as caught:
        codec.encode("x" * 1100, node="n", channel="c")
    assert caught.value.limit == 1000
    event = NodeCompleted(1.0, (0,), "n", 1, (("a", "x" * 900), ("b", "y" * 900)), (), 1.0)
    assert codec.decode_event(codec.encode_event(event)) == event
    with pytest.raises(ValueTooLarge, match="wrote b of type str"):
        codec.encode_event(event._replace(writes=(("a", "x" * 900), ("b", "y" * 1001))))
    with pytest.raises(ValueTooLarge, match="more than 1,000 bytes"):
        codec.encode([[0] * 600, [0] * 600])


# -- the registry -----------------------------------------------------------------------------


def test_annotations_lead_to_the_types_that_may_be_stored() -> None:
    registry = TypeRegistry()

    def node(state: Brief) -> dict[str, Unknown]:
        raise NotImplementedError

    registry.register_annotations(node, Callable[[Access], Names])
    found = {shape.type for shape in registry.shapes.values()}
    assert {Finding, Span, Source, Point, Colour, Open, Unknown, Access, Names} <= found


def test_two_types_of_one_name_are_refused_until_one_has_a_name_of_its_own() -> None:
    other = dataclasses.make_dataclass("Source", ["a"])
    registry = TypeRegistry()
    registry.register(Source)
    with pytest.raises(RegistrationError, match=r"'Source' is taken by .*Source"):
        registry.register(other)
    registry.register(other, "other.Source")
    codec = Codec(registry)
    assert type(codec.decode(codec.encode(other(1)))) is other


@pytest.mark.parametrize("type_", [int, dict, object, socket.socket, Exception, Text])
def test_what_is_no_record_needs_functions(type_: type) -> None:
    with pytest.raises(RegistrationError):
        TypeRegistry().register(type_)


def test_a_record_that_cannot_be_rebuilt_says_so_when_it_is_written() -> None:
    @dataclasses.dataclass
    class Table(dict[str, int]):
        name: str = "t"

    registry = TypeRegistry()
    registry.register_annotations(list[Table])
    with pytest.raises(EncodingError, match=r"cannot be made from its fields.*to= and of="):
        Codec(registry).encode([Table()])


def test_functions_of_the_user_may_raise_anything() -> None:
    registry = TypeRegistry()
    registry.register(Text, to=str, of=lambda text: {}[text])
    registry.register(Bag, to=lambda _: 1 / 0, of=Bag)
    codec = Codec(registry)
    with pytest.raises(EncodingError, match="to= raises ZeroDivisionError"):
        codec.encode(Bag())
    with pytest.raises(DecodingError, match="KeyError"):
        codec.decode(codec.encode(Text("a")))


def reread(value: Any, now: type, name: str = "Doc") -> Any:
    """Write a value of one class, and read it where another one has its name."""
    old, new = Codec(), Codec()
    old.registry.register(type(value), name)
    new.registry.register(now, "New", formerly=[name])
    return new.decode(old.encode(value))


def test_a_field_added_later_takes_its_default_and_other_changes_are_errors() -> None:
    one = dataclasses.make_dataclass("one", ["a"])
    added = dataclasses.make_dataclass("added", ["a", ("b", int, 5)])
    required = dataclasses.make_dataclass("required", ["a", "b"])
    assert reread(one(1), added) == added(1, 5)
    with pytest.raises(DecodingError, match="'b' now that has no default"):
        reread(one(1), required)
    with pytest.raises(DecodingError, match="no field 'b' any more"):
        reread(required(1, 2), one)
    model, more = pydantic.create_model("M", a=int), pydantic.create_model("N", a=int, b=(int, 5))
    assert reread(model(a=1), more).model_dump() == {"a": 1, "b": 5}
    assert reread(model(a=1), more).model_fields_set == {"a"}
    pair = collections.namedtuple("pair", "a b", defaults=(5,))  # noqa: PYI024
    single = collections.namedtuple("single", "a")  # noqa: PYI024
    assert reread(single(1), pair) == pair(1, 5)


def test_a_type_that_is_not_registered_any_more_is_named() -> None:
    with pytest.raises(DecodingError, match="holds a 'Source', which is not registered"):
        Codec().decode(CODEC.encode([Source("u")]))


# -- events and errors ------------------------------------------------------------------------


def fail(error: BaseException, cause: BaseException | None = None) -> Any:
    """The same error, raised; with a cause, from it."""
    try:
        raise error from cause
    except BaseException as raised:
        return raised


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_exactly(event: JournalEvent) -> None:
    assert identical(CODEC.decode_event(CODEC.encode_event(event)), event)


def test_a_foreign_exception_comes_back_as_its_facts() -> None:
    cause = ArithmeticError("no such number")
    error = fail(decimal.InvalidOperation("bad \ud800"), cause)
    error.add_note("while adding")
    read = CODEC.decode_event(CODEC.encode_event(NodeRetried(1.0, (0,), "n", 1, error, 0.5)))
    assert isinstance(read, NodeRetried)
    recorded = read.error
    assert type(recorded) is RecordedError
    assert (recorded.type, recorded.message) == ("decimal.InvalidOperation", "bad \ud800")
    assert (recorded.__notes__, str(recorded.__cause__)) == (
        ["while adding"],
        f"ArithmeticError: {cause}",
    )
    assert isinstance(recorded, PlaitError)
    again = CODEC.decode(CODEC.encode([recorded]))[0]
    assert identical(again, recorded)


def test_an_error_of_plaits_own_comes_back_as_itself_with_its_facts() -> None:
    error = NodeError("n", (0, 1), 3, fail(ValueError("boom")))
    read = CODEC.decode_event(CODEC.encode_event(NodeFailed(1.0, (0, 1), "n", 3, error, "raise")))
    assert isinstance(read, NodeFailed)
    assert type(read.error) is NodeError
    assert vars(read.error) == {"node": "n", "branch": (0, 1), "attempt": 3}
    assert str(read.error) == str(error)
    assert str(read.error.__cause__) == "ValueError: boom"
    outcome = Outcome("s", "partial", (0,), 0, failed=(Participant((0, 1), None, "n", error),))
    sync = CODEC.decode(CODEC.encode(SyncPointError("s", "too few", outcome)))
    assert sync.outcome.failed[0].error.attempt == 3


def test_every_error_of_plait_is_known() -> None:
    known = CODEC.registry.shapes
    assert {getattr(errors, name) for name in errors.__all__} <= known.keys()


def test_a_failure_never_fails_to_be_recorded() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    looping = fail(KeyError("a"))
    looping.__context__ = Broken()
    looping.__context__.__context__ = looping
    group = ExceptionGroup("several", [ValueError("x" * 10**6), ExceptionGroup("in", [looping])])
    outcome = Outcome("s", "partial", (0,), 0)
    knot = SyncPointError("s", "p", dataclasses.replace(outcome, waited=threading))  # type: ignore[arg-type]
    knot.outcome = dataclasses.replace(outcome, failed=(Participant((), None, "n", knot),) * 3)
    huge = WriteError("n", "c", "less", ["x" * 10**6] * 3)
    for error in (Broken(), looping, group, WriteError("n", "c", "no lock", threading), huge, knot):
        written = CODEC.encode_event(NodeRetried(1.0, (0,), "n", 1, error, 0.5))
        read = CODEC.decode_event(written)
        assert isinstance(read, NodeRetried)
        assert len(written) < 3 * 2**20
    assert isinstance(fail(group), ExceptionGroup)


def test_an_exception_may_be_registered_to_come_back_as_itself() -> None:
    class Quota(Exception):
        def __init__(self, left: int) -> None:
            self.left = left
            super().__init__(f"{left} left")

    codec = Codec()
    codec.registry.register(Quota, "Quota", to=lambda error: error.left, of=Quota)
    error = NodeError("n", (0,), 1, fail(Quota(3), KeyError("k")))
    read = codec.decode_event(codec.encode_event(NodeFailed(1.0, (0,), "n", 1, error, "record")))
    assert isinstance(read, NodeFailed)
    cause = read.error.__cause__
    assert isinstance(cause, Quota)
    assert (cause.left, str(cause.__cause__)) == (3, "KeyError: 'k'")


# -- hostile bytes ----------------------------------------------------------------------------


TARGETS = [
    *("os.system", "builtins.eval", "subprocess:Popen", "posix system", "plait.codec.Codec"),
    *("__main__.x", "builtins.object.__reduce__", "importlib.import_module", "..os", "os"),
]
FORGED_MODELS: list[Any] = [
    [{"name": 1}, ["other"], None, None],
    [{"name": 1}, [{}], None, None],
    [{"name": 1}, None, [], None],
    [{"name": 1}, None],
    {"name": 1, "__dict__": 2},
]
NO_MEMBERS: list[Any] = ["__class__", "mro", "_member_map_", "GREEN", ["RED"], {}]
PROBES: list[Any] = [
    *({"\0:Open": content} for content in FORGED_MODELS),
    {"\0:Finding": [{"title": "t", "meta": {}, "spans": []}, None, {"extra": 1}, None]},
    *({f"\0:{name}": ["touch /tmp/x"]} for name in TARGETS),
    *({f"\0{name}": ["touch /tmp/x"]} for name in TARGETS),
    *({"\0k": [name, [1, 2]]} for name in TARGETS),
    *({"\0:Source": {"url": "u", "tags": [], name: 1}} for name in ("__class__", "__dict__", "x")),
    *({"\0:Open": [{"name": 1}, None, None, {name: 1}]} for name in ("__class__", "x")),
    *(
        {"\0:plait.NodeError": ["m", {name: 1}, [], None, None, False]}
        for name in ("__class__", "__x")
    ),
    *({"\0:Colour": name} for name in NO_MEMBERS),
    *({"\0Z": key} for key in ("../../etc/passwd", "/etc/passwd", "a.b", "a/../b", "", None, "\0")),
    *(
        {"\0:Point": [1] * 3},
        {"\0:Point": "__import__"},
        {"\0M": "__import__('os')"},
        {"\0M": "1_0"},
    ),
    *({"\0:Access": "os"}, {"\0:plait.Outcomes": 5}, {"\0:Names": {"root": 1, "__init__": 2}}),
    *(
        b"cos\nsystem\n(S'true'\ntR.",
        pickle.dumps(os.system),
        b"\xc1",
        b"\xd4\x01\x00",
        b"\xc7\x01\x01x",
    ),
    *(b"\xdd\xff\xff\xff\xff\x01", b"\x91" * 10_000, b"\xdf\xff\xff\xff\xff\xa1a\x01", b"\xa1\xff"),
    *(
        {"\0i": "x"},
        {"\0s": [[1]]},
        {"\0s": [1, 1]},
        {"\0d": [1]},
        {"\0d": [1, 2, 1, 2]},
        {"\0q": [0, [1]]},
    ),
    *(
        {"\0D": [13] * 9},
        {"\0D": None},
        {"\0L": [10**18, 0, 0]},
        {"\0A": [True, 1, 1]},
        {"\0U": b"1"},
    ),
    *(
        {"\0Pp": "a//b"},
        {"\0e": []},
        {"\0x": [1, [], None, None, False]},
        {"\0": 1},
        {"\0u": b"\xff"},
    ),
]


def test_the_watch_sees_what_it_should() -> None:
    with pytest.raises(AssertionError), nothing_runs():
        pickle.loads(pickle.dumps(os.system))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: repr(probe)[:40])
def test_bytes_that_try_to_run_code_are_refused(probe: Any) -> None:
    for decode, flags in ((CODEC.decode, 0), (CODEC.decode_event, 1)):
        data = forge(probe, flags)
        with nothing_runs(), pytest.raises(DecodingError):
            decode(data)


@pytest.mark.parametrize("key", ["Europe", "No/Such", "America/Berlin", "UTC/x"])
def test_a_zone_that_is_not_there_is_refused(key: str) -> None:
    with pytest.raises(DecodingError, match="not known on this machine"):
        CODEC.decode(forge({"\0Z": key}))


BAD_EVENTS: list[Any] = [
    *(
        1,
        [],
        [99],
        ["RunStarted"],
        [True, 1.0, [0], []],
        [0],
        [0, "x", [0], []],
        [0, 1.0, ["0"], []],
    ),
    *(
        [0, 1.0, [0], ["a"]],
        [0, 1.0, [0], [1, 2]],
        [0, 1.0, [0], [], 1],
        [5, 1.0, [[0], 0, "s", "x"]],
    ),
    *([4, 1.0, [0], "n", [["n"]]], [4, 1.0, [0], "n", [5]], [4, 1.0, [0], "n", ["a"], 1]),
    *(
        [3, 1.0, [0], "n", 1, "x", "raise"],
        [2, 1.0, [0], "n", 1, None, 1.0],
        [6, 1.0, [0], 0, "s", 1, 1],
    ),
    [3, 1.0, [0], "n", 1, {"\0:Colour": "RED"}, "raise"],
    [4, 1.0, [0], "n", [["n", None, [], 1.0, 1, 2]]],
]


@pytest.mark.parametrize("tree", BAD_EVENTS, ids=repr)
def test_what_is_no_event_is_refused(tree: Any) -> None:
    with pytest.raises(DecodingError):
        CODEC.decode_event(forge(tree, flags=1))


def test_another_version_another_kind_and_unknown_flags_are_refused() -> None:
    event, value = CODEC.encode_event(EVENTS[0]), CODEC.encode(1)
    for data, match in (
        (event, "another kind"),
        (forge(1, version=2), "version 2"),
        (forge(1, flags=0x40), "0x40"),
        (forge(1, flags=0x80), "protected"),
        (value + b"\0", "checksum"),
        (b"", "0 bytes"),
        (None, "TypeError"),
    ):
        with pytest.raises(DecodingError, match=match):
            CODEC.decode(data)  # type: ignore[arg-type]
    with pytest.raises(DecodingError, match="another kind"):
        CODEC.decode_event(value)


def test_the_codec_is_loaded_only_when_it_is_used() -> None:
    script = "import sys, plait; sys.exit('ormsgpack' in sys.modules)"
    assert os.spawnv(os.P_WAIT, os.sys.executable, [os.sys.executable, "-c", script]) == 0  # type: ignore[attr-defined]


# -- what a program has put together itself ---------------------------------------------------

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
)


@given(TREES)
def test_a_tree_of_plain_things_comes_back_exactly(tree: Any) -> None:
    encoded = CODEC.encode_plain(tree)
    assert encoded is not None
    assert identical(CODEC.decode_plain(encoded), tree)


@pytest.mark.parametrize(
    "value",
    [value for value in VALUES if not isinstance(value, bytearray)],
    ids=lambda value: f"{type(value).__name__}",
)
def test_what_is_not_plain_is_not_taken_for_it(value: Any) -> None:
    encoded = CODEC.encode_plain([value])
    assert encoded is None or identical(CODEC.decode_plain(encoded), [value])


def test_a_plain_tree_that_is_too_large_or_contains_itself_is_not_encoded() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert CODEC.encode_plain(endless) is None
    assert Codec(max_value_bytes=100).encode_plain("x" * 100) is None


def test_a_damaged_plain_tree_is_refused() -> None:
    encoded = bytearray(CODEC.encode_plain({"a": 1}) or b"")
    encoded[-1] ^= 1
    with pytest.raises(DecodingError, match="checksum"):
        CODEC.decode_plain(bytes(encoded))
