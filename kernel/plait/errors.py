"""Every exception that Plait raises, as one tree.

::

    PlaitError
    ├── GraphError            the graph cannot be compiled; lists every fault
    ├── InputError            a run's input does not fit the schema
    ├── WriteError            a node returned what the state cannot take
    ├── RoutingError          a router or a Command names a way that does not exist
    ├── ConflictError         two concurrent branches wrote a channel that takes one writer
    ├── ReducerError          a reducer raised
    ├── MutationError         a node changed the state in place (debug=True finds it)
    ├── NodeError             a node failed for good; its own exception is the __cause__
    ├── SyncPointError        a sync point cannot go on: too late, or too few arrived
    ├── ThreadError           a thread cannot be run as asked
    │   ├── ThreadNotFound
    │   ├── ThreadExists
    │   ├── ThreadBusy
    │   ├── ThreadUnfinished
    │   ├── InterruptError
    │   ├── GraphChanged      the thread was begun by another graph
    │   └── LeaseLost         another process has taken the thread over
    ├── LimitError            a journal would outgrow what it may take
    ├── StoreError            the store cannot do what it is asked
    │   └── StoreUnavailable  it cannot at this moment; the outcome is unknown
    └── CodecError            a value cannot be stored, or not be read (plait.codec)

Each carries its facts as attributes, and says in its message what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import BranchPath, Outcome

__all__ = [
    "CodecError",
    "ConflictError",
    "GraphChanged",
    "GraphError",
    "InputError",
    "InterruptError",
    "LeaseLost",
    "LimitError",
    "MutationError",
    "NodeError",
    "PlaitError",
    "ReducerError",
    "RoutingError",
    "StoreError",
    "StoreUnavailable",
    "SyncPointError",
    "ThreadBusy",
    "ThreadError",
    "ThreadExists",
    "ThreadNotFound",
    "ThreadUnfinished",
    "WriteError",
]


def format_path(path: Sequence[int]) -> str:
    """Write a branch's path as people read it: ``(0, 3, 1)`` is ``0.3.1``."""
    return ".".join(map(str, path))


