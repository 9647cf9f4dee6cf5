"""What a graph looks like to a journal: a description, its fingerprint, and what has changed.

A journal outlives the code that wrote it. So it names its graph by a fingerprint, and the store
keeps the description behind that: all of the graph on which a replay depends, and no code. From it
a plan can be built again that replays old runs, though it cannot run nodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from .errors import GraphError, StoreError
from .events import Target
from .plan import Compiler, NodeSpec, Plan, Router, Way
from .policy import END, START, Join, QuorumWord, join_faults
from .state import Schema

__all__ = ["describe", "differences", "fingerprint_of", "rebuild"]

_FORMAT: Final = 1

_LONGEST: Final = 16 * 1024 * 1024
"""Bytes of a description."""

_LARGEST: Final = 8_000_000
"""Sync points times vertices and ways of a graph: some ten seconds to compile."""

_WORDS: Final = {word.value: word for word in QuorumWord}

Description = dict[str, Any]


def describe(plan: Plan) -> bytes:
    """All of a plan on which a replay depends, as JSON."""
    content: Description = {
        "format": _FORMAT,
        "name": plan.name,
        "channels": {
            channel.name: [
                channel.expected,
                channel.reducer.name if channel.reducer is not None else None,
            ]
            for channel in plan.schema.channels.values()
        },
        "nodes": {
            name: {
                "targets": vertex.node.targets,
                "on_error": vertex.node.on_error,
                "writes": None if vertex.node.writes is None else sorted(vertex.node.writes),
            }
            for name, vertex in plan.vertices.items()
            if vertex.node is not None
        },
        "sync_points": {
            name: {"fork": vertex.sync_point.fork, "join": _join(vertex.sync_point.join)}
            for name, vertex in plan.vertices.items()
            if vertex.sync_point is not None
        },
        "ways": {
            name: [_way(way) for way in vertex.ways]
            for name, vertex in plan.vertices.items()
            if vertex.ways
        },
    }
    return json.dumps(content, separators=(",", ":")).encode()


def fingerprint_of(description: bytes) -> str:
    """What a journal calls a graph: 16 hexadecimal digits."""
    return hashlib.sha256(description).hexdigest()[:16]


def _way(way: Target | Router) -> Any:
    if isinstance(way, Target):
        return way.node
    return {"targets": way.targets, "makes": way.makes}


def _join(join: Join) -> dict[str, Any]:
    """Every field of a policy that differs from its default."""
    found: dict[str, Any] = {}
    for field in fields(join):
        value = getattr(join, field.name)
        if value != field.default:
            found[field.name] = _quorum(value) if field.name == "quorum" else value
    return found


def _quorum(quorum: Any) -> Any:
    if isinstance(quorum, QuorumWord):
        return {"word": quorum.value}
    if isinstance(quorum, Mapping):
        return {"weights": dict(quorum)}
    return {"predicate": True} if callable(quorum) else quorum


def _no_predicate(_: Any) -> bool:
    raise AssertionError("a replay asks no predicate: its verdicts are in the journal")


async def _no_function(_: Any) -> None:
    raise AssertionError("a replay calls no node")


def rebuild(description: bytes, schema: Schema) -> Plan:
    """A plan that replays what a graph of this description did; its nodes cannot be run.

    Values are folded by ``schema``: reducers are code, and only those of today are there.

    Raises ``StoreError`` for a description that is damaged, or in a format that is not known.
    """
    content = _load(description)
    try:
        return _rebuilt(content, schema)
    except GraphError as error:  # it says what a graph could be, but not one that compiles
        raise _nonsense(str(error)) from error


def _rebuilt(content: Description, schema: Schema) -> Plan:
    nodes = {
        name: NodeSpec(
            name=name,
            fn=_no_function,
            kind="async",
            takes_context=False,
            retry=None,
            timeout=None,
            on_error=node["on_error"],
            pool=None,
            targets=None if node["targets"] is None else tuple(node["targets"]),
            writes=None,
            certain=frozenset(),
        )
        for name, node in content["nodes"].items()
    }
    points = content["sync_points"]
    joins = {name: _join_of(name, point["join"]) for name, point in points.items()}
    forks = {name: point["fork"] for name, point in points.items()}
    ways = [
        Way(source, edge=way) if isinstance(way, str) else Way(source, router=_router_of(way))
        for source, found in content["ways"].items()
        for way in found
    ]
    return Compiler(content["name"], schema, nodes, joins, forks, ways).plan()


def _load(description: bytes) -> Description:
    """What a description says. Raises ``StoreError`` unless ``describe`` could have written it."""
    if len(description) > _LONGEST:
        raise _nonsense(f"it has {len(description):,} bytes, and {_LONGEST:,} are enough for any")
    try:
        content = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise _nonsense(f"it is no JSON ({error!s:.80})") from None
    if not isinstance(content, dict):
        raise _nonsense("it is no JSON object")
    if content.get("format") != _FORMAT:
        raise StoreError(
            f"the description of a graph has format {content.get('format')!r:.40}, and this Plait "
            f"reads {_FORMAT}: read it with the Plait that wrote it, or a newer one"
        )
    _check(content)
    return content


def _nonsense(problem: str) -> StoreError:
    return StoreError(
        f"the description of a graph makes no sense, so it was changed or damaged: {problem}"
    )


def _check(content: Description) -> None:
    parts = _record("it", content, "format", "name", "channels", "nodes", "sync_points", "ways")
    _texts("its name", [parts["name"]])
    nodes, points = _dict(parts["nodes"]), _dict(parts["sync_points"])
    vertices = {START, END, *nodes, *points}
    for name, channel in _dict(parts["channels"]).items():
        if not (isinstance(channel, list) and len(channel) == 2):
            raise _nonsense(f"channel {name!r:.80} has no type and reducer")
        _texts(f"channel {name!r:.80}", channel if channel[1] is not None else channel[:1])
    for name, node in nodes.items():
        if name in {START, END}:
            raise _nonsense(f"no node is called {name!r}")
        found = _record(f"node {name!r:.80}", node, "targets", "on_error", "writes")
        _names(f"node {name!r:.80}", found["targets"], vertices)
        _names(f"node {name!r:.80}", [found["on_error"]], {"raise", "record", *vertices})
        _texts(f"node {name!r:.80}", found["writes"] if found["writes"] is not None else [])
    for name, point in points.items():
        if name in nodes or name in {START, END}:
            raise _nonsense(f"{name!r:.80} is both a node and a sync point")
        found = _record(f"sync point {name!r:.80}", point, "fork", "join")
        _names(f"sync point {name!r:.80}", [found["fork"]], vertices)
        join = _join_of(name, _dict(found["join"]))
        _names(f"sync point {name!r:.80}", [join.on_timeout], {"proceed", "raise", *vertices})
    # What leads anywhere leads to every vertex.
    size = len(vertices) * (1 + sum(node["targets"] is None for node in nodes.values()))
    for source, ways in _dict(parts["ways"]).items():
        _names("a way", [source], vertices)
        for way in _list(ways):
            size += 1
            if isinstance(way, str):
                _names(f"the way from {source!r:.80}", [way], vertices)
            else:
                router = _record(f"the way from {source!r:.80}", way, "targets", "makes")
                _names(f"the way from {source!r:.80}", router["targets"], vertices)
                _names("a router", [router["makes"]], {"sends", "choice", "unknown"})
                size += len(vertices if router["targets"] is None else router["targets"])
    if size * (1 + len(points)) > _LARGEST:
        raise _nonsense("its graph is too large to be compiled within seconds")


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _nonsense(f"an object should be where {value!r:.80} is")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _nonsense(f"an array should be where {value!r:.80} is")
    return value


def _record(what: str, value: Any, *names: str) -> dict[str, Any]:
    if _dict(value).keys() != set(names):
        raise _nonsense(f"{what} has not {', '.join(names)}, and nothing else")
    return _dict(value)


def _texts(what: str, value: Any) -> None:
    if not all(isinstance(each, str) for each in _list(value)):
        raise _nonsense(f"{what} has something that is no string: {value!r:.80}")


def _names(what: str, value: Any, known: Collection[str]) -> None:
    if value is None:
        return
    _texts(what, value)
    for name in value:
        if name not in known:
            raise _nonsense(f"{what} names {name!r:.80}, which is not there")


def _router_of(way: Mapping[str, Any]) -> Router:
    targets = way["targets"]
    return Router(
        _no_predicate,
        "a router",
        None if targets is None else tuple(targets),
        makes=way["makes"],
    )


def _join_of(name: str, found: Mapping[str, Any]) -> Join:
    values = dict(found)
    unknown = values.keys() - {field.name for field in fields(Join)}
    if unknown:
        raise _nonsense(f"sync point {name!r:.80} has a policy with {min(unknown)!r:.80}")
    quorum = values.get("quorum")
    if isinstance(quorum, dict):
        word = quorum.get("word")
        if isinstance(word, str) and word in _WORDS:
            values["quorum"] = _WORDS[word]
        elif quorum == {"predicate": True}:
            values["quorum"] = _no_predicate
        else:
            values["quorum"] = quorum.get("weights")
    join = Join(**values)
    try:
        faults = join_faults(join)
    except OverflowError:  # an integer that no float can hold
        faults = ["a number in its policy is too large"]
    if faults:
        raise _nonsense(f"sync point {name!r:.80}: {faults[0]:.200}")
    return join


def differences(old: bytes, new: bytes) -> list[str]:
    """What a run that the old graph began would miss in the new one, in sentences.

    Empty if the new graph only adds: nodes, ways to and from them, channels.
    """
    before, after = _load(old), _load(new)
    return [
        *_channel_differences(before["channels"], after["channels"]),
        *_node_differences(before["nodes"], after["nodes"]),
        *_sync_point_differences(before["sync_points"], after["sync_points"]),
        *_way_differences(before["ways"], after["ways"], before["nodes"]),
    ]


def _channel_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    for name, (expected, reducer) in before.items():
        if name not in after:
            yield f"channel {name!r} is gone"
            continue
        now_expected, now_reducer = after[name]
        if now_expected != expected:
            yield f"channel {name!r} was {expected} and is {now_expected}"
        if now_reducer != reducer:
            yield (f"channel {name!r} had {_reducer(reducer)} and has {_reducer(now_reducer)}")


def _reducer(name: str | None) -> str:
    return "no reducer" if name is None else f"the reducer {name!r}"


def _node_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    for name, node in before.items():
        if name not in after:
            yield f"node {name!r} is gone"
        elif node["on_error"] != after[name]["on_error"]:
            yield (
                f"node {name!r} had on_error={node['on_error']!r} and has "
                f"{after[name]['on_error']!r}"
            )


def _sync_point_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    for name, point in before.items():
        if name not in after:
            yield f"sync point {name!r} is gone"
            continue
        now = after[name]
        if now["fork"] != point["fork"]:
            yield (
                f"sync point {name!r} gathered the branches of {point['fork']!r} and gathers "
                f"those of {now['fork']!r}"
            )
        for field in sorted(point["join"].keys() | now["join"].keys()):
            was, is_ = point["join"].get(field, "(default)"), now["join"].get(field, "(default)")
            if was != is_:
                yield f"sync point {name!r} had {field}={was!r} and has {is_!r}"


def _moved(ways: Sequence[Any], now: Sequence[Any]) -> bool:
    """Whether branches that all of these ways opened would have other numbers now.

    A node's way on is in the journal, and so is a router's; that of edges alone is not.
    """
    plain = all(isinstance(way, str) for way in ways)
    return plain and all(way in now for way in ways) and ways != now[: len(ways)]


def _way_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], nodes: Container[str]
) -> Iterable[str]:
    for source, ways in before.items():
        now = after.get(source, [])
        if source not in nodes and _moved(ways, now):
            yield (
                f"the edges behind {_vertex(source)} are in another order, or new ones come "
                "before them, and their places number the branches"
            )
        for way in ways:
            if isinstance(way, str):
                if way not in now:
                    yield f"the edge {_vertex(source)} -> {_vertex(way)} is gone"
            elif not any(isinstance(each, dict) for each in now):
                yield f"the router behind {_vertex(source)} is gone"
            else:
                known = {
                    target
                    for each in now
                    if isinstance(each, dict)
                    for target in each["targets"] or ()
                }
                open_ = any(isinstance(each, dict) and each["targets"] is None for each in now)
                for target in way["targets"] or ():
                    if target not in known and not open_:
                        yield (
                            f"the router behind {_vertex(source)} may no longer choose "
                            f"{_vertex(target)}"
                        )


def _vertex(name: str) -> str:
    return {START: "START", END: "END"}.get(name, repr(name))
