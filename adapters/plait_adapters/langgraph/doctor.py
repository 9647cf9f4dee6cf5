"""What is likely to go wrong in a LangGraph program, on LangGraph and here: `plait doctor`.

The structure of the graph and the source of its nodes are read; nothing is run.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plait_adapters.langgraph._drawn import (
    END,
    START,
    Drawn,
    function_of,
    is_plain,
    read,
    written_by,
)

__all__ = ["RULES", "Finding", "examine"]

RULES = {
    "parallel-writes": "a key without a reducer that nodes of one step write",
    "dead-join": "a join that waits for a node which need not run",
    "early-join": "plain edges that meet in a node over ways of different length",
    "doubled-reducer": "a reducer such as operator.add on both sides of a subgraph's boundary",
    "unbounded-concurrency": "a max_concurrency that does not bound what it seems to",
    "cannot-cancel": "a plain function, which no timeout and no cancellation can stop",
}
"""What is looked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One likely fault."""

    rule: str
    """A key of `RULES`."""
    places: tuple[str, ...]
    """The nodes, as paths from the outermost graph: `agent/tools`."""
    says: str
    """What happens."""
    remedy: str

    def __str__(self) -> str:
        return f"{self.rule}: {', '.join(self.places)}: {self.says}; {self.remedy}"


def examine(graph: Any) -> list[Finding]:
    """All that is found in a graph and in the graphs that are its nodes.

    Args:
        graph: A `StateGraph`, compiled or not, of LangGraph or of the facade.

    Raises:
        TypeError: it is something else.
    """
    return list(_examine(graph, "", None))


def _examine(graph: Any, prefix: str, outer: Drawn | None) -> Iterator[Finding]:
    drawn = read(graph)
    yield from _parallel_writes(drawn, prefix)
    yield from _dead_joins(drawn, prefix)
    yield from _early_joins(drawn, prefix)
    yield from _unbounded(drawn, prefix, outer)
    yield from _cannot_cancel(drawn, prefix)
    for name, inner in _subgraphs(drawn):
        yield from _doubled(drawn, name, inner, prefix)
        yield from _examine(inner, f"{prefix}{name}/", drawn)


def _subgraphs(drawn: Drawn) -> Iterator[tuple[str, Any]]:
    for name, spec in drawn.nodes.items():
        if hasattr(getattr(spec.runnable, "builder", None), "channels"):
            yield name, spec.runnable


# -- nodes of one step ------------------------------------------------------------------------


def _together(drawn: Drawn) -> set[tuple[str, str]]:
    """Pairs of nodes that may run in one step; a node with itself if Sends multiply it."""
    pairs: set[tuple[str, str]] = set()
    waiting: list[tuple[str, str]] = [(START, START)]
    seen = {(START, START)}
    while waiting:
        one, two = waiting.pop()
        if one == two:
            found = {(a, b) for a in drawn.after(one) for b in drawn.after(one) if a < b}
            found |= {(a, a) for a in drawn.after(one)}
            if one in drawn.sends:
                pairs |= {(a, a) for a in drawn.routes.get(one, frozenset()) - {END}}
        else:
            found = {(min(a, b), max(a, b)) for a in drawn.after(one) for b in drawn.after(two)}
        pairs |= {(a, b) for a, b in found if a != b}
        waiting += found - seen
        seen |= found
    return pairs


def _excludes(drawn: Drawn, one: str, two: str) -> bool:
    """Whether two nodes are only ways of one router that goes to one of them."""
    into = [{s for s, targets in drawn.routes.items() if node in targets} for node in (one, two)]
    plainly = {target for _, target in drawn.edges} | {target for _, target in drawn.joins}
    single = into[0] == into[1] and len(into[0]) == 1
    return single and not {one, two} & plainly and not into[0] & drawn.sends


def _parallel_writes(drawn: Drawn, prefix: str) -> Iterator[Finding]:
    together = {pair for pair in _together(drawn) if not _excludes(drawn, *pair)}
    keys = {name: _keys_of(drawn, name) for name in drawn.nodes}
    for key, channel in drawn.channels.items():
        if type(channel).__name__ not in {"LastValue", "LastValueAfterFinish"}:
            continue
        writers = {name for name, found in keys.items() if key in found}
        clashing = {pair for pair in together if set(pair) <= writers}
        if not clashing:
            continue
        places = sorted({name for pair in clashing for name in pair})
        yield Finding(
            "parallel-writes",
            tuple(prefix + name for name in places),
            f"may write {key!r} in one step, which is an InvalidUpdateError then",
            f"give {key!r} a reducer, Annotated[..., reducer], or one writer",
        )


def _keys_of(drawn: Drawn, name: str) -> frozenset[str]:
    node = drawn.nodes[name].runnable
    builder = getattr(node, "builder", None)
    if hasattr(builder, "channels"):
        return frozenset(_output_keys(node))
    return written_by(function_of(node)) or frozenset()


def _output_keys(graph: Any) -> list[str]:
    given = getattr(graph, "output_channels", None)
    return [given] if isinstance(given, str) else list(given or ())


# -- joins ------------------------------------------------------------------------------------


def _certain(drawn: Drawn) -> frozenset[str]:
    """Nodes that run in every run: over plain edges alone, and joins of such nodes."""
    sure = {START}
    while True:
        more = {target for source, target in drawn.edges if source in sure}
        more |= {target for sources, target in drawn.joins if set(sources) <= sure}
        if more <= sure:
            return frozenset(sure)
        sure |= more


def _dead_joins(drawn: Drawn, prefix: str) -> Iterator[Finding]:
    sure = _certain(drawn)
    for sources, target in sorted(drawn.joins):
        doubtful = [source for source in sources if source not in sure]
        if not doubtful or len(sources) == 1:
            continue
        yield Finding(
            "dead-join",
            tuple(prefix + source for source in sources),
            f"{target!r} waits for all of these, and {', '.join(map(repr, doubtful))} need not "
            "run: then it never runs, and nothing says so",
            "let every way end in the join, or use add_sync_point, which knows who can still come",
        )


def _early_joins(drawn: Drawn, prefix: str) -> Iterator[Finding]:
    sure = _certain(drawn)
    steps: dict[str, set[int]] = {START: {0}}
    for _ in range(len(drawn.nodes) + 1):
        for source, target in sorted(drawn.edges):
            if source in sure and target != END:
                reached = {step + 1 for step in steps.get(source, ())}
                steps.setdefault(target, set()).update(
                    step for step in reached if step <= len(drawn.nodes)
                )
    for target in sorted(drawn.nodes):
        sources = sorted(s for s, t in drawn.edges if t == target and s in sure)
        late = {min(steps[source]) for source in sources if steps.get(source)}
        if len(sources) > 1 and len(late) > 1 and not _loops(drawn, target):
            yield Finding(
                "early-join",
                tuple(prefix + source for source in sources),
                f"end at different steps, and {target!r} runs once for each of these steps",
                f"write add_edge([{', '.join(map(repr, sources))}], {target!r}) to wait for all, "
                "or add_node(..., defer=True)",
            )


def _loops(drawn: Drawn, node: str) -> bool:
    """Whether a way leads from a node back to it."""
    waiting, seen = list(drawn.after(node)), set[str]()
    while waiting:
        each = waiting.pop()
        if each == node:
            return True
        if each not in seen:
            seen.add(each)
            waiting += drawn.after(each)
    return False


# -- subgraphs, concurrency, cancellation -----------------------------------------------------

_ADDING = (operator.add, operator.iadd, operator.concat, operator.iconcat, operator.mul)


def _doubled(drawn: Drawn, name: str, inner: Any, prefix: str) -> Iterator[Finding]:
    for key in _output_keys(inner):
        channel = drawn.channels.get(key)
        reducer = getattr(channel, "operator", None)
        if reducer not in _ADDING or key not in inner.builder.channels:
            continue
        yield Finding(
            "doubled-reducer",
            (prefix + name,),
            f"takes {key!r} from its parent and hands it back whole, and the parent folds it in by "
            f"{getattr(reducer, '__name__', reducer)} once more: what was there before is doubled",
            f"leave {key!r} out of the subgraph's output schema, or use a reducer that knows what "
            "it has seen",
        )


def _unbounded(drawn: Drawn, prefix: str, outer: Drawn | None) -> Iterator[Finding]:
    limit = drawn.config.get("max_concurrency")
    if limit is None:
        return
    inner = [name for name, _ in _subgraphs(drawn)]
    if inner:
        yield Finding(
            "unbounded-concurrency",
            tuple(prefix + name for name in inner),
            f"max_concurrency={limit} bounds each graph by itself: with {limit} of these at once, "
            f"{limit * limit} nodes may run",
            "set it for the inner graphs by with_config",
        )
    several = [
        name for name, spec in drawn.nodes.items() if type(spec.runnable).__name__ == "ToolNode"
    ]
    if several:
        yield Finding(
            "unbounded-concurrency",
            tuple(prefix + name for name in several),
            f"max_concurrency={limit} does not bound the tools of one message, which are all "
            "called at once",
            "send each call to the node by itself: create_react_agent's version 'v2' does",
        )


def _cannot_cancel(drawn: Drawn, prefix: str) -> Iterator[Finding]:
    plain = sorted(name for name, spec in drawn.nodes.items() if is_plain(spec.runnable))
    if plain:
        yield Finding(
            "cannot-cancel",
            tuple(prefix + name for name in plain),
            "plain functions run in worker threads: a run that is cancelled, or whose sibling "
            "fails, leaves them running",
            "write them as coroutine functions, or keep them short",
        )
