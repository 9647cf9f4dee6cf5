"""LangGraph's public names, which of them are here, and the table that says so.

    python -m tests.adapters.langgraph.names    # writes the table anew

A name is public if its module lists it in `__all__`, or binds it itself at its top level (a class,
a function, a constant) without a leading underscore; type variables and loggers are not. What a
module merely imports for its own use can be imported from it as well; those are counted apart.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

from plait_adapters.langgraph._support import REASONS

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "adapters" / "plait_adapters" / "langgraph" / "SUPPORT.md"

DISTRIBUTIONS = ("langgraph", "langgraph-checkpoint", "langgraph-prebuilt")
NEWLINE = "\n"

MODULES = (
    "graph",
    "graph.state",
    "graph.message",
    "graph.ui",
    "types",
    "constants",
    "errors",
    "func",
    "runtime",
    "config",
    "managed",
    "managed.base",
    "managed.is_last_step",
    "callbacks",
    "typing",
    "warnings",
    "version",
    "channels",
    "channels.base",
    "channels.any_value",
    "channels.binop",
    "channels.delta",
    "channels.ephemeral_value",
    "channels.last_value",
    "channels.named_barrier_value",
    "channels.topic",
    "channels.untracked_value",
    "pregel",
    "pregel.protocol",
    "pregel.types",
    "pregel.debug",
    "pregel.remote",
    "checkpoint.base",
    "checkpoint.memory",
    "checkpoint.sqlite",
    "checkpoint.sqlite.aio",
    "checkpoint.postgres",
    "checkpoint.postgres.aio",
    "checkpoint.serde.base",
    "checkpoint.serde.jsonplus",
    "checkpoint.serde.encrypted",
    "checkpoint.serde.event_hooks",
    "checkpoint.serde.types",
    "store.base",
    "store.base.batch",
    "store.base.embed",
    "store.memory",
    "store.postgres",
    "store.postgres.aio",
    "store.postgres.base",
    "store.sqlite",
    "cache.base",
    "cache.memory",
    "cache.sqlite",
    "cache.redis",
    "prebuilt",
    "prebuilt.tool_node",
    "prebuilt.chat_agent_executor",
    "prebuilt.tool_validator",
    "prebuilt.interrupt",
    "stream",
    "stream.run_stream",
    "stream.stream_channel",
    "stream.transformers",
)
"""The public modules of LangGraph 1.2, below its root."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one module."""

    module: str
    own: tuple[str, ...]
    """Public ones."""
    passing: tuple[str, ...]
    """LangGraph's own, which the module only imports."""


def names_of(module: str) -> Names:
    """The names of one of LangGraph's modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib.import_module(f"langgraph.{module}")
    source = Path(str(found.__file__)).read_text(encoding="utf-8")
    own = set(getattr(found, "__all__", ()))
    own |= {
        name
        for name in _bound(ast.parse(source).body)
        if not isinstance(
            getattr(found, name, None), (TypeVar, ParamSpec, logging.Logger, type(None))
        )
    }
    own = {name for name in own if not name.startswith("_")} | ({"__version__"} & set(dir(found)))
    passing = {
        name
        for name, value in vars(found).items()
        if not (name.startswith("_") or name in own or inspect.ismodule(value))
        and str(getattr(value, "__module__", "")).startswith("langgraph.")
    }
    return Names(module, tuple(sorted(own)), tuple(sorted(passing)))


def _bound(statements: list[ast.stmt]) -> Iterator[str]:
    """The names that a module's own statements bind, imports aside."""
    for statement in statements:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If(body=body, orelse=other):
                yield from _bound([*body, *other])
            case ast.Try(body=body, handlers=handlers):
                yield from _bound(body)
                for handler in handlers:
                    yield from _bound(handler.body)
            case ast.With(body=body):
                yield from _bound(body)
            case _:
                pass


def is_here(module: str, name: str) -> bool:
    """Whether the facade has a name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hasattr(importlib.import_module(f"plait_adapters.langgraph.{module}"), name)
    except ImportError:
        return False


def reason_for(module: str, name: str) -> str | None:
    """Why a name is not here."""
    return REASONS.get(f"{module}.{name}") or REASONS.get(module)


def lacking() -> list[tuple[str, str]]:
    """Every public name that is not here, with its module."""
    return [
        (module, name)
        for module in MODULES
        for name in names_of(module).own
        if not is_here(module, name)
    ]


DIFFERENCES = """\
- An `UntrackedValue` is never stored; with `durability="exit"`, LangGraph stores it with what is
  left of a run that failed.
