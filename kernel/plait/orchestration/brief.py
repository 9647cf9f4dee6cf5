"""A brief: a TOML file of tasks, read into frozen models, or refused with all of its faults at
once.

```toml
title = "What we want to know"

[join]                      # when to stop waiting: quorum, grace, timeout, on_timeout, minimum
quorum = 0.75               # "all", "any", a count, a share, or a table of weights by task
grace = 2                   # seconds to go on waiting once the quorum is there

[[sync_points]]             # where some of the tasks meet before all do
name = "facts"
tasks = ["basics"]

[[tasks]]
id = "basics"
type = "research"           # quotes passages that answer a question
question = "How does a coroutine wait?"
sources = ["pydoc:async*", "notes/*.md"]

[[tasks]]
id = "sizes"
type = "analysis"           # computes on tables
analysis_type = "describe"  # or correlation, trend, groups
sources = ["dist:", "data/*.csv"]
depends_on = ["basics"]
```
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from plait.orchestration.errors import BriefError
from plait.orchestration.sources import fault_in_source
from plait.orchestration.terms import terms

__all__ = [
    "AnalysisType",
    "Brief",
    "JoinPolicy",
    "Quorum",
    "SyncPoint",
    "Task",
    "load_brief",
    "parse_brief",
]

AnalysisType = Literal["describe", "correlation", "trend", "groups"]

_Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(strict=True, ge=0, le=1)]


def _some_item(items: tuple[object, ...]) -> tuple[object, ...]:
    if not items:
        raise ValueError("must have at least one item")
    return items


# Field(min_length=1) would call a list too short in which every item is wrong.
_SomeItem = AfterValidator(_some_item)


class _Table(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Task(_Table):
    """One piece of work for one specialist, in a branch of its own."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
    """What the report, `depends_on` and a quorum of weights call this task."""
    type: Literal["research", "analysis"]
    """Quote passages (`research`), or compute on tables (`analysis`)."""
    question: str = ""
    """What to look for. Research needs it; an analysis may have it, as its heading."""
    analysis_type: AnalysisType | None = None
    """What an analysis computes."""
    sources: Annotated[tuple[str, ...], _SomeItem]
    """Globs of files, `pydoc:TOPIC`, `dist:NAME`; see `plait.orchestration.sources`."""
    columns: tuple[str, ...] = ()
    """The columns that an analysis is about; without them it takes those that fit."""
    focus: str = ""
    """Words that research prefers in a passage, without asking for them; they also say which branch
    it is for (`plait.orchestration.branches`)."""
    priority: Literal["high", "medium", "low"] = "medium"
    """Which tasks are sent off first; an analysis of high priority is for the primary branch."""
    complexity: _Share = 0.5
    """How much work is expected, 0 to 1; of tasks with one priority, the longest is sent first."""
    depends_on: tuple[str, ...] = ()
    """Tasks whose results this one uses, and which end before it begins."""
    deadline: _Seconds | None = None
    """Seconds after which this task is given up, and its branch fails."""
    quality: _Share = 0.0
    """The lowest quality that is good enough: below it the task is revised, as long as there are
    rounds left."""
    weight: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0
    """What this task counts for where the quorum is a share."""

    @property
    def heading(self) -> str:
        """What a reader is told that the task is about."""
        return self.question or f"{self.analysis_type} of {', '.join(self.sources)}"


Quorum: TypeAlias = (
    Literal["all", "any"]
    | Annotated[int, Field(strict=True, ge=1)]
    | Annotated[float, Field(strict=True, gt=0, le=1)]
    | dict[str, Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]]
)
"""All tasks, any one, a count, a share of the weight, or weights by task that must reach 1."""


class JoinPolicy(_Table):
    """When a sync point stops waiting: the `[join]` table.

    What is not said is as the settings of the orchestrator have it.
    """

    quorum: Quorum | None = None
    """How many tasks are enough; by default three quarters of the weight."""
    grace: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Seconds to go on waiting once the quorum is there; by default 10, or none where a quorum is
    given."""
    timeout: _Seconds | None = None
    """Seconds after which the sync point opens in any case; by default 600."""
    on_timeout: Literal["recover", "proceed", "raise"] = "recover"
    """What follows where the quorum is not reached: the missing tasks are given to other branches,
    or it goes on with what has arrived, or the run fails."""
    minimum: Annotated[int, Field(strict=True, ge=0)] = 1
    """The fewest tasks to go on with."""


class SyncPoint(_Table):
    """A sync point of the brief's own: some of the tasks meet there, before all do.

    A task that depends on all of them begins once it has opened.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
    """What the report calls it."""
    tasks: Annotated[tuple[str, ...], _SomeItem]
    """The tasks that meet there; a task meets others at one sync point before the last."""
    quorum: Quorum | None = None
    """As in `[join]`, of its own tasks."""
    grace: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """As in `[join]`."""
    timeout: _Seconds | None = None
    """Seconds after which it opens with what has arrived; by default it waits for as long as the
    last one does."""


