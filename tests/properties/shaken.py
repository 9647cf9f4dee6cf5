"""Programs with a few things knocked out of place: some are wrong, and some only odd.

What the grammar of `programs.py` would never write is here: edges that cross strands, forks that
nobody gathers, routers that may lead anywhere, sync points of another fork. `compile()` refuses
such a program with a `PlaitError`, or it runs by all the laws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.properties.programs import (
    CALM,
    END,
    START,
    Edge,
    Node,
    Policy,
    Program,
    Router,
    Target,
    Visit,
    programs,
)

__all__ = ["shaken_programs"]

SMALL = replace(CALM, subgraphs=False, live=False, max_nodes=5, max_fan=3)


class _Shaker:
    """Knocks one thing out of place at a time."""

    def __init__(self, draw: Any, program: Program) -> None:
        self.draw = draw
        self.program = program
        self.names = [
            *(node.name for node in program.nodes),
            *(sync.name for sync in program.syncs),
        ]

    def shake(self) -> None:
        ways: list[Callable[[], None]] = [
            self.add_edge,
            self.add_router,
            self.add_goto,
            self.handle_error,
        ]
        if self.program.links:
            ways += [self.drop_link, self.turn_edge, self.open_router]
        if self.program.syncs:
            ways += [self.move_fork, self.change_policy]
        self.draw(st.sampled_from(ways))()

    def place(self, *more: str) -> str:
        name: str = self.draw(st.sampled_from([*self.names, *more]))
        return name

    def link_at(self) -> int:
        return int(self.draw(st.integers(0, len(self.program.links) - 1)))

    def put(self, **parts: Any) -> None:
        self.program = replace(self.program, **parts)

    def put_link(self, at: int, *new: Edge | Router) -> None:
        links = self.program.links
        self.put(links=(*links[:at], *new, *links[at + 1 :]))

    def put_node(self, change: Callable[[Node], Node]) -> None:
        at = self.draw(st.integers(0, len(self.program.nodes) - 1))
        nodes = self.program.nodes
        self.put(nodes=(*nodes[:at], change(nodes[at]), *nodes[at + 1 :]))

    def add_edge(self) -> None:
        self.put(links=(*self.program.links, Edge(self.place(START), self.place(END))))

    def drop_link(self) -> None:
        self.put_link(self.link_at())

    def turn_edge(self) -> None:
        at = self.link_at()
        link = self.program.links[at]
        if isinstance(link, Edge):
            self.put_link(at, Edge(link.source, self.place(END)))

    def open_router(self) -> None:
        at = self.link_at()
        link = self.program.links[at]
        if isinstance(link, Router):
            self.put_link(at, replace(link, targets=None))

    def add_router(self) -> None:
        targets = tuple(self.place(END) for _ in range(self.draw(st.integers(1, 2))))
        choices: tuple[tuple[Target, ...], ...] = (targets, targets[:1], (END,))
        declared = self.draw(st.sampled_from((None, (*targets, END))))
        self.put(links=(*self.program.links, Router(self.place(START), choices, declared)))

    def add_goto(self) -> None:
        target = self.place(END)
        declared = self.draw(st.booleans())

        def change(node: Node) -> Node:
            visit = replace(node.visits[0], goto=(*node.visits[0].goto, target))
            targets = (*node.targets, target) if declared else node.targets
            return replace(node, visits=(visit, Visit()), targets=targets)

        self.put_node(change)

    def handle_error(self) -> None:
        target = self.place(END)

        def change(node: Node) -> Node:
            visit = replace(node.visits[0], failures=1)
            return replace(node, visits=(visit, Visit()), on_error=target)

        self.put_node(change)

    def move_fork(self) -> None:
        fork = self.draw(st.none() | st.sampled_from([*self.names, START]))
        at = self.draw(st.integers(0, len(self.program.syncs) - 1))
        syncs = self.program.syncs
        self.put(syncs=(*syncs[:at], replace(syncs[at], fork=fork), *syncs[at + 1 :]))

    def change_policy(self) -> None:
        at = self.draw(st.integers(0, len(self.program.syncs) - 1))
        policy = Policy(
            quorum=self.draw(st.sampled_from(("all", "any", 2, 0.5))),
            timeout=self.draw(st.sampled_from((None, 3.125))),
            on_timeout=self.draw(st.sampled_from(("proceed", "raise", *self.names))),
            minimum=self.draw(st.integers(0, 2)),
            stragglers=self.draw(st.sampled_from(("cancel", "detach"))),
            late=self.draw(st.sampled_from(("drop", "merge", "next_round"))),
        )
        syncs = self.program.syncs
        self.put(syncs=(*syncs[:at], replace(syncs[at], policy=policy), *syncs[at + 1 :]))


@st.composite
def shaken_programs(draw: Any, program: st.SearchStrategy[Program] | None = None) -> Program:
    """Programs of which nobody knows beforehand whether they compile, or whether they end."""
    shaker = _Shaker(draw, draw(program or programs(SMALL)))
    for _ in range(draw(st.integers(1, 3))):
        shaker.shake()
    return shaker.program
