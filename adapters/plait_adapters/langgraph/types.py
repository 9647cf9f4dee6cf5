"""What programs pass to a graph, and what it gives back."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypeAlias,
    final,
    overload,
)

from typing_extensions import TypeAliasType, TypedDict, TypeVar

from plait_adapters.langgraph._support import missing

from ._internal._constants import CONF, CONFIG_KEY_TASK, INTERRUPT, OVERWRITE
from ._internal._fields import annotated_keys, updates_of
from ._internal._ids import known_ids
from ._internal._langchain import need
from ._internal._retries import default_retry_on
from .errors import mark_invalid_resume
from .warnings import LangGraphDeprecatedSinceV10, LangGraphDeprecatedSinceV11

if TYPE_CHECKING:
    from typing import TypeVar as _TypeVar  # noqa: F401

    from .config import RunnableConfig

__all__ = (
    "All",
    "CachePolicy",
    "CheckpointPayload",
    "CheckpointStreamPart",
    "CheckpointTask",
    "Checkpointer",
    "Command",
    "CustomStreamPart",
    "DebugPayload",
    "DebugStreamPart",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "MessagesStreamPart",
    "Overwrite",
    "PregelExecutableTask",
    "PregelTask",
    "RetryPolicy",
    "Send",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamPart",
    "StreamWriter",
    "TaskPayload",
    "TaskResultPayload",
    "TasksStreamPart",
    "TimeoutPolicy",
    "TracePolicy",
    "UpdatesStreamPart",
    "ValuesStreamPart",
    "ensure_valid_checkpointer",
    "interrupt",
    "omit_payload",
)

StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT")
ResponseT = TypeVar("ResponseT", default=Any)

Durability = Literal["sync", "async", "exit"]
"""When a checkpoint is durable: before the next step, while it runs, or at the end of the run."""

All = Literal["*"]
"""Every node, where nodes are named."""

Checkpointer: TypeAlias = Any
"""A saver; ``True`` for a nested graph that keeps its state between calls; ``False`` for one that
keeps nothing even if its parent does; ``None`` for what the parent has."""

_SAVER_METHODS: Final = ("get_tuple", "put", "put_writes", "get_next_version")


def ensure_valid_checkpointer(checkpointer: Checkpointer) -> Checkpointer:
    """Return the argument of ``compile(checkpointer=...)``, if it can be one.

    Raises:
        TypeError: it has not the methods of a saver.
    """
    if checkpointer is None or checkpointer is True or checkpointer is False:
        return checkpointer
    if isinstance(checkpointer, type) or not all(
        hasattr(checkpointer, name) for name in _SAVER_METHODS
    ):
        raise TypeError(
            "Invalid checkpointer provided. Expected an instance of `BaseCheckpointSaver`, `True`, "
            f"`False`, or `None`. Received {type(checkpointer).__name__}. Pass a proper saver, "
            f"such as InMemorySaver() or AsyncPostgresSaver (within `async with`)."
        )
    return checkpointer


StreamMode = Literal["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]
"""What a stream tells: the state after each step, what nodes wrote, checkpoints, the beginning and
end of tasks, both of these with numbers of steps, messages and their tokens, or what nodes send to
it."""

StreamWriter = Callable[[Any], None]
"""Puts a value into the stream of mode ``custom``; does nothing where nobody reads that."""


class TaskPayload(TypedDict):
    """A task begins, in the mode ``tasks``."""

    id: str
    name: str
    input: Any
    triggers: list[str]
    metadata: NotRequired[dict[str, Any]]


class TaskResultPayload(TypedDict):
    """A task has ended, in the mode ``tasks``."""

    id: str
    name: str
    error: str | None
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class CheckpointTask(TypedDict):
    """A task of the next step, in a :class:`CheckpointPayload`."""

    id: str
    name: str
    error: NotRequired[str]
    result: NotRequired[Any]
    interrupts: NotRequired[list[dict[str, Any]]]
    state: Any


class CheckpointPayload(TypedDict, Generic[StateT]):
    """A checkpoint has been made, in the mode ``checkpoints``."""

    config: RunnableConfig | None
    metadata: Any
    values: StateT
    next: list[str]
    parent_config: RunnableConfig | None
    tasks: list[CheckpointTask]


class _DebugCheckpointPayload(TypedDict, Generic[StateT]):
    step: int
    timestamp: str
    type: Literal["checkpoint"]
    payload: CheckpointPayload[StateT]


class _DebugTaskPayload(TypedDict):
    step: int
    timestamp: str
    type: Literal["task"]
    payload: TaskPayload


class _DebugTaskResultPayload(TypedDict):
    step: int
    timestamp: str
    type: Literal["task_result"]
    payload: TaskResultPayload


DebugPayload = TypeAliasType(
    "DebugPayload",
    _DebugCheckpointPayload[StateT] | _DebugTaskPayload | _DebugTaskResultPayload,
    type_params=(StateT,),
)
"""What the mode ``debug`` tells."""


class ValuesStreamPart(TypedDict, Generic[OutputT]):
    """The state after a step."""

    type: Literal["values"]
    ns: tuple[str, ...]
    data: OutputT
    interrupts: tuple[Interrupt[Any], ...]


class UpdatesStreamPart(TypedDict):
    """What a node wrote."""

    type: Literal["updates"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class MessagesStreamPart(TypedDict):
    """A message or a part of one, and where it comes from."""

    type: Literal["messages"]
    ns: tuple[str, ...]
    data: tuple[Any, dict[str, Any]]


class CustomStreamPart(TypedDict):
    """What a node sent to the stream."""

    type: Literal["custom"]
    ns: tuple[str, ...]
    data: Any


class CheckpointStreamPart(TypedDict, Generic[StateT]):
    """A checkpoint has been made."""

    type: Literal["checkpoints"]
    ns: tuple[str, ...]
    data: CheckpointPayload[StateT]


class TasksStreamPart(TypedDict):
    """A task begins or has ended."""

    type: Literal["tasks"]
    ns: tuple[str, ...]
    data: TaskPayload | TaskResultPayload


class DebugStreamPart(TypedDict, Generic[StateT]):
    """A checkpoint or a task, with the number of its step."""

    type: Literal["debug"]
    ns: tuple[str, ...]
    data: DebugPayload[StateT]


StreamPart = TypeAliasType(
    "StreamPart",
    ValuesStreamPart[OutputT]
    | UpdatesStreamPart
    | MessagesStreamPart
    | CustomStreamPart
    | CheckpointStreamPart[StateT]
    | TasksStreamPart
    | DebugStreamPart[StateT],
    type_params=(StateT, OutputT),
)
"""One item of a stream with ``version="v2"``."""


@dataclass(frozen=True)
class GraphOutput(Generic[OutputT]):
    """What ``invoke(version="v2")`` gives."""

    value: OutputT
    """The output, as an instance of the output schema."""
    interrupts: tuple[Interrupt[Any], ...] = ()
    """What the run waits for."""

    def _warn(self, how: str) -> None:
        warnings.warn(
            f"Accessing GraphOutput via `{how}` is deprecated. Use `result.value` for the "
            f"output, or `result.interrupts` for interrupts.",
            LangGraphDeprecatedSinceV11,
            stacklevel=3,
        )

    def __getitem__(self, key: str) -> Any:
        self._warn("result[key]")
        if key == INTERRUPT:
            return self.interrupts
        if isinstance(self.value, dict):
            return self.value[key]
        try:
            return getattr(self.value, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        self._warn("key in result")
        if key == INTERRUPT:
            return bool(self.interrupts)
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(key, str) and hasattr(self.value, key)


class RetryPolicy(NamedTuple):
    """When a failed node is tried again, and after how long.

    Attempt n + 1 comes ``initial_interval * backoff_factor ** (n - 1)`` seconds after attempt n, at
    most ``max_interval``, and with ``jitter`` up to one second later.
    """

    initial_interval: float = 0.5
    """Seconds before the second attempt."""
    backoff_factor: float = 2.0
    """By how much each further wait is longer than the one before."""
    max_interval: float = 128.0
    """The longest wait, in seconds, before jitter."""
    max_attempts: int = 3
    """How many attempts in all."""
    jitter: bool = True
    """Whether up to one second, drawn evenly, is added to each wait."""
    retry_on: type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool] = (
        default_retry_on
    )
    """Which failures are tried again: a class, several, or a predicate."""


def _seconds(value: float | timedelta | None, field: str) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds <= 0:
        raise ValueError(f"{field} must be greater than 0")
    return seconds


@dataclass(kw_only=True, slots=True, frozen=True)
class TimeoutPolicy:
    """How long one attempt of a node may take. Only for ``async`` nodes: a thread cannot be
    stopped."""

    run_timeout: float | timedelta | None = None
    """Seconds for the whole attempt."""
    idle_timeout: float | timedelta | None = None
    """Seconds without progress."""
    refresh_on: Literal["auto", "heartbeat"] = "auto"
    """What counts as progress: anything that the node is seen to do, or ``runtime.heartbeat()``
    only."""

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """A policy from what may be given for one, with its times in seconds.

        Raises:
            ValueError: a time is not above 0, or ``refresh_on`` is unknown.
        """
        if value is None:
            return None
        policy = value if isinstance(value, TimeoutPolicy) else cls(run_timeout=value)
        if policy.refresh_on not in ("auto", "heartbeat"):
            raise ValueError("refresh_on must be 'auto' or 'heartbeat'")
        run = _seconds(policy.run_timeout, "run_timeout")
        idle = _seconds(policy.idle_timeout, "idle_timeout")
        if run is None and idle is None:
            return None
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=policy.refresh_on)


def _default_cache_key(*args: Any, **kwargs: Any) -> str | bytes:
    from ._internal._cache_keys import default_cache_key

    return default_cache_key(*args, **kwargs)


KeyFuncT = TypeVar("KeyFuncT", bound=Callable[..., str | bytes], default=Callable[..., str | bytes])


@dataclass(kw_only=True, slots=True, frozen=True)
class CachePolicy(Generic[KeyFuncT]):
    """That the writes of a node are kept in the graph's cache, by its input."""

    key_func: KeyFuncT = _default_cache_key  # type: ignore[assignment]
    """Makes the key from the node's input; by default, from all of it."""
    ttl: int | None = None
    """Seconds for which an entry holds; ``None`` for ever."""


