"""Random programs as plain data, and the strategies that write them.

A program is a graph and a session with it. It names no library: ``build.py`` builds the graph from
the modules of one, ``session.py`` carries the session out and records what happened.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from hypothesis import HealthCheck
from hypothesis import strategies as st

END = "__end__"
CHANNELS = ("last", "brief", "free", "peak", "merged", "any", "piled", "said", "heap", "secret")
"""What nodes write besides ``log`` and ``ticks``, which every node writes."""

Form: TypeAlias = Literal["dict", "command", "list", "object", "none"]
Sees: TypeAlias = Literal["all", "part", "private"]
Handler: TypeAlias = Literal["", "end", "goes", "writes", "fails"]
Schema: TypeAlias = Literal["typeddict", "dataclass", "pydantic"]


class _Brief:
    """Shows those of its fields alone that are not as by default: programs are read by people."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown: Any = self
        given = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(shown)
            if getattr(self, each.name) != each.default
        )
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass(frozen=True, slots=True, repr=False)
class Go(_Brief):
    """One target of a router or a Command."""

    to: str
    payload: int | None = None
    """If given, it is a Send with this number in its argument."""


Choices: TypeAlias = tuple[tuple[Go, ...], ...]
"""Which targets: the entry at the number of nodes that have run, modulo the length."""


@dataclass(frozen=True, slots=True, repr=False)
class Node(_Brief):
    """What a node does in each of its calls."""

    name: str
    writes: tuple[tuple[str, int], ...] = ()
    form: Form = "dict"
    goes: Choices = ()
    """If any, its Command goes there."""
    parent: Choices = ()
    """If any, its Command goes there in the graph around this one."""
    asks: int = 0
    """How many interrupts it makes."""
    fails: int = 0
    """How many of its first calls (for each payload) fail."""
    tries: int = 1
    """Attempts by its retry policy; 1: it has none."""
    defer: bool = False
    slow: bool = False
    """It takes time, if it may suspend."""
    emits: int = 0
    """How many values it writes to the custom stream."""
    cached: bool = False
    inner: Shape | None = None
    """If given, the node is this graph."""
    called: bool = False
    """The inner graph is called by a function instead of being the node."""
    saver: bool | None = None
    """The inner graph's own checkpointer: its parent's from run to run, none, or its parent's."""
    sees: Sees = "all"
    """Its input schema: the state, a part of it, or that with a channel which the state has not."""
    overwrites: Literal["", "object", "dict"] = ""
    """What it writes to the log is an Overwrite, as an object or as plain data."""
    handled: Handler = ""
    """What it raises goes to a handler, which writes to the log and ends, goes to ``a``, goes on as
    the node would, or fails."""


@dataclass(frozen=True, slots=True, repr=False)
class Router(_Brief):
    """A conditional edge."""

    source: str
    choices: Choices
    mapped: bool = False
    """Its targets are declared, under other names."""


@dataclass(frozen=True, slots=True, repr=False)
class Shape(_Brief):
    """A graph."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[tuple[str, ...], str], ...]
    """From one or several sources (then it waits for all) to a target."""
    routers: tuple[Router, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Nodes before and after which it stops."""
    faces: bool = False
    """What it takes and what it gives have schemas of their own, which are parts of the state."""


@dataclass(frozen=True, slots=True, repr=False)
class Act(_Brief):
    """One call from outside."""

    kind: Literal[
        "run",
        "go_on",
        "answer",
        "answer_all",
        "command",
        "update",
        "bulk",
        "inner",
        "replay",
        "fork",
    ]
    number: int = 0
    """The input, the answer, or how far back in the history."""
    node: str | None = None
    """Update as this node; go to it by a Command."""
    modes: tuple[str, ...] = ()
    """Stream these modes; none: invoke."""
    subgraphs: bool = False
    nodes: tuple[tuple[str | None, ...], ...] = ()
    """Updates as these nodes, several to a step."""
    stops: Literal["", "before", "after"] = ""
    """Where this call stops: at every node."""
    keys: tuple[str, ...] = ()
    """What this call gives, if not all."""


