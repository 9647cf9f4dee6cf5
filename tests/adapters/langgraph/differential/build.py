"""Builds the graph of a program from the modules of one library: LangGraph, or the facade."""

from __future__ import annotations

import asyncio
import importlib
import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from random import Random
from types import ModuleType
from typing import Annotated, Any, TypedDict, cast, get_type_hints

import pydantic

from tests.adapters.langgraph.differential.programs import END, Choices, Node, Schema, Shape

LANGGRAPH, FACADE = "langgraph", "plait_adapters.langgraph"
ENOUGH = 40
"""Nodes that have run, after which routers and Commands lead to the end."""


OVERWRITE = "__overwrite__"
"""The key of an Overwrite as plain data."""


class NodeBroke(Exception):
    """What a node of a program raises when it is to fail."""


class Library:
    """The modules of a library by their names below its root."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __getattr__(self, name: str) -> ModuleType:
        if name.startswith("__"):  # somebody looks whether it is something else
            raise AttributeError(name)
        return importlib.import_module(f"{self.root}.{name.replace('__', '.')}")


class World:
    """What lies outside the graph: how often each node was called, and what it is to do there."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int | None]] = Counter()
        self.commands: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []

    def wait(self, name: str, payload: int | None) -> float:
        """Seconds that this call of a node takes: they look random, are the same in every run, and
        practically never tie."""
        return Random(f"{name} {payload} {self.calls[name, payload]}").uniform(1, 9)

    def note_command(self, config: Any) -> None:
        """Count the commands to the graph around that come out of one step."""
        graph = config["configurable"]["checkpoint_ns"].rpartition("|")[0]
        self.commands[graph, config["metadata"]["langgraph_step"]] += 1

    def note_failure(self, config: Any) -> None:
        """Note a failure that ends the graph in which it happens."""
        self.failures.append(config["configurable"]["checkpoint_ns"].rpartition("|")[0])

    def begin(self) -> None:
        """Another call from outside begins."""
        self.commands.clear()
        self.failures.clear()

    @property
    def is_open(self) -> bool:
        """Whether what comes next is anybody's guess: LangGraph takes one of several commands and
        failures out of a set."""
        return any(
            number > 1 or any(f"{broke}|".startswith(f"{graph}|") for broke in self.failures)
            for (graph, _), number in self.commands.items()
        )


def most(left: int, right: int) -> int:
    """A reducer that is not an operator."""
    return max(left, right)


def pile(below: list[str], above: list[list[str]]) -> list[str]:
    """A reducer of all that a step wrote."""
    return [*below, *(each for one in above for each in one)]


def schema_of(library: Any, kind: Schema, *, counted: bool = False) -> Any:
    """The state, as a class of that kind."""
    channels = library.channels
    log, ticks = Annotated[list[str], operator.add], Annotated[int, operator.add]
    peak, merged = Annotated[int, most], Annotated[dict[str, int], operator.or_]
    brief = Annotated[int, channels.EphemeralValue(int, guard=False)]
    loose, free = (
        Annotated[int, channels.AnyValue(int)],
        Annotated[int, channels.UntrackedValue(int, guard=False)],
    )
    types: dict[str, Any] = {"log": log, "ticks": ticks, "last": int, "brief": brief}
    types |= {"free": free, "peak": peak, "merged": merged, "any": loose}
    types["piled"] = Annotated[list[str], channels.DeltaChannel(pile, list, snapshot_frequency=2)]
    types["said"] = Annotated[list[str], channels.Topic(str)]
    types["heap"] = Annotated[list[str], channels.Topic(str, accumulate=True)]
    if counted:
        types["left"] = library.managed.RemainingSteps
    if kind == "typeddict":
        return TypedDict("State", types, total=False)  # type: ignore[operator]
    empty: dict[str, Any] = {"log": list, "merged": dict, "piled": list, "said": list, "heap": list}
    if kind == "dataclass":
        return make_dataclass(
            "State",
            [
                (name, hint, field(default_factory=empty.get(name, int)))
                for name, hint in types.items()
            ],
        )
    fields: dict[str, Any] = {
        name: (hint, pydantic.Field(default_factory=empty.get(name, int)))
        for name, hint in types.items()
    }
    return pydantic.create_model("State", **fields)


