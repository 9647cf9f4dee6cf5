"""Whole programs as data, the graphs they stand for, and strategies that draw them.

A `Program` says what a graph looks like and what each of its nodes does on each visit. `build`
makes a `plait.Graph` of it; `reference.py` interprets the same data without Plait. A node's
behaviour depends only on what its branch can see: the number of visits is a channel like any other
(`VISITS`), so that a schedule can never leak into a script.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict

import anyio
from hypothesis import strategies as st

START = "<start>"
END = "<end>"
VISITS = "visits"

Value = Any
"""What a channel holds: an int, a list or set of ints, or a mapping of node names to counts."""


@dataclass(frozen=True)
class Channel:
    """One channel; `kind` is a key of `KINDS`."""

    name: str
    kind: str


@dataclass(frozen=True)
class Write:
    """One write: `value`, plus a digest of the channel `reads` as the branch sees it."""

    channel: str
    value: int
    overwrite: bool = False
    reads: str | None = None


@dataclass(frozen=True)
class Sent:
    """A `Send`: with `arg` the first node is called with that number in place of the state."""

    target: str
    id: str | None = None
    after: tuple[str, ...] = ()
    weight: float = 1.0
    arg: int | None = None


Target = str | Sent


@dataclass(frozen=True)
class Visit:
    """What a node does on one visit: the first `failures` attempts raise, the next one returns.

    asks: how many interrupts it raises first, one after the other; what it writes depends on the
    answers.
    """

    writes: tuple[Write, ...] = ()
    goto: tuple[Target, ...] = ()
    failures: int = 0
    ticks: int = 1
    forever: bool = False
    asks: int = 0


@dataclass(frozen=True)
class Node:
    """A node; the n-th visit follows `visits[n]`, and the last entry holds for all later ones."""

    name: str
    visits: tuple[Visit, ...] = (Visit(),)
    targets: tuple[str, ...] = ()
    on_error: str = "raise"
    attempts: int = 1
    subgraph: Program | None = None


@dataclass(frozen=True)
class Edge:
    source: str
    target: str


@dataclass(frozen=True)
class Router:
    """Conditional edges; the n-th visit of `counter` that the branch can see takes `choices[n]`."""

    source: str
    choices: tuple[tuple[Target, ...], ...]
    targets: tuple[str, ...] | None
    counter: str | None = None

    def choose(self, seen: Mapping[str, Value]) -> tuple[Target, ...]:
        """The targets for a branch that sees the state `seen`, the node's own writes among it."""
        count = seen.get(VISITS, {}).get(self.counter or self.source, 0)
        return self.choices[min(max(count - 1, 0), len(self.choices) - 1)]


@dataclass(frozen=True)
class Weights:
    """A quorum by weight: met when the weights of the arrived sum to at least 1."""

    of: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class AtLeast:
    """A quorum by predicate: so many arrivals."""

    count: int

    def __call__(self, arrivals: tuple[object, ...]) -> bool:
        return len(arrivals) >= self.count


Quorum = str | int | float | Weights | AtLeast


@dataclass(frozen=True)
class Policy:
    """The fields of a `Join`; times in ticks; `quorum` is "all", "any", or what `Join` takes."""

    quorum: Quorum = "all"
    grace: float = 0
    timeout: float | None = None
    timeout_from: str = "fork"
    on_timeout: str = "proceed"
    minimum: int = 1
    stragglers: str = "cancel"
    late: str = "drop"


@dataclass(frozen=True)
class SyncPoint:
    """A sync point; `fork` says whose branches it gathers where the graph does not."""

    name: str
    policy: Policy = Policy()
    fork: str | None = None


@dataclass(frozen=True)
class Program:
    """A whole program. `links` keeps edges and routers in the order in which they are declared."""

    channels: tuple[Channel, ...]
    nodes: tuple[Node, ...]
    links: tuple[Edge | Router, ...]
    syncs: tuple[SyncPoint, ...] = ()
    input: tuple[Write, ...] = ()

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.name == name), None)

    def sync(self, name: str) -> SyncPoint | None:
        return next((sync for sync in self.syncs if sync.name == name), None)

    def kind(self, channel: str) -> str:
        return next(c.kind for c in self.all_channels() if c.name == channel)

    def all_channels(self) -> tuple[Channel, ...]:
        """The declared channels, and the one that counts visits."""
        return (*self.channels, Channel(VISITS, "counts"))


