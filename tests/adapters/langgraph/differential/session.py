"""Carries out the session of a program with one library, and records what is to be compared.

A record is plain data. Ids and times differ from run to run and are left out; which checkpoint a
checkpoint follows is its parent's place in the history. What nodes of one superstep send to a
stream arrives in the order in which they finish, which is no part of the semantics: it is sorted
within the step.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import pydantic

from plait.testing import VirtualClock
from tests.adapters.langgraph.differential.build import LANGGRAPH, Library, World, build, schema_of
from tests.adapters.langgraph.differential.functions import build_entrypoint
from tests.adapters.langgraph.differential.programs import END, Act, Program, Script

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
OPEN = "from here on, anybody's guess"
_TIMES = {"ts", "timestamp", "created_at", "node_first_attempt_time"}


class Recorder:
    """Makes values comparable."""

    def plain(self, value: Any) -> Any:
        """The value as plain data, without its ids."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return _ID.sub("id", str(value))
        if isinstance(value, Mapping):
            found = {
                self.plain(str(key)): self.plain(each)
                for key, each in value.items()
                if key not in _TIMES
            }
            if "__interrupt__" in found:  # in the order in which nodes asked
                found["__interrupt__"].sort(key=repr)
            return found
        if isinstance(value, (set, frozenset)):
            return sorted(self.plain(each) for each in value)
        if isinstance(value, BaseException):
            return type(value).__name__
        if isinstance(value, pydantic.BaseModel):
            return {"class": type(value).__name__, **self.plain(value.model_dump())}
        kind: Any = value
        if hasattr(kind, "_asdict"):
            return {"class": type(kind).__name__, **self.plain(kind._asdict())}
        if type(value).__name__ == "Interrupt":
            return {
                "class": "Interrupt",
                "value": self.plain(value.value),
                "id": self.plain(value.id),
            }
        if hasattr(value, "__dataclass_fields__"):
            facts = {name: getattr(value, name) for name in value.__dataclass_fields__}
            return {"class": type(value).__name__, **self.plain(facts)}
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in value]
        return self.plain(repr(value))

    def error(self, error: BaseException) -> Any:
        """An error by its type, and by the code in its message if it has one."""
        code = re.search(r"troubleshooting/errors/(\w+)", str(error))
        return ["raised", type(error).__name__, *([code[1]] if code else [])]

    def stream(self, chunks: list[Any], modes: tuple[str, ...], *, subgraphs: bool) -> Any:
        """What was streamed, by namespace."""
        by_place: defaultdict[str, list[Any]] = defaultdict(list)
        for chunk in chunks:
            namespace: Any = ()
            rest = chunk
            if subgraphs:
                namespace, *others = chunk
                rest = tuple(others) if len(others) > 1 else others[0]
            mode, data = rest if len(modes) > 1 else (*modes, rest)
            by_place["|".join(namespace)].append([mode, data])
        # Calls of one graph side by side are told apart by ids, which are left out afterwards.
        told = [[self.plain(place), self._settled(found)] for place, found in by_place.items()]
        return sorted(told, key=repr)

    def _settled(self, found: list[list[Any]]) -> list[Any]:
        """Sorted between what ends a superstep: values and checkpoints."""
        settled: list[Any] = []
        step: list[Any] = []
        for mode, data in found:
            entry = [mode, self.plain(data)]
            facts = data if isinstance(data, Mapping) else {}
            ends = mode in {"values", "checkpoints"} or facts.get("type") == "checkpoint"
            if ends and "__interrupt__" not in facts:  # that of one node, within a step
                settled += [*sorted(step, key=repr), entry]
                step = []
            else:
                step.append(entry)
        return [*settled, *sorted(step, key=repr)]

    def history(self, snapshots: list[Any]) -> Any:
        """Snapshots, and which of them each follows."""
        ids = [each.config["configurable"]["checkpoint_id"] for each in snapshots]
        parents = [
            ids.index(each.parent_config["configurable"]["checkpoint_id"])
            if each.parent_config
            else None
            for each in snapshots
        ]
        return [[*each] for each in zip(map(self.snapshot, snapshots), parents, strict=True)]

    def snapshot(self, snapshot: Any) -> Any:
        """A snapshot of the state: values, what is next, how it came to be, tasks."""
        metadata = snapshot.metadata or {}
        return {
            "values": self.plain(snapshot.values),
            "next": list(snapshot.next),
            "step": metadata.get("step"),
            "source": metadata.get("source"),
            "first": snapshot.parent_config is None,
            "tasks": [
                {
                    "name": task.name,
                    "error": _error_of(task),
                    "interrupts": [self.plain(each.value) for each in task.interrupts],
                    "result": self.plain(task.result),
                    "inner": self.snapshot(task.state)
                    if hasattr(task.state, "values") and hasattr(task.state, "next")
                    else None,
                    "path": self.plain(task.path),
                }
                for task in snapshot.tasks
            ],
            "interrupts": [self.plain(each.value) for each in snapshot.interrupts],
        }


