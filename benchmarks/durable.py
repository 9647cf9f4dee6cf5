"""W6: what it costs that a run survives its process.

Every contender keeps the same work on the same PostgreSQL server, or in an SQLite file on the same
disk, both of which wait for the disk at every commit. The floors do the least that makes each
completion durable by itself: one INSERT and one COMMIT for each, with the driver alone. The group
commit does the least with which runs side by side can share a commit.

The server is the one in ``PLAIT_BENCH_POSTGRES``, else one that is started for the occasion.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import itertools
import operator
import random
import sqlite3
import string
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from .measure import median
from .workloads.base import WrongResultError

CHAIN, FORK, RUNS, RUN_OF = 50, 100, 200, 10
STEPS = (25, 100, 400)
STEP_BYTES = 1_000
REPEATS_IN_HASTE = 3
SLOW = 5.0
"""Seconds by the clock, since here all wait for the disk; what takes longer is run once."""


class Kept(TypedDict, total=False):
    """The state of every workload here."""

    items: Annotated[list[Any], operator.add]


@dataclass(frozen=True, slots=True)
class Job:
    """One workload of one contender."""

    key: str
    title: str
    completions: int
    """How many nodes are completed in one run of it."""


JOBS = (
    Job("chain", f"chain of {CHAIN}", CHAIN),
    Job("fork", f"fork of {FORK}", FORK + 2),
    Job("runs", f"{RUNS} concurrent runs of {RUN_OF}", RUNS * RUN_OF),
)


@dataclass(slots=True)
class Durability:
    """What one contender showed."""

    contender: str
    system: str
    """``"PostgreSQL"`` or ``"SQLite"``."""
    kind: str
    """``"floor"``, ``"plait"`` or ``"peer"``."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By job: one figure for each repeat."""
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """By job: seconds of this process, user and system; what the server does is not in it."""
    commits: dict[str, list[int]] = field(default_factory=dict)
    """By job: transactions of the server that wrote something. PostgreSQL only."""
    stored: dict[int, int] = field(default_factory=dict)
    """By steps of 1 kB: bytes that such a thread takes in the store, the mean of some."""
    once: list[str] = field(default_factory=list)
    """The jobs of which there is one run only, since it took long."""
    reason: str | None = None
    """Why it is left blank."""

    def ratio(self, other: Durability, job: str, figure: str = "cpu") -> float:
        """The median of its figures over another's, each within its repeat.

        If of one of the two there is one run only, it is held against the other's median.
        """
        upper, lower = getattr(self, figure)[job], getattr(other, figure)[job]
        if job in self.once or job in other.once:
            return median(upper) / median(lower)
        return median([a / b for a, b in zip(upper, lower, strict=True)])


class Keeper:
    """A contender: something that completes nodes durably."""

    name: str
    system: str
    kind: str = "peer"

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        """Connect to the server at that URL, or to the file in that folder."""
        raise NotImplementedError

    async def chain(self, thread: str, nodes: int) -> int:
        """Run a chain; returns how many items are in its final state."""
        raise NotImplementedError

    async def fork(self, thread: str, branches: int) -> int:
        """Run a fork with a node before and one after it; returns the items of the branches."""
        raise NotImplementedError

    async def grow(self, thread: str, steps: int) -> int:
        """Run a chain whose nodes each append a kilobyte; returns the items in its final state."""
        raise NotImplementedError


@functools.cache
def kilobyte(number: int) -> str:
    """Text that does not compress away, the same in every run."""
    chance = random.Random(number)
    return "".join(chance.choices(string.ascii_letters + string.digits, k=STEP_BYTES))


# -- Plait ------------------------------------------------------------------------------------


async def one(_state: Any) -> dict[str, Any]:
    """The body of every node: one item."""
    return {"items": [1]}


def _nodes(nodes: int, *, large: bool) -> list[tuple[str, Callable[[Any], Awaitable[Any]]]]:
    def body(number: int) -> Callable[[Any], Awaitable[Any]]:
        async def write(_state: Any) -> dict[str, Any]:
            return {"items": [kilobyte(number)]}

        return write

    return [(f"n{i}", body(i) if large else one) for i in range(nodes)]


