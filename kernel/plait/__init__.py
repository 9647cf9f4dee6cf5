"""Plait: a pure-asyncio orchestration kernel.

A program is a graph; a run forks into branches that work side by side, each on its own view of the
state; sync points gather branches, with a quorum and a deadline; reducers merge what they wrote.
"""

from . import reducers as reducers
from .blame import Blame
from .errors import (
    ConflictError,
    GraphError,
    InputError,
    InterruptError,
    LimitError,
    MutationError,
    NodeError,
    PlaitError,
    ReducerError,
    RoutingError,
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

__all__ = [
    "ALL",
    "ANY",
    "END",
    "START",
    "Arrival",
    "Blame",
    "Command",
    "ConflictError",
    "Event",
    "Flow",
    "Graph",
    "GraphError",
    "InputError",
    "Interrupt",
    "InterruptError",
    "Join",
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
    "SyncPointError",
    "ThreadBusy",
    "ThreadError",
    "ThreadExists",
    "ThreadNotFound",
    "ThreadUnfinished",
    "WriteError",
    "interrupt",
    "reducers",
]
