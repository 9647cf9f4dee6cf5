"""What a user writes: nodes, edges, conditional edges and sync points over a schema.

``Graph.compile`` refuses all that can be refused before a run, and turns the rest into a
:class:`~plait.plan.Plan`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal

import typing_extensions

from .errors import GraphError
from .events import NodeName
from .plan import Compiler, NodeSpec, Plan, Router, Way
from .policy import END, START, Command, Join, Places, Retry, is_number, join_faults
from .state import Schema

if TYPE_CHECKING:
    import anyio

    from .codec import TypeRegistry
    from .flow import Flow
    from .store import Durability, Store

__all__ = ["Graph"]

S = typing_extensions.TypeVar("S", default=Any)


@dataclass
class Graph(Generic[S]):
    """Nodes, edges, conditional edges and sync points over a state schema.

    The methods that build it return the graph, and keep what is wrong for ``compile()``, which
    lists every fault in one ``GraphError``.

    Args:
        schema: a pydantic model, a dataclass or a TypedDict.
        name: for messages and drawings; by default the schema's name.
    """

    schema: type[S]
    name: str = ""
    _nodes: dict[NodeName, NodeSpec] = field(default_factory=dict, init=False, repr=False)
    _joins: dict[NodeName, Join] = field(default_factory=dict, init=False, repr=False)
    _forks: dict[NodeName, NodeName] = field(default_factory=dict, init=False, repr=False)
    _ways: list[Way] = field(default_factory=list, init=False, repr=False)
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
    ) -> Graph[S]: ...
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
    ) -> Graph[S]: ...
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
    ) -> Graph[S]:
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
        if isinstance(node, str):
            name = node
            if fn is None:
                self._faults.append(f"add_node({node!r}) has no function: add_node(name, fn)")
                return self
        else:
            fn = node
            name = str(getattr(fn, "__name__", None) or getattr(fn, "name", type(fn).__name__))
        if self._is_new_name(name, "node"):
            self._nodes[name] = self._spec(
                name, fn, retry, timeout, on_error, pool, targets, writes
            )
        return self

    def add_sync_point(
        self, name: NodeName, join: Join | None = None, *, fork: NodeName | None = None
    ) -> Graph[S]:
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

    def add_edge(self, source: NodeName, target: NodeName) -> Graph[S]:
        """Add an unconditional way from ``source`` to ``target``."""
        if (source, target) in self._edges:
            self._faults.append(
                f"the edge from {source!r} to {target!r} is there twice: remove one, "
                "or use Send to open two branches"
            )
        self._edges.add((source, target))
        self._ways.append(Way(source, edge=target))
        return self

    def add_conditional_edges(
        self,
        source: NodeName,
        router: Callable[[Any], Any],
        targets: Sequence[NodeName] | Mapping[Any, NodeName] | None = None,
    ) -> Graph[S]:
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
        self._ways.append(Way(source, router=Router(router, label, declared, names, makes)))
        return self

    def compile(
        self,
        store: Store | str | None = None,
        *,
        durability: Durability = "sync",
        types: Sequence[type] | TypeRegistry = (),
        interrupt_before: NodeName | Iterable[NodeName] = (),
        interrupt_after: NodeName | Iterable[NodeName] = (),
        max_interrupts: int = 2_000,
        max_concurrency: int | None = None,
        pools: Mapping[str, int | anyio.CapacityLimiter | Places] | None = None,
        debug: bool = False,
    ) -> Flow[S]:
        """Check the graph and make it runnable.

        Args:
            store: where threads are kept, or its URL; by default in memory, for as long as the
                Flow lives.
            durability: when an event is durable: ``"sync"``, before anything follows from it;
                ``"async"``, soon after, while the run goes on; ``"exit"``, when the run ends,
                whatever its end.
            types: what a durable store may keep beside Python's own types and those that the
                schema and the nodes' annotations name: types, or a registry of them.
            interrupt_before: nodes before which a branch is parked until somebody has answered; the
                answer may be anything, and nobody gets it.
            interrupt_after: nodes after which it is, when they have written and where they lead
                is decided.
            max_interrupts: how many interrupts of one thread may wait for an answer at the same
                time; one more is a ``LimitError``.
            max_concurrency: how many nodes of one run may be running at the same time.
            pools: how many nodes may be in each named pool at the same time, over all runs; or
                what they take a place in, ``ResourcePool.places(...)`` for example.
            debug: log every event, and check after each call that the node did not change the
                state it was given.

        Raises:
            GraphError: lists everything that is wrong, each with what to do about it.
        """
        import anyio

        from .flow import Flow
        from .store import Durability

        stops = {
            "interrupt_before": _names(interrupt_before),
            "interrupt_after": _names(interrupt_after),
        }
        faults = [
            _unknown(option, name, self._nodes)
            for option, names in stops.items()
            for name in sorted(names - self._nodes.keys())
        ]
        counts: dict[str, Any] = {"max_interrupts": max_interrupts}
        if max_concurrency is not None:
            counts["max_concurrency"] = max_concurrency
        counts |= {
            f"pools[{name!r}]": places
            for name, places in (pools or {}).items()
            if not isinstance(places, anyio.CapacityLimiter) and not hasattr(places, "place")
        }
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                faults.append(f"{name}={count!r:.80} must be a count, 1 or more")
        if isinstance(types, Sequence):
            given: Sequence[Any] = types
            strange = [each for each in given if not isinstance(each, type)]
            faults += [f"types has {each!r:.80}, which is no type" for each in strange]
        if durability not in typing.get_args(Durability):
            known = ", ".join(map(repr, typing.get_args(Durability)))
            faults.append(f"durability={durability!r:.80} must be one of {known}")
        return Flow(
            self.plan(pools=tuple(pools or ()), faults=faults),
            store,
            durability=durability,
            types=types,
            **stops,
            max_interrupts=max_interrupts,
            max_concurrency=max_concurrency,
            pools=pools,
            debug=debug,
        )

    def plan(self, *, pools: Sequence[str] = (), faults: Sequence[str] = ()) -> Plan:
        """Check the graph and work out its plan. Raises ``GraphError``, for ``faults`` as well."""
        schema = Schema(self.schema, self.name)
        faults = [*self._faults, *self._name_faults(), *_schema_faults(schema), *faults]
        faults += self._policy_faults(schema, pools)
        if faults:  # the rest supposes that every name is known
            raise GraphError(self.name, faults)
        return Compiler(self.name, schema, self._nodes, self._joins, self._forks, self._ways).plan()

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
        if writes is not None:
            writes = frozenset(writes)
        body: Any = fn
        # By position, which takes a third less than by name; a graph may have thousands.
        return NodeSpec(
            name,
            body,
            kind,
            takes_context,
            retry,
            timeout,
            on_error,
            pool,
            declared,
            writes,
            frozenset(certain),
        )

    def _name_faults(self) -> Iterable[str]:
        known = {*self._nodes, *self._joins}
        sources, aims = {START, *known}, {END, *known}
        for way in self._ways:
            source, router = way.source, way.router
            targets = (way.edge,) if router is None else router.targets or ()
            if source in sources and aims.issuperset(targets):
                continue
            what = (
                f"the edge {source!r} -> {way.edge!r}"
                if router is None
                else f"the router {router.name!r} after {source!r}"
            )
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
            for fault in join_faults(join):
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
            if timeout is not None and not (is_number(timeout) and timeout > 0):
                yield f"node {spec.name!r}: timeout={timeout!r} must be seconds above 0"
            if retry is not None and not (
                retry.attempts >= 1
                and all(map(is_number, (retry.initial, retry.factor, retry.maximum)))
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
            for channel in sorted((spec.writes or frozenset()).difference(schema.channels)):
                yield _unknown(
                    f"node {spec.name!r} declares that it writes", channel, schema.channels
                )


def _names(given: NodeName | Iterable[NodeName]) -> frozenset[NodeName]:
    return frozenset((given,) if isinstance(given, str) else given)


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
    if inspect.isfunction(fn) and fn.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # nearly all are; what else there is takes longer to find out
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
            return eval(_parsed(annotation), getattr(fn, "__globals__", {}))
        except Exception:  # names of a function's scope, or for type checkers only
            return annotation
    return annotation


@functools.lru_cache
def _parsed(annotation: str) -> CodeType:
    """An annotation's code: parsing takes some 8 µs, and many nodes have the same one."""
    return compile(annotation.lstrip(), "<annotation>", "eval")


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


def _command_targets(annotation: Any) -> tuple[NodeName, ...] | None:
    """Where a node's Command may lead, by its return annotation; None for anywhere."""
    if isinstance(annotation, str):  # could not be resolved
        return None if "Command" in annotation else ()
    if annotation is None:
        return ()
    if annotation is Command:
        return None
    origin = typing.get_origin(annotation)
    if origin is Command:
        return _literals(typing.get_args(annotation)[0])
    if origin is typing.Union or isinstance(annotation, _UnionType):
        found: list[NodeName] = []
        for argument in typing.get_args(annotation):
            names = _command_targets(argument)
            if names is None:
                return None
            found.extend(names)
        return tuple(found)
    return ()