@dataclass(frozen=True, slots=True, repr=False)
class Program(_Brief):
    """A graph and a session with it."""

    shape: Shape
    acts: tuple[Act, ...]
    kept: bool = True
    """It has a checkpointer."""
    sync: bool = False
    """Its nodes are plain functions, and it is called from plain code."""
    schema: Schema = "typeddict"
    durability: str | None = None
    counted: bool = False
    """Its state has the managed value that says how many steps are left, and nodes log it."""
    limit: int = 12
    """The recursion limit."""
    at_once: int | None = None
    """How many tasks may run at the same time."""


EVERY_CHECK: Any = tuple(HealthCheck)
"""Programs are large and slow to draw, and may well be."""

# -- strategies -------------------------------------------------------------------------------

_numbers = st.integers(0, 3)
_sees = st.sampled_from([*["all"] * 6, "part", "private"])
_overwrites = st.sampled_from([*[""] * 12, "object", "dict"])


def _choices(draw: Any, names: list[str], *, most: int = 3) -> Choices:
    go = st.builds(Go, st.sampled_from([*names, END]), st.none() | _numbers).map(
        lambda each: Go(END) if each.to == END else each
    )
    row = st.lists(go, min_size=1, max_size=most).map(tuple)
    return tuple(draw(st.lists(row, min_size=1, max_size=3)))


def _rarely(draw: Any, chance: int = 5) -> bool:
    """True once in so many times; shrinks to False."""
    return bool(draw(st.integers(0, chance - 1)) == chance - 1)


def _lone(shape: Shape) -> Shape:
    """Without inner graphs that keep their own state where Sends may call one twice at a time."""
    ways = [
        row
        for node in shape.nodes
        for row in (*node.goes, *(r for n in (node.inner or shape).nodes for r in n.parent))
    ]
    ways += [row for router in shape.routers for row in router.choices]
    if all(go.payload is None for row in ways for go in row):
        return shape
    nodes = (replace(node, saver=None) if node.saver else node for node in shape.nodes)
    return replace(shape, nodes=tuple(nodes))


@st.composite
def shapes(
    draw: Any,
    *,
    depth: int = 1,
    sync: bool = False,
    kept: bool = True,
    channels: tuple[str, ...] = CHANNELS,
    savers: tuple[bool, ...] = (True, False),
    prefix: str = "",
) -> Shape:
    """A graph of up to six nodes, with up to ``depth`` levels of graphs within."""
    size = draw(st.integers(1, 6 if not prefix else 3))
    names = [f"{prefix}{'abcdef'[i]}" for i in range(size)]
    # An object writes to all channels.
    forms = ["dict", "dict", "command", "list", "none", *(["object"] if "free" in channels else [])]
    nodes = []
    for name in names:
        written = draw(st.lists(st.tuples(st.sampled_from(channels), _numbers), max_size=2))
        fails = draw(st.integers(1, 2)) if _rarely(draw, 8) else 0
        tries = draw(st.integers(1, 3)) if fails else 1
        inner, called = None, False
        if depth and _rarely(draw, 5):
            inner = draw(
                shapes(
                    depth=depth - 1,
                    sync=sync,
                    kept=kept,
                    channels=channels,
                    savers=savers,
                    prefix=name,
                )
            )
            called = draw(st.booleans())
        form = draw(st.sampled_from(forms))
        handles = not sync and (fails or inner) and draw(st.booleans())
        node = Node(
            name,
            writes=tuple(dict(written).items()),
            form=form,
            goes=_choices(draw, names, most=2) if _rarely(draw, 6) else (),
            parent=_choices(draw, [f"{prefix[:-1]}{each}" for each in "ab"], most=1)
            if prefix and _rarely(draw, 6)
            else (),
            asks=draw(st.integers(1, 2)) if kept and _rarely(draw, 6) else 0,
            # A thread that fails beside others ends when it likes: only retried failures there.
            fails=fails,
            tries=max(tries, fails + 1) if sync and fails else tries,
            defer=_rarely(draw, 8),
            # A graph within may fail by itself, which is to happen at a moment of its own.
            slow=not sync and (bool(prefix) or _rarely(draw, 4)),
            emits=1 if _rarely(draw, 6) else 0,
            # LangGraph puts a result into the cache behind the step's back: a node that writes
            # nothing and comes again at once finds it there, or does not.
            cached=form != "none" and _rarely(draw, 12),
            inner=inner,
            called=called,
            saver=draw(st.sampled_from([None, *savers])) if inner and kept else None,
            sees=draw(_sees) if inner is None else "all",
            overwrites=draw(_overwrites) if form != "object" else "",
            handled=draw(st.sampled_from(["end", "goes", "writes", "fails"])) if handles else "",
        )
        nodes.append(node)
    edges: list[tuple[tuple[str, ...], str]] = [(("__start__",), names[0])]
    routers = []
    for index, name in enumerate(names):
        later = [*names[index + 1 :], END]
        kind = draw(st.sampled_from(["edge", "edge", "fan", "router", "wait", "nothing"]))
        if kind == "edge":
            edges.append(((name,), draw(st.sampled_from(later))))
        elif kind == "fan":
            targets = draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))
            edges += [((name,), target) for target in targets]
        elif kind == "router":
            routers.append(Router(name, _choices(draw, names), mapped=draw(st.booleans())))
        elif kind == "wait" and index:
            others = draw(
                st.lists(st.sampled_from(names[:index]), min_size=1, max_size=2, unique=True)
            )
            edges.append(((*others, name), draw(st.sampled_from(later))))
    if _rarely(draw, 5):
        routers.append(Router("__start__", _choices(draw, names), mapped=draw(st.booleans())))
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    if kept:
        before = (draw(st.sampled_from([*names, "*"])),) if _rarely(draw, 8) else ()
        after = (draw(st.sampled_from([*names, "*"])),) if _rarely(draw, 8) else ()
    faces = _rarely(draw, 6)
    return _lone(Shape(tuple(nodes), tuple(edges), tuple(routers), before, after, faces))


