"""Builds the entrypoint of a program, and its tasks, from the modules of one library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.adapters.langgraph.differential.build import NodeBroke, World, before_node
from tests.adapters.langgraph.differential.programs import Job, Script, Stage


def build_entrypoint(
    library: Any, world: World, script: Script, *, sync: bool, **keywords: Any
) -> Any:
    """The graph of an entrypoint."""
    tasks: dict[str, Any] = {}
    for job in reversed(script.jobs):
        make = _plain_task if sync else _suspending_task
        tasks[job.node.name] = library.func.task(
            make(library, world, job, dict(tasks)), name=job.node.name, **_policies(library, job)
        )
    make_body = _plain_body if sync else _suspending_body
    return library.func.entrypoint(**keywords)(make_body(library, script, tasks))


def _policies(library: Any, job: Job) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    if job.node.tries > 1:
        keywords["retry_policy"] = library.types.RetryPolicy(
            initial_interval=0.0, jitter=False, max_attempts=job.node.tries, retry_on=NodeBroke
        )
    if job.node.cached:
        keywords["cache_policy"] = library.types.CachePolicy()
    return keywords


def _plain_task(library: Any, world: World, job: Job, tasks: dict[str, Any]) -> Callable[..., Any]:
    def run(number: int) -> str:
        heard = before_node(library, world, job.node, {"payload": number})
        futures = [tasks[call.task](call.number) for call in job.calls]
        heard += [future.result() for future in futures]
        return f"{job.node.name}({number}: {', '.join(heard)})"

    run.__qualname__ = job.node.name
    return run


def _suspending_task(
    library: Any, world: World, job: Job, tasks: dict[str, Any]
) -> Callable[..., Any]:
    async def run(number: int) -> str:
        try:
            heard = before_node(library, world, job.node, {"payload": number})
        except NodeBroke:
            await asyncio.sleep(world.wait(job.node.name, number))
            raise
        await asyncio.sleep(world.wait(job.node.name, number))
        futures = [tasks[call.task](call.number) for call in job.calls]
        heard += [await future for future in futures]
        return f"{job.node.name}({number}: {', '.join(heard)})"

    run.__qualname__ = job.node.name
    return run


def _plain_body(library: Any, script: Script, tasks: dict[str, Any]) -> Callable[..., Any]:
    def body(given: Any, *, previous: Any = None) -> Any:
        heard: list[str] = []
        for number, stage in enumerate(script.stages):
            for future in [tasks[call.task](call.number) for call in stage.calls]:
                try:
                    heard.append(future.result())
                except NodeBroke:
                    _cope(stage, heard)
            _ask(library, stage, number, heard)
        return _result(library, script, given, previous, heard)

    return body


def _suspending_body(library: Any, script: Script, tasks: dict[str, Any]) -> Callable[..., Any]:
    async def body(given: Any, *, previous: Any = None) -> Any:
        heard: list[str] = []
        for number, stage in enumerate(script.stages):
            for future in [tasks[call.task](call.number) for call in stage.calls]:
                try:
                    heard.append(await future)
                except NodeBroke:
                    _cope(stage, heard)
            _ask(library, stage, number, heard)
        return _result(library, script, given, previous, heard)

    return body


def _cope(stage: Stage, heard: list[str]) -> None:
    """Go on after a failure, or raise it."""
    if not stage.copes:
        raise  # noqa: PLE0704 - called where it is handled
    heard.append("broke")


def _ask(library: Any, stage: Stage, number: int, heard: list[str]) -> None:
    if stage.asks:
        heard.append(f"heard {library.types.interrupt({'stage': number})}")


def _result(library: Any, script: Script, given: Any, previous: Any, heard: list[str]) -> Any:
    # No dict: LangGraph writes what is asked into one that it has told before.
    value = [heard, given["ticks"], previous]
    if not script.saves:
        return value
    return library.func.entrypoint.final(value=value, save={"saved": len(heard)})
