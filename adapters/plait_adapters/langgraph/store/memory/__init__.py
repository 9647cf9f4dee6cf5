"""A store that keeps items in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.store._index import Index, Text, cosines, is_match, matches
from plait_adapters.langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from plait_adapters.langgraph.store.base.embed import Embedder

__all__ = ["InMemoryStore"]

Vectors = Mapping[str, list[float]]


class InMemoryStore(BaseStore):
    """A store that keeps items in this process, with a search that looks at every vector.

    Args:
        index: makes searches by meaning possible.
    """

    __slots__ = ("_data", "_index", "_vectors", "embeddings", "index_config")

    def __init__(self, *, index: IndexConfig | None = None) -> None:
        self._data: dict[tuple[str, ...], dict[str, Item]] = {}
        self._vectors: dict[tuple[tuple[str, ...], str], dict[str, list[float]]] = {}
        self._index = Index(index) if index else None
        self.index_config: IndexConfig | None = self._index.config if self._index else None
        self.embeddings: Embedder | None = self._index.embeddings if self._index else None

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations; a result for each, in their order."""
        given = list(ops)
        puts, texts = self._prepare(given)
        results = self._read(given, self._index.embed(_queries(given)) if self._index else {})
        self._write(puts, texts, self._index.embed(t.text for t in texts) if self._index else {})
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As :meth:`batch`."""
        given = list(ops)
        puts, texts = self._prepare(given)
        queries = await self._index.aembed(_queries(given)) if self._index else {}
        results = self._read(given, queries)
        vectors = await self._index.aembed(t.text for t in texts) if self._index else {}
        self._write(puts, texts, vectors)
        return results

    def _prepare(self, ops: Iterable[Op]) -> tuple[list[PutOp], list[Text]]:
        """The puts that count, and what is to be embedded of them."""
        puts = list({(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}.values())
        return puts, self._index.texts(puts) if self._index else []

    def _read(self, ops: Iterable[Op], queries: Vectors) -> list[Result]:
        results: list[Result] = []
        for op in ops:
            if isinstance(op, GetOp):
                results.append(self._data.get(op.namespace, {}).get(op.key))
            elif isinstance(op, SearchOp):
                results.append(self._search(op, queries.get(op.query or "")))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._list(op))
            elif isinstance(op, PutOp):
                results.append(None)
            else:
                raise ValueError(f"Unknown operation type: {type(op)}")  # noqa: TRY004 - LangGraph's
        return results

    def _write(self, puts: Iterable[PutOp], texts: Iterable[Text], vectors: Vectors) -> None:
        now = datetime.now(UTC)
        for op in puts:
            self._vectors.pop((op.namespace, op.key), None)
            items = self._data.setdefault(op.namespace, {})
            before = items.get(op.key)
            if op.value is not None:
                items[op.key] = Item(
                    value=dict(op.value),
                    key=op.key,
                    namespace=op.namespace,
                    created_at=before.created_at if before is not None else now,
                    updated_at=now,
                )
            elif before is not None:
                del items[op.key]
            if not items:
                del self._data[op.namespace]
        for text in texts:
            place = (text.namespace, text.key)
            self._vectors.setdefault(place, {})[text.path] = vectors[text.text]

    def _search(self, op: SearchOp, query: list[float] | None) -> list[SearchItem]:
        depth = len(op.namespace_prefix)
        found = [
            item
            for namespace, items in self._data.items()
            if namespace[:depth] == tuple(op.namespace_prefix)
            for item in items.values()
            if matches(item.value, op.filter)
        ]
        scores: dict[int, float] = {}
        if query is not None:
            pairs = [
                (number, vector)
                for number, item in enumerate(found)
                for vector in self._vectors.get((item.namespace, item.key), {}).values()
            ]
            for (number, _), score in zip(
                pairs, cosines(query, [vector for _, vector in pairs]), strict=True
            ):
                scores[number] = max(score, scores.get(number, score))
        # Those that are in no index come last.
        order = sorted(range(len(found)), key=lambda n: -scores[n] if n in scores else 2.0)
        return [
            _found(found[number], scores.get(number))
            for number in order[op.offset : op.offset + op.limit]
        ]

    def _list(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        found = {
            namespace[: op.max_depth]
            for namespace in self._data
            if all(is_match(condition, namespace) for condition in conditions)
        }
        return sorted(found)[op.offset : op.offset + op.limit]


def _queries(ops: Iterable[Op]) -> list[str]:
    return [op.query for op in ops if isinstance(op, SearchOp) and op.query]


def _found(item: Item, score: float | None) -> SearchItem:
    return SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, score)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
