"""The rows of checkpoints in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from plait.errors import ThreadExists
from plait_adapters.langgraph.checkpoint._pruning import Bone, check_removal, to_keep
from plait_adapters.langgraph.checkpoint._stored import (
    Ancestor,
    NewCheckpoint,
    Query,
    Record,
    StoredCheckpoint,
    StoredValue,
    StoredWrite,
)
from plait_adapters.langgraph.checkpoint.sqlite._access import Access
from plait_adapters.sqlite.file import Tables

__all__ = ["TABLES", "SqliteRows"]

TABLES: Final = Tables("plait_adapters.langgraph.checkpoint.sqlite")

_LAST: Final = "\U0010ffff"
"""Sorts behind every id."""


class SqliteRows:
    """Checkpoints in SQLite, however the file is reached."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def find(
        self, thread_id: str, namespace: str, checkpoint_id: str | None
    ) -> StoredCheckpoint | None:
        """A checkpoint; the latest where no id is given."""
        return await self._access.read(
            lambda connection: _found(connection, thread_id, namespace, checkpoint_id)
        )

    async def page(self, query: Query, size: int) -> Sequence[StoredCheckpoint]:
        """So many of those that are wanted; fewer if there are no more."""
        after = query.after
        values = {
            "thread_id": query.thread_id,
            "namespace": query.namespace,
            "checkpoint_id": query.checkpoint_id,
            "before": query.before,
            "upto": after.checkpoint_id if after is not None else _LAST,
            "after_thread_id": after.thread_id if after is not None else "",
            "after_namespace": after.namespace if after is not None else "",
        }
        name = "list_of_all" if query.thread_id is None else "list_of_thread"

        def action(connection: sqlite3.Connection) -> list[StoredCheckpoint]:
            found: list[StoredCheckpoint] = []
            for row in connection.execute(TABLES.statements[name], values):
                if query.accept is None or query.accept(*row[5:7]):
                    found.append(_complete(connection, row))
                if len(found) == size:
                    break
            return found

        return await self._access.read(action)

    async def ancestors(
        self, thread_id: str, namespace: str, checkpoint_id: str | None, channels: Sequence[str]
    ) -> Sequence[Ancestor]:
        """Those before a checkpoint, as far back as is needed for each channel."""
        return await self._access.read(
            lambda connection: [
                *_ancestors(connection, thread_id, namespace, checkpoint_id, channels)
            ]
        )

    async def save(self, records: Sequence[Record]) -> None:
        """Store checkpoints and writes, in this order, in one transaction."""

        def action(connection: sqlite3.Connection) -> None:
            for record in records:
                if isinstance(record, NewCheckpoint):
                    _save(connection, record)
                else:
                    place = (record.thread_id, record.namespace, record.checkpoint_id)
                    task = (*place, record.task_id, record.task_path)
                    rows = [(*task, *write) for write in record.writes]
                    connection.executemany(TABLES.statements["save_write"], rows)

        await self._access.write(action)

    async def delete_threads(self, thread_ids: Sequence[str]) -> None:
        """Remove all that belongs to threads."""
        rows = [(thread_id,) for thread_id in thread_ids]

        def action(connection: sqlite3.Connection) -> None:
            for what in ("checkpoints", "values", "writes"):
                connection.executemany(TABLES.statements[f"delete_{what}_of_thread"], rows)

        await self._access.write(action)

    async def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs have made. Raises ``StoreError`` if what stays is built on it."""

        def action(connection: sqlite3.Connection) -> None:
            places = {
                place
                for run_id in run_ids
                for place in connection.execute(TABLES.statements["places_of_run"], (run_id,))
            }
            for thread_id, namespace in sorted(places):
                bones = [*_bones(connection, thread_id, namespace)]
                left = {bone.checkpoint_id for bone, run_id in bones if run_id not in run_ids}
                check_removal(thread_id, (bone for bone, _ in bones), left)
                _keep(connection, thread_id, namespace, [bone for bone, _ in bones], left)

        await self._access.write(action)

    async def copy(self, source: str, target: str) -> None:
        """Make a thread that is the same as another one. Raises ``ThreadExists``."""

        def action(connection: sqlite3.Connection) -> None:
            (there,) = connection.execute(TABLES.statements["has_thread"], (target,)).fetchone()
            if there:
                raise ThreadExists(target, "exists already: choose another id for the copy")
            for what in ("checkpoints", "values", "writes"):
                names = {"source": source, "target": target}
                connection.execute(TABLES.statements[f"copy_{what}"], names)

        await self._access.write(action)

    async def prune(self, thread_ids: Sequence[str]) -> None:
        """Remove all but the latest checkpoints of threads, and what those are built on."""

        def action(connection: sqlite3.Connection) -> None:
            for thread_id in thread_ids:
                found = connection.execute(TABLES.statements["namespaces_of_thread"], (thread_id,))
                for (namespace,) in found.fetchall():
                    bones = [bone for bone, _ in _bones(connection, thread_id, namespace)]
                    _keep(connection, thread_id, namespace, bones, to_keep(bones))

        await self._access.write(action)


def _save(connection: sqlite3.Connection, checkpoint: NewCheckpoint) -> None:
    place = (checkpoint.thread_id, checkpoint.namespace)
    values = [(*place, *value) for value in checkpoint.values]
    connection.executemany(TABLES.statements["save_value"], values)
    row = {
        "thread_id": checkpoint.thread_id,
        "namespace": checkpoint.namespace,
        "checkpoint_id": checkpoint.checkpoint_id,
        "parent_id": checkpoint.parent_id,
        "run_id": checkpoint.run_id,
        "versions": json.dumps(checkpoint.versions),
        "delta": json.dumps(checkpoint.delta),
        "encoding": checkpoint.encoding,
        "data": checkpoint.data,
    }
    connection.execute(TABLES.statements["save"], row)


def _found(
    connection: sqlite3.Connection, thread_id: str, namespace: str, checkpoint_id: str | None
) -> StoredCheckpoint | None:
    row = _row(connection, thread_id, namespace, checkpoint_id)
    return _complete(connection, row) if row is not None else None


def _row(
    connection: sqlite3.Connection, thread_id: str, namespace: str, checkpoint_id: str | None
) -> Any:
    values = {"thread_id": thread_id, "namespace": namespace, "checkpoint_id": checkpoint_id}
    name = "latest" if checkpoint_id is None else "find"
    return connection.execute(TABLES.statements[name], values).fetchone()


def _complete(connection: sqlite3.Connection, row: Any) -> StoredCheckpoint:
    """A checkpoint with its values and writes."""
    thread_id, namespace, checkpoint_id, parent_id, versions, encoding, data = row
    values = {
        "thread_id": thread_id,
        "namespace": namespace,
        "checkpoint_id": checkpoint_id,
        "versions": versions,
    }
    return StoredCheckpoint(
        thread_id,
        namespace,
        checkpoint_id,
        parent_id,
        encoding,
        data,
        [StoredValue(*v) for v in connection.execute(TABLES.statements["values"], values)],
        [StoredWrite(*w) for w in connection.execute(TABLES.statements["writes"], values)],
    )


def _ancestors(
    connection: sqlite3.Connection,
    thread_id: str,
    namespace: str,
    checkpoint_id: str | None,
    channels: Sequence[str],
) -> Iterator[Ancestor]:
    missing, seen = set(channels), set[str]()
    row = _row(connection, thread_id, namespace, checkpoint_id)
    while missing and row is not None and row[3] is not None and row[3] not in seen:
        seen.add(row[3])
        row = _row(connection, thread_id, namespace, row[3])
        if row is None:
            return
        versions = json.loads(row[4])
        values = {
            "thread_id": thread_id,
            "namespace": namespace,
            "checkpoint_id": row[2],
            "versions": json.dumps({name: versions[name] for name in missing & versions.keys()}),
        }
        writes = connection.execute(TABLES.statements["writes"], values)
        ancestor = Ancestor(
            [StoredWrite(*write) for write in writes if write[1] in missing],
            [StoredValue(*v) for v in connection.execute(TABLES.statements["values"], values)],
        )
        yield ancestor
        missing -= {seed.channel for seed in ancestor.seeds}


def _bones(
    connection: sqlite3.Connection, thread_id: str, namespace: str
) -> Iterator[tuple[Bone, str | None]]:
    """What matters of each checkpoint, and the run that made it."""
    place = {"thread_id": thread_id, "namespace": namespace}
    for checkpoint_id, parent_id, run_id, delta, versions in connection.execute(
        TABLES.statements["bones"], place
    ):
        stored = connection.execute(TABLES.statements["stored"], place | {"versions": versions})
        channels = frozenset(channel for (channel,) in stored)
        yield Bone(checkpoint_id, parent_id, frozenset(json.loads(delta)), channels), run_id


def _keep(
    connection: sqlite3.Connection,
    thread_id: str,
    namespace: str,
    bones: Sequence[Bone],
    left: set[str],
) -> None:
    """Remove checkpoints of a namespace that are not left, and values that none has then."""
    gone = [
        (thread_id, namespace, bone.checkpoint_id)
        for bone in bones
        if bone.checkpoint_id not in left
    ]
    if gone:
        place = {"thread_id": thread_id, "namespace": namespace}
        connection.executemany(TABLES.statements["delete_writes"], gone)
        connection.executemany(TABLES.statements["delete_checkpoint"], gone)
        connection.execute(TABLES.statements["forget_parents"], place)
        connection.execute(TABLES.statements["delete_unused_values"], place)
