"""The rows of items in SQLite. Filters and distances are worked out here, not by SQLite."""

from __future__ import annotations

import array
import datetime as dt
import json
import math
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from plait_adapters.langgraph.checkpoint.sqlite._access import Access
from plait_adapters.langgraph.store._index import OPERATORS, cosines, is_match, matches
from plait_adapters.langgraph.store._stored import Plan, Vectors
from plait_adapters.langgraph.store.base import (
    Item,
    ListNamespacesOp,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from plait_adapters.sqlite.file import Tables

__all__ = ["TABLES", "Deserializer", "SqliteItems"]

TABLES: Final = Tables("plait_adapters.langgraph.store.sqlite")

Deserializer = Callable[[str], dict[str, Any]]
"""Makes a value of the JSON that is stored of it."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class SqliteItems:
    """Items in SQLite.

    Args:
        access: carries out actions on a connection.
        metric: what near means.
        omit_expired: hide items whose time is over.
        deserializer: reads values.
    """

    def __init__(
        self, access: Access, *, metric: str, omit_expired: bool, deserializer: Deserializer
    ) -> None:
        self._access = access
        self._metric = metric
        self._omit = omit_expired
        self._value_of = deserializer

    async def carry_out(self, plan: Plan, queries: Vectors, vectors: Vectors) -> list[Result]:
        """Carry out a batch in one transaction. ``queries``, ``vectors``: by text."""
        _check(plan)

        def action(connection: sqlite3.Connection) -> list[Result]:
            batch = _Batch(self, connection)
            results = batch.read(plan, queries)
            batch.write(plan, vectors)
            return results

        writes = any(isinstance(op, PutOp) or getattr(op, "refresh_ttl", False) for op in plan.ops)
        return await (self._access.write(action) if writes else self._access.read(action))

    async def sweep(self) -> int:
        """Remove items whose time is over; how many there were."""

        def action(connection: sqlite3.Connection) -> int:
            now = {"now": _now()}
            connection.execute(TABLES.statements["sweep_vectors"], now)
            return connection.execute(TABLES.statements["sweep"], now).rowcount

        return await self._access.write(action)

    def item(self, row: Any) -> Item:
        """The item in a row."""
        _, namespace, key, value, created_at, updated_at = row
        return Item(
            value=self._value_of(value),
            key=key,
            namespace=tuple(json.loads(namespace)),
            created_at=_moment(created_at),
            updated_at=_moment(updated_at),
        )

    def scores(
        self, query: Sequence[float], vectors: Sequence[tuple[int, bytes]]
    ) -> dict[int, float]:
        """By row: how near the nearest of its vectors is."""
        numbers = [_floats(vector) for _, vector in vectors]
        scores: dict[int, float] = {}
        for (row, _), score in zip(vectors, _near(self._metric, query, numbers), strict=True):
            scores[row] = max(score, scores.get(row, score))
        return scores

    @property
    def hides(self) -> bool:
        """Whether items whose time is over are hidden."""
        return self._omit


class _Batch:
    """Operations on a connection, at one moment."""

    def __init__(self, items: SqliteItems, connection: sqlite3.Connection) -> None:
        self._items = items
        self._connection = connection
        self._moment = {"now": _now()}
        self._seen = {"omit": items.hides, **self._moment}

    def _rows(self, name: str, **values: Any) -> list[Any]:
        cursor = self._connection.execute(TABLES.statements[name], values)
        cursor.row_factory = None  # whatever the user's connection has
        return cursor.fetchall()

    def read(self, plan: Plan, queries: Vectors) -> list[Result]:
        results: list[Result] = [None] * len(plan.ops)
        refreshed: list[int] = []
        for (namespace, refreshes), wanted in plan.gets.items():
            for place, key in wanted:
                for row in self._rows("get", namespace=_text(namespace), key=key, **self._seen):
                    results[place] = self._items.item(row)
                    refreshed += [row[0]] * refreshes
        for place, op in enumerate(plan.ops):
            if isinstance(op, SearchOp):
                found = self._search(op, queries.get(op.query or ""))
                results[place] = [item for _, item in found]
                refreshed += [row for row, _ in found] * op.refresh_ttl
            elif isinstance(op, ListNamespacesOp):
                results[place] = self._list(op)
        for row in refreshed:
            self._rows("refresh", item=row, **self._moment)
        return results

    def _search(self, op: SearchOp, query: list[float] | None) -> list[tuple[int, SearchItem]]:
        within = _within(op.namespace_prefix)
        found = [
            (row[0], item)
            for row in self._rows("within", **within, **self._seen)
            for item in (self._items.item(row),)
            if matches(item.value, op.filter, dotted=True)
        ]
        scores: dict[int, float] = {}
        if query is not None:
            scores = self._items.scores(query, self._rows("vectors", **within))
            # Those that are in no index come last.
            found.sort(key=lambda pair: -scores.get(pair[0], -math.inf))
        return [
            (row, _found(item, scores.get(row)))
            for row, item in found[op.offset : op.offset + op.limit]
        ]

    def _list(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        namespaces = (tuple(json.loads(text)) for (text,) in self._rows("namespaces", **self._seen))
        conditions = op.match_conditions or ()
        found = {
            namespace[: op.max_depth]
            for namespace in namespaces
            if all(is_match(condition, namespace) for condition in conditions)
        }
        return sorted(found)[op.offset : op.offset + op.limit]

    def write(self, plan: Plan, vectors: Vectors) -> None:
        for op in plan.puts:
            place = {"namespace": _text(op.namespace), "key": op.key}
            self._rows("forget_vectors", **place)
            if op.value is None:
                self._rows("delete", **place)
            else:
                value = json.dumps(dict(op.value), allow_nan=False)
                self._rows("put", **place, value=value, ttl=op.ttl, **self._moment)
        for text in plan.texts:
            self._rows(
                "put_vector",
                namespace=_text(text.namespace),
                key=text.key,
                path=text.path,
                vector=_blob(vectors[text.text]),
            )


def _check(plan: Plan) -> None:
    """Raises ``ValueError`` where nothing would be asked of an item, but something is asked for
    that there is not."""
    for op in plan.ops:
        if isinstance(op, SearchOp) and op.filter:
            _check_operators(op.filter)
        elif isinstance(op, ListNamespacesOp):
            for condition in op.match_conditions or ():
                is_match(condition, ())


def _check_operators(wanted: Mapping[str, Any]) -> None:
    for key, item in wanted.items():
        if key.startswith("$") and key not in OPERATORS:
            raise ValueError(f"Unsupported operator: {key}; there are {', '.join(OPERATORS)}")
        if isinstance(item, Mapping):
            _check_operators(item)


def _now() -> int:
    return round(time.time() * 1e6)


def _moment(microseconds: int) -> dt.datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _text(namespace: Sequence[str]) -> str:
    return json.dumps([*namespace], separators=(",", ":"))


def _within(prefix: Sequence[str]) -> dict[str, str]:
    """A namespace, and the texts between which those are that begin with it."""
    whole = _text(prefix)
    begin = whole[:-1] + ("," if prefix else "")
    return {"namespace": whole, "from": begin, "to": begin[:-1] + chr(ord(begin[-1]) + 1)}


def _blob(vector: Sequence[float]) -> bytes:
    numbers = array.array("d", vector)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("embed gave a vector in which a number is not finite")
    return _in_order(numbers).tobytes()


def _floats(blob: bytes) -> array.array[float]:
    return _in_order(array.array("d", blob))


def _in_order(numbers: array.array[float]) -> array.array[float]:
    """The numbers with the lowest byte first, or of such."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _near(
    metric: str, query: Sequence[float], vectors: Sequence[Sequence[float]]
) -> Sequence[float]:
    """How near vectors are; more is nearer."""
    if metric == "cosine":
        return cosines(query, vectors)
    if metric == "inner_product":
        return [math.fsum(a * b for a, b in zip(query, v, strict=True)) for v in vectors]
    return [-math.dist(query, vector) for vector in vectors]


def _found(item: Item, score: float | None) -> SearchItem:
    return SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, score)
