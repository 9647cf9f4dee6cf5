"""Runs a program unchanged on the other engine: its imports of one root find another's modules.

For a process of its own, since what is imported under a name stays there.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import inspect
import operator
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

LANGGRAPH, FACADE = "langgraph", "plait_adapters.langgraph"


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of one root under the names of another."""

    def __init__(self, asked: str, given: str) -> None:
        self._asked, self._given = asked, given
        self._specs: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._asked and not fullname.startswith(f"{self._asked}."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._given + spec.name.removeprefix(self._asked))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just given the module the spec of the name that it was asked by.
        assert module.__spec__ is not None
        module.__spec__ = self._specs.pop(module.__spec__.name)


def move(onto: str) -> None:
    """From now on, programs written for either root get the modules of this one."""
    other = FACADE if onto == LANGGRAPH else LANGGRAPH
    sys.meta_path.insert(0, _Moved(other, onto))


def named(name: str) -> Any:
    """The compiled graph that `MODULE:ATTRIBUTE` names: a graph, or a function that returns one.

    Raises:
        ValueError: the name is not of that form.
        TypeError: what it names is no graph.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"{name}: write MODULE:ATTRIBUTE, such as app.graphs:graph")
    found = operator.attrgetter(attribute)(importlib.import_module(module_name))
    if inspect.isfunction(found):
        found = found()
    if hasattr(found, "compile") and not hasattr(found, "ainvoke"):
        found = found.compile()
    if not hasattr(found, "astream"):
        raise TypeError(
            f"{name} is of type {type(found).__name__}, and a StateGraph is wanted, compiled or "
            "not, or a function that returns one"
        )
    return found
