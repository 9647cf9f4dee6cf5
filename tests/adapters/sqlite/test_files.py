"""Which files are taken, what is done to them, and what is said of the others."""

import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plait.errors import StoreError, StoreUnavailable
from plait_adapters.sqlite import SQLiteBackend
from plait_adapters.sqlite.file import JOURNALS, DatabaseFile, statements
from tests.adapters.sqlite.files import finish, lease, names, opened, positions, records, start


async def refusal(path: Path) -> str:
    """What is said of a file that is refused, when reading as when writing."""
    async with opened(path, timeout=1.0) as backend:
        with pytest.raises(StoreError) as read:
            await backend.threads(limit=1)
        with pytest.raises(StoreError) as written:
            await lease(backend)
    assert str(read.value) == str(written.value)
    assert not isinstance(read.value, StoreUnavailable)
    return str(read.value)


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "there is no folder" in await refusal(tmp_path / "missing" / "rows.db")
    assert not (tmp_path / "missing").exists()


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "it is a folder" in await refusal(tmp_path)


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    path.write_bytes(b"Dear diary, " * 1000)
    assert "no SQLite database" in await refusal(path)
    assert path.read_bytes() == b"Dear diary, " * 1000


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    async with opened(path) as backend:
        await lease(backend)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("insert into plait_migrations values (999, 0)")
        connection.commit()
    assert "version 999" in await refusal(path)


async def test_a_damaged_file_is_an_error_and_not_another_value(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    async with opened(path) as backend:
        await backend.append(records(await lease(backend), *range(1, 200), data=b"x" * 500))
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 64] = os.urandom(64)
    path.write_bytes(content)
    async with opened(path) as backend:
        with pytest.raises(StoreError, match="damaged"):
            await positions(backend)


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_a_path_that_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        SQLiteBackend(path)


def test_options_without_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout"):
        SQLiteBackend(tmp_path / "rows.db", timeout=0)
    with pytest.raises(ValueError, match="synchronous"):
        SQLiteBackend(tmp_path / "rows.db", synchronous="FULL; drop table x")  # type: ignore[arg-type]


async def test_a_path_is_that_of_the_folder_in_which_the_store_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with opened(Path("rows.db")) as backend:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await lease(backend)
    assert names(tmp_path) == ["elsewhere", "rows.db"]


@pytest.mark.parametrize("name", ["file:x?mode=memory", "a b'c\"d%20.db", "🧵.db", "-x"])
async def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as backend:
        await lease(backend)
    assert (tmp_path / name).stat().st_size > 0


async def test_an_application_may_keep_its_tables_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table events (kind text)")
        connection.execute("insert into events values ('mine')")
        connection.commit()
    async with opened(path) as backend:
        await backend.append(records(await lease(backend), 1))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select * from events").fetchall() == [("mine",)]


async def test_closing_leaves_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "rows.db") as backend:
        await backend.append(records(await lease(backend), 1))
        assert await positions(backend) == [1]
    assert names(tmp_path) == ["rows.db"]


async def test_a_file_that_is_removed_or_replaced_acknowledges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    async with opened(path) as backend:
        grant = await lease(backend)
        for step in (path.unlink, lambda: path.replace(tmp_path / "moved.db")):
            step()
            with pytest.raises(StoreError, match="removed or replaced"):
                await backend.append(records(grant, 1))
            grant = await lease(backend)  # in a new file
            assert grant.thread.position == 0


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


READ_AND_WRITE = """
import os
async def main(path):
    backend = SQLiteBackend(path, timeout=1.0)
    for call in (lambda: backend.read("t", 0), lambda: backend.acquire("t", "b", 60.0, "graph")):
        try:
            print("did", await call())
        except StoreUnavailable as error:
            print("unavailable", error)
        except StoreError as error:
            print("refused", error)
    await backend.close()
anyio.run(main, path + ".another")  # imports all that root alone may read
if os.geteuid() == 0:
    os.seteuid(65534)
anyio.run(main, path)
"""


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
async def test_a_file_that_may_not_be_written_is_refused_with_the_way_out(
    public_folder: Path,
) -> None:
    path = public_folder / "rows.db"
    async with opened(path) as backend:
        await backend.append(records(await lease(backend), 1))
    path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    (output,) = finish([start(READ_AND_WRITE, path)])
    output = "\n".join(output.splitlines()[2:])
    lines = output.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("refused")
        assert "give it the right to" in line


async def test_every_statement_fits_the_schema_and_none_reads_a_whole_table(
    tmp_path: Path,
) -> None:
    file = DatabaseFile(tmp_path / "rows.db", 1.0, "OFF")
    with closing(file.open(for_writing=True)) as connection:
        for name, sql in statements().items():
            named = re.findall(r":(\w+)", sql)
            values = dict.fromkeys(named) if named else [None] * sql.count("?")
            for *_, step in connection.execute(f"explain query plan {sql}", values):
                assert not step.startswith("SCAN plait_threads"), (name, step)
                assert not step.startswith("SCAN plait_events"), (name, step)
                assert "TEMP B-TREE" not in step, (name, step)


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in JOURNALS.migrations] == list(
        range(1, len(JOURNALS.migrations) + 1)
    )


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (
        *JOURNALS.migrations,
        (2, "create table plait_more (x);\ninsert into nowhere values (1);\n"),
    )
    monkeypatch.setattr("plait_adapters.sqlite.file.migrations_of", lambda _: broken)
    assert "nowhere" in await refusal(tmp_path / "rows.db")
    monkeypatch.undo()
    async with opened(tmp_path / "rows.db") as backend:
        await lease(backend)
    with closing(sqlite3.connect(tmp_path / "rows.db")) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master")}
    assert "plait_more" not in tables


async def test_a_file_gets_the_migrations_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.db"
    async with opened(path) as backend:
        await backend.append(records(await lease(backend), 1))
    more = (*JOURNALS.migrations, (2, "create table plait_more (x);\n"))
    monkeypatch.setattr("plait_adapters.sqlite.file.migrations_of", lambda _: more)
    async with opened(path) as backend:
        assert await positions(backend) == [1]
    with closing(sqlite3.connect(path)) as connection:
        versions = connection.execute("select version from plait_migrations").fetchall()
    assert versions == [(1,), (2,)]
