"""Bad input on every store: refused at once and by name, or kept exactly. Never silent, never late.

A case is one bad thing at one place. It is done on SQLite and on PostgreSQL, which must say the
same, and in memory, which says the same of all but of values that cannot be stored: there nothing
is stored, so they are taken as they are.
"""

from __future__ import annotations

import collections
import contextvars
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import math
import operator
import pathlib
import re
import threading
import uuid
import zoneinfo
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple, TypedDict

import anyio
import pydantic
import pytest

from plait import (
    END,
    START,
    Command,
    Flow,
    Graph,
    Join,
    MemoryStore,
    NodeContext,
    Overwrite,
    PlaitError,
    Send,
    interrupt,
    open_store,
)
from plait.durable import Limits
from plait.errors import ThreadNotFound
from plait.flow import RunResult
from plait.store import Store
from tests.postgres.server import database, fresh_schema
from tests.properties.exact import identical

STORES: Final = ("sqlite", "postgres", "memory")
LIMIT: Final = 20.0
"""Seconds: what takes longer counts as hanging."""


# -- the stores, and a program that is given bad things ----------------------------------------


class Where(NamedTuple):
    """Where the stores of this module are."""

    folder: pathlib.Path
    schema: str

    @asynccontextmanager
    async def opened(self, kind: str) -> AsyncIterator[Store]:
        """A new handle on a store, as another process would have it."""
        if kind == "memory":
            yield MemoryStore()
            return
        url, options = f"sqlite:///{self.folder}/rows.db", dict[str, Any](synchronous="OFF")
        if kind == "postgres":
            url, options = database(), {"schema": self.schema}
        store = open_store(url, **options)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Where:
    return Where(tmp_path_factory.mktemp("rows"), fresh_schema())


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]
    note: Any


async def nothing(_: Any) -> None:
    pass


class Program:
    """``START -> first -> after -> END``, whose ``first`` does what a case says."""

    def __init__(self, place: str, make: Callable[[], Any]) -> None:
        self.place = place
        self.value = make()
        self.called: list[str] = []
        self.seen: list[Any] = []

    async def first(self, _: State, ctx: NodeContext) -> Any:
        self.called.append("first")
        value = self.value
        if self.place == "question":
            self.seen.append(interrupt(value))
            return None
        if self.place == "answer":
            return {"note": interrupt("?")}
        output = {
            "output": {"note": value},
            "item": {"items": [value]},
            "overwrite": {"items": Overwrite([value])},
            "command": Command(update={"note": value}),
            "goto": Command(goto=Send("after", value)),
        }
        return output.get(self.place)

    async def after(self, argument: Any) -> None:
        self.called.append("after")
        self.seen.append(argument)

    def send(self, _: State) -> Send:
        return Send("first" if self.place == "start" else "after", self.value)

    def flow(self, store: Store) -> Flow[Any]:
        graph = Graph(State, "program")
        graph.add_node("first", self.first, targets=["after"])
        graph.add_node("after", self.after)
        if self.place == "start":
            graph.add_conditional_edges(START, self.send, ["first"])
        else:
            graph.add_edge(START, "first")
        if self.place == "sync point":
            graph.add_node("left", nothing)
            graph.add_node("right", nothing)
            graph.add_sync_point("meet", Join())
            for side in ("left", "right"):
                graph.add_edge("first", side)
                graph.add_edge(side, "meet")
            graph.add_conditional_edges("meet", self.send, ["after"])
        elif self.place == "router":
            graph.add_conditional_edges("first", self.send, ["after"])
        elif self.place != "goto":
            graph.add_edge("first", "after")
        graph.add_edge("after", END)
        return graph.compile(store)

    async def carry_out(self, flow: Flow[Any], thread_id: str) -> RunResult[Any]:
        """Do it; in places behind a run, what ran before is not counted."""
        given = {"note": self.value} if self.place == "input" else {}
        result = await flow.run(given, thread_id)
        if self.place in {"answer", "update", "replace"}:
            self.called.clear()
        if self.place == "answer":
            return await flow.resume(thread_id, {"0:1:0": self.value})
        if self.place in {"update", "replace"}:
            note = {"note": self.value}
            await flow.update(
                thread_id, note if self.place == "update" else {"items": Overwrite([self.value])}
            )
        return result


