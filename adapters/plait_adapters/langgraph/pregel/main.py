"""A graph that can run."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import is_dataclass
from inspect import isclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, overload

from typing_extensions import is_typeddict

from plait_adapters.langgraph._internal import _edge
from plait_adapters.langgraph._internal._cache_keys import cache_namespace
from plait_adapters.langgraph._internal._config import (
    ensure_config,
    merge_configs,
    patch_configurable,
)
from plait_adapters.langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CACHE,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_TASK,
    INTERRUPT,
    MISSING,
    NS_END,
    NS_SEP,
    START,
    TASKS,
)
from plait_adapters.langgraph._internal._fields import is_pydantic_type
from plait_adapters.langgraph._internal._langchain import is_traced, loaded, need
from plait_adapters.langgraph._internal._machine import Layout
from plait_adapters.langgraph._internal._outlet import Chunk, Outlet
from plait_adapters.langgraph._internal._run import Run, function_of
from plait_adapters.langgraph.channels.base import BaseChannel
from plait_adapters.langgraph.channels.topic import Topic
from plait_adapters.langgraph.config import get_config
from plait_adapters.langgraph.runtime import DEFAULT_RUNTIME, RunControl, Runtime, ServerInfo
from plait_adapters.langgraph.types import (
    All,
    CachePolicy,
    Checkpointer,
    Command,
    Durability,
    GraphOutput,
    Interrupt,
    RetryPolicy,
    Send,
    StateSnapshot,
    StateUpdate,
    StreamMode,
    ensure_valid_checkpointer,
)
from plait_adapters.langgraph.typing import ContextT, InputT, OutputT, StateT
from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

from ._builder import NodeBuilder
from ._read import PregelNode
from ._validate import validate_graph, validate_keys

if TYPE_CHECKING:
    from plait_adapters.langgraph.stream import AsyncGraphRunStream, GraphRunStream

__all__ = ("NodeBuilder", "Pregel")

Config = Mapping[str, Any] | None
Modes = StreamMode | Sequence[StreamMode]

_EAGER_MODES = frozenset(("messages", "custom", "tools"))
"""What a reader wants to hear while a step is under way."""

_HEARD_MODES = frozenset(("messages", "tools"))
"""What callbacks of langchain-core have to hear of."""


class Pregel(Generic[StateT, ContextT, InputT, OutputT]):
    """A graph of nodes that subscribe to channels.

    A run goes in steps: what was written in one triggers the nodes of the next.
    :meth:`StateGraph.compile <plait_adapters.langgraph.graph.StateGraph.compile>` makes one; it can
    also be put together from :class:`NodeBuilder` and channels.

    Args:
        nodes: the nodes by name.
        channels: the channels and managed values by name.
        auto_validate: check it now; else :meth:`validate` must be called.
        stream_mode: what :meth:`stream` tells, unless it is asked for something else.
        stream_eager: streams tell while a step is under way, whatever their mode.
        output_channels: what a run gives.
        stream_channels: what of the state streams and snapshots show; by default, all channels.
        interrupt_after_nodes: the nodes after which a run stops.
        interrupt_before_nodes: the nodes before which a run stops.
        input_channels: what a run is given.
        step_timeout: seconds that a step may take.
        debug: print what happens.
        checkpointer: keeps the state after each step.
        store: for what nodes remember across threads.
        cache: keeps the writes of nodes with a cache policy.
        retry_policy: when nodes without a policy of their own are tried again.
        cache_policy: whether the writes of nodes without a policy of their own are cached.
        context_schema: what ``runtime.context`` is.
        config: the configuration of every call.
        name: what tracers call it.
        stream_transformers: make the transformers of its streams of events.
    """

    is_plait_graph: ClassVar[bool] = True
    _output_mapper: Callable[[Any], Any] | None = None
    _state_mapper: Callable[[Any], Any] | None = None

    def __init__(
        self,
        *,
        nodes: Mapping[str, PregelNode | NodeBuilder],
        channels: Mapping[str, Any] | None,
        auto_validate: bool = True,
        stream_mode: StreamMode = "values",
        stream_eager: bool = False,
        output_channels: str | Sequence[str],
        stream_channels: str | Sequence[str] | None = None,
        interrupt_after_nodes: All | Sequence[str] = (),
        interrupt_before_nodes: All | Sequence[str] = (),
        input_channels: str | Sequence[str],
        step_timeout: float | None = None,
        debug: bool | None = None,
        checkpointer: Checkpointer = None,
        store: Any = None,
        cache: Any = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] = (),
        cache_policy: CachePolicy[Any] | None = None,
        context_schema: type[ContextT] | None = None,
        config: Config = None,
        trigger_to_nodes: Mapping[str, Sequence[str]] | None = None,
        node_error_handler_map: Mapping[str, str] | None = None,
        name: str = "LangGraph",
        stream_transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **deprecated: Any,
    ) -> None:
        if (config_type := deprecated.pop("config_type", MISSING)) is not MISSING:
            warnings.warn(
                "`config_type` is deprecated and will be removed. Please use `context_schema` "
                "instead.",
                category=LangGraphDeprecatedSinceV10,
                stacklevel=2,
            )
            context_schema = context_schema or config_type
        if deprecated:
            raise TypeError(f"Pregel() got an unexpected keyword argument: {', '.join(deprecated)}")
        self.nodes: dict[str, PregelNode] = {
            key: node.build() if isinstance(node, NodeBuilder) else node
            for key, node in nodes.items()
        }
        self.channels: dict[str, Any] = dict(channels or {})
        if TASKS in self.channels and not isinstance(self.channels[TASKS], Topic):
            raise ValueError(f"Channel '{TASKS}' is reserved and cannot be used in the graph.")
        self.channels[TASKS] = Topic(Send)
        for key, channel in self.channels.items():
            if isinstance(channel, BaseChannel) and not channel.key:
                channel.key = key
        self.stream_mode: StreamMode = stream_mode
        self.stream_eager: bool = stream_eager
        self.output_channels: str | Sequence[str] = output_channels
        self.stream_channels: str | Sequence[str] | None = stream_channels
        self.interrupt_after_nodes: All | Sequence[str] = interrupt_after_nodes
        self.interrupt_before_nodes: All | Sequence[str] = interrupt_before_nodes
        self.input_channels: str | Sequence[str] = input_channels
        self.step_timeout: float | None = step_timeout
        self.debug: bool = _langchain_debug() if debug is None else debug
        self.checkpointer: Checkpointer = ensure_valid_checkpointer(checkpointer)
        self.store: Any = store
        self.cache: Any = cache
        self.retry_policy: Sequence[RetryPolicy] = (
            (retry_policy,) if isinstance(retry_policy, RetryPolicy) else retry_policy
        )
        self.cache_policy: CachePolicy[Any] | None = cache_policy
        self.context_schema: type[ContextT] | None = context_schema
        self.config: Any = config
        self.trigger_to_nodes: Mapping[str, Sequence[str]] = trigger_to_nodes or {}
        self.node_error_handler_map: Mapping[str, str] = node_error_handler_map or {}
        self.name: str = name
        self.stream_transformers: tuple[Callable[[tuple[str, ...]], Any], ...] = tuple(
            stream_transformers or ()
        )
        self._layout: Layout | None = None
        if auto_validate:
            self.validate()

    # -- as a Runnable of langchain-core ------------------------------------------------------

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A graph is a Runnable from the moment on that langchain-core is there."""
        base = loaded("langchain_core.runnables.base")
        cls = type(self)
        if base is not None and cls not in _registered:
            _registered.add(cls)
            base.Runnable.register(cls)
        return cls

    def __getattr__(self, name: str) -> Any:
        """What other Runnables have and a graph has no form of its own for is langchain-core's."""
        module = "langchain_core.runnables.base"
        base: Any = None
        if not name.startswith("_"):
            base = need(module, f"the attribute {name!r} of a graph")
        elif not name.startswith("__"):
            base = loaded(module)
        if base is not None:
            for cls in base.Runnable.__mro__[:-1]:
                if name in vars(cls):
                    found = vars(cls)[name]
                    return found.__get__(self, type(self)) if hasattr(found, "__get__") else found
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __or__(self, other: Any) -> Any:
        base = need("langchain_core.runnables.base", "a sequence of a graph and something else")
        return base.RunnableSequence(self, base.coerce_to_runnable(other))

    def __ror__(self, other: Any) -> Any:
        base = need("langchain_core.runnables.base", "a sequence of a graph and something else")
        return base.RunnableSequence(base.coerce_to_runnable(other), self)

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """The graph's name, with a suffix in the manner of the name."""
        own = name or self.name or type(self).__name__
        if not suffix:
            return own
        return f"{own}{suffix.title()}" if own[0].isupper() else f"{own}_{suffix.lower()}"

    # -- the graph ----------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """What the channels and triggers are."""
        if self._layout is None:
            self._layout = Layout(self.channels, self.trigger_to_nodes)
        return self._layout

    def validate(self) -> Self:
        """Check that nodes and channels fit together.

        Raises:
            ValueError: they do not.
        """
        channels = {
            key: each for key, each in self.channels.items() if isinstance(each, BaseChannel)
        }
        managed = {key: each for key, each in self.channels.items() if key not in channels}
        validate_graph(
            self.nodes,
            channels,
            managed,
            self.input_channels,
            self.output_channels,
            self.stream_channels,
            self.interrupt_after_nodes,
            self.interrupt_before_nodes,
        )
        triggers: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for trigger in node.triggers:
                triggers.setdefault(trigger, []).append(name)
        self.trigger_to_nodes = triggers
        self._layout = None
        return self

    def copy(self, update: Mapping[str, Any] | None = None) -> Self:
        """The same graph with some attributes replaced."""
        twin = copy.copy(self)
        for name, value in (update or {}).items():
            setattr(twin, name, value)
        return twin

    def with_config(self, config: Config = None, **kwargs: Any) -> Self:
        """The same graph with a configuration that holds for every call."""
        return self.copy({"config": merge_configs(self.config, config, kwargs)})

    @property
    def stream_channels_asis(self) -> str | Sequence[str]:
        """What of the state streams and snapshots show."""
        return self.stream_channels or [
            key for key, each in self.channels.items() if isinstance(each, BaseChannel)
        ]

    @property
    def stream_channels_list(self) -> Sequence[str]:
        """The same as a list."""
        keys = self.stream_channels_asis
        return [keys] if isinstance(keys, str) else keys

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, Pregel[Any, Any, Any, Any]]]:
        """The graphs that nodes call, with the names of those nodes.

        Args:
            namespace: only the one at this path of node names, joined by ``|``.
            recurse: those that these call, too, each with its path.
        """
        for name, node in self.nodes.items():
            if namespace not in (None, name) and not str(namespace).startswith(name + NS_SEP):
                continue
            if not node.subgraphs:
                continue
            graph = node.subgraphs[0]
            if name == namespace:
                yield name, graph
                return
            if namespace is None:
                yield name, graph
            if recurse and isinstance(graph, Pregel):
                rest = None if namespace is None else namespace[len(name) + 1 :]
                for inner, found in graph.get_subgraphs(namespace=rest, recurse=recurse):
                    yield f"{name}{NS_SEP}{inner}", found

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, Pregel[Any, Any, Any, Any]]]:
        """As :meth:`get_subgraphs`."""
        for found in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield found

    def get_graph(self, config: Config = None, *, xray: int | bool = False) -> Any:
        """What can be drawn: with ``draw_mermaid()``, ``draw_ascii()`` and the like.

        Args:
            config: not used; it is there as other Runnables have it.
            xray: draw nested graphs in place of their nodes; a number says how deep.
        """
        from plait_adapters.langgraph._internal._drawing import drawing_of

        return drawing_of(self, xray=xray)

    async def aget_graph(self, config: Config = None, *, xray: int | bool = False) -> Any:
        """As :meth:`get_graph`."""
        return self.get_graph(config, xray=xray)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/vnd.mermaid": self.get_graph().draw_mermaid()}

    # -- schemas ------------------------------------------------------------------------------

    @property
    def InputType(self) -> Any:
        """The type of the input, where that is one channel."""
        if isinstance(self.input_channels, str):
            return self.channels[self.input_channels].UpdateType
        return dict[str, Any]

    @property
    def OutputType(self) -> Any:
        """The type of the output, where that is one channel."""
        if isinstance(self.output_channels, str):
            return self.channels[self.output_channels].ValueType
        return dict[str, Any]

    @property
    def input_schema(self) -> Any:
        """What a run is given, as a pydantic model."""
        return self.get_input_schema()

    @property
    def output_schema(self) -> Any:
        """What a run gives, as a pydantic model."""
        return self.get_output_schema()

    @property
    def config_specs(self) -> list[Any]:
        """Fields of ``configurable`` that langchain-core should know: none."""
        return []

    def get_input_schema(self, config: Config = None) -> Any:
        """What a run is given, as a pydantic model."""
        return self._schema("Input", self.input_channels, "UpdateType", self.InputType)

    def get_output_schema(self, config: Config = None) -> Any:
        """What a run gives, as a pydantic model."""
        return self._schema("Output", self.output_channels, "ValueType", self.OutputType)

    def _schema(self, suffix: str, keys: str | Sequence[str], kind: str, root: Any) -> Any:
        from plait_adapters.langgraph._internal._models import make_model

        name = self.get_name(suffix)
        if isinstance(keys, str):
            return root if is_pydantic_type(root) else make_model(name, root=(root,))
        return make_model(
            name,
            fields={
                key: (getattr(self.channels[key], kind), None)
                for key in keys or self.channels
                if isinstance(self.channels[key], BaseChannel)
            },
        )

    def get_input_jsonschema(self, config: Config = None) -> dict[str, Any]:
        """What a run is given, as JSON schema."""
        return self.get_input_schema(config).model_json_schema()  # type: ignore[no-any-return]

    def get_output_jsonschema(self, config: Config = None) -> dict[str, Any]:
        """What a run gives, as JSON schema."""
        return self.get_output_schema(config).model_json_schema()  # type: ignore[no-any-return]

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """What ``runtime.context`` is, as JSON schema; ``None`` if nobody has said.

        Raises:
            ValueError: it is no model, TypedDict or dataclass.
        """
        from pydantic import TypeAdapter

        schema: Any = self.context_schema
        if schema is None:
            return None
        if is_pydantic_type(schema):
            return schema.model_json_schema()  # type: ignore[no-any-return]
        adapted: Any = schema
        if is_typeddict(schema) or is_dataclass(schema):
            return TypeAdapter(adapted).json_schema()
        raise ValueError(
            f"Invalid context schema type: {schema}. Must be a BaseModel, TypedDict or dataclass."
        )

    def config_schema(self, *, include: Sequence[str] | None = None) -> Any:
        """Deprecated: the context's schema as a field of a model. Use
        ``get_context_jsonschema``."""
        warnings.warn(
            "`config_schema` is deprecated. Use `get_context_jsonschema` for the relevant "
            "schema instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self._config_schema(include)

    def _config_schema(self, include: Sequence[str] | None) -> Any:
        from typing import get_type_hints

        from plait_adapters.langgraph._internal._models import make_model
        from plait_adapters.langgraph.config import RunnableConfig

        hints = get_type_hints(RunnableConfig)
        fields: dict[str, Any] = {
            name: (hints[name], None)
            for name in include or ()
            if name in hints and name != "configurable"
        }
        if self.context_schema is not None:
            fields = {"configurable": (self.context_schema, None), **fields}
        return make_model(self.get_name("Config"), fields=fields)

    def get_config_jsonschema(self, *, include: Sequence[str] | None = None) -> dict[str, Any]:
        """Deprecated: use ``get_context_jsonschema``."""
        warnings.warn(
            "`get_config_jsonschema` is deprecated. Use `get_context_jsonschema` instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self._config_schema(include).model_json_schema()  # type: ignore[no-any-return]

    # -- running ------------------------------------------------------------------------------

    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes = "values",
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> Any:
        """Run the graph, and return its output; or with another ``stream_mode``, all that it tells.

        A run that waits for somebody has what it asked under ``"__interrupt__"``; with
        ``version="v2"``, in ``.interrupts`` of a :class:`GraphOutput`.

        Args:
            input: what it is given: ``None`` to go on, a ``Command`` to answer.
            config: ``configurable`` has ``thread_id``, and ``checkpoint_id`` to begin at.
            context: ``runtime.context``.
            stream_mode: what to return.
            print_mode: what to print.
            output_keys: the channels to return.
            interrupt_before: nodes before which it stops.
            interrupt_after: nodes after which it stops.
            durability: when checkpoints are durable.
            control: stops it from outside.
            version: the form of what is returned.

        Raises:
            GraphRecursionError: it took as many steps as it may.
            InvalidUpdateError: nodes wrote what the state cannot take.
            EmptyInputError: there is nothing to begin with.
        """
        options: dict[str, Any] = dict(
            context=context,
            print_mode=print_mode,
            output_keys=output_keys,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            durability=durability,
            control=control,
            **kwargs,
        )
        return _edge.finish(
            self._invoke(input, config, stream_mode, version, blocking=True, **options)
        )

    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes = "values",
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> Any:
        """As :meth:`invoke`, awaited."""
        return await self._invoke(
            input,
            config,
            stream_mode,
            version,
            blocking=False,
            context=context,
            print_mode=print_mode,
            output_keys=output_keys,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            durability=durability,
            control=control,
            **kwargs,
        )

    async def call_nested(self, input: Any, config: Config, blocking: bool) -> Any:
        """Run as a node of another graph."""
        return await self._invoke(input, config, "values", "v1", blocking=blocking)

    async def _invoke(
        self,
        given: Any,
        config: Config,
        stream_mode: Any,
        version: str,
        *,
        blocking: bool,
        output_keys: str | Sequence[str] | None = None,
        print_mode: Any = (),
        debug: bool | None = None,
        **options: Any,
    ) -> Any:
        if output_keys is None:
            output_keys = self.output_channels
        mapper = self._output_mapper if version == "v2" else None
        if stream_mode == "values" and not print_mode and not (debug or self.debug):
            if options.pop("subgraphs", False):
                pass  # what nested graphs tell is no part of the output
            run = await self._open(
                given, config, blocking=blocking, output_keys=output_keys, modes=(), **options
            )
            await self._carry(run)
            if version != "v2":
                return run.answer()
            asked, run.interrupts = tuple(run.interrupts), []
            value = run.answer()
            if mapper is not None and isinstance(value, dict):
                value = mapper(value)
            return GraphOutput(value=value, interrupts=asked)
        wanted = ["updates", "values"] if stream_mode == "values" else stream_mode
        chunks = self._stream(
            given,
            config,
            blocking=blocking,
            stream_mode=wanted,
            output_keys=output_keys,
            print_mode=print_mode,
            debug=debug,
            version="v1" if stream_mode == "values" else version,
            **options,
        )
        if stream_mode != "values":
            return [chunk async for chunk in chunks]
        latest: Any = None
        interrupts: list[Interrupt[Any]] = []
        async for chunk in chunks:
            mode, payload = chunk[-2:]
            if mode == "values":
                latest = payload
            elif isinstance(payload, dict) and payload.get(INTERRUPT) is not None:
                interrupts.extend(payload[INTERRUPT])
        if version == "v2":
            if isinstance(latest, dict):
                latest = {key: value for key, value in latest.items() if key != INTERRUPT}
                latest = latest if mapper is None else mapper(latest)
            return GraphOutput(value=latest, interrupts=tuple(interrupts))
        if interrupts:
            return (
                {**latest, INTERRUPT: interrupts}
                if isinstance(latest, dict)
                else {INTERRUPT: interrupts}
            )
        return latest

    async def _carry(self, run: Run) -> None:
        """Carry a run without a reader to its end."""
        manager = run.manager
        if manager is None:
            async for _ in run.steps():
                pass
            return
        from plait_adapters.langgraph._internal._tracing import end, fail

        try:
            async for _ in run.steps():
                pass
        except BaseException as error:
            await fail(manager, error, blocking=run.blocking)
            raise
        await end(manager, run.output(), blocking=run.blocking)

    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes | None = None,
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Run the graph, and tell what happens. The run goes on as its reader does.

        Args:
            input: as of :meth:`invoke`, and the arguments that are not named here.
            config: the call's configuration.
            context: ``runtime.context``.
            stream_mode: what to tell; with a list, each item is a pair of mode and payload.
            print_mode: what to print.
            output_keys: the channels to show.
            interrupt_before: nodes before which it stops.
            interrupt_after: nodes after which it stops.
            durability: when checkpoints are durable.
            control: stops it from outside.
            subgraphs: tell what happens in nested graphs, too; each item begins with its namespace.
            debug: print what happens.
            version: ``"v2"`` for mappings with ``type``, ``ns`` and ``data`` as items.
        """
        return _edge.iterate(
            self._stream(
                input,
                config,
                blocking=True,
                context=context,
                stream_mode=stream_mode,
                print_mode=print_mode,
                output_keys=output_keys,
                interrupt_before=interrupt_before,
                interrupt_after=interrupt_after,
                durability=durability,
                control=control,
                subgraphs=subgraphs,
                debug=debug,
                version=version,
                **kwargs,
            )
        )

    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT | None = None,
        stream_mode: Modes | None = None,
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Literal["v1", "v2"] = "v1",
        **kwargs: Any,
    ) -> AsyncGenerator[Any, None]:
        """As :meth:`stream`, asynchronously."""
        return self._stream(
            input,
            config,
            blocking=False,
            context=context,
            stream_mode=stream_mode,
            print_mode=print_mode,
            output_keys=output_keys,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            durability=durability,
            control=control,
            subgraphs=subgraphs,
            debug=debug,
            version=version,
            **kwargs,
        )

    async def _stream(
        self,
        given: Any,
        config: Config,
        *,
        blocking: bool,
        stream_mode: Any = None,
        print_mode: Any = (),
        output_keys: str | Sequence[str] | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: str = "v1",
        **options: Any,
    ) -> AsyncGenerator[Any, None]:
        if stream_mode is None:
            nested = config is not None and CONFIG_KEY_TASK in (config.get(CONF) or {})
            stream_mode = "values" if nested else self.stream_mode
        if debug or self.debug:
            print_mode = ["updates", "values"]
        if output_keys is None:
            output_keys = self.stream_channels_asis
        else:
            validate_keys(output_keys, self.channels)
        modes = {stream_mode} if isinstance(stream_mode, str) else set(stream_mode)
        prints = {print_mode} if isinstance(print_mode, str) else set(print_mode)
        run = await self._open(
            given,
            config,
            blocking=blocking,
            output_keys=output_keys,
            modes=modes | prints,
            subgraphs=subgraphs,
            version=version,
            **options,
        )
        reader = run.reader
        assert reader is not None
        shape = _Shape(self, stream_mode, prints, subgraphs, version)
        steps = run.steps()
        try:
            async for _ in steps:
                for chunk in reader.drain():
                    for item in shape.items(chunk):
                        yield item
        except BaseException as error:
            await steps.aclose()
            if run.manager is not None:
                from plait_adapters.langgraph._internal._tracing import fail

                await fail(run.manager, error, blocking=blocking)
            raise
        if run.manager is not None:
            from plait_adapters.langgraph._internal._tracing import end

            await end(run.manager, run.output(), blocking=blocking)

    async def _open(
        self,
        given: Any,
        config: Config,
        *,
        blocking: bool,
        output_keys: str | Sequence[str],
        modes: Any,
        context: Any = None,
        interrupt_before: Any = None,
        interrupt_after: Any = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        version: str = "v1",
        **deprecated: Any,
    ) -> Run:
        """Make a run, and tell callbacks that it begins."""
        during = deprecated.pop("checkpoint_during", None)
        if during is not None:
            warnings.warn(
                "`checkpoint_during` is deprecated and will be removed. Please use `durability` "
                "instead.",
                category=LangGraphDeprecatedSinceV10,
                stacklevel=3,
            )
            if durability is not None:
                raise ValueError(
                    "Cannot use both `checkpoint_during` and `durability` parameters. Please use "
                    "`durability` instead."
                )
            durability = "async" if during else "exit"
        if deprecated:
            names = ", ".join(map(repr, deprecated))
            raise TypeError(f"a graph's call got an unexpected keyword argument: {names}")
        merged = ensure_config(self.config, config)
        if merged["recursion_limit"] < 1:
            raise ValueError("recursion_limit must be at least 1")
        saver = self._saver(merged)
        if saver is not None and not merged[CONF]:
            raise ValueError(
                "Checkpointer requires one or more of the following 'configurable' keys: "
                "thread_id, checkpoint_ns, checkpoint_id"
            )
        if saver is None and durability is not None:
            warnings.warn(
                "`durability` has no effect when no checkpointer is present.", stacklevel=3
            )
        merged = self._own_namespace(merged)
        conf = merged[CONF]
        outlet = Outlet(modes, blocking=blocking) if modes else None
        runtime = self._runtime(merged, context, control, outlet)
        # The configuration that the caller gave is not ours to write to.
        merged[CONF] = conf = {**conf, CONFIG_KEY_RUNTIME: runtime}
        if durability is not None:
            conf[CONFIG_KEY_DURABILITY] = durability
        run = Run(
            self,
            given,
            merged,
            blocking=blocking,
            outlet=outlet,
            eager=self.stream_eager or subgraphs or not _EAGER_MODES.isdisjoint(modes),
            streams_subgraphs=subgraphs,
            output_keys=output_keys,
            before=interrupt_before or self.interrupt_before_nodes,
            after=interrupt_after or self.interrupt_after_nodes,
            saver=saver,
            durability=durability or conf.get(CONFIG_KEY_DURABILITY, "async"),
            cache=conf.get(CONFIG_KEY_CACHE, self.cache),
            runtime=runtime,
        )
        if (
            "langchain_core.callbacks.manager" in sys.modules
            or not _HEARD_MODES.isdisjoint(modes)
            or merged["callbacks"]
            or is_traced()
        ):
            from ._callbacks import listen

            await listen(run, modes, subgraphs=subgraphs, version=version)
        return run

    def _saver(self, config: Mapping[str, Any]) -> Any:
        if self.checkpointer is False:
            return None
        conf = config[CONF]
        if CONFIG_KEY_CHECKPOINTER in conf:
            return conf[CONFIG_KEY_CHECKPOINTER]
        if self.checkpointer is True:
            raise RuntimeError("checkpointer=True cannot be used for root graphs.")
        return self.checkpointer

    def _own_namespace(self, config: dict[str, Any]) -> dict[str, Any]:
        """For a nested graph that keeps its state: a namespace that is the same for every call."""
        if self.checkpointer is not True:
            return config
        namespace = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
        own = NS_SEP.join(part.split(NS_END)[0] for part in namespace.split(NS_SEP))
        return patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: own})

    def _runtime(
        self,
        config: Mapping[str, Any],
        context: Any,
        control: RunControl | None,
        outlet: Outlet | None,
    ) -> Runtime[Any]:
        conf = config[CONF]
        outer = conf.get(CONFIG_KEY_RUNTIME, DEFAULT_RUNTIME)
        if not isinstance(outer, Runtime):  # a server's, which was there before the run
            outer = Runtime(
                context=getattr(outer, "context", None), store=getattr(outer, "store", None)
            )
        store = outer.store if CONFIG_KEY_RUNTIME in conf else self.store
        writer: Callable[[Any], None] = _no_writer
        caller = conf.get(CONFIG_KEY_TASK)
        if outlet is not None and "custom" in outlet.modes:
            writer = _CustomWriter(outlet)
        elif caller is not None and caller.run.inner_outlet is not None:
            writer = outer.stream_writer
        return Runtime(
            context=_as_context(self.context_schema, context) or outer.context,
            store=store or outer.store,
            stream_writer=writer,
            heartbeat=outer.heartbeat,
            previous=outer.previous,
            execution_info=outer.execution_info,
            server_info=_server_info(conf) or outer.server_info,
            control=control or outer.control or RunControl(),
        )

    # -- several inputs -----------------------------------------------------------------------

    def batch(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Run the graph for several inputs side by side; the outputs are in the inputs' order.

        Args:
            inputs: one for each run.
            config: one for all, or one for each.
            return_exceptions: return what a run raises in its place.
        """
        from concurrent.futures import ThreadPoolExecutor
        from contextvars import copy_context

        configs = _each(config, len(inputs))

        def one(given: Any, own: Config) -> Any:
            try:
                return self.invoke(given, own, **kwargs)
            except Exception as error:
                if not return_exceptions:
                    raise
                return error

        if not inputs:
            return []
        if len(inputs) == 1:
            return [one(inputs[0], configs[0])]
        limit = (configs[0] or {}).get("max_concurrency")
        with ThreadPoolExecutor(limit) as pool:
            futures = [
                pool.submit(copy_context().run, one, given, own)
                for given, own in zip(inputs, configs, strict=True)
            ]
            return [future.result() for future in futures]

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """As :meth:`batch`, awaited."""
        import asyncio

        configs = _each(config, len(inputs))
        limit = (configs[0] or {}).get("max_concurrency") if configs else None
        places = asyncio.Semaphore(limit or max(len(inputs), 1))

        async def one(given: Any, own: Config) -> Any:
            async with places:
                return await self.ainvoke(given, own, **kwargs)

        runs = (one(given, own) for given, own in zip(inputs, configs, strict=True))
        return list(await asyncio.gather(*runs, return_exceptions=return_exceptions))

    # -- events -------------------------------------------------------------------------------

    @overload
    def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[Any]: ...
    @overload
    def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        version: Literal["v3"],
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        control: RunControl | None = None,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, AsyncGraphRunStream]: ...
    def astream_events(
        self,
        input: Any,
        config: Config = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """What happens in the run and in all that it calls.

        Args:
            input: as of :meth:`invoke`.
            config: the call's configuration.
            version: ``"v3"`` gives, once awaited, a run that goes on as it is read, an
                :class:`~plait_adapters.langgraph.stream.AsyncGraphRunStream`. The others iterate
                over what langchain-core tells.
            transformers: classes of transformers, or functions that make one for a namespace,
                beside those that the graph was compiled with. With ``"v3"`` only.
            kwargs: the arguments of :meth:`astream`; with ``"v3"``, all but ``stream_mode`` and
                ``subgraphs``. The other versions also take those of langchain-core's method.

        Raises:
            TypeError: an argument that this version does not take.
        """
        if version == "v3":
            from ._event_streams import open_stream_async

            return open_stream_async(self, input, config, transformers, kwargs)
        _only_v3(transformers, version)
        base = need("langchain_core.runnables.base", "astream_events()")
        return base.Runnable.astream_events(self, input, config, version=version, **kwargs)

    def stream_events(
        self,
        input: InputT | Command[Any] | None,
        config: Config = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        control: RunControl | None = None,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **kwargs: Any,
    ) -> GraphRunStream:
        """As :meth:`astream_events`, for synchronous callers: a
        :class:`~plait_adapters.langgraph.stream.GraphRunStream`.

        Raises:
            TypeError: an argument that this version does not take.
            NotImplementedError: of other versions than ``"v3"``, which langchain-core does not have
                for synchronous callers.
        """
        if version != "v3":
            raise NotImplementedError(
                f"stream_events(version={version!r}) is not in langchain-core: use astream_events, "
                "or version='v3'"
            )
        from ._event_streams import open_stream

        options = {
            "interrupt_before": interrupt_before,
            "interrupt_after": interrupt_after,
            "control": control,
            **kwargs,
        }
        return open_stream(self, input, config, transformers, options)

    # -- state --------------------------------------------------------------------------------

    def get_state(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """The state of a thread: at its latest checkpoint, or at that which ``config`` names.

        Args:
            config: names the thread, and maybe the checkpoint.
            subgraphs: with the states of nested graphs in place of their addresses.

        Raises:
            ValueError: the graph has no checkpointer.
        """
        from plait_adapters.langgraph._internal._state import get_state

        return _edge.finish(get_state(self, config, subgraphs=subgraphs, blocking=True))

    async def aget_state(
        self, config: Mapping[str, Any], *, subgraphs: bool = False
    ) -> StateSnapshot:
        """As :meth:`get_state`, awaited."""
        from plait_adapters.langgraph._internal._state import get_state

        return await get_state(self, config, subgraphs=subgraphs, blocking=False)

    def get_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The states of a thread, the newest first.

        Args:
            config: names the thread.
            filter: metadata that a checkpoint must have.
            before: only checkpoints before the one that this names.
            limit: how many at most.
        """
        from plait_adapters.langgraph._internal._state import history

        return _edge.iterate(
            history(self, config, filter=filter, before=before, limit=limit, blocking=True)
        )

    def aget_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[StateSnapshot, None]:
        """As :meth:`get_state_history`, asynchronously."""
        from plait_adapters.langgraph._internal._state import history

        return history(self, config, filter=filter, before=before, limit=limit, blocking=False)

    def update_state(
        self,
        config: Mapping[str, Any],
        values: dict[str, Any] | Any | None,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """Write to a thread's state as if a node had. Returns what names the new checkpoint.

        Args:
            config: names the thread, and maybe the checkpoint to begin at.
            values: what the node would have returned.
            as_node: the node; by default, the one that wrote last.
            task_id: the id of the task that is to have made the update.

        Raises:
            InvalidUpdateError: it is not clear which node wrote last, or there is no such node.
            ValueError: the graph has no checkpointer.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    async def aupdate_state(
        self,
        config: Mapping[str, Any],
        values: dict[str, Any] | Any | None,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`update_state`, awaited."""
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[StateUpdate]]
    ) -> dict[str, Any]:
        """As :meth:`update_state`, for several steps, each of several nodes."""
        from plait_adapters.langgraph._internal._state import update

        return _edge.finish(update(self, config, supersteps, blocking=True))

    async def abulk_update_state(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[StateUpdate]]
    ) -> dict[str, Any]:
        """As :meth:`bulk_update_state`, awaited."""
        from plait_adapters.langgraph._internal._state import update

        return await update(self, config, supersteps, blocking=False)

    def _migrate_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Bring a checkpoint of an earlier format up to date, in place."""
        if checkpoint["v"] < 4 and checkpoint.get("pending_sends"):
            checkpoint["channel_values"][TASKS] = checkpoint.pop("pending_sends")
            checkpoint["channel_versions"][TASKS] = max(checkpoint["channel_versions"].values())

    # -- cache --------------------------------------------------------------------------------

    def _cache_namespaces(self, nodes: Sequence[str] | None) -> list[tuple[str, ...]]:
        if self.cache is None:
            raise ValueError("No cache is set for this graph. Cannot clear cache.")
        return [
            cache_namespace(function_of(self.nodes[name].bound), name)
            for name in nodes or self.nodes
            if name in self.nodes
        ]

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget what the cache keeps for nodes; by default, for all.

        Raises:
            ValueError: the graph has no cache.
        """
        namespaces = self._cache_namespaces(nodes)
        self.cache.clear(namespaces)

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """As :meth:`clear_cache`, awaited."""
        namespaces = self._cache_namespaces(nodes)
        await self.cache.aclear(namespaces)


_registered: set[type[Any]] = set()


def _langchain_debug() -> bool:
    module = loaded("langchain_core.globals")
    return bool(module.get_debug()) if module is not None else False


def _only_v3(transformers: Any, version: str) -> None:
    if transformers:
        raise TypeError(
            f"astream_events(version={version!r}) does not accept transformers, which are for "
            "version='v3'"
        )


def _no_writer(_: Any) -> None: ...


class _CustomWriter:
    """Puts values into a stream of mode ``custom``, with the namespace of the node that gives
    them."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def __call__(self, value: Any) -> None:
        namespace = get_config()[CONF][CONFIG_KEY_CHECKPOINT_NS].split(NS_SEP)
        self._outlet.put((tuple(namespace[:-1]), "custom", value))


def _each(config: Any, number: int) -> list[Any]:
    if isinstance(config, Sequence):
        if len(config) != number:
            raise ValueError(
                f"config must be a list of the same length as inputs: {len(config)}, {number}"
            )
        return list(config)
    return [config] * number


def _as_context(schema: Any, context: Any) -> Any:
    if (
        isinstance(context, dict)
        and isclass(schema)
        and (is_pydantic_type(schema) or is_dataclass(schema))
    ):
        return schema(**context)
    return context


def _server_info(conf: Mapping[str, Any]) -> ServerInfo | None:
    assistant, graph = conf.get("assistant_id"), conf.get("graph_id")
    user = conf.get("langgraph_auth_user")
    if user is not None and not hasattr(user, "identity"):
        user = None
    if assistant is None and graph is None and user is None:
        return None
    return ServerInfo(str(assistant or ""), str(graph or ""), user)


class _Shape:
    """Gives the chunks of a run the form that the reader asked for, and prints those to print."""

    def __init__(
        self,
        graph: Pregel[Any, Any, Any, Any],
        modes: Any,
        prints: set[str],
        subgraphs: bool,
        version: str,
    ) -> None:
        self.modes = {modes} if isinstance(modes, str) else set(modes)
        self.is_list = not isinstance(modes, str)
        self.prints = prints
        self.subgraphs = subgraphs
        self.version = version
        self.output_mapper = graph._output_mapper
        self.state_mapper = graph._state_mapper

    def items(self, chunk: Chunk) -> Iterator[Any]:
        namespace, mode, payload = chunk
        if mode in self.prints:
            where = f" \033[33;1m[graph={namespace}]\033[0m" if self.subgraphs and namespace else ""
            print(f"\033[1m[{mode}]\033[0m{where} {payload!r}")  # noqa: T201 - it was asked for
        if mode not in self.modes:
            return
        if self.version == "v2":
            yield self._part(namespace, mode, payload)
        elif self.subgraphs:
            yield (namespace, mode, payload) if self.is_list else (namespace, payload)
        else:
            yield (mode, payload) if self.is_list else payload

    def _part(self, namespace: tuple[str, ...], mode: str, payload: Any) -> dict[str, Any]:
        part: dict[str, Any] = {"type": mode, "ns": namespace, "data": payload}
        if mode == "values":
            part["interrupts"] = ()
            if isinstance(payload, dict):
                part["interrupts"] = payload.get(INTERRUPT, ())
                values = {key: value for key, value in payload.items() if key != INTERRUPT}
                part["data"] = values if self.output_mapper is None else self.output_mapper(values)
        elif mode in ("checkpoints", "debug") and self.state_mapper is not None:
            part["data"] = self._with_state(payload)
        return part

    def _with_state(self, payload: Any) -> Any:
        """A checkpoint whose values are an instance of the state's schema."""
        if payload.get("type") == "checkpoint" and isinstance(payload.get("payload"), dict):
            return {**payload, "payload": self._with_state(payload["payload"])}
        if isinstance(payload.get("values"), dict) and START not in payload.get("next", ()):
            assert self.state_mapper is not None
            return {**payload, "values": self.state_mapper(payload["values"])}
        return payload
