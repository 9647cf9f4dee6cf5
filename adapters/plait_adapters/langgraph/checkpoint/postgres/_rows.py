"""The rows of checkpoints in PostgreSQL: each method is one statement, or one transaction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from plait.errors import ThreadExists
from plait_adapters.langgraph.checkpoint._pruning import Bone, check_removal, to_keep
from plait_adapters.langgraph.checkpoint._stored import (
    Ancestor,
    NewCheckpoint,
    NewWrite,
    Query,
    StoredCheckpoint,
    StoredValue,
    StoredWrite,
)
from plait_adapters.postgres.connections import Link
from plait_adapters.postgres.database import Database
from plait_adapters.postgres.packing import as_array, packed
from plait_adapters.postgres.statements import Schema

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
    save_writes: str

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
        after, wanted = query.after, _json(query.wanted or {}, strict=True)
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

    async def save(self, checkpoint: NewCheckpoint) -> None:
        """Store a checkpoint; one with its id is replaced."""
        values = checkpoint.values
        await self._fetch(
            self._sql.save,
            checkpoint.thread_id,
            checkpoint.namespace,
            checkpoint.checkpoint_id,
            checkpoint.parent_id,
            checkpoint.run_id,
            [*checkpoint.versions],
            [*checkpoint.versions.values()],
            checkpoint.delta,
            _json(checkpoint.metadata),
            checkpoint.encoding,
            checkpoint.data,
            [channel for channel, _, _, _ in values],
            [version for _, version, _, _ in values],
            [encoding for _, _, encoding, _ in values],
            *packed([data for _, _, _, data in values]),
        )

    async def save_writes(
        self,
        thread_id: str,
        namespace: str,
        checkpoint_id: str,
        task_id: str,
        task_path: str,
        writes: Sequence[NewWrite],
    ) -> None:
        """Store what a task has written."""
        await self._fetch(
            self._sql.save_writes,
            thread_id,
            namespace,
            checkpoint_id,
            task_id,
            task_path,
            as_array(write.place for write in writes),
            [write.channel for write in writes],
            [write.encoding for write in writes],
            *packed([write.data for write in writes]),
        )

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


def _json(items: Mapping[str, Any], *, strict: bool = False) -> str:
    """What of a mapping is JSON, as PostgreSQL has it: without NUL.

    Raises:
        TypeError: some of it is not, and it is to be strict.
    """
    found = {}
    for name, item in items.items():
        try:
            text = json.dumps(item, allow_nan=False)
        except (TypeError, ValueError):
            if strict:
                raise TypeError(
                    f"filter={{{name!r}: ...}} has a {type(item).__name__}, and only what is JSON "
                    "can be filtered by"
                ) from None
            continue
        found[_without_nul(name)] = _without_nul(json.loads(text))
    return json.dumps(found)


def _without_nul(item: Any) -> Any:
    if isinstance(item, str):
        return item.replace("\0", "")
    if isinstance(item, list):
        return [_without_nul(one) for one in item]
    if isinstance(item, dict):
        return {_without_nul(key): _without_nul(one) for key, one in item.items()}
    return item
