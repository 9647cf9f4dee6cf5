"""The structure of a LangGraph program, read from its builder: LangGraph's own, or the facade's.

Only public attributes of `StateGraph` are read, which both have.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

START, END = "__start__", "__end__"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A graph as its edges show it."""

    name: str
    nodes: Mapping[str, Any]
    """What was given to `add_node`, by name, and how."""
    edges: frozenset[tuple[str, str]]
    joins: frozenset[tuple[tuple[str, ...], str]]
    """Edges from several nodes at once, which wait for all of them."""
    routes: Mapping[str, frozenset[str]]
    """By source: where conditional edges and Commands may lead."""
    sends: frozenset[str]
    """Sources whose routers or Commands make Sends, or may."""
    channels: Mapping[str, Any]
    config: Mapping[str, Any]

    def after(self, node: str) -> frozenset[str]:
        """The nodes that may run in the step after a node."""
        static = {target for source, target in self.edges if source == node}
        joined = {target for sources, target in self.joins if node in sources}
        return frozenset((static | joined | self.routes.get(node, frozenset())) - {END})


def read(graph: Any) -> Drawn:
    """The structure of a `StateGraph`, or of one that is compiled.

    Raises:
        TypeError: it is something else.
    """
    builder = getattr(graph, "builder", graph)
    if not all(hasattr(builder, each) for each in ("nodes", "edges", "branches", "channels")):
        raise TypeError(
            f"a StateGraph is wanted, compiled or not, and this is of type {type(graph).__name__}"
        )
    everywhere = frozenset({*builder.nodes, END})
    routes: dict[str, set[str]] = {}
    sends = set()
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = branch.ends
            routes.setdefault(source, set()).update(everywhere if ends is None else ends.values())
            if mentions(function_of(branch.path), "Send"):
                sends.add(source)
    for name, spec in builder.nodes.items():
        function = function_of(spec.runnable)
        ends = tuple(spec.ends or ())
        if mentions(function, "goto"):
            routes.setdefault(name, set()).update(ends or everywhere)
            if mentions(function, "Send"):
                sends.add(name)
        elif ends:
            routes.setdefault(name, set()).update(ends)
    return Drawn(
        str(getattr(graph, "name", None) or "the graph"),
        builder.nodes,
        frozenset(builder.edges),
        frozenset((tuple(sources), target) for sources, target in builder.waiting_edges),
        {source: frozenset(targets) for source, targets in routes.items()},
        frozenset(sends),
        builder.channels,
        getattr(graph, "config", None) or {},
    )


# -- functions --------------------------------------------------------------------------------


def function_of(node: Any) -> Callable[..., Any] | None:
    """The function behind a node or router; None if there is none to be read."""
    for name in ("func", "afunc", "coroutine"):
        found = getattr(node, name, None)
        if callable(found):
            return function_of(found) or found
    if isinstance(node, partial):
        return function_of(node.func)
    if inspect.isfunction(node) or inspect.ismethod(node):
        return node
    call = getattr(node, "__call__", None)  # noqa: B004 - an object whose class has the function
    return call if inspect.ismethod(call) else None


def is_plain(node: Any) -> bool:
    """Whether a node is a plain function, and has no other way in."""
    function = function_of(node)
    suspending = getattr(node, "afunc", None) or getattr(node, "coroutine", None)
    # LangGraph wraps a plain function in one that awaits a thread; it knows what it wraps.
    if suspending is not None and getattr(suspending, "__wrapped__", None) is not function:
        return False
    return function is not None and not inspect.iscoroutinefunction(function)


def _tree(function: Callable[..., Any] | None) -> ast.AST | None:
    if function is None:
        return None
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    try:
        return ast.parse(source)
    except SyntaxError:  # a lambda in the middle of an expression
        return None


def mentions(function: Callable[..., Any] | None, word: str) -> bool:
    """Whether a function's source has a name or a keyword argument of that name."""
    tree = _tree(function)
    if tree is None:
        code = getattr(function, "__code__", None)
        return code is not None and word in code.co_names
    return any(
        (isinstance(each, ast.Name) and each.id == word)
        or (isinstance(each, ast.Attribute) and each.attr == word)
        or (isinstance(each, ast.keyword) and each.arg == word)
        for each in ast.walk(tree)
    )


def written_by(function: Callable[..., Any] | None) -> frozenset[str] | None:
    """The keys that a node's source writes: of mappings that it returns, or gives a Command.

    None where that cannot be seen: no source, or something else than a literal is returned.
    """
    tree = _tree(function)
    if tree is None:
        return None
    body = next((each for each in ast.walk(tree) if _is_function(each)), None)
    if body is None:
        return None
    keys: set[str] = set()
    for value in _returned(body):
        found = _keys(value)
        if found is None:
            return None
        keys |= found
    return frozenset(keys)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _returned(function: ast.AST) -> Iterator[ast.expr | None]:
    """What a function returns, those within it left out."""
    if isinstance(function, ast.Lambda):
        yield function.body
        return
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.Return):
            yield each.value
        elif not _is_function(each):
            waiting += ast.iter_child_nodes(each)


def _keys(value: ast.expr | None) -> frozenset[str] | None:
    match value:
        case None | ast.Constant(value=None):
            return frozenset()
        case ast.Dict(keys=keys):
            if not all(isinstance(key, ast.Constant) for key in keys):
                return None
            return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return _named(keywords)
        case ast.Call(func=ast.Name(id="Command"), keywords=keywords):
            update = [each.value for each in keywords if each.arg == "update"]
            return _keys(update[0]) if update else frozenset()
        case ast.IfExp(body=body, orelse=other):
            one, two = _keys(body), _keys(other)
            return None if one is None or two is None else one | two
        case ast.List(elts=elements):
            found = [_keys(each) for each in elements]
            known = [each for each in found if each is not None]
            return frozenset().union(*known) if len(known) == len(found) else None
        case _:
            return None


def _named(keywords: list[ast.keyword]) -> frozenset[str] | None:
    names = [each.arg for each in keywords]
    return None if None in names else frozenset(name for name in names if name is not None)
