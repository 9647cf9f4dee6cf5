"""The events of a journal as plain trees: a number for the kind, then the fields in order.

A field that is added to an event later must have a default, which older records then take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

from plait.errors import PlaitError
from plait.events import (
    NO_ARGUMENT,
    GraphAdopted,
    Interrupt,
    InterruptsAnswered,
    JournalEvent,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeRetried,
    QuorumJudged,
    Routed,
    RunStarted,
    StateUpdated,
    Target,
    TimerFired,
    TimerKey,
    Writes,
)

from .decoder import Decoder
from .encoder import MAX_DEPTH, PLAIN, Encoder, plain_size
from .faults import DecodingError, Refused

__all__ = ["lift_event", "lower_event", "lower_plain", "values_of"]


class Field(NamedTuple):
    """How one field of an event is taken apart, and rebuilt and checked."""

    lower: Callable[[Encoder, Any], Any]
    lift: Callable[[Decoder, Any], Any]


def _of_types(*kinds: type) -> Field:
    """A field that is plain, or nearly: a string may hold lone surrogates."""

    def lower(encoder: Encoder, value: Any) -> Any:
        if type(value) not in kinds:
            raise Refused(value, f"an event wants {kinds[0].__name__} here")
        return encoder.lower(value)

    def lift(decoder: Decoder, tree: Any) -> Any:
        value = decoder.lift(tree)
        if type(value) not in kinds:
            raise DecodingError(f"an event wants {kinds[0].__name__} where it has {value!r:.40}")
        return value

    return Field(lower, lift)


def _row_of(items: Field) -> Field:
    """A tuple of any length, of items of one sort."""

    def lower(encoder: Encoder, value: Any) -> Any:
        return [items.lower(encoder, item) for item in value]

    def lift(decoder: Decoder, tree: Any) -> Any:
        return tuple([items.lift(decoder, item) for item in _list(tree)])

    return Field(lower, lift)


def _list(tree: Any) -> list[Any]:
    if type(tree) is not list:
        raise DecodingError("an event wants a list here")
    return tree


_NUMBER = _of_types(float, int)
_COUNT = _of_types(int)
_FLAG = _of_types(bool)
_TEXT = _of_types(str)
_OPTIONAL_TEXT = _of_types(str, type(None))
_TEXTS = _row_of(_TEXT)


# -- branch paths: plain without a look at each number ----------------------------------------


_INTEGERS = frozenset({int})
_STRINGS = frozenset({str})


def _lower_path(encoder: Encoder, path: Any) -> Any:
    if not _INTEGERS.issuperset(map(type, path)):
        raise Refused(path, "an event wants a branch's path here")
    return list(path) if type(path) is not tuple else path


def _lift_path(decoder: Decoder, tree: Any) -> Any:
    if not _INTEGERS.issuperset(map(type, _list(tree))):
        raise DecodingError("an event wants a branch's path here")
    return tuple(tree)


_PATH = Field(_lower_path, _lift_path)


# -- writes and answers: channel or id, and value, in turn ------------------------------------


def _lower_writes(encoder: Encoder, writes: Any) -> Any:
    return _lower_pairs(encoder, writes, str)


def _lower_answers(encoder: Encoder, answers: Any) -> Any:
    return _lower_pairs(encoder, answers, _answer_to)


def _answer_to(name: str) -> str:
    return f"the answer to interrupt {name!r}"


def _lower_pairs(encoder: Encoder, pairs: Any, say: Callable[[str], str]) -> Any:
    tree = []
    as_it_is = not encoder.careful
    for name, value in pairs:
        tree.append(name if as_it_is and type(name) is str else _TEXT.lower(encoder, name))
        try:
            tree.append(encoder.lower_whole(value))
        except Refused as refused:
            refused.channel = say(name)
            raise
    return tree


def _lift_pairs(decoder: Decoder, tree: Any) -> Any:
    items = iter(_list(tree))
    return tuple(
        [
            (_TEXT.lift(decoder, channel), decoder.lift(value))
            for channel, value in zip(items, items, strict=True)
        ]
    )


_WRITES = Field(_lower_writes, _lift_pairs)
_ANSWERS = Field(_lower_answers, _lift_pairs)


# -- targets: a name alone, or all fields; the argument last, if there is one -----------------


# By identity, since 1 and 1.0 are equal and not the same.
_NO_WEIGHT: Final = Target("").weight


def _is_plain(target: Target) -> bool:
    """Whether its name says it all."""
    _, argument, id_, after, weight = target
    return argument is NO_ARGUMENT and id_ is None and not after and weight is _NO_WEIGHT


def _lower_target(encoder: Encoder, target: Any) -> Any:
    node = _TEXT.lower(encoder, target.node)
    if _is_plain(target):
        return node
    tree = [
        node,
        _OPTIONAL_TEXT.lower(encoder, target.id),
        _TEXTS.lower(encoder, target.after),
        _NUMBER.lower(encoder, target.weight),
    ]
    if target.argument is not NO_ARGUMENT:
        try:
            tree.append(encoder.lower_whole(target.argument))
        except Refused as refused:
            refused.channel = f"the argument of {target.node!r}"
            raise
    return tree


def _lift_target(decoder: Decoder, tree: Any) -> Any:
    if type(tree) is not list:
        return Target(_TEXT.lift(decoder, tree))
    node, id_, after, weight, *argument = tree
    if len(argument) > 1:
        raise DecodingError("a target has one argument at most")
    return Target(
        _TEXT.lift(decoder, node),
        decoder.lift(argument[0]) if argument else NO_ARGUMENT,
        _OPTIONAL_TEXT.lift(decoder, id_),
        _TEXTS.lift(decoder, after),
        _NUMBER.lift(decoder, weight),
    )


_TARGETS = _row_of(Field(_lower_target, _lift_target))


# -- interrupts -------------------------------------------------------------------------------


def _asked_by(interrupt: Interrupt) -> str:
    return f"the value of interrupt {interrupt.id!r}"


def _lower_interrupt(encoder: Encoder, interrupt: Any) -> Any:
    try:
        value = encoder.lower_whole(interrupt.value)
    except Refused as refused:
        refused.channel = _asked_by(interrupt)
        raise
    return [
        _TEXT.lower(encoder, interrupt.id),
        value,
        _PATH.lower(encoder, interrupt.branch),
        _TEXT.lower(encoder, interrupt.node),
        _TEXT.lower(encoder, interrupt.when),
    ]


def _lift_interrupt(decoder: Decoder, tree: Any) -> Any:
    name, value, branch, node, when = _list(tree)
    if when not in {"within", "before", "after"}:
        raise DecodingError(f"no interrupt is asked {when!r:.40} a node")
    return Interrupt(
        _TEXT.lift(decoder, name),
        decoder.lift(value),
        _PATH.lift(decoder, branch),
        _TEXT.lift(decoder, node),
        when,
    )


_INTERRUPTS = _row_of(Field(_lower_interrupt, _lift_interrupt))


# -- errors and timers ------------------------------------------------------------------------


def _lift_plait_error(decoder: Decoder, tree: Any) -> Any:
    error = decoder.error(tree)
    if not isinstance(error, PlaitError):
        raise DecodingError("an event wants an error of Plait's own here")
    return error


def _lower_error(encoder: Encoder, error: Any) -> Any:
    return encoder.error(error)


_ERROR = Field(_lower_error, Decoder.error)
_PLAIT_ERROR = Field(_lower_error, _lift_plait_error)


def _lower_timer(encoder: Encoder, timer: Any) -> Any:
    return _lower_fields(encoder, _TIMER_FIELDS, timer)


def _lift_timer(decoder: Decoder, tree: Any) -> Any:
    timer = TimerKey(*_lift_fields(decoder, _TIMER_FIELDS, _list(tree)))
    if timer.kind not in {"deadline", "grace"}:
        raise DecodingError(f"there is no timer of kind {timer.kind!r}")
    return timer


_TIMER_FIELDS = (_PATH, _COUNT, _TEXT, _TEXT)
_TIMER = Field(_lower_timer, _lift_timer)


# -- events -----------------------------------------------------------------------------------

_FIELDS: Final[dict[type, tuple[Field, ...]]] = {
    RunStarted: (_NUMBER, _PATH, _WRITES, _TEXT),
    NodeCompleted: (_NUMBER, _PATH, _TEXT, _COUNT, _WRITES, _TARGETS, _NUMBER, _INTERRUPTS),
    NodeRetried: (_NUMBER, _PATH, _TEXT, _COUNT, _ERROR, _NUMBER),
    NodeFailed: (_NUMBER, _PATH, _TEXT, _COUNT, _PLAIT_ERROR, _TEXT),
    Routed: (_NUMBER, _PATH, _TEXT, _TARGETS),
    TimerFired: (_NUMBER, _TIMER),
    QuorumJudged: (_NUMBER, _PATH, _COUNT, _TEXT, _COUNT, _FLAG),
    GraphAdopted: (_NUMBER, _TEXT),
    NodeInterrupted: (_NUMBER, _PATH, _TEXT, _COUNT, _INTERRUPTS),
    InterruptsAnswered: (_NUMBER, _ANSWERS),
    StateUpdated: (_NUMBER, _PATH, _TEXT, _WRITES),
}
"""In the order of the events' own fields."""

