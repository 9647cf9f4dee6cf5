"""Plait: a pure-asyncio orchestration kernel.

A program is a graph; a run forks into branches that work side by side, each on its own view of the
state; sync points gather branches, with a quorum and a deadline; reducers merge what they wrote.
"""

from typing import TYPE_CHECKING, Any

from . import reducers as reducers
from .blame import Blame
from .errors import (
    CodecError,
    ConflictError,
    GraphChanged,
    GraphError,
    InputError,
    InterruptError,
    LeaseLost,
    LimitError,
    MutationError,
    NodeError,
    PlaitError,
    ReducerError,
    RoutingError,
    StoreError,
    StoreUnavailable,
    SyncPointError,
    ThreadBusy,
    ThreadError,
    ThreadExists,
    ThreadNotFound,
    ThreadUnfinished,
    WriteError,
)
from .events import Event, Interrupt, Outcome, Outcomes, Participant
from .flow import Flow, RunResult, RunStream, Snapshot
from .graph import Graph
from .node import NodeContext, interrupt
from .policy import ALL, ANY, END, START, Arrival, Command, Join, Retry, Send
from .state import Overwrite
from .store import MemoryStore, Store

if TYPE_CHECKING:
    from .durable import open_store

__all__ = [
    "ALL",
    "ANY",
    "END",
    "START",
    "Arrival",
    "Blame",
    "CodecError",
    "Command",
    "ConflictError",
    "Event",
    "Flow",
    "Graph",
    "GraphChanged",
    "GraphError",
    "InputError",
    "Interrupt",
    "InterruptError",
    "Join",
    "LeaseLost",
    "LimitError",
    "MemoryStore",
    "MutationError",
    "NodeContext",
    "NodeError",
    "Outcome",
    "Outcomes",
    "Overwrite",
    "Participant",
    "PlaitError",
    "ReducerError",
    "Retry",
    "RoutingError",
    "RunResult",
    "RunStream",
    "Send",
    "Snapshot",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "SyncPointError",
    "ThreadBusy",
    "ThreadError",
    "ThreadExists",
    "ThreadNotFound",
    "ThreadUnfinished",
    "WriteError",
    "interrupt",
    "open_store",
    "reducers",
]


def __getattr__(name: str) -> Any:
    # What only durable stores need is imported when it is asked for.
    if name == "open_store":
        from .durable import open_store

        return open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
