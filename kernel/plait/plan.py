"""A graph, validated and compiled: all that can be known before a run, worked out once.

Routing tables, which fork each sync point belongs to, and from where it can still be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from .errors import GraphError
from .events import NodeName, Target
from .policy import ALL, END, START, Join, Retry
from .state import Schema
from .topology import immediate_dominators, predecessors, reachable, reaching

__all__ = ["Compiler", "NodeSpec", "Plan", "Router", "SyncPointSpec", "Vertex", "Way"]


@dataclass(frozen=True, slots=True)
class Router:
    """A function that chooses the way on."""

    fn: Callable[[Any], Any]
    name: str
    targets: tuple[NodeName, ...] | None
    """Where it may lead; ``None`` for anywhere."""
    names: Mapping[Any, NodeName] | None = None
    """What its return values stand for, if it was added with a mapping."""
    makes: Literal["sends", "choice", "unknown"] = "unknown"
    """Whether it opens several branches (it makes Sends), or chooses one way."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as the user declared it."""

    name: NodeName
    fn: Callable[..., Any]
    kind: Literal["async", "thread", "flow"]
    takes_context: bool
    retry: Retry | None
    timeout: float | None
    """Seconds for one attempt."""
    on_error: str
    """``"raise"``, ``"record"``, or the name of a node to go to."""
    pool: str | None
    targets: tuple[NodeName, ...] | None
    """Where its Command may lead beyond its edges; ``None`` for anywhere."""
    writes: frozenset[str] | None
    """The channels it may write, where that is declared."""
    certain: frozenset[str]
    """Those of them that it declares to write whenever it runs."""