_KINDS: Final = tuple(_FIELDS)
"""Their places are in the records: append new kinds at the end."""
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_COMPLETED: Final = _NUMBERS[NodeCompleted]
_STARTED: Final = _NUMBERS[RunStarted]


def lower_event(encoder: Encoder, event: JournalEvent) -> list[Any]:
    """The plain tree of an event. Raises ``Refused``."""
    kind = type(event)
    number = _NUMBERS.get(kind)
    if number is None:
        raise Refused(event, "it is no event of a journal")
    return [number, *_lower_fields(encoder, _FIELDS[kind], event)]


def lower_plain(event: JournalEvent, limit: int) -> list[Any] | None:
    """The same tree in a third of the time, for a run's beginning or a node's completion without
    anything unusual in it, as nine events of ten are; ``None`` for any other.

    Args:
        limit: the most elements that its values may have in all.
    """
    if type(event) is NodeCompleted:
        return _lower_completed(event, limit)
    return _lower_started(event, limit) if type(event) is RunStarted else None


def _lower_started(event: RunStarted, limit: int) -> list[Any] | None:
    at, branch, writes, plan = event
    content = _plain_writes(writes, limit)
    if (
        content is None
        or type(at) is not float
        or type(plan) is not str
        or type(branch) is not tuple
        or not _INTEGERS.issuperset(map(type, branch))
    ):
        return None
    return [_STARTED, at, branch, content, plan]


