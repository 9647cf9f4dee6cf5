"""Threads, events and values as people read them, and as JSON."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from plait.backend import ThreadRow
from plait.blame import Blame
from plait.errors import shorten
from plait.events import (
    BranchForked,
    Emitted,
    Event,
    GraphAdopted,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeRetried,
    NodeStarted,
    Outcome,
    QuorumJudged,
    Routed,
    RunCompleted,
    RunStarted,
    StateUpdated,
    SyncPointOpened,
    Target,
    TimerFired,
    format_path,
)
from plait.flow import Flow, Snapshot
from plait.orchestration.merge import reason_of
from plait.policy import END, START

__all__ = [
    "as_json",
    "as_table",
    "blame_as_data",
    "blame_rows",
    "event_as_data",
    "line_of",
    "snapshot_as_data",
    "snapshot_lines",
    "status_of",
    "thread_as_data",
    "time_of",
    "warn",
    "write",
]

_WIDTH = 100
"""Characters to which a value is cut."""

_MOST_BITS = 2_000
"""Of an integer that is written in decimal; Python refuses it from some 14,000 bits on."""


def write(text: str) -> None:
    """Write to the standard output; what it cannot show becomes a question mark."""
    try:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", errors="replace"))
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as `head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(line: str) -> None:
    """Say something beside the output."""
    print(line, file=sys.stderr, flush=True)


def as_json(value: Any) -> str:
    """Any value as JSON, in full; of what JSON does not know, the repr."""
    return json.dumps(_in_bounds(_plain(value)), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    try:
        return to_jsonable_python(value, fallback=repr, bytes_mode="base64")
    except ValueError:  # a part of it, such as a key that is no text, cannot be said in JSON
        if isinstance(value, dict):
            return {str(name): _plain(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [_plain(item) for item in value]
        return repr(value)


def _in_bounds(plain: Any) -> Any:
    """Plain data without the numbers that JSON, or Python's writer of it, does not take."""
    if isinstance(plain, dict):
        return {name: _in_bounds(item) for name, item in plain.items()}
    if isinstance(plain, list):
        return [_in_bounds(item) for item in plain]
    if isinstance(plain, float) and not math.isfinite(plain):
        return repr(plain)
    if isinstance(plain, int) and plain.bit_length() > _MOST_BITS:
        return hex(plain)
    return plain


