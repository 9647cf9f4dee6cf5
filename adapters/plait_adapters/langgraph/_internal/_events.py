"""What streams tell of a run, mode by mode."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph.types import PregelTask, interrupt_facts

from ._checkpoints import now
from ._config import patch_checkpoint_map, patch_configurable, public_config, user_tags
from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    ERROR,
    INTERRUPT,
    MISSING,
    NS_END,
    NS_SEP,
    RETURN,
)
from ._pending import NOT_STARTED, PendingWrite, statuses

if TYPE_CHECKING:
    from ._run import Run
    from ._task import Task

logger = logging.getLogger("plait_adapters.langgraph")

_OWN_METADATA = frozenset((
    "thread_id",
    "checkpoint_id",
    "checkpoint_ns",
    "checkpoint_map",
    "langgraph_step",
    "langgraph_node",
    "langgraph_triggers",
    "langgraph_path",
    "langgraph_checkpoint_ns",
))  # fmt: skip
"""Metadata that the engine adds, and streams tell otherwise."""


def _tell(run: Run, mode: str, payload: Any) -> None:
    """Tell in a mode, and in the mode ``debug`` what that is made of."""
    modes, outlet = run.modes, run.outlet
    if mode in modes:
        outlet.put((run.path, mode, payload))
    if mode in ("checkpoints", "tasks") and "debug" in modes:
        kind = (
            "checkpoint"
            if mode == "checkpoints"
            else "task_result"
            if "result" in payload
            else "task"
        )
        debug = {
            "step": run.step - 1 if mode == "checkpoints" else run.step,
            "timestamp": now(),
            "type": kind,
            "payload": payload,
        }
        outlet.put((run.path, "debug", debug))


def _wants(run: Run, mode: str) -> bool:
    return mode in run.modes or "debug" in run.modes


# -- tasks ----------------------------------------------------------------------------------------


def tell_tasks(run: Run, tasks: Iterable[Task]) -> None:
    """Tell that tasks begin."""
    if not _wants(run, "tasks"):
        return
    for task in tasks:
        if task.is_hidden:
            continue
        payload: dict[str, Any] = {
            "id": task.id,
            "name": task.name,
            "input": task.input,
            "triggers": task.triggers,
        }
        config = task.config
        metadata = {
            key: value for key, value in config["metadata"].items() if key not in _OWN_METADATA
        }
        tags = user_tags(config.get("tags"))
        if tags is not None:
            metadata["tags"] = tags
        if metadata:
            payload["metadata"] = metadata
        _tell(run, "tasks", payload)


def tell_writes(run: Run, task: Task, writes: Sequence[tuple[str, Any]], *, cached: bool) -> None:
    """Tell that a task has ended."""
    if task.is_hidden:
        return
    first = writes[0][0]
    if first == INTERRUPT:
        if task.is_call:  # its caller tells it
            return
        asked = tuple(
            each
            for name, value in writes
            if name == INTERRUPT
            for each in (value if isinstance(value, Sequence) else (value,))
        )
        if "updates" in run.modes:
            run.outlet.put((run.path, "updates", {INTERRUPT: asked}))
        if "values" in run.modes:
            values = run.output()
            values = (
                {**values, INTERRUPT: asked} if isinstance(values, dict) else {INTERRUPT: asked}
            )
            run.outlet.put((run.path, "values", values))
    elif first != ERROR and "updates" in run.modes:
        run.outlet.put(
            (run.path, "updates", _updates(run.output_keys, task, writes, cached=cached))
        )
    if not cached and _wants(run, "tasks"):
        keys = run.graph.stream_channels_list
        error = next((value for name, value in writes if name == ERROR), None)
        payload = {
            "id": task.id,
            "name": task.name,
            "error": error,
            "result": results([each for each in writes if each[0] in keys or each[0] == RETURN]),
            "interrupts": [
                interrupt_facts(each)
                for name, value in writes
                if name == INTERRUPT
                for each in (value if isinstance(value, Sequence) else (value,))
            ],
        }
        _tell(run, "tasks", payload)


def _updates(
    keys: str | Sequence[str], task: Task, writes: Sequence[tuple[str, Any]], *, cached: bool
) -> dict[str, Any]:
    """What the mode ``updates`` shows of a task's writes."""
    updates: list[Any]
    returned = next((value for name, value in writes if name == RETURN), MISSING)
    if returned is not MISSING:
        updates = [returned]
    elif isinstance(keys, str):
        updates = [value for name, value in writes if name == keys]
    else:
        known = [each for each in writes if each[0] in keys]
        counts = Counter(name for name, _ in known)
        if any(number > 1 for number in counts.values()):
            updates = [{name: value} for name, value in known]
        else:
            updates = [dict(known)] if known else []
    shown: dict[str, Any] = {
        task.name: None if not updates else updates[0] if len(updates) == 1 else updates
    }
    if cached:
        shown["__metadata__"] = {"cached": True}
    return shown


