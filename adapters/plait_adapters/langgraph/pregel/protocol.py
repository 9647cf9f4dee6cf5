"""What can be asked of a compiled graph, for annotations and ``isinstance``; sinks of streams."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

from typing_extensions import TypeVar

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.types import All, Command, StateSnapshot, StateUpdate, StreamMode
from plait_adapters.langgraph.typing import ContextT_contra, StateLike, StateT_co

__all__ = ("PregelProtocol", "StreamProtocol")

StreamChunk: TypeAlias = tuple[tuple[str, ...], str, Any]
"""A namespace, a mode and data."""

Config = Mapping[str, Any] | None

InputT_contra = TypeVar("InputT_contra", bound=StateLike, contravariant=True, default=StateT_co)
OutputT_co = TypeVar("OutputT_co", bound=StateLike, covariant=True, default=StateT_co)


@runtime_checkable
class PregelProtocol(Protocol[StateT_co, ContextT_contra, InputT_contra, OutputT_co]):
    """What a compiled graph does for others.

    Every graph here is one, and so is any other object with these methods. A class may derive from
    it to have a type checker, and Python when it is called, say which of them it lacks.
    """

    @abstractmethod
    def with_config(self, config: Config = None, **kwargs: Any) -> Self:
        """The same graph with a configuration that holds for every call."""
        ...

    @abstractmethod
    def get_graph(self, config: Config = None, *, xray: int | bool = False) -> Any:
        """A drawing of it: langchain-core's ``Graph``."""
        ...

    @abstractmethod
    async def aget_graph(self, config: Config = None, *, xray: int | bool = False) -> Any:
        """As :meth:`get_graph`, awaited."""
        ...

    @abstractmethod
    def get_state(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """The state of a thread."""
        ...

    @abstractmethod
    async def aget_state(
        self, config: Mapping[str, Any], *, subgraphs: bool = False
    ) -> StateSnapshot:
        """As :meth:`get_state`, awaited."""
        ...

    @abstractmethod
    def get_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The states of a thread, the newest first."""
        ...

    @abstractmethod
    def aget_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """As :meth:`get_state_history`, asynchronously."""
        ...

    @abstractmethod
    def bulk_update_state(
        self, config: Mapping[str, Any], updates: Sequence[Sequence[StateUpdate]], /
    ) -> dict[str, Any]:
        """Write to a thread's state in several steps; returns what names the new checkpoint."""
        ...

    @abstractmethod
    async def abulk_update_state(
        self, config: Mapping[str, Any], updates: Sequence[Sequence[StateUpdate]], /
    ) -> dict[str, Any]:
        """As :meth:`bulk_update_state`, awaited."""
        ...

    @abstractmethod
    def update_state(
        self,
        config: Mapping[str, Any],
        values: dict[str, Any] | Any | None,
        as_node: str | None = None,
    ) -> dict[str, Any]:
        """Write to a thread's state as if a node had; returns what names the new checkpoint."""
        ...

    @abstractmethod
    async def aupdate_state(
        self,
        config: Mapping[str, Any],
        values: dict[str, Any] | Any | None,
        as_node: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`update_state`, awaited."""
        ...

    @abstractmethod
    def stream(
        self,
        input: InputT_contra | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT_contra | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        version: Literal["v1", "v2"] = "v1",
    ) -> Iterator[Any]:
        """Run it, and tell what happens."""
        ...

    @abstractmethod
    def astream(
        self,
        input: InputT_contra | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT_contra | None = None,
        stream_mode: StreamMode | list[StreamMode] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        subgraphs: bool = False,
        version: Literal["v1", "v2"] = "v1",
    ) -> AsyncIterator[Any]:
        """As :meth:`stream`, asynchronously."""
        ...

    @abstractmethod
    def invoke(
        self,
        input: InputT_contra | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT_contra | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
    ) -> Any:
        """Run it, and return its output; a ``GraphOutput`` with ``version="v2"``."""
        ...

    @abstractmethod
    async def ainvoke(
        self,
        input: InputT_contra | Command[Any] | None,
        config: Config = None,
        *,
        context: ContextT_contra | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        version: Literal["v1", "v2"] = "v1",
    ) -> Any:
        """As :meth:`invoke`, awaited."""
        ...


class StreamProtocol:
    """A sink of what is streamed, and the modes that it wants to hear.

    Args:
        __call__: is given each chunk.
        modes: the modes that it wants.
    """

    __slots__ = ("_sink", "modes")

    def __init__(self, __call__: Callable[[StreamChunk], None], modes: set[StreamMode]) -> None:
        self._sink = __call__
        self.modes = modes

    def __call__(self, chunk: StreamChunk) -> None:
        """Take a chunk."""
        self._sink(chunk)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
