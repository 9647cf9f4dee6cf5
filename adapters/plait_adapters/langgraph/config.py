"""What a node can ask about the call that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from typing_extensions import TypedDict

from plait_adapters.langgraph._support import missing

from ._internal._config import ambient_config
from ._internal._constants import CONF, CONFIG_KEY_RUNTIME
from .types import StreamWriter

__all__ = ("RunnableConfig", "get_config", "get_store", "get_stream_writer")


class RunnableConfig(TypedDict, total=False):
    """A call's configuration; langchain-core's class of that name is the same."""

    tags: list[str]
    """Labels of this call and of all that it calls."""
    metadata: dict[str, Any]
    """Facts about this call and all that it calls; they are kept with checkpoints."""
    callbacks: Any
    """Handlers of langchain-core, or a manager of them."""
    run_name: str
    """What tracers call this call."""
    max_concurrency: int | None
    """How many tasks may run at the same time."""
    recursion_limit: int
    """How many steps the run may take."""
    configurable: dict[str, Any]
    """``thread_id``, ``checkpoint_id`` and what the program's nodes want."""
    run_id: Any
    """The id of this call for tracers, a UUID."""


def get_config() -> RunnableConfig:
    """The configuration of the node in which this is called.

    Raises:
        RuntimeError: no node is running here.
    """
    config = ambient_config()
    if config is None:
        raise RuntimeError("Called get_config outside of a runnable context")
    return cast("RunnableConfig", config)


def get_store() -> Any:
    """The store that the graph was compiled with; ``None`` if it had none."""
    return get_config()[CONF][CONFIG_KEY_RUNTIME].store


def get_stream_writer() -> StreamWriter:
    """What puts a value into the stream of mode ``custom``."""
    writer: StreamWriter = get_config()[CONF][CONFIG_KEY_RUNTIME].stream_writer
    return writer


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
