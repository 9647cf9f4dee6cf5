"""Faults of the wire, at each message of each method: a typed error in time, and nothing is
lost, doubled or left behind when the method is called again."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

import anyio
import asyncpg
import pytest

from plait.backend import Grant, Record, Row
from plait.errors import StoreUnavailable
from plait_adapters.postgres import PostgresBackend
from tests.postgres.proxy import KINDS, Fault, Kind, Message, Proxy
from tests.postgres.server import fresh_schema, shared_server

TIMEOUTS = (0.4, 1.6, 6.4)
"""Seconds. What is too late with one of them is tried with the next: a busy machine is late by some
tenths of a second whatever the timeout is, and a fault in the backend by a part of it."""

SLACK = 0.75
"""Timeouts by which a machine that does other things as well may be late."""

CUTS = int(os.environ.get("PLAIT_TEST_CUTS", "100"))
"""How often the wire is cut around commits."""


SCHEMA = fresh_schema()
TENANTS = itertools.count()


class Leases(NamedTuple):
    """The epochs of those that are held."""

    epoch: int
    """Of the thread t."""
    other: int
    """Of the thread u."""


class LateError(AssertionError):
    """It took too long."""


async def patiently(play: Callable[[float], Awaitable[None]]) -> None:
    """Play with longer and longer timeouts, as long as something is too late."""
    for timeout in TIMEOUTS:
        try:
            await play(timeout)
            return
        except (LateError, BaseExceptionGroup) as error:
            others = error.split(LateError)[1] if isinstance(error, BaseExceptionGroup) else None
            if others is not None or timeout == TIMEOUTS[-1]:
                raise


class Case(NamedTuple):
    """A method that is called while a fault strikes."""

    call: Callable[[PostgresBackend, Leases], Awaitable[Any]]
    check: Callable[[PostgresBackend, Any], Awaitable[None]]
    """What holds after it has returned, whatever went before."""
    steps: int = 1
    """How many calls of the backend it is, each of which has the whole time."""


def records(grant: Leases, *positions: int) -> list[Record]:
    return [Record("t", grant.epoch, position, b"%d" % position) for position in positions]


async def positions(backend: PostgresBackend, thread_id: str = "t") -> list[int]:
    return [row.position for row in await backend.read(thread_id, 0)]


async def transact(backend: PostgresBackend, grant: Leases) -> bool:
    if 5 in await positions(backend):  # as the contract says: look for the records
        return True
    async with backend.transaction() as transaction:
        try:
            await transaction.connection.execute(
                f"insert into {SCHEMA}.effects values ($1)", backend.tenant
            )
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, TimeoutError) as error:
            raise StoreUnavailable("a statement of the node's own has failed") from error
        return await transaction.commit(records(grant, 5))


async def appended(backend: PostgresBackend, fenced: set[str]) -> None:
    assert fenced == set()
    assert await positions(backend) == [1, 2, 3, 4, 5, 6]


async def appended_one(backend: PostgresBackend, fenced: set[str]) -> None:
    assert fenced == set()
    assert await positions(backend) == [1, 2, 3, 4, 5]


async def leased(backend: PostgresBackend, grant: Grant) -> None:
    row = await backend.thread("new")
    assert row is not None
    assert row.holder == "me"
    assert await backend.append([Record("new", grant.epoch, 1, b"")]) == set()


SEVERAL = ("new", "newer")
"""Threads that are leased at the same time."""


async def acquire_several(backend: PostgresBackend, _: Leases) -> list[Grant]:
    return await asyncio.gather(*[backend.acquire(name, "me", 60, "graph") for name in SEVERAL])


async def leased_several(backend: PostgresBackend, grants: list[Grant]) -> None:
    for name, grant in zip(SEVERAL, grants, strict=True):
        assert grant.thread.thread_id == name
        position = grant.thread.position + 1
        assert await backend.append([Record(name, grant.epoch, position, b"")]) == set()


async def release_several(backend: PostgresBackend, leases: Leases) -> None:
    await asyncio.gather(
        backend.release("t", leases.epoch, "suspended"),
        backend.release("u", leases.other, "completed"),
    )


async def released_several(backend: PostgresBackend, _: None) -> None:
    for name, status in (("t", "suspended"), ("u", "completed")):
        row = await backend.thread(name)
        assert row is not None
        assert (row.holder, row.status) == (None, status)


async def renewed(backend: PostgresBackend, lost: set[str]) -> None:
    row = await backend.thread("t")
    assert lost == set()
    assert row is not None
    assert row.expires is not None
    assert row.expires > time.time() + 5000


async def released(backend: PostgresBackend, _: None) -> None:
    row = await backend.thread("t")
    assert row is not None
    assert (row.holder, row.status, row.position) == (None, "suspended", 4)


async def read(backend: PostgresBackend, rows: list[Row]) -> None:
    assert rows == [Row(position, b"%d" % position) for position in (1, 2, 3, 4)]


async def kept(backend: PostgresBackend, done: bool) -> None:
    assert done
    assert await backend.load_snapshot("t", 4) == Row(4, b"state")


async def loaded(backend: PostgresBackend, row: Row) -> None:
    assert row == Row(2, b"two")


async def pruned(backend: PostgresBackend, done: bool) -> None:
    row = await backend.thread("t")
    assert done
    assert row is not None
    assert row[1:4] == (4, 2, 2)
    assert await positions(backend) == [3, 4]


async def forked(backend: PostgresBackend, _: None) -> None:
    row = await backend.thread("fork")
    assert row is not None
    assert row.origin == ("t", 3)


async def deleted(backend: PostgresBackend, _: bool) -> None:
    assert await backend.thread("old") is None
    assert await positions(backend, "old") == []


async def transacted(backend: PostgresBackend, done: bool) -> None:
    assert done
    assert await positions(backend) == [1, 2, 3, 4, 5]
    async with backend.transaction() as transaction:
        count = f"select count(*) from {SCHEMA}.effects where tenant = $1"
        assert await transaction.connection.fetchval(count, backend.tenant) == 1


CASES = {
    "append": Case(lambda b, g: b.append(records(g, 5, 6)), appended),
    "append one": Case(lambda b, g: b.append(records(g, 5)), appended_one),
    "acquire": Case(lambda b, _: b.acquire("new", "me", 60, "graph"), leased),
    "acquire several": Case(acquire_several, leased_several),
    "renew": Case(lambda b, g: b.renew([("t", g.epoch)], 6000), renewed),
    "release": Case(lambda b, g: b.release("t", g.epoch, "suspended"), released),
    "release several": Case(release_several, released_several),
    "read": Case(lambda b, _: b.read("t", 0), read),
    "save_snapshot": Case(lambda b, g: b.save_snapshot("t", g.epoch, 4, b"state"), kept),
    "load_snapshot": Case(lambda b, _: b.load_snapshot("t", 3), loaded),
    "prune": Case(lambda b, g: b.prune("t", g.epoch, 2), pruned),
    "fork": Case(lambda b, _: b.fork("t", 3, "fork"), forked),
    "delete": Case(lambda b, _: b.delete("old"), deleted),
    "transaction": Case(transact, transacted, steps=5),
}


class Scene:
    """A thread with some events, its lease, and a backend behind a wire of its own."""

    def __init__(self, timeout: float, *, is_warm: bool = True) -> None:
        self.timeout = timeout
        self.is_warm = is_warm
        self.tenant = f"{next(TENANTS)}"
        self.direct = PostgresBackend(shared_server().url, tenant=self.tenant, schema=SCHEMA)

    @asynccontextmanager
    async def play(self) -> AsyncIterator[Self]:
        async with Proxy.open(shared_server().socket) as self.proxy:
            self.backend = PostgresBackend(
                self.proxy.url, tenant=self.tenant, schema=SCHEMA, timeout=self.timeout
            )
            t, u = [await self.direct.acquire(name, "me", 60, "graph") for name in "tu"]
            self.grant = Leases(t.epoch, u.epoch)
            await self.direct.append([Record("u", u.epoch, 1, b"")])
            await self.direct.append(records(self.grant, 1, 2, 3, 4))
            await self.direct.save_snapshot("t", self.grant.epoch, 2, b"two")
            old = await self.direct.acquire("old", "me", 0, "graph")
            await self.direct.append([Record("old", old.epoch, 1, b"")])
            try:
                if self.is_warm:
                    await self.insist(lambda: self.backend.load_plan(""))
                yield self
            finally:
                with anyio.CancelScope(shield=True):
                    await self.backend.close()
                    await self.direct.close()

    async def insist(self, call: Callable[[], Awaitable[object]]) -> None:
        """Call again while the store is unavailable: the machine may be busy."""
        for _ in range(20):
            try:
                await call()
                return
            except StoreUnavailable:
                pass
        raise LateError("it does not get through")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Raise ``LateError`` if the block takes longer."""
        began = time.monotonic()
        try:
            yield
        finally:  # an error is to come in time as well
            took = time.monotonic() - began
            if took >= seconds + SLACK * self.timeout:
                raise LateError(f"it took {took:.2f} s, and not {seconds:.2f}")

    async def call(self, case: Case, fault: Fault | None = None) -> None:
        """Call a method until it gets through, each time within its bound."""
        self.proxy.arm(fault)
        for _ in range(4):
            try:
                with self.within(case.steps * 2 * self.timeout):
                    result = await case.call(self.backend, self.grant)
            except StoreUnavailable:
                continue
            await case.check(self.direct, result)
            assert fault is None or self.proxy.struck, fault
            await self.insist(lambda: self.backend.threads(limit=1))
            return
        raise LateError("it does not get through")


