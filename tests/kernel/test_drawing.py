"""The Mermaid drawing tells forks, sync points, and edges of every kind apart."""

import re
from typing import Any

from plait import ALL, ANY, END, START, Arrival, Command, Join
from tests.kernel.build import build, does


async def wanders(_state: Any) -> Command:
    return Command(goto=END)


def enough(arrivals: tuple[Arrival, ...]) -> bool:
    return len(arrivals) > 1


def shapes(drawing: str) -> dict[str, str]:
    """The brackets around each name."""
    found = re.findall(r"^    v\d+(\W+?)\"?([\w ]+?)(?:<br/>.*)?\"?(\W+)$", drawing, re.MULTILINE)
    return {name: opening + closing for opening, name, closing in found if "--" not in opening}


def arrow(drawing: str, source: str, target: str) -> list[str]:
    """The arrows between two names, as they are drawn."""
    named = re.findall(r"^    (v\d+)\W+?\"?(\w+)", drawing, re.MULTILINE)
    ids = {name: vertex for vertex, name in named}
    return re.findall(
        rf"^    {ids[source]} (.*) {ids.get(target, target)}(?:\W+)?$", drawing, re.MULTILINE
    )


def test_forks_nodes_subgraphs_and_sync_points_have_shapes_of_their_own() -> None:
    inner = build("START x END").compile()
    graph = build("START split a gather sub END", "split b gather", gather=Join(), sub=inner)
    found = shapes(graph.compile().draw_mermaid())
    assert found["START"] == found["END"] == "([])"
    assert len({found[name] for name in ("split", "a", "gather", "sub", "END")}) == 5


def test_a_sync_point_is_labelled_with_its_policy() -> None:
    policies = {
        Join(): "all",
        Join(quorum=ANY): "any",
        Join(quorum=2, minimum=2): "2 of them, minimum 2",
        Join(quorum=0.75, grace=2): "75%, grace 2 s",
        Join(timeout=30, on_timeout="raise"): "all, timeout 30 s, then raise",
        Join(stragglers="detach", late="next_round"): "all, detach, late next round",
        Join(quorum=enough): "enough",
    }
    for policy, words in policies.items():
        drawing = build("START a gather END", "START b gather", gather=policy).compile()
        assert f"gather<br/><small>{words}</small>" in drawing.draw_mermaid()
    assert Join(quorum={"a": 1}).label() == "weights"
    assert repr((ALL, ANY)) == "(ALL, ANY)"


def test_edges_conditional_edges_and_open_ends_are_told_apart() -> None:
    graph = build("START a b END", "c END")
    graph.add_conditional_edges("a", lambda _: "c", ["c"])
    graph.add_conditional_edges("c", lambda _: END)
    drawing = graph.compile().draw_mermaid()
    assert arrow(drawing, "a", "b") == ["-->"]
    assert arrow(drawing, "a", "c") == ['-. "&lt;lambda>" .->']
    assert arrow(drawing, "c", "anywhere") == ['-. "&lt;lambda>" .->']
    assert "class anywhere open" in drawing


def test_a_drawing_without_open_ends_mentions_none() -> None:
    assert "anywhere" not in build("START a END").compile().draw_mermaid()


def test_commands_errors_and_timeouts_are_drawn_with_their_reason() -> None:
    join = Join(timeout=1, on_timeout="late")
    graph = build("START a gather END", "START open gather", "late END", gather=join, open=wanders)
    graph.add_node("b", does(), on_error="late", targets=["late"]).add_edge(START, "b")
    graph.add_edge("b", "gather")
    drawing = graph.compile().draw_mermaid()
    assert arrow(drawing, "b", "late") == ['-. "Command" .->', '-. "on error" .-']
    assert arrow(drawing, "gather", "late") == ['-. "on timeout" .-']
    assert arrow(drawing, "open", "anywhere") == ['-. "Command" .->']


def test_names_of_any_kind_are_quoted_and_escaped() -> None:
    graph = build("START END").add_node('say "<hi>" & go', does())
    graph.add_edge(START, 'say "<hi>" & go').add_edge('say "<hi>" & go', END)
    assert '("say &quot;&lt;hi>&quot; &amp; go")' in graph.compile().draw_mermaid()


def test_every_vertex_and_every_way_is_drawn_once() -> None:
    drawing = build("START a gather END", "START b gather", gather=Join()).compile().draw_mermaid()
    lines = drawing.splitlines()
    assert lines[0] == "flowchart TD"
    assert len(lines) == 1 + 5 + 5 == len(set(lines))