def add_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Add up two mappings of counts; a new mapping."""
    return {key: left.get(key, 0) + right.get(key, 0) for key in left | right}


@dataclass(frozen=True)
class Kind:
    """How a kind of channel begins, is written and folds; `initial` None: absent until written."""

    initial: Callable[[], Value] | None
    fold: Callable[[Value, Value], Value] | None
    wrap: Callable[[int], Value] = field(default=lambda value: value)


KINDS: dict[str, Kind] = {
    "exclusive": Kind(None, None),
    "list": Kind(list, lambda old, new: old + new, lambda value: [value]),
    "append": Kind(list, lambda old, new: [*old, new]),
    "sum": Kind(int, lambda old, new: old + new),
    "union": Kind(set, lambda old, new: old | new, lambda value: {value}),
    "maximum": Kind(None, max),
    "live": Kind(set, lambda old, new: old | new, lambda value: {value}),
    "live sum": Kind(int, lambda old, new: old + new),
    "counts": Kind(dict, add_counts),
}
LATTICES = frozenset({"union", "maximum"})
LIVE_KINDS = frozenset({"live", "live sum"})


def digest(value: Value) -> int:
    """A small number that changes with what is in a channel, and with its order if it has one."""
    if isinstance(value, Mapping):
        return sum(value.values())
    if isinstance(value, set | frozenset):
        return sum(value) % 1009
    if isinstance(value, list | tuple):
        return sum((place + 1) * digest(item) for place, item in enumerate(value)) % 1009
    return int(value or 0)


def answer(value: int) -> int:
    """What is answered to a question with this value: questions are numbered within a call."""
    return 2 * value + 1


def payload(
    program: Program, write: Write, seen: Mapping[str, Value] | int, extra: int = 0
) -> Value:
    """What `write` writes for a branch that sees `seen` (a number: the argument of a `Send`)."""
    if write.reads is not None:
        extra += digest(seen if isinstance(seen, int) else seen.get(write.reads))
    kind = program.kind(write.channel)
    if write.overwrite and kind == "append":
        return [write.value + extra]
    return KINDS[kind].wrap(write.value + extra)


def script(node: Node, seen: Mapping[str, Value] | int) -> Visit:
    """What `node` does for a branch that sees `seen`; the argument of a `Send` picks the visit."""
    if isinstance(seen, int):
        return node.visits[seen % len(node.visits)]
    return node.visits[min(visit_number(node, seen), len(node.visits) - 1)]


Pace = Callable[[str, str, int], float]
"""(branch path, node, visits of the node that the branch has seen) to a duration in ticks."""


def visit_number(node: Node, seen: Mapping[str, Value] | int) -> int:
    """How often the branch has seen `node` visited before; the argument itself for a `Send`."""
    return seen if isinstance(seen, int) else int(seen.get(VISITS, {}).get(node.name, 0))


class BrokenNode(Exception):
    """What a scripted failure raises."""


# --- the real graph ---


def build(program: Program, pace: Pace | None = None) -> Any:
    """The `plait.Graph` of `program`, made through the public face only.

    Args:
        program: what to build.
        pace: how long a call takes, in seconds of the event loop's clock, one for a tick; without
            it a call takes the ticks of its visit.

    Raises:
        plait.PlaitError: if Plait refuses a part of it at once instead of in `compile()`.
    """
    import plait

    graph: Any = plait.Graph(schema(program))
    for node in program.nodes:
        if node.subgraph is not None:
            graph.add_node(node.name, build(node.subgraph, pace).compile())
            continue
        options: dict[str, Any] = {"on_error": node.on_error}
        if node.attempts > 1:
            options["retry"] = plait.Retry(node.attempts, initial=0, jitter=False)
        if node.targets:
            options["targets"] = [_public(name) for name in node.targets]
        graph.add_node(node.name, _function(program, node, pace), **options)
    for sync in program.syncs:
        graph.add_sync_point(sync.name, join(sync.policy), fork=sync.fork)
    for link in program.links:
        if isinstance(link, Edge):
            graph.add_edge(_public(link.source), _public(link.target))
        else:
            targets = None if link.targets is None else [_public(name) for name in link.targets]
            graph.add_conditional_edges(_public(link.source), _route(link), targets=targets)
    return graph


def run_input(program: Program) -> dict[str, Value]:
    """The input of a run, as `Flow.run` takes it."""
    return {write.channel: payload(program, write, {}) for write in program.input}


def schema(program: Program) -> Any:
    """A TypedDict with the program's channels."""
    from plait import reducers

    types: dict[str, Any] = {
        "exclusive": int,
        "list": Annotated[list[int], operator.add],
        "append": Annotated[list[int], reducers.append],
        "sum": Annotated[int, operator.add],
        "union": Annotated[set[int], reducers.union],
        "maximum": Annotated[int, reducers.maximum],
        "live": Annotated[set[int], reducers.live(reducers.union)],
        "live sum": Annotated[int, reducers.live(reducers.total)],
        # Two channels that compile() has to refuse.
        "live list": Annotated[list[int], reducers.live(reducers.append)],
        "live lawless": Annotated[list[int], reducers.live(reducers.declare(operator.add))],
        "counts": Annotated[dict[str, int], add_counts],
    }
    fields = {channel.name: types[channel.kind] for channel in program.all_channels()}
    return TypedDict("State", fields)  # type: ignore[operator, unused-ignore]


