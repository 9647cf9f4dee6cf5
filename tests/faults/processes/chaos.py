"""Hours of everything at once: servers that stop and fall, workers that die, runs that go on.

    python -m tests.faults.processes.chaos [--seconds S] [--rate R] [--seed N]

Two workers run and resume threads of many shapes on a PostgreSQL that is stopped, stopped at once
or killed every few seconds, while they are killed themselves. In the end, when all is quiet, each
journal and each effect is looked at: no run may be lost, wrong or stuck, no call may have been
made after its completion was saved, no journal may have a gap or an event twice, and the memory of
the workers must not grow. Prints what was found, and exits with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import anyio
import anyio.to_thread
import asyncpg

from plait import Flow, MemoryStore
from plait.durable import DurableStore, open_store
from plait.errors import InterruptError, NodeError, PlaitError, ThreadNotFound, format_path
from plait.events import NodeCompleted, NodeFailed, RunStarted
from plait.flow import RunResult
from plait.store import Durability, Store
from tests.faults.processes import shapes
from tests.faults.processes.family import Being
from tests.faults.processes.life import Life
from tests.faults.processes.program import Effects, World, answers_to
from tests.faults.processes.shapes import SHAPES, Around
from tests.postgres.server import Server

__all__ = ["SCHEMA", "Chaos", "Supervisor"]

_AT_A_TIME: Final = 8
"""Threads that a worker runs side by side."""

_SEEDS: Final = 4
SCHEMA: Final = "plait_chaos"
_PAUSE: Final = (5.0, 40.0)
"""Seconds between two ends of the server, and of the worker that dies often."""

_CALM: Final = 90.0
"""Seconds that the workers have to bring all to an end once nobody disturbs them."""

_CLOCKS: Final = 0.02
"""Seconds by which two processes may see the time differently: one notes it at once, one counts
from when its run began."""


class Task(NamedTuple):
    """A thread that is not done."""

    thread_id: str
    shape: int
    seed: int
    answers: Mapping[str, str]


class Register:
    """What is to be run, and what came of it: the one thing that nobody disturbs.

    A file that the supervisor and the workers share.
    """

    def __init__(self, path: str) -> None:
        self._rows = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._rows.execute("pragma synchronous = off")

    def make(self) -> None:
        self._rows.execute(
            "create table runs (thread_id primary key, shape, seed, state, asked, answers)"
        )
        self._rows.execute("create index by_state on runs (state)")
        self._rows.execute("create table errors (life, name, text)")

    def add(self, thread_id: str, shape: int, seed: int) -> None:
        self._rows.execute(
            "insert into runs values (?, ?, ?, 'new', '[]', '{}')", (thread_id, shape, seed)
        )

    def undone(self, limit: int = 60) -> Sequence[Task]:
        """What can be gone on with, the oldest first."""
        rows = self._rows.execute(
            "select thread_id, shape, seed, answers from runs where state in ('new', 'answered') "
            "order by rowid limit ?",
            (limit,),
        )
        return [_task(row) for row in rows]

    def all(self) -> Sequence[Task]:
        rows = self._rows.execute("select thread_id, shape, seed, answers from runs")
        return [_task(row) for row in rows]

    def set_done(self, thread_id: str) -> None:
        self._rows.execute("update runs set state = 'done' where thread_id = ?", (thread_id,))

    def set_asked(self, thread_id: str, result: RunResult[Any]) -> None:
        """Note what a thread asks, unless it has been answered meanwhile."""
        asked = json.dumps(dict(answers_to(result.interrupts)))
        self._rows.execute(
            "update runs set state = 'asked', asked = ? where thread_id = ? and state != 'done'",
            (asked, thread_id),
        )

    def answer(self) -> int:
        """Answer all that is asked; how many threads had."""
        done = self._rows.execute(
            "update runs set state = 'answered', answers = asked where state = 'asked'"
        )
        return done.rowcount

    def left(self) -> int:
        """How many threads are not done."""
        rows = self._rows.execute("select count(*) from runs where state != 'done'")
        number: int = rows.fetchone()[0]
        return number

    def note(self, life: str, error: Exception) -> None:
        """Note what a worker met. Plait's errors are to be expected; their text is not kept."""
        text = "" if isinstance(error, PlaitError) else traceback.format_exc()
        name = type(error).__name__
        if isinstance(error, NodeError):  # such as of a node's own statement, when the server ends
            name += f" ({type(error.__cause__).__name__})"
        self._rows.execute("insert into errors values (?, ?, ?)", (life, name, text))

    def errors(self) -> tuple[Counter[str], Sequence[str]]:
        """How often each error was met, and the texts of those that must not be."""
        rows = list(self._rows.execute("select name, text from errors"))
        return Counter(name for name, _ in rows), [text for _, text in rows if text]

    def close(self) -> None:
        self._rows.close()


