"""Which graphs a node may call."""

from __future__ import annotations

import dis
import sys
from collections.abc import Sequence
from types import CodeType, FunctionType
from typing import Any

from ._callables import Callee, is_graph

_LEAVES = frozenset((
    int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset, type(None),
))  # fmt: skip
"""Types in which no graph is looked for: exactly these, since a subclass may have attributes."""


def find_subgraphs(bound: Any) -> Sequence[Any]:
    """The first graph that is called by what a node calls, if any, in a list of one or none.

    Looked for in what a function's code names: closures, globals and attributes of those. So a
    graph that a node calls is known before it runs, and the state of it can be shown.
    """
    candidates = [bound]
    for candidate in candidates:  # it grows
        if is_graph(candidate):
            if candidate.checkpointer is not False:
                return [candidate]
        elif isinstance(candidate, Callee):
            candidates.extend(_owners(candidate.function))
        else:
            candidates.extend(_parts(candidate))
    return []


def _parts(runnable: Any) -> Sequence[Any]:
    base: Any = sys.modules.get("langchain_core.runnables.base")
    if base is None:
        return ()
    if isinstance(runnable, base.RunnableSequence):
        return runnable.steps  # type: ignore[no-any-return]
    if isinstance(runnable, base.RunnableLambda):
        return runnable.deps  # type: ignore[no-any-return]
    return ()


def _owners(function: Any) -> list[Any]:
    return [getattr(value, "__self__", value) for value in names_in(function)]


def names_in(function: Any) -> list[Any]:
    """The values of what a function's code names outside of itself."""
    function = getattr(function, "__func__", function)
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped):
        function = getattr(wrapped, "__func__", wrapped)
    if not isinstance(function, FunctionType):
        return []
    code = function.__code__
    cells: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    known = function.__globals__
    outside = {name: known[name] for name in code.co_names if name in known}
    values: list[Any] = list(cells.values())
    if all(type(value) in _LEAVES for value in (*values, *outside.values())):
        return values
    codes = [code]
    for each in codes:  # it grows
        codes.extend(constant for constant in each.co_consts if isinstance(constant, CodeType))
        value: Any = None
        for instruction in dis.get_instructions(each):
            kind, name = instruction.opname, instruction.argval
            if kind == "LOAD_GLOBAL":
                value = outside.get(name)
            elif kind in ("LOAD_DEREF", "LOAD_CLOSURE"):
                value = cells.get(name)
            elif kind in ("LOAD_ATTR", "LOAD_METHOD"):
                try:
                    value = getattr(value, name, None)
                except Exception:
                    value = None
            else:
                value = None
            if value is not None:
                values.append(value)
    return values
