"""The file: opening it, bringing its schema up to date, and what its errors mean."""

from __future__ import annotations

import errno
import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from plait.errors import StoreError, StoreUnavailable

__all__ = [
    "JOURNALS",
    "DatabaseFile",
    "Synchronous",
    "Tables",
    "is_locked",
    "result_code",
    "statements",
]

T = TypeVar("T")

Synchronous: TypeAlias = Literal["OFF", "NORMAL", "FULL", "EXTRA"]
"""How SQLite waits for the disk; see its ``PRAGMA synchronous``."""

_OLDEST_SQLITE: Final = (3, 24, 0)
"""The first that knows ``on conflict do update``."""

_WAL_SIZE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes to which the write-ahead log shrinks again after it has been larger."""

_SHORT_SLEEP: Final = 0.0005
_LONG_SLEEP: Final = 0.01
"""Seconds between two looks at a lock that another process holds. SQLite's own waiting ends at
0.1 s, and misses the short gaps that a busy writer leaves: it would starve."""

_MIGRATION: Final = re.compile(r"(\d{4})_\w+\.sql")

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY: "another process holds its lock for longer than the timeout",
    sqlite3.SQLITE_LOCKED: "another process holds its lock for longer than the timeout",
    sqlite3.SQLITE_PROTOCOL: "another process holds its lock for longer than the timeout",
    sqlite3.SQLITE_SCHEMA: "its schema was changed at this moment",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the disk failed: look at the system's log and at the free space",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; perhaps too many files are open",
}
"""By SQLite's primary result code: what may be over when it is tried again."""

