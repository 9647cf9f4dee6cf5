"""Two processes that want the same thing at the same instant, and one that slept too long.

    python -m tests.faults.processes.rivals [--rounds N] [--stores sqlite postgres] [--seed S]

Contests, each so many rounds on each store:

* ``resume``: two resume a thread whose process has died. One runs it, the other is told so.
* ``asleep``: the owner of a thread stands still until its lease was taken over, and wakes up.
* ``answers``: two answer one interrupt. One answer is taken, the other is refused.
* ``inputs``: two begin a run on one thread. Both are kept, in order, or one is refused.

Prints what was found, and exits with 1 if anything was lost, or done twice.
"""

from __future__ import annotations

import argparse
import operator
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, NamedTuple, TypedDict, get_args

import anyio

from plait import END, START, Flow, Graph, NodeContext, interrupt
from plait.errors import ThreadBusy
from plait.flow import RunResult
from plait.store import Durability, Store
from tests.faults.processes.family import Being, barrier, live_on
from tests.faults.processes.judge import Undisturbed
from tests.faults.processes.life import Death, Life, Report, When, finish
from tests.faults.processes.program import World
from tests.faults.processes.sweep import STORES, Place, opened

__all__ = ["CONTESTS", "Score", "contest"]

_TTL: Final = 0.25
"""Seconds for which the owner that falls asleep holds its lease."""


@dataclass
class Score:
    """What was found in the rounds of one contest."""

    rounds: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By the name of the error, how often a rival was refused."""
    twice: int = 0
    """Calls that both rivals made; or answers of which both were carried out."""
    lost: int = 0
    """What was accepted and is not there."""
    wrong_states: int = 0
    unexpected: Counter[str] = field(default_factory=Counter)
    """Other errors than may be."""
    stale_calls: int = 0
    """Calls that the sleeper began after it had woken up."""
    void: int = 0
    """Rounds that showed nothing: the sleeper had finished, or held the file's lock."""

    @property
    def faults(self) -> Mapping[str, Any]:
        """What must not be, and is."""
        names = ("twice", "lost", "wrong_states", "unexpected")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def refuse(self, report: Report, *may: str) -> None:
        """Count a refusal, one of those that may be."""
        if report.status in may:
            self.refused[report.status] += 1
        else:
            self.unexpected[f"{report.status}: {report.message}"] += 1

    def __str__(self) -> str:
        refused = ", ".join(f"{count:,} {name}" for name, count in sorted(self.refused.items()))
        return (
            f"{self.rounds:,} rounds, refused: {refused or 'none'}; {self.twice} twice, "
            f"{self.lost} lost, {self.wrong_states} wrong states, {self.stale_calls} stale calls, "
            f"{self.void} void; unexpected: {dict(self.unexpected) or 'none'}"
        )


class Round(NamedTuple):
    """One round of a contest."""

    place: Place
    thread_id: str
    chance: random.Random
    undisturbed: Undisturbed
    score: Score

    async def rivals(self, *lives: Life) -> list[Report]:
        """What lives say that begin at the same instant."""
        together = barrier(len(lives))
        async with AsyncExitStack() as stack:
            beings = [
                await stack.enter_async_context(Being(replace(life, barrier=together)))
                for life in lives
            ]
            reports = [await being.wait() for being in beings]
        return [report for report in reports if report is not None]

    def count_calls(self, before: Counter[str]) -> None:
        """Count what was called more often, since then, than when nobody disturbs."""
        calls = Counter(effect.key for effect in self.place.effects.of(self.thread_id))
        calls.subtract(before)
        for key, count in calls.items():
            self.score.twice += max(0, count - self.undisturbed.calls.get(key, 1))


# -- two resume --------------------------------------------------------------------------------


async def resume(round_: Round) -> None:
    place, thread_id, chance, undisturbed, score = round_
    death = Death(chance.randint(2, undisturbed.commits - 1), chance.choice(get_args(When)))
    await live_on(place.life("life 0", thread_id, death=death))
    before = Counter(effect.key for effect in place.effects.of(thread_id))
    lives = [place.life(f"life {n}", thread_id, brief=False) for n in (1, 2)]
    reports = await round_.rivals(*lives)
    for report in reports:
        if report.status != "completed":
            score.refuse(report, "ThreadBusy", "InterruptError")
    last = await live_on(place.life("life 3", thread_id, brief=False))
    assert last is not None
    score.wrong_states += last.state != undisturbed.state
    round_.count_calls(before)


# -- one falls asleep --------------------------------------------------------------------------