@dataclass(kw_only=True, slots=True, frozen=True)
class TracePolicy:
    """What tracers see of a node in place of its real input and output."""

    process_inputs: Callable[[Any], Any] | None = None
    """Makes what is recorded from the input."""
    process_outputs: Callable[[Any], Any] | None = None
    """Makes what is recorded from the output."""


def omit_payload(_value: Any) -> dict[str, Any]:
    """For a :class:`TracePolicy`: records nothing."""
    return {}


_NO_ID: Final = "placeholder-id"


@final
@dataclass(init=False, slots=True)
class Interrupt(Generic[ResponseT]):
    """Something a node asked, and for which the run waits."""

    value: Any
    """What was asked."""
    id: str
    """By which it can be answered: ``Command(resume={id: answer})``."""
    response_schema: type[ResponseT] | dict[str, Any] | None = None
    """What an answer must be, as a JSON schema."""

    def __init__(
        self,
        value: Any,
        id: str = _NO_ID,
        *,
        response_schema: type[ResponseT] | dict[str, Any] | None = None,
        ns: Sequence[str] = (),
        resumable: bool = True,
        when: str = "during",
        interrupt_id: str = "",
    ) -> None:
        """``ns``, ``resumable``, ``when`` and ``interrupt_id`` are those of earlier versions'
        records."""
        self.value = value
        self.id = interrupt_id or id
        if ns and id == _NO_ID:
            self.id = known_ids()[0].interrupt("|".join(ns))
        self.response_schema = response_schema

    @classmethod
    def from_ns(
        cls,
        value: Any,
        ns: str,
        *,
        response_schema: type[ResponseT] | dict[str, Any] | None = None,
    ) -> Interrupt[ResponseT]:
        """The first interrupt of the task that has a namespace."""
        return cls(value, known_ids()[0].interrupt(ns), response_schema=response_schema)

    @property
    def interrupt_id(self) -> str:
        """Deprecated: the same as ``id``."""
        warnings.warn(
            "`interrupt_id` is deprecated. Use `id` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self.id


class StateUpdate(NamedTuple):
    """One node's part of a step that ``bulk_update_state`` makes."""

    values: dict[str, Any] | None
    """What the node would have returned."""
    as_node: str | None = None
    """The node; ``None`` for the one that wrote last."""
    task_id: str | None = None
    """The id of the task that is to have made the update; ``None`` for the one that fits."""


class PregelTask(NamedTuple):
    """A task of a step, in a :class:`StateSnapshot`."""

    id: str
    name: str
    path: tuple[Any, ...]
    """Where it comes from: edges or a Send, and the number of the Send."""
    error: Exception | None = None
    """Why it failed."""
    interrupts: tuple[Interrupt[Any], ...] = ()
    """What it asked."""
    state: RunnableConfig | StateSnapshot | None = None
    """Where the state of the graph that it calls is, or that state."""
    result: Any | None = None
    """What it wrote."""


class CacheKey(NamedTuple):
    """Where the writes of a task are kept in a cache."""

    ns: tuple[str, ...]
    """The namespace."""
    key: str
    """The digest of what the policy's ``key_func`` gave."""
    ttl: int | None
    """Seconds for which an entry holds."""


@dataclass(frozen=True)
class PregelExecutableTask:
    """A task that can be carried out."""

    name: str
    input: Any
    proc: Any
    writes: deque[tuple[str, Any]]
    config: RunnableConfig
    triggers: Sequence[str]
    retry_policy: Sequence[RetryPolicy]
    cache_key: CacheKey | None
    id: str
    path: tuple[Any, ...]
    writers: Sequence[Any] = ()
    subgraphs: Sequence[Any] = ()
    timeout: TimeoutPolicy | None = None


class StateSnapshot(NamedTuple):
    """A thread's state at one checkpoint."""

    values: dict[str, Any] | Any
    """The values of the channels that hold one."""
    next: tuple[str, ...]
    """The nodes that would run next."""
    config: RunnableConfig
    """Names the checkpoint."""
    metadata: Any
    """Of the checkpoint: ``source``, ``step``, ``parents`` and what the caller added."""
    created_at: str | None
    """When, in ISO 8601."""
    parent_config: RunnableConfig | None
    """Names the checkpoint before."""
    tasks: tuple[PregelTask, ...]
    """The tasks of the next step."""
    interrupts: tuple[Interrupt[Any], ...]
    """What they wait for."""


class Send:
    """A way on to a node with an input of its own.

    Args:
        node: the node to go to.
        arg: what the node is called with.
        timeout: in place of the node's own limits, in seconds or as a policy.
    """

    __slots__ = ("arg", "node", "timeout")

    node: str
    arg: Any
    timeout: TimeoutPolicy | None

    def __init__(
        self, /, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        self.node = node
        self.arg = arg
        self.timeout = None if timeout is None else TimeoutPolicy.coerce(timeout)

    def __hash__(self) -> int:
        return hash((self.node, self.arg, self.timeout))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Send)
            and self.node == other.node
            and self.arg == other.arg
            and self.timeout == other.timeout
        )

    def __repr__(self) -> str:
        limit = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{limit})"