@dataclass(frozen=True, slots=True)
class SyncPointSpec:
    """A sync point and its place in the graph."""

    name: NodeName
    join: Join
    bit: int
    """Its place in the masks of :class:`Vertex`: a power of two."""
    fork: NodeName
    """The vertex whose branches it gathers; see ``Compiler``."""
    rank: int
    """How many other sync points of the same fork lead to it."""
    last: bool
    """All of them do."""
    weights: Mapping[str, float] | None
    """The quorum, if it is a weight for each branch."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """One place of a plan where a branch can stand."""

    name: NodeName
    node: NodeSpec | None
    """What runs here; ``None`` for START, END and sync points."""
    sync_point: SyncPointSpec | None
    ways: tuple[Target | Router, ...]
    """Edges and routers, in the order in which they were declared."""
    targets: tuple[Target, ...] | None
    """Where the ways lead, if there is no router among them."""
    goto: frozenset[NodeName] | None
    """Where a Command may lead; ``None`` for anywhere."""
    owns: tuple[SyncPointSpec, ...]
    """The sync points that belong to this fork."""
    reach: int
    """The mask of the sync points that a branch standing here can arrive at (a sync point itself
    included) without passing their fork."""
    takers: frozenset[NodeName]
    """The nodes to which its router may send something, if a single router says where it leads."""
    answers: Mapping[Any, tuple[Target, ...]]
    """Where it leads by what its router returns: the names that a single router has declared, so
    that what nearly all of them return need not be looked into each time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph, validated and compiled: immutable, shareable between runs."""

    name: str
    schema: Schema
    vertices: Mapping[NodeName, Vertex]
    sync_points: Mapping[int, SyncPointSpec]
    """By bit."""
    may_cancel: bool
    """Whether a sync point may open without branches that are still on their way."""


@dataclass
class Way:
    """An edge or a router, as it was added."""

    source: NodeName
    edge: NodeName | None = None
    router: Router | None = None


class Compiler:
    """Works out the plan of a graph; what needs the topology is checked here."""

    def __init__(
        self,
        name: str,
        schema: Schema,
        nodes: Mapping[NodeName, NodeSpec],
        joins: Mapping[NodeName, Join],
        forks: Mapping[NodeName, NodeName],
        ways: Sequence[Way],
    ) -> None:
        self.name = name
        self.given_forks = forks
        self.schema = schema
        self.nodes = nodes
        self.all_nodes: frozenset[NodeName] = frozenset(nodes)
        self.joins = joins
        self.ways: dict[NodeName, list[Target | Router]] = {
            vertex: [] for vertex in (START, *nodes, *joins, END)
        }
        self.named: dict[NodeName, list[NodeName]] = {vertex: [] for vertex in self.ways}
        """The successors that are declared by name, each once."""
        self.open: set[NodeName] = set()
        """The vertices from which a branch may go on to anywhere."""
        self._declare(ways)
        self.everywhere: list[NodeName] = [vertex for vertex in self.ways if vertex != START]
        self.successors: dict[NodeName, list[NodeName]] = {
            **self.named,
            **dict.fromkeys(self.open, self.everywhere),
        }
        self.backwards: dict[NodeName, list[NodeName]] = predecessors(self.successors)
        self.closed: dict[NodeName, list[NodeName]] = self._closed()

    def _declare(self, ways: Sequence[Way]) -> None:
        """Collect where each vertex leads: by its ways, its node's Commands and its policy."""
        for way in ways:
            if way.edge is not None:
                self.ways[way.source].append(Target(way.edge))
                self.named[way.source].append(way.edge)
            elif way.router is not None:
                self.ways[way.source].append(way.router)
                if way.router.targets is None:
                    self.open.add(way.source)
                else:
                    self.named[way.source] += way.router.targets
        for name, node in self.nodes.items():
            if node.targets is None:
                self.open.add(name)
            elif node.targets:
                self.named[name] += node.targets
            if node.on_error not in ("raise", "record"):
                self.named[name].append(node.on_error)
        for name, join in self.joins.items():
            if join.on_timeout not in ("proceed", "raise"):
                self.named[name].append(join.on_timeout)
        for name, found in self.named.items():
            if len(found) > 1:
                self.named[name] = list(dict.fromkeys(found))

    def _closed(self) -> dict[NodeName, list[NodeName]]:
        """The graph as a reader takes it: what goes anywhere leads where nothing else does."""
        if not self.open:
            return self.named
        entered = {target for found in self.named.values() for target in found}
        loose = [vertex for vertex in self.everywhere if vertex not in entered]
        return {**self.named, **{vertex: [*self.named[vertex], *loose] for vertex in self.open}}

    def plan(self) -> Plan:
        faults = list(self._way_faults())
        if faults:  # dominators suppose that everything is reachable
            raise GraphError(self.name, faults)
        forks, faults = self._find_forks(self.successors)
        if faults:
            raise GraphError(self.name, faults)
        specs = self._sync_points(forks)
        faults = [*self._sync_point_faults(specs), *self._conflict_faults()]
        if faults:
            raise GraphError(self.name, faults)
        reach = dict.fromkeys(self.ways, 0)
        for spec in specs.values():
            for vertex in (spec.name, *reaching(self.backwards, spec.name, avoiding=spec.fork)):
                reach[vertex] |= spec.bit
        owned: dict[NodeName, list[SyncPointSpec]] = {}
        for spec in specs.values():
            owned.setdefault(spec.fork, []).append(spec)
        vertices = {
            name: self._vertex(name, specs.get(name), tuple(owned.get(name, ())), reach[name])
            for name in self.ways
        }
        return Plan(
            name=self.name,
            schema=self.schema,
            vertices=vertices,
            sync_points={spec.bit: spec for spec in specs.values()},
            may_cancel=any(
                spec.join.quorum is not ALL or spec.join.timeout is not None
                for spec in specs.values()
            ),
        )

    def _vertex(
        self,
        name: NodeName,
        spec: SyncPointSpec | None,
        owns: tuple[SyncPointSpec, ...],
        reach: int,
    ) -> Vertex:
        ways = tuple(self.ways[name])
        node = self.nodes.get(name)
        targets = tuple([way for way in ways if isinstance(way, Target)])
        goto: frozenset[NodeName] | None = frozenset()
        if node is not None:
            goto = None if node.targets is None else frozenset(self.named[name])
        direct = targets if len(targets) == len(ways) else None
        takers = self._takers(ways)
        return Vertex(name, node, spec, ways, direct, goto, owns, reach, takers, _answers(ways))

    def _takers(self, ways: Sequence[Target | Router]) -> frozenset[NodeName]:
        if len(ways) != 1 or not isinstance(ways[0], Router):
            return _NO_TAKERS
        targets = ways[0].targets
        return self.all_nodes if targets is None else self.all_nodes.intersection(targets)

    def _way_faults(self) -> Iterable[str]:
        found = reachable(self.successors, [START])
        ending = reachable(self.backwards, [END])
        for name in (*self.nodes, *self.joins):
            kind = "node" if name in self.nodes else "sync point"
            if name not in found:
                yield (
                    f"no way leads to {kind} {name!r}: add an edge to it, declare it as a target, "
                    "or remove it"
                )
            elif name not in ending:
                yield (
                    f"no way leads from {kind} {name!r} to END: add_edge({name!r}, END), or, "
                    f"if it returns a Command, declare where it goes with targets=[...]"
                )

    def _find_forks(
        self, graph: Mapping[NodeName, Sequence[NodeName]]
    ) -> tuple[dict[NodeName, NodeName], list[str]]:
        """Which fork each sync point belongs to, and what is wrong with those that have none.

        It is the last fork before it that every way to it passes, and that no other sync point
        on the way has closed: brackets that match.
        """
        forks: dict[NodeName, NodeName] = {}
        faults: list[str] = []
        if not self.joins:
            return forks, faults
        dominators = immediate_dominators(graph, START)
        # In the closed graph, what only a way that leads anywhere could enter may be missing.
        chains = {name: _chain(dominators, name) for name in self.joins if name in dominators}
        for name in sorted(chains, key=lambda each: len(chains[each])):  # outermost first
            given = self.given_forks.get(name)
            if given is not None:
                if given in self._unclosed(chains[name], forks):
                    forks[name] = given
                elif given in chains[name]:
                    faults.append(
                        f"sync point {name!r} cannot gather the branches of fork {given!r}, since "
                        "another sync point on the way has gathered them already"
                    )
                else:
                    faults.append(
                        f"sync point {name!r} cannot gather the branches of fork {given!r}, since "
                        "not every way to it runs through there"
                    )
                continue
            certain, possible = self._candidates(name, chains[name], forks, self.closed)
            if certain is None and not possible:  # a way that leads anywhere may lead there, too
                certain, possible = self._candidates(name, chains[name], forks, self.successors)
            if certain is not None:
                forks[name] = certain
            elif len(possible) == 1:
                forks[name] = possible[0]
            elif possible:
                names = " or ".join(map(repr, possible))
                faults.append(
                    f"sync point {name!r} could gather the branches of {names}, depending on what "
                    "their routers return: say which with add_sync_point(..., fork=...)"
                )
            else:
                last = chains[name][0]
                faults.append(
                    f"sync point {name!r} is outside any fork: no vertex that every way to it "
                    f"passes (the last is {last!r}) goes on to several targets from which it can "
                    "be reached. Fork before it, or remove the sync point"
                )
        return forks, faults

    def _candidates(
        self,
        name: NodeName,
        chain: Sequence[NodeName],
        forks: Mapping[NodeName, NodeName],
        graph: Mapping[NodeName, Sequence[NodeName]],
    ) -> tuple[NodeName | None, list[NodeName]]:
        """The last dominator that forks for certain, and before it those that might."""
        possible: list[NodeName] = []
        for vertex in self._unclosed(chain, forks):
            forking = self._forking(vertex, name, graph)
            if forking == "certain":
                return vertex, possible
            if forking == "possible":
                possible.append(vertex)
        return None, possible

    @staticmethod
    def _unclosed(
        chain: Sequence[NodeName], forks: Mapping[NodeName, NodeName]
    ) -> Iterable[NodeName]:
        """The dominators whose branches no sync point on the way has gathered, nearest first."""
        closed_by: NodeName | None = None
        for vertex in chain:
            if closed_by is not None:
                if vertex == closed_by:
                    closed_by = None
                continue
            yield vertex
            closed_by = forks.get(vertex)  # a sync point closes its own fork

    def _forking(
        self, vertex: NodeName, target: NodeName, graph: Mapping[NodeName, Sequence[NodeName]]
    ) -> Literal["certain", "possible", "no"]:
        """Whether a branch that passes ``vertex`` may become several on their way to ``target``."""
        edges, routers, fans = 0, 0, 0
        node = self.nodes.get(vertex)
        for way in self.ways[vertex]:
            if isinstance(way, Target):
                edges += self._is_before(way.node, target, vertex, graph)
                continue
            found = [
                each
                for each in (way.targets if way.targets is not None else self.everywhere)
                if self._is_before(each, target, vertex, graph)
            ]
            if found:
                routers += 1
                fans += way.makes == "sends" or (way.makes == "unknown" and found != [target])
                if way.makes == "sends":
                    return "certain"
        if edges + routers >= 2:
            return "certain"
        commands = node is not None and any(
            self._is_before(each, target, vertex, graph) and each != target
            for each in (node.targets if node.targets is not None else self.everywhere)
        )
        return "possible" if fans or commands else "no"

    def _is_before(
        self,
        vertex: NodeName,
        target: NodeName,
        fork: NodeName,
        graph: Mapping[NodeName, Sequence[NodeName]],
    ) -> bool:
        """Whether a branch that stands at ``vertex`` may come to ``target`` without the fork."""
        return vertex == target or (
            vertex != fork and target in reachable(graph, graph[vertex], avoiding=fork)
        )

    def _sync_points(self, forks: Mapping[NodeName, NodeName]) -> dict[NodeName, SyncPointSpec]:
        specs = {}
        for position, (name, join) in enumerate(self.joins.items()):
            fork = forks[name]
            siblings = [other for other in self.joins if forks[other] == fork and other != name]
            ahead = {other: self._leads(other, name, fork) for other in siblings}
            specs[name] = SyncPointSpec(
                name=name,
                join=join,
                bit=1 << position,
                fork=fork,
                rank=sum(ahead.values()),
                last=all(ahead.values()),
                weights=join.quorum if isinstance(join.quorum, Mapping) else None,
            )
        return specs

    def _leads(self, source: NodeName, target: NodeName, avoiding: NodeName) -> bool:
        return target in reachable(self.closed, self.closed[source], avoiding=avoiding)

    def _sync_point_faults(self, specs: Mapping[NodeName, SyncPointSpec]) -> Iterable[str]:
        closed, _ = self._find_forks(self.closed)
        for spec in specs.values():
            name, fork, join = spec.name, spec.fork, spec.join
            node = self.nodes.get(fork)
            routers = any(isinstance(way, Router) for way in self.ways[fork])
            if not routers and (node is None or node.targets == ()):
                opened = sum(
                    self._is_before(target, name, fork, self.closed) for target in self.named[fork]
                )
                for what, count in (("quorum", join.quorum), ("minimum", join.minimum)):
                    if isinstance(count, int) and count > opened:
                        yield (
                            f"sync point {name!r}: {what}={count} can never be met, since "
                            f"{fork!r} opens {opened} branches towards it"
                        )
            if name in reachable(self.named, self.named[name], avoiding=fork):
                yield (
                    f"a cycle leads from sync point {name!r} back to it without passing its fork "
                    f"{fork!r}, so that nothing could gather there again: lead it through {fork!r}"
                )
            if join.quorum is not ALL and closed.get(name, fork) != fork:
                opened_at = [each for each in self.ways if each in self.open]
                yield (
                    f"sync point {name!r} would gather the branches of {fork!r} and not those of "
                    f"{closed[name]!r}, since {', '.join(map(repr, opened_at))} may lead "
                    "anywhere: declare the targets there, or say which with "
                    "add_sync_point(..., fork=...)"
                )

    def _conflict_faults(self) -> Iterable[str]:
        """Exclusive channels that two certain, parallel branches both declare to write."""
        for fork, ways in self.ways.items():
            if len(ways) < 2:
                continue
            targets = [way.node for way in ways if isinstance(way, Target)]
            writers: dict[str, NodeName] = {}
            for target in targets:
                for channel, node in self._certain_writes(target).items():
                    if channel in writers:
                        yield (
                            f"nodes {writers[channel]!r} and {node!r} both write channel "
                            f"{channel!r} in parallel branches of {fork!r}, and it has no "
                            "reducer: declare one, or let one of them write it"
                        )
                    else:
                        writers[channel] = node

    def _certain_writes(self, vertex: NodeName) -> dict[str, NodeName]:
        """The exclusive channels that a branch declares to write on the way it must take."""
        found: dict[str, NodeName] = {}
        seen: set[NodeName] = set()
        while vertex in self.nodes and vertex not in seen:
            seen.add(vertex)
            node = self.nodes[vertex]
            for channel in sorted(node.certain & self.schema.exclusive):
                found.setdefault(channel, vertex)
            ways = self.ways[vertex]
            if len(ways) != 1 or not isinstance(ways[0], Target) or node.targets != ():
                break
            vertex = ways[0].node
        return found


_NO_TAKERS: Final[frozenset[NodeName]] = frozenset()
_NO_ANSWERS: Final[Mapping[Any, tuple[Target, ...]]] = {}
"""One each for all vertices without a router of their own, which are nearly all."""


def _answers(ways: Sequence[Target | Router]) -> Mapping[Any, tuple[Target, ...]]:
    if len(ways) != 1 or not isinstance(ways[0], Router):
        return _NO_ANSWERS
    router = ways[0]
    names = router.names or {name: name for name in router.targets or ()}
    return {answer: (Target(name),) for answer, name in names.items()}


def _chain(dominators: Mapping[NodeName, NodeName], name: NodeName) -> list[NodeName]:
    """The dominators of a vertex, nearest first."""
    chain = []
    while dominators[name] != name:
        name = dominators[name]
        chain.append(name)
    return chain
