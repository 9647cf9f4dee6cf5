"""The command line.

| command | what it does |
| --- | --- |
| `plait orchestrate [BRIEF]` | carries out a brief in a new thread, and reports |
| `plait draw [BRIEF]` | draws its graph, as Mermaid |
| `plait runs` | lists threads, the last updated first |
| `plait show THREAD` | where a thread stands, or stood `--at` a position; its `--history`; its |
|   | `--times`: what happened when, and what the last run's time was spent on |
| `plait resume THREAD` | goes on with a thread, with an `--answer` if it asks something |
| `plait fork THREAD AT NEW` | begins a thread with what another one was at a position |
| `plait blame THREAD CHANNEL` | who wrote to a channel, and what became of it |
| `plait prune THREAD` | gives up the older history of a thread |
| `plait delete THREAD` | removes a thread |
| `plait db upgrade` | brings the tables of a store up to date |

Adapters add commands of their own, by entry points of the group `plait.commands`: a function of the
arguments behind the command, which returns the exit code.

Threads are kept in a file in the user's data folder, or in the store that `--store URL` or the
environment variable `PLAIT_STORE` names. `--flow MODULE:ATTRIBUTE` names the graph of threads that
are not those of a brief: a Flow, a Graph, or a function that returns one. It is imported, with the
current folder on the path, and its own store is used unless `--store` names another.

Output goes to the standard output; progress, and what went wrong in one line, to the standard
error. Exit codes:

| code | meaning |
| --- | --- |
| 0 | it is done |
| 1 | it failed: the run, or the store; of a brief there is a report of what was finished |
| 2 | it was refused, and nothing was done: the command or the brief is wrong, or the thread is |
|   | not there, or held by somebody else |
| 3 | the run waits for answers |
| 130 | it was interrupted (Ctrl-C); of a brief there is a report of what was finished |
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import get_args

import anyio
import structlog

from plait.cli import threads
from plait.cli.briefs import draw, orchestrate_brief, resume_thread
from plait.cli.refusals import ExitCode, Refused, code_of, in_one_line
from plait.cli.telling import warn
from plait.errors import PlaitError
from plait.orchestration import BUNDLED_BRIEF
from plait.orchestration.settings import Mode

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Raises:
        SystemExit: with 2 for arguments that cannot be understood, with 0 after `--help`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    added = _added_commands()
    try:
        with _logging_beside_the_output():
            return int(_command(given, added)())
    except Refused as refusal:
        warn(str(refusal))
        return ExitCode.REFUSED
    except PlaitError as error:
        warn(in_one_line(error))
        return code_of(error)
    except KeyboardInterrupt:
        warn("Interrupted.")
        return ExitCode.INTERRUPTED


def _added_commands() -> dict[str, EntryPoint]:
    """The commands of adapters; none of them is imported before it is called."""
    return {point.name: point for point in entry_points(group="plait.commands")}


def _command(given: Sequence[str], added: dict[str, EntryPoint]) -> Callable[[], int]:
    parser = _parser(sorted(added))
    if given and given[0] in added:
        return partial(added[given[0]].load(), given[1:])
    options = parser.parse_args(given)
    return partial(options.action, options)


@contextmanager
def _logging_beside_the_output() -> Iterator[None]:
    """What the kernel logs goes to the standard error, where nobody has said otherwise."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        yield
    finally:
        structlog.reset_defaults()


def _in_loop(
    command: Callable[[argparse.Namespace], Awaitable[int]],
) -> Callable[[argparse.Namespace], int]:
    return lambda options: anyio.run(command, options)