def _is_error(entry: Any) -> bool:
    return isinstance(entry, list) and bool(entry) and entry[0] == "raised"


def _error_of(task: Any) -> str | None:
    """The class of what a task of a snapshot ended with."""
    return re.sub(r"\(.*", "", str(task.error)) if task.error is not None else None


class _Suspending:
    """A graph by its asynchronous methods."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.invoke, self.stream = graph.ainvoke, graph.astream
        self.state, self.update = graph.aget_state, graph.aupdate_state
        self.update_in_bulk = graph.abulk_update_state

    async def history(self, config: Any) -> list[Any]:
        return [each async for each in self._graph.aget_state_history(config)]


class _Plain:
    """A graph by its plain methods; what awaits them never suspends."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    async def invoke(self, *given: Any, **keywords: Any) -> Any:
        return self._graph.invoke(*given, **keywords)

    async def stream(self, *given: Any, **keywords: Any) -> AsyncIterator[Any]:
        for chunk in self._graph.stream(*given, **keywords):
            yield chunk

    async def state(self, *given: Any, **keywords: Any) -> Any:
        return self._graph.get_state(*given, **keywords)

    async def update(self, *given: Any, **keywords: Any) -> Any:
        return self._graph.update_state(*given, **keywords)

    async def update_in_bulk(self, *given: Any, **keywords: Any) -> Any:
        return self._graph.bulk_update_state(*given, **keywords)

    async def history(self, config: Any) -> list[Any]:
        return list(self._graph.get_state_history(config))


def carry_out(root: str, program: Program) -> list[Any]:
    """The record of a program with the library of that root."""
    library, world, recorder = Library(root), World(), Recorder()
    record: list[Any] = []
    with warnings.catch_warnings(), _stored_as_it_is(library):
        warnings.simplefilter("ignore")
        try:
            graph = compiled(library, world, program)
        except Exception as error:
            return [["building", *recorder.error(error)]]
        if program.sync:
            session = _session(library, world, _Plain(graph), program, recorder, record)
            with suppress(StopIteration):
                session.send(None)
                raise AssertionError("a plain method has suspended")
        else:
            session = _session(library, world, _Suspending(graph), program, recorder, record)
            VirtualClock().run(session)
    if OPEN in record:
        return record
    # As below; and who of those that a limit holds back still begins, once one has failed, is open.
    is_open = program.sync or program.at_once is not None
    if not (is_open and record and _is_error(record[-1])):
        calls = sorted(world.calls.items(), key=str)
        record.append({f"{name} {payload}": count for (name, payload), count in calls})
    return record


def _copied(method: Any) -> Any:
    return lambda channel: deepcopy(method(channel))


@contextmanager
def _stored_as_it_is(library: Library) -> Iterator[None]:
    """Have LangGraph store who has arrived by then, and not who does while it is being stored.

    It hands the set that it goes on changing to the thread that stores it.
    """
    barriers = library.channels__named_barrier_value
    with ExitStack() as patches:
        for name in ("NamedBarrierValue", "NamedBarrierValueAfterFinish"):
            barrier = getattr(barriers, name)
            if library.root == LANGGRAPH:
                copied = _copied(barrier.checkpoint)
                patches.enter_context(patch.object(barrier, "checkpoint", copied))
        yield


def compiled(library: Any, world: World, program: Program) -> Any:
    """The graph of a program."""
    shape, compiling = program.shape, dict[str, Any]()
    if program.kept:
        compiling["checkpointer"] = library.checkpoint__memory.InMemorySaver()
    nodes = [job.node for job in shape.jobs] if isinstance(shape, Script) else shape.nodes
    if any(node.cached for node in nodes):
        compiling["cache"] = library.cache__memory.InMemoryCache()
    if isinstance(shape, Script):
        return build_entrypoint(library, world, shape, sync=program.sync, **compiling)
    schema = schema_of(
        library,
        program.schema,
        counted=program.counted,
        untracked=program.durability != "exit",  # it is stored there, where a run fails
    )
    return build(library, world, shape, schema, sync=program.sync, **compiling)


