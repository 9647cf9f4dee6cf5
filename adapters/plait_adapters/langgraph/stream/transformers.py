"""What is made of a run's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._support import missing

from ._lifecycle import (
    LifecycleCause,
    LifecyclePayload,
    LifecycleTransformer,
    SubgraphTransformer,
    _TasksLifecycleBase,
)
from ._messages import MessagesTransformer
from ._types import ProtocolEvent, StreamTransformer
from .run_stream import SubgraphStatus
from .stream_channel import StreamChannel

__all__ = [
    "CheckpointsTransformer",
    "CustomTransformer",
    "DebugTransformer",
    "LifecycleCause",
    "LifecyclePayload",
    "LifecycleTransformer",
    "MessagesTransformer",
    "SubgraphStatus",
    "SubgraphTransformer",
    "TasksTransformer",
    "UpdatesTransformer",
    "ValuesTransformer",
    "_TasksLifecycleBase",
]


class _OfOneMode(StreamTransformer):
    """What a stream mode tells of the graph itself, and not of those nested in it, as an attribute
    of the run with the mode's name."""

    _native = True

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        (self._mode,) = self.required_stream_modes
        self._log: StreamChannel[Any] = StreamChannel()

    def init(self) -> dict[str, Any]:
        """The channel."""
        return {self._mode: self._log}

    def process(self, event: ProtocolEvent) -> bool:
        """Take an event's payload."""
        params = event["params"]
        if event["method"] == self._mode and tuple(params["namespace"]) == self.scope:
            self._log.push(params["data"])
        return True


class ValuesTransformer(_OfOneMode):
    """``run.values``: the state after each step."""

    required_stream_modes = ("values",)

    @property
    def error(self) -> BaseException | None:
        """What the run failed with."""
        return self._log._error


class UpdatesTransformer(_OfOneMode):
    """``run.updates``: what each node returned, by its name."""

    required_stream_modes = ("updates",)


class CustomTransformer(_OfOneMode):
    """``run.custom``: what nodes write to their stream writer."""

    required_stream_modes = ("custom",)


class CheckpointsTransformer(_OfOneMode):
    """``run.checkpoints``: each checkpoint, as ``get_state`` shows it. Without a checkpointer there
    are none."""

    required_stream_modes = ("checkpoints",)


class DebugTransformer(_OfOneMode):
    """``run.debug``: checkpoints and tasks, each with its step and its time."""

    required_stream_modes = ("debug",)


class TasksTransformer(_OfOneMode):
    """``run.tasks``: that tasks begin, and how they end."""

    required_stream_modes = ("tasks",)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