class PlaitKeeper(Keeper):
    """Plait with one of its stores."""

    kind = "plait"

    def __init__(self, system: str, durability: str) -> None:
        self.system = system
        self.durability = durability
        self.name = f"Plait, {durability}"
        self._flows: dict[tuple[str, int], Any] = {}

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        from plait import open_store

        schema = f"plait_{self.durability}"
        url, options = place, {"schema": schema}
        if self.system == "SQLite":
            url, options = f"sqlite:///{place}/{schema}.db", {}
        self.store: Any = open_store(url, **options)
        stack.push_async_callback(self.store.close)

    def _flow(self, kind: str, size: int) -> Any:
        flow = self._flows.get((kind, size))
        if flow is None:
            from plait import END, START, Graph, Join, Send

            graph = Graph(Kept, name=f"{kind}-{size}")
            if kind == "fork":

                async def plan(_state: Any) -> None:
                    return None

                async def branch(_number: Any) -> dict[str, Any]:
                    return {"items": [1]}

                graph.add_node("plan", plan)
                graph.add_node("branch", branch)
                graph.add_node("join", plan)
                graph.add_sync_point("gather", Join())
                graph.add_edge(START, "plan")
                graph.add_conditional_edges(
                    "plan", lambda _: [Send("branch", i) for i in range(size)], ["branch"]
                )
                graph.add_edge("branch", "gather")
                graph.add_edge("gather", "join")
                graph.add_edge("join", END)
            else:
                before = START
                for name, body in _nodes(size, large=kind == "grow"):
                    graph.add_node(name, body)
                    graph.add_edge(before, name)
                    before = name
                graph.add_edge(before, END)
            flow = graph.compile(self.store, durability=self.durability)  # type: ignore[arg-type]
            self._flows[kind, size] = flow
        return flow

    async def chain(self, thread: str, nodes: int) -> int:
        result = await self._flow("chain", nodes).run({}, thread_id=thread)
        return len(result.state["items"])

    async def fork(self, thread: str, branches: int) -> int:
        result = await self._flow("fork", branches).run({}, thread_id=thread)
        return len(result.state["items"])

    async def grow(self, thread: str, steps: int) -> int:
        result = await self._flow("grow", steps).run({}, thread_id=thread)
        return len(result.state["items"])


# -- the floors -------------------------------------------------------------------------------


class BareAsyncpg(Keeper):
    """One INSERT and COMMIT for each completion."""

    system = "PostgreSQL"
    kind = "floor"

    def __init__(self, connections: int) -> None:
        self.name = "bare asyncpg" + (f", {connections} connections" if connections > 1 else "")
        self._connections = connections

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        asyncpg: Any = importlib.import_module("asyncpg")
        size = self._connections
        self._pool = await stack.enter_async_context(
            asyncpg.create_pool(place, min_size=size, max_size=size)
        )
        await self._pool.execute(
            f"create table if not exists bare{size} "
            "(thread text, position int, data bytea, primary key (thread, position))"
        )
        self._insert = f"insert into bare{size} values ($1, $2, $3)"

    async def chain(self, thread: str, nodes: int) -> int:
        async with self._pool.acquire() as connection:
            for position in range(nodes + 1):
                await connection.execute(self._insert, thread, position, bytes(60))
        return nodes

    async def fork(self, thread: str, branches: int) -> int:
        await self.chain(thread, branches + 2)
        return branches

    async def grow(self, thread: str, steps: int) -> int:
        async with self._pool.acquire() as connection:
            for position in range(steps):
                data = kilobyte(position).encode()
                await connection.execute(self._insert, thread, position, data)
        return steps


