"""The rows of items in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import asyncpg

from plait.errors import StoreError
from plait_adapters.langgraph.store._index import OPERATORS
from plait_adapters.langgraph.store._stored import Plan, Vectors
from plait_adapters.langgraph.store.base import (
    Item,
    ListNamespacesOp,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from plait_adapters.postgres.connections import Link
from plait_adapters.postgres.database import Database, lock_number
from plait_adapters.postgres.statements import Schema

from ._near import NearIndex

__all__ = ["PostgresItems"]


class Statements(Schema):
    """The statements on items."""

    delete: str
    find_near: str
    forget_vectors: str
    get: str
    list: str
    make_near: str
    make_pgvector: str
    near: str
    put: str
    put_vectors: str
    search: str
    set_near: str
    sweep: str

    def __init__(self, schema: str) -> None:
        super().__init__(schema, "plait_adapters.langgraph.store.postgres")


class PostgresItems(Database[Statements]):
    """Items in PostgreSQL 14 or later, by asyncpg; see :class:`Database` for the arguments.

    Args:
        metric: what near means.
        near: by what searches need not look at every vector.
        texts: how many texts of an item the index has, as a rule.
        omit_expired: hide items whose time is over.
    """

    def __init__(
        self,
        database: Any,
        *,
        schema: str,
        timeout: float,
        patience: float,
        pool_size: int,
        statement_cache_size: int | None,
        metric: str,
        near: NearIndex | None,
        texts: int,
        omit_expired: bool,
    ) -> None:
        super().__init__(
            database,
            Statements(schema),
            timeout=timeout,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
            upgrade="call the store's setup()",
        )
        self._patience_for = patience
        self._metric = metric
        self._near = near
        self._texts = texts
        self._home, self._version = "", ""  # of pgvector
        self._omit = omit_expired

    # -- the index ------------------------------------------------------------------------------

    async def _check(self, link: Link) -> None:
        await super()._check(link)
        if self._near is not None and not await self._found(link, self._near):
            try:
                await self._make_near(link, self._near, 0.8 * self._timeout)
            except TimeoutError as late:
                raise StoreError(
                    f"the index {self._near.name} in schema {self._sql.schema} at {self._place} is "
                    f"missing, and takes longer to make than timeout={self._timeout:g} seconds: "
                    f"{self._way_out}, which waits for it"
                ) from late

    async def _migrate(self, link: Link, timeout: float) -> list[str]:
        applied = await super()._migrate(link, timeout)
        if self._near is not None:
            await self._make_near(link, self._near, timeout)
        return applied

    async def _found(self, link: Link, near: NearIndex) -> bool:
        """Whether the index is there; takes in where pgvector is."""
        row = await link.first(self._sql.find_near, near.name)
        if row is not None:
            self._home, self._version = row["home"], row["version"]
        return row is not None and bool(row["is_made"])

    async def _make_near(self, link: Link, near: NearIndex, timeout: float) -> None:
        execute = partial(link.connection.execute, timeout=timeout)
        try:
            async with link.transaction():
                number = lock_number(self._sql.schema)
                await link.fetch(self._sql.lock_migrations, number, timeout=timeout)
                await execute(self._sql.make_pgvector)
                if not await self._found(link, near):
                    await execute(near.written(self._sql.make_near, self._home))
        except asyncpg.FeatureNotSupportedError as no:
            raise StoreError(
                f"ann_index_config needs the extension pgvector on the server at {self._place} "
                f"({no}): install it, or leave ann_index_config out to look at every vector"
            ) from no
        except asyncpg.InsufficientPrivilegeError as no:
            raise StoreError(
                f"the index {near.name} in schema {self._sql.schema} at {self._place} is missing, "
                f"and this role may not make it ({no}): {self._way_out} with one that may"
            ) from no

    # -- what is done ---------------------------------------------------------------------------

    async def carry_out(self, plan: Plan, queries: Vectors, vectors: Vectors) -> list[Result]:
        """Carry out a batch in one transaction. ``queries``, ``vectors``: by text."""

        async def work(link: Link) -> list[Result]:
            results: list[Result] = [None] * len(plan.ops)
            async with link.transaction():
                await self._read(link, plan, queries, results)
                await self._write(link, plan, vectors)
            return results

        return await self._insist(work, self._patience_for)

    async def sweep(self) -> int:
        """Remove items whose time is over; how many there were."""
        row = await self._insist(lambda link: link.first(self._sql.sweep), self._patience_for)
        count: int = row["count"]
        return count

    async def _read(self, link: Link, plan: Plan, queries: Vectors, results: list[Result]) -> None:
        for (namespace, refreshes), wanted in plan.gets.items():
            keys = [key for _, key in wanted]
            rows = await link.fetch(self._sql.get, [*namespace], keys, refreshes, self._omit)
            found = {row["key"]: _item(row) for row in rows}
            for place, key in wanted:
                results[place] = found.get(key)
        for place, op in enumerate(plan.ops):
            if isinstance(op, SearchOp):
                results[place] = await self._search(link, op, queries.get(op.query or ""))
            elif isinstance(op, ListNamespacesOp):
                results[place] = await self._list(link, op)

    async def _search(
        self, link: Link, op: SearchOp, query: Sequence[float] | None
    ) -> list[SearchItem]:
        arguments: list[Any] = [
            [*op.namespace_prefix],
            json.dumps([*_conditions(op.filter or {}, ())]),
            op.limit,
            op.offset,
            op.refresh_ttl,
            self._omit,
        ]
        rows = None
        if query is not None and self._near is not None and any(query):
            rows = await self._search_near(link, op, self._near, query, arguments)
        if rows is None:
            vector = f"{{{_numbers(query)}}}" if query is not None else None
            rows = await link.fetch(self._sql.search, *arguments, vector, self._metric)
        return [
            SearchItem(
                tuple(row["namespace"]),
                row["key"],
                json.loads(row["value"]),
                row["created_at"],
                row["updated_at"],
                row["score"],
            )
            for row in rows
        ]

    async def _search_near(
        self,
        link: Link,
        op: SearchOp,
        near: NearIndex,
        query: Sequence[float],
        arguments: Sequence[Any],
    ) -> list[Any] | None:
        """A search by the index; ``None`` where that gives too few, so that every vector is to be
        looked at: few items agree with the filter, or few there are have a vector."""
        statement, vector = near.written(self._sql.near, self._home), f"[{_numbers(query)}]"
        count = (op.limit + op.offset) * self._texts + 1
        while True:
            settings = near.settings(count, self._version)
            await link.fetch(self._sql.set_near, [*settings], [*settings.values()])
            rows = await link.fetch(statement, *arguments, vector, count)
            if len(rows) == op.limit:
                return rows
            if not rows or rows[0]["seen"] < count:
                return None
            count *= 4  # some items have many texts

    async def _list(self, link: Link, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = [
            {"type": condition.match_type, "path": [*condition.path]}
            for condition in op.match_conditions or ()
        ]
        rows = await link.fetch(
            self._sql.list, json.dumps(conditions), op.max_depth, op.limit, op.offset, self._omit
        )
        return [tuple(row["namespace"]) for row in rows]

    async def _write(self, link: Link, plan: Plan, vectors: Vectors) -> None:
        gone = [_place(op) for op in plan.puts if op.value is None]
        items = [
            _place(op) | {"value": dict(op.value), "ttl": op.ttl}
            for op in plan.puts
            if op.value is not None
        ]
        if gone:
            await link.fetch(self._sql.delete, json.dumps(gone))
        if items:
            given = json.dumps(items, allow_nan=False)
            await link.fetch(self._sql.put, given)
            await link.fetch(self._sql.forget_vectors, given)
        if plan.texts:
            rows = [
                {
                    "namespace": text.namespace,
                    "key": text.key,
                    "path": text.path,
                    "vector": [float(number) for number in vectors[text.text]],
                }
                for text in plan.texts
            ]
            await link.fetch(self._sql.put_vectors, json.dumps(rows, allow_nan=False))


def _numbers(vector: Sequence[float]) -> str:
    return ",".join(map(repr, map(float, vector)))


def _place(op: PutOp) -> dict[str, Any]:
    return {"namespace": op.namespace, "key": op.key}


def _item(row: Any) -> Item:
    return Item(
        value=json.loads(row["value"]),
        key=row["key"],
        namespace=tuple(row["namespace"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _conditions(wanted: Mapping[str, Any], path: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    """A filter as conditions, each with where, how and what."""
    for key, item in wanted.items():
        here = (*path, key)
        if not isinstance(item, Mapping):
            yield {"path": here, "operator": "$eq", "value": item}
        elif any(name.startswith("$") for name in item):
            for operator, value in item.items():
                if operator not in OPERATORS:
                    raise ValueError(
                        f"Unsupported operator: {operator}; there are {', '.join(OPERATORS)}"
                    )
                yield {"path": here, "operator": operator, "value": value}
        else:
            yield from _conditions(item, here)
