"""What a user writes: the graph, its policies, and everything that ``compile()`` refuses.

``Graph.compile`` turns a graph into a :class:`Plan`, which is immutable and may be shared between
runs. All that can be known before a run is worked out here once: routing tables, which fork a
sync point belongs to, and from where it can still be reached.
"""

from __future__ import annotations

import enum
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias

import typing_extensions

from .errors import GraphError
from .events import NO_ARGUMENT, NodeName, Target, Writes
from .state import Schema
from .topology import immediate_dominators, predecessors, reachable, reaching

if TYPE_CHECKING:
    import anyio

    from .flow import Flow
    from .store import Store

__all__ = [
    "ALL",
    "ANY",
    "END",
    "START",
    "Arrival",
    "Command",
    "Graph",
    "Join",
    "NodeSpec",
    "Plan",
    "Retry",
    "Router",
    "Send",
    "SyncPointSpec",
    "Vertex",
]

START: Final = "__start__"
"""Where every run begins."""

END: Final = "__end__"
"""Where every branch ends; the last sync point, which waits for all of them."""

N = typing_extensions.TypeVar("N", default=str)


# -- what a user passes and returns -----------------------------------------------------------


class Send:
    """A way on to ``node`` with an argument of its own.

    Args:
        node: the node, sync point or ``END`` to go to.
        arg: what the node is called with in place of the state; by default it gets the state.
        id: a name for the branch, unique among its siblings.
        after: the ids of siblings; the branch is held until they have ended or arrived, and
            then sees what they wrote.
        weight: what the branch counts for where a quorum is a share; above 0.
    """

    __slots__ = ("after", "arg", "id", "node", "weight")

    def __init__(
        self,
        node: NodeName,
        arg: Any = NO_ARGUMENT,
        *,
        id: str | None = None,  # noqa: A002 - the word that the field uses
        after: str | Iterable[str] = (),
        weight: float = 1.0,
    ) -> None:
        self.node = node
        self.arg = arg
        self.id = id
        self.after = (after,) if isinstance(after, str) else tuple(after)
        self.weight = weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Send) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # arguments may be of any type

    def __repr__(self) -> str:
        parts = [repr(self.node)]
        if self.arg is not NO_ARGUMENT:
            parts.append(repr(self.arg))
        if self.id is not None:
            parts.append(f"id={self.id!r}")
        if self.after:
            parts.append(f"after={self.after!r}")
        if self.weight != 1.0:
            parts.append(f"weight={self.weight!r}")
        return f"Send({', '.join(parts)})"


Goto: TypeAlias = NodeName | Send | Sequence[NodeName | Send]


@dataclass(frozen=True)
class Command(Generic[N]):
    """What a node returns to write and to choose the way on in one.

    Annotate the node ``-> Command[Literal["a", "b"]]``, or add it with ``targets=["a", "b"]``, so
    that the graph knows where it may go.
    """

    update: Mapping[str, Any] | None = None
    """The writes, as a node would return them."""
    goto: Goto = ()
    """Where to go, in addition to the node's own edges."""


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is repeated, and how long it waits before that.

    The delay before attempt n + 1 is ``initial * factor ** (n - 1)`` seconds, at most ``maximum``;
    with ``jitter`` it is drawn evenly from between nothing and that ("full jitter": Brooker,
    *Exponential backoff and jitter*, 2015), so that branches which failed together do not return
    together.
    """

    attempts: int = 3
    """How many attempts in all, from 1."""
    initial: float = 0.5
    """Seconds before the second attempt."""
    factor: float = 2.0
    maximum: float = 60.0
    """The longest delay, in seconds."""
    jitter: bool = True
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool] = Exception
    """The errors worth repeating, or a function that says so."""

    def repeats(self, error: Exception) -> bool:
        """Whether this error is worth another attempt."""
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return self.on(error)

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after the failed attempt of this number, from 1."""
        # Beyond 2**64 the power only overflows; `maximum` has long taken over.
        longest = min(self.maximum, self.initial * self.factor ** min(attempt - 1, 64))
        return longest * random() if self.jitter else longest


