"""A graph whose nodes share a state."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import timedelta
from functools import partial
from inspect import isclass
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Self,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from plait_adapters.langgraph._internal._callables import coerce
from plait_adapters.langgraph._internal._constants import (
    BRANCH_TO,
    END,
    MISSING,
    NS_END,
    NS_SEP,
    START,
    TAG_HIDDEN,
    TASKS,
)
from plait_adapters.langgraph._internal._earlier import ONE_TRIGGER_EACH, join_triggers
from plait_adapters.langgraph._internal._fields import annotated_keys, is_pydantic_type, updates_of
from plait_adapters.langgraph._internal._langchain import is_runnable
from plait_adapters.langgraph._internal._unsupported import unsupported
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.channels.base import BaseChannel
from plait_adapters.langgraph.channels.ephemeral_value import EphemeralValue
from plait_adapters.langgraph.channels.last_value import LastValue, LastValueAfterFinish
from plait_adapters.langgraph.channels.named_barrier_value import (
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
)
from plait_adapters.langgraph.errors import (
    ErrorCode,
    InvalidUpdateError,
    ParentCommand,
    create_error_message,
)
from plait_adapters.langgraph.managed.base import ManagedValueSpec, is_managed_value
from plait_adapters.langgraph.pregel._read import PregelNode
from plait_adapters.langgraph.pregel._write import StaticWrite, Writer
from plait_adapters.langgraph.pregel.main import Pregel
from plait_adapters.langgraph.types import (
    All,
    CachePolicy,
    Checkpointer,
    Command,
    RetryPolicy,
    Send,
    TimeoutPolicy,
    TracePolicy,
    ensure_valid_checkpointer,
)
from plait_adapters.langgraph.typing import ContextT, InputT, NodeInputT, OutputT, StateT
from plait_adapters.langgraph.warnings import (
    LangGraphDeprecatedSinceV05,
    LangGraphDeprecatedSinceV10,
)

from ._branch import BranchSpec, BranchWriter
from ._node import StateNode, StateNodeSpec
from ._schema import ROOT, Field, fields_of, json_schema, warn_of_odd_schema

if TYPE_CHECKING:
    from plait_adapters.langgraph._internal._task import Task

    from .branches import BranchGraph

__all__ = ("CompiledStateGraph", "StateGraph")

logger = logging.getLogger(__name__)

_DEFAULT_ERROR_HANDLER = "__default_error_handler__"


@dataclass(slots=True)
class _NodeDefaults:
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None
    cache_policy: CachePolicy[Any] | None = None
    error_handler: Any = None
    timeout: TimeoutPolicy | None = None


def _renamed(
    deprecated: dict[str, Any],
    given: Any,
    old: str,
    new: str,
    category: type[Warning],
) -> Any:
    """The value of an argument that used to have another name."""
    value = deprecated.pop(old, MISSING)
    if value is MISSING:
        return given
    warnings.warn(
        f"`{old}` is deprecated and will be removed. Please use `{new}` instead.",
        category=category,
        stacklevel=3,
    )
    return value if given is None else given


def _refuse(function: str, unknown: Mapping[str, Any]) -> None:
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise TypeError(f"{function}() got an unexpected keyword argument: {names}")


class StateGraph(Generic[StateT, ContextT, InputT, OutputT]):
    """A graph whose nodes read a state and return updates of it.

    Each key of the state is a channel; ``Annotated[type, reducer]`` says how the updates that a
    step's nodes make to a key come together. Without a reducer, a key takes one update in a step.

    Args:
        state_schema: the state: a TypedDict, a dataclass, a pydantic model; or one annotated type.
        context_schema: what ``runtime.context`` is.
        input_schema: what a run is given; by default, the state.
        output_schema: what a run gives; by default, the state.

    Attributes:
        nodes: the nodes by name.
        edges: pairs of names.
        waiting_edges: edges that wait for all of several nodes.
        branches: by node, the conditions behind it by name.
        sync_points: by name, the policy of a barrier, and the fork whose branches it gathers.
        edges_in_order: the edges as they were added.
        waiting_edges_in_order: the waiting edges as they were added.
        channels: the channels of all schemas by key.
        managed: the managed values of all schemas by key.
        schemas: what each schema consists of.
        compiled: whether it has been compiled; what is added later is not part of that.
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        **deprecated: Any,
    ) -> None:
        since05, since10 = LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10
        context_schema = _renamed(
            deprecated, context_schema, "config_schema", "context_schema", since10
        )
        input_schema = _renamed(deprecated, input_schema, "input", "input_schema", since05)
        output_schema = _renamed(deprecated, output_schema, "output", "output_schema", since05)
        _refuse("StateGraph", deprecated)
        self.nodes: dict[str, StateNodeSpec[Any, ContextT]] = {}
        self.edges: set[tuple[str, str]] = set()
        self.branches: defaultdict[str, dict[str, BranchSpec]] = defaultdict(dict)
        self.sync_points: dict[str, tuple[Any, str | None]] = {}
        self.edges_in_order: list[tuple[str, str]] = []
        self.waiting_edges_in_order: list[tuple[tuple[str, ...], str]] = []
        self.schemas: dict[Any, dict[str, Field]] = {}
        self.channels: dict[str, BaseChannel[Any, Any, Any]] = {}
        self.managed: dict[str, ManagedValueSpec] = {}
        self.compiled: bool = False
        self.waiting_edges: set[tuple[tuple[str, ...], str]] = set()
        self.state_schema: type[StateT] = state_schema
        self.input_schema: Any = input_schema or state_schema
        self.output_schema: Any = output_schema or state_schema
        self.context_schema: type[ContextT] | None = context_schema
        self._node_defaults = _NodeDefaults()
        self._add_schema(self.state_schema)
        self._add_schema(self.input_schema, allow_managed=False)
        self._add_schema(self.output_schema, allow_managed=False)

    def _add_schema(self, schema: Any, /, allow_managed: bool = True) -> None:
        if schema in self.schemas:
            return
        warn_of_odd_schema(schema)
        fields = fields_of(schema)
        managed = [name for name, field in fields.items() if is_managed_value(field)]
        if managed and not allow_managed:
            raise ValueError(
                f"Invalid managed channels detected in {getattr(schema, '__name__', '')}: "
                f"{', '.join(managed)}. Managed channels are not permitted in Input/Output schema."
            )
        self.schemas[schema] = fields
        for name, field in fields.items():
            if isinstance(field, BaseChannel):
                known = self.channels.setdefault(name, field)
                if known != field and not isinstance(field, LastValue):
                    raise ValueError(f"Channel '{name}' already exists with a different type")
            elif self.managed.setdefault(name, field) != field:
                raise ValueError(f"Managed value '{name}' already exists with a different type")

    @property
    def _all_edges(self) -> set[tuple[str, str]]:
        return self.edges | {(start, end) for starts, end in self.waiting_edges for start in starts}

    def _warn_if_compiled(self, what: str) -> None:
        if self.compiled:
            logger.warning(
                "Adding %s to a graph that has already been compiled. This will not be "
                "reflected in the compiled graph.",
                what,
            )

    # -- nodes --------------------------------------------------------------------------------

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        error_handler: StateNode[Any, ContextT] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> Self:
        """Set what holds for nodes that say nothing of their own, whenever they were added.

        Error handlers have no cache, and no handler.
        """
        defaults = self._node_defaults
        if retry_policy is not None:
            defaults.retry_policy = retry_policy
        if cache_policy is not None:
            defaults.cache_policy = cache_policy
        if error_handler is not None:
            defaults.error_handler = error_handler
        if timeout is not None:
            defaults.timeout = TimeoutPolicy.coerce(timeout)
        return self

    def add_node(
        self,
        node: str | StateNode[NodeInputT, ContextT],
        action: StateNode[NodeInputT, ContextT] | None = None,
        *,
        defer: bool = False,
        metadata: dict[str, Any] | None = None,
        input_schema: type[NodeInputT] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        error_handler: StateNode[Any, ContextT] | None = None,
        destinations: dict[str, str] | tuple[str, ...] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        trace_policy: TracePolicy | None = None,
        **deprecated: Any,
    ) -> Self:
        """Add a node.

        Args:
            node: its name; or what is called, which then gives the name.
            action: what is called.
            defer: run it when nothing else is left to run.
            metadata: metadata of its calls.
            input_schema: what it sees of the state; by default, what its first parameter is
                annotated with, else all of it.
            retry_policy: when it is tried again.
            cache_policy: keep its writes in the cache, by its input.
            error_handler: a node that is called when this one has failed, with what this one was
                given.
            destinations: where its commands may go, for drawings; a mapping gives labels.
            timeout: how long an attempt may take; for ``async`` nodes.
            trace_policy: what tracers see of it.

        Raises:
            ValueError: the name is taken or reserved.
            TypeError: it cannot be called.
        """
        since05 = LangGraphDeprecatedSinceV05
        retry_policy = _renamed(deprecated, retry_policy, "retry", "retry_policy", since05)
        input_schema = _renamed(deprecated, input_schema, "input", "input_schema", since05)
        _refuse("add_node", deprecated)
        name: Any = node
        if not isinstance(node, str):
            action = node
            if is_runnable(action):
                name = cast("Any", action).get_name()
            else:
                name = getattr(action, "__name__", None) or type(action).__name__
        self._warn_if_compiled("a node")
        if action is None:
            raise RuntimeError(
                f"add_node({name!r}) needs something to call, as its second argument"
            )
        self._check_name(name)
        ends: tuple[str, ...] | dict[str, str]
        hinted_schema, ends = _hints_of(action) if _is_annotated(action) else (None, ())
        if destinations is not None:
            ends = destinations
        own_schema = input_schema or hinted_schema
        schema: Any = own_schema or self.state_schema
        handler_name: str | None = None
        if error_handler is not None:
            handler_name = f"__error_handler__{name}"
            self._add_handler(handler_name, error_handler, schema)
        self.nodes[name] = StateNodeSpec(
            coerce(action, name),
            metadata,
            schema,
            retry_policy,
            cache_policy,
            error_handler_node=handler_name,
            ends=ends,
            defer=defer,
            timeout=TimeoutPolicy.coerce(timeout),
            trace_policy=trace_policy,
        )
        if own_schema is not None:
            self._add_schema(own_schema)
        return self

    def _check_name(self, name: str) -> None:
        if name in self.nodes or name in self.sync_points:
            raise ValueError(f"Node `{name}` already present.")
        if name in (START, END):
            raise ValueError(f"Node `{name}` is reserved.")
        for character in (NS_SEP, NS_END):
            if character in name:
                raise ValueError(
                    f"'{character}' is a reserved character and is not allowed in the node names."
                )

    def _add_handler(self, name: str, handler: Any, schema: Any) -> None:
        if name in self.nodes:
            raise ValueError(f"Auto-generated error handler node `{name}` already exists.")
        self.nodes[name] = StateNodeSpec(
            coerce(handler, name), None, schema, None, None, is_error_handler=True
        )

    def add_sequence(
        self,
        nodes: Sequence[
            StateNode[NodeInputT, ContextT] | tuple[str, StateNode[NodeInputT, ContextT]]
        ],
    ) -> Self:
        """Add nodes, each with an edge from the one before.

        Raises:
            ValueError: there are none, or two have one name.
        """
        if not nodes:
            raise ValueError("Sequence requires at least one node.")
        previous: str | None = None
        for each in nodes:
            if isinstance(each, tuple) and len(each) == 2:
                name, node = each
            else:
                node = each
                name = getattr(node, "__name__", type(node).__name__)
            if name in self.nodes:
                raise ValueError(
                    f"Node names must be unique: node with the name '{name}' already exists. If "
                    f"you need to use two different runnables/callables with the same name (for "
                    f"example, using `lambda`), please provide them as tuples (name, "
                    f"runnable/callable)."
                )
            self.add_node(name, node)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    # -- edges --------------------------------------------------------------------------------

    def add_edge(self, start_key: str | list[str], end_key: str) -> Self:
        """Have a node run after another one; or, with a list, when all of several have run.

        Raises:
            ValueError: it begins at END or ends at START; or a node of a list is not there yet.
        """
        self._warn_if_compiled("an edge")
        starts = [start_key] if isinstance(start_key, str) else start_key
        waits = not isinstance(start_key, str)
        for start in starts:
            if start == END:
                raise ValueError("END cannot be a start node")
            if waits and start not in self.nodes:
                raise ValueError(f"Need to add_node `{start}` first")
        if end_key == START:
            raise ValueError("START cannot be an end node")
        if not waits:
            if (starts[0], end_key) not in self.edges:
                self.edges_in_order.append((starts[0], end_key))
            self.edges.add((starts[0], end_key))
            return self
        if end_key != END and end_key not in self.nodes:
            raise ValueError(f"Need to add_node `{end_key}` first")
        if (tuple(starts), end_key) not in self.waiting_edges:
            self.waiting_edges_in_order.append((tuple(starts), end_key))
        self.waiting_edges.add((tuple(starts), end_key))
        return self

    def add_sync_point(self, name: str, join: Any = None, *, fork: str | None = None) -> Self:
        """Add a named barrier, with a policy of Plait's; LangGraph has none.

        Edges to it and from it are edges as any. Such a graph runs with
        ``compile(mode="branches")``.

        Args:
            name: its name.
            join: a ``plait.Join``; by default, it waits for all.
            fork: the node whose branches it gathers; by default, the last one before it that forks.

        Raises:
            ValueError: the name is taken or reserved.
        """
        self._check_name(name)
        self.sync_points[name] = (join, fork)
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Callable[..., Hashable | Sequence[Hashable]]
        | Callable[..., Awaitable[Hashable | Sequence[Hashable]]]
        | Any,
        path_map: dict[Hashable, str] | list[str] | None = None,
    ) -> Self:
        """Have a function choose what runs after a node.

        Args:
            source: the node, or START.
            path: returns a node, a ``Send``, or several of these; it sees the node's own writes.
            path_map: nodes by what ``path`` returns, or the nodes that it may return. Without one,
                and without a ``Literal`` as its return type, drawings have it lead anywhere.

        Raises:
            ValueError: the node has a condition of that name.
        """
        self._warn_if_compiled("an edge")
        condition = coerce(path, trace=True)
        name = getattr(condition, "name", None) or "condition"
        if name in self.branches[source]:
            raise ValueError(f"Branch with name `{name}` already exists for node `{source}`")
        branch = self.branches[source][name] = BranchSpec.from_path(condition, path_map, True)
        if branch.input_schema is not None:
            self._add_schema(branch.input_schema)
        return self

    def set_entry_point(self, key: str) -> Self:
        """Have runs begin at a node."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(
        self,
        path: Callable[..., Hashable | Sequence[Hashable]]
        | Callable[..., Awaitable[Hashable | Sequence[Hashable]]]
        | Any,
        path_map: dict[Hashable, str] | list[str] | None = None,
    ) -> Self:
        """Have a function choose where runs begin."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """Have nothing run after a node."""
        return self.add_edge(key, END)

    # -- compiling ----------------------------------------------------------------------------

    def validate(self, interrupt: Sequence[str] | None = None) -> Self:
        """Check that edges join nodes that exist.

        Raises:
            ValueError: they do not, or nothing follows START.
        """
        sources = {start for start, _ in self._all_edges} | set(self.branches)
        sources.update(name for name, spec in self.nodes.items() if spec.ends)
        for source in sources:
            if source not in self.nodes and source != START:
                raise ValueError(f"Found edge starting at unknown node '{source}'")
        if START not in sources:
            raise ValueError(
                "Graph must have an entrypoint: add at least one edge from START to another node"
            )
        targets = {end for _, end in self._all_edges}
        for start, branches in self.branches.items():
            for name, branch in branches.items():
                for end in (branch.ends or {}).values():
                    if end not in self.nodes and end != END:
                        raise ValueError(
                            f"At '{start}' node, '{name}' branch found unknown target '{end}'"
                        )
        for spec in self.nodes.values():
            targets.update(spec.ends or ())
        for target in targets:
            if target not in self.nodes and target != END:
                raise ValueError(f"Found edge ending at unknown node `{target}`")
        for name in interrupt or ():
            if name not in self.nodes:
                raise ValueError(f"Interrupt node `{name}` not found")
        self.compiled = True
        return self

    @overload
    def compile(
        self,
        checkpointer: Checkpointer = None,
        *,
        cache: Any = None,
        store: Any = None,
        interrupt_before: All | list[str] | None = None,
        interrupt_after: All | list[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        mode: Literal["steps"] = "steps",
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]: ...
    @overload
    def compile(
        self,
        checkpointer: Any = None,
        *,
        store: Any = None,
        interrupt_before: All | list[str] | None = None,
        interrupt_after: All | list[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        mode: Literal["branches"],
    ) -> BranchGraph[StateT, ContextT, InputT, OutputT]: ...
    def compile(
        self,
        checkpointer: Any = None,
        *,
        cache: Any = None,
        store: Any = None,
        interrupt_before: All | list[str] | None = None,
        interrupt_after: All | list[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        mode: Literal["steps", "branches"] = "steps",
    ) -> Any:
        """A graph that can run.

        Args:
            checkpointer: keeps the state after each step. For a nested graph: ``True`` to keep its
                state from call to call, ``False`` to keep nothing.
            cache: keeps the writes of nodes that have a cache policy.
            store: for what nodes remember across threads.
            interrupt_before: the nodes before which a run stops; ``"*"`` for all.
            interrupt_after: the nodes after which a run stops; ``"*"`` for all.
            debug: print what happens.
            name: what tracers call it.
            transformers: classes of transformers of ``stream_events(version="v3")``, or functions
                that make one for a namespace; with ``mode="steps"`` only.
            mode: ``"steps"``, as LangGraph runs a graph; or ``"branches"``, on Plait's own machine.
                Then ``checkpointer`` is where Plait keeps its threads: a store of Plait's or its
                URL.

        Raises:
            ValueError: the graph is not sound.
            TypeError: the checkpointer has not the methods of one.
        """
        before, after = interrupt_before or [], interrupt_after or []
        if mode == "branches":
            if transformers:
                raise unsupported("compile(transformers=..., mode='branches')")
            return self._compile_branches(checkpointer, cache, store, before, after, debug, name)
        checkpointer = ensure_valid_checkpointer(checkpointer)
        if self.sync_points:
            names = ", ".join(map(repr, self.sync_points))
            raise ValueError(f"the sync points {names} need compile(mode='branches')")
        named: list[str] = []
        if after != "*":
            named = [*(() if before == "*" else before), *after]
        self.validate(interrupt=named)
        handlers = self._apply_defaults()
        output_keys = self._keys(self.schemas[self.output_schema])
        stream_keys = self._keys(self.channels)
        compiled: CompiledStateGraph[StateT, ContextT, InputT, OutputT] = CompiledStateGraph(
            builder=self,
            schema_to_mapper={},
            context_schema=self.context_schema,
            nodes={},
            channels={
                **self.channels,
                **self.managed,
                START: EphemeralValue(self.input_schema),
            },
            input_channels=START,
            stream_mode="updates",
            output_channels=output_keys,
            stream_channels=stream_keys,
            checkpointer=checkpointer,
            interrupt_before_nodes=before,
            interrupt_after_nodes=after,
            auto_validate=False,
            debug=debug,
            store=store,
            cache=cache,
            node_error_handler_map=handlers,
            name=name or "LangGraph",
            stream_transformers=transformers,
        )
        compiled.attach_node(START, None)
        for key, node in self.nodes.items():
            compiled.attach_node(key, node)
        compiled._output_mapper = _mapper(output_keys, self.output_schema)
        compiled._state_mapper = _mapper(stream_keys, self.state_schema)
        for start, end in sorted(self.edges):
            compiled.attach_edge(start, end)
        for starts, end in sorted(self.waiting_edges):
            compiled.attach_edge(starts, end)
        for start, branches in self.branches.items():
            for key, branch in branches.items():
                compiled.attach_branch(start, key, branch)
        if checkpointer is not None and not isinstance(checkpointer, bool):
            from plait_adapters.langgraph.checkpoint._letting_in import letting_in

            compiled.checkpointer = letting_in(checkpointer, *self.schemas, self.context_schema)
        return compiled.validate()

    def _compile_branches(
        self,
        journal: Any,
        cache: Any,
        store: Any,
        before: Any,
        after: Any,
        debug: bool,
        name: str | None,
    ) -> BranchGraph[StateT, ContextT, InputT, OutputT]:
        from .branches import BranchGraph

        if cache is not None:
            raise unsupported("compile(cache=..., mode='branches')")
        if hasattr(journal, "put_writes") or isinstance(journal, bool):
            raise unsupported(
                "a LangGraph checkpointer with compile(mode='branches'), which keeps threads in "
                "a store of Plait's or at its URL,"
            )
        self._apply_defaults()
        everything = list(self.nodes)
        graph: BranchGraph[StateT, ContextT, InputT, OutputT] = BranchGraph(
            self,
            journal=journal,
            store=store,
            before=everything if before == "*" else before,
            after=everything if after == "*" else after,
            debug=debug,
            name=name or "LangGraph",
        )
        self.compiled = True
        return graph

    @staticmethod
    def _keys(fields: Mapping[str, Any]) -> str | list[str]:
        if list(fields) == [ROOT]:
            return ROOT
        return [name for name, field in fields.items() if not is_managed_value(field)]

    def _apply_defaults(self) -> dict[str, str]:
        """Give the nodes what ``set_node_defaults`` set. Returns the handlers by node."""
        defaults = self._node_defaults
        default_handler: str | None = None
        if defaults.error_handler is not None:
            default_handler = _DEFAULT_ERROR_HANDLER
            self._add_handler(default_handler, defaults.error_handler, self.state_schema)
        handlers: dict[str, str] = {}
        for name, spec in self.nodes.items():
            if spec.retry_policy is None:
                spec.retry_policy = defaults.retry_policy
            if spec.timeout is None:
                spec.timeout = defaults.timeout
            if spec.is_error_handler:
                continue
            if spec.cache_policy is None:
                spec.cache_policy = defaults.cache_policy
            if spec.error_handler_node is None:
                spec.error_handler_node = default_handler
            if spec.error_handler_node is not None:
                handlers[name] = spec.error_handler_node
        return handlers


def _is_annotated(action: Any) -> bool:
    return (
        inspect.isfunction(action) or inspect.ismethod(action) or inspect.ismethod(_call_of(action))
    )


def _call_of(action: Any) -> Any:
    return getattr(action, "__call__", None)  # noqa: B004 - the method, for its annotations


def _hints_of(action: Any) -> tuple[type[Any] | None, tuple[str, ...]]:
    """What a node's annotations say: what it sees of the state, and where its commands may go."""
    schema: type[Any] | None = None
    ends: tuple[str, ...] = ()
    try:
        hints = get_type_hints(action.__call__) or get_type_hints(action)
        if not hints:
            return None, ()
        first = next(iter(inspect.signature(action).parameters))
        hint = hints.get(first)
        if isinstance(hint, type) and get_type_hints(hint):
            schema = hint
        returned = hints.get("return")
        options = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
        for option in options:
            if get_origin(option) is Command and get_args(option):
                names = get_args(option)[0]
                if get_origin(names) is Literal:
                    ends = get_args(names)
                break
    except (NameError, TypeError, StopIteration):
        pass
    return schema, ends


