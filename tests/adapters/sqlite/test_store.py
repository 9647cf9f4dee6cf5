"""A flow whose threads are in a file, and the URLs by which it is opened."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypedDict

import anyio
import pytest

from plait import END, START, Flow, Graph, RunResult, reducers
from plait.durable import DurableStore, open_store
from plait.errors import StoreError, ThreadBusy
from plait.store import Store
from plait_adapters.sqlite import SQLiteStore
from plait_adapters.sqlite.file import DatabaseFile
from tests.adapters.sqlite.files import start


class State(TypedDict, total=False):
    items: Annotated[list[str], reducers.append]


def compiled(store: Store) -> Flow:
    graph = Graph(State, name="shop")

    @graph.add_node
    async def pick(state: State) -> State:
        return {"items": ["picked"]}

    @graph.add_node
    async def pack(state: State) -> State:
        return {"items": ["packed"]}

    graph.add_edge(START, "pick")
    graph.add_edge("pick", "pack")
    graph.add_edge("pack", END)
    return graph.compile(store=store)


async def test_a_thread_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await compiled(store).run({"items": ["ordered"]}, thread_id="t")
    async with SQLiteStore(tmp_path / "runs.db") as store:
        snapshot = await compiled(store).state("t")
        (thread,) = await store.threads()
    assert snapshot.state == {"items": ["ordered", "picked", "packed"]}
    assert (thread.thread_id, thread.status, thread.graph) == ("t", "completed", "shop")


KILLED = """
from plait_adapters.sqlite import SQLiteStore
from tests.adapters.sqlite.test_store import compiled
from plait.events import NodeCompleted
async def main():
    async with SQLiteStore(path, lease_ttl=0.2) as store:
        flow = compiled(store)
        async for event in flow.stream({"items": ["ordered"]}, thread_id="t"):
            if isinstance(event, NodeCompleted):
                print(event.node, flush=True)
                await anyio.sleep(60)
anyio.run(main)
"""


async def test_a_run_whose_process_is_killed_goes_on_in_another(tmp_path: Path) -> None:
    process = start(KILLED, tmp_path / "runs.db")
    assert process.stdout is not None
    assert process.stdout.readline() == "pick\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    async with SQLiteStore(tmp_path / "runs.db") as store:
        result = await resume(compiled(store))
    assert result.state == {"items": ["ordered", "picked", "packed"]}


async def resume(flow: Flow) -> RunResult:
    """Resume the thread as soon as the lease of the process that died has expired."""
    with anyio.fail_after(10):
        while True:
            try:
                return await flow.resume("t")
            except ThreadBusy:
                await anyio.sleep(0.02)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:///a%20b%3F.db", "a b?.db"),
        ("sqlite:///🧵.db", "🧵.db"),
    ],
)
async def test_a_url_names_a_file_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    async with SQLiteStore.from_url(url) as store:
        assert await store.threads() == []
    assert (tmp_path / name).is_file()


async def test_a_url_with_four_slashes_names_a_file_from_the_root(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/runs.db", tenant="acme", lease_ttl=5.0)
    assert isinstance(store, SQLiteStore)
    async with store:
        await store.save_plan("fingerprint", b"plan")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        assert connection.execute("select tenant from plait_plans").fetchall() == [("acme",)]


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/x.db"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="names no file"):
        SQLiteStore.from_url(url)


def test_options_in_a_url_are_refused() -> None:
    with pytest.raises(StoreError, match="as arguments"):
        SQLiteStore.from_url("sqlite:///runs.db?timeout=5")


def test_a_store_has_the_options_of_every_durable_store(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "runs.db", patience=1.0)
    assert isinstance(store, DurableStore)
    assert store.patience == 1.0


def test_a_commit_waits_for_the_disk_unless_told_otherwise(tmp_path: Path) -> None:
    for synchronous, number in (("NORMAL", 1), ("FULL", 2)):
        file = DatabaseFile(tmp_path / "rows.db", 1.0, synchronous)  # type: ignore[arg-type]
        with closing(file.open(for_writing=True)) as connection:
            assert connection.execute("pragma synchronous").fetchone() == (number,)
            assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