N = TypeVar("N", bound=Hashable, default=str)


@dataclass(kw_only=True, slots=True, frozen=True)
class Command(Generic[N]):
    """Writes, ways on and answers, in one.

    A node returns it to write and to choose the way on; a caller gives it as input to resume.
    """

    graph: str | None = None
    """The graph it is for: ``None`` for this one, ``Command.PARENT`` for the one around it."""
    update: Any | None = None
    """The writes: a mapping, pairs, or an object with annotated fields."""
    resume: dict[str, Any] | Any | None = None
    """The answer to an open interrupt, or a mapping of interrupts' ids to answers."""
    goto: Send | Sequence[Send | N] | N = ()
    """Where to go, in addition to the node's own edges."""

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    def __repr__(self) -> str:
        fields = ((each.name, getattr(self, each.name)) for each in dataclasses.fields(self))
        return f"Command({', '.join(f'{name}={value!r}' for name, value in fields if value)})"

    def __reduce__(self) -> Any:
        return _command, (self.graph, self.update, self.resume, self.goto)

    def _update_as_tuples(self) -> Sequence[tuple[str, Any]]:
        update = self.update
        if update is None:
            return []
        if isinstance(update, dict):
            return list(update.items())
        if isinstance(update, (list, tuple)) and all(
            isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str)
            for each in update
        ):
            return update
        if keys := annotated_keys(type(update)):
            return updates_of(update, keys)
        return [("__root__", update)]

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A tool may return a command: langchain-core knows by a class that it is to be left
        alone."""
        tool = sys.modules.get("langchain_core.messages.tool")
        return Command if tool is None else _as_tool_output(tool.ToolOutputMixin)


def _command(graph: Any, update: Any, resume: Any, goto: Any) -> Command[Any]:
    return Command(graph=graph, update=update, resume=resume, goto=goto)


_tool_outputs: dict[type[Any], type[Any]] = {}


def _as_tool_output(mixin: type[Any]) -> type[Any]:
    cls = _tool_outputs.get(mixin)
    if cls is None:
        cls = type("Command", (Command, mixin), {"__slots__": (), "__module__": __name__})
        _tool_outputs[mixin] = cls
    return cls


@overload
def interrupt(value: Any, *, response_schema: type[ResponseT]) -> ResponseT: ...
@overload
def interrupt(value: Any, *, response_schema: dict[str, Any] | None = None) -> Any: ...
def interrupt(value: Any, *, response_schema: dict[str, Any] | type[Any] | None = None) -> Any:
    """Ask somebody outside the run, and return the answer; from within a node.

    The first time there is no answer: the run stops and waits. After ``Command(resume=answer)`` the
    node runs again from its top, and this call returns the answer. Answers are matched by the order
    of the calls. Needs a checkpointer.

    Args:
        value: what is asked.
        response_schema: what the answer must be: a type, against which it is checked, or a JSON
            schema that is shown with the question.

    Raises:
        GraphInterrupt: the signal by which the run stops; let it pass.
        pydantic.ValidationError: the answer does not fit the type.
    """
    from .config import get_config

    task = get_config()[CONF][CONFIG_KEY_TASK]
    adapter: Any = None
    if response_schema is not None and not isinstance(response_schema, dict):
        from pydantic import TypeAdapter

        adapter = TypeAdapter(response_schema)
    shown = response_schema if adapter is None else adapter.json_schema()
    return task.ask(
        value, lambda given: given if adapter is None else _validate(adapter, given), shown
    )


def _validate(adapter: Any, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        mark_invalid_resume(error)
        raise


@dataclass(slots=True)
class Overwrite:
    """A write that replaces a channel's value, past its reducer. One in a step."""

    value: Any
    """The new value."""
    type: Literal["__overwrite__"] = OVERWRITE
    """Marks it where it has become JSON."""


def interrupt_facts(value: Interrupt[Any]) -> dict[str, Any]:
    """An interrupt as the modes ``tasks`` and ``checkpoints`` show it."""
    return asdict(value)


if TYPE_CHECKING:
    from langchain_core.messages.tool import ToolOutputMixin as ToolOutputMixin  # noqa: PLC0414 - for others
else:  # or a type checker would take every name for one that is here
    _lacking = missing(__name__)

    def __getattr__(name: str) -> Any:
        """What is langchain-core's is imported when it is asked for."""
        if name == "ToolOutputMixin":
            return need("langchain_core.messages.tool", name).ToolOutputMixin
        return _lacking(name)
