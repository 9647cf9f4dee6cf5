"""What must hold of a thread whose process has died: said from its journal and the effects."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

from plait.commands import RunNode
from plait.errors import format_path
from plait.events import NodeCompleted, NodeFailed, NodeInterrupted, ThreadId
from plait.flow import Flow
from tests.faults.processes.program import Effect

__all__ = ["Figures", "Saved", "Undisturbed", "judge", "saved"]


class Saved(NamedTuple):
    """What a journal holds at one moment."""

    events: int
    done: frozenset[str]
    """The keys of the calls that were completed, or had failed for good."""
    asked: frozenset[str]
    """The keys of the calls that wait for an answer."""
    begun: frozenset[str]
    """The keys of the calls that are to be made next: they may have begun."""


_NOTHING = Saved(0, frozenset(), frozenset(), frozenset())


async def saved(flow: Flow[Any], thread_id: ThreadId) -> Saved:
    """Read a journal, without taking its lease."""
    past = await flow.store.past(thread_id, flow._past.format)
    if past is None:
        return _NOTHING
    done = set[str]()
    asked = set[str]()
    steps = dict[Any, int]()

    def note(machine: Any, event: Any, _: object) -> None:
        if isinstance(event, NodeCompleted | NodeFailed | NodeInterrupted):
            key = f"{format_path(event.branch)}:{steps[event.branch]}"
            (asked if isinstance(event, NodeInterrupted) else done).add(key)
        steps.update({path: branch.step for path, branch in machine.branches.items()})

    machine, _ = await flow._past.replay(past, note)
    begun = {
        f"{format_path(command.branch)}:{command.step}"
        for command in machine.outstanding()
        if isinstance(command, RunNode)
    }
    events = past.position + len(past.events)
    return Saved(events, frozenset(done), frozenset(asked - done), frozenset(begun))


class Undisturbed(NamedTuple):
    """What a thread comes to whose process nobody kills."""

    state: Mapping[str, Any]
    calls: Mapping[str, int]
    """How often each call is made, by its key."""
    commits: int

    @classmethod
    def of(cls, state: Mapping[str, Any], effects: Sequence[Effect], commits: int) -> Self:
        return cls(state, collections.Counter(effect.key for effect in effects), commits)


@dataclass
class Figures:
    """What was found, added up."""

    threads: int = 0
    deaths: int = 0
    calls: int = 0
    """How many calls of nodes were made."""
    repeated: int = 0
    """Calls that were made again in a later life; allowed, where the first was not saved."""
    again_although_saved: int = 0
    lost: int = 0
    """Writes that are not in the final state."""
    doubled: int = 0
    """Writes that are in it twice."""
    begun_unsaved: int = 0
    """Calls that began before what led to them was saved (durability "sync")."""
    foreign_keys: int = 0
    """Calls under keys that an undisturbed run does not have."""
    wrong_states: int = 0
    stuck: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def faults(self) -> Mapping[str, int]:
        """What must be 0, and is not."""
        allowed = {"threads", "deaths", "calls", "repeated"}
        return {
            field.name: count
            for field in fields(self)
            if (count := getattr(self, field.name)) and field.name not in allowed
        }

    def __str__(self) -> str:
        names = {field.name: field.name.replace("_", " ") for field in fields(self)}
        return ", ".join(f"{getattr(self, name):,} {words}" for name, words in names.items())


def judge(
    undisturbed: Undisturbed,
    state: Mapping[str, Any] | None,
    effects: Sequence[Effect],
    deaths: Sequence[tuple[str, Saved]],
    *,
    saves_first: bool,
) -> Figures:
    """Compare a thread that was cut short with one that was not.

    Args:
        undisturbed: the one that was not.
        state: what the other one came to; ``None`` if it did not.
        effects: all its calls.
        deaths: for each life that was cut short, its name and what was saved behind it.
        saves_first: whether nothing may begin before what led to it is saved.
    """
    found = Figures(threads=1, deaths=len(deaths), calls=len(effects))
    lives = list(dict.fromkeys(effect.life for effect in effects))
    by_life = {life: [e.key for e in effects if e.life == life] for life in lives}
    cancelled = {effect.key for effect in effects if effect.note == "slow"}
    seen = set[str]()
    for keys in by_life.values():
        found.repeated += len(seen & set(keys))
        seen |= set(keys)
    for life, save in deaths:
        later = lives[lives.index(life) + 1 :] if life in lives else _later(lives, life)
        called = [key for name in later for key in by_life[name]]
        found.again_although_saved += sum(key in save.done for key in called)
        found.again_although_saved += _asked_again(save.asked, by_life, later)
        if saves_first and life in by_life:
            known = save.done | save.asked | save.begun | cancelled
            found.begun_unsaved += len(set(by_life[life]) - known)
    found.foreign_keys = len(seen - undisturbed.calls.keys() - cancelled)
    if state is None:
        found.stuck = 1
        return found
    log = collections.Counter(state["log"])
    found.lost = len(undisturbed.state["log"]) - sum(k in log for k in undisturbed.state["log"])
    found.doubled = sum(count - 1 for count in log.values())
    found.wrong_states = int(state != undisturbed.state)
    return found


def _later(lives: Sequence[str], life: str) -> Sequence[str]:
    """A life that has called nothing has no place among the others; its number has."""
    return [name for name in lives if _number(name) > _number(life)]


def _number(life: str) -> int:
    return int(life.rpartition(" ")[2])


def _asked_again(
    asked: Collection[str], by_life: Mapping[str, Sequence[str]], later: Sequence[str]
) -> int:
    """A call that asked is made once more, from its top, in the life that answers.

    Each note of it beyond that, and beyond the one that it makes when it is told, is one too many,
    except in lives that were cut short in turn.
    """
    if not later:
        return 0
    last = by_life[later[-1]]
    return sum(max(0, last.count(key) - 2) for key in asked)
