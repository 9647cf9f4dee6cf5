"""The SQL of the adapter: every statement is a file in ``sql/``, every migration one beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["Migration", "Statements"]

# What needs no quoting elsewhere either: in psql, in a role's search path, in grants.
_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from one version of the tables to the next."""

    version: int
    """From 1, without gaps."""
    name: str
    script: str
    """Any number of statements, without parameters."""


class Statements:
    """The statements and migrations, written for one schema.

    Raises ``ValueError`` for a schema that is not letters, digits and underscores.
    """

    acquire: str
    acquire_new: str
    append: str
    append_one: str
    create_schema: str
    delete: str
    enforce_tenants: str
    fork: str
    is_installed: str
    load_plan: str
    load_snapshot: str
    lock_migrations: str
    lock_thread: str
    prune: str
    read: str
    record_migration: str
    release: str
    release_all: str
    remove_empty: str
    renew: str
    save_plan: str
    save_snapshot: str
    thread: str
    threads: str
    version: str
    watch_transaction: str

    def __init__(self, schema: str) -> None:
        if not _SCHEMA.fullmatch(schema) or schema.lower().startswith("pg_"):
            raise ValueError(
                f"schema={schema!r} must be letters, digits and underscores, at most 63, not "
                "begin with a digit, and not with pg_"
            )
        self.schema = f'"{schema}"'
        for name, text in _texts("sql").items():
            setattr(self, name, self._written(text))
        self.migrations = tuple(
            Migration(int(name[:4]), name[5:], self._written(text))
            for name, text in sorted(_texts("migrations").items())
        )

    def _written(self, text: str) -> str:
        return text.replace("{schema}", self.schema)


@cache
def _texts(folder: str) -> dict[str, str]:
    return {
        path.name.removesuffix(".sql"): path.read_text(encoding="utf-8")
        for path in files("plait_adapters.postgres").joinpath(folder).iterdir()
        if path.name.endswith(".sql")
    }