class BareGroupCommit(Keeper):
    """One INSERT and COMMIT for all completions that have come about while the last was made."""

    name = "bare asyncpg, group commit"
    system = "PostgreSQL"
    kind = "floor"

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        asyncpg: Any = importlib.import_module("asyncpg")
        self._connection = await asyncpg.connect(place)
        stack.push_async_callback(self._connection.close)
        await self._connection.execute(
            "create table if not exists bare_group "
            "(thread text, position int, data bytea, primary key (thread, position))"
        )
        self._insert = (
            "insert into bare_group select * from unnest($1::text[], $2::int[], $3::bytea[])"
        )
        self._batch = _Batch()
        self._turn = asyncio.Lock()

    async def _put(self, thread: str, position: int, data: bytes) -> None:
        batch = self._batch
        batch.rows.append((thread, position, data))
        if len(batch.rows) > 1:
            await batch.stored
            return
        async with self._turn:
            await asyncio.sleep(0)
            self._batch = _Batch()
            await self._connection.execute(self._insert, *zip(*batch.rows, strict=True))
        batch.stored.set_result(None)

    async def chain(self, thread: str, nodes: int) -> int:
        for position in range(nodes + 1):
            await self._put(thread, position, bytes(60))
        return nodes

    async def fork(self, thread: str, branches: int) -> int:
        await self._put(thread, 0, bytes(60))
        await asyncio.gather(*[self._put(thread, 1 + i, bytes(60)) for i in range(branches)])
        await self._put(thread, 1 + branches, bytes(60))
        return branches

    async def grow(self, thread: str, steps: int) -> int:
        for position in range(steps):
            await self._put(thread, position, kilobyte(position).encode())
        return steps


