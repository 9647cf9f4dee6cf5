"""Reducers, and the laws that they declare.

A reducer is a pure function ``(value, write) -> value``. What the kernel may do with it follows
from the laws it declares:

============= ================================ ===============================================
class         laws                             so the kernel may
============= ================================ ===============================================
ordered       associative                      fold in path order, batches at a time
commutative   associative and order-free       also fold on arrival; the channel may be live
lattice       and idempotent                   also accept late and repeated writes
============= ================================ ===============================================

A plain function may be used as it is: nothing is declared, and it is folded in path order.
``plait.testing.check_reducer`` tests a reducer against what it declares.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, cast, overload

__all__ = [
    "MISSING",
    "LawClass",
    "Reducer",
    "append",
    "as_reducer",
    "conjunction",
    "declare",
    "disjunction",
    "first_write",
    "last_write",
    "live",
    "maximum",
    "merge_dicts",
    "minimum",
    "sum_counts",
    "total",
    "union",
]

T = TypeVar("T")
K = TypeVar("K")

LawClass = Literal["ordered", "commutative", "lattice"]


class _Missing:
    """The value of a channel that has none yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:  # the one instance survives copy and deepcopy
        return "MISSING"


MISSING: Final = _Missing()


class Reducer(Generic[T]):
    """A reducing function together with its declared laws.

    Attributes:
        fn: ``(value, write) -> value``; must not change its arguments.
        name: for messages and drawings.
        associative, commutative, idempotent: the declared laws. *Commutative* means order-free:
            any order of the same writes gives the same value.
        identity: a function that makes the neutral value, or ``None`` if there is none; the
            first write is then the first value.
        batch: folds many writes at once, with the result that ``fn`` would give one by one.
        items: a write that is no list stands for a list of itself.
        live: writes are visible to every branch at once.
    """

    __slots__ = (
        "associative",
        "batch",
        "commutative",
        "fn",
        "idempotent",
        "identity",
        "items",
        "live",
        "name",
    )

    def __init__(
        self,
        fn: Callable[[Any, Any], T],
        *,
        name: str | None = None,
        associative: bool = False,
        commutative: bool = False,
        idempotent: bool = False,
        identity: Callable[[], T] | None = None,
        batch: Callable[[T, Sequence[Any]], T] | None = None,
        items: bool = False,
        live: bool = False,
    ) -> None:
        self.fn: Callable[[Any, Any], T] = fn
        self.name: str = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.associative: bool = associative
        self.commutative: bool = commutative
        self.idempotent: bool = idempotent
        self.identity: Callable[[], T] | None = identity
        self.batch: Callable[[T, Sequence[Any]], T] | None = batch
        self.items: bool = items
        self.live: bool = live

    @property
    def law_class(self) -> LawClass:
        """What the declared laws add up to; see the module's table."""
        if not (self.associative and self.commutative):
            return "ordered"
        return "lattice" if self.idempotent else "commutative"

    def __call__(self, value: Any, write: Any) -> T:
        return self.fn(value, write)

    def fold(self, value: Any, writes: Sequence[Any]) -> Any:
        """Fold writes into a value, in order. ``MISSING`` as value: the first write starts it."""
        if value is MISSING:
            if self.identity is None:
                value, writes = writes[0], writes[1:]
            else:
                value = self.identity()
        if len(writes) == 1:
            return self.fn(value, writes[0])
        if self.batch is not None:
            return self.batch(value, writes)
        fn = self.fn
        for write in writes:
            value = fn(value, write)
        return value

    def __repr__(self) -> str:
        return f"<Reducer {self.name}: {self.law_class}{', live' if self.live else ''}>"


