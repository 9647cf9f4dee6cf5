"""SQL that lies open: every statement is a file in ``sql/``, every migration one beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["Migration", "Schema", "Statements"]

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


class Schema:
    """Migrations, and the statements that apply them, written for one schema.

    They are in the folder of a package: statements in ``sql/``, each an attribute, and
    ``migrations/``.

    Raises ``ValueError`` for a schema that is not letters, digits and underscores.
    """

    create_schema: str
    is_installed: str
    lock_migrations: str
    record_migration: str
    version: str

    def __init__(self, schema: str, package: str) -> None:
        if not _SCHEMA.fullmatch(schema) or schema.lower().startswith("pg_"):
            raise ValueError(
                f"schema={schema!r} must be letters, digits and underscores, at most 63, not "
                "begin with a digit, and not with pg_"
            )
        self.schema = f'"{schema}"'
        common = {name: _texts(_COMMON, "sql")[name] for name in Schema.__annotations__}
        for name, text in (common | _texts(package, "sql")).items():
            setattr(self, name, self._written(text))
        self.migrations = tuple(
            Migration(int(name[:4]), name[5:], self._written(text))
            for name, text in sorted(_texts(package, "migrations").items())
        )

    def _written(self, text: str) -> str:
        return text.replace("{schema}", self.schema)


class Statements(Schema):
    """Those of the journals."""

    acquire: str
    acquire_new: str
    append: str
    append_one: str
    delete: str
    enforce_tenants: str
    fork: str
    load_plan: str
    load_snapshot: str
    lock_thread: str
    prune: str
    read: str
    release: str
    release_all: str
    remove_empty: str
    renew: str
    save_plan: str
    save_snapshot: str
    thread: str
    threads: str
    watch_transaction: str

    def __init__(self, schema: str) -> None:
        super().__init__(schema, _COMMON)


_COMMON: Final = "plait_adapters.postgres"


@cache
def _texts(package: str, folder: str) -> dict[str, str]:
    return {
        path.name.removesuffix(".sql"): path.read_text(encoding="utf-8")
        for path in files(package).joinpath(folder).iterdir()
        if path.name.endswith(".sql")
    }
