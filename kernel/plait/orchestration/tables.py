"""Tables for analyses: CSV, JSON lists of objects, and the table of installed distributions.

A cell is a number, a text, or missing. A column is *numeric* when every cell that is not missing is
a number; a column of ISO dates is read as days since 1970-01-01, so that a trend over time can be
taken.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from plait.orchestration.errors import MissingSourceError, TableError
from plait.orchestration.sources import Checkpoint, files_of, packages_of

__all__ = ["Cell", "Table", "read_table"]

Cell = float | str | None

_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "-"))
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one or several sources under one another."""

    columns: Mapping[str, Sequence[Cell]]
    """The columns by name, all of one length."""
    origins: tuple[tuple[str, int], ...]
    """The documents that the rows are from, each with its number of rows."""
    dates: frozenset[str] = frozenset()
    """The columns that were ISO dates, and are days since 1970-01-01 now."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(count for _, count in self.origins)

    def numeric(self) -> list[str]:
        """The columns in which every cell is a number or missing, and one at least is a number."""
        return [name for name in self.columns if self._is_numeric(name)]

    def numbers(self, *names: str) -> list[tuple[float, ...]]:
        """The rows that have a number in each of the columns, as tuples of those numbers.

        Raises:
            TableError: there is no such column, or it is not numeric.
        """
        for name in names:
            if not self._is_numeric(self.column(name)):
                raise TableError(
                    f'column "{name}" is not numeric; numeric are {self.said(self.numeric())}'
                )
        rows = zip(*(self.columns[name] for name in names), strict=True)
        return [
            tuple(cell for cell in row if isinstance(cell, float))
            for row in rows
            if all(isinstance(cell, float) for cell in row)
        ]

    def column(self, name: str) -> str:
        """The name, if there is such a column.

        Raises:
            TableError: there is none; the message says which there are.
        """
        if name not in self.columns:
            raise TableError(f'no column "{name}"; there are {self.said(self.columns)}')
        return name

    @staticmethod
    def said(names: Mapping[str, object] | Sequence[str]) -> str:
        """Names in a sentence."""
        return ", ".join(names) or "none"

    def _is_numeric(self, name: str) -> bool:
        cells = [cell for cell in self.columns[name] if cell is not None]
        return bool(cells) and all(isinstance(cell, float) for cell in cells)


_Row = Mapping[str, Cell]


def read_table(
    sources: Sequence[str],
    folder: Path,
    check: Checkpoint,
    quoted: Mapping[str, frozenset[str]] | None = None,
) -> Table:
    """The rows of all sources under one another; a column that one of them lacks is missing there.

    Args:
        sources: globs of `.csv` and `.json`, and `dist:`; see `plait.orchestration.sources`.
        folder: what globs are relative to.
        check: called between pieces of work, to stop it.
        quoted: for each research task that this analysis depends on, the documents that it quoted.
            The table of distributions gets a column `quoted_by_<task>` (`yes` or `no`) from each.

    Raises:
        MissingSourceError: a source matches nothing, or no table.
        TableError: a file is no table.
    """
    rows: list[_Row] = []
    origins: list[tuple[str, int]] = []
    for source in sources:
        for name, found in _tables_of(source, folder, check, quoted or {}):
            origins.append((name, len(found)))
            rows += found
    if not rows:
        raise TableError(f"{Table.said([name for name, _ in origins])} has no rows")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    days = {name: days for name, cells in columns.items() if (days := _days(cells))}
    return Table({**columns, **days}, tuple(origins), frozenset(days))


def _tables_of(
    source: str, folder: Path, check: Checkpoint, quoted: Mapping[str, frozenset[str]]
) -> list[tuple[str, list[_Row]]]:
    if source.startswith("dist:"):
        return [(source, _distributions(source, check, quoted))]
    tables: list[tuple[str, list[_Row]]] = []
    for name, path in files_of(source, folder, check):
        check()
        if path.suffix in (".csv", ".json"):
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            tables.append((name, _csv(text) if path.suffix == ".csv" else _json(text, name)))
    if not tables:
        raise MissingSourceError(source, "matches no table (.csv, .json)")
    return tables


def _distributions(
    source: str, check: Checkpoint, quoted: Mapping[str, frozenset[str]]
) -> list[_Row]:
    return [
        {
            "name": package.name,
            "size_bytes": _cell(package.size),
            "files": _cell(package.files),
            "dependencies": float(package.dependencies),
            "age_days": _cell(package.age),
            **{
                f"quoted_by_{task}": "yes" if f"dist:{package.name}" in documents else "no"
                for task, documents in quoted.items()
            },
        }
        for package in packages_of(source, check)
    ]


def _csv(text: str) -> list[_Row]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    return [
        {name: _cell(value) for name, value in row.items() if isinstance(name, str)}
        for row in reader
    ]


def _json(text: str, name: str) -> list[_Row]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise TableError(f"{name} is not JSON: {error}") from error
    if isinstance(data, dict):
        # An envelope around the rows is common: {"rows": [...], "count": 3}.
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if len(lists) == 1 else data
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise TableError(f"{name} is not a list of objects")
    return [{key: _cell(value) for key, value in row.items()} for row in data]


def _cell(value: object) -> Cell:
    """A number where it is one; what is not finite is missing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()
    if text.lower() in _MISSING:
        return None
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return text
    return number if math.isfinite(number) else None


def _days(cells: Sequence[Cell]) -> list[Cell]:
    """The column as days since 1970-01-01 if all that is in it are ISO dates, else nothing."""
    days: list[Cell] = []
    for cell in cells:
        try:
            days.append(
                None if cell is None else float(date.fromisoformat(str(cell)).toordinal() - _EPOCH)
            )
        except ValueError:
            return []
    return days if any(day is not None for day in days) else []