_modes = st.sampled_from(
    [
        (),
        ("values",),
        ("updates",),
        ("values", "updates"),
        ("updates", "custom"),
        ("tasks", "checkpoints"),
        ("debug",),
        ("values", "updates", "custom", "tasks", "checkpoints", "debug"),
    ]
)


@st.composite
def programs(draw: Any, *, sync: bool | None = None) -> Program:
    """A program: mostly kept by a checkpointer, and then with up to four calls from outside."""
    plain = draw(st.booleans()) if sync is None else sync
    kept = not _rarely(draw, 4)
    durability = draw(st.sampled_from([None, "sync", "async", "exit"])) if kept else None
    # LangGraph stores an untracked value with what is left of a run that failed; the facade does
    # not, since it is untracked.
    channels = tuple(name for name in CHANNELS if name != "free" or durability != "exit")
    # LangGraph breaks down on a graph without a checkpointer within one that runs with "sync".
    savers = (True, False) if durability != "sync" else (True,)
    depth = 2 if _rarely(draw, 6) else 1
    shape = draw(shapes(depth=depth, sync=plain, kept=kept, channels=channels, savers=savers))
    names = [node.name for node in shape.nodes]
    stream = {
        "modes": _modes,
        "subgraphs": st.booleans(),
        "keys": st.sampled_from([(), (), (), ("log",), ("log", "any", "piled")]),
    }
    acts = [draw(st.builds(Act, st.just("run"), _numbers, **stream))]
    if kept:
        acts += draw(st.lists(_further_acts(names, stream), max_size=4))
    schema: Schema = draw(st.sampled_from(["typeddict", "typeddict", "dataclass", "pydantic"]))
    return Program(
        shape,
        tuple(acts),
        kept,
        plain,
        schema,
        durability,
        counted=_rarely(draw, 3),
        limit=draw(st.sampled_from([9, 9, 4])),
        # With one thread, LangGraph has it wait for the stream, and stands still.
        at_once=draw(st.sampled_from([None, None, None, 2 if plain else 1, 2])),
    )


def _further_acts(names: list[str], stream: dict[str, Any]) -> Any:
    """What can be done with a thread that is there."""
    kinds = ["go_on", "answer", "answer_all", "run", "command", "update", "replay", "fork", "inner"]
    stops = st.sampled_from(["", "", "", "before", "after"])
    calls = st.builds(
        Act, st.sampled_from(kinds), _numbers, _as_nodes(names), stops=stops, **stream
    )
    steps = st.lists(
        st.lists(_as_nodes(names), min_size=1, max_size=2).map(tuple), min_size=1, max_size=2
    )
    return calls | st.builds(Act, st.just("bulk"), _numbers, nodes=steps.map(tuple))


def _as_nodes(names: list[str]) -> Any:
    """Whom an update may name as its writer."""
    return st.none() | st.sampled_from([*names, *names, END, "__input__", "__copy__"])
