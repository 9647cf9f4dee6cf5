"""What users pass and return beside functions: ways on, and policies of nodes and sync points."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeAlias

import typing_extensions

from .events import NO_ARGUMENT, NodeName, Writes

__all__ = [
    "ALL",
    "ANY",
    "END",
    "ROUNDING",
    "START",
    "WEIGHT",
    "Arrival",
    "Command",
    "Join",
    "Places",
    "Retry",
    "Send",
    "is_number",
    "join_faults",
]

START: Final = "__start__"
"""Where every run begins."""

END: Final = "__end__"
"""Where every branch ends; the last sync point, which waits for all of them."""

WEIGHT: Final = 1.0
"""What a branch counts for if nothing is said."""

N = typing_extensions.TypeVar("N", default=str)


class Send:
    """A way on to ``node`` with an argument of its own.

    Args:
        node: the node, sync point or ``END`` to go to.
        arg: what the node is called with in place of the state; by default it gets the state.
        id: a name for the branch, unique among its siblings.
        after: the ids of siblings; the branch is held until they have ended or arrived, and
            then sees what they wrote.
        weight: what the branch counts for where a quorum is a share; above 0.
    """

    __slots__ = ("after", "arg", "id", "node", "weight")

    def __init__(
        self,
        node: NodeName,
        arg: Any = NO_ARGUMENT,
        *,
        id: str | None = None,  # noqa: A002 - the word that the field uses
        after: str | Iterable[str] = (),
        weight: float = WEIGHT,
    ) -> None:
        self.node: NodeName = node
        self.arg: Any = arg
        self.id: str | None = id
        if type(after) is not tuple:
            after = (after,) if isinstance(after, str) else tuple(after)
        self.after: tuple[str, ...] = after
        self.weight: float = weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Send) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.node, self.id))  # arguments may be of any type

    def __repr__(self) -> str:
        parts = [repr(self.node)]
        if self.arg is not NO_ARGUMENT:
            parts.append(repr(self.arg))
        if self.id is not None:
            parts.append(f"id={self.id!r}")
        if self.after:
            parts.append(f"after={self.after!r}")
        if self.weight != 1.0:
            parts.append(f"weight={self.weight!r}")
        return f"Send({', '.join(parts)})"


Goto: TypeAlias = NodeName | Send | Sequence[NodeName | Send]


@dataclass(frozen=True)
class Command(Generic[N]):
    """What a node returns to write and to choose the way on in one.

    Annotate the node ``-> Command[Literal["a", "b"]]``, or add it with ``targets=["a", "b"]``, so
    that the graph knows where it may go.
    """

    update: Mapping[str, Any] | None = None
    """The writes, as a node would return them."""
    goto: Goto = ()
    """Where to go, in addition to the node's own edges."""


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is repeated, and how long it waits before that.

    The delay before attempt n + 1 is ``initial * factor ** (n - 1)`` seconds, at most ``maximum``;
    with ``jitter`` it is drawn evenly from between nothing and that ("full jitter": Brooker,
    *Exponential backoff and jitter*, 2015), so that branches which failed together do not return
    together.
    """

    attempts: int = 3
    """How many attempts in all, from 1."""
    initial: float = 0.5
    """Seconds before the second attempt."""
    factor: float = 2.0
    maximum: float = 60.0
    """The longest delay, in seconds."""
    jitter: bool = True
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool] = Exception
    """The errors worth repeating, or a function that says so."""

    def repeats(self, error: Exception) -> bool:
        """Whether this error is worth another attempt."""
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return self.on(error)

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after the failed attempt of this number, from 1."""
        # Beyond 2**64 the power only overflows; `maximum` has long taken over.
        longest = min(self.maximum, self.initial * self.factor ** min(attempt - 1, 64))
        return longest * random() if self.jitter else longest


class Places(Protocol):
    """What nodes can take a place in while they run: ``compile(pools={"gpu": places})``."""

    def place(self) -> AbstractAsyncContextManager[object]:
        """A place that is taken on entering and given back on leaving, whatever happens.

        It is entered in the context in which the node is called, so that context variables which
        it sets are seen there.
        """
        ...


class QuorumWord(enum.Enum):
    ALL = "all"
    ANY = "any"

    def __repr__(self) -> str:
        return self.name


ALL: Final = QuorumWord.ALL
"""The quorum of every branch."""

ANY: Final = QuorumWord.ANY
"""The quorum of the first branch."""


ROUNDING: Final = 1e-12
"""Ten times 0.1 is a little less than 1: shares and weights are met within this."""