class Brief(_Table):
    """A title, the tasks, and when to stop waiting for them."""

    title: Annotated[str, Field(min_length=1)]
    """The heading of the report."""
    tasks: Annotated[tuple[Task, ...], _SomeItem]
    """The tasks, in the order of the file."""
    join: JoinPolicy = JoinPolicy()
    """The policy of the sync point that gathers the tasks."""
    sync_points: tuple[SyncPoint, ...] = ()
    """Sync points before that one."""

    def sync_point_of(self, task: str) -> str:
        """The sync point at which a task meets others before all meet; empty if there is none."""
        return next((point.name for point in self.sync_points if task in point.tasks), "")


def load_brief(path: str | Path) -> Brief:
    """Read a brief from a TOML file.

    Raises:
        BriefError: the file cannot be read, is no TOML, or has faults; it lists all of them.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BriefError(str(path), [f"cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise BriefError(str(path), [f"byte {error.start}: is not UTF-8"]) from error
    return parse_brief(text, str(path))


def parse_brief(text: str, path: str = "brief") -> Brief:
    """Read a brief from the text of a TOML file; `path` is what an error calls it.

    Raises:
        BriefError: with every fault in the text, each with its place.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BriefError(path, [f"is not TOML: {error}"]) from error
    # References are looked at in the raw data: a model with a fault elsewhere is never made.
    faults = dict([*_faults_of_form(raw), *_faults_of_references(raw)])
    if faults:
        raise BriefError(path, _told(faults, _Lines(text)))
    return Brief.model_validate(raw)


_Place = tuple[str | int, ...]
_Fault = tuple[_Place, str]


def _told(faults: Mapping[_Place, str], lines: _Lines) -> list[str]:
    """The faults in the order of the file; those of the whole file first."""
    told = []
    for place, said in faults.items():
        line = lines.of(place)
        where = f"line {line}: " if line else ""
        told.append((line, f"{where}{_shown(place)}: {said}"))
    return [text for _, text in sorted(told, key=lambda one: one[0])]


def _faults_of_form(raw: dict[str, Any]) -> list[_Fault]:
    try:
        Brief.model_validate(raw)
    except ValidationError as error:
        return [_said(found["loc"], found["type"], found["msg"]) for found in error.errors()]
    return []


def _said(loc: _Place, kind: str, message: str) -> _Fault:
    place = loc[:2] if loc[0] == "join" else loc[:3]
    if place[-1] == "quorum":
        # The union has an error for each of its members; together they say less than this.
        return place, (
            'must be "all", "any", a count of 1 or more, a share above 0.0 and up to 1.0, '
            "or a table of positive weights by task"
        )
    if kind == "extra_forbidden":
        models: dict[str | int, type[BaseModel]] = {
            "tasks": Task,
            "join": JoinPolicy,
            "sync_points": SyncPoint,
        }
        model = models.get(loc[0], Brief) if loc[1:] else Brief
        return loc, f"unknown key; known are {', '.join(model.model_fields)}"
    if kind == "missing":
        return loc, "is missing"
    message = message.removeprefix("Value error, ")
    return loc, message[:1].lower() + message[1:]


def _faults_of_references(raw: dict[str, Any]) -> list[_Fault]:
    tables = raw.get("tasks")
    tasks = [
        (i, task)
        for i, task in enumerate(tables if isinstance(tables, list) else [])
        if isinstance(task, dict)
    ]
    ids = [task["id"] for _, task in tasks if isinstance(task.get("id"), str)]
    faults: list[_Fault] = []
    seen: dict[str, int] = {}
    for i, task in tasks:
        name = task.get("id")
        if isinstance(name, str) and name in seen:
            faults.append(
                (("tasks", i, "id"), f'"{name}" is the id of tasks[{seen[name]}] already')
            )
        elif isinstance(name, str):
            seen[name] = i
        faults += [((*("tasks", i), *place), said) for place, said in _faults_of_task(task, ids)]
    faults += [*_cycles(tasks), *_faults_of_quorum(("join",), raw.get("join"), ids)]
    return [*faults, *_faults_of_sync_points(raw.get("sync_points"), ids)]


def _faults_of_sync_points(tables: Any, ids: list[str]) -> list[_Fault]:
    faults: list[_Fault] = []
    names: dict[str, int] = {}
    met: dict[str, str] = {}
    points = [
        (i, point)
        for i, point in enumerate(tables if isinstance(tables, list) else [])
        if isinstance(point, dict)
    ]
    for i, point in points:
        place: _Place = ("sync_points", i)
        name, own = str(point.get("name", "")), _strings(point.get("tasks"))
        if name in names or name == "gather":
            by = f"sync_points[{names[name]}]" if name in names else "the last one, of all tasks,"
            faults.append(((*place, "name"), f'"{name}" is the name of {by} already'))
        names.setdefault(name, i)
        for j, task in enumerate(own):
            if task not in ids:
                faults.append(((*place, "tasks", j), f'unknown task "{task}"'))
            elif task in met:
                faults.append(((*place, "tasks", j), f'"{task}" meets others at "{met[task]}"'))
            met.setdefault(task, name)
        faults += _faults_of_quorum(place, point, own)
    return faults


