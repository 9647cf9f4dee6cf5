"""Commands about threads: which there are, where one stands, and what is to become of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from plait.backend import ThreadRow
from plait.cli.files import check_output, write_file
from plait.cli.refusals import ExitCode, Refused
from plait.cli.stores import (
    NotKept,
    Place,
    find_flow,
    find_thread,
    open_place,
    wait_until_free,
    without_password,
)
from plait.cli.telling import (
    as_json,
    as_table,
    blame_as_data,
    blame_rows,
    event_as_data,
    line_of,
    snapshot_as_data,
    snapshot_lines,
    status_of,
    thread_as_data,
    time_of,
    warn,
    write,
)
from plait.errors import ThreadExists
from plait.flow import Flow
from plait.orchestration.gantt import path_rows, to_svg, to_text, waits_of
from plait.orchestration.timeline import Timeline, timeline_of
from plait.store import Past

__all__ = ["blame", "delete", "fork", "opened", "prune", "runs", "show", "stream", "upgrade"]


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Place]:
    """The store that a command is about. Raises `Refused` where there is none."""
    try:
        async with open_place(options.store, getattr(options, "flow", None)) as place:
            yield place
    except NotKept as error:
        raise Refused(f"no threads are kept: {error}; or name another store with --store") from None


async def runs(options: argparse.Namespace) -> int:
    """List threads, the last updated first."""
    async with opened(options) as place:
        rows = await place.store.threads(limit=options.limit + 1)
    more, rows = len(rows) > options.limit, rows[: options.limit]
    if options.json:
        write(as_json([thread_as_data(row) for row in rows]))
        return ExitCode.DONE
    if not rows:
        warn("There are no threads.")
        return ExitCode.DONE
    heading = ("THREAD", "GRAPH", "STATUS", "EVENTS", "BYTES", "UPDATED", "HELD BY")
    write(as_table([heading, *map(_cells, rows)], right=(3, 4)))
    if more:
        warn(f"There are more: --limit {10 * options.limit}")
    return ExitCode.DONE


def _cells(row: ThreadRow) -> tuple[str, ...]:
    numbers = f"{row.position - row.pruned:,}", f"{row.size:,}"
    updated, holder = time_of(row.updated), row.holder or ""
    return row.thread_id, row.graph, status_of(row), *numbers, updated, holder


async def show(options: argparse.Namespace) -> int:
    """Say where a thread stands, or stood."""
    check_output(options.picture)
    async with opened(options) as place:
        row, flow = await find_flow(place, options.thread)
        try:
            snapshot = await flow.state(options.thread, options.at)
        except ValueError as error:  # there is no such position
            raise Refused(str(error)) from error
        past = await flow.journal(options.thread, snapshot.position) if options.history else None
        timeline = None
        if options.times or options.picture is not None:
            timeline = timeline_of(await flow.trace(options.thread, snapshot.position))
    if timeline is not None and options.picture is not None:
        write_file(options.picture, to_svg(timeline, f"Thread {options.thread}"))
        warn(f"The picture is in {options.picture}")
    if options.json:
        data = snapshot_as_data(row, flow, snapshot)
        if past is not None:
            data["history"] = [event_as_data(*each) for each in _numbered(past)]
        if timeline is not None:
            data["timeline"] = timeline
        write(as_json(data))
        return ExitCode.DONE
    write("".join(snapshot_lines(row, flow, snapshot)))
    if past is not None:
        lines = [(str(number), time_of(each.at), line_of(each)) for number, each in _numbered(past)]
        write("\nhistory\n" + as_table([("", *line) for line in lines], right=(1,)))
    if timeline is not None and options.times:
        write("".join(_times(timeline)))
    return ExitCode.DONE


def _times(timeline: Timeline) -> Iterator[str]:
    """What happened when, and what the time was spent on; each line with its end."""
    yield "\nwhat happened when\n"
    yield "".join(f"  {line}\n" for line in to_text(timeline).splitlines())
    yield "".join(f"  {line}\n" for line in waits_of(timeline))
    yield "\nthe critical path\n"
    yield as_table([("", *row) for row in path_rows(timeline)], right=(1, 2))


def _numbered(past: Past) -> Iterable[tuple[int, Any]]:
    return enumerate(past.events, past.position + 1)


async def stream(
    options: argparse.Namespace, place: Place, row: ThreadRow, flow: Flow[Any]
) -> tuple[str, int]:
    """Resume a thread of somebody else's graph; where it stands then, and the exit code."""
    answers = answers_of(options.answer)
    await wait_until_free(place, row)
    events = flow.resume_stream(row.thread_id, answers or None, migrate=options.migrate)
    async with events:
        async for event in events:
            if not options.quiet:
                warn(line_of(event))
    row, snapshot = await find_thread(place, row.thread_id), await flow.state(row.thread_id)
    if snapshot.status == "suspended" and not options.quiet:
        answer = f"{snapshot.interrupts[0].id}=VALUE"
        warn(f"It waits for answers: {place.words('resume', row.thread_id, '--answer', answer)}")
    text = (
        as_json(snapshot_as_data(row, flow, snapshot))
        if options.json
        else "".join(snapshot_lines(row, flow, snapshot))
    )
    return text, ExitCode.SUSPENDED if snapshot.status == "suspended" else ExitCode.DONE


