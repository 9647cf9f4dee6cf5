"""What a contender can be asked for. A module of this package implements it for one library."""

from __future__ import annotations

from abc import ABC
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from benchmarks.bodies import Body, Item, Node, State

Run: TypeAlias = Callable[[], Awaitable[State]]
"""Does the work once and returns the final state as a mapping."""


class CannotExpressError(Exception):
    """The contender has no way to do this work; the message says why."""


class Named(Protocol):
    """What results and tables know of a contender."""

    @property
    def name(self) -> str:
        """As the table shows it."""
        ...

    @property
    def kind(self) -> str:
        """``"plait"``, ``"floor"`` or ``"peer"``."""
        ...


class Contender(ABC):
    """A library, or the bare means that it is compared with.

    Each method prepares the work (builds and compiles a graph, where there is one) and returns what
    does it; only the latter is timed. A method that is not overridden leaves the workload blank.
    """

    name: str
    """As the table shows it."""
    kind: Literal["plait", "floor", "peer"]
    distribution: str | None = None
    """The installed distribution, whose version the results name."""
    import_name: str | None = None
    """What a program imports, for the footprint."""

    def chain(self, nodes: int, body: Body, given: Mapping[str, Any]) -> Run:
        """``nodes`` nodes, one after the other, from the state ``given``."""
        raise CannotExpressError("no chain")

    def loop(self, turns: int, *, history: bool = False, others: int = 0) -> Run:
        """One node that adds one to ``n``, again and again until ``n`` is ``turns``.

        With ``history``, every turn can be looked up afterwards. After each turn the run might
        as well go on to a chain of so many ``others``; it never does.
        """
        raise CannotExpressError("no loop")

    def fork(self, branches: int, body: Item, *, limit: int | None = None) -> Run:
        """One branch for each number below ``branches``; ``items`` has what they wrote, in order.

        ``limit`` is how many may run at the same time.
        """
        raise CannotExpressError("no fork over data")

    def lines(self, bodies: Sequence[Sequence[Node]]) -> Run:
        """Branches side by side, each of several nodes one after the other; ``items`` as above."""
        raise CannotExpressError("no parallel branches of several nodes")