async def messages(case: Case, *, is_warm: bool) -> list[Message]:
    """What passes when nothing is wrong."""
    async with Scene(TIMEOUTS[-1], is_warm=is_warm).play() as scene:
        scene.proxy.arm()
        result = await case.call(scene.backend, scene.grant)
        seen = list(scene.proxy.seen)
        await case.check(scene.direct, result)
        return seen


async def play_all(case: Case, faults: Iterable[Fault], *, is_warm: bool) -> None:
    """Call a method once for each fault, some of them at the same time."""
    limiter = anyio.CapacityLimiter(8)

    async def play(fault: Fault, timeout: float) -> None:
        async with limiter, Scene(timeout, is_warm=is_warm).play() as scene:
            await scene.call(case, fault)

    async with anyio.create_task_group() as group:
        for fault in faults:
            group.start_soon(patiently, partial(play, fault))


@pytest.fixture(scope="module", autouse=True)
def tables() -> None:
    """The table of which a node's own statements write."""

    async def make() -> None:
        backend = PostgresBackend(shared_server().url, schema=SCHEMA)
        await backend.upgrade()
        await backend.close()
        connection = await asyncpg.connect(shared_server().url)
        await connection.execute(f"create table {SCHEMA}.effects (tenant text)")
        await connection.close()

    asyncio.run(make())


