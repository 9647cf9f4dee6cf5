"""What the savers in PostgreSQL have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint._bridge import run
from plait_adapters.langgraph.checkpoint._stored import NewCheckpoint, Record, Rows, StoredSaver
from plait_adapters.langgraph.checkpoint.base import (
    CheckpointMetadata,
    Config,
    get_serializable_checkpoint_metadata,
)
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol

from ._address import Conn, database_of
from ._rows import PostgresRows

__all__ = ["BasePostgresSaver", "KeepsLatest"]


class BasePostgresSaver(StoredSaver):
    """A saver in PostgreSQL, by asyncpg.

    Its tables are in a schema of their own. They are made when they are first used, or brought up
    to date, if the role may do that; otherwise by ``setup()`` with one that may, and the role needs
    usage of the schema, and select, insert, update and delete on its tables.

    Each operation is one statement in one round trip, or one transaction. It ends within twice the
    timeout; where the server cannot be reached, it is tried again as long as ``patience`` says.

    Args:
        conn: a URL; a pool of asyncpg's, which is left open; or a connection or pool of psycopg's,
            whose address is taken.
        pipe: has nothing to do: each operation is one round trip, with and without it.
        serde: makes bytes of values.
        schema: where the tables are.
        timeout: seconds within which the server has to answer.
        patience: seconds for which an operation is tried again.
        pool_size: connections at most for each event loop. Not with a pool.
        statement_cache_size: 0 behind a proxy that pools transactions. Not with a pool.
    """

    def __init__(
        self,
        conn: Conn,
        pipe: Any = None,
        serde: SerializerProtocol | None = None,
        *,
        schema: str = "plait_checkpoints",
        timeout: float = 10.0,
        patience: float = 30.0,
        pool_size: int = 8,
        statement_cache_size: int | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self.conn: Any = conn
        self._database = PostgresRows(
            database_of(conn),
            schema=schema,
            timeout=timeout,
            patience=patience,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
        )

    @property
    def _rows(self) -> Rows:
        return self._database

    def _known_of(self, config: Config, metadata: CheckpointMetadata) -> CheckpointMetadata:
        return get_serializable_checkpoint_metadata(config, metadata)

    async def aclose(self) -> None:
        """End the connections, but not a pool that was given."""
        await self._database.close()

    def close(self) -> None:
        """As :meth:`aclose`."""
        run(self.aclose)

    async def _upgrade(self) -> Sequence[str]:
        return await self._database.upgrade()


class KeepsLatest(BasePostgresSaver):
    """A saver that keeps the latest checkpoint of each namespace, and what that is built on: there
    is no time travel, and a thread takes no more room than its state."""

    async def _save(self, rows: Rows, records: Sequence[Record]) -> None:
        await super()._save(rows, records)
        threads = {each.thread_id: None for each in records if isinstance(each, NewCheckpoint)}
        if threads:
            await rows.prune([*threads])


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
