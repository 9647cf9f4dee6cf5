"""What stores have in common where items are searched: filters, namespaces, texts, scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plait_adapters.langgraph.checkpoint._configs import at_path

from .base import IndexConfig, MatchCondition, PutOp
from .base.embed import Embedder, ensure_embeddings, get_text_at_path, tokenize_path

__all__ = ["OPERATORS", "Index", "Text", "cosines", "is_match", "matches"]


# -- filters ---------------------------------------------------------------------------------------


def matches(
    value: Mapping[str, Any], wanted: Mapping[str, Any] | None, *, dotted: bool = False
) -> bool:
    """Whether a value is as a filter wants it. ``dotted``: a name that it does not have may be a
    path, with dots between its steps.

    Raises:
        ValueError: the filter has an operator that there is not.
    """
    if not wanted:
        return True
    return all(
        _agrees(at_path(value, key) if dotted else value.get(key), item)
        for key, item in wanted.items()
    )


def _agrees(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(key.startswith("$") for key in wanted):
            return all(_holds(found, operator, item) for operator, item in wanted.items())
        return isinstance(found, Mapping) and all(
            _agrees(found.get(key), item) for key, item in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(wanted)
            and all(map(_agrees, found, wanted))
        )
    return bool(found == wanted)


_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}

OPERATORS: Final = ("$eq", "$ne", *_COMPARE)
"""What a filter may ask beside equality."""


def _holds(found: Any, operator: str, wanted: Any) -> bool:
    if operator == "$eq":
        return bool(found == wanted)
    if operator == "$ne":
        return bool(found != wanted)
    compare = _COMPARE.get(operator)
    if compare is None:
        raise ValueError(f"Unsupported operator: {operator}; there are {', '.join(OPERATORS)}")
    try:
        return bool(compare(float(found), float(wanted)))
    except (TypeError, ValueError):  # what is no number is neither more nor less than one
        if isinstance(found, str) and isinstance(wanted, str):
            return bool(compare(found, wanted))
        return False


def is_match(condition: MatchCondition, namespace: Sequence[str]) -> bool:
    """Whether a namespace begins or ends as a condition wants it.

    Raises:
        ValueError: there is no condition of this type.
    """
    path = condition.path
    if condition.match_type not in {"prefix", "suffix"}:
        raise ValueError(f"Unsupported match type: {condition.match_type}")
    if len(namespace) < len(path):
        return False
    part = (
        namespace[: len(path)]
        if condition.match_type == "prefix"
        else namespace[len(namespace) - len(path) :]
    )
    return all(step in {"*", label} for label, step in zip(part, path, strict=True))


# -- the index -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A text by which an item is found."""

    namespace: tuple[str, ...]
    key: str
    path: str
    """Where in the value it is; with a number where there are several."""
    text: str


class Index:
    """What makes vectors of items, and of which texts in them."""

    def __init__(self, config: IndexConfig) -> None:
        self.config: IndexConfig = config.copy()
        self.embeddings: Embedder = ensure_embeddings(config.get("embed"))
        fields: Any = config.get("fields") or ["$"]
        if isinstance(fields, str):
            fields = [fields]
        if not isinstance(fields, list):
            raise ValueError(  # noqa: TRY004 - LangGraph's type
                f"fields={fields!r} must be a list of paths"
            )
        self._paths: list[tuple[str, Literal["$"] | list[str]]] = [
            (path, _tokens(path)) for path in fields
        ]

    @property
    def count(self) -> int:
        """How many texts there are of an item at least that has all that is looked for."""
        return len(self._paths)

    def texts(self, puts: Iterable[PutOp]) -> list[Text]:
        """The texts of items that are to be put."""
        return [
            Text(op.namespace, op.key, f"{path}.{number}" if len(found) > 1 else path, text)
            for op in puts
            if op.value is not None and op.index is not False
            for path, tokens in self._paths_of(op.index)
            for found in (get_text_at_path(op.value, tokens),)
            for number, text in enumerate(found)
        ]

    def _paths_of(self, index: list[str] | None) -> list[tuple[str, Literal["$"] | list[str]]]:
        return self._paths if index is None else [(path, _tokens(path)) for path in index]

    def embed(self, texts: Iterable[str]) -> dict[str, list[float]]:
        """The vectors of texts, each made once."""
        distinct = list(dict.fromkeys(texts))
        return self._paired(distinct, self.embeddings.embed_documents(distinct) if distinct else [])

    async def aembed(self, texts: Iterable[str]) -> dict[str, list[float]]:
        """As :meth:`embed`."""
        distinct = list(dict.fromkeys(texts))
        vectors = await self.embeddings.aembed_documents(distinct) if distinct else []
        return self._paired(distinct, vectors)

    def _paired(self, texts: list[str], vectors: Any) -> dict[str, list[float]]:
        dims = self.config.get("dims")
        if len(vectors) != len(texts):
            raise ValueError(f"embed gave {len(vectors)} vectors for {len(texts)} texts")
        for vector in vectors:
            if dims is not None and len(vector) != dims:
                raise ValueError(
                    f"embed gave a vector of {len(vector)} numbers, and the index has dims={dims}"
                )
        return dict(zip(texts, vectors, strict=True))


def _tokens(path: str) -> Literal["$"] | list[str]:
    return "$" if path == "$" else tokenize_path(path)


def cosines(query: Sequence[float], vectors: Sequence[Sequence[float]]) -> list[float]:
    """The cosine of the angle between a vector and each of others; 0 where one has no length."""
    try:
        import numpy as np  # pyright: ignore[reportMissingImports]
    except ImportError:
        length = math.hypot(*query)
        return [
            dot / (length * other) if (other := math.hypot(*vector)) and length else 0.0
            for vector in vectors
            for dot in (sum(a * b for a, b in zip(query, vector, strict=True)),)
        ]
    if not vectors:
        return []
    matrix, row = np.asarray(vectors, dtype=float), np.asarray(query, dtype=float)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(row)
    dots = matrix @ row
    found: list[float] = np.divide(dots, lengths, np.zeros_like(dots), where=lengths != 0).tolist()
    return found
