"""Carries out the calls of a program as streams of events, and records what is to be compared."""

from __future__ import annotations

import warnings
from typing import Any

from plait.testing import VirtualClock
from tests.adapters.langgraph.differential.build import Library, World
from tests.adapters.langgraph.differential.programs import Program
from tests.adapters.langgraph.differential.session import (
    OPEN,
    Recorder,
    compiled,
    config_of,
    given_to,
)

MORE = (
    "CheckpointsTransformer",
    "CustomTransformer",
    "DebugTransformer",
    "TasksTransformer",
    "UpdatesTransformer",
)
"""Transformers beside those that every run has."""


def carry_out_events(root: str, program: Program) -> list[Any]:
    """The record of a program's calls, each as a stream of events, with the library of that
    root."""
    library, world, recorder = Library(root), World(), Recorder()
    record: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = compiled(library, world, program)
        except Exception as error:
            return [["building", *recorder.error(error)]]
        config = config_of(program)
        for act in program.acts:
            if act.kind not in ("run", "go_on", "answer", "answer_all", "command"):
                continue
            world.begin()
            call, known = _Call(library, graph, config), len(record)
            try:
                snapshot = graph.get_state(config) if act.kind == "answer_all" else None
                given = given_to(library, act, snapshot)
                if program.sync:
                    call.read(given)
                else:
                    VirtualClock().run(call.aread(given))
            except Exception as error:
                record.append(recorder.error(error))
                if program.sync and not world.is_open:
                    return record  # how far the threads beside it were is a matter of time
            if world.is_open:
                return [*record[:known], OPEN]
            record.append(call.record(recorder))
    return record


class _Call:
    """One call, and what its readers have read so far."""

    def __init__(self, library: Any, graph: Any, config: dict[str, Any]) -> None:
        self.graph = graph
        self.config = config
        transformers = [getattr(library.stream, name) for name in MORE]
        self.options: dict[str, Any] = {"version": "v3", "transformers": transformers}
        self.events: list[Any] = []
        self.values: list[list[Any]] = []
        self.nested: list[list[Any]] = []
        self.end: tuple[Any, bool, list[Any]] = (None, False, [])

    def read(self, given: Any) -> None:
        """Read it from plain code."""
        run = self.graph.stream_events(given, self.config, **self.options)
        states, nested = run.values.tee(2), iter(run.subgraphs)
        self.events.extend(run)
        self.values += [list(each) for each in states]
        for handle in nested:
            self._note(handle, handle.output if handle.status != "failed" else None)
        self.end = run.output, run.interrupted, run.interrupts

    async def aread(self, given: Any) -> None:
        """Read it on an event loop."""
        run = await self.graph.astream_events(given, self.config, **self.options)
        states, nested = run.values.atee(2), aiter(run.subgraphs)
        async for each in run:
            self.events.append(each)
        self.values += [[each async for each in branch] for branch in states]
        async for handle in nested:
            self._note(handle, await handle.output() if handle.status != "failed" else None)
        self.end = await run.output(), await run.interrupted(), await run.interrupts()

    def _note(self, handle: Any, output: Any) -> None:
        self.nested.append([handle.path, handle.graph_name, handle.status, handle.error, output])

    def record(self, recorder: Recorder) -> dict[str, Any]:
        """What was read, without ids and without an order that is a matter of time."""
        chunks = []
        for each in self.events:
            told = each["params"]
            data = told["data"]
            if told.get("interrupts"):
                data = {"state": data, "__interrupt__": told["interrupts"]}
            chunks.append((told["namespace"], each["method"], data))
        numbers = [each["seq"] for each in self.events]
        output, interrupted, interrupts = self.end
        return {
            "events": recorder.stream(chunks, ("events", "by method"), subgraphs=True),
            "numbered": numbers == list(range(1, len(numbers) + 1)),
            "values": recorder.plain(self.values),
            "nested": sorted((recorder.plain(each) for each in self.nested), key=repr),
            "output": recorder.plain(output),
            "interrupted": interrupted,
            "interrupts": sorted((recorder.plain(each.value) for each in interrupts), key=repr),
        }
