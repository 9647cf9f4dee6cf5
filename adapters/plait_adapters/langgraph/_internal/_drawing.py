"""Drawings of graphs: langchain-core's where it is installed, else the few kinds that are here.

Which edges there are is found by walking: from the input, every node writes what it always writes,
and once each what its conditions and commands may write.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from plait_adapters.langgraph.channels.last_value import LastValueAfterFinish

from ._constants import END, START
from ._inputs import input_writes
from ._machine import Given, Machine, input_of

if TYPE_CHECKING:
    from plait_adapters.langgraph.pregel.main import Pregel

_LIMIT = 251
"""After so many steps, a walk through loops of plain edges ends."""


class DrawnEdge(NamedTuple):
    """An arrow."""

    source: str
    target: str
    data: str | None = None
    """Its label."""
    conditional: bool = False
    """Whether it is one of several ways."""


class DrawnNode(NamedTuple):
    """A node of a drawing."""

    id: str
    name: str
    data: Any
    """What the node calls."""
    metadata: Mapping[str, Any] | None


class _Found(NamedTuple):
    source: str
    target: str
    conditional: bool
    label: str


class _Recorder:
    """In place of a task: takes what writers write."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, Any]] = []
        self.progress = None

    def write(self, writes: Any) -> None:
        """Add writes."""
        self.writes.extend(writes)


def _walk(graph: Pregel[Any, Any, Any, Any]) -> tuple[set[_Found], list[str], list[str]]:
    """The edges of a graph, the nodes at which it begins, and those at which the walk ended."""
    machine = Machine(graph.layout)
    machine.changed = machine.apply([input_of(input_writes(graph.input_channels, {}))])
    edges: set[_Found] = set()
    sources: dict[str, set[tuple[str, bool, str]]] = {}
    declared: dict[str, set[tuple[str, bool, str]]] = defaultdict(set)
    seen: set[int] = set()
    names = list(machine.triggered(graph.nodes))
    first = names
    last: list[str] = []
    for _ in range(_LIMIT):
        if not names:
            break
        last = names
        step: dict[str, set[tuple[str, bool, str]]] = {}
        given: list[Given] = []
        for name in names:
            node = graph.nodes[name]
            recorder = _Recorder()
            static: dict[str, str] = {}
            for writer in node.flat_writers:
                if not writer.waits:
                    writer.write(None, recorder)  # type: ignore[arg-type]
                if id(writer) in seen:
                    continue
                seen.add(id(writer))
                for channel, value, label in writer.static():
                    if channel == END:
                        edges.add(_Found(name, END, True, label or ""))
                        continue
                    static[channel] = label or ""
                    declared[name].add((channel, True, label or ""))
                    recorder.writes.append((channel, value))
            step[name] = declared[name] | {
                (channel, channel in static, static.get(channel, ""))
                for channel, _ in recorder.writes
            }
            given.append(Given((name,), name, recorder.writes, node.triggers))
        sources.update(step)
        into: dict[str, set[tuple[str, bool, str]]] = defaultdict(set)
        for source, ways in sources.items():
            for channel, conditional, label in ways:
                into[channel].add((source, conditional, label))
        machine.changed = machine.apply(given)
        names = list(machine.triggered(graph.nodes))
        for name in names:
            fresh = False
            for trigger in graph.nodes[name].triggers:
                for source, conditional, label in sorted(into[trigger]):
                    edges.add(_Found(source, name, conditional, label))
                    if (trigger, conditional, label) in step.get(source, ()):
                        fresh = True
                    else:
                        sources[source].discard((trigger, conditional, label))
            if not fresh:
                edges.update(_Found(source, name, True, "") for source in step)
    return edges, first, last


def drawing_of(graph: Pregel[Any, Any, Any, Any], *, xray: int | bool) -> Any:
    """What can be drawn of a graph."""
    drawing: Any
    nothing: Any = None
    if importlib.util.find_spec("langchain_core") is None:
        drawing = Drawing()
    else:
        from ._viewed import PassedOn, ViewedGraph

        drawing, nothing = ViewedGraph(), PassedOn()
    edges, first, last = _walk(graph)
    deferred = {
        channel.split(":", 2)[-1]
        for channel, spec in graph.channels.items()
        if isinstance(spec, LastValueAfterFinish)
    }
    for name, node in graph.nodes.items():
        metadata: dict[str, Any] = dict(node.metadata or {})
        if name in deferred:
            metadata["defer"] = True
        stops = [
            word
            for word, names in (
                ("before", graph.interrupt_before_nodes),
                ("after", graph.interrupt_after_nodes),
            )
            if name in names
        ]
        if stops:
            metadata["__interrupt"] = ",".join(stops)
        tools = getattr(node.bound, "tools_by_name", None)
        if isinstance(tools, Mapping) and tools:
            metadata["__tools"] = list(tools)
        data = nothing if node.bound is None else node.bound
        drawing.add_node(data, name, metadata=metadata or None)
    if START not in graph.nodes:
        drawing.add_node(None, START)
        for name in first:
            _add_edge(drawing, START, name)
    for edge in sorted(edges):
        label = edge.label if edge.label and edge.label != edge.target else None
        _add_edge(drawing, edge.source, edge.target, label, conditional=edge.conditional)
    ends = {edge.target for edge in edges if edge.target != END} - {edge.source for edge in edges}
    if ends:
        for name in sorted(ends):
            _add_edge(drawing, name, END)
    elif len(last) == 1 and not any(edge.target == END for edge in edges):
        _add_edge(drawing, last[0], END, conditional=True)
    if xray:
        deeper = xray if isinstance(xray, bool) or xray <= 0 else xray - 1
        for name, subgraph in graph.get_subgraphs():
            _put_in(drawing, name, subgraph.get_graph(xray=deeper))
    return drawing