def part_of(schema: Any, *names: str, **more: Any) -> Any:
    """A part of the state, and what is not in it."""
    hints = get_type_hints(schema, include_extras=True)
    part = {name: hints[name] for name in names}
    return TypedDict("Part", {**part, **more}, total=False)  # type: ignore[operator]


def handler_of(library: Any, node: Node) -> Any:
    """What becomes of a failure of a node."""

    async def handler(state: Any, error: Any) -> Any:
        update = {"log": [f"{error.node} broke"]}
        if node.handled == "fails":
            raise NodeBroke(error.node)
        if node.handled == "writes":
            return update
        going = END if node.handled == "end" else f"{node.name[:-1]}a"
        return library.types.Command(update=update, goto=going)

    handler.__annotations__["error"] = library.errors.NodeError
    handler.__name__ = f"{node.name}_handler"
    return handler


def read(state: Any, name: str, default: Any) -> Any:
    """A value of the state, or of a Send's argument, whatever its class."""
    if isinstance(state, Mapping):
        return state.get(name, default)
    return getattr(state, name, default)


def cache_key(state: Any, *_: Any) -> str:
    """What a cached node's result depends on."""
    return f"{read(state, 'ticks', 0)} {read(state, 'payload', None)}"


def targets_of(library: Any, choices: Choices, state: Any) -> list[Any]:
    """Where a router or a Command goes; to the end once many nodes have run: Sends multiply."""
    ticks = read(state, "ticks", 0)
    if ticks > ENOUGH:
        return [END]
    row = choices[ticks % len(choices)]
    return [
        go.to
        if go.payload is None
        else library.types.Send(go.to, {"payload": go.payload, "ticks": ticks + 1, "log": []})
        for go in row
    ]


def before_node(library: Any, world: World, node: Node, state: Any) -> list[str]:
    """What a call does before it returns: custom values, a failure, questions. What it heard."""
    payload = read(state, "payload", None)
    if node.emits:
        writer = library.config.get_stream_writer()
        for number in range(node.emits):
            writer({"from": node.name, "number": number})
    heard = []
    for number in range(node.asks):
        answer = library.types.interrupt({"from": node.name, "number": number})
        heard.append(f"{node.name} heard {answer}")
    world.calls[node.name, payload] += 1
    if world.calls[node.name, payload] <= node.fails:
        if node.tries <= node.fails and not node.handled:
            world.note_failure(library.config.get_config())
        raise NodeBroke(node.name)
    return heard


def written(node: Node, channel: str, number: int) -> Any:
    """What a node writes to a channel."""
    match channel:
        case "merged":
            return {node.name: number}
        case "piled" | "heap":
            return [f"{node.name}{number}"]
        case "said":
            return f"{node.name}{number}"
        case _:
            return number


def result_of(
    library: Any, world: World, node: Node, schema: Any, state: Any, heard: list[str]
) -> Any:
    """What a call returns."""
    ticks, payload = read(state, "ticks", 0), read(state, "payload", None)
    seen = f"{node.name}@{ticks}" + (f"({payload})" if payload is not None else "")
    left, secret = read(state, "left", None), read(state, "secret", None)
    seen += "" if left is None else f" {left} left"
    seen += "" if secret is None else f" knows {secret}"
    log: Any = [*heard, seen]
    if node.overwrites:
        log = library.types.Overwrite(log) if node.overwrites == "object" else {OVERWRITE: log}
    writes: dict[str, Any] = {"log": log, "ticks": 1}
    writes |= {channel: written(node, channel, number + ticks) for channel, number in node.writes}
    command = library.types.Command
    if node.parent:
        world.note_command(library.config.get_config())
        going = targets_of(library, node.parent, state)
        return command(graph=command.PARENT, update=writes, goto=going)
    if node.goes:
        return command(update=writes, goto=targets_of(library, node.goes, state))
    if node.form == "command":
        return command(update=writes)
    if node.form == "object":
        return schema(**writes)
    if node.form == "list":
        return [{"log": writes.pop("log")}, command(update=writes)]
    return None if node.form == "none" else writes