# Calls that are made together use a connection as any other does: two kinds of faults will do.
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in CASES
        for kind in KINDS
        if "several" not in name or kind in {"cut after", "stall"}
    ],
)
async def test_a_fault_at_any_message_does_no_harm(name: str, kind: Kind) -> None:
    case = CASES[name]
    count = len(await messages(case, is_warm=True))
    await play_all(case, [Fault(at, kind) for at in range(count)], is_warm=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_while_a_connection_is_made_does_no_harm(kind: Kind) -> None:
    case = CASES["append"]
    count = len(await messages(case, is_warm=False))
    # What the server reports of its parameters is one message after another of the same kind.
    places = [*range(4), *range(16, count)]
    await play_all(case, [Fault(at, kind) for at in places], is_warm=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["append", "append one", "transaction"])
async def test_a_commit_that_is_cut_is_done_once(name: str) -> None:
    rng, case = random.Random(name), CASES[name]
    count = len(await messages(case, is_warm=True))
    cuts: list[Kind] = ["cut before", "cut after", "truncate", "reset"]
    faults = [Fault(rng.randrange(count), rng.choice(cuts)) for _ in range(max(1, CUTS // 3))]
    await play_all(case, faults, is_warm=True)


async def test_nothing_takes_longer_than_twice_the_timeout_when_nothing_passes() -> None:
    async def play(name: str, timeout: float) -> None:
        async with Scene(timeout, is_warm=name != "append").play() as scene:
            scene.proxy.is_dead = True
            with scene.within(2 * timeout), pytest.raises(StoreUnavailable):
                await CASES[name].call(scene.backend, scene.grant)

    for name in CASES:
        await patiently(partial(play, name))


async def test_closing_a_stalled_connection_takes_no_longer_than_its_timeout() -> None:
    async def play(timeout: float) -> None:
        async with Scene(timeout).play() as scene:
            scene.proxy.is_dead = True
            with scene.within(timeout):
                await scene.backend.close()

    await patiently(play)


async def test_leaving_a_stalled_transaction_takes_no_longer_than_its_timeout() -> None:
    async def play(timeout: float) -> None:
        async with Scene(timeout).play() as scene, AsyncExitStack() as stack:
            transaction = await stack.enter_async_context(scene.backend.transaction())
            await transaction.connection.execute("select 1")
            scene.proxy.is_dead = True
            with scene.within(timeout):
                await stack.aclose()

    await patiently(play)


async def test_cancelling_a_stalled_call_takes_no_time() -> None:
    async def play(case: Case, timeout: float) -> None:
        async with Scene(timeout).play() as scene:
            scene.proxy.is_dead = True
            with scene.within(0.05), anyio.move_on_after(0.05):
                await case.call(scene.backend, scene.grant)
            scene.proxy.is_dead = False
            scene.proxy.cut()
            await scene.call(case)

    for case in CASES.values():
        await patiently(partial(play, case))


async def test_a_client_that_falls_silent_before_its_commit_does_not_keep_others_waiting() -> None:
    async def play(timeout: float) -> None:
        async with Scene(timeout).play() as scene:
            scene.proxy.arm(Fault(commit, "stall"))
            with pytest.raises(StoreUnavailable):
                await case.call(scene.backend, scene.grant)
            grant = await scene.direct.acquire("t", "me", 60, "graph")
            assert grant.epoch > scene.grant.epoch

    case = CASES["transaction"]
    seen = await messages(case, is_warm=True)
    # Its last statement but one has locked the row of the thread; COMMIT never arrives.
    commit = [at for at, message in enumerate(seen) if message == ("client", "Q")][-2]
    await patiently(play)