def config_of(program: Program) -> dict[str, Any]:
    """What its calls are configured with."""
    config: dict[str, Any] = {"configurable": {"thread_id": "1"}, "recursion_limit": program.limit}
    if program.at_once is not None:
        config["max_concurrency"] = program.at_once
    return config


def given_to(library: Any, act: Act, snapshot: Any) -> Any:
    """The input of a call."""
    command = library.types.Command
    match act.kind:
        case "run":
            return {"log": [f"in{act.number}"], "ticks": act.number, "last": act.number}
        case "answer":
            return command(resume=act.number)
        case "answer_all":
            # Out of an inner graph, LangGraph tells them in the order of a set.
            asked = sorted({repr(each.value) for each in snapshot.interrupts})
            return command(
                resume={
                    each.id: f"{act.number}.{asked.index(repr(each.value))}"
                    for each in snapshot.interrupts
                }
            )
        case "command":
            return command(update={"log": ["outside"]}, goto=[act.node] if act.node else ())
        case _:
            return None


async def _session(
    library: Any, world: World, graph: Any, program: Program, recorder: Recorder, record: list[Any]
) -> None:
    config = config_of(program)
    for act in program.acts:
        world.begin()
        known = len(record)
        try:
            await _act(library, graph, program, act, config, recorder, record)
        except Exception as error:
            record.append(recorder.error(error))
            if program.sync:  # how far the threads beside it were is a matter of time
                return
        finally:
            if world.is_open:
                record[known:] = [OPEN]
        if world.is_open:
            return
        if not program.kept:
            continue
        try:
            state = await graph.state(config, subgraphs=True)
            record.append(recorder.snapshot(state))
        except Exception as error:
            record.append(["no state", *recorder.error(error)])
    if program.kept:
        try:
            record.append(recorder.history(await graph.history(config)))
        except Exception as error:
            record.append(["no history", *recorder.error(error)])


async def _act(
    library: Any,
    graph: Any,
    program: Program,
    act: Act,
    config: dict[str, Any],
    recorder: Recorder,
    record: list[Any],
) -> None:
    snapshot = await graph.state(config) if act.kind == "answer_all" else None
    if act.kind in ("replay", "fork"):
        past = await graph.history(config)
        config = {**config, **past[act.number % len(past)].config}
    values: Any = {"log": [f"update{act.number}"], "last": act.number}
    if act.node in (END, "__copy__") and act.number % 2:
        values = None
    if act.kind == "bulk":
        update = library.types.StateUpdate
        steps = [[update(values, as_node=name) for name in names] for names in act.nodes]
        await graph.update_in_bulk(config, steps)
        record.append("updated")
        return
    if act.kind == "inner":
        await _update_within(library, graph, act, config, record)
        return
    if act.kind in ("update", "fork"):
        made = await graph.update(config, values, as_node=act.node)
        record.append("updated")
        if act.kind == "update":
            return
        config = {**config, **made}
    given = given_to(library, act, snapshot)
    keywords: dict[str, Any] = {"durability": program.durability} if program.durability else {}
    if act.stops:
        keywords[f"interrupt_{act.stops}"] = "*"
    if act.keys:
        keywords["output_keys"] = list(act.keys)
    if not act.modes:
        record.append(recorder.plain(await graph.invoke(given, config, **keywords)))
        return
    chunks: list[Any] = []
    several = list(act.modes)
    modes: Any = several if len(several) > 1 else several[0]
    keywords |= {"stream_mode": modes, "subgraphs": act.subgraphs}
    raised = True
    try:
        async for chunk in graph.stream(given, config, **keywords):
            chunks.append(chunk)  # noqa: PERF401 - what came before an error is kept
        raised = False
    finally:
        if not (raised and program.sync):  # as above
            record.append(recorder.stream(chunks, act.modes, subgraphs=act.subgraphs))


async def _update_within(
    library: Any, graph: Any, act: Act, config: dict[str, Any], record: list[Any]
) -> None:
    """Update the state of a nested graph that waits, if there is one."""
    state = await graph.state(config, subgraphs=True)
    nested = [task.state for task in state.tasks if hasattr(task.state, "config")]
    for each in nested[:1]:
        await graph.update(each.config, {"log": [f"within{act.number}"]})
        record.append("updated within")