def _mapper(keys: str | Sequence[str], schema: Any) -> Callable[[Any], Any] | None:
    """What makes an instance of a schema from a mapping; ``None`` for what stays a mapping."""
    if keys == ROOT or list(keys) == [ROOT]:
        return None
    if isclass(schema) and (is_pydantic_type(schema) or is_dataclass(schema)):
        return partial(_instance, schema)
    return None


def _instance(schema: Any, values: Mapping[str, Any]) -> Any:
    return schema(**values)


class StateWriter(Writer):
    """Makes writes of what a node of a state graph returns.

    Args:
        keys: the channels that it may write to; what else it returns is for conditions.
        is_root: the state is one value.
        ends: where its commands may go, for drawings.
    """

    def __init__(self, keys: Sequence[str], ends: tuple[str, ...] | dict[str, str] | None) -> None:
        self.ordered: Sequence[str] = keys
        self.keys: frozenset[str] = frozenset(keys)
        self.is_root: bool = list(keys) == [ROOT]
        self.ends: tuple[str, ...] | dict[str, str] | None = ends
        self.always: list[tuple[str, Any]] = []
        """The writes of plain edges, which follow whatever the node returns."""

    def write(self, output: Any, task: Task) -> None:
        """Add updates of the state, the ways of commands, and plain edges."""
        writes = task.writes
        if type(output) is dict and not self.is_root:
            keys = self.keys
            for item in output.items():
                if item[0] in keys:
                    writes.append(item)
        elif output is not None:
            writes.extend(self.updates_of(output))
            writes.extend(_ways(output))
        writes.extend(self.always)
        if task.progress is not None:
            task.progress()

    def updates_of(self, output: Any) -> list[tuple[str, Any]]:
        """The updates of the state in what a node returned."""
        keys = self.keys
        if isinstance(output, Command):
            if output.graph == Command.PARENT:
                return []
            updates = output._update_as_tuples()
            return list(updates) if self.is_root else [each for each in updates if each[0] in keys]
        if isinstance(output, (list, tuple)) and any(isinstance(each, Command) for each in output):
            found: list[tuple[str, Any]] = []
            for each in output:
                found.extend(() if each is None else self.updates_of(each))
            return found
        if self.is_root:
            return [(ROOT, output)]
        if isinstance(output, dict):
            return [(key, value) for key, value in output.items() if key in keys]
        if annotated_keys(type(output)):
            return updates_of(output, self.ordered)
        raise InvalidUpdateError(
            create_error_message(
                message=f"Expected dict, got {output}",
                error_code=ErrorCode.INVALID_GRAPH_NODE_RETURN_VALUE,
            )
        )

    def static(self) -> Sequence[StaticWrite]:
        """Where its commands may go."""
        ends = self.ends or ()
        labels: Mapping[str, str | None] = ends if isinstance(ends, dict) else dict.fromkeys(ends)
        return [
            (end if end == END else BRANCH_TO.format(end), None, label)
            for end, label in labels.items()
        ]