def shorten(value: object, limit: int = 80) -> str:
    """The repr of a value, cut to ``limit`` characters; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # a broken __repr__ must not hide the fault that is being reported
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


class PlaitError(Exception):
    """The root of the tree."""


class GraphError(PlaitError):
    """The graph was refused by ``compile()``, or by the call that built it.

    Attributes:
        graph: the graph's name.
        faults: one sentence for each fault, each with what to do about it.
    """

    def __init__(self, graph: str, faults: Sequence[str]) -> None:
        self.graph = graph
        self.faults: tuple[str, ...] = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"graph {graph!r} cannot be compiled:{lines}")


class InputError(PlaitError):
    """A run's input does not fit the schema. Nothing has run.

    Attributes:
        schema: the schema's name.
        faults: one sentence for each fault.
    """

    def __init__(self, schema: str, faults: Sequence[str]) -> None:
        self.schema = schema
        self.faults: tuple[str, ...] = tuple(faults)
        super().__init__(f"input does not fit {schema}: " + "; ".join(self.faults))


class WriteError(PlaitError):
    """A node returned something that the state cannot take.

    Attributes:
        node: the node that returned it.
        channel: the channel, or ``None`` if the returned value is no mapping at all.
        expected: what would have been accepted, in words.
        value: the value as returned.
    """

    def __init__(self, node: str, channel: str | None, expected: str, value: object) -> None:
        self.node = node
        self.channel = channel
        self.expected = expected
        self.value = value
        where = f" to channel {channel!r}" if channel is not None else ""
        super().__init__(f"node {node!r} wrote{where} {shorten(value)}; expected {expected}")


class RoutingError(PlaitError):
    """A router or a ``Command`` names a way on that does not exist or contradicts itself.

    Attributes:
        node: the node (or sync point) from which the way leads.
    """

    def __init__(self, node: str, problem: str) -> None:
        self.node = node
        super().__init__(f"after {node!r}: {problem}")


class ConflictError(PlaitError):
    """Concurrent branches wrote a channel that takes one writer.

    Attributes:
        channel: the channel.
        branches: the paths of the two branches.
        nodes: the nodes that wrote, in the order of ``branches``.
    """

    def __init__(
        self,
        channel: str,
        branches: tuple[BranchPath, BranchPath],
        nodes: tuple[str, str],
        *,
        overwrite: bool = False,
    ) -> None:
        self.channel = channel
        self.branches = branches
        self.nodes = nodes
        first, second = (
            f"node {node!r} in branch {format_path(branch)}"
            for node, branch in zip(nodes, branches, strict=True)
        )
        why, way_out = (
            ("an Overwrite", "write a plain value, which the reducer merges")
            if overwrite
            else (
                "and it has no reducer",
                f"declare one (Annotated[..., reducer]) or let one branch write {channel!r}",
            )
        )
        super().__init__(
            f"channel {channel!r} was written concurrently by {first} and {second}, {why}: "
            + way_out
        )


class ReducerError(PlaitError):
    """A reducer raised; its exception is the ``__cause__``.

    Attributes:
        channel: the channel.
        node: the node whose write was being folded.
    """

    def __init__(self, channel: str, node: str, value: object, cause: BaseException) -> None:
        self.channel = channel
        self.node = node
        super().__init__(
            f"the reducer of channel {channel!r} raised {type(cause).__name__}: {cause} "
            f"while folding {shorten(value)}, written by node {node!r}"
        )


class MutationError(PlaitError):
    """A node changed the state it was given, which would break isolation.

    Attributes:
        node: the node.
        channel: the channel whose value it changed.
    """

    def __init__(self, node: str, channel: str) -> None:
        self.node = node
        self.channel = channel
        super().__init__(
            f"node {node!r} changed the value of channel {channel!r} in place: "
            "return a new value as a write instead"
        )


class NodeError(PlaitError):
    """A node failed and no attempt is left. The node's own exception is the ``__cause__``.

    Attributes:
        node: the node.
        branch: the path of the branch in which it ran.
        attempt: the number of the last attempt, from 1.
    """

    def __init__(self, node: str, branch: BranchPath, attempt: int, cause: BaseException) -> None:
        self.node = node
        self.branch = branch
        self.attempt = attempt
        self.__cause__: BaseException | None = cause
        super().__init__(
            f"node {node!r} in branch {format_path(branch)} failed in attempt {attempt}: "
            f"{type(cause).__name__}: {cause}"
        )


class SyncPointError(PlaitError):
    """A sync point cannot go on.

    Attributes:
        sync_point: its name.
        outcome: who arrived and who did not; ``None`` if it never had a generation to open.
    """

    def __init__(self, sync_point: str, problem: str, outcome: Outcome | None = None) -> None:
        self.sync_point = sync_point
        self.outcome = outcome
        super().__init__(f"sync point {sync_point!r}: {problem}")


class ThreadError(PlaitError):
    """A thread cannot be run, resumed or read as asked.

    Attributes:
        thread_id: the thread.
    """

    def __init__(self, thread_id: str, problem: str) -> None:
        self.thread_id = thread_id
        super().__init__(f"thread {thread_id!r} {problem}")


class ThreadNotFound(ThreadError):
    """No journal is known under this ``thread_id``."""

    def __init__(
        self, thread_id: str, problem: str = "is not known: begin it with run(...)"
    ) -> None:
        super().__init__(thread_id, problem)


class ThreadExists(ThreadError):
    """There is a thread with this id already."""


class ThreadBusy(ThreadError):
    """The thread is being run by somebody else at this moment.

    Attributes:
        holder: who holds its lease: host, process and a number; ``None`` within one process.
        expires: when the lease expires unless it is renewed, in seconds since the epoch.
    """

    def __init__(
        self,
        thread_id: str,
        problem: str,
        *,
        holder: str | None = None,
        expires: float | None = None,
    ) -> None:
        super().__init__(thread_id, problem)
        self.holder = holder
        self.expires = expires


class ThreadUnfinished(ThreadError):
    """The thread's last run has not ended; it wants ``resume``, not a new ``run``."""


class InterruptError(ThreadError):
    """An answer is to no open interrupt of the thread. No answer was taken.

    Attributes:
        unknown: the ids to which nothing is open.
        open: the ids of the interrupts that wait for an answer, in path order.
    """

    def __init__(
        self, thread_id: str, problem: str, unknown: Sequence[str], open_: Sequence[str]
    ) -> None:
        self.unknown: tuple[str, ...] = tuple(unknown)
        self.open: tuple[str, ...] = tuple(open_)
        listed = ", ".join(map(repr, self.open[:10]))
        more = f" and {len(self.open) - 10} more" if len(self.open) > 10 else ""
        super().__init__(thread_id, f"{problem}; open are: {listed or 'none'}{more}")


class GraphChanged(ThreadError):
    """The thread's run was begun by a graph that this one does not merely add to.

    Attributes:
        differences: one sentence for each.
    """

    def __init__(self, thread_id: str, differences: Sequence[str]) -> None:
        self.differences: tuple[str, ...] = tuple(differences)
        lines = "".join(f"\n  - {difference}" for difference in self.differences)
        super().__init__(
            thread_id,
            "has a run that another graph began, and nothing was done. Resume it with the graph "
            f"that began it, or pass migrate=True to go on with this one:{lines}",
        )


class LeaseLost(ThreadError):
    """Another process has taken the thread over, since this one did not renew its lease in time.

    The run here is cancelled, and nothing more of it is stored; it goes on over there.
    """


class LimitError(PlaitError):
    """Something would outgrow what it may take. What is stored stays as it is.

    Attributes:
        limit: the name of the option that raises it.
    """

    def __init__(self, limit: str, problem: str) -> None:
        self.limit = limit
        super().__init__(f"{problem}; the option {limit!r} raises the limit")


class CodecError(PlaitError):
    """A value cannot be stored, or a stored one cannot be read."""


class StoreError(PlaitError):
    """The store cannot do what it is asked to."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or is overloaded; trying again may help.

    Whether what was asked for has happened is not known. The kernel tries again, up to a bound.
    """