@overload
def declare(
    fn: Callable[[Any, Any], T],
    *,
    associative: bool = ...,
    commutative: bool = ...,
    idempotent: bool = ...,
    identity: Callable[[], T] | None = ...,
    name: str | None = ...,
) -> Reducer[T]: ...
@overload
def declare(
    fn: None = None,
    *,
    associative: bool = ...,
    commutative: bool = ...,
    idempotent: bool = ...,
    identity: Callable[[], Any] | None = ...,
    name: str | None = ...,
) -> Callable[[Callable[[Any, Any], T]], Reducer[T]]: ...
def declare(
    fn: Callable[[Any, Any], T] | None = None,
    *,
    associative: bool = False,
    commutative: bool = False,
    idempotent: bool = False,
    identity: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Reducer[T] | Callable[[Callable[[Any, Any], T]], Reducer[T]]:
    """Declare the laws of a reducing function; usable as a decorator.

    ``identity`` is a function that makes the neutral value, for example ``list``. The kernel
    believes what is declared: hold it to ``plait.testing.check_reducer``.
    """

    def wrap(function: Callable[[Any, Any], T]) -> Reducer[T]:
        return Reducer(
            function,
            name=name,
            associative=associative,
            commutative=commutative,
            idempotent=idempotent,
            identity=identity,
        )

    return wrap if fn is None else wrap(fn)


def live(reducer: Reducer[T] | Callable[[Any, Any], T]) -> Reducer[T]:
    """The same reducer for a *live* channel, whose writes every branch sees at its next node.

    Only an order-free reducer can be live; ``Graph.compile`` refuses any other.
    """
    reducer = as_reducer(reducer, None)
    return Reducer(
        reducer.fn,
        name=reducer.name,
        associative=reducer.associative,
        commutative=reducer.commutative,
        idempotent=reducer.idempotent,
        identity=reducer.identity,
        batch=reducer.batch,
        items=reducer.items,
        live=True,
    )


# -- ordered ----------------------------------------------------------------------------------


def _concatenate(value: list[T], write: list[T]) -> list[T]:
    return [*value, *write]


def _concatenate_all(value: list[T], writes: Sequence[list[T]]) -> list[T]:
    result = list(value)
    for write in writes:
        result.extend(write)
    return result


append: Final[Reducer[list[Any]]] = Reducer(
    _concatenate,
    name="append",
    associative=True,
    identity=list,
    batch=_concatenate_all,
    items=True,
)
"""Items to the end of a list, in path order. A write is a list of items, or one item."""


def _update(value: Mapping[K, T], write: Mapping[K, T]) -> dict[K, T]:
    return {**value, **write}


def _update_all(value: Mapping[K, T], writes: Sequence[Mapping[K, T]]) -> dict[K, T]:
    result = dict(value)
    for write in writes:
        result.update(write)
    return result


merge_dicts: Final[Reducer[dict[Any, Any]]] = Reducer(
    _update, name="merge_dicts", associative=True, identity=dict, batch=_update_all
)
"""Keys into a dict; for a key written twice the later in path order wins."""


# -- commutative ------------------------------------------------------------------------------

total: Final[Reducer[int]] = Reducer(
    operator.add, name="total", associative=True, commutative=True, identity=int
)
"""The sum of integers. (The addition of floats is not associative: use ``operator.add``.)"""


def _sum_counts(value: Mapping[K, int], write: Mapping[K, int]) -> dict[K, int]:
    result = dict(value)
    for key, count in write.items():
        result[key] = result.get(key, 0) + count
    return result


def _sum_all_counts(value: Mapping[K, int], writes: Sequence[Mapping[K, int]]) -> dict[K, int]:
    result = dict(value)
    for write in writes:
        for key, count in write.items():
            result[key] = result.get(key, 0) + count
    return result


sum_counts: Final[Reducer[dict[Any, int]]] = Reducer(
    _sum_counts,
    name="sum_counts",
    associative=True,
    commutative=True,
    identity=dict,
    batch=_sum_all_counts,
)
"""Integer counts by key, added up."""


# -- lattices ---------------------------------------------------------------------------------


def _union(value: Iterable[T], write: Iterable[T]) -> set[T]:
    return {*value, *write}


def _union_all(value: Iterable[T], writes: Sequence[Iterable[T]]) -> set[T]:
    return set(value).union(*writes)


def _lattice(
    fn: Callable[[Any, Any], T],
    name: str,
    identity: Callable[[], T] | None = None,
    batch: Callable[[T, Sequence[Any]], T] | None = None,
) -> Reducer[T]:
    return Reducer(
        fn,
        name=name,
        associative=True,
        commutative=True,
        idempotent=True,
        identity=identity,
        batch=batch,
    )


union: Final[Reducer[set[Any]]] = _lattice(_union, "union", set, _union_all)
"""The union of sets."""


def _larger(value: Any, write: Any) -> Any:
    return max(value, write)


def _smaller(value: Any, write: Any) -> Any:
    return min(value, write)


maximum: Final[Reducer[Any]] = _lattice(_larger, "maximum")
"""The largest value written, by ``>``, which must be a total order."""

minimum: Final[Reducer[Any]] = _lattice(_smaller, "minimum")
"""The smallest value written, by ``<``, which must be a total order."""


def _or(value: bool, write: bool) -> bool:
    return bool(value or write)


def _and(value: bool, write: bool) -> bool:
    return bool(value and write)


disjunction: Final[Reducer[bool]] = _lattice(_or, "disjunction", lambda: False)
"""True once any write was true."""

conjunction: Final[Reducer[bool]] = _lattice(_and, "conjunction", lambda: True)
"""True as long as every write was true."""


def last_write(*, key: Callable[[T], Any]) -> Reducer[T]:
    """The write with the largest ``key``, for example ``(timestamp, writer's name)``.

    A lattice only if equal keys mean equal values: give the key a tie-break.
    """

    def later(value: T, write: T) -> T:
        return write if key(write) > key(value) else value

    return cast("Reducer[T]", _lattice(later, "last_write"))


def _keep(value: T, write: T) -> T:
    return value


first_write: Final[Reducer[Any]] = Reducer(_keep, name="first_write", associative=True)
"""The first write in path order; later ones change nothing."""


# -- plain functions --------------------------------------------------------------------------


def _add_all(value: Any, writes: Sequence[Any]) -> Any:
    """``operator.add`` over many writes, without copying a growing list for each of them."""
    if type(value) is list and all(type(write) is list for write in writes):
        return _concatenate_all(value, writes)
    if type(value) is str and all(type(write) is str for write in writes):
        return value + "".join(writes)
    if type(value) is tuple and all(type(write) is tuple for write in writes):
        return tuple(_concatenate_all(list(value), writes))
    for write in writes:
        value = value + write
    return value


_BATCHED: Final[dict[Callable[[Any, Any], Any], Callable[[Any, Sequence[Any]], Any]]] = {
    operator.add: _add_all,
    operator.concat: _add_all,
}


def as_reducer(
    function: Callable[[Any, Any], Any], empty: Callable[[], Any] | None
) -> Reducer[Any]:
    """Take a plain two-argument function as a reducer that declares nothing.

    ``empty`` makes the value with which the channel starts (for a list, ``list``).
    """
    if isinstance(function, Reducer):
        return function
    try:
        batch = _BATCHED.get(function)
    except TypeError:  # a callable that cannot be hashed
        batch = None
    return Reducer(function, identity=empty, batch=batch)
