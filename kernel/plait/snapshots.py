"""A machine as bytes, and back: what a resumed run begins with in place of a long replay.

A machine is a graph of a few classes of its own. Each object gets a number, and stands for itself
by it; values that several branches share are stored once. Snapshots only save time: what they say
is what a replay of the journal up to their position would say.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from .barrier import Barrier
from .codec import Codec, TypeRegistry
from .errors import StoreError
from .events import Interrupt, TimerKey
from .machine import Machine
from .plan import Plan, SyncPointSpec
from .state import NodeWrites, Overwrite, Values
from .tree import Branch, Generation, Member, Questions

__all__ = ["Header", "Outdated", "header_of", "register_types", "restore", "take"]

_FORMAT: Final = 1

_CLASSES: Final[tuple[type, ...]] = (Branch, Generation, Barrier, Member, Questions)
"""Their places are in the snapshots."""

_OPAQUE: Final = frozenset({"answers", "argument", "error", "failures", "outcome"})
"""Attributes that hold no objects of the machine's own, only what the codec knows."""

_PASSING: Final = frozenset({"preview"})
"""Attributes that are worked out again."""

_NOT_STATE: Final = frozenset(
    {"plan", "schema", "quiet", "failure", "delta", "_keep_delta", "_merger", "_commands"}
    | {"_dirty", "_suspects"}
)
"""Attributes of the machine that are given to it, empty between events, or for a parent only."""


class Outdated(StoreError):
    """Another Plait took the snapshot. What it says is what the journal says, too."""


class Header(NamedTuple):
    """What a snapshot says of itself."""

    format: int
    plan: str
    """The fingerprint of the graph."""
    bits: Mapping[str, int]
    """The bit of each sync point, by which the rest speaks of it."""


class Ref(NamedTuple):
    """Stands for an object of the machine."""

    number: int


class Shared(NamedTuple):
    """Stands for a dict of channel values."""

    number: int


class Spec(NamedTuple):
    """Stands for a sync point of the plan."""

    name: str


def register_types(registry: TypeRegistry) -> None:
    """Let the codec know what snapshots and writes are made of."""
    registry.register(Overwrite, "plait.Overwrite", to=_value, of=Overwrite)
    for type_ in (Interrupt, NodeWrites, TimerKey, Header, Ref, Shared, Spec):
        registry.register(type_, f"plait.{type_.__name__}")


def _value(overwrite: Overwrite[Any]) -> Any:
    return overwrite.value


def take(machine: Machine, fingerprint: str, codec: Codec) -> bytes:
    """The bytes of a machine between two events. Raises ``EncodingError``."""
    writer = _Writer()
    state = {
        name: writer.lower(value, name)
        for name, value in vars(machine).items()
        if name not in _NOT_STATE
    }
    writer.work_off()
    bits = {spec.name: spec.bit for spec in machine.plan.sync_points.values()}
    header = Header(_FORMAT, fingerprint, bits)
    after = machine.after
    return codec.encode([header, state, after, writer.objects, writer.values, writer.cells])


def header_of(content: Any) -> Header:
    """The header of a decoded snapshot. Raises ``Outdated``, or ``StoreError`` if it has none."""
    if not (isinstance(content, list) and content and isinstance(content[0], Header)):
        raise StoreError("it does not begin with its header, so it is no snapshot")
    header: Header = content[0]
    if header.format != _FORMAT:
        raise Outdated(
            f"it has format {header.format!r}, and this Plait reads {_FORMAT}: read it with the "
            "Plait that wrote it"
        )
    return header


def restore(content: Any, plan: Plan, *, keep_delta: bool = False) -> Machine:
    """The machine that a decoded snapshot stands for; ``keep_delta`` as for ``Machine``.

    Raises ``Outdated``, or ``StoreError`` if it makes no sense.
    """
    try:
        return _restored(content, plan, keep_delta=keep_delta)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"it makes no sense ({type(error).__name__}: {error})") from error


