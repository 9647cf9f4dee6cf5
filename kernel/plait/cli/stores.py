"""Where a command finds its threads, and the graph that they belong to."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import os
import shlex
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio

from plait.backend import ThreadRow
from plait.cli.refusals import Refused, in_one_line
from plait.errors import PlaitError, StoreError, ThreadNotFound
from plait.flow import Flow
from plait.graph import Graph
from plait.orchestration import GRAPH, build_flow
from plait.store import MemoryStore, Store

__all__ = ["NotKept", "Place", "find_flow", "open_place", "wait_until_free"]

VARIABLE: Final = "PLAIT_STORE"
"""The environment variable with the URL of the store, where the command names none."""

_LEASE: Final = 5.0
"""Seconds for which a command holds a thread in SQLite without a sign of life: so long does
`plait resume` wait after a command was killed. A command that is alive renews it all the time."""

_LOOK_AGAIN: Final = 0.2
"""Seconds between two looks at a lease that somebody holds."""


class NotKept(Exception):
    """There is no store in the user's data folder; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store that is open, and what the command line said of it."""

    store: Store
    url: str | None = None
    """As `--store` gave it; nothing for the one that is used without being named."""
    flow: Flow[Any] | None = None
    """What `--flow` names, on this store."""
    flow_name: str | None = None
    """As `--flow` gave it."""

    def words(self, *command: str) -> str:
        """A command for the same place, as a user types it."""
        parts = ["plait", *command]
        if self.flow_name is not None:
            parts += ["--flow", self.flow_name]
        if self.url is not None:
            parts += ["--store", without_password(self.url)]
        return shlex.join(parts)


@asynccontextmanager
async def open_place(url: str | None, flow_name: str | None = None) -> AsyncIterator[Place]:
    """Open the store that a command is about.

    It is, in this order: what `--store` says, the store of the Flow that `--flow` names, what
    `PLAIT_STORE` says, and a file in the user's data folder.

    Raises:
        Refused: the store or the flow cannot be found.
        NotKept: it would be the file in the data folder, and that cannot be used.
    """
    named = await _load(flow_name) if flow_name is not None else None
    own = named.store if isinstance(named, Flow) else None
    if isinstance(own, MemoryStore):  # new in this process, so there is nothing in it
        own = None
    if url is None and own is not None:
        store = own
    else:
        chosen = url if url is not None else os.environ.get(VARIABLE) or None
        store = await _open_default() if chosen is None else _open(chosen)
    try:
        flow = None
        if isinstance(named, Flow):
            flow = named if store is own else named.with_store(store)
        elif named is not None:
            flow = named.compile(store=store)
        yield Place(store, url, flow, flow_name)
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@", 1)).geturl()


def _open(url: str) -> Store:
    scheme = url.partition(":")[0]
    if url == "memory:":
        return MemoryStore()
    if importlib.util.find_spec("ormsgpack") is None:
        raise Refused(
            f"{without_password(url)} cannot be opened: ormsgpack is not installed "
            "(pip install 'plait[cli]')"
        )
    from plait.durable import open_store

    # Options in the URL of another store are left to it.
    options = {"lease_ttl": _LEASE} if scheme == "sqlite" else {}
    try:
        return open_store(url, **options)
    except (StoreError, ValueError) as error:
        raise Refused(str(error)) from error


async def _open_default() -> Store:
    """The file in the user's data folder."""
    try:
        from platformdirs import user_data_path
    except ImportError:
        raise NotKept("platformdirs is not installed (pip install 'plait[cli]')") from None
    folder = user_data_path("plait", appauthor=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotKept(f"{folder} cannot be made: {error.strerror or error}") from error
    path = quote((folder / "threads.db").as_posix(), safe="/:")
    try:
        store = _open(f"sqlite:///{path}")
    except Refused as error:
        raise NotKept(str(error)) from error
    try:
        await store.threads(limit=1)
    except PlaitError as error:
        await store.close()
        raise NotKept(in_one_line(error)) from error
    return store


# -- the graph of a thread --------------------------------------------------------------------


async def find_flow(place: Place, thread_id: str) -> tuple[ThreadRow, Flow[Any]]:
    """A thread, and the flow by which it can be read and resumed.

    Raises:
        ThreadNotFound: there is no such thread.
        Refused: it belongs to another graph, of which nothing is known here.
    """
    row = await find_thread(place, thread_id)
    graph = await _graph_of(place, row)
    if place.flow is not None:
        if graph and graph != place.flow.name:
            raise Refused(
                f"thread {thread_id!r} belongs to graph {graph!r}, and {place.flow_name} is graph "
                f"{place.flow.name!r}: name another --flow, or give the graph that name"
            )
        return row, place.flow
    if graph == GRAPH:
        # A journal is replayed on the graph that wrote it, so any policy will do to read it.
        return row, build_flow(store=place.store)
    raise Refused(
        f"thread {thread_id!r} belongs to graph {graph!r}, and only {GRAPH!r} is known without "
        "being named: say where it is with --flow MODULE:ATTRIBUTE"
    )


async def find_thread(place: Place, thread_id: str) -> ThreadRow:
    """What a store knows of a thread. Raises `ThreadNotFound`, or `Refused` for an odd id."""
    try:
        row = await place.store.thread(thread_id)
    except ValueError as error:
        raise Refused(str(error)) from error
    if row is None or row.position == 0:
        raise ThreadNotFound(thread_id, "is not known")
    return row


async def _graph_of(place: Place, row: ThreadRow | None) -> str:
    """The name of a thread's graph; of a fork that nobody has run, that of its origin."""
    while row is not None and not row.graph and row.origin is not None:
        row = await place.store.thread(row.origin[0])
    return row.graph if row is not None else ""


async def wait_until_free(place: Place, row: ThreadRow) -> None:
    """Wait until the lease of a thread is given back, or expires since its holder is dead.

    A holder that is alive renews its lease before that, and is seen to do so.

    Raises:
        Refused: somebody runs the thread.
    """
    first = row
    while row.holder is not None:
        if (row.holder, row.expires) != (first.holder, first.expires):
            raise Refused(
                f"thread {row.thread_id!r} is being run by {row.holder}: wait for that to end"
            )
        await anyio.sleep(_LOOK_AGAIN)
        row = await find_thread(place, row.thread_id)


async def _load(name: str) -> Flow[Any] | Graph:
    """What `--flow` names: a Flow or a Graph, or what a function gives that makes one."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise Refused(f"--flow {name}: write MODULE:ATTRIBUTE, such as app.graphs:flow")
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - the path has strings
        sys.path.insert(0, here)
    try:
        found = operator.attrgetter(attribute)(importlib.import_module(module_name))
        if callable(found):
            found = found()
            if inspect.isawaitable(found):
                found = await found
    except Exception as error:  # the user's module may raise anything
        raise Refused(f"--flow {name}: {_said(error)}") from error
    if isinstance(found, (Flow, Graph)):
        return found
    raise Refused(
        f"--flow {name}: is of type {type(found).__name__}, and a Flow or a Graph is wanted, or a "
        "function that returns one"
    )


def _said(error: Exception) -> str:
    """An exception of somebody else's code, and where it was raised."""
    text = in_one_line(error) if isinstance(error, PlaitError) else str(error)
    text = f"{type(error).__name__}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith("<")]
    if len(theirs) > 1 and not theirs[-1].filename.endswith(f"importlib{os.sep}__init__.py"):
        return f"{text} ({theirs[-1].filename}, line {theirs[-1].lineno})"
    return text
