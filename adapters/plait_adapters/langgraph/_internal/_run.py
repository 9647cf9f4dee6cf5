"""One run of one graph: from its checkpoint, step by step, to its end.

A step is: the machine says what runs, the crew runs it, the machine takes the writes, a checkpoint
is made. Where nobody wants checkpoints, none are made, and neither are names, configurations and
events that nobody asks for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid5

from plait_adapters.langgraph.channels.delta import DeltaChannel
from plait_adapters.langgraph.checkpoint._steps import Step
from plait_adapters.langgraph.errors import (
    EmptyInputError,
    ErrorCode,
    GraphBubbleUp,
    GraphDrained,
    GraphInterrupt,
    GraphRecursionError,
    UnknownInterruptError,
    create_error_message,
)
from plait_adapters.langgraph.types import Command, Send

from . import _events
from ._callables import Callee
from ._checkpoints import (
    COUNTERS,
    Counters,
    copied,
    count_step,
    delta_names,
    due_snapshots,
    empty_checkpoint,
    is_superseded,
    make_checkpoint,
    moved_values,
    new_versions,
    overwritten_deltas,
    restore,
    stored_metadata,
    without_untracked,
)
from ._config import patch_configurable
from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_NODE_FINISHED,
    CONFIG_KEY_STRICT_RESUME,
    CONFIG_KEY_TASK,
    CONFIG_KEY_THREAD_ID,
    CONTROL_WRITES,
    ERROR,
    ERROR_SOURCE_NODE,
    FIXED_WRITES,
    INPUT,
    INTERRUPT,
    MISSING,
    NO_WRITES,
    NS_END,
    NS_SEP,
    NULL_TASK_ID,
    PREVIOUS,
    PULL,
    PUSH,
    RESUME,
    TASKS,
)
from ._crew import Crew
from ._deltas import DeltaWrites
from ._ids import Ids, checkpoint_id, is_interrupt_id, known_ids
from ._inputs import command_writes, input_writes
from ._machine import Machine, input_of
from ._messages import give_ids
from ._outlet import Outlet
from ._pending import PendingWrite, open_interrupt_ids, statuses
from ._saves import Line, Saves
from ._task import Task

if TYPE_CHECKING:
    from plait_adapters.langgraph.pregel.main import Pregel
    from plait_adapters.langgraph.runtime import RunControl, Runtime

Status = Literal[
    "input",
    "pending",
    "done",
    "draining",
    "interrupt_before",
    "interrupt_after",
    "out_of_steps",
]


class Replay:
    """A run that begins at an old checkpoint: which checkpoints nested graphs begin at.

    Each begins at the last one that it had made by then, the first time that it is called.
    """

    def __init__(self, checkpoint_id: str) -> None:
        self.checkpoint_id: str = checkpoint_id
        self._visited: set[str] = set()

    async def find(self, namespace: str, saves: Saves, config: Any) -> Any:
        """The checkpoint at which the graph of a namespace begins."""
        name = namespace.rpartition(NS_END)[0] if NS_END in namespace else namespace
        if name in self._visited:
            return await saves.find(config)
        self._visited.add(name)
        before = {CONF: {CONFIG_KEY_CHECKPOINT_ID: self.checkpoint_id}}
        found = await saves.list(config, before=before, limit=1)
        return found[0] if found else None


class Run:
    """One run of one graph.

    Args:
        graph: what runs.
        input: what it was given; ``None`` to go on.
        config: of the call, merged.
        blocking: a synchronous caller carries it forward.
        outlet: where the reader of its stream listens.
        eager: the reader wants to hear while a step is under way.
        inner_outlet: where nested graphs are to tell as well.
        output_keys: the channels whose values are the output.
        before: the nodes before which it stops.
        after: the nodes after which it stops.
        saver: where its checkpoints go.
        durability: when they are durable.
        cache: for nodes with a cache policy.
        runtime: what nodes are given.
        manager: langchain-core's, if callbacks are to hear of the run.
    """

    def __init__(
        self,
        graph: Pregel[Any, Any, Any, Any],
        input: Any,
        config: dict[str, Any],
        *,
        blocking: bool,
        outlet: Outlet | None,
        eager: bool,
        streams_subgraphs: bool,
        output_keys: str | Sequence[str],
        before: Any,
        after: Any,
        saver: Any,
        durability: str,
        cache: Any,
        runtime: Runtime[Any],
        manager: Any = None,
    ) -> None:
        self.graph: Pregel[Any, Any, Any, Any] = graph
        self.input: Any = input
        self.blocking: bool = blocking
        self.reader: Outlet | None = outlet
        self.eager: bool = eager
        self.output_keys: str | Sequence[str] = output_keys
        self.output_key_set: frozenset[str] = frozenset(
            (output_keys,) if isinstance(output_keys, str) else output_keys
        )
        self.before: Any = before
        self.after: Any = after
        self.durability: str = durability
        self.cache: Any = cache
        self.runtime: Runtime[Any] = runtime
        self.control: RunControl | None = runtime.control
        self.manager: Any = manager
        self.status: Status = "input"
        self.step: int = 0
        self.stop: int = 0
        self.tasks: list[Task] = []
        self.lock: threading.RLock = threading.RLock()

        conf = config[CONF]
        caller = conf.get(CONFIG_KEY_TASK)
        self.caller: Task | None = caller if isinstance(caller, Task) else None
        """The task in which this graph was called, if it is nested."""
        outer = None if self.caller is None else self.caller.run
        if self.caller is not None:
            number = self.caller.next_subgraph()
            if number:
                namespace = f"{conf.get(CONFIG_KEY_CHECKPOINT_NS, '')}{NS_SEP}{number}"
                config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: namespace})
        elif conf.get(CONFIG_KEY_CHECKPOINT_NS):
            config = patch_configurable(
                config, {CONFIG_KEY_CHECKPOINT_NS: "", CONFIG_KEY_CHECKPOINT_ID: None}
            )
        self.config: dict[str, Any] = config
        conf = config[CONF]
        self.namespace: str = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
        self.path: tuple[str, ...] = tuple(self.namespace.split(NS_SEP)) if self.namespace else ()
        """The namespace as streams show it."""
        self.tags: Sequence[str] = config["tags"]
        self.inner_outlet: Any = outlet if streams_subgraphs else None
        outer_outlet = None if outer is None else outer.inner_outlet
        self.outlet: Any = outlet
        if outer_outlet is not None and outer_outlet is not outlet:
            from ._outlet import Fork

            self.outlet = outer_outlet if outlet is None else Fork(outlet, outer_outlet)
            self.inner_outlet = self.outlet if streams_subgraphs else outer_outlet
        self.modes: frozenset[str] = frozenset() if self.outlet is None else self.outlet.modes

        self.saves: Saves | None = None if saver is None else Saves(saver, blocking=blocking)
        self.inherited_saver: Any = (
            saver if saver is not None else conf.get(CONFIG_KEY_CHECKPOINTER)
        )
        layout = self.layout = graph.layout
        self.machine: Machine = Machine(layout)
        self.pending: list[PendingWrite] = []
        self.answers_by_id: dict[str, Any] = {} if outer is None else outer.answers_by_id
        self.resuming: bool | None = None
        """Whether nested graphs go on where they were; ``None`` where nobody has said so."""
        self.replay: Replay | None = None
        if self.caller is not None:
            self.resuming = True if self.caller.attempt > 1 else outer.resuming  # type: ignore[union-attr]
            self.replay = outer.replay  # type: ignore[union-attr]
        self.previous: Any = None
        self._pending_ids: set[str] = set()
        """Tasks that may have pending writes."""
        self._values: dict[str, Any] | None = None
        """Those of the last checkpoint of a run without ``DeltaChannel``s."""
        self._writes_place: tuple[Any, str, Any] = (None, "", None)
        """The configuration that names a checkpoint to put writes with; and what it was made of."""
        self._line: Line | None = None
        """What takes what a step has moved, where the saver needs no whole checkpoint."""
        self._place: tuple[dict[str, Any], str | None] = (config, None)
        """The checkpoint that was stored last: a configuration, and what to put into it."""
        self.metadata: dict[str, Any] = {"step": -2}
        self._checkpoint_id: str | None = None
        self._ids: Ids | None = None
        self._node_finished: Callable[[str], Any] | None = conf.get(CONFIG_KEY_NODE_FINISHED)

        # What invoke() returns, where nobody reads a stream.
        self.interrupts: list[Any] = []
        self.told: bool = False
        """Whether the output has been told at least once."""
        self.latest: Any = MISSING
        """The output as it was told last, where it may have changed since without being told."""
        self._snapshots: bool = any(name in layout.restless for name in self.output_key_set)
        self.lifecycle: list[tuple[str, tuple[Any, ...], Status]] = []
        self._crew: Crew | None = None
        self._entered = False

    # -- the loop -----------------------------------------------------------------------------

    async def steps(self) -> AsyncGenerator[None, None]:
        """Take all steps. Yields when the reader of the stream should look.

        Raises:
            GraphRecursionError: it has taken as many steps as it may.
            GraphDrained: somebody asked it to stop.
        """
        reader = self.reader
        looked = True
        """Whether the reader gets to see what has been told. What the only task of a step wrote is
        not told, if it turns out that it cannot be applied."""
        try:
            await self._load()
            await self._tell_lifecycle()
            while self._prepare():
                if self.cache is not None:
                    await self._match_cache(self.tasks)
                if reader is not None:
                    yield
                waiting = [task for task in self.tasks if not task.writes]
                looked = True
                if waiting:
                    crew = self._crew = Crew(self, waiting)
                    if reader is not None and (self.eager or len(waiting) > 1):
                        async with aclosing(crew.watched(reader)) as looks:
                            async for _ in looks:
                                yield
                    else:
                        await crew.work()
                        looked = False
                self._finish_step()
                looked = True
                if self.lifecycle:
                    await self._tell_lifecycle()
                if self.saves is not None:
                    if self.durability == "sync":
                        await self.saves.settle()
                    elif self.saves.is_busy:
                        await self.saves.let_go_on()
        except GraphInterrupt as signal:
            try:
                interrupted = await self._leave(signal)
            except Exception:
                if reader is not None:
                    yield
                raise
            if not interrupted:
                raise
            await self._tell_lifecycle()
        except Exception as error:
            await self._leave(error)
            if reader is not None and looked:
                yield
            raise
        except BaseException as error:
            await self._leave(error)
            raise
        else:
            await self._leave(None)
        if reader is not None:
            yield
        if self.status == "out_of_steps":
            raise GraphRecursionError(
                create_error_message(
                    message=(
                        f"Recursion limit of {self.config['recursion_limit']} reached without "
                        f"hitting a stop condition. You can increase the limit by setting the "
                        "`recursion_limit` config key."
                    ),
                    error_code=ErrorCode.GRAPH_RECURSION_LIMIT,
                )
            )
        if self.status == "draining":
            reason = None if self.control is None else self.control.drain_reason
            raise GraphDrained(reason or "shutdown")

    def output(self) -> Any:
        """What the run gives, after its end."""
        return self.machine.read(self.output_keys)

    def answer(self) -> Any:
        """What ``invoke`` returns: the output as it was last told."""
        latest: Any = None
        if self.told:
            latest = self.output() if self.latest is MISSING else self.latest
        if self.interrupts:
            asked = {INTERRUPT: self.interrupts}
            return {**latest, **asked} if isinstance(latest, dict) else asked
        return latest

    @property
    def crew(self) -> Crew:
        """Who carries out the present step."""
        if self._crew is None:
            raise RuntimeError("no step of this run is under way")
        return self._crew

    @property
    def checkpoint_config(self) -> dict[str, Any]:
        """The configuration that names the checkpoint that was stored last."""
        return self._config_of(self._place)

    @property
    def parent_config(self) -> dict[str, Any] | None:
        """The configuration that names the one before; ``None`` if there is none."""
        return None if self._parent_place is None else self._config_of(self._parent_place)

    def _config_of(self, place: tuple[dict[str, Any], str | None]) -> dict[str, Any]:
        config, at = place
        if at is None:
            return config
        names = {CONFIG_KEY_CHECKPOINT_NS: self.namespace, CONFIG_KEY_CHECKPOINT_ID: at}
        return patch_configurable(config, names)

    @property
    def checkpoint_id(self) -> str:
        """The id of the checkpoint from which the present step begins."""
        if self._checkpoint_id is None:
            self._checkpoint_id = checkpoint_id(self.step - 1)
        return self._checkpoint_id

    @property
    def ids(self) -> Ids:
        """How its tasks and their questions are named."""
        if self._ids is None:
            self._ids = known_ids()[0]
        return self._ids

    def recognise(self, tasks: Sequence[Task]) -> None:
        """Name tasks in the way in which the writes that were stored for them name them."""
        stored = {tid for tid, _, _ in self.pending if tid != NULL_TASK_ID}
        if not stored:
            return
        for ids in known_ids():
            self._ids = ids
            for task in tasks:
                task.rename()
            if any(task.id in stored for task in tasks):
                return
        self._ids = None
        for task in tasks:
            task.rename()

    # -- beginning ----------------------------------------------------------------------------

    async def _load(self) -> None:
        """Read the checkpoint, and take the input."""
        conf = self.config[CONF]
        if self.saves is None:
            self._entered = True
            self.step = -1
            self.stop = self.config["recursion_limit"]
            self._begin_anew()
            return
        saves = self.saves
        await saves.open()
        self._entered = True
        own = self.config
        mapped = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
        if self.namespace in mapped and CONFIG_KEY_CHECKPOINT_NS in conf:
            own = patch_configurable(own, {CONFIG_KEY_CHECKPOINT_ID: mapped[self.namespace]})
        thread_id = own[CONF].get(CONFIG_KEY_THREAD_ID)
        if thread_id is not None and not isinstance(thread_id, str):
            own = patch_configurable(own, {CONFIG_KEY_THREAD_ID: str(thread_id)})
        self._is_mapped = self.caller is not None and self.namespace in mapped
        self._addressed = bool(own[CONF].get(CONFIG_KEY_CHECKPOINT_ID) or self.replay)
        self._superseded = self._loaded_latest = False
        if own[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
            saved = await saves.find(own)
            if saved is not None:
                self._superseded = await is_superseded(saves, own, saved)
        elif self.replay is not None:
            saved = await self.replay.find(self.namespace, saves, own)
            self.resuming = None
        else:
            saved = await saves.find(own)
            self._loaded_latest = True
        self._has_parent = saved is not None
        self._parent_place: tuple[dict[str, Any], str | None] | None = None
        if saved is None:
            checkpoint = empty_checkpoint()
        else:
            checkpoint = copied(saved.checkpoint)
            self.graph._migrate_checkpoint(checkpoint)
            own = {
                **own,
                **saved.config,
                CONF: {CONFIG_KEY_CHECKPOINT_NS: "", **own[CONF], **saved.config.get(CONF, {})},
            }
            self.metadata = dict(saved.metadata)
            if saved.parent_config:
                self._parent_place = (saved.parent_config, None)
            self.pending = [
                (str(tid), name, value) for tid, name, value in saved.pending_writes or ()
            ]
            self._pending_ids = {tid for tid, _, _ in self.pending}
        if saved is None:
            own = {**own, CONF: {CONFIG_KEY_CHECKPOINT_NS: "", **own[CONF]}}
        self._place = (own, None)
        self._checkpoint_id = self._stored_id = checkpoint["id"]
        self._stored_versions: dict[str, Any] = dict(checkpoint["channel_versions"])
        machine = self.machine = Machine(
            self.layout,
            versions=checkpoint["channel_versions"],
            seen=checkpoint["versions_seen"],
            next_version=saves.saver.get_next_version,
        )
        machine.restore(
            await restore(self.layout.specs, checkpoint, saves, None if saved is None else own)
        )
        self.previous = checkpoint["channel_values"].get(PREVIOUS)
        changed = checkpoint.get("updated_channels")
        machine.changed = set(changed) if changed else None
        self.step = self.metadata.get("step", -2) + 1
        self.stop = self.step + self.config["recursion_limit"] + 1
        self._written: set[str] = set()
        self._reapplied: set[str] = set()
        self._loaded: Sequence[PendingWrite] = ()
        self._snapshots_due: set[str] = set()
        self._deltas = [
            name for name, spec in self.layout.specs.items() if isinstance(spec, DeltaChannel)
        ]
        self._line = None if self._deltas else saves.line(own, self.namespace)
        self._withheld: DeltaWrites | None = None
        """What goes with the first checkpoint once the last one is there."""
        if self._deltas and self.durability == "exit":
            self._first_config = own
            self._first_id = self._stored_id
            self._withheld = DeltaWrites(self._deltas, self.pending)
        self.is_replaying = False
        self._begin()

    def _begin_anew(self) -> None:
        """Take the input of a run that keeps nothing."""
        given = self.input
        if isinstance(given, Command):
            if given.resume is not None:
                raise RuntimeError("Cannot use Command(resume=...) without checkpointer")
            writes = [(name, value) for _, name, value in command_writes(given)]
            if not writes:
                raise EmptyInputError("Received empty Command input")
            self.machine.apply([input_of(writes)])
        writes = input_writes(self.graph.input_channels, given)
        if writes:
            give_ids(self.layout.specs, writes)
            self.machine.changed = self.machine.apply([input_of(writes)])
            self._advance()
        elif self.resuming is None:
            raise EmptyInputError(f"Received no input for {self.graph.input_channels}")
        self.resuming = False if self.caller is None else self.resuming
        self.status = "pending"

    def _begin(self) -> None:
        """Take the input, or go on: with what a caller outside gave, or as the graph around it
        does."""
        machine, specs = self.machine, self.layout.specs
        given, nested = self.input, self.caller is not None
        command = given if isinstance(given, Command) else None
        if self.resuming is not None:
            goes_on = self.resuming
        else:
            run_id = self.config["metadata"].get("run_id")
            same_run = not nested and run_id is not None and run_id == self.metadata.get("run_id")
            goes_on = given is None or command is not None or same_run
        goes_on = bool(machine.versions) and goes_on
        answers = command is not None and command.resume is not None
        travels = self._addressed and (self._is_mapped or not (answers or bool(self.resuming)))
        self.is_replaying = travels or self._superseded
        if travels:
            # Whoever goes back asks again.
            self.pending = [write for write in self.pending if write[1] != RESUME]
        forks = (
            goes_on
            and travels
            and (self.metadata.get("source") not in ("update", "fork") or self._superseded)
        )
        reapplies = goes_on and not self.is_replaying
        if reapplies:
            self._loaded = [write for write in self.pending if write[0] != NULL_TASK_ID]
        else:
            self._snapshots_due |= delta_names(specs, self.pending)
        carried = self._take_command(command, forks=forks) if command is not None else []
        self._snapshots_due |= delta_names(specs, carried)
        outside = [
            (name, value) for tid, name, value in (*self.pending, *carried) if tid == NULL_TASK_ID
        ]
        if outside:
            changed = machine.apply([input_of(outside)])
            if machine.changed is not None:
                machine.changed |= changed
        bound: Any = None
        if goes_on:
            seen = machine.seen.setdefault(INTERRUPT, {})
            assert machine.versions is not None
            seen.update(
                {name: machine.versions[name] for name in machine.versions if name in specs}
            )
            if forks:
                if self.metadata.get("source") in ("update", "fork") and self.parent_config:
                    bound = self.parent_config
                # Ids of tasks come from the checkpoint's, so the old questions are nobody's.
                self.pending = [write for write in self.pending if write[1] != INTERRUPT]
                # A copy of what is there: nothing has changed by it, whatever had by the original.
                before, machine.changed = machine.changed, None
                self._put_checkpoint({"source": "fork"})
                machine.changed = before
            self._tell_values(always=True)
        elif writes := input_writes(self.graph.input_channels, given):
            self._take_input(writes)
        elif self.resuming is None:
            raise EmptyInputError(f"Received no input for {self.graph.input_channels}")
        if not nested:
            self.replay = self._replay(bound) if travels else None
            self.resuming = goes_on
        self.status = "pending"
        if goes_on:
            self.lifecycle.append(("resume", (), self.status))

    def _replay(self, bound: Any) -> Replay:
        at = self.checkpoint_id
        if bound is not None:
            at = bound[CONF].get(CONFIG_KEY_CHECKPOINT_ID, at)
        elif self.metadata.get("source") in ("update", "fork") and self.parent_config:
            at = self.parent_config[CONF].get(CONFIG_KEY_CHECKPOINT_ID, at)
        return Replay(at)

    def _take_command(self, command: Command[Any], *, forks: bool) -> list[PendingWrite]:
        """Keep what a command writes. Returns what goes with the fork that is about to be made."""
        by_id = self._take_answers(command)
        writes: dict[str, list[tuple[str, Any]]] = {}
        for tid, name, value in command_writes(command):
            if not (name == RESUME and by_id):
                writes.setdefault(tid, []).append((name, value))
        if not writes and not by_id:
            raise EmptyInputError("Received empty Command input")
        carried: list[PendingWrite] = []
        for tid, each in writes.items():
            if forks:
                give_ids(self.layout.specs, each)
                carried.extend((tid, name, value) for name, value in each)
            else:
                self._put_writes(tid, each)
                if self._withheld is not None and tid == NULL_TASK_ID:
                    self._withheld.take_command(each)
        return carried

    def _take_answers(self, command: Command[Any]) -> bool:
        """Take what a command answers; whether it does so by ids."""
        resume = command.resume
        if resume is None:
            return False
        strict = (
            bool(self.config[CONF].get(CONFIG_KEY_STRICT_RESUME))
            and self.caller is None
            and not self._superseded
        )
        if isinstance(resume, dict) and all(is_interrupt_id(key) for key in resume):
            if strict:
                waiting = open_interrupt_ids(self.pending)
                if not resume:
                    raise UnknownInterruptError(
                        "The resume map names no interrupt",
                        reason="empty_map",
                        pending_ids=sorted(waiting),
                    )
                if unknown := sorted(resume.keys() - waiting):
                    raise UnknownInterruptError(
                        f"Unknown or already-consumed interrupt: {unknown[0]}",
                        reason="not_pending",
                        interrupt_ids=unknown,
                        pending_ids=sorted(waiting),
                    )
            self.answers_by_id = resume
            return True
        waiting = open_interrupt_ids(self.pending)
        if len(waiting) > 1:
            message = (
                "When there are multiple pending interrupts, you must specify the interrupt id "
                "when resuming. Docs: https://docs.langchain.com/oss/python/langgraph/interrupts"
                "#handling-multiple-interrupts."
            )
            if strict:
                raise UnknownInterruptError(
                    message, reason="ambiguous", pending_ids=sorted(waiting)
                )
            raise RuntimeError(message)
        return False

    def _take_input(self, writes: list[tuple[str, Any]]) -> None:
        """Apply an input, over whatever was still to run."""
        machine, specs = self.machine, self.layout.specs
        give_ids(specs, writes)
        unfinished = self._next_tasks()
        self._snapshots_due |= overwritten_deltas(specs, writes)
        deltas = [
            (name, value) for name, value in writes if isinstance(specs.get(name), DeltaChannel)
        ]
        machine.changed = machine.apply([*unfinished, input_of(writes)])
        if self._withheld is not None:
            self._withheld.take_input(self.step, deltas)
        elif deltas:
            if self._has_parent and self._loaded_latest:
                self._put_writes(str(uuid5(UUID(self.checkpoint_id), INPUT)), deltas)
            else:
                # Nothing is stored that the writes could go with, or others would read them too.
                self._snapshots_due.update(name for name, _ in deltas)
        self._put_checkpoint({"source": "input"})

    # -- one step -----------------------------------------------------------------------------

    def _prepare(self) -> bool:
        """Work out the tasks of the next step. Whether there is one."""
        out_of_steps = self.step > self.stop
        tasks = self.tasks = self._next_tasks()
        if self.pending:
            self.recognise(tasks)
        if self.modes and self.saves is not None:
            _events.tell_checkpoint(self)
        if out_of_steps:
            self.status = "out_of_steps"
            return False
        if not tasks:
            self.status = "done"
            return False
        if self.pending and not self.is_replaying:
            self._reapply(tasks)
            self._resume_error_handlers()
        if self.before and self._stops_at(self.before):
            self.status = "interrupt_before"
            raise GraphInterrupt
        if self.control is not None and self.control.drain_requested:
            self.status = "draining"
            return False
        if self.modes:
            _events.tell_tasks(self, self.tasks)
            for task in self.tasks:
                if task.writes:
                    _events.tell_writes(self, task, task.writes, cached=True)
        return True

    def _next_tasks(self) -> list[Task]:
        graph, machine = self.graph, self.machine
        nodes = graph.nodes
        tasks: list[Task] = []
        for index, packet in enumerate(machine.sends()):
            task = self._send_task(index, packet)
            if task is not None:
                tasks.append(task)
        for name in machine.triggered(nodes):
            node = nodes[name]
            if not node.does_something:
                continue
            triggers = node.sorted_triggers
            task = Task(self, node, name, None, (PULL, name), triggers, (PULL, *triggers))
            try:
                value = self._input_of(node, task)
            except Exception as error:
                error.add_note(f"Before task with name '{name}' and path '{task.path}'")
                raise
            if value is MISSING:
                continue
            task.input = value
            policy = node.cache_policy or graph.cache_policy
            if policy is not None:
                self._set_cache_key(task, policy, policy.key_func(value))
            tasks.append(task)
        return tasks

    def _send_task(self, index: int, packet: Any) -> Task | None:
        node = self.graph.nodes.get(packet.node) if isinstance(packet, Send) else None
        if node is None:
            if not (isinstance(getattr(packet, "node", None), str) and hasattr(packet, "arg")):
                _events.logger.warning(
                    "Ignoring invalid packet type %s in pending sends", type(packet)
                )
                return None
            # A saver of LangGraph's gives its own class.
            node = self.graph.nodes.get(packet.node)
            if node is None:
                _events.logger.warning(
                    "Ignoring unknown node name %s in pending sends", packet.node
                )
                return None
        if not node.does_something:
            return None
        task = Task(
            self,
            node,
            packet.node,
            packet.arg,
            (PUSH, index, False),
            (PUSH,),
            (PUSH, str(index)),
        )
        timeout = getattr(packet, "timeout", None)
        if timeout is not None:
            task.timeout = timeout
        policy = node.cache_policy or self.graph.cache_policy
        if policy is not None:
            self._set_cache_key(task, policy, policy.key_func(packet.arg))
        return task

    def _set_cache_key(self, task: Task, policy: Any, key: str | bytes) -> None:
        from ._cache_keys import cache_key

        task.cache_key = cache_key(policy, function_of(task.node.bound), key, task.name)

    def _input_of(self, node: Any, task: Task) -> Any:
        machine = self.machine
        select = node.channels
        if isinstance(select, str):
            value = machine.channels[select].peek()
            if value is MISSING:
                return MISSING
        else:
            value = {}
            channels, managed = machine.channels, self.layout.managed
            for name in select:
                if name in managed:
                    value[name] = managed[name].get(task)
                else:
                    found = channels[name].peek()
                    if found is not MISSING:
                        value[name] = found
        return value if node.mapper is None else node.mapper(value)

    def _stops_at(self, nodes: Any) -> bool:
        machine = self.machine
        if machine.versions is not None:
            seen = machine.seen.get(INTERRUPT, {})
            if not any(
                name not in seen or version > seen[name]
                for name, version in machine.versions.items()
            ):
                return False
        if nodes == "*":
            return any(not task.is_hidden for task in self.tasks)
        return any(task.name in nodes for task in self.tasks)

    def _finish_step(self) -> None:
        """Apply what the tasks wrote, and make a checkpoint."""
        tasks, machine = self.tasks, self.machine
        saving = self.saves is not None
        if saving:
            specs = self.layout.specs
            if self._deltas:
                writes = [write for task in tasks for write in task.writes]
                self._snapshots_due |= overwritten_deltas(specs, writes)
                if self._loaded:
                    self._snapshots_due |= delta_names(
                        specs, [each for each in self._loaded if each[0] not in self._reapplied]
                    )
            self._loaded = ()
        changed = machine.changed = machine.apply(tasks)
        if not changed.isdisjoint(self.output_key_set):
            self._tell_values(tasks)
        if saving:
            if self._withheld is not None:
                paths = {task.id: task.path for task in tasks}
                self._withheld.take_step(self.step, self.pending, paths)
            self.pending.clear()
            self._pending_ids.clear()
            self.is_replaying = False
            self._put_checkpoint({"source": "loop"})
        else:
            self._advance()
        if self.after and self._stops_at(self.after):
            self.status = "interrupt_after"
            if self.modes and saving:
                self.tasks = self._next_tasks()
                _events.tell_checkpoint(self)
            raise GraphInterrupt
        self.resuming = None

    def _tell_values(self, tasks: Sequence[Any] = (), *, always: bool = False) -> None:
        """Tell the output, if a task wrote to it."""
        keys = self.output_key_set
        if always or _writes_to(keys, tasks):
            self.told = True
            if "values" in self.modes:
                self.outlet.put((self.path, "values", self.output()))
            self.latest = self.output() if self._snapshots else MISSING

    def _advance(self) -> None:
        self._checkpoint_id = None
        self.step += 1

    # -- writes of tasks ----------------------------------------------------------------------

    def commit(self, task: Task, error: BaseException | None) -> None:
        """Note how a task has ended."""
        writes = task.writes
        if self.caller is not None and self.caller.progress is not None:
            self.caller.progress()
        if error is None:
            if self._node_finished is not None and not task.is_hidden:
                self._node_finished(task.name)
            if not writes or (
                writes[0][0] in CONTROL_WRITES and all(name in CONTROL_WRITES for name, _ in writes)
            ):
                writes.append((NO_WRITES, None))
        elif isinstance(error, GraphInterrupt):
            asked = error.args[0] if error.args else ()
            if not asked:
                return
            writes = [(INTERRUPT, asked), *(write for write in writes if write[0] == RESUME)]
        elif isinstance(error, GraphBubbleUp):
            return
        else:
            writes.append((ERROR, error))
            if self.handler_of(task) is not None:
                writes.append((ERROR_SOURCE_NODE, task.name))
        # Whose sibling has failed is cancelled once the reader of the stream has heard of the
        # failure, so it is told only where a graph around goes on telling.
        told = self.caller is not None or not isinstance(error, asyncio.CancelledError)
        if self.saves is not None or self.outlet is not None or self.cache is not None:
            with self.lock:
                self._put_writes(task.id, writes, task, told=told)
        elif writes[0][0] == INTERRUPT:
            self._note_interrupts(task, writes)

    async def call_condition(self, task: Task, path: Any, value: Any) -> Any:
        """Ask a condition for the way on from a task."""
        crew = self._crew = self._crew or Crew(self, ())
        if self.manager is not None and type(path) is Callee and path.trace:
            from ._tracing import call_function

            return await call_function(crew, task, path, value)
        return await crew.call_condition(task, path, value)

    def handler_of(self, task: Task) -> str | None:
        """The node that handles the failure of a task's node."""
        return None if task.is_call else task.node.error_handler_node

    def _note_interrupts(self, task: Task, writes: Sequence[tuple[str, Any]]) -> None:
        """Keep what was asked for the answer of ``invoke``."""
        if not task.is_hidden and not task.is_call:
            self.interrupts.extend(
                each for name, value in writes if name == INTERRUPT for each in value
            )
            self.told = True
            self.latest = MISSING if isinstance(self.output(), dict) else {}

    def _put_writes(
        self,
        tid: str,
        writes: list[tuple[str, Any]],
        task: Task | None = None,
        *,
        cached: bool = False,
        told: bool = True,
    ) -> None:
        """Keep the writes of a task until its step is over, store them, and tell the stream."""
        if not writes:
            return
        specs = self.layout.specs
        if self.saves is not None:
            if writes[0][0] in FIXED_WRITES and all(name in FIXED_WRITES for name, _ in writes):
                writes = list({write[0]: write for write in writes}.values())
            if self._deltas:
                give_ids(specs, writes)
            if tid == NULL_TASK_ID:
                self.pending = [
                    write
                    for write in self.pending
                    if write[0] != tid or write[1] not in FIXED_WRITES
                ]
                # Savers know a write by its place, so those that will not be there next time go
                # last.
                writes = sorted(writes, key=lambda write: write[0] in FIXED_WRITES)
                stored = [write[1:] for write in self.pending if write[0] == tid] + writes
            else:
                if tid in self._pending_ids:
                    self.pending = [write for write in self.pending if write[0] != tid]
                stored = writes
            self._pending_ids.add(tid)
            self.pending.extend([(tid, name, value) for name, value in writes])
            if self.durability == "exit":
                self._written.add(tid)
            else:
                self._store_writes(tid, stored, task)
        if task is None:
            return
        if writes[0][0] == INTERRUPT:
            self._note_interrupts(task, writes)
        if self.modes and told:
            _events.tell_writes(self, task, writes, cached=cached)
        if (
            self.cache is not None
            and task.cache_key is not None
            and not cached
            and not any(name in (INTERRUPT, ERROR) for name, _ in writes)
        ):
            self._keep_in_cache(task)

    def _store_writes(self, tid: str, writes: Sequence[tuple[str, Any]], task: Task | None) -> None:
        assert self.saves is not None
        layout = self.layout
        if layout.untracked:
            writes = [
                (name, without_untracked(layout.specs, value) if name == TASKS else value)
                for name, value in writes
                if name not in layout.untracked
            ]
        at, key = self.checkpoint_id, "" if task is None else task.key
        if self._line is not None:
            self._line.put_writes(at, writes, tid, key)
            return
        place = self._place
        known_place, known_at, config = self._writes_place
        if known_place is not place or known_at != at:
            config = self._config_of((place[0], at))
            self._writes_place = (place, at, config)
        self.saves.put_writes(config, writes, tid, key)

    def _reapply(self, tasks: Sequence[Task]) -> None:
        """Give tasks that had finished before the run was cut off what they wrote."""
        found = statuses(self.pending)
        for task in tasks:
            status = found.get(task.id)
            if status is not None:
                task.writes.extend(status.output)
                self._reapplied.add(task.id)

    def add_call(self, task: Task) -> None:
        """Take a task into the step that another one calls."""
        if self.modes:
            _events.tell_tasks(self, [task])
        self.tasks.append(task)
        self.reapply_call(task)

    def reapply_call(self, task: Task) -> None:
        """As for the tasks of a step, for one that another calls."""
        if self.pending and self.saves is not None and not self.is_replaying:
            self._reapply([task])

    def _resume_error_handlers(self) -> None:
        """Have the handlers run of nodes that had failed before the run was cut off."""
        failed = {tid for tid, name, _ in self.pending if name == ERROR_SOURCE_NODE}
        if not failed:
            return
        errors = {tid: value for tid, name, value in reversed(self.pending) if name == ERROR}
        for task in list(self.tasks):
            if task.id in failed and task.id in errors:
                error = errors[task.id]
                task.writes.append((ERROR, error))
                handler = self.handler_task(task, error)
                if handler is not None:
                    self.tasks.append(handler)

    def handler_task(self, failed: Task, error: Any) -> Task | None:
        """The task that handles the failure of another."""
        from plait_adapters.langgraph.errors import NodeError

        name = self.handler_of(failed)
        node = None if name is None else self.graph.nodes.get(name)
        if name is None or node is None or not node.does_something:
            return None
        path = (*failed.path[:3], "node_error_handler", False)
        names = (PUSH, "node_error_handler", failed.id)
        task = Task(self, node, name, failed.input, path, (PUSH,), names)
        cause = error if isinstance(error, BaseException) else Exception(str(error))
        task.failed = failed
        task.node_error = NodeError(failed.name, cause)
        return task

    # -- the cache ----------------------------------------------------------------------------

    async def _match_cache(self, tasks: Sequence[Task]) -> None:
        """Give tasks the writes that the cache has for them."""
        keyed = {
            (task.cache_key.ns, task.cache_key.key): task
            for task in tasks
            if task.cache_key is not None and not task.writes
        }
        if not keyed:
            return
        cache = self.cache
        found = cache.get(tuple(keyed)) if self.blocking else await cache.aget(tuple(keyed))
        for key, writes in found.items():
            task = keyed[key]
            task.writes.extend((name, value) for name, value in writes)
            self._put_writes(task.id, task.writes, task, cached=True)

    async def match_call(self, task: Task) -> None:
        """As for the tasks of a step, for one that another calls."""
        if self.cache is not None:
            await self._match_cache([task])

    def _keep_in_cache(self, task: Task) -> None:
        key = task.cache_key
        assert key is not None
        entry = {(key.ns, key.key): (list(task.writes), key.ttl)}
        if self.blocking:
            self.cache.set(entry)
        else:
            assert self._crew is not None
            self._crew.spawn(self.cache.aset(entry))

    # -- checkpoints --------------------------------------------------------------------------

    def _put_checkpoint(self, metadata: dict[str, Any], *, leaving: bool = False) -> None:
        """Make a checkpoint of the channels as they are."""
        machine, saves, specs = self.machine, self.saves, self.layout.specs
        assert saves is not None
        assert machine.versions is not None
        if leaving and self._checkpoint_id == self._stored_id:
            return
        counters: Counters = {}
        if self._deltas:
            counters = dict(self.metadata.get(COUNTERS) or {})
        if not leaving:
            if self._deltas:
                counters = count_step(self._deltas, counters, machine.changed or ())
            metadata["step"] = self.step
            metadata["parents"] = self.config[CONF].get(CONFIG_KEY_CHECKPOINT_MAP) or {}
            self.metadata = metadata
            self._checkpoint_id = checkpoint_id(self.step)
        if self._line is not None:
            if leaving or self.durability != "exit":
                self._put_step(self._line)
            if not leaving:
                self.step += 1
            return
        checkpoint: dict[str, Any] | None = None
        if leaving or self.durability != "exit":
            due = due_snapshots(specs, machine.channels, counters, machine.versions)
            due |= self._snapshots_due
            checkpoint = make_checkpoint(
                specs,
                machine.channels,
                machine.versions,
                machine.seen,
                id=self.checkpoint_id,
                changed=machine.changed,
                snapshots=due,
                stored=self._stored_versions,
                next_version=machine.next_version,
                triggers=self.layout.triggers,
                kept=self._values,
                moved=machine.moved,
            )
            if due:
                counters.update(dict.fromkeys(due, (0, 0)))
                self._snapshots_due -= due
                machine.adopt(checkpoint["channel_versions"], checkpoint["versions_seen"])
        counters = {name: count for name, count in counters.items() if count != (0, 0)}
        if counters:
            self.metadata[COUNTERS] = counters
        else:
            self.metadata.pop(COUNTERS, None)
        if checkpoint is not None:
            self._store(checkpoint)
            if not self._deltas:
                self._values = checkpoint["channel_values"]
        if not leaving:
            self.step += 1

    def _put_step(self, line: Line) -> None:
        """Hand over the channels as they are, as what has moved."""
        machine, specs = self.machine, self.layout.specs
        assert machine.versions is not None
        config, at = self._place
        line.put(
            Step(
                self.checkpoint_id,
                at or config[CONF].get(CONFIG_KEY_CHECKPOINT_ID),
                time.time(),
                self.metadata,
                None if machine.changed is None else sorted(machine.changed),
                machine.versions,
                machine.seen,
                machine.moved,
                machine.ran,
                moved_values(specs, machine.channels, machine.moved),
            )
        )
        self._has_stored(self.checkpoint_id)

    def _store(self, checkpoint: dict[str, Any]) -> None:
        assert self.saves is not None
        config = patch_configurable(
            self.checkpoint_config, {CONFIG_KEY_CHECKPOINT_NS: self.namespace}
        )
        versions = checkpoint["channel_versions"]
        if self._values is None:
            changed = new_versions(self._stored_versions, versions)
        else:
            changed = {name: versions[name] for name in self.machine.moved}
        self._stored_versions = versions
        self._has_stored(checkpoint["id"])
        if not self.saves.is_prompt:
            # It is stored while the run goes on, and what it has seen changes.
            checkpoint = copied(checkpoint)
        metadata = stored_metadata(self.metadata) if self._deltas else self.metadata
        self.saves.put(config, checkpoint, metadata, changed)

    def _has_stored(self, checkpoint_id: str) -> None:
        """Go on from a checkpoint that has been handed over."""
        config, at = self._place
        if at is not None or config[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
            self._parent_place = self._place
        else:
            self._parent_place = None
        self._place = (config, checkpoint_id)
        self._stored_id = checkpoint_id
        self.machine.moved.clear()
        self.machine.ran.clear()

    # -- ending -------------------------------------------------------------------------------

    async def _leave(self, error: BaseException | None) -> bool:
        """Store what is left to store. Whether the run ends here without an error."""
        try:
            return self._close(error)
        finally:
            if self.saves is not None and self._entered:
                await self.saves.close()

    def _close(self, error: BaseException | None) -> bool:
        if not self._entered:
            return False
        nested = self.caller is not None
        if self.saves is not None and self.durability == "exit" and hasattr(self, "_deltas"):
            # A nested graph that comes to its end has nothing to go on from, unless it keeps its
            # state.
            keeps = all(NS_END not in part for part in self.path)
            if not nested or error is not None or keeps:
                self._put_withheld()
                self._put_checkpoint(self.metadata, leaving=True)
                self._put_pending()
        if error is None:
            return True
        if not isinstance(error, GraphInterrupt) or nested:
            return False
        asked = tuple(error.args[0]) if error.args else ()
        self.lifecycle.append(("interrupt", asked, self.status))
        unfinished = self.status == "pending" if self.saves is None else bool(self.pending)
        if unfinished and any(task.writes for task in self.tasks):
            if self.latest is MISSING:
                self.latest = self.output()  # in case that nothing is told of what follows
            changed = self.machine.apply(self.tasks)
            if not changed.isdisjoint(self.output_key_set):
                self._tell_values(self.tasks)
        if not asked and "updates" in self.modes:
            self.outlet.put((self.path, "updates", {INTERRUPT: ()}))
        return True

    def _put_withheld(self) -> None:
        """Store what was written to ``DeltaChannel``s, with the checkpoint at which the run began.

        A new thread has none, and gets an empty one; where others may have gone on from it, the
        last checkpoint has the values instead.
        """
        withheld, machine, saves = self._withheld, self.machine, self.saves
        if withheld is None or not withheld.channels:
            return
        assert saves is not None
        assert machine.versions is not None
        if self._has_parent and not self._loaded_latest:
            self._snapshots_due |= withheld.channels
        counters = self.metadata.get(COUNTERS) or {}
        due = due_snapshots(self.layout.specs, machine.channels, counters, machine.versions)
        entries = withheld.without(due | self._snapshots_due)
        if not entries:
            return
        place = {
            CONFIG_KEY_CHECKPOINT_NS: self.namespace,
            CONFIG_KEY_CHECKPOINT_ID: self._first_id,
        }
        first = patch_configurable(self._first_config, place)
        if not self._has_parent:
            before = patch_configurable(first, {CONFIG_KEY_CHECKPOINT_ID: None})
            empty = {**empty_checkpoint(), "id": self._first_id}
            saves.put(before, empty, {"step": -2}, {})
            self._place = (first, None)
        for tid, path, writes in entries:
            saves.put_writes(first, writes, tid, path)

    def _put_pending(self) -> None:
        """Store what the last step's tasks wrote, with the checkpoint of a run that stores at its
        end."""
        by_task: dict[str, list[tuple[str, Any]]] = {}
        for tid, name, value in self.pending:
            # That a failing sibling has cancelled it is stored at once, or not at all.
            if tid in self._written and not isinstance(value, asyncio.CancelledError):
                by_task.setdefault(tid, []).append((name, value))
        tasks = {task.id: task for task in self.tasks}
        for tid, writes in by_task.items():
            self._store_writes(tid, writes, tasks.get(tid))

    async def _tell_lifecycle(self) -> None:
        """Have graph callbacks hear that the run has been resumed or interrupted."""
        if self.lifecycle:
            events, self.lifecycle = self.lifecycle, []
            if self.manager is not None:
                from plait_adapters.langgraph.callbacks import tell

                for kind, asked, status in events:
                    await tell(self, kind, asked, status)


def _writes_to(names: frozenset[str], tasks: Iterable[Any]) -> bool:
    """Whether tasks have written to any of some channels."""
    for task in tasks:
        for name, _ in task.writes:
            if name in names:
                return True
    return False


def function_of(bound: Any) -> Any:
    """The user's function behind what a node calls."""
    return getattr(bound, "function", bound)


__all__ = ["Replay", "Run", "function_of"]