def _parser(added: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plait",
        description="Orchestrate work in branches.",
        epilog=f"Of adapters: {', '.join(added)}; see plait COMMAND --help" if added else None,
    )
    parser.add_argument("--version", action="version", version=f"plait {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, says: str, action: Callable[[argparse.Namespace], int], *kinds: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
        command.set_defaults(action=action)
        for kind in kinds:
            _add_arguments(command, kind)
        return command

    run = add("orchestrate", "carry out a brief, and report", orchestrate_brief, "brief", "store")
    run.add_argument("--thread", metavar="ID", help="the id of the new thread")
    _add_arguments(run, "review")
    _add_arguments(run, "agents")
    run.add_argument(
        "--mode",
        choices=get_args(Mode),
        help="how many branches work at once (chosen by what the tasks and the machine are like)",
    )
    _add_arguments(run, "report")
    add("draw", "draw the graph for a brief, as Mermaid", _in_loop(draw), "brief", "flow")
    runs = add("runs", "list threads", _in_loop(threads.runs), "store", "flow", "json")
    runs.add_argument("--limit", type=_count, default=50, metavar="N", help="how many at most (50)")
    show = add("show", "say where a thread stands", _in_loop(threads.show), *_ONE_THREAD, "json")
    _add_arguments(show, "at")
    show.add_argument("--history", action="store_true", help="every event of its journal, too")
    show.add_argument(
        "--times", action="store_true", help="what happened when, and the critical path, too"
    )
    _add_arguments(show, "picture")
    resume = add("resume", "go on with a thread", resume_thread, *_ONE_THREAD, "report")
    resume.add_argument(
        "--answer",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="answer an interrupt; VALUE is JSON, or else text",
    )
    _add_arguments(resume, "writer")
    _add_arguments(resume, "review")
    resume.add_argument(
        "--migrate", action="store_true", help="go on although the graph has changed"
    )
    fork = add(
        "fork", "begin a thread with a part of another", _in_loop(threads.fork), *_ONE_THREAD
    )
    fork.add_argument("at", type=_count, metavar="AT", help="the position up to which they agree")
    fork.add_argument("new", metavar="NEW", help="the id of the new thread")
    blame = add("blame", "say who wrote to a channel", _in_loop(threads.blame), *_ONE_THREAD)
    blame.add_argument("channel", metavar="CHANNEL")
    _add_arguments(blame, "at")
    _add_arguments(blame, "json")
    prune = add("prune", "give up older history", _in_loop(threads.prune), *_ONE_THREAD)
    much = prune.add_mutually_exclusive_group(required=True)
    much.add_argument("--keep", type=_count, metavar="N", help="the events to keep")
    much.add_argument("--keep-bytes", type=_count, metavar="N", help="the bytes to keep at most")
    add("delete", "remove a thread", _in_loop(threads.delete), *_ONE_THREAD)
    db = commands.add_parser("db", help="look after the tables of a store")
    of_db = db.add_subparsers(dest="db_command", required=True, metavar="COMMAND")
    upgrade = of_db.add_parser("upgrade", help="bring the tables of a store up to date")
    upgrade.set_defaults(action=_in_loop(threads.upgrade))
    _add_arguments(upgrade, "store")
    return parser


_ONE_THREAD = ("thread", "store", "flow")


def _add_arguments(command: argparse.ArgumentParser, kind: str) -> None:
    """Arguments that several commands have."""
    match kind:
        case "brief":
            command.add_argument(
                "brief",
                nargs="?",
                type=Path,
                default=BUNDLED_BRIEF,
                metavar="BRIEF",
                help="a TOML file of tasks; without it the one that comes with Plait",
            )
        case "thread":
            command.add_argument("thread", metavar="THREAD", help="its id; `plait runs` lists them")
        case "store":
            command.add_argument(
                "--store",
                metavar="URL",
                help="where threads are kept: sqlite:///FILE, postgresql://..., memory: "
                "(default: PLAIT_STORE, or a file in your data folder)",
            )
        case "flow":
            command.add_argument(
                "--flow",
                metavar="MODULE:ATTRIBUTE",
                help="a Flow, a Graph, or a function that returns one",
            )
        case "agents":
            _add_agents(command, "dynamic", "model")
        case "writer":  # the agents of a thread were chosen when it began
            _add_agents(command, "model")
        case "at":
            command.add_argument("--at", type=_count, metavar="N", help="up to this position")
        case "json":
            command.add_argument("--json", action="store_true", help="write JSON, in full")
        case "review":
            command.add_argument(
                "--review",
                action="store_true",
                help="a person approves, revises or rejects what was gathered, and the whole",
            )
        case "picture":
            command.add_argument(
                "--picture", type=Path, metavar="FILE", help="draw what happened when, as SVG"
            )
        case "report":
            command.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE")
            _add_arguments(command, "picture")
            _add_arguments(command, "json")
            command.add_argument("--quiet", action="store_true", help="show no progress")


_AGENTS = {
    "dynamic": "dynamic: an agent is made for each task, of the type that fits it best",
    "model": "model: a language model writes up the findings, and cites them",
}


def _add_agents(command: argparse.ArgumentParser, *kinds: str) -> None:
    says = "; ".join([_AGENTS[kind] for kind in kinds])
    command.add_argument("--agents", choices=kinds, help=says)
    command.add_argument(
        "--model",
        metavar="MODEL",
        help="local, a file in GGUF, or the address of an endpoint that speaks OpenAI's "
        "protocol; its name and key are in PLAIT_MODEL_NAME and PLAIT_MODEL_KEY "
        "(default: PLAIT_MODEL)",
    )


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")


def _version() -> str:
    try:
        return version("plait")
    except PackageNotFoundError:
        return "(not installed)"
