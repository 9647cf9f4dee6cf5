"""`plait doctor` and `plait compare`: commands for programs that are to move over."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.cli.refusals import ExitCode, Refused

__all__ = ["compare", "doctor"]


def doctor(arguments: Sequence[str]) -> int:
    """Look for what is likely to go wrong in a LangGraph program.

    Returns 0 if nothing was found, 1 otherwise.
    """
    from plait_adapters.langgraph import doctor as rules
    from plait_adapters.langgraph._moving import FACADE, move

    listed = "\n".join(f"  {name:22} {says}" for name, says in rules.RULES.items())
    parser = _parser("doctor", f"Look for likely faults in a LangGraph program:\n\n{listed}")
    parser.add_argument("--ignore", metavar="RULE", action="append", default=[])
    options = parser.parse_args(arguments)
    if unknown := set(options.ignore) - set(rules.RULES):
        raise Refused(f"--ignore {', '.join(sorted(unknown))}: there are {', '.join(rules.RULES)}")
    if find_spec("langgraph") is None:
        move(FACADE)
    found = [
        each for each in rules.examine(_graph(options.graph)) if each.rule not in options.ignore
    ]
    if options.json:
        _write(json.dumps([dataclasses.asdict(each) for each in found], indent=1))
    else:
        _write("\n".join(map(str, found)) or "Nothing was found.")
    return ExitCode.FAILED if found else ExitCode.DONE


def compare(arguments: Sequence[str]) -> int:
    """Run a program on LangGraph and here, and say what differs.

    Returns 0 if both did the same, 1 otherwise.
    """
    from plait_adapters.langgraph import compare as engines

    parser = _parser("compare", "Run a LangGraph program on LangGraph and here, unchanged.")
    parser.add_argument(
        "--input",
        metavar="FILE",
        action="append",
        type=Path,
        required=True,
        help="what it is called with, as JSON; several are calls on one thread, and "
        '{"__resume__": ANSWER} answers an interrupt',
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="for the wall time (5)")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        raise Refused(f"--repeat {options.repeat}: at least 1 is wanted")
    try:
        found = engines.compare(
            options.graph, [_input(path) for path in options.input], repeats=options.repeat
        )
    except engines.EngineError as error:
        raise Refused(str(error)) from error
    if options.json:
        _write(json.dumps(_as_data(found), indent=1))
    else:
        _write("\n".join(_lines(found)))
    return ExitCode.DONE if found.same else ExitCode.FAILED


def _parser(name: str, says: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"plait {name}",
        description=says,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "graph", metavar="MODULE:GRAPH", help="a StateGraph, or a function that returns one"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, in full")
    return parser


def _graph(name: str) -> Any:
    from plait_adapters.langgraph._moving import named

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return named(name)
    except Exception as error:  # the user's module may raise anything
        raise Refused(f"{name}: {type(error).__name__}: {error}") from error


def _input(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"--input {path}: {error}") from error


def _lines(found: Any) -> list[str]:
    lines = []
    parts: dict[str, list[tuple[str, Any, Any]]] = {"state": found.states, "events": found.events}
    if found.there.order != found.here.order:
        parts["order"] = [("of the updates", found.there.order, found.here.order)]
    for title in ("state", "order", "events"):
        differing = parts.get(title, [])
        lines.append(f"{title}: {'the same' if not differing else f'{len(differing)} differ'}")
        for place, there, here in differing[:10]:
            lines += [
                f"  {place}",
                f"    LangGraph: {there!r:.200}",
                f"    Plait:     {here!r:.200}",
            ]
    there, here = (1e3 * min(run.seconds) for run in (found.there, found.here))
    lines.append(
        f"wall time: LangGraph {there:.1f} ms, Plait {here:.1f} ms at best; "
        f"{found.speed:.1f} times as fast in the median"
    )
    return lines


def _as_data(found: Any) -> dict[str, Any]:
    return {
        "same": found.same,
        "state": found.states,
        "order": {"langgraph": found.there.order, "plait": found.here.order},
        "events": found.events,
        "seconds": {"langgraph": found.there.seconds, "plait": found.here.seconds},
        "speed": found.speed,
    }


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
