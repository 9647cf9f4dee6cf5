"""The command line: `plait orchestrate` carries out a brief, `plait draw` draws its graph.

The report goes to the standard output, or to a file with `-o`; progress goes to the standard error.
On a terminal both are drawn with rich (the extra `plait[cli]`), elsewhere they are plain lines.

Exit codes: 0 the run went to its end, 1 it failed, 2 the brief or the command is wrong, 130 it was
interrupted (Ctrl-C); 1 and 130 come with a report of what was finished.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from plait.errors import PlaitError
from plait.orchestration import (
    BUNDLED_BRIEF,
    Brief,
    BriefError,
    Progress,
    Report,
    build_flow,
    load_brief,
    orchestrate,
    to_json,
    to_markdown,
)

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["main"]

_DONE, _FAILED, _REFUSED, _INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Raises:
        SystemExit: with 2 for arguments that cannot be understood, with 0 after `--help`.
    """
    options = _parser().parse_args(arguments)
    try:
        brief = load_brief(options.brief)
    except BriefError as error:
        print(error, file=sys.stderr)
        return _REFUSED
    if options.command == "draw":
        print(build_flow(brief.join).draw_mermaid())
        return _DONE
    return _orchestrate(brief, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plait", description="Orchestrate work in branches.")
    parser.add_argument("--version", action="version", version=f"plait {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("orchestrate", help="carry out a brief, and report")
    draw = commands.add_parser("draw", help="draw the graph for a brief, as Mermaid")
    for command in (run, draw):
        command.add_argument(
            "brief",
            nargs="?",
            type=Path,
            default=BUNDLED_BRIEF,
            metavar="BRIEF",
            help="a TOML file of tasks; without it the one that comes with Plait",
        )
    run.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report to FILE")
    run.add_argument("--json", action="store_true", help="write the report as JSON")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _version() -> str:
    try:
        return version("plait")
    except PackageNotFoundError:
        return "(not installed)"


def _orchestrate(brief: Brief, options: argparse.Namespace) -> int:
    output: Path | None = options.output
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        print(f"{output} cannot be written: no such folder, or it is one", file=sys.stderr)
        return _REFUSED
    progress = Progress(brief)
    folder = options.brief.absolute().parent
    report, code = _carry_out(brief, folder, progress, quiet=options.quiet)
    text = (
        json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n"
        if options.json
        else to_markdown(report)
    )
    if output is not None:
        output.write_text(text, encoding="utf-8")
        print(f"The report is in {output}", file=sys.stderr)
    elif not options.json and sys.stdout.isatty() and _has_rich():
        _show(text)
    else:
        # The report quotes text in any script; a terminal or pipe that cannot show it gets "?".
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", errors="replace"))
        sys.stdout.flush()
    return code


def _carry_out(
    brief: Brief, folder: Path, progress: Progress, *, quiet: bool
) -> tuple[Report, int]:
    try:
        with _watched(progress, quiet=quiet) as told:
            return anyio.run(orchestrate, brief, folder, progress, told), _DONE
    except KeyboardInterrupt:
        # By now every branch is cancelled: `anyio.run` leaves no task behind.
        print("Interrupted.", file=sys.stderr)
        return progress.stopped(status="interrupted", reason="Ctrl-C."), _INTERRUPTED
    except PlaitError as error:
        print(f"The run failed: {error}", file=sys.stderr)
        return progress.stopped(status="failed", reason=f"{error}."), _FAILED


@contextmanager
def _watched(progress: Progress, *, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """Show progress while the block runs; gives what is to be told each line, if anything is."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _say
    elif not _has_rich():
        _say("(With rich, from the extra plait[cli], this is a live table.)")
        yield _say
    else:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(
            get_renderable=lambda: _table_of(progress), console=console, refresh_per_second=8
        ):
            yield None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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


if __name__ == "__main__":
    sys.exit(main())