def _task(row: tuple[str, int, int, str]) -> Task:
    thread_id, shape, seed, answers = row
    return Task(thread_id, shape, seed, json.loads(answers))


# -- the worker --------------------------------------------------------------------------------


def toiler(store: Store, durability: Durability) -> Flow[Any]:
    """Any one of the shapes: a worker compiles all of them."""
    return shapes.compiled(0, store)


async def toil(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    """Run and resume what there is, for ever."""
    register = Register(life.say)
    flows = [shapes.compiled(number, flow.store) for number in range(SHAPES)]
    chance = random.Random()
    busy = set[str]()

    async def work() -> None:
        while True:
            tasks = [task for task in register.undone() if task.thread_id not in busy]
            if not tasks:
                await anyio.sleep(0.1)
                continue
            task = chance.choice(tasks)
            busy.add(task.thread_id)
            around = Around(world.effects, life.options["schema"], task.seed)
            try:
                result = await _go_on(flows[task.shape], task, around)
            except Exception as error:
                register.note(life.name, error)
                await anyio.sleep(0.2 * chance.random())
            else:
                if result.status == "completed":
                    register.set_done(task.thread_id)
                else:
                    register.set_asked(task.thread_id, result)
            finally:
                busy.discard(task.thread_id)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_A_TIME):
            group.start_soon(work)
    raise AssertionError("it toils until it is killed")


async def _go_on(flow: Flow[Any], task: Task, around: Around) -> RunResult[Any]:
    try:
        return await flow.resume(task.thread_id, task.answers or None, context=around)
    except InterruptError:  # it has had these answers
        return await flow.resume(task.thread_id, context=around)
    except ThreadNotFound:  # but another worker may begin it, and even finish it, before this one
        return await flow.run({"seed": task.seed}, task.thread_id, context=around, new=True)


# -- the supervisor ----------------------------------------------------------------------------