def join(policy: Policy) -> Any:
    """The `plait.Join` of a policy."""
    import plait

    quorum: Any = policy.quorum
    if isinstance(quorum, Weights):
        quorum = dict(quorum.of)
    elif isinstance(quorum, str):
        quorum = {"all": plait.ALL, "any": plait.ANY}[quorum]
    options: Any = {
        "timeout_from": policy.timeout_from,
        "stragglers": policy.stragglers,
        "late": policy.late,
    }
    return plait.Join(
        quorum=quorum,
        grace=policy.grace,
        timeout=policy.timeout,
        on_timeout=policy.on_timeout,
        minimum=policy.minimum,
        **options,
    )


def _public(target: Target) -> Any:
    import plait

    if isinstance(target, Sent):
        options: dict[str, Any] = {"after": target.after, "weight": target.weight}
        if target.id is not None:
            options["id"] = target.id
        if target.arg is not None:
            return plait.Send(target.target, target.arg, **options)
        return plait.Send(target.target, **options)
    return {START: plait.START, END: plait.END}.get(target, target)


def _route(router: Router) -> Callable[[Any], Any]:
    def route(state: Any) -> list[Any]:
        return [_public(target) for target in router.choose(state)]

    return route


def _function(program: Program, node: Node, pace: Pace | None) -> Callable[[Any, Any], Any]:
    async def call(state: Any, ctx: Any) -> Any:
        import plait

        visit = script(node, state)
        branch = ctx.branch if isinstance(ctx.branch, str) else ".".join(map(str, ctx.branch))
        if visit.forever:
            await anyio.sleep_forever()
        answers = sum(plait.interrupt(number) for number in range(visit.asks))
        ticks = visit.ticks if pace is None else pace(branch, node.name, visit_number(node, state))
        if ticks:
            await anyio.sleep(ticks)
        if ctx.attempt <= visit.failures:
            raise BrokenNode(node.name)
        update: dict[str, Any] = {VISITS: {node.name: 1}}
        for write in visit.writes:
            value = payload(program, write, state, answers)
            update[write.channel] = plait.Overwrite(value) if write.overwrite else value
        if visit.goto:
            return plait.Command(update=update, goto=[_public(target) for target in visit.goto])
        return update

    return call


# --- strategies ---


@dataclass(frozen=True)
class Features:
    """What drawn programs may contain; all of it by default.

    partial: quorums, deadlines and nodes that never finish, so that time decides what is merged.
    failures: nodes that raise. raising: failures that end the run. reckless: writes that may
    conflict. asking: nodes that ask and are answered.
    live: live channels. subgraphs: programs inside programs. max_nodes: where the drawing winds up.
    """

    partial: bool = True
    failures: bool = True
    raising: bool = True
    reckless: bool = True
    asking: bool = True
    live: bool = True
    subgraphs: bool = True
    max_nodes: int = 8
    max_fan: int = 50