def _add_edge(
    drawing: Any, source: str, target: str, data: str | None = None, *, conditional: bool = False
) -> None:
    if any(edge.source == source and edge.target == target for edge in drawing.edges):
        return
    if target not in drawing.nodes and target == END:
        drawing.add_node(None, END)
    drawing.add_edge(drawing.nodes[source], drawing.nodes[target], data, conditional)


def _put_in(drawing: Any, name: str, inner: Any) -> None:
    """Put a nested graph in the place of its node."""
    if len(inner.nodes) <= 1 or name not in drawing.nodes:
        return
    if not inner.first_node() or not inner.last_node():
        return
    inner.trim_first_node()
    inner.trim_last_node()
    drawing.nodes.pop(name)
    first, last = drawing.extend(inner, prefix=name)
    for index, edge in enumerate(drawing.edges):
        moved = edge
        if moved.source == name:
            moved = _moved(moved, source=last.id)
        if moved.target == name:
            moved = _moved(moved, target=first.id)
        drawing.edges[index] = moved


def _moved(edge: Any, **ends: str) -> Any:
    return edge._replace(**ends)


class Drawing:
    """A drawing, where langchain-core is not installed.

    Attributes:
        nodes: by name.
        edges: the arrows.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, DrawnNode] = {}
        self.edges: list[DrawnEdge] = []

    def add_node(
        self,
        data: Any,
        id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> DrawnNode:
        """Add a node."""
        node = self.nodes[id] = DrawnNode(id, id, data, metadata)
        return node

    def add_edge(
        self, source: DrawnNode, target: DrawnNode, data: str | None, conditional: bool
    ) -> None:
        """Add an arrow."""
        self.edges.append(DrawnEdge(source.id, target.id, data, conditional))

    def extend(self, other: Drawing, *, prefix: str) -> tuple[DrawnNode, DrawnNode]:
        """Add another drawing, its names under a prefix. Returns where it begins and ends."""
        first, last = other.first_node(), other.last_node()
        assert first is not None
        assert last is not None
        for node in other.nodes.values():
            self.add_node(node.data, f"{prefix}:{node.id}", metadata=node.metadata)
        self.edges.extend(
            edge._replace(source=f"{prefix}:{edge.source}", target=f"{prefix}:{edge.target}")
            for edge in other.edges
        )
        return self.nodes[f"{prefix}:{first.id}"], self.nodes[f"{prefix}:{last.id}"]

    def _only(self, ends: set[str]) -> DrawnNode | None:
        found = [node for name, node in self.nodes.items() if name not in ends]
        return found[0] if len(found) == 1 else None

    def first_node(self) -> DrawnNode | None:
        """The one node to which no arrow leads; ``None`` if there are several."""
        return self._only({edge.target for edge in self.edges})

    def last_node(self) -> DrawnNode | None:
        """The one node from which no arrow leads; ``None`` if there are several."""
        return self._only({edge.source for edge in self.edges})

    def _trim(self, node: DrawnNode | None, name: str) -> None:
        if node is not None and node.id == name:
            del self.nodes[name]
            self.edges = [edge for edge in self.edges if name not in (edge.source, edge.target)]

    def trim_first_node(self) -> None:
        """Leave out START, where it stands for nothing else."""
        self._trim(self.first_node(), START)

    def trim_last_node(self) -> None:
        """Leave out END, where it stands for nothing else."""
        self._trim(self.last_node(), END)

    def to_json(self) -> dict[str, Any]:
        """Nodes and edges as JSON."""
        return {
            "nodes": [
                {"id": node.id, **({"metadata": dict(node.metadata)} if node.metadata else {})}
                for node in self.nodes.values()
            ],
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    **({"data": edge.data} if edge.data is not None else {}),
                    **({"conditional": True} if edge.conditional else {}),
                }
                for edge in self.edges
            ],
        }

    def draw_mermaid(self, **_: Any) -> str:
        """A flow chart in Mermaid."""
        ids = {name: f"v{index}" for index, name in enumerate(self.nodes)}
        lines = ["graph TD;"]
        for name in self.nodes:
            text = name.replace('"', "&quot;")
            shape = f'(["{text}"])' if name in (START, END) else f'("{text}")'
            lines.append(f"\t{ids[name]}{shape}")
        for edge in self.edges:
            text = "" if edge.data is None else f'"{edge.data}" '
            arrow = f"-. {text}.->" if edge.conditional else f"-- {text}-->" if text else "-->"
            lines.append(f"\t{ids[edge.source]} {arrow} {ids[edge.target]}")
        return "\n".join(lines) + "\n"

    def draw_ascii(self) -> str:
        """One line for each arrow."""
        return "\n".join(
            f"{edge.source} {'..>' if edge.conditional else '-->'} {edge.target}"
            + (f"  ({edge.data})" if edge.data else "")
            for edge in self.edges
        )

    def print_ascii(self) -> None:
        """Print :meth:`draw_ascii`."""
        print(self.draw_ascii())  # noqa: T201 - it was asked for