class Refusal(NamedTuple):
    """How something was refused."""

    type: str
    message: str


async def refusal_of(
    action: Awaitable[Any], allowed: tuple[type[Exception], ...]
) -> Refusal | None:
    """How it is refused; ``None`` if it is not."""
    with anyio.fail_after(LIMIT):
        try:
            await action
        except allowed as error:
            return Refusal(type(error).__name__, str(error))
    return None


# -- values that cannot be stored --------------------------------------------------------------


class Unknown:
    """A class that nobody has registered."""

    def __repr__(self) -> str:
        return "Unknown()"


class Color(enum.Enum):
    """Registered nowhere either."""

    RED = 1


@dataclass
class Record:
    field: int = 0


class Text(str):
    __slots__ = ()


class Number(int):
    pass


def circle_of_lists() -> Any:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    return circle


def circle_of_dicts() -> Any:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    return circle


def deep() -> Any:
    value: Any = 1
    for _ in range(2_000):
        value = [value]
    return value


class Odd(dt.tzinfo):
    def utcoffset(self, _: Any) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, _: Any) -> None:
        return None

    def tzname(self, _: Any) -> str:
        return "odd"

    def __repr__(self) -> str:
        return "Odd()"


class Bad(NamedTuple):
    make: Callable[[], Any]
    path: str = ""
    """Where in the value the fault is."""


UNSTORABLE: Final[dict[str, Bad]] = {
    "an object": Bad(Unknown),
    "an object in a list": Bad(lambda: [1, [2, Unknown()]], "[1][1]"),
    "an object in a dict": Bad(lambda: {"a": {"b": Unknown()}}, "['a']['b']"),
    "an object in a tuple": Bad(lambda: (1, Unknown()), "[1]"),
    "an object as a key": Bad(lambda: {"a": {Unknown(): 1}}, "['a']"),
    "an object in a deque": Bad(lambda: collections.deque([0, Unknown()]), "[1]"),
    "a function": Bad(lambda: math.sin),
    "a lambda": Bad(lambda: {"f": lambda: 1}, "['f']"),
    "a class": Bad(lambda: int),
    "a module": Bad(lambda: math),
    "a lock": Bad(threading.Lock),
    "a generator": Bad(lambda: (n for n in range(3))),
    "an iterator": Bad(lambda: iter([1])),
    "a range": Bad(lambda: range(3)),
    "a slice": Bad(lambda: slice(1, 2)),
    "an ellipsis": Bad(lambda: ...),
    "a memoryview": Bad(lambda: memoryview(b"x")),
    "a context variable": Bad(lambda: contextvars.ContextVar("x")),
    "a pattern": Bad(lambda: re.compile("x")),
    "a fraction": Bad(lambda: fractions.Fraction(1, 3)),
    "an address": Bad(lambda: ipaddress.ip_address("::1")),
    "an enum that is not registered": Bad(lambda: Color.RED),
    "a dataclass that is not registered": Bad(lambda: [Record()], "[0]"),
    "a subclass of str": Bad(lambda: Text("x")),
    "a subclass of int": Bad(lambda: Number(1)),
    "a subclass of a list": Bad(type("Items", (list,), {})),
    "keys of a dict": Bad({"a": 1}.keys),
    "a time zone of one's own": Bad(lambda: dt.datetime(2020, 1, 1, tzinfo=Odd())),
    "a list in itself": Bad(circle_of_lists),
    "a dict in itself": Bad(circle_of_dicts),
    "two thousand lists in each other": Bad(deep),
    "a string that is too large": Bad(lambda: "x" * 2_100_000),
    "bytes that are too large": Bad(lambda: bytes(2_100_000)),
    "a list that is too large": Bad(lambda: list(range(300_000, 1_000_000))),
    "an int that is too large": Bad(lambda: 1 << 20_000_000),
    "many that are too large together": Bad(lambda: ["x" * 100_000] * 30),
}

FEW: Final = (
    "an object",
    "an object in a dict",
    "a generator",
    "a list in itself",
    "a string that is too large",
)
"""Those that are tried at every place."""


class Named(NamedTuple):
    """What a refusal names."""

    who: str
    what: str
    later: tuple[str, ...] = ()
    """The nodes that may have been called."""


