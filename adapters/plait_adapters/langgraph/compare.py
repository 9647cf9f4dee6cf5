"""A program on LangGraph and on the facade, side by side: `plait compare`.

Each engine has a process of its own, in which the program's imports find that engine's modules, so
the program is the same file on both sides.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait_adapters.langgraph._moving import FACADE, LANGGRAPH, move, named
from plait_adapters.langgraph._plain import differences, plain

__all__ = ["Comparison", "EngineError", "Run", "compare"]

MODES = ("values", "updates", "custom")


class EngineError(Exception):
    """The program could not be run on an engine.

    Attributes:
        engine: which.
        said: the last line that its process wrote.
    """

    engine: str
    said: str

    def __init__(self, engine: str, said: str) -> None:
        super().__init__(f"on {engine} the program could not be run: {said}")
        self.engine = engine
        self.said = said


@dataclass(frozen=True, slots=True)
class Run:
    """What an engine did with the inputs."""

    states: list[Any]
    """The values after each input."""
    events: list[Any]
    """What was streamed: pairs of mode and data, in order."""
    errors: list[str | None]
    """What each input ended with; None: it ended well."""
    seconds: list[float]
    """By the wall clock, one figure for each repeat of all inputs."""

    @property
    def order(self) -> list[str]:
        """The nodes in the order in which their updates came."""
        return [name for mode, data in self.events if mode == "updates" for name in data]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one program."""

    there: Run
    """On LangGraph."""
    here: Run
    """On the facade."""

    @property
    def states(self) -> list[tuple[str, Any, Any]]:
        """Where the states or the errors differ: place, there, here."""
        found = [(f"state {each}", one, two) for each, one, two in self._of("states")]
        return found + [(f"error {each}", one, two) for each, one, two in self._of("errors")]

    @property
    def events(self) -> list[tuple[str, Any, Any]]:
        """How many events of each mode came, where that differs; else the first ones that do."""
        there, here = (
            dict(Counter(mode for mode, _ in run.events)) for run in (self.there, self.here)
        )
        return differences(there, here) or self._of("events")

    def _of(self, what: str) -> list[tuple[str, Any, Any]]:
        return differences(getattr(self.there, what), getattr(self.here, what))

    @property
    def same(self) -> bool:
        """Whether states, errors, order and events are the same."""
        return not self.states and not self.events and self.there.order == self.here.order

    @property
    def speed(self) -> float:
        """The medians of the wall time: LangGraph's over the facade's."""
        return statistics.median(self.there.seconds) / statistics.median(self.here.seconds)


def compare(name: str, inputs: Sequence[Any], *, repeats: int = 5) -> Comparison:
    """Run a program on both engines.

    Args:
        name: `MODULE:ATTRIBUTE`, of a graph or of a function that returns one.
        inputs: What the graph is called with, one call after the other on one thread.
            `{"__resume__": answer}` answers an interrupt.
        repeats: How often all of it is done, each time on a new thread; for the wall time.

    Raises:
        EngineError: the program cannot be imported, or LangGraph is not installed.
    """
    return Comparison(*(_in_process(each, name, inputs, repeats) for each in (LANGGRAPH, FACADE)))


def _in_process(engine: str, name: str, inputs: Sequence[Any], repeats: int) -> Run:
    paths = [str(Path.cwd()), *(path for path in sys.path if path)]
    asked = {"engine": engine, "name": name, "inputs": list(inputs), "repeats": repeats}
    code = (
        f"import sys; sys.path[:] = {paths!r}\n"
        "from plait_adapters.langgraph import compare; compare._serve()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise EngineError(engine, lines[-1])
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def _serve() -> None:
    """What the process of one engine does: the question on its input, the run on its output."""
    asked = json.load(sys.stdin)
    move(asked["engine"])
    answer = asyncio.run(_run(asked["name"], asked["inputs"], asked["repeats"]))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


async def _run(name: str, inputs: list[Any], repeats: int) -> dict[str, Any]:
    from langgraph.types import Command  # whichever engine's that is here

    graph = named(name)
    seconds = []
    record: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for repeat in range(repeats):
        config = {"configurable": {"thread_id": f"compare-{repeat}"}}
        record = [], [], []
        states, events, errors = record
        begun = time.perf_counter()
        for given in inputs:
            answers = isinstance(given, dict) and given.keys() == {"__resume__"}
            call = Command(resume=given["__resume__"]) if answers else given
            states.append(None)
            errors.append(None)
            try:
                async for mode, data in graph.astream(call, config, stream_mode=list(MODES)):
                    events.append((mode, data))
                    if mode == "values":
                        states[-1] = data
            except Exception as error:  # whatever the program's nodes raise
                errors[-1] = f"{type(error).__name__}: {error}"
        seconds.append(time.perf_counter() - begun)
    states, events, errors = record
    return {
        "states": plain(states),
        "events": plain(events),
        "errors": plain(errors),
        "seconds": seconds,
    }