def _restored(content: Any, plan: Plan, *, keep_delta: bool) -> Machine:
    _, state, after, objects, values, cells = content
    machine = Machine(plan, keep_delta=keep_delta)
    reader = _Reader(plan, objects, values, cells)
    _check_names("a machine", state, vars(machine).keys() - _NOT_STATE)
    for name, value in state.items():
        setattr(machine, name, reader.lift(value, name))
    machine.after.update(after)
    return machine


def _check_names(what: str, found: Mapping[str, Any], expected: AbstractSet[str]) -> None:
    if different := sorted(found.keys() ^ expected):
        raise Outdated(
            f"what it says of {what} is not what this Plait keeps ({', '.join(different)}): read "
            "it with the Plait that wrote it"
        )


class _Writer:
    """Takes a machine apart."""

    def __init__(self) -> None:
        self.objects: list[list[Any]] = []
        self.values: list[dict[str, int]] = []
        self.cells: list[Any] = []
        self._numbers: dict[int, int] = {}  # of objects, by identity
        self._todo: list[Any] = []
        self._shared: dict[int, int] = {}
        self._cells: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no identity is used twice

    def lower(self, value: Any, name: str = "") -> Any:
        """A value with references in place of the machine's own objects."""
        kind = type(value)
        if name in _OPAQUE:
            return value
        if kind in _CLASSES:
            return self._ref(value)
        if kind is dict:
            if name.endswith("values"):
                return self._share(value)
            return {key: self.lower(item) for key, item in value.items()}
        if kind is list:
            return [self.lower(item) for item in value]
        if kind is tuple:
            return tuple([self.lower(item) for item in value])
        if kind is set:
            return {self.lower(item) for item in value}
        if kind is SyncPointSpec:
            return Spec(value.name)
        return value

    def _ref(self, value: Any) -> Ref:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            self._todo.append(value)
        return Ref(number)

    def _share(self, values: Values) -> Shared:
        number = self._shared.get(id(values))
        if number is None:
            number = self._shared[id(values)] = len(self.values)
            self._kept.append(values)
            self.values.append({name: self._cell(value) for name, value in values.items()})
        return Shared(number)

    def _cell(self, value: Any) -> int:
        number = self._cells.get(id(value))
        if number is None:
            number = self._cells[id(value)] = len(self.cells)
            self.cells.append(value)
        return number

    def work_off(self) -> None:
        """Take apart what has been referred to; not by recursion, since trees may be deep."""
        done = 0
        while done < len(self._todo):
            value = self._todo[done]
            done += 1
            kind = type(value)
            self.objects.append(
                [
                    _CLASSES.index(kind),
                    {
                        name: self.lower(getattr(value, name), name)
                        for name in kind.__slots__
                        if name not in _PASSING
                    },
                ]
            )


class _Reader:
    """Puts a machine together."""

    def __init__(
        self,
        plan: Plan,
        objects: list[list[Any]],
        values: list[dict[str, int]],
        cells: list[Any],
    ) -> None:
        self._plan = plan
        self._values = [{name: cells[number] for name, number in each.items()} for each in values]
        self._objects: list[Any] = [object.__new__(_CLASSES[number]) for number, _ in objects]
        for each, (_, content) in zip(self._objects, objects, strict=True):
            kind = type(each)
            _check_names(kind.__name__, content, set(kind.__slots__) - _PASSING)
            for name in kind.__slots__:
                setattr(each, name, self.lift(content[name], name) if name in content else None)

    def lift(self, value: Any, name: str = "") -> Any:
        """A value with the objects themselves in place of references."""
        kind = type(value)
        if name in _OPAQUE:
            return value
        if kind is Ref:
            return self._objects[value.number]
        if kind is Shared:
            return self._values[value.number]
        if kind is Spec:
            return self._plan.vertices[value.name].sync_point
        if kind is dict:
            return {key: self.lift(item) for key, item in value.items()}
        if kind is list:
            return [self.lift(item) for item in value]
        if kind is tuple:
            return tuple([self.lift(item) for item in value])
        if kind is set:
            return {self.lift(item) for item in value}
        return value