_IMPOSSIBLE: Final = {
    sqlite3.SQLITE_READONLY: "this process may not write to it: give it the right to write to "
    "the file and to its folder",
    sqlite3.SQLITE_PERM: "this process may not open it: give it the right to read and write",
    sqlite3.SQLITE_AUTH: "this process may not open it: give it the right to read and write",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a backup, or rescue what is left with "
    "`sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: choose another file",
    sqlite3.SQLITE_TOOBIG: "a record is larger than SQLite takes (1 GB)",
}


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables that belong together: what makes them, and the statements on them.

    Both are in the folder of a package: ``migrations/``, and ``statements.sql``, in which those
    named ``has_migrations``, ``make_migrations``, ``version`` and ``migrated`` see to a table with
    the versions that were applied.
    """

    package: str

    @property
    def statements(self) -> dict[str, str]:
        """The statements by their names."""
        return _statements(self.package)

    @property
    def migrations(self) -> tuple[tuple[int, str], ...]:
        """Versions, and what leads to each from the one before, in order."""
        return migrations_of(self.package)

    def version(self, connection: sqlite3.Connection, place: str) -> int:
        """The version of the tables, 0 in a new file. ``place``: the file, for the message.

        Raises:
            StoreError: it is newer than what is known here.
        """
        (known,) = connection.execute(self.statements["has_migrations"]).fetchone()
        if not known:
            return 0
        version: int
        (version,) = connection.execute(self.statements["version"]).fetchone()
        newest = self.migrations[-1][0]
        if version > newest:
            raise StoreError(
                f"{place} has version {version} of the schema, and this Plait knows versions up to "
                f"{newest}: update Plait, or choose another file"
            )
        return version

    def migrate(self, connection: sqlite3.Connection, place: str) -> None:
        """Bring the tables to the newest version, in the transaction that is open.

        Of several processes at once, one does it; the others find it done.
        """
        version = self.version(connection, place)
        connection.execute(self.statements["make_migrations"])
        for number, script in self.migrations:
            if number > version:
                for statement in _split(script):
                    connection.execute(statement)
                values = {"version": number, "now": time.time()}
                connection.execute(self.statements["migrated"], values)


@cache
def _statements(package: str) -> dict[str, str]:
    text = files(package).joinpath("statements.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations_of(package: str) -> tuple[tuple[int, str], ...]:
    """The migrations in the folder of a package: versions and scripts, in order."""
    found = [
        (int(match[1]), entry.read_text(encoding="utf-8"))
        for entry in files(package).joinpath("migrations").iterdir()
        if (match := _MIGRATION.fullmatch(entry.name))
    ]
    return tuple(sorted(found))


JOURNALS: Final = Tables("plait_adapters.sqlite")
"""Those of the journals."""


def statements() -> dict[str, str]:
    """The statements on the tables of the journals, by their names."""
    return _statements("plait_adapters.sqlite")


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """A file with the rows of a store, and how it is opened."""

    path: Path
    """Absolute."""
    timeout: float
    """Seconds to wait for a lock that another process holds."""
    synchronous: Synchronous
    tables: Tables = JOURNALS

    def open(self, *, for_writing: bool) -> sqlite3.Connection:
        """Open a connection for the calling thread of execution, on a schema that is up to date.

        Raises:
            StoreError: the file is not fit for it.
            sqlite3.Error: it cannot be opened; see :meth:`explain`.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(
                f"this Python has SQLite {sqlite3.sqlite_version}, and at least "
                f"{'.'.join(map(str, _OLDEST_SQLITE))} is needed: update Python or SQLite"
            )
        deadline = time.monotonic() + self.timeout
        # SQLite does not wait: not all that it does would, changing the journal mode, for one.
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            _patiently(lambda: self._set_up(connection), deadline)
            newest = self.tables.migrations[-1][0]
            if _patiently(lambda: self.tables.version(connection, self._place), deadline) < newest:
                self.begin(connection)
                self.tables.migrate(connection, self._place)
                connection.execute("commit")
            if not for_writing:
                connection.execute(f"pragma busy_timeout = {round(self.timeout * 1000)}")
                connection.execute("pragma query_only = on")
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _place(self) -> str:
        return f"the SQLite file {str(self.path)!r}"

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction that writes, as soon as no other process is writing."""
        deadline = time.monotonic() + self.timeout
        _patiently(lambda: connection.execute("begin immediate"), deadline)

    def identity(self) -> tuple[int, int] | None:
        """What tells the file from any other that may take its place; ``None``: it is gone."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def explain(self, error: Exception) -> StoreError:
        """What an error means for the store, and what to do about it; a new object each time."""
        if isinstance(error, StoreError):
            return type(error)(*error.args)
        code = result_code(error)
        if code == sqlite3.SQLITE_CANTOPEN and (obstacle := self._obstacle()):
            return StoreError(f"the SQLite file {str(self.path)!r} cannot be opened: {obstacle}")
        where = f"the SQLite file {str(self.path)!r} cannot be used"
        if code in _UNAVAILABLE:
            return StoreUnavailable(f"{where}: {_UNAVAILABLE[code]} ({error})")
        if code in _IMPOSSIBLE:
            return StoreError(f"{where}: {_IMPOSSIBLE[code]} ({error})")
        return StoreError(f"{where}: {type(error).__name__}: {error}")

    def _obstacle(self) -> str | None:
        """Why the file cannot be opened, if that can be seen."""
        folder = self.path.parent
        try:
            if not folder.is_dir():
                return f"there is no folder {str(folder)!r}: make it first, or choose another path"
            if self.path.is_dir():
                return "it is a folder: choose the path of a file in it"
            if self.path.exists() and not os.access(self.path, os.R_OK | os.W_OK):
                return "this process may not read and write it: give it the right to"
            if not os.access(folder, os.W_OK | os.X_OK):
                return (
                    f"this process may not make files in the folder {str(folder)!r}: give it the "
                    "right to"
                )
        except OSError as error:
            return f"{error.strerror or error}" if error.errno != errno.EMFILE else None
        return None

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Nothing in the file, such as a trigger or a view that somebody has put there, may call a
        # function with effects; a cell that is damaged is an error and not a strange value.
        connection.execute("pragma trusted_schema = off")
        connection.execute("pragma cell_size_check = on")
        (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
        if mode != "wal":
            raise StoreError(
                f"the SQLite file {str(self.path)!r} cannot have a write-ahead log (its journal "
                f"mode stays {mode!r}): put it on a local file system"
            )
        connection.execute(f"pragma synchronous = {self.synchronous}")
        connection.execute(f"pragma journal_size_limit = {_WAL_SIZE_LIMIT}")
        if self.synchronous in {"FULL", "EXTRA"}:
            # On macOS, fsync alone leaves the data in the disk's own cache.
            connection.execute("pragma fullfsync = on")
            connection.execute("pragma checkpoint_fullfsync = on")


def _patiently(action: Callable[[], T], deadline: float) -> T:
    """Do what needs a lock, and again while another process holds it, until the deadline."""
    sleep = _SHORT_SLEEP
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= deadline:
                raise
        time.sleep(sleep * random.uniform(0.5, 1.5))
        sleep = min(2 * sleep, _LONG_SLEEP)


def result_code(error: BaseException) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_locked(error: BaseException) -> bool:
    """Whether another process holds a lock that is needed."""
    return result_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _split(script: str) -> Iterator[str]:
    """The statements of a script. (``executescript`` would commit the transaction around it.)"""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