def body_of(library: Any, world: World, node: Node, schema: Any, inner: Any, *, sync: bool) -> Any:
    """The function of a node."""

    def plain(state: Any) -> Any:
        heard = before_node(library, world, node, state)
        if inner is not None:
            given = {"ticks": read(state, "ticks", 0), "log": []}
            heard += inner.invoke(given).get("log", [])
        return result_of(library, world, node, schema, state, heard)

    async def suspending(state: Any) -> Any:
        try:
            heard = before_node(library, world, node, state)
        except NodeBroke:
            await asyncio.sleep(world.wait(node.name, read(state, "payload", None)))
            raise
        if node.slow:
            await asyncio.sleep(world.wait(node.name, read(state, "payload", None)))
        if inner is not None:
            given = {"ticks": read(state, "ticks", 0), "log": []}
            heard += (await inner.ainvoke(given)).get("log", [])
        return result_of(library, world, node, schema, state, heard)

    return plain if sync else suspending


def build(
    library: Any,
    world: World,
    shape: Shape,
    schema: Any,
    *,
    sync: bool = False,
    **compiling: Any,
) -> Any:
    """The compiled graph of a shape."""
    faces: dict[str, Any] = {}
    if shape.faces:
        faces["input_schema"] = part_of(schema, "log", "ticks", "last")
        faces["output_schema"] = part_of(schema, "log", "peak", "said")
    builder = library.graph.StateGraph(schema, **faces)
    for node in shape.nodes:
        inner = None
        if node.inner is not None:
            own = {} if node.saver is None else {"checkpointer": node.saver}
            inner = build(library, world, node.inner, schema, sync=sync, **own)
        keywords: dict[str, Any] = {"defer": True} if node.defer else {}
        if node.tries > 1:
            keywords["retry_policy"] = library.types.RetryPolicy(
                initial_interval=0.0, jitter=False, max_attempts=node.tries, retry_on=NodeBroke
            )
        if node.sees != "all":
            more = {"secret": int} if node.sees == "private" else {}
            keywords["input_schema"] = part_of(schema, "ticks", "last", **more)
        if node.handled:
            keywords["error_handler"] = handler_of(library, node)
        if node.cached:
            keywords["cache_policy"] = library.types.CachePolicy(key_func=cache_key)
        if inner is None or node.called:
            body = body_of(library, world, node, schema, inner, sync=sync)
        else:
            body = inner
        if node.goes:
            keywords["destinations"] = tuple(
                dict.fromkeys(go.to for row in node.goes for go in row)
            )
        builder.add_node(node.name, body, **keywords)
    for sources, target in shape.edges:
        builder.add_edge(sources[0] if len(sources) == 1 else list(sources), target)
    for number, router in enumerate(shape.routers):
        builder.add_conditional_edges(
            router.source, *_routing(library, router.choices, number, mapped=router.mapped)
        )
    return builder.compile(
        interrupt_before=every(shape.before),
        interrupt_after=every(shape.after),
        **compiling,
    )


def every(names: tuple[str, ...]) -> Any:
    """Nodes at which a graph stops, as it is told."""
    return "*" if names == ("*",) else list(names) or None


def _routing(
    library: Any, choices: Choices, number: int, *, mapped: bool
) -> tuple[Callable[[Any], Any], dict[Any, str] | None]:
    def route(state: Any) -> Any:
        going = targets_of(library, choices, state)
        if mapped:
            going = [f"to {each}" if isinstance(each, str) else each for each in going]
        return going[0] if len(going) == 1 else going

    route.__name__ = f"route{number}"
    if not mapped:
        return route, None
    names = dict.fromkeys([END, *(go.to for row in choices for go in row)])
    return route, cast("dict[Any, str]", {f"to {name}": name for name in names})
