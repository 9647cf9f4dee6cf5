"""Types that may be stored, a codec that knows them, and values and events that are worth a try."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import typing
import uuid
import zoneinfo
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from plait import Overwrite, reducers
from plait.codec import Codec, TypeRegistry
from plait.events import (
    NO_ARGUMENT,
    Interrupt,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeInterrupted,
    Outcome,
    Outcomes,
    Participant,
    QuorumJudged,
    Routed,
    RunStarted,
    StateUpdated,
    Target,
    TimerFired,
    TimerKey,
)


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias, which comes back as what it stands for
    BLUE = "blue"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any
    y: Any = 0.0


@dataclasses.dataclass
class Source:
    url: str
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    start: int
    source: Source | None = None


class Finding(pydantic.BaseModel):
    title: str
    meta: dict[str, Any] = {}
    spans: list[Span] = []


class Open(pydantic.BaseModel, extra="allow"):
    name: str = "x"
    _secret: int = 7


class Names(pydantic.RootModel[list[str]]):
    pass


class Brief(typing.TypedDict):
    findings: Annotated[list[Finding], reducers.append]
    place: Point | None
    colour: Literal[Colour.RED]
    others: collections.deque[Open]


def make_codec(**options: Any) -> Codec:
    registry = TypeRegistry()
    registry.register_annotations(Brief, Access, Names)
    registry.register(Overwrite, "Overwrite", to=lambda item: item.value, of=Overwrite)
    return Codec(registry, **options)


CODEC = make_codec()
OPEN = Open(name="a", more=[1, (2,), {"\0t": 1}])  # type: ignore[call-arg]

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**400,
        -(10**90),
    ),
    *(
        0.0,
        -0.0,
        5e-324,
        float("nan"),
        float("inf"),
        float("-inf"),
        1 + 2j,
        complex(-0.0, float("nan")),
    ),
    *("", "a\0b", "\0t", "\ud800", "x\udfffy", "naïve 🧵", b"", b"\0\xff", bytearray(b"ab")),
    *((), (1, (2, [3])), [], [()], set(), {1, "a", (2, frozenset({3}))}, frozenset({None})),
    *(collections.deque([1, (2,)], 5), collections.deque(), collections.OrderedDict(b=1, a=(2,))),
    *(
        collections.Counter("abca"),
        collections.defaultdict(list, {1: [()]}),
        collections.defaultdict(),
    ),
    *(
        {},
        {"b": 1, "a": 2},
        {2: "x", "2": "y", None: [], (1, 2): {}, 1.5: 0},
        {"\0t": [1]},
        {"\0": {}},
    ),
    *({"\ud800": 1, "a": "\ud800"}, {"": {"": {"": ()}}}, {"\0:Finding": {"title": "x"}}),
    *(
        dt.date.min,
        dt.datetime.max.replace(tzinfo=dt.UTC),
        dt.datetime.fromisoformat("2024-10-27T02:30:00.5"),
        dt.timedelta(-1, 5, 7),
    ),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=1), "here")),
    *(
        dt.datetime.now(dt.UTC),
        dt.time(1, 2, 3, 4, dt.UTC, fold=1),
        dt.UTC,
        zoneinfo.ZoneInfo("UTC"),
    ),
    *map(decimal.Decimal, ("0", "-0.00", "1E+999999", "NaN", "-sNaN123", "Infinity", "1.10")),
    *(uuid.UUID(int=0), uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)),
    *(pathlib.Path("/tmp/x"), pathlib.PurePosixPath("a/\udc80"), pathlib.PureWindowsPath("C:\\x")),
    *(Colour.RED, Colour.CRIMSON, Colour.BLUE, Access.READ | Access.WRITE, Access(0)),
    *(Point(1.0), Point((), {}), Source("u", ["a"]), Span(1, Source("u")), Names(["a"])),
    *(Finding(title="t", meta={"k": (1, 2)}, spans=[Span(2)]), Finding(title="t"), Open(), OPEN),
    *(Overwrite([1, (2,)]), {"a": [Overwrite(Colour.RED)]}, NO_ARGUMENT, Target("n", None, "i")),
    Outcome("s", "partial", (0,), 1, (Participant((0, 1), None, "a"),), waited=1.5),
    Outcomes([Outcome("s", "complete", (0,), 0)]),
]


WRITES = (("a", (1, {2})), ("\ud800", Overwrite([Source("u")])), ("a", 2**70))
EVENTS: list[JournalEvent] = [
    RunStarted(1.5, (0,), WRITES),
    NodeCompleted(
        2,
        (0, 3),
        "n",
        2,
        WRITES,
        (
            Target("a"),
            Target("b", None),
            Target("c", (1,), "i", ("x", "y"), 2),
            Target("d", weight=1),
        ),
        1.0,
    ),
    Routed(1.0, (), "START", (Target("b", Finding(title="t")),)),
    TimerFired(1.0, TimerKey((0,), 2, "s", "grace")),
    QuorumJudged(1.0, (0,), 0, "s", 2, True),
    NodeCompleted(
        2, (0,), "n", 1, (), (), 1.0, (Interrupt("0:1:after", None, (0,), "n", "after"),)
    ),
    NodeInterrupted(1.0, (0, 1), "n", 2, (Interrupt("0.1:3:0", Source("u"), (0, 1), "s/n"),)),
    InterruptsAnswered(2, (("0.1:3:0", (1, {2})), ("0:1:after", None))),
    StateUpdated(2, (), "n", WRITES),
]