def _lower_completed(event: NodeCompleted, limit: int) -> list[Any] | None:
    at, branch, node, attempt, writes, targets, started, interrupts = event
    if (
        type(at) is not float
        or type(node) is not str
        or type(attempt) is not int
        or type(started) is not float
        or interrupts
        or type(branch) is not tuple
        or not _INTEGERS.issuperset(map(type, branch))
    ):
        return None
    content = _plain_writes(writes, limit)
    if content is None:
        return None
    names: list[str] = []
    for target in targets:
        if not _is_plain(target) or type(target.node) is not str:
            return None
        names.append(target.node)
    return [_COMPLETED, at, branch, node, attempt, content, names, started, ()]


def _plain_writes(writes: Writes, limit: int) -> list[Any] | None:
    content: list[Any] = []
    for name, value in writes:
        kind = type(value)
        if kind is list or kind is dict:
            size = plain_size(value, limit, MAX_DEPTH)
            if size < 0:
                return None
            limit -= size
        elif kind not in PLAIN:
            return None
        if type(name) is not str:
            return None
        content += (name, value)
    return content


def lift_event(decoder: Decoder, tree: Any) -> JournalEvent:
    """The event that a plain tree stands for. May raise anything."""
    number, *content = _list(tree)
    if type(number) is not int or not 0 <= number < len(_KINDS):
        raise DecodingError(f"there is no event of kind {number!r:.40}")
    kind = _KINDS[number]
    return cast("JournalEvent", kind(*_lift_fields(decoder, _FIELDS[kind], content)))


def _lower_fields(encoder: Encoder, fields: tuple[Field, ...], record: Any) -> list[Any]:
    return [field.lower(encoder, value) for field, value in zip(fields, record, strict=True)]


def _lift_fields(decoder: Decoder, fields: tuple[Field, ...], content: list[Any]) -> list[Any]:
    """Fields at the end may be missing; the record then takes their defaults, if it has them."""
    if len(content) > len(fields):
        raise DecodingError("an event has more fields than this Plait knows")
    return [field.lift(decoder, tree) for field, tree in zip(fields, content, strict=False)]


def values_of(event: JournalEvent) -> Iterator[tuple[str, Any]]:
    """Every value of the user's in an event, each with the channel or argument that it is."""
    if isinstance(event, (RunStarted, NodeCompleted, StateUpdated)):
        yield from event.writes
    if isinstance(event, (NodeCompleted, NodeInterrupted)):
        for interrupt in event.interrupts:
            yield _asked_by(interrupt), interrupt.value
    if isinstance(event, InterruptsAnswered):
        for name, answer in event.answers:
            yield _answer_to(name), answer
    if isinstance(event, (NodeCompleted, Routed)):
        for target in event.targets:
            if target.argument is not NO_ARGUMENT:
                yield f"the argument of {target.node!r}", target.argument