PLACES: Final[dict[str, Named]] = {
    "output": Named("node 'first'", "note", ("first",)),
    "item": Named("node 'first'", "items[0]", ("first",)),
    "overwrite": Named("node 'first'", "items[0]", ("first",)),
    "command": Named("node 'first'", "note", ("first",)),
    "goto": Named("node 'first'", "the argument of 'after'", ("first",)),
    "router": Named("node 'first'", "the argument of 'after'", ("first",)),
    "sync point": Named("'meet'", "the argument of 'after'", ("first",)),
    "start": Named("'__start__'", "the argument of 'first'"),
    "question": Named("node 'first'", "the value of interrupt '0:1:0'", ("first",)),
    "answer": Named("found", "the answer to interrupt '0:1:0'"),
    "input": Named("the input", "note"),
    "update": Named("an update", "note"),
    "replace": Named("an update", "items[0]"),
}


def unstorable() -> Iterator[tuple[str, str]]:
    for place in PLACES:
        for name in UNSTORABLE if place == "output" else FEW:
            yield place, name


@pytest.mark.parametrize(("place", "name"), list(unstorable()))
async def test_what_cannot_be_stored_is_refused_before_anything_follows(
    where: Where, place: str, name: str
) -> None:
    bad, named = UNSTORABLE[name], PLACES[place]
    refusals: list[Refusal] = []
    for kind in ("sqlite", "postgres"):
        program = Program(place, bad.make)
        async with where.opened(kind) as store:
            flow, thread_id = program.flow(store), f"{place} {name}"
            refusal = await refusal_of(program.carry_out(flow, thread_id), (PlaitError,))
            assert refusal is not None, f"{kind} took it"
            assert named.who in refusal.message
            # Of what is too large, the whole is named.
            what = named.what.removesuffix("[0]") if "too large" in name else named.what
            assert what + bad.path in refusal.message
            assert len(refusal.message) < 1_000
            assert program.called == list(named.later)
            refusals.append(refusal)
        async with where.opened(kind) as store:  # it can be read, and nothing bad is in it
            await anyio.lowlevel.checkpoint()
            again = Program("nothing", lambda: None)
            await left_well(again.flow(store), place, thread_id)
    assert re.sub("0x[0-9a-f]+", "", refusals[0].message) == re.sub(
        "0x[0-9a-f]+", "", refusals[1].message
    )
    assert refusals[0].type == refusals[1].type


async def left_well(flow: Flow[Any], place: str, thread_id: str) -> None:
    """A thread to which something bad was given is as it was, or not there."""
    if place == "input":
        with pytest.raises(ThreadNotFound):
            await flow.state(thread_id)
        return
    snapshot = await flow.state(thread_id)
    assert snapshot.state.get("items", []) == []
    assert "note" not in snapshot.state
    expected = {"answer": "suspended", "update": "completed", "replace": "completed"}
    assert snapshot.status == expected.get(place, "running")


@pytest.mark.parametrize("place", PLACES)
async def test_in_memory_nothing_is_stored_so_any_value_will_do(place: str) -> None:
    value = Unknown()
    program = Program(place, lambda: value)
    flow = program.flow(MemoryStore())
    result = await program.carry_out(flow, "t")
    if place == "question":
        assert result.interrupts[0].value is value
    elif place in {"goto", "router", "sync point", "start"}:
        assert value in program.seen or place == "start"
    else:
        state = (await flow.state("t")).state
        assert (
            state["items"] == [value] if "items" in PLACES[place].what else state["note"] is value
        )


# -- values that look bad, and are kept --------------------------------------------------------