class _Quorum(enum.Enum):
    ALL = "all"
    ANY = "any"

    def __repr__(self) -> str:
        return self.name


ALL: Final = _Quorum.ALL
"""The quorum of every branch."""

ANY: Final = _Quorum.ANY
"""The quorum of the first branch."""


class Arrival(typing.NamedTuple):
    """A branch that has arrived, as a quorum that is a predicate sees it."""

    id: str | None
    node: NodeName
    """The first node of the branch."""
    weight: float
    writes: Writes
    """What the branch wrote since the fork, in order."""


Quorum: TypeAlias = (
    _Quorum | int | float | Mapping[str, float] | Callable[[tuple[Arrival, ...]], bool]
)


@dataclass(frozen=True)
class Join:
    """The whole policy of a sync point."""

    quorum: Quorum = ALL
    """How many arrivals are enough: ``ALL``, ``ANY``, a count, a share (a float above 0 and up to
    1, of the branches' weights), a weight for each ``Send`` id or first node (enough when those
    that have arrived add up to 1), or a predicate over the arrivals."""
    grace: float = 0.0
    """Seconds to go on waiting once the quorum is there."""
    timeout: float | None = None
    """Seconds until the sync point opens with what there is; ``None`` for no limit."""
    timeout_from: Literal["fork", "first_arrival"] = "fork"
    on_timeout: str = "proceed"
    """``"proceed"``, ``"raise"``, or the name of a node to go to."""
    minimum: int = 1
    """The fewest arrivals to proceed with; below it, as ``on_timeout="raise"`` or its node."""
    stragglers: Literal["cancel", "detach"] = "cancel"
    late: Literal["drop", "merge", "next_round"] = "drop"
    clock_on_interrupt: Literal["pause", "run"] = "pause"

    def label(self) -> str:
        """The policy in a few words, for drawings."""
        quorum = self.quorum
        parts = []
        if isinstance(quorum, float):
            parts.append(f"{quorum:.0%}")
        elif isinstance(quorum, _Quorum):
            parts.append(quorum.value)
        elif isinstance(quorum, int):
            parts.append(f"{quorum} of them")
        elif isinstance(quorum, Mapping):
            parts.append("weights")
        else:
            parts.append(getattr(quorum, "__name__", "predicate").strip("<>"))
        if self.grace:
            parts.append(f"grace {self.grace:g} s")
        if self.timeout is not None:
            parts.append(f"timeout {self.timeout:g} s")
            parts.append(f"then {self.on_timeout}")
        if self.minimum != 1:
            parts.append(f"minimum {self.minimum}")
        if self.stragglers != "cancel":
            parts.append(self.stragglers)
        if self.late != "drop":
            parts.append(f"late {self.late.replace('_', ' ')}")
        return ", ".join(parts)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _join_faults(join: Join) -> list[str]:
    """What is impossible about a policy, whatever the graph."""
    faults = []
    quorum = join.quorum
    if isinstance(quorum, _Quorum):
        pass
    elif isinstance(quorum, bool) or not (
        isinstance(quorum, (int, float, Mapping)) or callable(quorum)
    ):
        faults.append(f"quorum={quorum!r} is none of ALL, ANY, count, share, weights, predicate")
    elif isinstance(quorum, int):
        if quorum < 1:
            faults.append(f"quorum={quorum} is below 1: a count begins at 1 (use ANY or ALL)")
    elif isinstance(quorum, float):
        if not 0 < quorum <= 1:
            faults.append(f"quorum={quorum} is no share: give a float above 0 and up to 1")
    elif isinstance(quorum, Mapping):
        if not all(_is_number(weight) and weight >= 0 for weight in quorum.values()):
            faults.append("every weight of the quorum must be a finite number, 0 or more")
        elif sum(quorum.values()) < 1:
            faults.append(
                f"the quorum's weights add up to {sum(quorum.values()):g}, and it is met at 1: "
                "it could never be met"
            )
    if not (_is_number(join.grace) and join.grace >= 0):
        faults.append(f"grace={join.grace!r} must be seconds, 0 or more")
    if join.timeout is not None and not (_is_number(join.timeout) and join.timeout > 0):
        faults.append(f"timeout={join.timeout!r} must be seconds above 0, or None")
    if isinstance(join.minimum, bool) or not isinstance(join.minimum, int) or join.minimum < 0:
        faults.append(f"minimum={join.minimum!r} must be a count, 0 or more")
    for name, value, allowed in (
        ("timeout_from", join.timeout_from, ("fork", "first_arrival")),
        ("stragglers", join.stragglers, ("cancel", "detach")),
        ("late", join.late, ("drop", "merge", "next_round")),
        ("clock_on_interrupt", join.clock_on_interrupt, ("pause", "run")),
    ):
        if value not in allowed:
            faults.append(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")
    if not isinstance(join.on_timeout, str):
        faults.append(f"on_timeout={join.on_timeout!r} must be 'proceed', 'raise' or a node")
    return faults


# -- the plan ---------------------------------------------------------------------------------


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
    """The vertex whose branches it gathers; see ``_Compiler._find_forks``."""
    first: bool
    """No other sync point of the same fork leads to it."""
    last: bool
    """Every other sync point of the same fork leads to it."""


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


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph, validated and compiled: immutable, shareable between runs."""

    name: str
    schema: Schema
    vertices: Mapping[NodeName, Vertex]
    sync_points: Mapping[int, SyncPointSpec]
    """By bit."""


# -- the builder ------------------------------------------------------------------------------


@dataclass
class _Way:
    source: NodeName
    edge: NodeName | None = None
    router: Router | None = None


@dataclass
class Graph:
    """Nodes, edges, conditional edges and sync points over a state schema.

    The methods that build it return the graph, and keep what is wrong for ``compile()``, which
    lists every fault in one ``GraphError``.

    Args:
        schema: a pydantic model, a dataclass or a TypedDict.
        name: for messages and drawings; by default the schema's name.
    """

    schema: type
    name: str = ""
    _nodes: dict[NodeName, NodeSpec] = field(default_factory=dict, init=False, repr=False)
    _joins: dict[NodeName, Join] = field(default_factory=dict, init=False, repr=False)
    _forks: dict[NodeName, NodeName] = field(default_factory=dict, init=False, repr=False)
    _ways: list[_Way] = field(default_factory=list, init=False, repr=False)
    _edges: set[tuple[NodeName, NodeName]] = field(default_factory=set, init=False, repr=False)
    _faults: list[str] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self.name = self.name or getattr(self.schema, "__name__", "graph")

    @typing.overload
    def add_node(
        self,
        node: Callable[..., Any] | Flow[Any],
        fn: None = ...,
        *,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        on_error: str = ...,
        pool: str | None = ...,
        targets: Sequence[NodeName] | None = ...,
        writes: Iterable[str] | None = ...,
    ) -> Graph: ...
    @typing.overload
    def add_node(
        self,
        node: NodeName,
        fn: Callable[..., Any] | Flow[Any],
        *,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        on_error: str = ...,
        pool: str | None = ...,
        targets: Sequence[NodeName] | None = ...,
        writes: Iterable[str] | None = ...,
    ) -> Graph: ...
    def add_node(
        self,
        node: NodeName | Callable[..., Any] | Flow[Any],
        fn: Callable[..., Any] | Flow[Any] | None = None,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        on_error: str = "raise",
        pool: str | None = None,
        targets: Sequence[NodeName] | None = None,
        writes: Iterable[str] | None = None,
    ) -> Graph:
        """Add a node: ``add_node(fn)``, named after the function, or ``add_node(name, fn)``.

        Args:
            fn: ``node(state)`` or ``node(state, ctx)``. An ``async def`` is awaited; a ``def``
                runs in a worker thread, which nothing can cancel; a Flow runs as a subgraph.
                It returns a mapping of writes, ``None``, or a ``Command``.
            retry: which failures are repeated, and when. By default none.
            timeout: seconds for one attempt.
            on_error: once no attempt is left: ``"raise"`` fails the run, ``"record"`` ends the
                branch, any other value names the node to go on to (``ctx.error`` says why).
            pool: the name of the pool in which the node takes a place while it runs; see
                ``compile(pools=...)``.
            targets: where its ``Command(goto=...)`` may lead beyond its edges. By default read from
                the annotation: ``Command[Literal[...]]`` declares them, ``Command`` means
                anywhere, anything else nowhere.
            writes: the channels it may write, if that is to be checked. By default read from the
                annotation if that is a TypedDict.
        """
        if fn is None:
            if isinstance(node, str):
                self._faults.append(f"add_node({node!r}) has no function: add_node(name, fn)")
                return self
            fn = node
            name = getattr(fn, "__name__", None) or getattr(fn, "name", type(fn).__name__)
        else:
            name = typing.cast("str", node)
        if self._is_new_name(name, "node"):
            self._nodes[name] = self._spec(
                name, fn, retry, timeout, on_error, pool, targets, writes
            )
        return self

    def add_sync_point(
        self, name: NodeName, join: Join | None = None, *, fork: NodeName | None = None
    ) -> Graph:
        """Add a named barrier; by default it waits for all branches of its fork.

        Args:
            join: the policy.
            fork: the node, sync point or ``START`` whose branches it gathers; by default the last
                one before it that forks and whose branches no other sync point gathers.
        """
        if self._is_new_name(name, "sync point"):
            self._joins[name] = Join() if join is None else join
            if fork is not None:
                self._forks[name] = fork
        return self

    def add_edge(self, source: NodeName, target: NodeName) -> Graph:
        """Add an unconditional way from ``source`` to ``target``."""
        if (source, target) in self._edges:
            self._faults.append(
                f"the edge from {source!r} to {target!r} is there twice: remove one, "
                "or use Send to open two branches"
            )
        self._edges.add((source, target))
        self._ways.append(_Way(source, edge=target))
        return self

    def add_conditional_edges(
        self,
        source: NodeName,
        router: Callable[[Any], Any],
        targets: Sequence[NodeName] | Mapping[Any, NodeName] | None = None,
    ) -> Graph:
        """Let a function choose the way on from ``source``.

        Args:
            router: ``(state) -> name | Send | a list of them``; sync or async; pure. It sees the
                state after the node's own writes. Nothing or ``[]`` ends the branch there.
            targets: where it may lead, or a mapping of what it returns to nodes. By default
                read from an annotation ``-> Literal[...]``; else it may lead anywhere, which is
                correct, but makes a sync point slow to give up on a branch.
        """
        names = dict(targets) if isinstance(targets, Mapping) else None
        declared: tuple[NodeName, ...] | None
        if targets is None:
            declared = _literals(_return_annotation(router))
        else:
            declared = tuple(dict.fromkeys(names.values() if names is not None else targets))
        label = getattr(router, "__name__", type(router).__name__)
        makes = _what_it_makes(router)
        self._ways.append(_Way(source, router=Router(router, label, declared, names, makes)))
        return self

    def compile(
        self,
        store: Store | None = None,
        *,
        max_concurrency: int | None = None,
        pools: Mapping[str, int | anyio.CapacityLimiter] | None = None,
        debug: bool = False,
    ) -> Flow[Any]:
        """Check the graph and make it runnable.

        Args:
            store: where threads are kept; by default in memory, for as long as the Flow lives.
            max_concurrency: how many nodes of one run may be running at the same time.
            pools: how many nodes may be in each named pool at the same time, over all runs.
            debug: log every event, and check after each call that the node did not change the
                state it was given.

        Raises:
            GraphError: lists everything that is wrong, each with what to do about it.
        """
        from .flow import Flow

        plan = self.plan(pools=tuple(pools or ()))
        return Flow(plan, store, max_concurrency=max_concurrency, pools=pools, debug=debug)

    def plan(self, *, pools: Sequence[str] = ()) -> Plan:
        """Check the graph and work out its plan. Raises ``GraphError``."""
        schema = Schema(self.schema, self.name)
        faults = [*self._faults, *self._name_faults(), *_schema_faults(schema)]
        faults += self._policy_faults(schema, pools)
        if faults:  # the rest supposes that every name is known
            raise GraphError(self.name, faults)
        return _Compiler(
            self.name, schema, self._nodes, self._joins, self._forks, self._ways
        ).plan()

    # -- checks that need no topology ---------------------------------------------------------

    def _is_new_name(self, name: NodeName, kind: str) -> bool:
        if name in (START, END):
            self._faults.append(f"{name!r} is reserved: give the {kind} another name")
        elif name in ("raise", "record", "proceed"):
            self._faults.append(f"{name!r} is a word of the policies: give the {kind} another name")
        elif name in self._nodes or name in self._joins:
            self._faults.append(f"there are two nodes or sync points named {name!r}: rename one")
        else:
            return True
        return False

    def _spec(
        self,
        name: NodeName,
        fn: Callable[..., Any] | Flow[Any],
        retry: Retry | None,
        timeout: float | None,
        on_error: str,
        pool: str | None,
        targets: Sequence[NodeName] | None,
        writes: Iterable[str] | None,
    ) -> NodeSpec:
        kind: Literal["async", "thread", "flow"]
        takes_context = False
        annotation: Any = None
        if isinstance(getattr(fn, "plan", None), Plan):
            kind = "flow"
        elif not callable(fn):
            self._faults.append(f"node {name!r} is {fn!r}, which is no function")
            kind = "async"
        else:
            kind = "async" if _is_async(fn) else "thread"
            parameters = _required_parameters(fn)
            takes_context = parameters == 2
            if parameters not in (1, 2):
                self._faults.append(
                    f"node {name!r} takes {parameters} arguments: it is called as "
                    "node(state) or node(state, ctx)"
                )
            annotation = _return_annotation(fn)
        declared = _command_targets(annotation) if targets is None else tuple(targets)
        certain: Iterable[str] = ()
        if writes is not None:
            certain = writes = frozenset(writes)
        elif typing_extensions.is_typeddict(annotation) and annotation is not self.schema:
            writes, certain = annotation.__annotations__, annotation.__required_keys__
        return NodeSpec(
            name=name,
            fn=typing.cast("Callable[..., Any]", fn),
            kind=kind,
            takes_context=takes_context,
            retry=retry,
            timeout=timeout,
            on_error=on_error,
            pool=pool,
            targets=declared,
            writes=None if writes is None else frozenset(writes),
            certain=frozenset(certain),
        )

    def _name_faults(self) -> Iterable[str]:
        known = {*self._nodes, *self._joins}
        for way in self._ways:
            source, targets = way.source, [way.edge]
            what = f"the edge {source!r} -> {way.edge!r}"
            if way.router is not None:
                targets = list(way.router.targets or ())
                what = f"the router {way.router.name!r} after {source!r}"
            if source == END:
                yield f"{what} starts at END, where every branch has ended"
            elif source != START and source not in known:
                yield _unknown(what, source, known)
            for target in targets:
                if target == START:
                    yield f"{what} leads to START, which only begins a run"
                elif target != END and target not in known:
                    yield _unknown(what, target, known)
        for spec in self._nodes.values():
            for target in spec.targets or ():
                if target not in known and target != END:
                    yield _unknown(f"a Command of node {spec.name!r}", target, known)
            if spec.on_error not in ("raise", "record") and spec.on_error not in known:
                yield _unknown(f"on_error of node {spec.name!r}", spec.on_error, known)
        for name, fork in self._forks.items():
            if fork != START and fork not in known:
                yield _unknown(f"fork= of sync point {name!r}", fork, known)
        for name, join in self._joins.items():
            if join.on_timeout not in ("proceed", "raise") and join.on_timeout not in known:
                yield _unknown(f"on_timeout of sync point {name!r}", join.on_timeout, known)
        if not any(way.source == START for way in self._ways):
            yield "nothing begins: add_edge(START, ...)"

    def _policy_faults(self, schema: Schema, pools: Sequence[str]) -> Iterable[str]:
        for name, join in self._joins.items():
            for fault in _join_faults(join):
                yield f"sync point {name!r}: {fault}"
            if join.late == "merge" and not any(
                channel.reducer is not None and channel.reducer.law_class == "lattice"
                for channel in schema.channels.values()
            ):
                yield (
                    f"sync point {name!r} has late='merge', which needs a channel with a lattice "
                    "reducer (such as reducers.union), and the schema has none"
                )
        for spec in self._nodes.values():
            retry, timeout = spec.retry, spec.timeout
            if timeout is not None and not (_is_number(timeout) and timeout > 0):
                yield f"node {spec.name!r}: timeout={timeout!r} must be seconds above 0"
            if retry is not None and not (
                isinstance(retry.attempts, int)
                and retry.attempts >= 1
                and all(map(_is_number, (retry.initial, retry.factor, retry.maximum)))
                and min(retry.initial, retry.factor, retry.maximum) >= 0
            ):
                yield (
                    f"node {spec.name!r}: {retry!r} needs at least 1 attempt, and delays of 0 "
                    "seconds or more"
                )
            if spec.pool is not None and spec.pool not in pools:
                yield (
                    f"node {spec.name!r} wants a place in pool {spec.pool!r}: "
                    f"compile(pools={{{spec.pool!r}: ...}})"
                )
            for channel in sorted((spec.writes or frozenset()) - set(schema.channels)):
                yield _unknown(
                    f"node {spec.name!r} declares that it writes", channel, schema.channels
                )


def _unknown(what: str, name: str | None, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "add it, or correct the name"
    return f"{what} names {name!r}, which is not there: {hint}"


def _schema_faults(schema: Schema) -> Iterable[str]:
    for channel in schema.channels.values():
        reducer = channel.reducer
        if reducer is not None and reducer.live and reducer.law_class == "ordered":
            yield (
                f"channel {channel.name!r} is live, but its reducer {reducer.name!r} depends on "
                "the order of the writes: use an order-free one (such as reducers.union), and "
                "declare its laws"
            )


# -- reading functions ------------------------------------------------------------------------


def _is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - the method itself is wanted
    )


def _required_parameters(fn: Callable[..., Any]) -> int:
    """How many positional arguments a function wants; those with a default it does not get."""
    if inspect.isfunction(fn):  # inspect.signature takes some 20 µs
        code, optional = fn.__code__, len(fn.__defaults__ or ())
        wanted = code.co_argcount - optional
        if wanted:
            return wanted
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # some builtins have none
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wanted = sum(p.default is p.empty for p in positional)
    if wanted == 0 and (positional or any(p.kind is p.VAR_POSITIONAL for p in parameters)):
        return 1
    return wanted


def _return_annotation(fn: Any) -> Any:
    """The resolved return annotation; the bare text where it cannot be resolved."""
    if not hasattr(fn, "__annotations__") and not inspect.isfunction(fn):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004
    annotation = getattr(fn, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        try:
            return eval(annotation, getattr(fn, "__globals__", {}))
        except Exception:  # names of a function's scope, or for type checkers only
            return annotation
    return annotation


def _literals(annotation: Any) -> tuple[NodeName, ...] | None:
    """The names in an annotation made of Literals, or None if it says more or less than that."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return tuple(str(name) for name in typing.get_args(annotation))
    if origin in (list, tuple, Sequence, typing.Union) or isinstance(annotation, _UnionType):
        found: list[NodeName] = []
        for argument in typing.get_args(annotation):
            names = () if argument is Ellipsis else _literals(argument)
            if names is None:
                return None
            found.extend(names)
        return tuple(found)
    return None


_UnionType: Final = type(int | str)


def _what_it_makes(router: Any) -> Literal["sends", "choice", "unknown"]:
    """What a router's annotation, or else its code, says about how many ways it takes.

    Only a default hangs on this (which fork a sync point belongs to), and ``fork=`` overrides it.
    """
    annotation = _return_annotation(router)
    if annotation is not None:
        if "Send" in str(annotation):
            return "sends"
        if annotation is str or typing.get_origin(annotation) is Literal:
            return "choice"
    code = getattr(inspect.unwrap(router), "__code__", None)
    todo = [code] if code is not None else []
    while todo:
        each = todo.pop()
        if "Send" in each.co_names or "Send" in each.co_freevars:
            return "sends"
        todo += [constant for constant in each.co_consts if inspect.iscode(constant)]
    return "unknown"


def _chain(dominators: Mapping[NodeName, NodeName], name: NodeName) -> list[NodeName]:
    """The dominators of a vertex, nearest first."""
    chain = []
    while dominators[name] != name:
        name = dominators[name]
        chain.append(name)
    return chain


def _command_targets(annotation: Any) -> tuple[NodeName, ...] | None:
    """Where a node's Command may lead, by its return annotation; None for anywhere."""
    if isinstance(annotation, str):  # could not be resolved
        return None if "Command" in annotation else ()
    if annotation is Command:
        return None
    if typing.get_origin(annotation) is Command:
        return _literals(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Union or isinstance(annotation, _UnionType):
        found: list[NodeName] = []
        for argument in typing.get_args(annotation):
            names = _command_targets(argument)
            if names is None:
                return None
            found.extend(names)
        return tuple(found)
    return ()


# -- compiling --------------------------------------------------------------------------------


class _Compiler:
    """Works out one plan; what needs the topology is checked here."""

    def __init__(
        self,
        name: str,
        schema: Schema,
        nodes: Mapping[NodeName, NodeSpec],
        joins: Mapping[NodeName, Join],
        forks: Mapping[NodeName, NodeName],
        ways: Sequence[_Way],
    ) -> None:
        self.name = name
        self.given_forks = forks
        self.schema = schema
        self.nodes = nodes
        self.joins = joins
        self.ways: dict[NodeName, list[Target | Router]] = {
            vertex: [] for vertex in (START, *nodes, *joins, END)
        }
        for way in ways:
            if way.router is not None:
                self.ways[way.source].append(way.router)
            elif way.edge is not None:
                self.ways[way.source].append(Target(way.edge))
        self.everywhere = [vertex for vertex in self.ways if vertex != START]
        declared = {vertex: self.declared(vertex) for vertex in self.ways}
        self.successors = {
            vertex: self.everywhere if self.is_open(vertex) else found
            for vertex, found in declared.items()
        }
        self.closed = self._closed(declared)

    def is_open(self, vertex: NodeName) -> bool:
        """Whether a branch may go on from here to anywhere."""
        node = self.nodes.get(vertex)
        return (node is not None and node.targets is None) or any(
            isinstance(way, Router) and way.targets is None for way in self.ways[vertex]
        )

    def declared(self, vertex: NodeName) -> list[NodeName]:
        """The successors that are declared by name, each once."""
        found: dict[NodeName, None] = {}
        for way in self.ways[vertex]:
            found.update(
                dict.fromkeys(way.targets or () if isinstance(way, Router) else (way.node,))
            )
        node, join = self.nodes.get(vertex), self.joins.get(vertex)
        if node is not None:
            found.update(dict.fromkeys(node.targets or ()))
            if node.on_error not in ("raise", "record"):
                found[node.on_error] = None
        if join is not None and join.on_timeout not in ("proceed", "raise"):
            found[join.on_timeout] = None
        return list(found)

    def _closed(
        self, declared: Mapping[NodeName, list[NodeName]]
    ) -> dict[NodeName, list[NodeName]]:
        """The graph as a reader takes it: what goes anywhere leads where nothing else does."""
        entered = {target for found in declared.values() for target in found}
        loose = [vertex for vertex in self.everywhere if vertex not in entered]
        return {
            vertex: [*found, *loose] if self.is_open(vertex) else found
            for vertex, found in declared.items()
        }

    def plan(self) -> Plan:
        faults = list(self._way_faults())
        if faults:  # dominators suppose that everything is reachable
            raise GraphError(self.name, faults)
        forks, faults = self._find_forks(self.successors)
        if not faults:
            specs = self._sync_points(forks)
            faults = [*self._sync_point_faults(specs), *self._conflict_faults()]
        if faults:
            raise GraphError(self.name, faults)
        reach = dict.fromkeys(self.ways, 0)
        backwards = predecessors(self.successors)
        for spec in specs.values():
            for vertex in (spec.name, *reaching(backwards, spec.name, avoiding=spec.fork)):
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
            edges = self.declared(name)
            goto = None if node.targets is None else frozenset(edges)
        return Vertex(
            name=name,
            node=node,
            sync_point=spec,
            ways=ways,
            targets=targets if len(targets) == len(ways) else None,
            goto=goto,
            owns=owns,
            reach=reach,
        )

    def _way_faults(self) -> Iterable[str]:
        found = reachable(self.successors, [START])
        kinds = {**dict.fromkeys(self.nodes, "node"), **dict.fromkeys(self.joins, "sync point")}
        ending = reachable(predecessors(self.successors), [END])
        for name, kind in kinds.items():
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
        chains = {name: _chain(dominators, name) for name in self.joins}
        for name in sorted(self.joins, key=lambda each: len(chains[each])):  # outermost first
            given = self.given_forks.get(name)
            if given is not None:
                if given in chains[name]:
                    forks[name] = given
                else:
                    faults.append(
                        f"sync point {name!r} cannot gather the branches of fork {given!r}, since "
                        "not every way to it runs through there"
                    )
                continue
            certain, possible = self._candidates(name, chains[name], forks)
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
        self, name: NodeName, chain: Sequence[NodeName], forks: Mapping[NodeName, NodeName]
    ) -> tuple[NodeName | None, list[NodeName]]:
        """The last dominator that forks for certain, and before it those that might."""
        possible: list[NodeName] = []
        closed_by: NodeName | None = None
        for vertex in chain:
            if closed_by is not None:
                if vertex == closed_by:
                    closed_by = None
                continue
            forking = self._forking(vertex, name)
            if forking == "certain":
                return vertex, possible
            if forking == "possible":
                possible.append(vertex)
            closed_by = forks.get(vertex)  # a sync point closes its own fork
        return None, possible

    def _forking(self, vertex: NodeName, target: NodeName) -> Literal["certain", "possible", "no"]:
        """Whether a branch that passes ``vertex`` may become several on their way to ``target``."""
        edges, routers, fans = 0, 0, 0
        node = self.nodes.get(vertex)
        for way in self.ways[vertex]:
            if isinstance(way, Target):
                edges += self._is_before(way.node, target, vertex)
                continue
            found = [
                each
                for each in (way.targets if way.targets is not None else self.everywhere)
                if self._is_before(each, target, vertex)
            ]
            if found:
                routers += 1
                fans += way.makes == "sends" or (way.makes == "unknown" and found != [target])
                if way.makes == "sends":
                    return "certain"
        if edges + routers >= 2:
            return "certain"
        commands = node is not None and any(
            self._is_before(each, target, vertex) and each != target
            for each in (node.targets if node.targets is not None else self.everywhere)
        )
        return "possible" if fans or commands else "no"

    def _is_before(self, vertex: NodeName, target: NodeName, fork: NodeName) -> bool:
        return vertex == target or (vertex != fork and self._leads(vertex, target, fork))

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
                first=not any(ahead.values()),
                last=all(ahead.values()),
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
                opened = sum(self._is_before(target, name, fork) for target in self.declared(fork))
                for what, count in (("quorum", join.quorum), ("minimum", join.minimum)):
                    if isinstance(count, int) and count > opened:
                        yield (
                            f"sync point {name!r}: {what}={count} can never be met, since "
                            f"{fork!r} opens {opened} branches towards it"
                        )
            if self._leads(name, name, fork):
                yield (
                    f"a cycle leads from sync point {name!r} back to it without passing its fork "
                    f"{fork!r}, so that nothing could gather there again: lead it through {fork!r}"
                )
            if join.quorum is not ALL and closed.get(name, fork) != fork:
                opened_at = [each for each in self.ways if self.is_open(each)]
                yield (
                    f"sync point {name!r} would gather the branches of {fork!r} and not those of "
                    f"{closed[name]!r}, since {', '.join(map(repr, opened_at))} may lead "
                    "anywhere: declare the targets there, or say which with "
                    "add_sync_point(..., fork=...)"
                )

    def _conflict_faults(self) -> Iterable[str]:
        """Exclusive channels that two certain, parallel branches both declare to write."""
        for fork, ways in self.ways.items():
            targets = [way.node for way in ways if isinstance(way, Target)]
            if len(targets) < 2:
                continue
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
