"""The state of a thread from outside a run: looking at it, its history, and writing to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid5

from plait_adapters.langgraph.channels.delta import DeltaChannel
from plait_adapters.langgraph.errors import InvalidUpdateError
from plait_adapters.langgraph.runtime import DEFAULT_RUNTIME
from plait_adapters.langgraph.types import StateSnapshot, StateUpdate

from . import _events
from ._checkpoints import (
    COUNTERS,
    copied,
    count_step,
    delta_names,
    due_snapshots,
    empty_checkpoint,
    is_superseded,
    make_checkpoint,
    new_versions,
    overwritten_deltas,
    really_seen,
    restore,
    stored_metadata,
)
from ._config import (
    ensure_config,
    merge_configs,
    patch_checkpoint_map,
    patch_configurable,
    without_ids,
)
from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_THREAD_ID,
    END,
    INPUT,
    INTERRUPT,
    NULL_TASK_ID,
    PUSH,
)
from ._ids import checkpoint_id, path_key
from ._inputs import input_writes
from ._machine import Machine, input_of
from ._messages import give_ids
from ._pending import statuses
from ._run import Run
from ._saves import Saves
from ._task import Task

if TYPE_CHECKING:
    from plait_adapters.langgraph.pregel.main import Pregel

Graph = "Pregel[Any, Any, Any, Any]"
Config = Mapping[str, Any]


# -- finding the graph and its saver --------------------------------------------------------------


def _saver(graph: Pregel[Any, Any, Any, Any], config: Config) -> Any:
    saver = graph._saver(ensure_config(config))
    if saver is None or isinstance(saver, bool):
        raise ValueError("No checkpointer set")
    return saver


def _subgraph(
    graph: Pregel[Any, Any, Any, Any], config: Config, saver: Any, *, must_be: bool = False
) -> tuple[Any, dict[str, Any]] | None:
    """The nested graph whose namespace a configuration names, and the configuration for it."""
    namespace = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    if not namespace or CONFIG_KEY_CHECKPOINTER in config[CONF]:
        return None
    path = without_ids(namespace)
    for _, found in graph.get_subgraphs(namespace=path, recurse=True):
        return found, patch_configurable(config, {CONFIG_KEY_CHECKPOINTER: saver})
    if must_be:
        raise ValueError(f"Subgraph {path} not found")
    return None


class _View:
    """A graph at a checkpoint, as if a run were about to go on from there."""

    def __init__(
        self, graph: Pregel[Any, Any, Any, Any], config: Config, saves: Saves, saved: Any
    ) -> None:
        self.graph = graph
        self.saves = saves
        self.saved = saved
        self.pending = [(str(tid), name, value) for tid, name, value in _pending_of(saved)]
        self.checkpoint = empty_checkpoint() if saved is None else copied(saved.checkpoint)
        self.metadata: Mapping[str, Any] = {} if saved is None else saved.metadata
        self.step: int = self.metadata.get("step", -1)
        run_config = merge_configs(
            {"metadata": {}, "tags": [], "recursion_limit": 25}, cast("Any", config)
        )
        run_config.setdefault("metadata", {})
        run_config.setdefault("tags", [])
        run = self.run = Run(
            graph,
            None,
            run_config,
            blocking=saves.blocking,
            outlet=None,
            eager=False,
            streams_subgraphs=False,
            output_keys=graph.stream_channels_asis,
            before=(),
            after=(),
            saver=None,
            durability="sync",
            cache=None,
            runtime=DEFAULT_RUNTIME.override(store=graph.store),
        )
        conf = config[CONF]
        run.namespace = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
        run.pending = self.pending
        run.step = self.step + 1
        run.stop = run.step + 2
        run._checkpoint_id = self.checkpoint["id"]
        graph._migrate_checkpoint(self.checkpoint)

    async def load(self, *, moves: bool) -> Machine:
        """Read the channels. With ``moves``, what is applied to them has versions of its own."""
        checkpoint, layout = self.checkpoint, self.graph.layout
        config = None if self.saved is None else self.saved.config
        channels = await restore(layout.specs, checkpoint, self.saves, config)
        machine = self.run.machine = Machine(
            layout,
            versions=checkpoint["channel_versions"],
            seen=checkpoint["versions_seen"],
            next_version=self.saves.saver.get_next_version if moves else None,
        )
        machine.restore(channels)
        return machine

    def tasks(self) -> list[Task]:
        """The tasks of the next step."""
        tasks = self.run.tasks = self.run._next_tasks()
        if self.pending:
            self.run.recognise(tasks)
        return tasks

    def outside(self) -> list[tuple[str, Any]]:
        """The pending writes that no task made."""
        return [(name, value) for tid, name, value in self.pending if tid == NULL_TASK_ID]


def _pending_of(saved: Any) -> Sequence[Any]:
    return () if saved is None else saved.pending_writes or ()


# -- looking --------------------------------------------------------------------------------------


async def _snapshot(
    graph: Pregel[Any, Any, Any, Any],
    config: Config,
    saves: Saves,
    saved: Any,
    *,
    recurse: bool = False,
    live: bool = False,
) -> StateSnapshot:
    if saved is None:
        return StateSnapshot({}, (), cast("Any", config), None, None, None, (), ())
    view = _View(graph, saved.config, saves, saved)
    machine = await view.load(moves=False)
    tasks = view.tasks()
    subgraphs = dict(graph.get_subgraphs())
    outer = saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    thread_id = saved.config[CONF]["thread_id"]
    states: dict[str, Any] = {}
    for task in tasks:
        if task.name not in subgraphs:
            continue
        inner = _events.subgraph_config(thread_id, outer, task)
        if not recurse:
            states[task.id] = inner
            continue
        inner[CONF][CONFIG_KEY_CHECKPOINTER] = saves.saver
        subgraph = subgraphs[task.name]
        if hasattr(subgraph, "is_plait_graph"):
            states[task.id] = await get_state(
                subgraph, inner, subgraphs=True, blocking=saves.blocking
            )
        elif saves.blocking:
            states[task.id] = subgraph.get_state(inner, subgraphs=True)
        else:
            states[task.id] = await subgraph.aget_state(inner, subgraphs=True)
    outside = view.outside()
    if outside:
        machine.apply([input_of(outside)])
    if live and view.pending:
        found = statuses(view.pending)
        for task in tasks:
            if task.id in found:
                task.writes.extend(found[task.id].output)
        done = [task for task in tasks if task.writes]
        if done:
            machine.apply(done)
            machine.forget()
    keys = graph.stream_channels_asis
    shown = _events.tasks_with_results(tasks, view.pending, states, keys, live=live)
    return StateSnapshot(
        values=machine.read(keys),
        next=tuple(task.name for task in tasks if not task.writes),
        config=patch_checkpoint_map(saved.config, saved.metadata),
        metadata=saved.metadata,
        created_at=saved.checkpoint["ts"],
        parent_config=patch_checkpoint_map(saved.parent_config, saved.metadata),
        tasks=shown,
        interrupts=tuple(each for task in shown for each in task.interrupts),
    )


async def get_state(
    graph: Pregel[Any, Any, Any, Any], config: Config, *, subgraphs: bool, blocking: bool
) -> StateSnapshot:
    """The state of a thread, at its latest checkpoint or at the one that is named."""
    saver = _saver(graph, config)
    if inner := _subgraph(graph, config, saver):
        return await _state_of(*inner, subgraphs=subgraphs, blocking=blocking)
    if graph.config:
        config = merge_configs(graph.config, config)
    config = graph._own_namespace(cast("Any", config))
    thread_id = config[CONF][CONFIG_KEY_THREAD_ID]
    if not isinstance(thread_id, str):
        config = patch_configurable(config, {CONFIG_KEY_THREAD_ID: str(thread_id)})
    saves = Saves(saver, blocking=blocking)
    saved = await saves.find(config)
    live = CONFIG_KEY_CHECKPOINT_ID not in config[CONF]
    return await _snapshot(graph, config, saves, saved, recurse=subgraphs, live=live)


async def _state_of(
    graph: Any, config: Config, *, subgraphs: bool, blocking: bool
) -> StateSnapshot:
    if hasattr(graph, "is_plait_graph"):
        return await get_state(graph, config, subgraphs=subgraphs, blocking=blocking)
    if blocking:
        return cast("StateSnapshot", graph.get_state(config, subgraphs=subgraphs))
    return cast("StateSnapshot", await graph.aget_state(config, subgraphs=subgraphs))


async def history(
    graph: Pregel[Any, Any, Any, Any],
    config: Config,
    *,
    filter: Mapping[str, Any] | None,
    before: Config | None,
    limit: int | None,
    blocking: bool,
) -> AsyncGenerator[StateSnapshot, None]:
    """The states of a thread, the newest first."""
    config = ensure_config(config)
    saver = _saver(graph, config)
    if inner := _subgraph(graph, config, saver):
        subgraph, inner_config = inner
        states = history(
            subgraph, inner_config, filter=filter, before=before, limit=limit, blocking=blocking
        )
        async for state in states:
            yield state
        return
    conf = {
        CONFIG_KEY_CHECKPOINT_NS: config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, ""),
        CONFIG_KEY_THREAD_ID: str(config[CONF][CONFIG_KEY_THREAD_ID]),
    }
    config = graph._own_namespace(patch_configurable(merge_configs(graph.config, config), conf))
    saves = Saves(saver, blocking=blocking)
    # All at once: a reader who takes its time must not hold up a cursor of the database.
    for saved in await saves.list(config, filter=filter, before=before, limit=limit):
        yield await _snapshot(graph, saved.config, saves, saved)


# -- writing --------------------------------------------------------------------------------------


async def update(
    graph: Pregel[Any, Any, Any, Any],
    config: Config,
    supersteps: Sequence[Sequence[StateUpdate]],
    *,
    blocking: bool,
) -> dict[str, Any]:
    """Write to a thread as steps of nodes would have. Returns what names the last checkpoint."""
    saver = _saver(graph, config)
    if not supersteps:
        raise ValueError("No supersteps provided")
    if any(not updates for updates in supersteps):
        raise ValueError("No updates provided")
    if inner := _subgraph(graph, config, saver, must_be=True):
        return await update(*inner, supersteps, blocking=blocking)
    current = patch_configurable(
        config, {CONFIG_KEY_THREAD_ID: str(config[CONF][CONFIG_KEY_THREAD_ID])}
    )
    saves = Saves(saver, blocking=blocking)
    for index, updates in enumerate(supersteps):
        current = await _update_step(graph, current, updates, saves, is_first=index == 0)
    return current


async def _update_step(
    graph: Pregel[Any, Any, Any, Any],
    given: Config,
    updates: Sequence[StateUpdate],
    saves: Saves,
    *,
    is_first: bool = False,
) -> dict[str, Any]:
    config = graph._own_namespace(ensure_config(graph.config, given))
    saved = await saves.find(config)
    step = _Update(graph, config, saves, saved, is_first=is_first)
    await step.load()
    values, node = updates[0][:2]
    only = len(updates) == 1
    if values is None and node == END:
        if not only:
            raise InvalidUpdateError("Cannot apply multiple updates when clearing state")
        return await step.clear()
    if node == INPUT:
        if not only:
            raise InvalidUpdateError("Cannot apply multiple updates when updating as input")
        return await step.take_input(values)
    if node == "__copy__":
        if not only:
            raise InvalidUpdateError("Cannot copy checkpoint with multiple updates")
        if saved is None:
            raise InvalidUpdateError("Cannot copy a non-existent checkpoint")
        return await step.copy(values)
    return await step.act(updates)


class _Update:
    """One step that is made from outside."""

    def __init__(
        self,
        graph: Pregel[Any, Any, Any, Any],
        config: dict[str, Any],
        saves: Saves,
        saved: Any,
        *,
        is_first: bool,
    ) -> None:
        self.graph = graph
        self.config = config
        self.saves = saves
        self.saved = saved
        self.is_first = is_first
        self.view = _View(graph, config if saved is None else saved.config, saves, saved)
        self.step = self.view.step
        self.machine: Machine
        specs = graph.layout.specs
        self.snapshots = delta_names(specs, self.view.pending) if is_first else set()
        self.before = dict(self.view.checkpoint["channel_versions"])
        namespace = {CONFIG_KEY_CHECKPOINT_NS: config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")}
        own = namespace if saved is None else saved.config[CONF]
        self.checkpoint_config = patch_configurable(config, own)

    async def load(self) -> None:
        """Read the channels."""
        self.machine = await self.view.load(moves=True)

    async def _store(
        self, changed: set[str], *, source: str, step: int, clock: int
    ) -> dict[str, Any]:
        """Store a checkpoint of what the step has made of the channels."""
        graph, machine, saved = self.graph, self.machine, self.saved
        specs = graph.layout.specs
        assert machine.versions is not None
        parents = {} if saved is None else saved.metadata.get("parents", {})
        metadata: dict[str, Any] = {"source": source, "step": step, "parents": parents}
        deltas = [name for name, spec in specs.items() if isinstance(spec, DeltaChannel)]
        if saved is None:
            due = {
                name
                for name in deltas
                if name in machine.versions and machine.channels[name].is_available()
            }
        else:
            before = saved.metadata.get(COUNTERS) or {}
            counters = count_step(deltas, before, changed)
            due = due_snapshots(specs, machine.channels, counters, machine.versions)
            due |= self.snapshots
            counters.update(dict.fromkeys(due, (0, 0)))
            counters = {name: count for name, count in counters.items() if count != (0, 0)}
            if counters:
                metadata[COUNTERS] = counters
        checkpoint = make_checkpoint(
            specs,
            machine.channels,
            machine.versions,
            machine.seen,
            id=checkpoint_id(clock),
            changed=None,
            snapshots=due,
            stored=self.before,
            next_version=machine.next_version,
            triggers=graph.layout.triggers,
        )
        versions = new_versions(self.before, checkpoint["channel_versions"])
        return await self.saves.put_now(  # type: ignore[no-any-return]
            self.checkpoint_config, checkpoint, stored_metadata(metadata), versions
        )

    def _named(self, config: Any) -> dict[str, Any]:
        metadata = None if self.saved is None else self.saved.metadata
        return patch_checkpoint_map(config, metadata)  # type: ignore[no-any-return]

    async def _keep_writes(self, writes: Sequence[tuple[str, Sequence[Any], Any]]) -> None:
        """Store the writes with the checkpoint that they are made on, or have values stored
        instead."""
        specs = self.graph.layout.specs
        for _, each, _ in writes:
            give_ids(specs, each)
        if self.saved is None:
            return
        if self.is_first and await is_superseded(self.saves, self.config, self.saved):
            self.snapshots.update(
                name
                for _, each, _ in writes
                for name, _ in each
                if isinstance(specs.get(name), DeltaChannel)
            )
            return
        for tid, each, path in writes:
            kept = [write for write in each if write[0] != PUSH]
            if kept:
                key = "" if path is None else path_key(path)
                await self.saves.put_writes_now(self.checkpoint_config, kept, tid, key)

    async def clear(self) -> dict[str, Any]:
        """Have nothing left to run."""
        view, machine = self.view, self.machine
        changed: set[str] = set()
        if self.saved is not None:
            tasks = view.tasks()
            outside = view.outside()
            if outside:
                changed |= machine.apply([input_of(outside)])
            found = statuses(view.pending)
            for task in tasks:
                if task.id in found:
                    task.writes.extend(found[task.id].output)
            changed |= machine.apply(tasks)
        stored = await self._store(changed, source="update", step=self.step + 1, clock=self.step)
        return self._named(stored)

    async def take_input(self, values: Any) -> dict[str, Any]:
        """Write as the input of a run would."""
        graph, specs = self.graph, self.graph.layout.specs
        writes = input_writes(graph.input_channels, values)
        if not writes:
            raise InvalidUpdateError(f"Received no input writes for {graph.input_channels}")
        tid = str(uuid5(UUID(self.view.checkpoint["id"]), INPUT))
        deltas = [write for write in writes if isinstance(specs.get(write[0]), DeltaChannel)]
        await self._keep_writes([(tid, deltas or writes, None)])
        changed = self.machine.apply([input_of(writes)])
        self.snapshots |= overwritten_deltas(specs, writes)
        known = self.saved is not None and self.saved.metadata.get("step") is not None
        step = self.step + 1 if known else -1
        stored = await self._store(changed, source="input", step=step, clock=step)
        return self._named(stored)

    async def copy(self, values: Any) -> dict[str, Any]:
        """Make a twin of the checkpoint, and maybe a step after it."""
        saved = self.saved
        checkpoint = {**copied(saved.checkpoint), "id": checkpoint_id(self.step)}
        metadata = {
            "source": "fork",
            "step": self.step + 1,
            "parents": saved.metadata.get("parents", {}),
        }
        if COUNTERS in saved.metadata:
            metadata[COUNTERS] = saved.metadata[COUNTERS]
        parent = saved.parent_config or patch_configurable(
            saved.config, {CONFIG_KEY_CHECKPOINT_ID: None}
        )
        stored = await self.saves.put_now(parent, checkpoint, metadata, {})
        named = self._named(stored)
        if not isinstance(values, list) or not values:
            return named
        run = self.view.run
        run._checkpoint_id = checkpoint["id"]
        run.step = self.step + 2
        ids: dict[str, list[str]] = defaultdict(list)
        for task in self.view.tasks():
            ids[task.name].append(task.id)
        groups: dict[Any, list[StateUpdate]] = defaultdict(list)
        for item in values:
            if not isinstance(item, Sequence):
                raise InvalidUpdateError(f"Invalid update item: {item} when copying checkpoint")
            given, node = item[:2]
            known, place = ids[node], len(groups[node])
            tid = known[place] if place < len(known) else None
            groups[node].append(StateUpdate(given, node, tid))
        updates = [each for group in groups.values() for each in group]
        return await _update_step(self.graph, named, updates, self.saves)

    def _last_node(self) -> str | None:
        """The node that wrote last; ``None`` where that is not clear."""
        nodes = self.graph.nodes
        if len(nodes) == 1:
            return next(iter(nodes))
        seen = really_seen(self.machine.seen)
        if not any(version for versions in seen.values() for version in versions.values()):
            first = self.graph.input_channels
            return first if isinstance(first, str) and first in nodes else None
        last = sorted(
            (version, name)
            for name, versions in seen.items()
            if name in nodes
            for version in versions.values()
        )
        if len(last) == 1 or (last and last[-1][0] != last[-2][0]):
            return last[-1][1]
        return None

    async def act(self, updates: Sequence[StateUpdate]) -> dict[str, Any]:
        """Write as nodes would."""
        graph, machine, view = self.graph, self.machine, self.view
        ids: dict[str, list[str]] = defaultdict(list)
        if self.saved is not None and self.saved.pending_writes is not None:
            for task in view.tasks():
                ids[task.name].append(task.id)
        acting: list[tuple[str, Any, str | None]] = []
        for values, node, tid in updates:
            name = node
            if name is None and len(updates) == 1:
                name = self._last_node()
                if name is None:
                    raise InvalidUpdateError("Ambiguous update, specify as_node")
            if name is None:
                raise InvalidUpdateError("as_node is required when applying multiple updates")
            if name not in graph.nodes:
                raise InvalidUpdateError(f"Node {name} does not exist")
            acting.append((name, values, tid))
        tasks: list[Task] = []
        run = view.run
        run.step = self.step
        for index, (name, values, tid) in enumerate(acting):
            acts_as = graph.nodes[name]
            if not acts_as.flat_writers:
                raise InvalidUpdateError(f"Node {name} has no writers")
            task = Task(run, acts_as, name, values, (INTERRUPT, index), (INTERRUPT,), ())
            place = INTERRUPT if index == 0 else f"{INTERRUPT}:{index}"
            prepared = ids[name].pop(0) if ids[name] else None
            task._id = tid or prepared or str(uuid5(UUID(view.checkpoint["id"]), place))
            for writer in acts_as.flat_writers:
                if writer.waits:
                    await writer.route(values, task)
                else:
                    writer.write(values, task)
            tasks.append(task)
        writes = [write for task in tasks for write in task.writes]
        changed = {name for name, _ in writes if name != PUSH}
        self.snapshots |= overwritten_deltas(graph.layout.specs, writes)
        await self._keep_writes([(task.id, task.writes, task.path) for task in tasks])
        machine.apply(tasks)
        stored = await self._store(
            changed, source="update", step=self.step + 1, clock=self.step + 1
        )
        return self._named(stored)
