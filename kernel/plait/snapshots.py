"""A machine as bytes, and back: what a resumed run begins with in place of a long replay.

A machine is a graph of a few classes of its own. Each object gets a number, and stands for itself
by it; values that several branches share are stored once. Snapshots only save time: what they say
is what a replay of the journal up to their position would say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast, get_args

from .barrier import Barrier
from .codec import Codec, TypeRegistry
from .errors import PlaitError, StoreError
from .events import Interrupt, InterruptId, Outcome, Outcomes, Target, TimerKey, format_path
from .machine import Machine
from .plan import Plan, SyncPointSpec
from .state import NodeWrites, Overwrite, Values
from .tree import Branch, Generation, Member, Questions, Status

__all__ = ["Header", "Outdated", "header_of", "register_types", "restore", "take"]

T = TypeVar("T")

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
    if not (type(content) is list and len(content) == 6 and type(content[0]) is Header):
        raise StoreError("it does not begin with its header, so it is no snapshot")
    header: Header = content[0]
    if header.format != _FORMAT:
        raise Outdated(
            f"it has format {header.format!r:.40}, and this Plait reads {_FORMAT}: read it with "
            "the Plait that wrote it"
        )
    if type(header.plan) is not str or type(header.bits) is not dict:
        raise _nonsense("its header does not say which graph it is of")
    return header


def restore(content: Any, plan: Plan, *, keep_delta: bool = False) -> Machine:
    """The machine that a decoded snapshot stands for; ``keep_delta`` as for ``Machine``.

    Whoever can write snapshots can put together a state that no run came to, and none that is not
    of this graph, or in which a walk would not end.

    Raises ``Outdated``, or ``StoreError`` if it makes no sense.
    """
    _, state, after, objects, values, cells = content
    machine = Machine(plan, keep_delta=keep_delta)
    reader = _Reader(plan, _list(objects), _list(values), _list(cells))
    reader.fill(machine, state, _MACHINE)
    machine.after.update(_dependencies(reader, after))
    _check_walks(machine, reader.made(Branch), reader.made(Generation))
    return machine


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
    """Puts a machine together.

    A snapshot says which object is where, and never what is done with it: for each attribute
    there is a function here that says what may stand in it, and anything else is refused.
    """

    def __init__(self, plan: Plan, objects: list[Any], values: list[Any], cells: list[Any]) -> None:
        self.plan = plan
        self._values = [
            {_text(self, name): _numbered(cells, number) for name, number in _dict(each).items()}
            for each in values
        ]
        parts = [_pair(each) for each in objects]
        self._objects: list[Any] = [
            object.__new__(_numbered(_CLASSES, number)) for number, _ in parts
        ]
        for each, (_, content) in zip(self._objects, parts, strict=True):
            self.fill(each, content, _ATTRIBUTES[type(each)])
            for name in _PASSING.intersection(type(each).__slots__):
                setattr(each, name, None)

    def fill(self, target: Any, content: Any, attributes: Mapping[str, _Lift]) -> None:
        """Set the attributes of an object: all of them, and no others."""
        found = _dict(content)
        if found.keys() != attributes.keys():
            different = ", ".join(sorted(map(repr, found.keys() ^ attributes.keys())))
            raise Outdated(
                f"what it says of a {type(target).__name__} is not what this Plait keeps "
                f"({different:.200}): read it with the Plait that wrote it"
            )
        for name, lift in attributes.items():
            try:
                setattr(target, name, lift(self, found[name]))
            except StoreError as error:
                raise StoreError(f"{error} ({type(target).__name__}.{name})") from None

    def made(self, class_: type[T]) -> list[T]:
        """All objects of a class."""
        return [each for each in self._objects if type(each) is class_]

    def object(self, value: Any) -> Any:
        """The object that a reference stands for."""
        return _numbered(self._objects, _exactly(Ref, value).number)

    def shared(self, value: Any) -> Values:
        """The channel values that a reference stands for."""
        found: Values = _numbered(self._values, _exactly(Shared, value).number)
        return found


# -- what may stand where ---------------------------------------------------------------------

_Lift: TypeAlias = Callable[[_Reader, Any], Any]
"""Makes an attribute of what a snapshot holds for it. Raises ``StoreError``."""


def _nonsense(problem: str) -> StoreError:
    return StoreError(f"it makes no sense, so it was changed or damaged: {problem}")


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _nonsense(f"a {kind.__name__} should be where a {type(value).__name__} is")
    return value


def _list(value: Any) -> list[Any]:
    return _exactly(list, value)  # type: ignore[no-any-return]


def _dict(value: Any) -> dict[Any, Any]:
    return _exactly(dict, value)  # type: ignore[no-any-return]


def _pair(value: Any) -> list[Any]:
    if len(_list(value)) != 2:
        raise _nonsense("an object has a class and attributes, and nothing else")
    return value  # type: ignore[no-any-return]


def _numbered(items: Sequence[Any], number: Any) -> Any:
    if not 0 <= _exactly(int, number) < len(items):
        raise _nonsense(f"there is no number {number}, but {len(items)} in all")
    return items[number]


def _anything(_: _Reader, value: Any) -> Any:
    return value


def _text(_: _Reader, value: Any) -> Any:
    return _exactly(str, value)


def _flag(_: _Reader, value: Any) -> Any:
    return _exactly(bool, value)


def _count(_: _Reader, value: Any) -> Any:
    if _exactly(int, value) < 0:
        raise _nonsense(f"{value} is no count")
    return value


def _number(_: _Reader, value: Any) -> Any:
    return value if type(value) is int else _exactly(float, value)


def _path(_: _Reader, value: Any) -> Any:
    if any(type(each) is not int for each in _exactly(tuple, value)):
        raise _nonsense("the path of a branch is made of numbers")
    return value


def _vertex(reader: _Reader, value: Any) -> Any:
    if _exactly(str, value) not in reader.plan.vertices:
        raise _nonsense(f"the graph has no vertex {value!r:.80}")
    return value


def _channel(reader: _Reader, value: Any) -> Any:
    if _exactly(str, value) not in reader.plan.schema.channels:
        raise _nonsense(f"the schema has no channel {value!r:.80}")
    return value


def _spec(reader: _Reader, value: Any) -> Any:
    vertex = reader.plan.vertices.get(_text(reader, _exactly(Spec, value).name))
    if vertex is None or vertex.sync_point is None:
        raise _nonsense(f"the graph has no sync point {value.name!r:.80}")
    return vertex.sync_point


def _bit(reader: _Reader, value: Any) -> Any:
    if _exactly(int, value) not in reader.plan.sync_points:
        raise _nonsense(f"{value:#x} is the bit of no sync point"[:120])
    return value


def _mask(reader: _Reader, value: Any) -> Any:
    if _exactly(int, value) < 0 or value & ~sum(reader.plan.sync_points):
        raise _nonsense("a mask has bits that no sync point has")
    return value


def _values(reader: _Reader, value: Any) -> Any:
    return reader.shared(value)


def _error(_: _Reader, value: Any) -> Any:
    if not isinstance(value, PlaitError):
        raise _nonsense(f"an error should be where a {type(value).__name__} is")
    return value


def _of(class_: type) -> _Lift:
    return lambda reader, value: _exactly(class_, reader.object(value))


def _instance(class_: type) -> _Lift:
    return lambda _, value: _exactly(class_, value)


def _one_of(*words: str | None) -> _Lift:
    def lift(_: _Reader, value: Any) -> Any:
        if not (value is None or type(value) is str) or value not in words:
            raise _nonsense(f"{value!r:.40} is none of {', '.join(map(repr, words))}")
        return value

    return lift


def _maybe(lift: _Lift) -> _Lift:
    return lambda reader, value: None if value is None else lift(reader, value)


def _many(kind: Callable[[Iterable[Any]], Any], lift: _Lift) -> _Lift:
    """A list, tuple, set or frozenset of things of one sort."""
    wanted = cast("type", kind)
    return lambda reader, value: kind([lift(reader, each) for each in _exactly(wanted, value)])


def _map(key: _Lift, item: _Lift) -> _Lift:
    return lambda reader, value: {
        key(reader, name): item(reader, each) for name, each in _dict(value).items()
    }


def _row(kind: type, *lifts: _Lift) -> _Lift:
    """A tuple or a named tuple, item by item."""

    def lift(reader: _Reader, value: Any) -> Any:
        if len(_exactly(kind, value)) != len(lifts):
            raise _nonsense(f"a {kind.__name__} has {len(lifts)} items")
        items = [each(reader, item) for each, item in zip(lifts, value, strict=True)]
        return tuple(items) if kind is tuple else kind(*items)

    return lift


def _outcomes(reader: _Reader, value: Any) -> Any:
    return Outcomes([_outcome(reader, each) for each in _exactly(Outcomes, value)])


_paths = _many(frozenset, _path)
_dependencies = _map(_path, _paths)
_outcome = _instance(Outcome)
_branch, _generation, _member = _of(Branch), _of(Generation), _of(Member)
_branches = _many(list, _branch)
_writes = _many(tuple, _row(tuple, _channel, _anything))
_taken = _many(tuple, _row(tuple, _path, _count))
_delta = _many(list, _row(NodeWrites, _text, _writes, _path, _count, _taken))
_timer = _row(TimerKey, _path, _count, _vertex, _one_of("deadline", "grace"))
_timers = _map(_timer, _number)
_target = _row(Target, _vertex, _anything, _maybe(_text), _many(tuple, _text), _number)
_interrupt = _row(Interrupt, _text, _anything, _path, _text, _one_of("within", "before", "after"))
_late = _row(tuple, _member, _delta)

_ATTRIBUTES: Final[Mapping[type, Mapping[str, _Lift]]] = {
    Branch: {
        "apart": _flag,
        "argument": _anything,
        "arrivals": _maybe(_map(_bit, _branches)),
        "delta": _delta,
        "error": _maybe(_error),
        "failures": _maybe(_many(list, _row(tuple, _path, _error))),
        "forks": _many(list, _generation),
        "generation": _maybe(_generation),
        "heir": _maybe(_branch),
        "held_for": _maybe(_many(set, _path)),
        "hopes": _mask,
        "latecomers": _maybe(_map(_bit, _many(list, _late))),
        "leaves": _maybe(_map(_bit, _count)),
        "members": _many(tuple, _member),
        "next_child": _count,
        "outcome": _maybe(_outcome),
        "passages": _maybe(_map(_vertex, _count)),
        "path": _path,
        "place": _vertex,
        "questions": _maybe(_of(Questions)),
        "status": _one_of(*get_args(Status)),
        "step": _count,
        "target": _maybe(_target),
        "unfolded": _delta,
        "values": _values,
    },
    Generation: {
        "barriers": _map(_bit, _of(Barrier)),
        "children": _map(_path, _branch),
        "dependents": _map(_path, _branches),
        "finished": _map(_path, _delta),
        "fork": _vertex,
        "opened_at": _number,
        "owner": _branch,
        "scope": _mask,
        "waits": _map(_path, _many(tuple, _path)),
    },
    Barrier: {
        "arrived": _branches,
        "arrived_count": _count,
        "arrived_weight": _number,
        "guests": _many(set, _branch),
        "heir": _maybe(_branch),
        "judged": _count,
        "members": _many(list, _member),
        "met": _flag,
        "number": _count,
        "on_the_way": _many(set, _member),
        "opened": _flag,
        "parked": _count,
        "spec": _spec,
        "timer_due": _timers,
        "timer_left": _timers,
        "total_weight": _number,
    },
    Member: {
        "after": _paths,
        "branch": _branch,
        "fate": _one_of("late", "cancelled", None),
        "id": _maybe(_text),
        "node": _vertex,
        "path": _path,
        "weight": _number,
    },
    Questions: {
        "answers": _map(_text, _anything),
        "attempt": _count,
        "open": _map(_text, _interrupt),
        "targets": _maybe(_many(tuple, _target)),
    },
}
"""By class: all its slots, but those that are worked out again."""

_MACHINE: Final[Mapping[str, _Lift]] = {
    "values": _values,
    "live_values": _values,
    "branches": _map(_path, _branch),
    "outcomes": _map(_vertex, _outcomes),
    "runs": _count,
    "running": _flag,
    "_root": _maybe(_branch),
    "_alive": _count,
    "_asked": _map(_text, _branch),
    "_at": _number,
    "_any_dependents": _flag,
    "_ended": _branches,
}


def _check_walks(
    machine: Machine, branches: Sequence[Branch], generations: Sequence[Generation]
) -> None:
    """Refuse branches along which a walk up, down or to the heirs would not end."""
    for path, branch in machine.branches.items():
        if branch.path != path:
            raise _nonsense(f"branch {format_path(path)} is somewhere else")
    state = vars(machine)
    if state["_alive"] != sum(branch.is_leaf for branch in machine.branches.values()):
        raise _nonsense("not as many branches are alive as it says")
    if any(name not in _open_in(branch) for name, branch in state["_asked"].items()):
        raise _nonsense("a branch waits for an answer to what nobody asked")
    below: set[int] = set()
    for branch in branches:
        for generation in branch.forks:
            if generation.owner is not branch or id(generation) in below:
                raise _nonsense("a generation has two owners")
            below.add(id(generation))
    for generation in generations:
        for path, child in generation.children.items():
            if child.path != path or child.generation is not generation:
                raise _nonsense(f"branch {format_path(path)} has two parents")
    _check_ends(branches, lambda branch: branch.heir)
    _check_ends(branches, lambda branch: branch.generation.owner if branch.generation else None)


def _open_in(branch: Branch) -> Mapping[InterruptId, Interrupt]:
    return branch.questions.open if branch.questions is not None else {}


def _check_ends(branches: Iterable[Branch], follow: Callable[[Branch], Branch | None]) -> None:
    """Refuse branches from which following one another leads back."""
    ends: set[int] = set()
    for branch in branches:
        way: dict[int, Branch] = {}
        each: Branch | None = branch
        while each is not None and id(each) not in ends:
            if id(each) in way:
                raise _nonsense(f"branch {format_path(each.path)} follows upon itself")
            way[id(each)] = each
            each = follow(each)
        ends.update(way)
