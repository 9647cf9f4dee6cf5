"""The rows of checkpoints in PostgreSQL: each method is one statement, or one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from plait.errors import ThreadExists
from plait_adapters.langgraph.checkpoint._pruning import Bone, check_removal, to_keep
from plait_adapters.langgraph.checkpoint._stored import (
    Ancestor,
    Query,
    Record,
    StoredCheckpoint,
    StoredValue,
    StoredWrite,
)
from plait_adapters.postgres.connections import Connections, Link
from plait_adapters.postgres.database import Database, Side
from plait_adapters.postgres.gathering import Gathering
from plait_adapters.postgres.statements import Schema

from ._batch import Batch, as_json

__all__ = ["PostgresRows"]

T = TypeVar("T")

_LAST: Final = "\U0010ffff"
"""Sorts behind every id."""


class Statements(Schema):
    """The statements on checkpoints."""

    ancestors: str
    bones: str
    copy: str
    delete_threads: str
    find: str
    forget_parents: str
    has_thread: str
    latest: str
    page_of_all: str
    page_of_thread: str
    places_of_runs: str
    places_of_threads: str
    remove: str
    remove_unused: str
    save: str

    def __init__(self, schema: str) -> None:
        super().__init__(schema, "plait_adapters.langgraph.checkpoint.postgres")


class PostgresRows(Database[Statements]):
    """Checkpoints in PostgreSQL 14 or later, by asyncpg.

    Args:
        database, timeout, pool_size, statement_cache_size: see :class:`Database`.
        schema: where the tables are.
        patience: seconds for which an operation is tried again while the server cannot be reached.
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
    ) -> None:
        super().__init__(
            database,
            Statements(schema),
            timeout=timeout,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
            upgrade="call the saver's setup()",
        )
        self._patience_for = patience

    async def find(
        self, thread_id: str, namespace: str, checkpoint_id: str | None
    ) -> StoredCheckpoint | None:
        """A checkpoint; the latest where no id is given."""
        if checkpoint_id is None:
            rows = await self._fetch(self._sql.latest, thread_id, namespace)
        else:
            rows = await self._fetch(self._sql.find, thread_id, namespace, checkpoint_id)
        return next(iter(_checkpoints(rows)), None)

    async def page(self, query: Query, size: int) -> Sequence[StoredCheckpoint]:
        """So many of those that are wanted; fewer if there are no more."""
        after, wanted = query.after, as_json(query.wanted or {}, strict=True)
        upto, after_thread, after_namespace = after if after is not None else (_LAST, "", "")
        if query.thread_id is None:
            place = (upto, after_thread, after_namespace)
            rows = await self._fetch(self._sql.page_of_all, query.before, wanted, *place, size)
        else:
            which = (query.thread_id, query.namespace, query.checkpoint_id, query.before)
            rows = await self._fetch(
                self._sql.page_of_thread, *which, wanted, upto, after_namespace, size
            )
        return _checkpoints(rows)

    async def ancestors(
        self, thread_id: str, namespace: str, checkpoint_id: str | None, channels: Sequence[str]
    ) -> Sequence[Ancestor]:
        """Those before a checkpoint, as far back as is needed for each channel."""
        place = (thread_id, namespace, checkpoint_id)
        found = await self._fetch(self._sql.ancestors, *place, [*channels])
        return [
            Ancestor(
                [
                    StoredWrite(row["task_id"], row["channel"], row["encoding"], row["data"])
                    for row in rows
                    if row["kind"] == _WRITE
                ],
                [
                    StoredValue(row["channel"], row["encoding"], row["data"])
                    for row in rows
                    if row["kind"] == _VALUE
                ],
            )
            for rows in _groups(found, lambda row: row["depth"])
        ]

    async def save(self, records: Sequence[Record]) -> None:
        """Store checkpoints and writes, in this order: with those of others that come at the same
        time, and in several transactions only if they are many."""
        saving = cast("_Side", self._side()).saving
        if await saving.call(records) is None:
            await self._insist(lambda link: self._save(link, [records]), self._patience_for)

    def _make_side(self, connections: Connections) -> Side:
        return _Side(connections, Gathering(self._do, self._save))

    async def _save(self, link: Link, requests: Sequence[Sequence[Record]]) -> Sequence[bool]:
        batch = Batch()
        for record in itertools.chain.from_iterable(requests):
            if batch.is_full:
                await link.fetch(self._sql.save, *batch.arguments())
                batch = Batch()
            batch.add(record)
        await link.fetch(self._sql.save, *batch.arguments())
        return [True] * len(requests)

    async def delete_threads(self, thread_ids: Sequence[str]) -> None:
        """Remove all that belongs to threads."""
        await self._fetch(self._sql.delete_threads, [*thread_ids])

    async def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs have made. Raises ``StoreError`` if what stays is built on it."""

        async def work(link: Link) -> None:
            async with link.transaction():
                places = await link.fetch(self._sql.places_of_runs, [*run_ids])
                for thread_id, namespace in places:
                    rows = await link.fetch(self._sql.bones, thread_id, namespace)
                    bones = [_bone(row) for row in rows]
                    left = {row["checkpoint_id"] for row in rows if row["run_id"] not in run_ids}
                    check_removal(thread_id, bones, left)
                    await self._keep(link, thread_id, namespace, bones, left)

        await self._insist(work, self._patience_for)

    async def copy(self, source: str, target: str) -> None:
        """Make a thread that is the same as another one. Raises ``ThreadExists``."""

        async def work(link: Link) -> None:
            async with link.transaction():
                found = await link.first(self._sql.has_thread, target)
                if found["there"]:
                    raise ThreadExists(target, "exists already: choose another id for the copy")
                await link.fetch(self._sql.copy, source, target)

        await self._do(work)  # once: the second time, the thread might be there by this very call

    async def prune(self, thread_ids: Sequence[str]) -> None:
        """Remove all but the latest checkpoints of threads, and what those are built on."""

        async def work(link: Link) -> None:
            async with link.transaction():
                places = await link.fetch(self._sql.places_of_threads, [*thread_ids])
                for thread_id, namespace in places:
                    rows = await link.fetch(self._sql.bones, thread_id, namespace)
                    bones = [_bone(row) for row in rows]
                    await self._keep(link, thread_id, namespace, bones, to_keep(bones))

        await self._insist(work, self._patience_for)

    async def _keep(
        self, link: Link, thread_id: str, namespace: str, bones: Sequence[Bone], left: set[str]
    ) -> None:
        """Remove checkpoints of a namespace that are not left, and values that none has then."""
        gone = [bone.checkpoint_id for bone in bones if bone.checkpoint_id not in left]
        if gone:
            await link.fetch(self._sql.remove, thread_id, namespace, gone)
            await link.fetch(self._sql.forget_parents, thread_id, namespace, gone)
            await link.fetch(self._sql.remove_unused, thread_id, namespace)

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        return await self._insist(
            lambda link: link.fetch(statement, *arguments), self._patience_for
        )


class _Side(Side):
    """What belongs to one event loop, and those who save something in it at the same time."""

    def __init__(self, connections: Connections, saving: Gathering[Sequence[Record], bool]) -> None:
        super().__init__(connections)
        self.saving = saving


_CHECKPOINT, _VALUE, _WRITE = 0, 1, 2


def _checkpoints(rows: Sequence[Any]) -> list[StoredCheckpoint]:
    """Checkpoints of the rows that belong to them."""
    return [
        StoredCheckpoint(
            first["thread_id"],
            first["namespace"],
            first["checkpoint_id"],
            first["parent_id"],
            first["encoding"],
            first["data"],
            [
                StoredValue(row["channel"], row["encoding"], row["data"])
                for row in parts
                if row["kind"] == _VALUE
            ],
            [
                StoredWrite(row["task_id"], row["channel"], row["encoding"], row["data"])
                for row in parts
                if row["kind"] == _WRITE
            ],
        )
        for first, *parts in _groups(
            rows, lambda row: (row["checkpoint_id"], row["thread_id"], row["namespace"])
        )
        if first["kind"] == _CHECKPOINT  # writes may be there before it
    ]


def _groups(rows: Sequence[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    return [list(group) for _, group in itertools.groupby(rows, key)]


def _bone(row: Any) -> Bone:
    delta, stored = frozenset(row["delta"]), frozenset(row["stored"])
    return Bone(row["checkpoint_id"], row["parent_id"], delta, stored)
