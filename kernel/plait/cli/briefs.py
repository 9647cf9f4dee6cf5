"""`plait orchestrate` and what resumes it: a brief is carried out, watched and reported.

The report goes to the standard output, or to a file with `-o`; progress goes to the standard error.
On a terminal both are drawn with rich (the extra `plait[cli]`), elsewhere they are plain lines.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from plait.cli.files import check_output, write_file
from plait.cli.refusals import ExitCode, Refused, code_of, in_one_line
from plait.cli.review import ask_person, tell_what_is_asked
from plait.cli.stores import NotKept, Place, find_flow, open_place, wait_until_free
from plait.cli.telling import as_json, warn, write
from plait.cli.threads import answers_of, opened, stream
from plait.cli.writers import Write, Written, open_writer
from plait.errors import ConflictError, PlaitError, ReducerError, SyncPointError
from plait.events import Interrupt
from plait.orchestration import (
    GRAPH,
    Brief,
    BriefError,
    Carried,
    ParallelOrchestrator,
    Progress,
    Report,
    Settings,
    build_flow,
    load_brief,
    recall,
    to_json,
    to_markdown,
    to_svg,
)
from plait.store import MemoryStore

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["draw", "orchestrate_brief", "resume_thread"]

_DECIDED = (SyncPointError, ConflictError, ReducerError)
"""Failures that the journal alone leads to, so that a resumed run fails in the same way."""


async def draw(options: argparse.Namespace) -> int:
    """Draw a graph: that for a brief, or the one that `--flow` names."""
    if options.flow is None:
        flow = build_flow(_load(options.brief))
        write(flow.draw_mermaid() + "\n")
    else:
        async with open_place("memory:", options.flow) as place:
            assert place.flow is not None, "it was named"
            write(place.flow.draw_mermaid() + "\n")
    return ExitCode.DONE


def orchestrate_brief(options: argparse.Namespace) -> int:
    """Carry out a brief, and report."""
    brief = _load(options.brief)
    check_output(options.output)
    check_output(options.picture)
    folder = options.brief.absolute().parent
    thread_id = options.thread or _name_for(options.brief)
    run = _Run(Progress(brief, _settings_of(options)), thread_id, _place_for_new(options))

    async def job() -> None:
        async with open_writer(options) as write, run.open() as place:
            if not isinstance(place.store, MemoryStore):
                run.words = place.words("resume", thread_id)
                if not options.quiet:
                    warn(f"Thread {thread_id}; if it is cut off: {run.words}")
            assert run.progress is not None, "it was given"
            orchestrator = ParallelOrchestrator(run.progress.settings, store=place.store)
            with _watched(run.progress, quiet=options.quiet) as told:
                carried = await orchestrator.run(
                    brief, folder, thread_id=thread_id, progress=run.progress, told=told
                )
            await _take(run, carried, write, options)

    return _carry_out(job, run, options)


def resume_thread(options: argparse.Namespace) -> int:
    """Go on with a thread: with a report if it is one of a brief, else with its state."""
    check_output(options.output)
    check_output(options.picture)
    run = _Run(None, options.thread, lambda: opened(options))

    async def job() -> None:
        async with open_writer(options) as write, run.open() as place:
            row, flow = await find_flow(place, options.thread)
            run.words = place.words("resume", row.thread_id)
            if row.holder is not None and not options.quiet:
                warn(f"Thread {row.thread_id} is held by {row.holder}: waiting for a sign of life.")
            if flow.name != GRAPH or place.flow is not None:
                run.text, run.code = await stream(options, place, row, flow)
                return
            await wait_until_free(place, row)
            answers = answers_of(options.answer)
            if answers and not (await flow.state(row.thread_id)).interrupts:
                raise Refused(f"thread {row.thread_id!r} asks nothing: leave --answer out")
            run.progress = await recall(row.thread_id, place.store)
            if not options.quiet:
                done, tasks = len(run.progress.results), len(run.progress.tasks)
                warn(f"{done} of {tasks} tasks were done before")
            await _go_on(run, place, answers, write, options)

    return _carry_out(job, run, options)


async def _go_on(
    run: _Run,
    place: Place,
    answers: Mapping[str, Any],
    write: Write | None,
    options: argparse.Namespace,
) -> None:
    """Go on with the thread of a brief."""
    progress = run.progress
    assert progress is not None, "it is known what was done before"
    orchestrator = ParallelOrchestrator(progress.settings, store=place.store)
    with _watched(progress, quiet=options.quiet) as told:
        carried = await orchestrator.resume(
            run.thread_id,
            progress.brief,
            answers or None,
            progress=progress,
            told=told,
            migrate=getattr(options, "migrate", False),
        )
    await _take(run, carried, write, options)


async def _take(
    run: _Run, carried: Carried, write: Write | None, options: argparse.Namespace
) -> None:
    """Note how far the run has come, and have the report written up if there is one."""
    run.asked, run.report = carried.interrupts, carried.report
    if write is not None and run.report is not None:
        if not options.quiet:
            warn("The report is being written up.")
        run.written = await write(run.report)


def _settings_of(options: argparse.Namespace) -> Settings:
    """What the command says of how the brief is to be carried out; it stays with the thread."""
    return Settings(
        agents="dynamic" if options.agents == "dynamic" else "bundled",
        mode=options.mode,
        review=options.review,
    )


def _load(path: Path) -> Brief:
    try:
        return load_brief(path)
    except BriefError as error:  # which has a line for each fault
        raise Refused(str(error)) from error


def _name_for(brief: Path) -> str:
    """The id of a new thread: what the brief is called, and eight digits."""
    stem = re.sub(r"[^A-Za-z0-9_.]+", "-", brief.stem).strip("-")[:40] or GRAPH
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def _place_for_new(
    options: argparse.Namespace,
) -> Callable[[], AbstractAsyncContextManager[Place]]:
    """What opens the store for a new thread; in memory where there is no other, and the command
    named none. What is in memory is the same whenever it is opened."""
    in_memory = Place(MemoryStore())

    @asynccontextmanager
    async def opened() -> AsyncIterator[Place]:
        if options.store == "memory:":
            yield in_memory
            return
        try:
            async with open_place(options.store) as place:
                yield place
        except NotKept as error:
            if not options.quiet:
                warn(f"The thread is not kept: {error}")
            yield in_memory

    return opened


@dataclass(slots=True)
class _Run:
    """What is known of a run from outside, also when it is cut off."""

    progress: Progress | None
    """How far a brief is."""
    thread_id: str
    """The thread."""
    open: Callable[[], AbstractAsyncContextManager[Place]]
    """Opens the store that has it."""
    asked: tuple[Interrupt, ...] = ()
    """What a person is asked, in a run under review."""
    report: Report | None = None
    written: Written | None = None
    """What was written about the report."""
    text: str = ""
    """What is shown in place of a report."""
    code: int = ExitCode.DONE
    words: str | None = None
    """The command that goes on with it; nothing if it is not kept."""


def _carry_out(job: Callable[[], Awaitable[None]], run: _Run, options: argparse.Namespace) -> int:
    try:
        anyio.run(job)
        while run.asked and _answer(run, options):
            pass
    except KeyboardInterrupt:
        # By now every branch is cancelled: `anyio.run` leaves no task behind.
        warn("Interrupted." + (f" Go on with it: {run.words}" if run.words else ""))
        run.code = ExitCode.INTERRUPTED
        if run.progress is not None and run.report is None:
            run.report = run.progress.stopped(status="interrupted", reason="Ctrl-C.")
    except PlaitError as error:
        if code_of(error) is ExitCode.REFUSED:
            raise
        run.code = ExitCode.FAILED
        warn(f"The run failed: {in_one_line(error)}")
        if run.words:
            warn(_way_out(error, run.words))
        if run.progress is not None:
            run.report = run.progress.stopped(status="failed", reason=f"{error}.")
    if run.asked and run.code == ExitCode.DONE:
        tell_what_is_asked(run.asked, run.words, shown=options.review)
        return ExitCode.SUSPENDED
    if run.report is not None:
        if run.report.status == "failed" and run.code == ExitCode.DONE:
            run.code = ExitCode.FAILED
            warn(f"The run failed: {run.report.reason}")
            if run.words:
                warn(f"What led to it: {_history(run.words)}")
        _deliver(run.report, run.written, options)
    elif run.text:
        _put(run.text, options.output)
    return run.code


def _answer(run: _Run, options: argparse.Namespace) -> bool:
    """Ask a person, and go on with what they say; whether anything was said.

    It is asked between two loops, so that waiting for a line holds up nothing, and Ctrl-C ends it.
    """
    answers = ask_person(run.asked) if options.review else None
    if answers is None:
        return False

    async def job() -> None:
        async with open_writer(options) as write, run.open() as place:
            await _go_on(run, place, answers, write, options)

    anyio.run(job)
    return True


def _way_out(error: PlaitError, words: str) -> str:
    if isinstance(error, _DECIDED):
        return f"What led to it: {_history(words)}"
    return f"Go on with it: {words}"


def _history(words: str) -> str:
    """The command that shows what led to it, from the one that goes on."""
    return words.replace(" resume ", " show --history ", 1)


def _deliver(report: Report, written: Written | None, options: argparse.Namespace) -> None:
    picture = _draw_picture(report, options)
    link = None
    if picture is not None and options.output is not None:
        link = os.path.relpath(picture, options.output.parent)
    if options.json:
        more = {} if written is None else {"written": written.to_json()}
        text = as_json(to_json(report) | more)
    else:
        more_text = "" if written is None else f"\n{written.to_markdown()}"
        text = to_markdown(report, link) + more_text
    drawn = options.output is None and not options.json and sys.stdout.isatty()
    if drawn and _has_rich():
        _show(text)
    else:
        _put(text, options.output)


def _draw_picture(report: Report, options: argparse.Namespace) -> Path | None:
    """Draw what happened when, if that is wanted and known; gives where the picture is."""
    picture: Path | None = options.picture
    if picture is None or report.timeline is None:
        if picture is not None:
            warn("There is no picture: it is drawn of a run that has gone to its end.")
        return None
    write_file(picture, to_svg(report.timeline, report.title))
    warn(f"The picture is in {picture}")
    return picture


def _put(text: str, output: Path | None) -> None:
    if output is None:
        write(text)
        return
    write_file(output, text)
    warn(f"The report is in {output}")


@contextmanager
def _watched(progress: Progress, *, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """Show progress while the block runs; gives what is to be told each line, if anything is."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield warn
    elif not _has_rich():
        warn("(With rich, from the extra plait[cli], this is a live table.)")
        yield warn
    else:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(
            get_renderable=lambda: _table_of(progress), console=console, refresh_per_second=8
        ):
            yield None


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


_STYLES = {
    "waiting": "dim",
    "working": "cyan",
    "done": "green",
    "failed": "red",
    "late": "yellow",
    "cancelled": "yellow",
    "dead": "dim",
}


def _table_of(progress: Progress) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(progress.brief.title), title_justify="left", expand=False)
    for name in ("Branch", "Task", "Status", "Seconds", "Remark"):
        table.add_column(name, justify="right" if name == "Seconds" else "left")
    for task in progress.tasks.values():
        elapsed = task.elapsed()
        table.add_row(
            task.branch,
            # Text, since in a plain string rich would take square brackets for its markup.
            Text(task.task),
            Text(task.status, style=_STYLES[task.status]),
            "" if elapsed is None else f"{elapsed:.2f}",
            Text(task.remark),
        )
    if gathering := progress.gathering:
        table.caption = (
            f"sync point: {gathering.status}, {gathering.arrived} of {gathering.activated} "
            f"branches after {gathering.waited:.2f} s"
        )
    return table


def _show(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(markdown))