def as_table(rows: Iterable[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Rows in columns; `right` are the numbers of those that are aligned to the right."""
    table = [[_flat(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )
    return "".join(f"{line}\n" for line in lines)


def time_of(seconds: float) -> str:
    """Seconds since the epoch as a local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _flat(text: str) -> str:
    """One line, without what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


# -- threads ----------------------------------------------------------------------------------


def status_of(row: ThreadRow) -> str:
    """How a thread stands, in a word."""
    if row.holder is not None:
        return "running"
    return {"running": "unfinished", "": "not run yet"}.get(row.status, row.status)


def thread_as_data(row: ThreadRow) -> dict[str, Any]:
    """What is known of a thread, for JSON; times are seconds since the epoch."""
    return {
        "thread": row.thread_id,
        "graph": row.graph,
        "status": status_of(row),
        "position": row.position,
        "pruned": row.pruned,
        "bytes": row.size,
        "created": row.created,
        "updated": row.updated,
        "holder": row.holder,
        "expires": row.expires,
        "origin": None if row.origin is None else {"thread": row.origin[0], "at": row.origin[1]},
    }


def channels_of(flow: Flow[Any], state: Any) -> dict[str, Any]:
    """The values of a state by their channels."""
    if isinstance(state, Mapping):
        return dict(state)
    return {name: getattr(state, name) for name in flow.plan.schema.channels}


def snapshot_as_data(row: ThreadRow, flow: Flow[Any], snapshot: Snapshot[Any]) -> dict[str, Any]:
    """A thread at a position, for JSON."""
    return {
        **thread_as_data(row),
        "graph": flow.name,
        "status": _status_at(row, snapshot),
        "position": snapshot.position,
        "branches": [
            {
                "branch": format_path(branch.path),
                "node": vertex(branch.node),
                "status": branch.status,
            }
            for branch in snapshot.branches
        ],
        "interrupts": [
            {**each._asdict(), "branch": format_path(each.branch)} for each in snapshot.interrupts
        ],
        "outcomes": {
            vertex(name): [_outcome_as_data(each) for each in outcomes]
            for name, outcomes in snapshot.outcomes.items()
        },
        "state": channels_of(flow, snapshot.state),
    }


def _outcome_as_data(outcome: Outcome) -> dict[str, Any]:
    took_part = {
        fate: [
            {
                "branch": format_path(each.branch),
                "id": each.id,
                "node": each.node,
                **({} if each.error is None else {"error": reason_of(each.error)}),
            }
            for each in getattr(outcome, fate)
        ]
        for fate in ("arrived", "failed", "late", "cancelled", "dead")
    }
    return {
        "status": outcome.status,
        "branch": format_path(outcome.branch),
        "generation": outcome.generation,
        "waited": outcome.waited,
        **took_part,
    }


def _status_at(row: ThreadRow, snapshot: Snapshot[Any]) -> str:
    if snapshot.status != "running":
        return snapshot.status
    return "running" if row.holder is not None else "unfinished"


def snapshot_lines(row: ThreadRow, flow: Flow[Any], snapshot: Snapshot[Any]) -> Iterator[str]:
    """A thread at a position, for a reader; each line with its end."""
    facts = [
        ("thread", row.thread_id),
        ("graph", flow.name),
        ("status", _status_at(row, snapshot)),
        ("position", f"{snapshot.position} of {row.position}"),
        ("updated", time_of(row.updated)),
    ]
    if row.pruned:
        facts.append(("kept from", str(row.pruned)))
    if row.origin is not None:
        facts.append(("fork of", f"{row.origin[0]} at {row.origin[1]}"))
    if row.holder is not None and row.expires is not None:
        facts.append(("held by", f"{row.holder} until {time_of(row.expires)}"))
    if snapshot.event is not None:
        facts.append(("last event", line_of(snapshot.event)))
    yield as_table(facts)
    parts: dict[str, list[tuple[str, ...]]] = {
        "branches": [
            (format_path(branch.path), vertex(branch.node), branch.status)
            for branch in snapshot.branches
        ],
        "interrupts": [
            (each.id, f"at {each.node}", f"{each.when} it", shorten(each.value, _WIDTH))
            for each in snapshot.interrupts
        ],
        "outcomes": [
            (vertex(name), _line_of_outcome(outcome))
            for name, outcomes in snapshot.outcomes.items()
            for outcome in outcomes
        ],
        "channels": [
            (name, shorten(value, _WIDTH))
            for name, value in channels_of(flow, snapshot.state).items()
        ],
    }
    for title, rows in parts.items():
        if rows:
            yield f"\n{title}\n"
            yield as_table([("", *cells) for cells in rows])


def _line_of_outcome(outcome: Outcome) -> str:
    missing = ", ".join(
        f"{each.id or format_path(each.branch)}"
        + (f" ({reason_of(each.error)})" if each.error is not None else "")
        for each in outcome.missing
    )
    return (
        f"{outcome.status}, {len(outcome.arrived)} of {outcome.activated} branches after "
        f"{outcome.waited:.2f} s" + (f"; missing: {missing}" if missing else "")
    )


# -- blame ------------------------------------------------------------------------------------


def blame_rows(found: Sequence[Blame]) -> list[Sequence[str]]:
    """Who wrote what, as rows of a table under their headings."""
    return [
        ("POSITION", "NODE", "BRANCH", "ATTEMPT", "FATE", "VALUE"),
        *(
            (
                str(each.position),
                each.node,
                format_path(each.branch),
                str(each.attempt or ""),
                each.fate,
                shorten(each.value, _WIDTH),
            )
            for each in found
        ),
    ]


def blame_as_data(found: Sequence[Blame]) -> list[dict[str, Any]]:
    """Who wrote what, for JSON."""
    return [
        {
            "position": each.position,
            "node": each.node,
            "branch": format_path(each.branch),
            "attempt": each.attempt,
            "fate": each.fate,
            "value": each.value,
        }
        for each in found
    ]


# -- events -----------------------------------------------------------------------------------


def event_as_data(position: int, event: JournalEvent) -> dict[str, Any]:
    """An event of a journal, for JSON."""
    facts = event._asdict()
    if "branch" in facts:
        facts["branch"] = format_path(facts["branch"])
    if "error" in facts:
        facts["error"] = reason_of(facts["error"])
    if "targets" in facts:
        facts["targets"] = [vertex(target.node) for target in facts["targets"]]
    for named in ("writes", "answers"):
        if named in facts:
            facts[named] = [list(pair) for pair in facts[named]]
    return {"position": position, "event": type(event).__name__, **facts}


def vertex(name: str) -> str:
    """The name of a node or sync point, as people call it."""
    return {START: "START", END: "END"}.get(name, name)


def line_of(event: Event) -> str:
    """An event in one line."""
    match event:
        case RunStarted(branch=branch, writes=writes):
            return f"{format_path(branch)}: the run began{_written(writes)}"
        case NodeStarted(attempt=attempt):
            return f"{_at(event)}: began" + (f", attempt {attempt}" if attempt > 1 else "")
        case NodeCompleted(at=at, started=started, writes=writes, targets=targets):
            onwards = _onwards(targets)
            return f"{_at(event)}: done after {at - started:.2f} s{_written(writes)}{onwards}"
        case NodeRetried(attempt=attempt, error=error, delay=delay):
            return (
                f"{_at(event)}: attempt {attempt} failed, the next is in {delay:.2f} s: "
                f"{type(error).__name__}: {error}"
            )
        case NodeFailed(attempt=attempt, error=error, handling=handling):
            then = {"raise": "the run fails", "record": "its branch ends"}.get(
                handling, f"on to {handling}"
            )
            return f"{_at(event)}: failed in attempt {attempt}, {then}: {reason_of(error)}"
        case NodeInterrupted(interrupts=interrupts):
            asked = ", ".join(f"{each.id} ({shorten(each.value, 40)})" for each in interrupts)
            return f"{_at(event)}: asked {asked}"
        case InterruptsAnswered(answers=answers):
            given = ", ".join(f"{name} = {shorten(value, 40)}" for name, value in answers)
            return f"answered: {given}"
        case StateUpdated(branch=branch, writes=writes):
            where = f"{_at(event)}" if branch else event.node
            return f"{where}: written from outside{_written(writes)}"
        case Routed(targets=targets):
            return f"{_at(event)}{_onwards(targets) or ': ended'}"
        case TimerFired(timer=timer):
            passed = {"deadline": "deadline", "grace": "grace time"}[timer.kind]
            return f"{format_path(timer.branch)} {timer.sync_point}: its {passed} passed"
        case QuorumJudged(arrivals=arrivals, met=met, sync_point=name):
            judged = "met" if met else "not met"
            return f"{format_path(event.branch)} {name}: quorum {judged} by {arrivals} arrivals"
        case GraphAdopted(plan=plan):
            return f"the run goes on with graph {plan}"
        case BranchForked(children=children):
            return f"{_at(event)}: {len(children)} branches"
        case SyncPointOpened(sync_point=name, outcome=outcome):
            return f"{format_path(outcome.branch)} {vertex(name)}: {_line_of_outcome(outcome)}"
        case Emitted(value=value):
            return f"{_at(event)}: {shorten(value, _WIDTH)}"
        case RunCompleted(status=status):
            return f"the run is {status}"


def _at(event: Any) -> str:
    return f"{format_path(event.branch)} {vertex(event.node)}"


def _written(writes: Sequence[tuple[str, Any]]) -> str:
    return f", wrote {', '.join(channel for channel, _ in writes)}" if writes else ""


def _onwards(targets: Sequence[Target]) -> str:
    names = [vertex(target.node) for target in targets]
    if len(names) > 5:
        names = [*names[:4], f"{len(names) - 4} more"]
    return f" -> {', '.join(names)}" if names else ""