def _ways(output: Any) -> list[tuple[str, Any]]:
    """The ways on that a node's output itself chooses.

    Raises:
        ParentCommand: it holds a command for the graph around this one.
    """
    if isinstance(output, Send):
        return [(TASKS, output)]
    commands: Sequence[Any] = (
        (output,)
        if isinstance(output, Command)
        else [each for each in output if isinstance(each, Command)]
        if isinstance(output, (list, tuple))
        else ()
    )
    ways: list[tuple[str, Any]] = []
    for command in commands:
        if command.graph == Command.PARENT:
            raise ParentCommand(command)
        goto = command.goto
        for target in (goto,) if isinstance(goto, (Send, str)) else goto:
            if isinstance(target, Send):
                ways.append((TASKS, target))
            elif isinstance(target, str) and target != END:
                ways.append((BRANCH_TO.format(target), None))
    return ways


class CompiledStateGraph(
    Pregel[StateT, ContextT, InputT, OutputT], Generic[StateT, ContextT, InputT, OutputT]
):
    """A state graph that can run; made by :meth:`StateGraph.compile`.

    Attributes:
        builder: the graph that it was made from.
    """

    def __init__(
        self,
        *,
        builder: StateGraph[StateT, ContextT, InputT, OutputT],
        schema_to_mapper: dict[Any, Callable[[Any], Any] | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.builder: StateGraph[StateT, ContextT, InputT, OutputT] = builder
        self.schema_to_mapper: dict[Any, Callable[[Any], Any] | None] = schema_to_mapper

    def get_input_jsonschema(self, config: Any = None) -> dict[str, Any]:
        """What a run is given, as JSON schema."""
        return self._json_schema(self.builder.input_schema, "Input")

    def get_output_jsonschema(self, config: Any = None) -> dict[str, Any]:
        """What a run gives, as JSON schema."""
        return self._json_schema(self.builder.output_schema, "Output")

    def _json_schema(self, schema: Any, suffix: str) -> dict[str, Any]:
        builder = self.builder
        return json_schema(schema, builder.schemas[schema], builder.channels, self.get_name(suffix))

    def _migrate_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super()._migrate_checkpoint(checkpoint)
        if checkpoint["v"] < ONE_TRIGGER_EACH and checkpoint["channel_versions"]:
            followers: dict[str, list[str]] = defaultdict(list)
            for source, target in self.builder.edges:
                if target != END:
                    followers[source].append(target)
            join_triggers(checkpoint, self.nodes, followers)

    def _mapper_of(self, schema: Any, keys: Sequence[str]) -> Callable[[Any], Any] | None:
        if schema not in self.schema_to_mapper:
            self.schema_to_mapper[schema] = _mapper(keys, schema)
        return self.schema_to_mapper[schema]

    def attach_node(self, key: str, node: StateNodeSpec[Any, ContextT] | None) -> None:
        """Add a node of the builder, or START."""
        builder = self.builder
        if node is None:
            fields = builder.schemas[builder.input_schema]
            keys = [name for name, field in fields.items() if not is_managed_value(field)]
            self.nodes[key] = PregelNode(
                tags=[TAG_HIDDEN],
                triggers=[START],
                channels=START,
                writers=[StateWriter(keys, None)],
            )
            return
        trigger = BRANCH_TO.format(key)
        channel: BaseChannel[Any, Any, Any] = (
            LastValueAfterFinish(Any) if node.defer else EphemeralValue(Any, guard=False)
        )
        channel.key = trigger
        self.channels[trigger] = channel
        select = list(builder.schemas[node.input_schema])
        self.nodes[key] = PregelNode(
            triggers=[trigger],
            channels=ROOT if select == [ROOT] else select,
            mapper=self._mapper_of(node.input_schema, select),
            writers=[StateWriter([*builder.channels, *builder.managed], node.ends)],
            metadata=node.metadata,
            retry_policy=node.retry_policy,
            cache_policy=node.cache_policy,
            is_error_handler=node.is_error_handler,
            error_handler_node=node.error_handler_node,
            bound=node.runnable,
            timeout=node.timeout,
            trace_policy=node.trace_policy,
        )

    def _always(self, start: str, channel: str, value: Any) -> None:
        writer = self.nodes[start].writers[0]
        assert isinstance(writer, StateWriter)
        writer.always.append((channel, value))

    def attach_edge(self, starts: str | Sequence[str], end: str) -> None:
        """Add an edge of the builder."""
        if end == END:
            return
        if isinstance(starts, str):
            self._always(starts, BRANCH_TO.format(end), None)
            return
        channel = f"join:{'+'.join(starts)}:{end}"
        barrier = (
            NamedBarrierValueAfterFinish if self.builder.nodes[end].defer else NamedBarrierValue
        )(str, set(starts))
        barrier.key = channel
        self.channels[channel] = barrier
        self.nodes[end].triggers.append(channel)
        for start in starts:
            self._always(start, channel, start)

    def attach_branch(
        self, start: str, name: str, branch: BranchSpec, *, with_reader: bool = True
    ) -> None:
        """Add a condition of the builder."""
        builder = self.builder
        select: str | list[str] | None = None
        mapper: Callable[[Any], Any] | None = None
        if with_reader:
            schema: Any = branch.input_schema
            if schema is None:
                node = builder.nodes.get(start)
                schema = builder.state_schema if node is None else node.input_schema
            select = list(builder.schemas[schema])
            mapper = self._mapper_of(schema, select)
            if select == [ROOT]:
                select = ROOT
        self.nodes[start].writers.append(BranchWriter(branch, select, mapper))


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