class Arrival(NamedTuple):
    """A branch that has arrived, as a quorum that is a predicate sees it."""

    id: str | None
    node: NodeName
    """The first node of the branch."""
    weight: float
    writes: Writes
    """What the branch wrote since the fork, in order."""


Quorum: TypeAlias = (
    QuorumWord | int | float | Mapping[str, float] | Callable[[tuple[Arrival, ...]], bool]
)


@dataclass(frozen=True)
class Join:
    """The whole policy of a sync point."""

    quorum: Quorum = ALL
    """How many arrivals are enough: ``ALL``, ``ANY``, a count, a share (a float above 0 and up to
    1, of the branches' weights), a weight for each ``Send`` id or first node (enough when those
    that have arrived add up to 1), or a predicate over the arrivals."""
    grace: float = 0.0
    """Seconds to go on waiting once the quorum is there."""
    timeout: float | None = None
    """Seconds until the sync point opens with what there is; ``None`` for no limit."""
    timeout_from: Literal["fork", "first_arrival"] = "fork"
    on_timeout: str = "proceed"
    """``"proceed"``, ``"raise"``, or the name of a node to go to."""
    minimum: int = 1
    """The fewest arrivals to proceed with; below it, as ``on_timeout="raise"`` or its node."""
    stragglers: Literal["cancel", "detach"] = "cancel"
    late: Literal["drop", "merge", "next_round"] = "drop"
    clock_on_interrupt: Literal["pause", "run"] = "pause"

    def label(self) -> str:
        """The policy in a few words, for drawings."""
        quorum = self.quorum
        parts = []
        if isinstance(quorum, float):
            parts.append(f"{quorum:.0%}")
        elif isinstance(quorum, QuorumWord):
            parts.append(quorum.value)
        elif isinstance(quorum, int):
            parts.append(f"{quorum} of them")
        elif isinstance(quorum, Mapping):
            parts.append("weights")
        else:
            parts.append(getattr(quorum, "__name__", "predicate").strip("<>"))
        if self.grace:
            parts.append(f"grace {self.grace:g} s")
        if self.timeout is not None:
            parts.append(f"timeout {self.timeout:g} s")
            parts.append(f"then {self.on_timeout}")
        if self.minimum != 1:
            parts.append(f"minimum {self.minimum}")
        if self.stragglers != "cancel":
            parts.append(self.stragglers)
        if self.late != "drop":
            parts.append(f"late {self.late.replace('_', ' ')}")
        return ", ".join(parts)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def join_faults(join: Join) -> list[str]:
    """What is impossible about a policy, whatever the graph."""
    faults = []
    quorum: Any = join.quorum  # any of the fields may hold what its type does not allow
    on_timeout: Any = join.on_timeout
    if isinstance(quorum, QuorumWord):
        pass
    elif isinstance(quorum, bool) or not (
        isinstance(quorum, (int, float, Mapping)) or callable(quorum)
    ):
        faults.append(f"quorum={quorum!r} is none of ALL, ANY, count, share, weights, predicate")
    elif isinstance(quorum, int):
        if quorum < 1:
            faults.append(f"quorum={quorum} is below 1: a count begins at 1 (use ANY or ALL)")
    elif isinstance(quorum, float):
        if not 0 < quorum <= 1:
            faults.append(f"quorum={quorum} is no share: give a float above 0 and up to 1")
    elif isinstance(quorum, Mapping):
        if not all(is_number(weight) and weight >= 0 for weight in quorum.values()):
            faults.append("every weight of the quorum must be a finite number, 0 or more")
        elif sum(quorum.values()) < 1 - ROUNDING:
            faults.append(
                f"the quorum's weights add up to {sum(quorum.values()):g}, and it is met at 1: "
                "it could never be met"
            )
    if not (is_number(join.grace) and join.grace >= 0):
        faults.append(f"grace={join.grace!r} must be seconds, 0 or more")
    if join.timeout is not None and not (is_number(join.timeout) and join.timeout > 0):
        faults.append(f"timeout={join.timeout!r} must be seconds above 0, or None")
    minimum: Any = join.minimum
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        faults.append(f"minimum={minimum!r} must be a count, 0 or more")
    for name, value, allowed in (
        ("timeout_from", join.timeout_from, ("fork", "first_arrival")),
        ("stragglers", join.stragglers, ("cancel", "detach")),
        ("late", join.late, ("drop", "merge", "next_round")),
        ("clock_on_interrupt", join.clock_on_interrupt, ("pause", "run")),
    ):
        if value not in allowed:
            faults.append(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")
    if not isinstance(on_timeout, str):
        faults.append(f"on_timeout={on_timeout!r} must be 'proceed', 'raise' or a node")
    return faults