CALM = Features(partial=False, raising=False, reckless=False)
"""Programs that every schedule takes to the same final state."""

CHANNELS = (
    Channel("one", "exclusive"),
    Channel("two", "exclusive"),
    Channel("list", "list"),
    Channel("items", "append"),
    Channel("sum", "sum"),
    Channel("set", "union"),
    Channel("top", "maximum"),
)
LIVE = (Channel("live", "live"), Channel("meter", "live sum"))
_ORDERED = ("list", "items", "sum", "set", "top")


@dataclass(frozen=True)
class _Place:
    """Where in the structure a block is drawn, which limits what may be drawn there.

    forked: other branches may be running. exclusive: this strand alone may write exclusive
    channels. looped: the strand may pass here more than once. hedged: whoever waits for this strand
    gives up some time.
    """

    forked: bool = False
    exclusive: bool = True
    looped: bool = False
    hedged: bool = False


class _Author:
    """Draws one program, back to front: each block is given the name of what comes after it."""

    def __init__(self, draw: Any, features: Features, prefix: str, depth: int) -> None:
        self.draw = draw
        self.features = features
        self.prefix = prefix
        self.depth = depth
        self.nodes: list[Node] = []
        self.links: list[Edge | Router] = []
        self.syncs: list[SyncPoint] = []
        self.reckless = features.reckless and self.chance(4)
        self.live = features.live and depth == 0 and draw(st.booleans())

    def chance(self, odds: int) -> bool:
        """True once in `odds`; shrinks to False."""
        return bool(self.draw(st.integers(0, odds - 1)) == odds - 1)

    def fresh(self, letter: str = "n") -> str:
        """The next free name."""
        return f"{self.prefix}{letter}{len(self.nodes) + len(self.syncs)}"

    def add_node(self, place: _Place, **options: Any) -> str:
        """A node with drawn visits, or with those given."""
        name = self.fresh()
        self.nodes.append(Node(name))
        index = len(self.nodes) - 1
        visits = options.pop("visits", None) or self.visits(place)
        self.nodes[index] = Node(name, visits=visits, **options)
        return name

    def add_sync(self, policy: Policy) -> str:
        name = self.fresh("s")
        self.syncs.append(SyncPoint(name, policy))
        return name

    def belongs(self, sync: str, fork: str) -> None:
        """Say what the graph leaves open: a router or a Command may fork, or only choose."""
        self.syncs = [replace(s, fork=fork) if s.name == sync else s for s in self.syncs]

    def visits(self, place: _Place, most: int = 2) -> tuple[Visit, ...]:
        count = self.draw(st.integers(1, most if place.looped else 1))
        return tuple(
            Visit(self.writes(place), ticks=self.ticks(), asks=self.asks()) for _ in range(count)
        )

    def asks(self) -> int:
        return int(self.draw(st.sampled_from((0, 0, 0, 0, 1, 2)))) if self.features.asking else 0

    def ticks(self) -> int:
        return int(self.draw(st.integers(1, 9)))

    def writes(self, place: _Place) -> tuple[Write, ...]:
        names: list[str] = list(_ORDERED)
        if place.exclusive or self.reckless:
            names += ["one", "two"]
        if self.live:
            names += [channel.name for channel in LIVE]
        chosen = self.draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
        return tuple(self.write(name, place) for name in chosen)

    def write(self, name: str, place: _Place) -> Write:
        may_replace = self.reckless or not place.forked
        replaces = name not in {c.name for c in LIVE} and may_replace and self.chance(5)
        reads = self.draw(st.sampled_from((None, "list", "one", "sum", "set", VISITS)))
        return Write(name, self.draw(st.integers(0, 5)), overwrite=replaces, reads=reads)

    def edge(self, source: str, target: str) -> None:
        self.links.append(Edge(source, target))

    def goes_on(self, sync: str, then: str, place: _Place, counter: str) -> None:
        """The way on from a sync point: an edge, or a router that takes a detour at some times."""
        if not self.chance(3):
            self.edge(sync, then)
            return
        detour = self.step(then, place)
        ways: tuple[tuple[Target, ...], ...] = ((then,), (detour,))
        choices = self.draw(st.permutations(ways))
        self.links.append(Router(sync, tuple(choices), (then, detour), counter))

    # The grammar. Each rule takes what comes next and gives back the block's first node.

    def strand(self, then: str, place: _Place) -> str:
        """One or two blocks in a row, fewer when enough nodes are there."""
        for _ in range(self.draw(st.integers(1, 2))):
            then = self.block(then, place)
        return then

    def block(self, then: str, place: _Place) -> str:
        rules: list[Callable[[str, _Place], str]] = [self.step]
        if self.features.failures:
            rules.append(self.shaky_step)
        if len(self.nodes) < self.features.max_nodes:
            rules += [self.fork, self.fan, self.loop, self.way_out, self.spawn]
            rules += [self.staged_fork, self.choice]
            if self.depth == 0 and self.features.subgraphs:
                rules.append(self.subgraph)
        rule: Callable[[str, _Place], str] = self.draw(st.sampled_from(rules))
        return rule(then, place)

    def step(self, then: str, place: _Place) -> str:
        name = self.add_node(place)
        self.edge(name, then)
        return name

    def shaky_step(self, then: str, place: _Place) -> str:
        """A node that fails once and is tried again, or fails for good in one of the three ways."""
        how = self.draw(st.sampled_from(("retry", "record", "handler", "raise")))
        if how == "raise" and not self.features.raising:
            how = "record"
        visit = replace(self.visits(place, most=1)[0], failures=1)
        visits = (visit, replace(visit, failures=0)) if self.draw(st.booleans()) else (visit,)
        if how == "handler":
            handler = self.step(then, place)
            name = self.add_node(place, visits=visits, on_error=handler)
        elif how == "retry":
            name = self.add_node(place, visits=visits, attempts=2)
        elif place.hedged and self.features.partial and self.draw(st.booleans()):
            name = self.add_node(place, visits=(Visit(forever=True),))
        else:
            on_error = "raise" if how == "raise" else "record"
            name = self.add_node(place, visits=visits, on_error=on_error)
        self.edge(name, then)
        return name

    def fork(self, then: str, place: _Place) -> str:
        """A node, two or three strands, and the sync point that gathers them."""
        width = self.draw(st.integers(2, 3))
        policy = self.policy(then, place, width)
        sync = self.add_sync(policy)
        owner = self.fresh()
        fork = self.add_node(replace(place, looped=True))
        self.goes_on(sync, then, place, owner)
        heads = self.heads(sync, place, width, policy)
        if self.draw(st.booleans()):
            for head in heads:
                self.edge(owner, head)
            return fork
        # The same fork by a router, which takes some of the ways or all.
        self.belongs(sync, owner)
        some = self.draw(st.lists(st.sampled_from(heads), min_size=1, unique=True))
        ways = self.draw(st.permutations((tuple(heads), tuple(some))))
        self.links.append(Router(owner, tuple(ways), tuple(heads)))
        return fork

    def heads(self, sync: str, place: _Place, width: int, policy: Policy) -> list[str]:
        privileged = self.draw(st.integers(0, width - 1)) if place.exclusive else None
        hedged = policy.stragglers == "cancel" and (
            place.hedged or (policy.timeout is not None and policy.timeout_from == "fork")
        )
        return [
            self.strand(
                sync,
                _Place(True, number == privileged, place.looped, hedged=hedged),
            )
            for number in range(width)
        ]

    def staged_fork(self, then: str, place: _Place) -> str:
        """Three strands, two of which meet on the way to the sync point that gathers all."""
        last = self.add_sync(Policy())
        self.edge(last, then)
        inside = _Place(True, False, place.looped)
        middle = self.step(last, inside)
        first = self.add_sync(Policy(minimum=self.draw(st.sampled_from((1, 0)))))
        self.edge(first, middle)
        fork = self.add_node(place)
        for goal in (first, first, last):
            self.edge(fork, self.strand(goal, inside))
        return fork

    def fan(self, then: str, place: _Place) -> str:
        """A node that sends any number of branches through one strand, and their sync point."""
        # Wide fans only where nothing multiplies them.
        wide = not (place.forked or place.looped) and self.chance(4)
        size = self.draw(
            st.integers(5, max(5, self.features.max_fan)) if wide else st.integers(0, 4)
        )
        ids = [f"b{number}" for number in range(size)] if self.draw(st.booleans()) else []
        policy = self.policy(then, place, max(size, 1), ids)
        if size == 0 and (self.draw(st.booleans()) or not self.features.raising):
            policy = replace(policy, minimum=0)
        sync = self.add_sync(policy)
        scripts = self.draw(st.integers(1, 3))
        hedged = place.hedged and policy.stragglers == "cancel"
        inside = _Place(True, False, place.looped, hedged=hedged)
        goal = sync
        if self.draw(st.booleans()):
            goal = self.step(sync, inside) if wide else self.strand(sync, inside)
        visits = tuple(
            Visit(self.writes(inside), ticks=self.ticks(), asks=self.asks()) for _ in range(scripts)
        )
        worker = self.add_node(inside, visits=visits, on_error="record")
        self.edge(worker, goal)
        sends = tuple(self.send(worker, number, ids) for number in range(size))
        if self.draw(st.booleans()):
            fork = self.add_node(place)
            self.links.append(Router(fork, (sends,), (worker,)))
        else:
            fork = self.add_node(place, visits=(Visit(goto=sends),), targets=(worker,))
        self.belongs(sync, fork)
        self.goes_on(sync, then, place, fork)
        return fork

    def send(self, worker: str, number: int, ids: list[str]) -> Sent:
        arg = self.draw(st.none() | st.integers(0, 9))
        weight = self.draw(st.sampled_from((1.0, 0.5, 2.0)))
        after: tuple[str, ...] = ()
        if ids and self.chance(2):
            # Anything in a fixed shuffle that comes earlier: no cycles, and not always path order.
            rank = [(7 * place) % (len(ids) + 1) for place in range(len(ids))]
            lower = [name for place, name in enumerate(ids) if rank[place] < rank[number]]
            after = tuple(lower[:2])
        return Sent(worker, ids[number] if ids else None, after, weight, arg)

    def loop(self, then: str, place: _Place) -> str:
        """A strand that is gone through once, twice or three times."""
        turn = self.add_node(replace(place, looped=True))
        head = self.strand(turn, replace(place, looped=True, hedged=False))
        again = self.draw(st.integers(0, 2))
        self.links.append(Router(turn, ((head,),) * again + ((then,),), (head, then)))
        return head

    def way_out(self, then: str, place: _Place) -> str:
        """A node that goes on, or leaves for END."""
        if then == END:
            return self.step(then, place)
        name = self.add_node(place)
        leave: tuple[Target, ...] = self.draw(st.sampled_from(((END,), ())))  # both end a branch
        out = (leave, (then,)) if self.draw(st.booleans()) else ((then,), leave)
        self.links.append(Router(name, out, (then, END)))
        return name

    def choice(self, then: str, place: _Place) -> str:
        """A node whose Command takes one of two ways to the same place."""
        ways = (self.step(then, place), self.step(then, place))
        visits = tuple(
            Visit(self.writes(place), goto=(way,), ticks=self.ticks())
            for way in self.draw(st.permutations(ways))
        )
        return self.add_node(place, visits=visits, targets=ways)

    def spawn(self, then: str, place: _Place) -> str:
        """A node that goes on and sends a strand of its own to END, which nobody gathers."""
        if not place.forked:
            # From here on a sibling may be running until the end of the run, so what follows, which
            # has been drawn already, would have had to be drawn for a forked place.
            return self.step(then, place)
        side = self.step(END, _Place(True, False, place.looped))
        name = self.add_node(place)
        for target in self.draw(st.permutations((then, side))):
            self.edge(name, target)
        return name

    def subgraph(self, then: str, place: _Place) -> str:
        name = self.fresh("g")
        calm = replace(
            CALM,
            live=False,
            subgraphs=False,
            failures=False,
            asking=False,
            max_nodes=3,
            max_fan=5,
        )
        inner = _author(self.draw, calm, prefix=name, depth=self.depth + 1)
        if not place.exclusive:
            inner = replace(inner, nodes=tuple(_without_exclusive(node) for node in inner.nodes))
        self.nodes.append(Node(name, subgraph=inner))
        self.edge(name, then)
        return name

    def policy(self, then: str, place: _Place, width: int, ids: list[str] | None = None) -> Policy:
        if not self.features.partial or self.draw(st.booleans()):
            return Policy(minimum=self.draw(st.sampled_from((1, 0))))
        some = (ids or [])[:3]
        names = tuple((name, 0.5 if len(some) > 1 else 1.0) for name in some)
        counts: tuple[Quorum, ...] = (1, width, AtLeast(1), AtLeast(2), AtLeast(width))
        quorum: Quorum = self.draw(
            st.sampled_from(("all", "any", *counts, 0.5, 0.75, Weights(names)))
        )
        if quorum == Weights(()):
            quorum = "any"
        late = self.draw(st.sampled_from(("drop", "merge", "next_round")))
        on_timeout = self.draw(st.sampled_from(("proceed", "raise", "node")))
        if on_timeout == "node":
            on_timeout = self.step(then, place)
        elif on_timeout == "raise" and not self.features.raising:
            on_timeout = "proceed"
        return Policy(
            quorum=quorum,
            grace=self.draw(st.sampled_from((0, 1.25, 4.25))),
            timeout=self.draw(st.sampled_from((None, 3.125, 12.125))),
            timeout_from=self.draw(st.sampled_from(("fork", "first_arrival"))),
            on_timeout=on_timeout,
            minimum=self.draw(st.integers(0, 2)),
            stragglers=self.draw(st.sampled_from(("cancel", "detach"))),
            late=late,
        )


