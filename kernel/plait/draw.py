"""Drawings of a plan."""

from __future__ import annotations

from .events import NodeName, Target
from .plan import Plan, Vertex
from .policy import END, START

__all__ = ["draw_mermaid"]


def draw_mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart.

    A rounded box is a node, a double box a subgraph, a hexagon a fork that belongs to a sync
    point, and a rhomboid a sync point with its policy. A dashed arrow is a conditional edge, with
    its router as label; one that may lead anywhere ends in ``?``. A dotted line is a way that is
    taken on an error or a timeout.
    """
    ids = {name: f"v{position}" for position, name in enumerate(plan.vertices)}
    lines = ["flowchart TD"]
    lines += [f"    {ids[name]}{_shape(vertex)}" for name, vertex in plan.vertices.items()]
    for name, vertex in plan.vertices.items():
        lines += [f"    {ids[name]} {arrow}" for arrow in _arrows(vertex, ids)]
    open_ends = [line for line in lines if line.endswith("anywhere{{?}}")]
    if open_ends:
        lines.append("    classDef open stroke-dasharray: 5 5")
        lines.append("    class anywhere open")
    return "\n".join(lines) + "\n"


def _shape(vertex: Vertex) -> str:
    if vertex.name == START:
        return "([START])"
    if vertex.name == END:
        return "([END])"
    label = _escape(vertex.name)
    if vertex.sync_point is not None:
        policy = _escape(vertex.sync_point.join.label())
        return f'[/"{label}<br/><small>{policy}</small>"/]'
    assert vertex.node is not None
    if vertex.node.kind == "flow":
        return f'[["{label}"]]'
    if vertex.owns:
        return f'{{{{"{label}"}}}}'
    return f'("{label}")'


def _arrows(vertex: Vertex, ids: dict[NodeName, str]) -> list[str]:
    arrows = []
    for way in vertex.ways:
        if isinstance(way, Target):
            arrows.append(f"--> {ids[way.node]}")
        elif way.targets is None:
            arrows.append(f'-. "{_escape(way.name)}" .-> anywhere{{{{?}}}}')
        else:
            arrows += [f'-. "{_escape(way.name)}" .-> {ids[target]}' for target in way.targets]
    if vertex.node is not None:
        if vertex.node.targets is None:
            arrows.append('-. "Command" .-> anywhere{{?}}')
        else:
            arrows += [f'-. "Command" .-> {ids[target]}' for target in vertex.node.targets]
        if vertex.node.on_error not in ("raise", "record"):
            arrows.append(f'-. "on error" .- {ids[vertex.node.on_error]}')
    elif vertex.sync_point is not None:
        target = vertex.sync_point.join.on_timeout
        if target not in ("proceed", "raise"):
            arrows.append(f'-. "on timeout" .- {ids[target]}')
    return arrows


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