def _faults_of_task(task: Mapping[str, Any], ids: list[str]) -> list[_Fault]:
    faults: list[_Fault] = []
    kind, question = task.get("type"), task.get("question", "")
    if kind == "research":
        if isinstance(question, str) and not terms(question):
            faults.append((("question",), "research needs a question with words to search for"))
        odd = [key for key in ("analysis_type", "columns") if key in task]
        faults += [((key,), "belongs to an analysis, and this is research") for key in odd]
    if kind == "analysis" and "analysis_type" not in task:
        known = ", ".join(get_args(AnalysisType))
        faults.append((("analysis_type",), f"is missing; an analysis is one of {known}"))
    for i, source in enumerate(_strings(task.get("sources"))):
        if said := fault_in_source(source, tables=kind == "analysis"):
            faults.append((("sources", i), said))
    for i, other in enumerate(_strings(task.get("depends_on"))):
        if other not in ids:
            faults.append((("depends_on", i), f'unknown task "{other}"'))
    return faults


def _cycles(tasks: list[tuple[int, Any]]) -> list[_Fault]:
    """One fault for each cycle of dependencies, at the first task of it."""
    needs: dict[str, list[str]] = {}
    place: dict[str, int] = {}
    for i, task in tasks:
        if isinstance(task.get("id"), str) and task["id"] not in needs:
            needs[task["id"]] = _strings(task.get("depends_on"))
            place[task["id"]] = i
    faults: list[_Fault] = []
    told: set[str] = set()
    for start in needs:
        cycle = None if start in told else _way_back(start, needs)
        if cycle:
            told.update(cycle)
            way = " -> ".join([*cycle, start])
            faults.append((("tasks", place[start], "depends_on"), f"is a cycle: {way}"))
    return faults


def _way_back(start: str, needs: Mapping[str, list[str]]) -> list[str] | None:
    """The tasks on a way of dependencies from `start` back to it, or None."""
    ways, visited = [[start]], set[str]()
    while ways:
        way = ways.pop()
        for other in needs.get(way[-1], []):
            if other == start:
                return way
            if other not in visited:
                visited.add(other)
                ways.append([*way, other])
    return None


def _faults_of_quorum(table: _Place, join: Any, ids: list[str]) -> list[_Fault]:
    quorum = join.get("quorum") if isinstance(join, dict) else None
    place: _Place = (*table, "quorum")
    if isinstance(quorum, dict):
        weights = [weight for weight in quorum.values() if isinstance(weight, int | float)]
        faults: list[_Fault] = [
            ((*place, name), f'unknown task "{name}"') for name in quorum if name not in ids
        ]
        if sum(weights) < 1:
            faults.append((place, f"the weights add up to {sum(weights):g}, and must reach 1"))
        return faults
    if isinstance(quorum, int) and not isinstance(quorum, bool) and ids and quorum > len(ids):
        return [(place, f"asks for {quorum} tasks, and there are {len(ids)}")]
    return []


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _shown(place: _Place) -> str:
    """`("tasks", 2, "id")` as a reader writes it: `tasks[2].id`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".")


class _Lines:
    """Where in the text a place is, as far as headers and keys on lines of their own tell it."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._headers = [i for i, line in enumerate(self._lines) if re.match(r"\s*\[", line)]

    def of(self, place: _Place) -> int:
        """The line of a place, or of what it is in, from 1; 0 if neither is found."""
        match place:
            case ("tasks", int(i), *rest):
                start = self._header(r"\[\[\s*tasks\s*\]\]", i)
            case ("join", *rest):
                start = self._header(r"\[\s*join\s*\]", 0)
            case ("sync_points", int(i), *rest):
                start = self._header(r"\[\[\s*sync_points\s*\]\]", i)
            case _:
                start, rest = -1, list(place)
        if start is None:
            return 0
        end = next((h for h in self._headers if h > start), len(self._lines))
        key = re.escape(str(rest[0])) if rest else None
        inside = range(start + 1, end)
        at = next((i for i in inside if key and re.match(rf"\s*{key}\s*=", self._lines[i])), None)
        return (start if at is None else at) + 1

    def _header(self, pattern: str, index: int) -> int | None:
        found = [i for i in self._headers if re.match(rf"\s*{pattern}", self._lines[i])]
        return found[index] if index < len(found) else None
