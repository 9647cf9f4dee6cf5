"""W11: LangGraph programs with nothing but their imports changed, on both engines.

Each program is built from the modules of one root, and run without a checkpointer, with the one in
memory and with the one for PostgreSQL, that of the same root. Every run has a thread of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from .bodies import ADD_ONE, State, Work
from .contenders.base import CannotExpressError, Contender, Run
from .contenders.langgraph import LangGraph
from .contenders.langgraph_facade import Facade
from .measure import Result, Settings, measure_case, median
from .report import ONCE, markdown, once_note
from .workloads.base import Case, expect

SAVERS = ("no checkpointer", "memory", "PostgreSQL")
CHAIN, LOOP, RUNS, RUN_OF = 100, 1_000, 200, 10
LOOP_IN_HASTE, RUNS_IN_HASTE = 300, 50
FANS = (10, 100, 1_000, 10_000)
IN_HASTE = {
    "no checkpointer": ("chain", "loop", "fan-100", "fan-1000", "lines", "runs"),
    "memory": ("chain", "loop", "fan-100", "lines"),
    "PostgreSQL": ("chain", "runs"),
}
"""The programs that are run if it is to be quick, by checkpointer."""
BRANCHES, DEPTH = 50, 5


@dataclass(frozen=True, slots=True)
class Job:
    """One program."""

    key: str
    title: str
    units: int
    unit: str
    build: Callable[[Any], Any]
    """The builder, from the modules of a contender."""
    given: State
    check: Callable[[State], None]
    runs: int = 1
    """How many at once."""
    goal: float = 5.0
    """How many times as fast as LangGraph it is to be."""


def _chain(nodes: int) -> Callable[[Any], Any]:
    def build(engine: LangGraph) -> Any:
        builder = engine.graphs.StateGraph(Work)
        before = engine.graphs.START
        for i in range(nodes):
            builder.add_node(f"n{i}", ADD_ONE.on_mapping)
            builder.add_edge(before, f"n{i}")
            before = f"n{i}"
        builder.add_edge(before, engine.graphs.END)
        return builder

    return build


def _loop(turns: int) -> Callable[[Any], Any]:
    def build(engine: LangGraph) -> Any:
        end = engine.graphs.END
        builder = engine.graphs.StateGraph(Work)
        builder.add_node("turn", ADD_ONE.on_mapping)
        builder.add_edge(engine.graphs.START, "turn")
        builder.add_conditional_edges(
            "turn", lambda state: "turn" if state["n"] < turns else end, ["turn", end]
        )
        return builder

    return build


async def _item(number: int) -> dict[str, Any]:
    return {"items": [number]}


def _fan(size: int) -> Callable[[Any], Any]:
    def build(engine: LangGraph) -> Any:
        send = engine.types.Send
        builder = engine.graphs.StateGraph(Work)
        builder.add_node("branch", _item)
        builder.add_conditional_edges(
            engine.graphs.START, lambda state: [send("branch", i) for i in range(size)], ["branch"]
        )
        builder.add_edge("branch", engine.graphs.END)
        return builder

    return build


def _lines(engine: LangGraph) -> Any:
    builder = engine.graphs.StateGraph(Work)

    def body(number: int) -> Any:
        async def write(state: State) -> State:
            return {"items": [number]}

        return write

    for b in range(BRANCHES):
        before = engine.graphs.START
        for level in range(DEPTH):
            builder.add_node(f"n{b:02}_{level}", body(b))
            builder.add_edge(before, f"n{b:02}_{level}")
            before = f"n{b:02}_{level}"
        builder.add_edge(before, engine.graphs.END)
    return builder


def jobs(*, quick: bool = False) -> list[Job]:
    """The programs; fewer and smaller ones if it is to be quick."""
    turns = LOOP_IN_HASTE if quick else LOOP
    runs = RUNS_IN_HASTE if quick else RUNS
    return [
        Job(
            "chain",
            f"chain of {CHAIN}",
            CHAIN,
            "node",
            _chain(CHAIN),
            {"n": 0},
            expect("n", CHAIN),
            goal=8.0,
        ),
        Job(
            "loop",
            f"loop of {turns:,}",
            turns,
            "turn",
            _loop(turns),
            {"n": 0},
            expect("n", turns),
            goal=8.0,
        ),
        *(
            Job(
                f"fan-{size}",
                f"Send fan of {size:,}",
                size,
                "branch",
                _fan(size),
                {"n": 0},
                expect("items", list(range(size))),
            )
            for size in FANS
        ),
        Job(
            "lines",
            f"{BRANCHES} branches of {DEPTH}",
            BRANCHES * DEPTH,
            "node",
            _lines,
            {"n": 0},
            expect("items", [b for _ in range(DEPTH) for b in range(BRANCHES)]),
        ),
        Job(
            "runs",
            f"{runs} runs of {RUN_OF} at once",
            runs,
            "run",
            _chain(RUN_OF),
            {"n": 0},
            expect("n", RUN_OF),
            runs=runs,
        ),
    ]


def _case(
    job: Job,
    saver: str,
    savers: dict[tuple[str, str], Any],
    threads: Iterator[str],
    *,
    memory: bool,
) -> Case:
    def build(contender: Contender) -> Run:
        assert isinstance(contender, LangGraph)
        if isinstance(savers[contender.name, saver], Exception):
            raise CannotExpressError(str(savers[contender.name, saver]))
        graph = job.build(contender).compile(checkpointer=savers[contender.name, saver])

        async def one() -> State:
            config = {
                "recursion_limit": LOOP + 10,
                "configurable": {"thread_id": f"{contender.name}-{next(threads)}"},
            }
            state: State = await graph.ainvoke(job.given, config)
            return state

        async def run() -> State:
            if job.runs == 1:
                return await one()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(job.runs)]
            for task in tasks:
                job.check(task.result())
            return tasks[0].result()

        return run

    key, title = f"{job.key}, {saver}", f"{job.title}, {saver}"
    return Case("W11", key, title, job.units, job.unit, build, job.check, memory=memory)


def _in_memory(engine: LangGraph) -> Any:
    """An empty one for each program: what others left in it would be for the collector to visit."""
    memory: Any = importlib.import_module(f"{engine.root}.checkpoint.memory")
    return memory.InMemorySaver()


async def _savers(
    engines: Sequence[LangGraph], url: str | None, stack: AsyncExitStack
) -> dict[tuple[str, str], Any]:
    """The checkpointers of each engine; why there is none, where it cannot be opened."""
    found: dict[tuple[str, str], Any] = {}
    for engine in engines:
        found[engine.name, SAVERS[0]] = None
        if url is None:
            continue
        try:
            module: Any = importlib.import_module(f"{engine.root}.checkpoint.postgres.aio")
            opened = module.AsyncPostgresSaver.from_conn_string(url)
            saver = await stack.enter_async_context(opened)
            await saver.setup()
        except ImportError as error:
            saver = error
        found[engine.name, SAVERS[2]] = saver
    return found


async def measure(
    settings: Settings,
    url: str | None,
    progress: Callable[[Result], None] = lambda result: None,
    *,
    quick: bool = False,
    programs: Sequence[Job] | None = None,
) -> list[Result]:
    """Run every program with every checkpointer on both engines, interleaved.

    Args:
        settings: how thoroughly.
        url: of a PostgreSQL server; None leaves that checkpointer out.
        progress: is called with each result.
        quick: fewer and smaller programs, and only the time that they take.
        programs: which; by default all of them.
    """
    engines = [LangGraph(), Facade()]
    results = []
    # On a server that is there to stay are the threads of earlier calls.
    call = uuid.uuid4().hex[:12]
    threads = (f"{call}-{number}" for number in itertools.count())
    async with AsyncExitStack() as stack:
        savers = await _savers(engines, url, stack)
        for saver in SAVERS if url is not None else SAVERS[:2]:
            for job in programs or jobs(quick=quick):
                if quick and job.key not in IN_HASTE[saver]:
                    continue
                for engine in engines:
                    savers[engine.name, "memory"] = _in_memory(engine)
                memory = not quick and saver != "PostgreSQL"
                case = _case(job, saver, savers, threads, memory=memory)
                result = await measure_case(case, engines, settings)
                progress(result)
                results.append(result)
    return results


def table(results: Sequence[Result]) -> str:
    """W11 in one Markdown table: how many times LangGraph takes what the facade takes."""
    goals = {job.key: job.goal for job in jobs()}
    heads = [
        "program",
        "LangGraph CPU µs",
        "facade CPU µs",
        "a",
        "times as fast",
        "goal",
        "met",
        "memory",
    ]
    rows = []
    for result in results:
        there, here = result.series[LangGraph.name], result.series[Facade.name]
        if not (there.cpu and here.cpu):
            reason = there.reason or here.reason or ""
            rows.append([result.case.title, "", "", "", reason])
            continue
        ratio = median(result.ratios(LangGraph.name, Facade.name))
        memory = f"{here.peak / there.peak:.2f}" if here.peak and there.peak else ""
        goal = goals[result.case.key.partition(",")[0]]
        rows.append(
            [
                result.case.title,
                f"{1e6 * median(there.cpu):,.1f}{ONCE if there.once else ''}",
                f"{1e6 * median(here.cpu):,.1f}{ONCE if here.once else ''}",
                result.case.unit,
                f"{ratio:.1f}",
                f"{goal:.0f}",
                "yes" if round(ratio, 1) >= goal else "**no**",
                memory,
            ]
        )
    title = "### W11: the same program, its imports changed"
    return f"{title}\n\n{markdown(heads, rows)}\n{once_note(rows)}"