def answers_of(given: Iterable[str]) -> dict[str, Any]:
    """What `--answer ID=VALUE` says; a value is JSON, or else the text itself."""
    answers: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise Refused(f"--answer {each}: write ID=VALUE; `plait show` lists the ids")
        if name in answers:
            raise Refused(f"--answer {each}: {name} has two answers")
        try:
            answers[name] = json.loads(text)
        except ValueError:
            answers[name] = text
    return answers


async def prune(options: argparse.Namespace) -> int:
    """Give up the older history of a thread."""
    async with opened(options) as place:
        row, flow = await find_flow(place, options.thread)
        first = await flow.prune(row.thread_id, options.keep, keep_bytes=options.keep_bytes)
    write(f"Positions {first} to {row.position} of thread {row.thread_id} are kept.\n")
    return ExitCode.DONE


async def delete(options: argparse.Namespace) -> int:
    """Remove a thread."""
    async with opened(options) as place:
        row = await find_thread(place, options.thread)
        await place.store.delete(row.thread_id)
    write(f"Thread {row.thread_id} is deleted.\n")
    return ExitCode.DONE


async def fork(options: argparse.Namespace) -> int:
    """Begin a thread with what another one was."""
    async with opened(options) as place:
        row = await find_thread(place, options.thread)
        if not max(1, row.pruned) <= options.at <= row.position:
            raise Refused(
                f"thread {row.thread_id!r} has positions {max(1, row.pruned)} to {row.position} to "
                f"fork from, not {options.at}"
            )
        try:
            taken = await place.store.thread(options.new)
        except ValueError as error:  # an odd id
            raise Refused(str(error)) from error
        if taken is not None:
            raise ThreadExists(options.new, "exists: give the fork an id of its own")
        await place.store.fork(row.thread_id, options.at, options.new)
        words = place.words("resume", options.new)
    write(f"Thread {options.new} is thread {row.thread_id} up to {options.at}: {words}\n")
    return ExitCode.DONE


async def blame(options: argparse.Namespace) -> int:
    """Say who wrote to a channel, and what became of it."""
    async with opened(options) as place:
        row, flow = await find_flow(place, options.thread)
        try:
            found = await flow.blame(row.thread_id, options.channel, options.at)
        except ValueError as error:  # no such channel or position
            raise Refused(str(error)) from error
    if options.json:
        write(as_json(blame_as_data(found)))
    elif found:
        write(as_table(blame_rows(found), right=(0, 3)))
    else:
        warn(f"Nobody has written to {options.channel}.")
    return ExitCode.DONE


async def upgrade(options: argparse.Namespace) -> int:
    """Bring the tables of a store up to date."""
    async with opened(options) as place:
        bring = getattr(place.store, "upgrade", None)
        if bring is None:
            where = "The store" if place.url is None else without_password(place.url)
            write(f"{where} needs no upgrade: there is nothing to do.\n")
            return ExitCode.DONE
        applied = await bring()
    for name in applied or ():
        write(f"{name}\n")
    write("The tables are up to date.\n")
    return ExitCode.DONE