async def take_over(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    """Bring a thread to its end as soon as its lease can be had."""
    while True:
        try:
            return await finish(flow, life, world)
        except ThreadBusy:
            await anyio.sleep(0.01)


async def asleep(round_: Round) -> None:
    place, thread_id, chance, undisturbed, score = round_
    options = {**place.options, "lease_ttl": _TTL}
    owner = replace(place.life("life 1", thread_id, brief=False, pace=0.01), options=options)
    heir = replace(owner, name="life 2", job=take_over)
    async with Being(owner) as sleeper:
        with anyio.fail_after(60):
            while not place.effects.of(thread_id):  # noqa: ASYNC110 - another process writes there
                await anyio.sleep(0.002)
        await anyio.sleep(chance.uniform(0, 0.2))
        sleeper.stop()
        save = await place.saved(owner)
        async with Being(heir) as follower:
            followed: Report | None = None
            with anyio.move_on_after(chance.choice((3 * _TTL + chance.uniform(0, 0.3), 5))):
                followed = await follower.wait()
            before = place.effects.of(thread_id)
            sleeper.go_on()
            slept = await sleeper.wait()
            followed = followed or await follower.wait()
    assert slept is not None
    assert followed is not None
    if slept.status != "completed":
        score.refuse(slept, "LeaseLost", "ThreadBusy", "InterruptError")
    score.void += slept.status == "completed"
    if followed.status != "completed":
        score.refuse(followed, "InterruptError")
    after = place.effects.of(thread_id)
    heirs = {effect.key for effect in before if effect.life == heir.name}
    stale = Counter(e.key for e in after if e.life == owner.name)
    stale.subtract(e.key for e in before if e.life == owner.name)
    score.stale_calls += sum(stale[key] for key in heirs)
    score.twice += sum(e.key in save.done for e in after if e.life == heir.name)
    last = await live_on(replace(owner, name="life 3", job=take_over))
    assert last is not None
    score.wrong_states += last.state != undisturbed.state


# -- two answers, two inputs -------------------------------------------------------------------


class Said(TypedDict, total=False):
    items: Annotated[list[str], operator.add]
    answer: str


async def add(state: Any, ctx: NodeContext) -> None:
    ctx.context.effects.note(ctx, f"added {state['items'][-1]}")
    await ctx.context.take_time(state["items"][-1])


async def decide(_: object, ctx: NodeContext) -> Said:
    answer = interrupt("yes or no?")
    ctx.context.effects.note(ctx, f"told {answer}")
    await ctx.context.take_time(answer)
    return {"answer": answer}


def inbox(store: Store, durability: Durability) -> Flow[Said]:
    """Takes one input after another."""
    graph: Graph[Said] = Graph(Said, "inbox")
    graph.add_node(add)
    graph.add_edge(START, "add")
    graph.add_edge("add", END)
    return graph.compile(store, durability=durability)


def question(store: Store, durability: Durability) -> Flow[Said]:
    """Asks one thing."""
    graph: Graph[Said] = Graph(Said, "question")
    graph.add_node(decide)
    graph.add_edge(START, "decide")
    graph.add_edge("decide", END)
    return graph.compile(store, durability=durability)


async def put_in(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    given = {"items": [life.say]} if life.say else {}
    return await flow.run(given, life.thread_id, context=world)


async def answer(flow: Flow[Any], life: Life, world: World) -> RunResult[Any]:
    return await flow.resume(life.thread_id, {"0:1:0": life.say}, context=world)


async def answers(round_: Round) -> None:
    place, thread_id, _, _, score = round_
    life = place.life("life 0", thread_id, compile=question, job=put_in, brief=False)
    asked = await live_on(life)
    assert asked is not None
    assert asked.status == "suspended", asked
    lives = [replace(life, name=f"life {said}", job=answer, say=said) for said in ("yes", "no")]
    reports = await round_.rivals(*lives)
    taken = [report for report in reports if report.status == "completed"]
    for report in reports:
        if report.status != "completed":
            score.refuse(report, "ThreadBusy", "InterruptError")
    told = [e.note for e in place.effects.of(thread_id) if e.note.startswith("told")]
    score.twice += len(told) - 1
    score.lost += not taken
    last = await live_on(replace(life, name="life 3", job=finish))
    assert last is not None
    score.wrong_states += [f"told {last.state['answer']}"] != told
    score.wrong_states += any(report.state != last.state for report in taken)


async def inputs(round_: Round) -> None:
    place, thread_id, _, _, score = round_
    life = place.life("life 0", thread_id, compile=inbox, job=put_in, brief=False, say="zero")
    await live_on(life)
    lives = [replace(life, name=f"life {said}", say=said) for said in ("one", "two")]
    reports = await round_.rivals(*lives)
    taken = {"zero"}
    for said, report in zip(("one", "two"), reports, strict=True):
        if report.status == "completed":
            taken.add(said)
        else:
            score.refuse(report, "ThreadBusy")
    last = await live_on(replace(life, name="life 3", job=finish))
    assert last is not None
    kept = last.state["items"]
    score.lost += len(taken - set(kept))
    score.twice += len(kept) - len(set(kept))
    score.wrong_states += bool(set(kept) - taken)
    added = [e.note.removeprefix("added ") for e in place.effects.of(thread_id)]
    score.wrong_states += added != kept


CONTESTS: Final[Mapping[str, Callable[[Round], Awaitable[None]]]] = {
    "resume": resume,
    "asleep": asleep,
    "answers": answers,
    "inputs": inputs,
}


async def contest(kind: str, name: str, rounds: int, seed: int, jobs: int = 2) -> Score:
    """So many rounds of one contest on a store of this kind."""
    score = Score()
    chance = random.Random(seed)
    async with opened(kind) as place:
        undisturbed = await place.undisturbed("sync", 0)

        async def work() -> None:
            while score.rounds < rounds:
                score.rounds += 1
                thread_id = f"{name}-{next(place.numbers)}"
                await CONTESTS[name](Round(place, thread_id, chance, undisturbed, score))

        async with anyio.create_task_group() as group:
            for _ in range(jobs):
                group.start_soon(work)
    return score


def main() -> int:
    parser = argparse.ArgumentParser(description="Two processes that want the same thing.")
    parser.add_argument("--rounds", type=int, default=1000, help="of each contest, on each store")
    parser.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    parser.add_argument("--contests", nargs="+", default=tuple(CONTESTS), choices=CONTESTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=2, help="how many rounds at a time")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    broken = False
    for kind in options.stores:
        for name in options.contests:
            began = time.monotonic()
            score = anyio.run(contest, kind, name, options.rounds, options.seed, options.jobs)
            print(f"{kind} {name}: {score}; {time.monotonic() - began:.1f} s", flush=True)
            broken = broken or bool(score.faults)
    return broken


if __name__ == "__main__":
    sys.exit(main())
