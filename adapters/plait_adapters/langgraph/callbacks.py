"""Callbacks that hear when a graph is interrupted and resumed. Needs langchain-core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from plait_adapters.langgraph._support import missing

from .types import Interrupt

if TYPE_CHECKING:
    from ._internal._run import Run

__all__ = (
    "GraphCallbackHandler",
    "GraphInterruptEvent",
    "GraphLifecycleEvent",
    "GraphLifecycleStatus",
    "GraphResumeEvent",
)

GraphLifecycleStatus: TypeAlias = Literal[
    "input", "pending", "done", "interrupt_before", "interrupt_after", "out_of_steps"
]
"""Where a run stands."""


@dataclass(frozen=True)
class GraphInterruptEvent:
    """A run has stopped to wait for somebody."""

    run_id: UUID | None
    """The run, for tracers."""
    status: GraphLifecycleStatus
    """Why it stopped: before a node, after one, or within one (``pending``)."""
    checkpoint_id: str
    """Where it can be resumed."""
    checkpoint_ns: tuple[str, ...]
    """The namespace of its graph."""
    interrupts: tuple[Interrupt[Any], ...]
    """What it asks."""


@dataclass(frozen=True)
class GraphResumeEvent:
    """A run goes on where one had stopped."""

    run_id: UUID | None
    """The run, for tracers."""
    status: GraphLifecycleStatus
    """Where it stands."""
    checkpoint_id: str
    """Where it goes on."""
    checkpoint_ns: tuple[str, ...]
    """The namespace of its graph."""


GraphLifecycleEvent: TypeAlias = GraphInterruptEvent | GraphResumeEvent
"""Either of them."""


class GraphCallbackHandler(BaseCallbackHandler):
    """A handler that can be given in ``config["callbacks"]``, and hears of graphs, too."""

    def on_interrupt(self, event: GraphInterruptEvent) -> Any:
        """Hear that a run has stopped to wait for somebody."""

    def on_resume(self, event: GraphResumeEvent) -> Any:
        """Hear that a run goes on."""


async def tell(run: Run, kind: str, asked: tuple[Any, ...], status: Any) -> None:
    """Have the graph handlers of a run hear of an event."""
    from langchain_core.callbacks.manager import ahandle_event, handle_event

    handlers: list[BaseCallbackHandler] = [
        each for each in run.manager.handlers if isinstance(each, GraphCallbackHandler)
    ]
    if not handlers:
        return
    facts = (run.manager.run_id, status, run.checkpoint_id, run.path)
    event: GraphLifecycleEvent = (
        GraphInterruptEvent(*facts, asked) if kind == "interrupt" else GraphResumeEvent(*facts)
    )
    if run.blocking:
        handle_event(handlers, f"on_{kind}", None, event)
    else:
        await ahandle_event(handlers, f"on_{kind}", None, event)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