KEPT: Final[dict[str, Callable[[], Any]]] = {
    "nan": lambda: math.nan,
    "infinities": lambda: [math.inf, -math.inf],
    "a negative zero": lambda: -0.0,
    "the smallest float": lambda: 5e-324,
    "a lone surrogate": lambda: "\ud800 and \udfff",
    "a lone surrogate as a key": lambda: {"\ud800": 1},
    "NUL": lambda: "a\0b",
    "NUL as a key": lambda: {"\0": "\0"},
    "what looks like a tag": lambda: {"\0t": [1]},
    "all of Unicode's ends": lambda: "\x00\x7f\x80\ud7ff\ue000\uffff\U0010ffff",
    "ints about 64 bits": lambda: [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1],
    "a huge int": lambda: -(3**2000),
    "bools and ints": lambda: [True, 1, False, 0, 1.0],
    "True as a key": lambda: {True: "yes", 2: "two", None: "none"},
    "bytes": lambda: bytes(range(256)),
    "a bytearray": lambda: bytearray(b"\0\xff"),
    "nothing at all": lambda: None,
    "empty things": lambda: ["", b"", [], {}, (), set(), frozenset()],
    "tuples": lambda: ((1, (2,)), [(3,)]),
    "tuples as keys": lambda: {(1, 2): {(3,): 4}},
    "sets": lambda: {1, "a", (2, 3), frozenset({4})},
    "a deque": lambda: collections.deque([1, 2], maxlen=2),
    "a counter": lambda: collections.Counter("abca"),
    "an ordered dict": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "a default dict": lambda: collections.defaultdict(list, {"a": [1]}),
    "complex": lambda: complex(math.nan, -0.0),
    "decimals": lambda: [decimal.Decimal(text) for text in ("1.10", "NaN", "-0", "1E+999", "sNaN")],
    "a naive datetime": lambda: dt.datetime(1, 1, 1, fold=1),  # noqa: DTZ001 - meant
    "an aware datetime": lambda: dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    "an odd offset": lambda: dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=-1))),
    "a zone": lambda: dt.datetime(
        2020, 10, 25, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"), fold=1
    ),
    "a date and a time": lambda: [dt.date(2020, 2, 29), dt.time(1, 2, 3, 4)],
    "a duration": lambda: dt.timedelta.min,
    "a UUID": lambda: uuid.UUID(int=5),
    "a path": lambda: pathlib.PurePosixPath("/a/../b"),
    "sixty lists in each other": lambda: deep_by(60),
    "almost too large": lambda: "x" * 2_000_000,
    "many small things": lambda: [{"n": n} for n in range(20_000)],
}

FEW_KEPT: Final = ("nan", "a lone surrogate", "NUL as a key", "tuples", "a huge int", "sets")