def _without_exclusive(node: Node) -> Node:
    visits = tuple(
        replace(visit, writes=tuple(w for w in visit.writes if w.channel not in ("one", "two")))
        for visit in node.visits
    )
    return replace(node, visits=visits)


def _author(draw: Any, features: Features, prefix: str = "", depth: int = 0) -> Program:
    author = _Author(draw, features, prefix, depth)
    head = author.strand(END, _Place())
    author.edge(START, head)
    channels = CHANNELS + (LIVE if author.live else ())
    given: tuple[Write, ...] = ()
    if depth == 0:
        given = tuple(
            Write(name, draw(st.integers(0, 5)))
            for name in draw(st.lists(st.sampled_from(("one", "list", "sum")), unique=True))
        )
    return Program(channels, tuple(author.nodes), tuple(author.links), tuple(author.syncs), given)


@st.composite
def programs(draw: Any, features: Features = CALM) -> Program:
    """Programs that compile; the grammar gives each sync point the fork that is meant for it."""
    return _author(draw, features)


@dataclass(frozen=True)
class Invalid:
    """A program with one fault, and what the fault is."""

    fault: str
    program: Program


def _swap(program: Program, old: object, new: Edge | Router) -> Program:
    return replace(program, links=tuple(new if link is old else link for link in program.links))