- A plain `invoke` runs coroutine nodes as well; LangGraph raises a TypeError.
- Under `ainvoke`, a plain condition that has been quick so far is called on the event loop;
  LangGraph gives each call a thread.
- A graph with `checkpointer=False` within one that runs with `durability="sync"` runs; LangGraph
  raises an AttributeError.
- If one of several tool calls raises, `ToolNode` cancels the others; LangGraph lets them run on
  with nobody to hear of them.
- `add_messages` refuses an unknown `format` always; LangGraph does unless all messages are removed.
- Whether the state of a failed step names the siblings that were cancelled is a matter of time in
  LangGraph; here they are named.
- What a handler of errors streams is told in the graph of the node that failed; LangGraph tells it
  as a nested graph's, so with `subgraphs=True` only.
- What a task of a nested workflow asks is told once; LangGraph tells it for the task and again for
  the workflow that waits for it.
- A keyword argument that nothing knows is a TypeError; LangGraph ignores some.
- In a stream of events (`version="v3"`), an error of a transformer at the end of a run, or of what
  it scheduled, is that of every channel; LangGraph raises it in one reader, or loses it. What was
  pushed before an error is read before it by `interleave` and by every reader of `tee`, too. There
  is no beta warning.
- Of several commands to the graph around that come out of one step, the first in the order of the
  tasks is carried out; LangGraph takes any one, and the same holds of the order of questions that
  an inner graph asks at once.
- Without `xxhash`, ids of tasks and questions are made by BLAKE2. With it, which langchain-core and
  the extra `langgraph` bring, threads go on that were left half done with either; without it,
  LangGraph's begin their step anew.
- A thread that LangGraph has left half done goes on here. The other way round, LangGraph drops the
  `Send`s of the step that was left half done here: it does not know their class.
- Savers and stores in databases have tables of their own. Those in PostgreSQL reach it by asyncpg:
  of a connection or pool of psycopg's they take the address, and `conn` is what they were given. A
  thread in LangGraph's tables goes on with LangGraph's saver, which a graph here takes as well.
- What a filter asks for is never a part of a statement, so any name may be asked for; LangGraph
  refuses some.
- A search by meaning lists items without a vector last; LangGraph's store in PostgreSQL leaves them
  out. An index of pgvector's is used where `ann_index_config` is given; LangGraph makes one, and
  looks at every vector.
- `RedisCache` logs that a server cannot be reached, or a value not be read; LangGraph says nothing.
  It takes clients of `redis.asyncio`, too; with others, `ainvoke` does not block its event loop.
- What a delta channel is built on may be a `None`; LangGraph's saver in PostgreSQL looks further
  back for a value.
- Stored values are neither pickled nor imported by name. A dataclass, model, named tuple or enum
  that nobody has registered comes back if its module is loaded; else as plain data, with a
  warning."""


def table() -> str:
    """The table, as Markdown."""
    rows, here, total, passing_here, passing_total = [], 0, 0, 0, 0
    absent: list[str] = []
    for module in MODULES:
        names = names_of(module)
        found = [name for name in names.own if is_here(module, name)]
        here, total = here + len(found), total + len(names.own)
        passing_total += len(names.passing)
        passing_here += sum(is_here(module, name) for name in names.passing)
        lists = ", ".join(f"`{name}`" for name in found) or "(none)"
        rows.append(f"| `{module}` | {len(found)} of {len(names.own)} | {lists} |")
        absent += [
            f"| `{module}.{name}` | {reason_for(module, name) or 'no reason is known'} |"
            for name in names.own
            if name not in found
        ]
    versions = ", ".join(f"{each} {version(each)}" for each in DISTRIBUTIONS)
    share = f"**{here} of {total} public names ({100 * here / total:.1f}%)** are here"
    return f"""# What of LangGraph is here

Computed from {versions}
by `python -m tests.adapters.langgraph.names`; a test keeps it true. A name is public if its module
lists it in `__all__` or binds it itself at its top level, without a leading underscore; type
variables and loggers aside.

{share}, and {passing_here} of the
{passing_total} others that can be imported from a module because it imports them for its own use.

| module | names | which |
| --- | ---: | --- |
{NEWLINE.join(rows)}

## What is done otherwise, and is meant to be

Random programs run on both engines find every other difference (`make laws`).

{DIFFERENCES}

## What is not here, and why

Asking for one of these is an error that leads to this page.

| name | why |
| --- | --- |
{NEWLINE.join(absent)}
"""


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
    print(f"{TABLE.relative_to(ROOT)} written")