class _Batch:
    """Rows that are stored by one statement, and those who wait for it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, bytes]] = []
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class BareSQLite(Keeper):
    """One INSERT and COMMIT for each completion, in a worker thread."""

    name = "bare sqlite3"
    system = "SQLite"
    kind = "floor"

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        self._connection = sqlite3.connect(f"{place}/bare.db", check_same_thread=False)
        stack.callback(self._connection.close)
        self._connection.executescript(
            "pragma journal_mode = wal; pragma synchronous = full; create table bare "
            "(thread text, position int, data blob, primary key (thread, position)) without rowid"
        )
        self._turn = asyncio.Lock()

    async def _put(self, thread: str, position: int, data: bytes) -> None:
        def insert() -> None:
            with self._connection:
                self._connection.execute(
                    "insert into bare values (?, ?, ?)", (thread, position, data)
                )

        async with self._turn:
            await asyncio.to_thread(insert)

    async def chain(self, thread: str, nodes: int) -> int:
        for position in range(nodes + 1):
            await self._put(thread, position, bytes(60))
        return nodes

    async def fork(self, thread: str, branches: int) -> int:
        await self.chain(thread, branches + 2)
        return branches

    async def grow(self, thread: str, steps: int) -> int:
        for position in range(steps):
            await self._put(thread, position, kilobyte(position).encode())
        return steps


# -- LangGraph --------------------------------------------------------------------------------


class LangGraphKeeper(Keeper):
    """LangGraph with its own checkpointers."""

    def __init__(self, system: str, durability: str) -> None:
        self.system = system
        self.durability = durability
        self.name = f"LangGraph, {durability}"
        self._graphs: dict[tuple[str, int], Any] = {}

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        if self.system == "SQLite":
            module: Any = importlib.import_module("langgraph.checkpoint.sqlite.aio")
            opened = module.AsyncSqliteSaver.from_conn_string(f"{place}/langgraph.db")
        else:
            module = importlib.import_module("langgraph.checkpoint.postgres.aio")
            opened = module.AsyncPostgresSaver.from_conn_string(place)
        self._saver = await stack.enter_async_context(opened)
        await self._saver.setup()
        self._place = place

    def _graph(self, kind: str, size: int) -> Any:
        graph = self._graphs.get((kind, size))
        if graph is None:
            graphs: Any = importlib.import_module("langgraph.graph")
            types: Any = importlib.import_module("langgraph.types")
            builder = graphs.StateGraph(Kept)
            if kind == "fork":
                builder.add_node("plan", lambda _: {})
                builder.add_node("branch", one)
                builder.add_node("join", lambda _: {})
                builder.add_edge(graphs.START, "plan")
                builder.add_conditional_edges(
                    "plan", lambda _: [types.Send("branch", {}) for _ in range(size)], ["branch"]
                )
                builder.add_edge("branch", "join")
                builder.add_edge("join", graphs.END)
            else:
                before = graphs.START
                for name, body in _nodes(size, large=kind == "grow"):
                    builder.add_node(name, body)
                    builder.add_edge(before, name)
                    before = name
                builder.add_edge(before, graphs.END)
            graph = self._graphs[kind, size] = builder.compile(checkpointer=self._saver)
        return graph

    async def _run(self, kind: str, size: int, thread: str) -> int:
        config = {"configurable": {"thread_id": thread}, "recursion_limit": size + 10}
        state = await self._graph(kind, size).ainvoke({}, config, durability=self.durability)
        return len(state["items"])

    async def chain(self, thread: str, nodes: int) -> int:
        return await self._run("chain", nodes, thread)

    async def fork(self, thread: str, branches: int) -> int:
        return await self._run("fork", branches, thread)

    async def grow(self, thread: str, steps: int) -> int:
        return await self._run("grow", steps, thread)


# -- DBOS -------------------------------------------------------------------------------------


class DBOSKeeper(Keeper):
    """DBOS: a workflow whose steps are recorded one by one. It has no mode but that."""

    name = "DBOS"
    system = "PostgreSQL"

    async def open(self, stack: AsyncExitStack, place: str) -> None:
        dbos: Any = importlib.import_module("dbos")
        self._named: Any = dbos.SetWorkflowID
        library: Any = dbos.DBOS
        library(
            config={
                "name": "bench",
                "system_database_url": place.replace("postgresql://", "postgresql+psycopg://"),
                "sys_db_pool_size": 10,
                "log_level": "ERROR",
            }
        )

        async def step(number: int, large: bool) -> Any:
            return kilobyte(number) if large else 1

        step = library.step()(step)

        async def in_a_row(nodes: int, large: bool) -> int:
            return len([await step(i, large) for i in range(nodes)])

        async def side_by_side(branches: int) -> int:
            await step(0, False)
            items = await asyncio.gather(*[step(i, False) for i in range(branches)])
            await step(0, False)
            return len(items)

        self._in_a_row = library.workflow()(in_a_row)
        self._side_by_side = library.workflow()(side_by_side)
        await asyncio.to_thread(library.launch)
        stack.callback(library.destroy)

    async def chain(self, thread: str, nodes: int) -> int:
        with self._named(thread):
            items: int = await self._in_a_row(nodes, False)
        return items

    async def fork(self, thread: str, branches: int) -> int:
        with self._named(thread):
            items: int = await self._side_by_side(branches)
        return items

    async def grow(self, thread: str, steps: int) -> int:
        with self._named(thread):
            items: int = await self._in_a_row(steps, True)
        return items


# -- measuring --------------------------------------------------------------------------------


def _keepers(peers: Sequence[str]) -> list[Keeper]:
    found: list[Keeper] = [BareAsyncpg(1), BareAsyncpg(10), BareGroupCommit(), BareSQLite()]
    for system in ("PostgreSQL", "SQLite"):
        found += [PlaitKeeper(system, durability) for durability in ("sync", "async", "exit")]
        if "LangGraph" in peers:
            found += [LangGraphKeeper(system, name) for name in ("sync", "async", "exit")]
    return [*found, DBOSKeeper()] if peers else found


async def measure(
    repeats: int, peers: Sequence[str], postgres: str, *, quick: bool = False
) -> list[Durability]:
    """Run every job of every contender, interleaved; then see how stored bytes grow.

    Args:
        repeats: how many times each job is run that is not slow.
        peers: the names of the peers that are installed.
        postgres: the URL of a server.
        quick: only Plait and the floors, fewer repeats and fewer sizes.
    """
    repeats = min(REPEATS_IN_HASTE, repeats) if quick else repeats
    chance = random.Random(6)
    # On a server that is there to stay are the threads of earlier calls.
    call, numbers = uuid.uuid4().hex[:12], itertools.count()
    found: list[Durability] = []
    keepers: dict[int, Keeper] = {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        count_commits = await _commits_of(stack, postgres)
        for keeper in _keepers(() if quick else peers):
            shown = Durability(keeper.name, keeper.system, keeper.kind)
            found.append(shown)
            try:
                await keeper.open(stack, folder if keeper.system == "SQLite" else postgres)
                await _warm_up(keeper, f"{call}-{next(numbers)}")
            except ImportError as error:
                shown.reason = f"{error.name} is not installed"
            except Exception as error:
                shown.reason = f"fails: {type(error).__name__}: {error}"
            else:
                keepers[id(shown)] = keeper
        measured = [each for each in found if each.reason is None]
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        for _ in range(repeats):
            for shown in chance.sample(measured, len(measured)):
                for job in JOBS:
                    if job.key in shown.once:
                        continue
                    gc.collect()  # what others have left behind
                    before = await count_commits()
                    elapsed, cpu = await _run(keepers[id(shown)], job, f"{call}-{next(numbers)}")
                    shown.seconds.setdefault(job.key, []).append(elapsed)
                    shown.cpu.setdefault(job.key, []).append(cpu)
                    if elapsed > SLOW:
                        shown.once.append(job.key)
                    if shown.system == "PostgreSQL":
                        commits = await count_commits() - before
                        shown.commits.setdefault(job.key, []).append(commits)
        for shown in measured:
            for steps in (STEPS[0], STEPS[-1]) if quick else STEPS:
                stored = await _disk_bytes(shown.system, folder, postgres)
                # Disks are given out in pages: of a short thread it takes several to see its size.
                threads = max(1, STEPS[-1] // steps)
                for _ in range(threads):
                    items = await keepers[id(shown)].grow(f"{call}-{next(numbers)}", steps)
                    if items != steps:
                        raise WrongResultError(f"{shown.contender}: {items} of {steps} steps")
                after = await _disk_bytes(shown.system, folder, postgres)
                shown.stored[steps] = (after - stored) // threads
    return found


def _sqlite_bytes(folder: str) -> int:
    total = 0
    for path in Path(folder).glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            ((pages,), (free,), (size,)) = (
                connection.execute(f"pragma {name}").fetchone()
                for name in ("page_count", "freelist_count", "page_size")
            )
        total += (pages - free) * size
    return total


async def _disk_bytes(system: str, folder: str, postgres: str) -> int:
    """What all contenders together have on the disk: tables, indices, and pages half empty."""
    if system == "SQLite":
        return await asyncio.to_thread(_sqlite_bytes, folder)
    asyncpg: Any = importlib.import_module("asyncpg")
    connection = await asyncpg.connect(postgres)
    try:
        found: int = await connection.fetchval(
            "select sum(pg_total_relation_size(c.oid))::bigint from pg_class c join pg_namespace n "
            "on n.oid = c.relnamespace where c.relkind = 'r' "
            "and n.nspname not in ('pg_catalog', 'information_schema')"
        )
    finally:
        await connection.close()
    return found


async def _commits_of(stack: AsyncExitStack, postgres: str) -> Callable[[], Awaitable[int]]:
    """What says how many transactions have written something on a server, ever."""
    asyncpg: Any = importlib.import_module("asyncpg")
    connection = await asyncpg.connect(postgres)
    stack.push_async_callback(connection.close)

    async def count() -> int:
        # Each has taken one number; to look at the next one takes none.
        query = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        found: int = await connection.fetchval(query)
        return found

    return count


async def _warm_up(keeper: Keeper, thread: str) -> None:
    """Every program once, but of the runs at once one alone: to open what is opened late."""
    for job in JOBS[:2]:
        await _run(keeper, job, f"{thread}-{job.key}")
    await keeper.chain(f"{thread}-runs", RUN_OF)


async def _run(keeper: Keeper, job: Job, thread: str) -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    if job.key == "chain":
        items, expected = await keeper.chain(thread, CHAIN), CHAIN
    elif job.key == "fork":
        items, expected = await keeper.fork(thread, FORK), FORK
    else:
        threads = [f"{thread}-{number}" for number in range(RUNS)]
        counts = await asyncio.gather(*[keeper.chain(each, RUN_OF) for each in threads])
        items, expected = sum(counts), RUNS * RUN_OF
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    if items != expected:
        raise WrongResultError(f"{keeper.name}: {job.title} gave {items} items, not {expected}")
    return elapsed, cpu