def results(writes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Writes by channel; several to one channel as ``{"$writes": [...]}``."""
    result: dict[str, Any] = {}
    for name, value in writes:
        before = result.get(name)
        if before is None:
            result[name] = value
            continue
        is_many = (
            isinstance(before, dict) and "$writes" in before and isinstance(before["$writes"], list)
        )
        result[name] = {"$writes": [*(before["$writes"] if is_many else [before]), value]}
    return result


# -- checkpoints ----------------------------------------------------------------------------------


def tell_checkpoint(run: Run) -> None:
    """Tell that a checkpoint has been made, with the tasks that it leads to."""
    if not _wants(run, "checkpoints"):
        return
    config = patch_configurable(
        run.checkpoint_config, {CONFIG_KEY_CHECKPOINT_ID: run.checkpoint_id}
    )
    outer = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    states: dict[str, Any] = {
        task.id: subgraph_config(config[CONF].get("thread_id"), outer, task)
        for task in run.tasks
        if task.node.subgraphs
    }
    shown = []
    for each in tasks_with_results(run.tasks, run.pending, states, run.output_keys):
        facts: dict[str, Any] = {"id": each.id, "name": each.name}
        if each.error:
            facts["error"] = each.error
        else:
            if each.result:
                facts["result"] = each.result
            facts["interrupts"] = tuple(interrupt_facts(asked) for asked in each.interrupts)
        facts["state"] = each.state
        shown.append(facts)
    payload = {
        "config": public_config(patch_checkpoint_map(config, run.metadata)),
        "parent_config": public_config(patch_checkpoint_map(run.parent_config, run.metadata)),
        "values": run.machine.read(run.graph.stream_channels_asis),
        "metadata": run.metadata,
        "next": [task.name for task in run.tasks],
        "tasks": shown,
    }
    _tell(run, "checkpoints", payload)


def subgraph_config(thread_id: Any, outer: str, task: Task) -> dict[str, Any]:
    """Where the state is of the graph that a task calls."""
    namespace = f"{task.name}{NS_END}{task.id}"
    if outer:
        namespace = f"{outer}{NS_SEP}{namespace}"
    return {CONF: {"thread_id": thread_id, CONFIG_KEY_CHECKPOINT_NS: namespace}}


def tasks_with_results(
    tasks: Iterable[Task],
    pending: Iterable[PendingWrite],
    states: dict[str, Any],
    keys: str | Sequence[str],
    *,
    live: bool = False,
) -> tuple[PregelTask, ...]:
    """Tasks of a step with what they have left so far.

    Args:
        tasks: the tasks.
        pending: the writes that are stored with the checkpoint.
        states: by task, where the state of the graph is that it calls, or that state.
        keys: the channels that a result shows.
        live: leave out questions that have been answered.
    """
    found = statuses(pending)
    shown: list[PregelTask] = []
    for task in tasks:
        status = found.get(task.id, NOT_STARTED)
        returned = next((value for name, value in status.output if name == RETURN), MISSING)
        result: Any
        if returned is not MISSING:
            result = returned
        elif isinstance(keys, str):
            result = results([each for each in status.output if each[0] == keys]).get(keys)
        else:
            result = results([each for each in status.output if each[0] in keys])
        asked = status.open_interrupts if live else tuple(status.interrupts)
        shown.append(
            PregelTask(
                task.id,
                task.name,
                task.path,
                status.error,  # type: ignore[arg-type]
                asked,
                states.get(task.id),
                result if status.finished else None,
            )
        )
    return tuple(shown)