def _chain(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(source, target) for source, target in itertools.pairwise(names))


def _diamond(program: Program, policy: Policy, tail: tuple[Edge | Router, ...] = ()) -> Program:
    """The program with a fork of two and its sync point between START and the first node."""
    first = next(link for link in program.links if isinstance(link, Edge) and link.source == START)
    added = (*_chain(START, "xf"), *_chain("xf", "xa", "xs"), *_chain("xf", "xb", "xs"), *tail)
    kept = tuple(link for link in program.links if link is not first)
    nodes = (*program.nodes, Node("xf"), Node("xa"), Node("xb"))
    entry = (Edge("xs", first.target),)
    return replace(
        program,
        nodes=nodes,
        syncs=(*program.syncs, SyncPoint("xs", policy)),
        links=(*added, *entry, *kept),
    )


_IMPOSSIBLE = (
    Policy(quorum=0),
    Policy(quorum=-1),
    Policy(quorum=0.0),
    Policy(quorum=1.5),
    Policy(quorum=float("nan")),
    Policy(quorum=Weights((("xa", 0.25), ("xb", 0.25)))),
    Policy(grace=-1),
    Policy(timeout=-1),
    Policy(minimum=-1),
    Policy(on_timeout="nowhere", timeout=1),
)


def _faults(program: Program) -> dict[str, Program]:
    """The program with one thing broken, in every way there is."""
    links = program.links
    first = next(link for link in links if isinstance(link, Edge) and link.source == START)
    head = first.target
    extra = (*program.nodes, Node("x"))
    straight = replace(program, nodes=extra, links=(Edge(START, "x"), Edge("x", head), *links[:-1]))
    assert links[-1] is first
    back = Router("xt", (("xa",), (head,)), ("xa", head))
    faults = {
        "unknown target of an edge": replace(program, links=(*links, Edge(head, "nowhere"))),
        "unknown source of an edge": replace(program, links=(*links, Edge("nowhere", head))),
        "unknown target of a router": replace(
            program, links=(*links, Router(head, (("nowhere",),), ("nowhere",)))
        ),
        "unknown target of a Command": replace(
            program, nodes=(*program.nodes[:-1], replace(_last(program), targets=("nowhere",)))
        ),
        "unknown on_error node": replace(
            straight, nodes=(*program.nodes, Node("x", on_error="nowhere"))
        ),
        "unreachable node": replace(program, nodes=extra, links=(*links, Edge("x", END))),
        "node without a way to END": replace(program, nodes=extra, links=(*links, Edge(head, "x"))),
        "circle without a way to END": replace(
            program, nodes=extra, links=(*links, Edge(head, "x"), Edge("x", "x"))
        ),
        "duplicate edge": replace(straight, links=(*straight.links, Edge("x", head))),
        "two nodes of one name": replace(program, nodes=(*program.nodes, program.nodes[0])),
        "a node and a sync point of one name": replace(
            program, syncs=(*program.syncs, SyncPoint(program.nodes[0].name))
        ),
        "edge out of END": replace(program, links=(*links, Edge(END, head))),
        "edge into START": replace(program, links=(*links, Edge(head, START))),
        "nothing after START": replace(program, links=links[:-1]),
        "sync point outside any fork": replace(
            program,
            nodes=extra,
            syncs=(*program.syncs, SyncPoint("xs")),
            links=(*links[:-1], *_chain(START, "x", "xs", head)),
        ),
        "circle through a sync point that avoids its fork": replace(
            _diamond(program, Policy()),
            nodes=(*_diamond(program, Policy()).nodes, Node("xt")),
            links=tuple(
                link
                for link in _diamond(program, Policy(), (Edge("xs", "xt"), back)).links
                if link != Edge("xs", head)
            ),
        ),
        "sync point of an unknown fork": _forked(program, "nowhere"),
        "sync point of a fork that is not before it": _forked(program, "xa"),
        "sync point that leads nowhere": replace(
            _diamond(program, Policy()),
            links=tuple(
                link
                for link in (*_diamond(program, Policy()).links, Edge(START, head))
                if link != Edge("xs", head)
            ),
        ),
        "live channel that is ordered": replace(
            program, channels=(*program.channels, Channel("wrong", "live list"))
        ),
        "live channel that declares no laws": replace(
            program, channels=(*program.channels, Channel("wrong", "live lawless"))
        ),
    }
    for policy in _IMPOSSIBLE:
        faults[f"impossible {policy}"] = _diamond(program, policy)
    return faults


def _forked(program: Program, fork: str) -> Program:
    broken = _diamond(program, Policy())
    return replace(broken, syncs=(*program.syncs, SyncPoint("xs", fork=fork)))


def _last(program: Program) -> Node:
    return program.nodes[-1]


@st.composite
def invalid_programs(draw: Any) -> Invalid:
    """A valid program with one thing broken, which `compile()` refuses with a `PlaitError`."""
    features = replace(CALM, subgraphs=False, live=False, max_nodes=4, max_fan=5)
    faults = _faults(draw(programs(features)))
    fault = draw(st.sampled_from(sorted(faults)))
    return Invalid(fault, faults[fault])
