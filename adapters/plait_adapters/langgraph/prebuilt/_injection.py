"""What a tool is given beside the arguments that the model chose: state, store, runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Generic, Union, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools.base import (
    _DirectlyInjectedToolArg,
    _is_injected_arg_type,
    get_all_basemodel_annotations,
)
from typing_extensions import TypeVar

from plait_adapters.langgraph.pregel._tools import tool_call_writer
from plait_adapters.langgraph.runtime import ExecutionInfo, ServerInfo
from plait_adapters.langgraph.store.base import BaseStore
from plait_adapters.langgraph.types import StreamWriter

StateT = TypeVar("StateT", default=dict[str, Any])
ContextT = TypeVar("ContextT", default=None)


class InjectedState(InjectedToolArg):
    """Marks an argument that is given the graph's state, or one field of it.

    `Annotated[dict, InjectedState]` is the whole state, `Annotated[str, InjectedState("name")]` is
    one field. The model neither sees such an argument nor can set it.
    """

    def __init__(self, field: str | None = None) -> None:
        """Take the field; None is the whole state."""
        self.field = field


class InjectedStore(InjectedToolArg):
    """Marks an argument that is given the store: `Annotated[BaseStore, InjectedStore()]`."""


@dataclass
class ToolRuntime(_DirectlyInjectedToolArg, Generic[ContextT, StateT]):
    """All that a tool can know of the run: an argument of this type, or called `runtime`."""

    state: StateT
    """The state as the node was given it."""
    context: ContextT
    """What the caller gave the run as its context."""
    config: RunnableConfig
    stream_writer: StreamWriter
    """Writes a value to the `custom` stream."""
    tool_call_id: str | None
    store: BaseStore | None
    tools: list[BaseTool] = field(default_factory=list)
    """All tools of the node."""
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None

    def emit_output_delta(self, delta: Any) -> None:
        """Send a part of the output to the `tools` stream, if somebody reads it."""
        write = tool_call_writer.get()
        if write is not None:
            write(delta)


@dataclass(frozen=True, slots=True)
class InjectedArguments:
    """Which arguments of one tool are injected."""

    state: dict[str, str | None]
    """By argument: the field of the state, or None for all of it."""
    store: str | None
    runtime: str | None
    all: frozenset[str]
    """Every argument that the model may not set, those of users' own markers among them."""
    optional: frozenset[str]
    """Arguments with a default, which are left out if the state has no such field."""

    @property
    def names(self) -> frozenset[str]:
        """Those that are given a value here."""
        return frozenset(each for each in (*self.state, self.store, self.runtime) if each)


def injected_into(tool: BaseTool) -> InjectedArguments:
    """Which arguments of a tool are injected, by its schema and by its function's annotations.

    Raises:
        ValueError: an argument has one marker twice.
    """
    schema = tool.get_input_schema()
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    hints: dict[str, Any] = get_type_hints(function, include_extras=True) if function else {}
    hints |= get_all_basemodel_annotations(schema)
    state: dict[str, str | None] = {}
    store = runtime = None
    hidden, optional = set(), set()
    for name, hint in hints.items():
        if _is_injected_arg_type(hint):
            hidden.add(name)
        if name == "runtime" or _marker(hint, ToolRuntime):
            runtime = name
        if _marker(hint, InjectedStore):
            store = name
        marker = _marker(hint, InjectedState)
        if marker is None:
            continue
        state[name] = getattr(marker, "field", None) if isinstance(marker, InjectedState) else None
        model_field = getattr(schema, "model_fields", {}).get(name)
        if state[name] and model_field is not None and not model_field.is_required():
            optional.add(name)
    return InjectedArguments(state, store, runtime, frozenset(hidden), frozenset(optional))


def _marker(hint: Any, kind: type) -> Any:
    """The marker of a kind in an annotation: an instance or the class; None if there is none."""
    found = [each for each in get_args(hint) if _is_marked(each, kind)]
    if len(found) > 1:
        raise ValueError(
            f"A tool argument should not be annotated with {kind.__name__} more than once. "
            f"Found: {found}"
        )
    if found:
        return found[0]
    return hint if _is_marked(hint, kind) else None


def _is_marked(hint: Any, kind: type) -> bool:
    if isinstance(hint, kind) or (isinstance(hint, type) and issubclass(hint, kind)):
        return True
    origin = get_origin(hint)
    if origin in {Union, UnionType, Annotated}:
        return any(_is_marked(each, kind) for each in get_args(hint))
    return isinstance(origin, type) and issubclass(origin, kind)