def deep_by(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def kept() -> Iterator[tuple[str, str]]:
    for place in PLACES:
        for name in KEPT if place == "output" else FEW_KEPT:
            yield place, name


@pytest.mark.parametrize(("place", "name"), list(kept()))
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_what_is_accepted_comes_back_exactly(
    where: Where, kind: str, place: str, name: str
) -> None:
    value, thread_id = KEPT[name](), f"kept {place} {name}"
    program = Program(place, KEPT[name])
    with anyio.fail_after(LIMIT):
        async with where.opened(kind) as store:
            await program.carry_out(program.flow(store), thread_id)
        async with where.opened(kind) as store:
            found = await kept_value(program.flow(store), place, thread_id)
    assert identical(found, value)


async def kept_value(flow: Flow[Any], place: str, thread_id: str) -> Any:
    """What another handle finds where a value was put."""
    snapshot = await flow.state(thread_id)
    if place == "question":
        return snapshot.interrupts[0].value
    if place in {"goto", "router", "sync point", "start"}:
        async for each in flow.history(thread_id):
            for target in getattr(each.event, "targets", ()):
                if target.node == ("first" if place == "start" else "after"):
                    return target.argument
    if "items" in PLACES[place].what:
        return snapshot.state["items"][0]
    return snapshot.state["note"]


# -- arguments that make no sense --------------------------------------------------------------


class Asking(TypedDict, total=False):
    number: int
    items: Annotated[list[int], operator.add]
    answer: str


async def add(state: Any) -> Asking:
    return {"items": [state["number"]]}


async def question(_: Asking) -> Asking:
    return {"answer": interrupt("?")}


def asking(store: Store) -> Flow[Any]:
    graph = Graph(Asking, "asking")
    graph.add_node(add)
    graph.add_node(question)
    graph.add_edge(START, "add")
    graph.add_edge("add", "question")
    graph.add_edge("question", END)
    return graph.compile(store)


Action = Callable[[Flow[Any]], Awaitable[Any]]
BAD_IDS: Final = ("", "a\0b", "\ud800", "line\n", "x" * 513, "ü" * 257, 5, b"bytes", ("a",), 1.5)


async def _all(history: AsyncIterator[Any]) -> None:
    async for _ in history:
        pass


def on_ids() -> Iterator[tuple[str, Action, tuple[str, ...]]]:
    for bad in BAD_IDS:
        for name, action in _with_id(bad).items():
            yield f"{name} {bad!r:.20}", action, ("thread_id",)
    for name, action in _with_id("nobody").items():
        if name not in {"run", "fork to"}:
            yield f"{name} what is not known", action, ("'nobody'", "is not known")


def _with_id(name: Any) -> dict[str, Action]:
    return {
        "run": lambda flow: (
            flow.run({"number": 1}, name) if name else flow.store.lease(name).__aenter__()
        ),
        "resume": lambda flow: flow.resume(name),
        "answer": lambda flow: flow.resume(name, {"0:2:0": "x"}),
        "state": lambda flow: flow.state(name),
        "history": lambda flow: _all(flow.history(name)),
        "update": lambda flow: flow.update(name, {"number": 1}),
        "blame": lambda flow: flow.blame(name, "number"),
        "fork": lambda flow: flow.fork(name, 1, "fork"),
        "fork to": lambda flow: flow.fork("t", 1, name),
    }


ARGUMENTS: Final[dict[str, tuple[Action, tuple[str, ...]]]] = {
    # positions: the thread has 1 to 3
    "state at -1": (lambda flow: flow.state("t", -1), ("positions 0 to 3", "-1")),
    "state at 4": (lambda flow: flow.state("t", 4), ("positions 0 to 3", "4")),
    "state at 2**70": (lambda flow: flow.state("t", 2**70), ("positions 0 to 3",)),
    "state at -2**70": (lambda flow: flow.state("t", -(2**70)), ("positions 0 to 3",)),
    "state at a float": (lambda flow: flow.state("t", 1.5), ("1.5",)),  # type: ignore[arg-type]
    "state at a word": (lambda flow: flow.state("t", "two"), ("'two'",)),  # type: ignore[arg-type]
    "blame at 4": (lambda flow: flow.blame("t", "number", 4), ("positions 0 to 3", "4")),
    "blame at a word": (lambda flow: flow.blame("t", "number", "x"), ("'x'",)),  # type: ignore[arg-type]
    "blame of no channel": (lambda flow: flow.blame("t", "none"), ("'none'", "'number'")),
    "fork at 0": (lambda flow: flow.fork("t", 0, "f"), ("positions 1 to 3", "0")),
    "fork at -1": (lambda flow: flow.fork("t", -1, "f"), ("positions 1 to 3", "-1")),
    "fork at 4": (lambda flow: flow.fork("t", 4, "f"), ("positions 1 to 3", "4")),
    "fork at 2**70": (lambda flow: flow.fork("t", 2**70, "f"), ("positions 1 to 3",)),
    "fork at a float": (lambda flow: flow.fork("t", 1.5, "f"), ("1.5",)),  # type: ignore[arg-type]
    "fork at a word": (lambda flow: flow.fork("t", "x", "f"), ("'x'",)),  # type: ignore[arg-type]
    "fork to itself": (lambda flow: flow.fork("t", 1, "t"), ("'t'", "exists")),
    "prune nothing": (lambda flow: flow.prune("t"), ("keep",)),
    "prune to -1": (lambda flow: flow.prune("t", -1), ("keep=-1",)),
    "prune to -1 bytes": (lambda flow: flow.prune("t", keep_bytes=-1), ("keep_bytes=-1",)),
    "prune to a float": (lambda flow: flow.prune("t", 1.5), ("keep=1.5",)),  # type: ignore[arg-type]
    "prune to a word": (lambda flow: flow.prune("t", "x"), ("keep='x'",)),  # type: ignore[arg-type]
    "prune to nan": (lambda flow: flow.prune("t", math.nan), ("keep=nan",)),  # type: ignore[arg-type]
    # answers: 0:2:0 is open
    "an unknown answer": (lambda flow: flow.resume("t", {"0:9:0": 1}), ("'0:9:0'", "'0:2:0'")),
    "one of two unknown": (
        lambda flow: flow.resume("t", {"0:2:0": "yes", "x": 1}),
        ("no interrupt 'x'", "'0:2:0'"),
    ),
    "an answer by number": (lambda flow: flow.resume("t", {0: "yes"}), ("0",)),  # type: ignore[dict-item]
    "answers in a list": (lambda flow: flow.resume("t", ["yes"]), ("answers",)),  # type: ignore[arg-type]
    "no answers, in a list": (lambda flow: flow.resume("t", []), ("answers",)),  # type: ignore[arg-type]
    "an answer alone": (lambda flow: flow.resume("t", "yes"), ("answers",)),  # type: ignore[arg-type]
    "a run of a suspended thread": (lambda flow: flow.run({}, "t"), ("'t'", "'0:2:0'")),
    # updates
    "an unknown channel": (lambda flow: flow.update("t", {"none": 1}), ("'none'", "'number'")),
    "a channel by number": (lambda flow: flow.update("t", {1: 1}), ("'1'",)),  # type: ignore[dict-item]
    "an update by a list": (lambda flow: flow.update("t", [1]), ("mapping",)),  # type: ignore[arg-type]
    "an update by a word": (lambda flow: flow.update("t", "x"), ("mapping",)),  # type: ignore[arg-type]
    "as no node": (lambda flow: flow.update("t", {"number": 1}, "none"), ("'none'",)),
    "as START": (lambda flow: flow.update("t", {"number": 1}, START), ("'__start__'",)),
    "as a number": (lambda flow: flow.update("t", {"number": 1}, 5), ("5",)),  # type: ignore[arg-type]
    "no such branch": (lambda flow: flow.update("t", {"number": 1}, branch=(7,)), ("7", "(0,)")),
    "a branch by name": (
        lambda flow: flow.update("t", {"number": 1}, branch="0"),  # type: ignore[arg-type]
        ("'question'",),
    ),
    "a reducer that cannot": (lambda flow: flow.update("t", {"items": 5}), ("'items'", "5")),
    # inputs, on a new thread
    "input of an unknown channel": (lambda flow: flow.run({"none": 1}, "new"), ("'none'",)),
    "input by a list": (lambda flow: flow.run([1], "new"), ("mapping", "list")),
    "input by a number": (lambda flow: flow.run(5, "new"), ("mapping", "int")),
    "input by number": (lambda flow: flow.run({1: 1}, "new"), ("1",)),
    "input that cannot be added": (lambda flow: flow.run({"items": 5}, "new"), ("'items'", "5")),
}


def senseless() -> Iterator[Any]:
    for name, action, words in on_ids():
        yield pytest.param(action, words, id=name)
    for name, (action, words) in ARGUMENTS.items():
        yield pytest.param(action, words, id=name)


OTHERWISE_IN_MEMORY: Final = ("prune",)
"""What a store in memory refuses for a reason of its own: it keeps whole journals."""


@pytest.mark.parametrize(("action", "words"), list(senseless()))
async def test_what_makes_no_sense_is_refused_alike_by_every_store(
    where: Where, action: Action, words: Sequence[str], request: pytest.FixtureRequest
) -> None:
    refusals: list[Refusal] = []
    for kind in STORES:
        async with where.opened(kind) as store:
            flow = asking(store)
            try:
                await flow.run({"number": 1}, "t")
            except PlaitError:  # an earlier case has made it
                pass
            before = await flow.state("t")
            refusal = await refusal_of(action(flow), (PlaitError, ValueError, TypeError))
            assert refusal is not None, f"{kind} took it"
            for word in words:
                assert word in refusal.message, kind
            refusals.append(refusal)
            assert await flow.state("t") == before
            with pytest.raises(ThreadNotFound):
                await flow.state("new")
    assert refusals[0] == refusals[1]
    if not request.node.callspec.id.startswith(OTHERWISE_IN_MEMORY):
        assert refusals[0] == refusals[2]


# -- nodes that return what makes no sense -----------------------------------------------------


class Strict(pydantic.BaseModel):
    number: int = 0
    items: Annotated[list[int], operator.add] = pydantic.Field(default=[])


RETURNED: Final[dict[str, tuple[Callable[[], Any], tuple[str, ...]]]] = {
    "a list": (lambda: [1], ("node 'first'", "mapping")),
    "a word": (lambda: "after", ("node 'first'", "mapping")),
    "a number": (lambda: 5, ("node 'first'", "mapping")),
    "a Send": (lambda: Send("after"), ("node 'first'", "mapping")),
    "an unknown channel": (lambda: {"none": 1}, ("node 'first'", "'none'")),
    "a channel by number": (lambda: {1: 1}, ("node 'first'", "'1'")),
    "a word for a number": (lambda: {"number": "one"}, ("node 'first'", "'number'", "'one'")),
    "nan for a number": (lambda: {"number": math.nan}, ("node 'first'", "'number'", "nan")),
    "None for a number": (lambda: {"number": None}, ("node 'first'", "'number'", "None")),
    "a word among numbers": (lambda: {"items": [1, "x"]}, ("node 'first'", "'items'", "'x'")),
    "a number for a list": (lambda: {"items": 1}, ("node 'first'", "'items'")),
    "a bad Overwrite": (lambda: {"items": Overwrite(["x"])}, ("node 'first'", "'items'", "'x'")),
    "a bad update": (lambda: Command(update={"number": "x"}), ("node 'first'", "'number'")),
    "an update by a list": (lambda: Command(update=[1]), ("node 'first'", "mapping")),  # type: ignore[arg-type]
    "the way to nowhere": (lambda: Command(goto="none"), ("'first'", "'none'")),
    "the way to START": (lambda: Command(goto=START), ("'first'", "'__start__'")),
    "the way to a number": (lambda: Command(goto=5), ("'first'", "5")),  # type: ignore[arg-type]
    "a Send to nowhere": (lambda: Command(goto=Send("none")), ("'first'", "'none'")),
    "a Send to a number": (lambda: Command(goto=Send(5)), ("'first'", "5")),  # type: ignore[arg-type]
    "an id twice": (
        lambda: Command(goto=[Send("after", id="a"), Send("after", id="a")]),
        ("'first'", "'a'"),
    ),
    "an id that is a number": (lambda: Command(goto=[Send("after", id=5)]), ("'first'", "5")),  # type: ignore[arg-type]
    "after nobody": (lambda: Command(goto=[Send("after", after="none")]), ("'first'", "'none'")),
    "after itself": (
        lambda: Command(goto=[Send("after", id="a", after="a")]),
        ("'first'", "'a'"),
    ),
    "a circle": (
        lambda: Command(goto=[Send("after", id="a", after="b"), Send("after", id="b", after="a")]),
        ("'first'", "'a'"),
    ),
    "no weight": (lambda: Command(goto=[Send("after", weight=0)]), ("'first'", "weight")),
    "a weight of nan": (lambda: Command(goto=[Send("after", weight=math.nan)]), ("weight", "nan")),
    "a weight in words": (lambda: Command(goto=[Send("after", weight="x")]), ("weight", "'x'")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", RETURNED)
async def test_what_a_node_returns_is_looked_at_before_anything_follows(
    where: Where, name: str
) -> None:
    make, words = RETURNED[name]
    refusals: list[Refusal] = []
    for kind in STORES:
        called: list[str] = []

        async def first(_: Strict) -> Any:
            return make()

        async def after(_: Strict) -> None:
            called.append("after")  # noqa: B023 - it is called in this turn

        graph = Graph(Strict, "strict")
        graph.add_node(first, targets=None if "way" in name or "Send" in name else ["after"])
        graph.add_node(after)
        graph.add_edge(START, "first")
        graph.add_edge("first", "after")
        graph.add_edge("after", END)
        async with where.opened(kind) as store:
            flow = graph.compile(store)
            refusal = await refusal_of(flow.run({}, f"returned {name}"), (PlaitError,))
            assert refusal is not None, f"{kind} took it"
            for word in words:
                assert word in refusal.message
            assert not called
            refusals.append(refusal)
            assert (await flow.state(f"returned {name}")).state == Strict()
    assert refusals[0] == refusals[1] == refusals[2]


# -- stores and flows that cannot be -----------------------------------------------------------


def opening(url: Any, **options: Any) -> Callable[[], Any]:
    return lambda: open_store(url, **options)


def compiling(**options: Any) -> Callable[[], Any]:
    async def node(_: State) -> None:
        pass

    graph = Graph(State, "graph")
    graph.add_node(node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return lambda: graph.compile(**options)


FILE: Final = "sqlite:///never.db"
SERVER: Final = "postgresql://nobody@/nothing?host=/nowhere"

NEVER: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "no URL": (opening(""), "URL"),
    "a word": (opening("nowhere"), "'nowhere'"),
    "an unknown store": (opening("mongodb://host/db"), "mongodb"),
    "a password that is repeated": (opening("mongodb://me:secret@host/db"), "mongodb"),
    "a number for a URL": (opening(5), "a URL is a string"),
    "None for a URL": (opening(None), "None"),
    "no file": (opening("sqlite:///"), "names no file"),
    "no slashes": (opening("sqlite:rows.db"), "names no file"),
    "two slashes": (opening("sqlite://rows.db"), "names no file"),
    "a file in memory": (opening("sqlite:///:memory:"), "names no file"),
    "NUL in a path": (opening("sqlite:///a%00b"), "names no file"),
    "options in a path": (opening("sqlite:///a.db?timeout=5"), "arguments"),
    "a word for a timeout": (opening(f"{SERVER}&timeout=soon"), "timeout='soon'"),
    "a share of a connection": (opening(f"{SERVER}&pool_size=1.5"), "pool_size='1.5'"),
    "no connections": (opening(f"{SERVER}&pool_size=1"), "pool_size=1"),
    "connections in words": (opening(SERVER, pool_size="many"), "pool_size='many'"),
    "no schema": (opening(SERVER, schema=""), "schema=''"),
    "a quote in a schema": (opening(SERVER, schema='a"; drop table x'), "schema="),
    "NUL in a schema": (opening(SERVER, schema="a\0b"), "schema="),
    "a long schema": (opening(SERVER, schema="x" * 100), "schema="),
    "a long tenant": (opening(SERVER, tenant="x" * 600), "tenant="),
    "NUL in a tenant": (opening(SERVER, tenant="a\0b"), "tenant="),
    "a tenant that is a number": (opening(SERVER, tenant=5), "tenant=5"),
    "a long tenant in a file": (opening(FILE, tenant="x" * 600), "a tenant has"),
    "NUL in a tenant in a file": (opening(FILE, tenant="a\0b"), "the tenant"),
    "a tenant of a file that is a number": (opening(FILE, tenant=5), "a tenant is"),
    "an unknown way to wait": (opening(FILE, synchronous="maybe"), "synchronous='maybe'"),
    **{
        f"{option}={value!r} at {url[:6]}": (opening(url, **{option: value}), f"{option}={value!r}")
        for url in (FILE, SERVER)
        for option in ("timeout", "lease_ttl", "patience")
        for value in (0, -1, math.nan, math.inf, "soon", None)
    },
    "an unknown option": (opening(FILE, colour="red"), "colour"),
    "an unknown option in memory": (opening("memory:", colour="red"), "colour"),
    "limits that are a number": (opening(FILE, limits=5), "limits=5"),
    "a limit of nothing": (lambda: Limits(max_value_bytes=0), "max_value_bytes=0"),
    "a limit in words": (lambda: Limits(max_history_events="x"), "max_history_events='x'"),  # type: ignore[arg-type]
    "an unknown durability": (compiling(durability="never"), "'never'"),
    "no concurrency": (compiling(max_concurrency=0), "max_concurrency=0"),
    "concurrency in words": (compiling(max_concurrency="x"), "max_concurrency='x'"),
    "fewer interrupts than none": (compiling(max_interrupts=-1), "max_interrupts=-1"),
    "interrupts in words": (compiling(max_interrupts="x"), "max_interrupts='x'"),
    "a stop before nobody": (compiling(interrupt_before=["none"]), "'none'"),
    "a stop after nobody": (compiling(interrupt_after=["none"]), "'none'"),
    "a stop before START": (compiling(interrupt_before=[START]), "'__start__'"),
    "a store that is a number": (compiling(store=5), "store=5"),
    "a store that is unknown": (compiling(store="nowhere://"), "nowhere"),
    "a type that is a number": (compiling(types=[5], store=FILE), "5"),
    "a pool of nothing": (compiling(pools={"p": 0}), "'p'"),
    "a pool in words": (compiling(pools={"p": "x"}), "'p'"),
}


@pytest.mark.parametrize("name", NEVER)
def test_a_store_or_a_flow_that_cannot_be_is_refused_when_it_is_made(name: str) -> None:
    make, word = NEVER[name]
    with pytest.raises((PlaitError, ValueError, TypeError)) as refused:
        make()
    assert word in str(refused.value)
    assert "secret" not in str(refused.value)
