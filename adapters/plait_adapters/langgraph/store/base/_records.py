"""Items, and what can be asked of a store."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict

__all__ = [
    "NOT_PROVIDED",
    "GetOp",
    "IndexConfig",
    "InvalidNamespaceError",
    "Item",
    "ListNamespacesOp",
    "MatchCondition",
    "NamespaceMatchType",
    "NamespacePath",
    "NotProvided",
    "Op",
    "PutOp",
    "Result",
    "SearchItem",
    "SearchOp",
    "TTLConfig",
    "check_labels",
    "check_namespace",
    "validate_op_namespace",
]


class NotProvided:
    """The type of :data:`NOT_PROVIDED`."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_PROVIDED: Final = NotProvided()
"""In place of an argument that was not given, where ``None`` is one."""


class Item:
    """What is stored under a key.

    Args:
        value: the data; filters look at its keys.
        key: unique in its namespace.
        namespace: a path of labels, such as ``("users", "7", "facts")``.
        created_at: when there was first something under this key; a datetime, or one in ISO 8601.
        updated_at: when it was last put.
    """

    __slots__ = ("created_at", "key", "namespace", "updated_at", "value")

    def __init__(
        self,
        *,
        value: dict[str, Any],
        key: str,
        namespace: tuple[str, ...],
        created_at: datetime | str,
        updated_at: datetime | str,
    ) -> None:
        self.value = value
        self.key = key
        self.namespace: tuple[str, ...] = tuple(namespace)
        self.created_at: datetime = _moment(created_at)
        self.updated_at: datetime = _moment(updated_at)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Item):
            return False
        return (
            self.namespace == other.namespace
            and self.key == other.key
            and self.value == other.value
            and self.created_at == other.created_at
            and self.updated_at == other.updated_at
        )

    def __hash__(self) -> int:
        return hash((self.namespace, self.key))

    def dict(self) -> builtins.dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "namespace": [*self.namespace],
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }

    def __repr__(self) -> str:
        return f"Item({', '.join(f'{name}={item!r}' for name, item in self.dict().items())})"


def _moment(given: datetime | str) -> datetime:
    return datetime.fromisoformat(given) if isinstance(given, str) else given


class SearchItem(Item):
    """An item that a search has found.

    Args:
        score: how near it is to the query: the larger, the nearer; ``None`` where there was none,
            or where the item is in no index.
    """

    __slots__ = ("score",)

    def __init__(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: dict[str, Any],
        created_at: datetime | str,
        updated_at: datetime | str,
        score: float | None = None,
    ) -> None:
        super().__init__(
            value=value,
            key=key,
            namespace=namespace,
            created_at=created_at,
            updated_at=updated_at,
        )
        self.score = score

    def dict(self) -> builtins.dict[str, Any]:
        """All of it as JSON has it."""
        return super().dict() | {"score": self.score}


class GetOp(NamedTuple):
    """Read the item under a key."""

    namespace: tuple[str, ...]
    key: str
    refresh_ttl: bool = True
    """Whether its time to live begins anew."""


class SearchOp(NamedTuple):
    """Find items."""

    namespace_prefix: tuple[str, ...]
    """How their namespaces begin."""
    filter: dict[str, Any] | None = None
    """By key of the value, what it must be: a value, or a dict of ``$eq``, ``$ne``, ``$gt``,
    ``$gte``, ``$lt``, ``$lte`` with what to compare to."""
    limit: int = 10
    offset: int = 0
    query: str | None = None
    """Text to which those found are the nearest, if the store has an index."""
    refresh_ttl: bool = True


NamespacePath: TypeAlias = tuple[str, ...]
"""Labels; ``"*"`` stands for any one."""
NamespaceMatchType: TypeAlias = Literal["prefix", "suffix"]


class MatchCondition(NamedTuple):
    """How a namespace has to begin or end."""

    match_type: NamespaceMatchType
    path: NamespacePath


class ListNamespacesOp(NamedTuple):
    """List the namespaces in which there are items, sorted."""

    match_conditions: tuple[MatchCondition, ...] | None = None
    """All of them must hold."""
    max_depth: int | None = None
    """Cut to so many labels, and list each once."""
    limit: int = 100
    offset: int = 0


class PutOp(NamedTuple):
    """Put an item under a key, or remove what is there."""

    namespace: tuple[str, ...]
    key: str
    value: Mapping[str, Any] | None
    """``None``: remove it."""
    index: Literal[False] | list[str] | None = None  # type: ignore[assignment] # hides a method of tuples
    """Paths of the texts by which a search finds it; ``None``: those of the store; ``False``: it is
    not in the index."""
    ttl: float | None = None
    """Minutes to live since it was last put, or read with ``refresh_ttl``; ``None``: for good."""


Op: TypeAlias = GetOp | SearchOp | PutOp | ListNamespacesOp
Result: TypeAlias = Item | list[Item] | list[SearchItem] | list[tuple[str, ...]] | None


class InvalidNamespaceError(ValueError):
    """A namespace is not as namespaces have to be."""


class TTLConfig(TypedDict, total=False):
    """How long items live."""

    refresh_on_read: bool
    """Whether reading begins their time anew, unless a call says otherwise."""
    omit_expired: bool
    """Whether items whose time is over are hidden before they are swept."""
    default_ttl: float | None
    """Minutes, for items put without."""
    sweep_interval_minutes: int | None


class IndexConfig(TypedDict, total=False):
    """By what searches find items."""

    dims: int
    """How many numbers are in a vector."""
    embed: Any
    """Makes vectors of texts: langchain-core's ``Embeddings``, a function from a list of texts to a
    list of vectors, synchronous or not, or the name of a model for ``init_embeddings``."""
    fields: list[str] | None
    """Paths of the texts in values; by default ``["$"]``, the whole value as JSON."""


def check_namespace(namespace: tuple[str, ...]) -> None:
    """Raise ``InvalidNamespaceError`` for a namespace in which nothing can be put."""
    if not namespace:
        raise InvalidNamespaceError("Namespace cannot be empty: give it one label at least")
    check_labels(namespace)
    if namespace[0] == "langgraph":
        raise InvalidNamespaceError(
            f'the first label of a namespace cannot be "langgraph", as in {namespace}'
        )


def check_labels(namespace: tuple[str, ...]) -> None:
    """Raise ``InvalidNamespaceError`` for labels that no namespace can have."""
    given: tuple[object, ...] = namespace
    for label in given:
        problem = None
        if not isinstance(label, str):
            problem = f"labels must be strings, and it is of type {type(label).__name__}"
        elif "." in label:
            problem = "labels cannot contain periods ('.')"
        elif "\0" in label:
            problem = "labels cannot contain NUL"
        elif not label:
            problem = "labels cannot be empty"
        if problem is not None:
            raise InvalidNamespaceError(
                f"Invalid namespace label {label!r} found in {namespace}: {problem}"
            )


def validate_op_namespace(op: Op) -> None:
    """Raise ``InvalidNamespaceError`` for an operation on a namespace that there cannot be."""
    if isinstance(op, (GetOp, PutOp)):
        check_labels(op.namespace)
    elif isinstance(op, SearchOp):
        check_labels(op.namespace_prefix)
    elif isinstance(op, ListNamespacesOp):
        for condition in op.match_conditions or ():
            check_labels(condition.path)