@dataclass
class Chaos:
    """What was done, and what was found."""

    runs: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    answered: int = 0
    events: int = 0
    calls: int = 0
    repeated: int = 0
    """Calls that were made again, by a later life, before their completion was saved."""
    payments: int = 0
    lost: int = 0
    """Runs of which no journal is left."""
    stuck: int = 0
    wrong: int = 0
    again_although_saved: int = 0
    twice: int = 0
    """Events that a journal has twice."""
    gaps: int = 0
    payments_wrong: int = 0
    """Payments that are there twice, or not at all, or for nothing."""
    met: Counter[str] = field(default_factory=Counter)
    """The errors that the workers met, and lived with."""
    unexpected: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    """Of the runs in which something is wrong, what."""
    memory: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the worker that lived longest: its age in seconds, and its MB when a quarter of its life
    was over, and at its end."""

    @property
    def faults(self) -> Mapping[str, Any]:
        """What must not be, and is."""
        names = ["lost", "stuck", "wrong", "again_although_saved", "twice", "gaps"]
        names += ["payments_wrong", "unexpected"]
        found = {name: getattr(self, name) for name in names if getattr(self, name)}
        age, before, after = self.memory
        if age > 60 and after > 1.2 * before + 20:
            found["memory"] = self.memory
        return found

    def __str__(self) -> str:
        restarts = ", ".join(f"{count} {how}" for how, count in sorted(self.restarts.items()))
        met = ", ".join(f"{count:,} {name}" for name, count in self.met.most_common())
        age, before, after = self.memory
        return (
            f"{self.runs:,} runs, {self.events:,} events, {self.calls:,} calls, of which "
            f"{self.repeated:,} again, {self.payments:,} payments, {self.answered:,} answered\n"
            f"server ended {self.restarts.total()} times ({restarts}), workers killed {self.kills} "
            f"times\n"
            f"lost {self.lost}, stuck {self.stuck}, wrong {self.wrong}, called again although "
            f"saved {self.again_although_saved}, events twice {self.twice}, gaps {self.gaps}, "
            f"payments wrong {self.payments_wrong}, unexpected errors {len(self.unexpected)}\n"
            f"met and lived with: {met or 'nothing'}\n"
            f"memory of a worker that lived for {age:.0f} s: {before:.1f} MB, then {after:.1f} MB"
        )


class Supervisor:
    """Gives work, answers questions, and disturbs."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        rate: float,
        seed: int,
        pause: tuple[float, float] = _PAUSE,
    ) -> None:
        self._pause = pause
        self.found = Chaos()
        self.effects = Effects.make(folder / "effects.db")
        self.register = Register(self.effects.path)
        self.register.make()
        self.server = server
        self._rate = rate
        self._chance = random.Random(seed)
        self._lives = 0
        self._number = 0

    # The times are short, so that much happens in an hour.
    _options: Final = {"schema": SCHEMA, "lease_ttl": 3.0, "timeout": 3.0, "patience": 30.0}

    def open(self) -> DurableStore:
        """A handle on the store."""
        store = open_store(self.server.url, **self._options)
        assert isinstance(store, DurableStore)
        return store

    async def run(self, seconds: float) -> Chaos:
        """All of it."""
        async with self.open() as store:
            await store.threads()  # makes the schema
        connection = await asyncpg.connect(self.server.url)
        await connection.execute(f"create table {SCHEMA}.payments (thread_id text, key text)")
        await connection.close()
        async with anyio.create_task_group() as workers:
            calm = anyio.Event()
            # One dies as often as the server; one lives for long, so that its memory can be seen.
            for lasts in (self._pause, (300.0, 900.0)):
                workers.start_soon(self._employ, *lasts, calm)
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as group:
                    group.start_soon(self._give_work)
                    group.start_soon(self._disturb_server)
            calm.set()
            with anyio.move_on_after(_CALM):
                while self.register.left():
                    self.found.answered += self.register.answer()
                    await anyio.sleep(0.2)
            workers.cancel_scope.cancel()
        self.found.stuck = self.register.left()
        self.found.met, unexpected = self.register.errors()
        self.found.unexpected = list(unexpected)
        await self.look_at_all()
        self.register.close()
        self.effects.close()
        return self.found

    async def _give_work(self) -> None:
        while True:
            self._number += 1
            shape = self._chance.randrange(SHAPES)
            self.register.add(f"run-{self._number}", shape, self._number % _SEEDS)
            self.found.answered += self.register.answer()
            await anyio.sleep(self._chance.uniform(0, 2 / self._rate))

    async def _disturb_server(self) -> None:
        while True:
            await anyio.sleep(self._chance.uniform(*self._pause))
            how: Literal["fast", "immediate", "killed"]
            how = self._chance.choice(("fast", "immediate", "killed"))
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._end_server, how)
                await anyio.sleep(self._chance.choice((0, 0.5, 3)))
                await anyio.to_thread.run_sync(self.server.start)
            self.found.restarts[how] += 1

    def _end_server(self, how: Literal["fast", "immediate", "killed"]) -> None:
        if how == "killed":
            self.server.kill()
        else:
            self.server.stop(how)

    async def _employ(self, least: float, most: float, calm: anyio.Event) -> None:
        """Have a worker, and another one when it was killed."""
        while True:
            self._lives += 1
            life = Life(
                name=f"worker {self._lives}",
                store=self.server.url,
                effects=self.effects.path,
                thread_id="",
                brief=False,
                options=self._options,
                compile=toiler,
                job=toil,
                say=self.effects.path,
            )
            async with Being(life) as being:
                with anyio.move_on_after(self._chance.uniform(least, most)):
                    await self._watch(being)
                    raise AssertionError("it watches until it is told otherwise")
                if calm.is_set():  # whoever lives now may live on
                    await self._watch(being)
            self.found.kills += 1

    async def _watch(self, being: Being) -> None:
        """Look at the memory of a worker all the time."""
        began = time.monotonic()
        sizes: list[float] = []
        while True:
            await anyio.sleep(1)
            if not being.is_alive:
                self.found.unexpected.append(f"{being.life.name} has ended by itself")
                await anyio.sleep_forever()
            sizes.append(being.memory)
            age = time.monotonic() - began
            if age >= self.found.memory[0]:
                self.found.memory = (age, sizes[len(sizes) // 4], sizes[-1])

    # -- afterwards -----------------------------------------------------------------------------

    async def look_at_all(self) -> None:
        """Hold every journal and every effect against what must be."""
        found = self.found
        store = self.open()
        flows = [shapes.compiled(number, store) for number in range(SHAPES)]
        expected: dict[tuple[int, int], Any] = {}
        connection = await asyncpg.connect(self.server.url)
        rows = await connection.fetch(f"select thread_id, key from {SCHEMA}.payments")
        await connection.close()
        found.payments = len(rows)
        payments: dict[str, Counter[str]] = {}
        for row in rows:
            payments.setdefault(row["thread_id"], Counter())[row["key"]] += 1
        for task in self.register.all():
            found.runs += 1
            key = (task.shape, task.seed)
            if key not in expected and not shapes.is_timed(task.shape):
                expected[key] = await _undisturbed(*key, self.effects)
            paid = payments.get(task.thread_id, Counter())
            await self._look_at(flows[task.shape], task, expected.get(key), paid)
        await store.close()

    async def _look_at(
        self, flow: Flow[Any], task: Task, expected: Any, paid: Mapping[str, int]
    ) -> None:
        found = self.found
        effects = self.effects.of(task.thread_id)
        found.calls += len(effects)
        lives: dict[str, set[str]] = {}
        for effect in effects:
            lives.setdefault(effect.key, set()).add(effect.life)
        found.repeated += sum(len(each) - 1 for each in lives.values())
        try:
            past = await flow.store.past(task.thread_id, flow._past.format, whole=True)
        except PlaitError as error:
            found.gaps += 1
            found.unexpected.append(str(error))
            return
        if past is None:
            found.lost += 1
            return
        found.events += len(past.events)
        ends: dict[str, float] = {}
        steps: dict[Any, int] = {}
        pays: set[str] = set()
        begun = 0

        def note(machine: Any, event: Any, _: object) -> None:
            nonlocal begun
            begun += isinstance(event, RunStarted)
            if _is_end(event):
                key = f"{format_path(event.branch)}:{steps[event.branch]}"
                if key in ends:
                    found.twice += 1
                    found.details.append(f"{task.thread_id}: {key} ends again with {event!r:.200}")
                ends[key] = event.at
                if _pays(flow, event.node) and isinstance(event, NodeCompleted):
                    pays.add(key)
            steps.update({path: branch.step for path, branch in machine.branches.items()})

        machine, _ = await flow._past.replay(past, note)
        if begun != 1:
            found.twice += 1
            found.details.append(f"{task.thread_id} was begun {begun} times")
        for effect in effects:
            if effect.key in ends and effect.at > ends[effect.key] + _CLOCKS:
                found.again_although_saved += 1
                found.details.append(
                    f"{task.thread_id}: {effect} although it had ended at {ends[effect.key]}"
                )
        if paid.keys() != pays or any(count != 1 for count in paid.values()):
            found.payments_wrong += 1
            found.details.append(f"{task.thread_id}: {sorted(pays)} have paid, and there is {paid}")
        if machine.running:
            return  # it counts as stuck
        state = machine.current_values()
        if not _is_right(state, expected, set(ends)):
            found.wrong += 1
            found.details.append(f"{task.thread_id} came to {state}, not to {expected}")


def _is_end(event: object) -> bool:
    """Whether a node that has come to this is not called again. One whose failure ended the run is,
    when that is resumed."""
    return isinstance(event, NodeCompleted) or (
        isinstance(event, NodeFailed) and event.handling != "raise"
    )


def _pays(flow: Flow[Any], node: str) -> bool:
    vertex = flow.plan.vertices[node].node
    return vertex is not None and vertex.fn is shapes.pay


def _is_right(state: Mapping[str, Any], expected: Any, completed: set[str]) -> bool:
    log = state["log"]
    if len(set(log)) < len(log) or not set(log) <= completed:
        return False
    if expected is not None:
        return bool(state == expected)
    arrived: int = state["arrived"]
    return len(log) == arrived + 2  # and the nodes before the fork and behind it


async def _undisturbed(shape: int, seed: int, effects: Effects) -> Mapping[str, Any]:
    """What a run comes to, in memory, that nobody disturbs."""
    flow = shapes.compiled(shape, MemoryStore())
    around = Around(effects, seed=seed, pace=0)
    result = await flow.run({"seed": seed}, "undisturbed", context=around)
    while result.status == "suspended":
        answers = answers_to(result.interrupts)
        result = await flow.resume("undisturbed", answers, context=around)
    state: Mapping[str, Any] = result.state
    return state


async def _run(seconds: float, rate: float, seed: int) -> Chaos:
    with tempfile.TemporaryDirectory(prefix="plait-chaos-") as folder, Server() as server:
        return await Supervisor(Path(folder), server, rate, seed).run(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description="Everything at once, for a long time.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    # An hour of it makes 5,000 and some more, and leaves most of a machine to others.
    parser.add_argument("--rate", type=float, default=1.5, help="new runs a second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"{options.seconds:g} s, {options.rate:g} new runs a second, seed {options.seed}")
    found = anyio.run(_run, options.seconds, options.rate, options.seed)
    print(found)
    for text in (*found.unexpected[:5], *found.details[:20]):
        print(text)
    if found.faults:
        print(f"broken: {', '.join(found.faults)}")
    return bool(found.faults)


if __name__ == "__main__":
    sys.exit(main())
