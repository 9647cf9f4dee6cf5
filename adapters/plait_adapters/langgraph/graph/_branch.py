"""Conditional edges."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from plait_adapters.langgraph._internal._callables import Callee
from plait_adapters.langgraph._internal._constants import BRANCH_TO, END, START, TASKS
from plait_adapters.langgraph.errors import InvalidUpdateError
from plait_adapters.langgraph.pregel._write import StaticWrite, Writer
from plait_adapters.langgraph.types import Send

if TYPE_CHECKING:
    from plait_adapters.langgraph._internal._task import Task


def _function_of(path: Any) -> Any:
    """The user's function behind a condition."""
    if isinstance(path, Callee):
        return path.function
    return getattr(path, "func", None) or getattr(path, "afunc", None)


def _with_hints(function: Any) -> Any:
    """What of a callable has annotations: a function itself, or an object's ``__call__``."""
    if inspect.isfunction(function) or inspect.ismethod(function):
        return function
    call = getattr(function, "__call__", None)  # noqa: B004 - the method, for its annotations
    return call if inspect.ismethod(call) else function


class BranchSpec(NamedTuple):
    """A condition behind a node."""

    path: Any
    """What chooses the way on."""
    ends: dict[Hashable, str] | None
    """The node for each value that it may return; ``None`` if it returns nodes, and any."""
    input_schema: type[Any] | None = None
    """What it sees of the state; ``None`` for what the node sees."""

    @classmethod
    def from_path(
        cls,
        path: Any,
        path_map: Mapping[Hashable, str] | Sequence[str] | None,
        infer_schema: bool = False,
    ) -> BranchSpec:
        """A condition whose ways and schema are read off its annotations, where they are not
        given."""
        ends: dict[Hashable, str] | None = None
        function = _function_of(path)
        if isinstance(path_map, Mapping):
            ends = dict(path_map)
        elif path_map is not None:
            ends = {name: name for name in path_map}
        elif function is not None:
            try:
                returned = get_type_hints(_with_hints(function)).get("return")
            except Exception:
                returned = None
            if get_origin(returned) is Literal:
                ends = {name: name for name in get_args(returned)}
        schema = _schema_of(function) if infer_schema and function is not None else None
        return cls(path, ends, schema)


def _schema_of(function: Any) -> type[Any] | None:
    try:
        function = _with_hints(function)
        hints = get_type_hints(function)
        first = next(iter(inspect.signature(function).parameters))
        hint = hints.get(first)
        return hint if isinstance(hint, type) and get_type_hints(hint) else None
    except (TypeError, StopIteration, NameError):
        return None


class BranchWriter(Writer):
    """Asks a condition, and makes writes of what it chooses.

    Args:
        branch: the condition.
        select: the channels that it sees.
        mapper: makes the state that it is called with from those.
    """

    waits = True

    def __init__(
        self,
        branch: BranchSpec,
        select: str | list[str] | None,
        mapper: Callable[[Any], Any] | None,
    ) -> None:
        self.branch: BranchSpec = branch
        self.select: str | list[str] | None = select
        self.mapper: Callable[[Any], Any] | None = mapper

    async def route(self, output: Any, task: Task) -> None:
        """Ask the condition, with the state as it is after the task's own writes."""
        branch = self.branch
        if self.select is None:
            value = output
        else:
            value = task.read(self.select, fresh=True)
            if self.mapper is not None:
                value = self.mapper(value)
            if branch.input_schema is None and isinstance(value, dict) and isinstance(output, dict):
                # What the node returned beside the state is for the condition only.
                value = {**output, **value}
        task.write(self._chosen(await task.run.call_condition(task, branch.path, value)))

    def _chosen(self, chosen: Any) -> list[tuple[str, Any]]:
        ends = self.branch.ends
        writes: list[tuple[str, Any]] = []
        for each in chosen if isinstance(chosen, (list, tuple)) else (chosen,):
            target = each if not ends or isinstance(each, Send) else ends[each]
            if target is None or target == START:
                raise ValueError("Branch did not return a valid destination")
            if isinstance(target, Send):
                if target.node == END:
                    raise InvalidUpdateError("Cannot send a packet to the END node")
                writes.append((TASKS, target))
            elif target != END:
                writes.append((BRANCH_TO.format(target), None))
        return writes

    def static(self) -> Sequence[StaticWrite]:
        """The ways that it may choose."""
        ends = self.branch.ends or {}
        return [
            (end if end == END else BRANCH_TO.format(end), None, str(label))
            for label, end in zip_longest(ends, ends.values())
        ]
