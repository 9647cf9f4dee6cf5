"""From values to plain trees, which msgpack can hold without loss.

A plain tree is made of ``None``, bools, ints of up to 64 bits, floats, strings, bytes, lists, and
dicts with string keys. Everything else becomes a dict with one key that begins with NUL and says
what it is; a user's dict that looks like one is written as something else. So what a reader gets
never depends on what it expects.

Each value goes by its exact type: an instance of a subclass is another type. Containers of plain
things only are recognised by loops that run in C, and are passed on as they are.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final

from plait.errors import shorten

from .decoder import FACTORIES
from .faults import RecordedError, Refused, name_of
from .shapes import ErrorShape, TypeRegistry

__all__ = ["MAX_DEPTH", "PLAIN", "Encoder", "format_key", "is_plain", "plain_size"]

MAX_DEPTH: Final = 64
"""How deep containers may be nested. A level takes up to 3 of msgpack's, and ormsgpack writes at
most 255 of those."""

_LONGEST_CHAIN = 10
"""How many causes of an exception are stored; a longer chain is a loop, or nobody reads it."""

_LONGEST_MESSAGE = 16 * 1024
"""How many characters of an exception's message are stored."""

_STRINGS = frozenset({str})
PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
"""The types of what msgpack takes as it is."""
# Strings may hold lone surrogates and ints may be large. Both are rare, and msgpack refuses them,
# so they are looked for only once it has.
_SURELY_PLAIN = frozenset({type(None), bool, float, bytes})

Writer = Callable[["Encoder", Any], Any]


class Encoder:
    """Makes plain trees; one for each record, since it counts.

    Args:
        registry: the types beyond Python's own.
        limit: the most elements in all; each of them takes a byte at least.
        careful: look at each string and int too.
    """

    __slots__ = ("_depth", "_left", "_limit", "_plain", "_registry", "careful")

    def __init__(self, registry: TypeRegistry, limit: int, *, careful: bool) -> None:
        self._registry = registry
        self._limit = limit
        self._left = limit
        self._depth = 0
        self.careful: bool = careful
        self._plain = _SURELY_PLAIN if careful else PLAIN

    def lower_whole(self, value: Any) -> Any:
        """As ``lower``, and several times faster where the value is a plain tree already.

        For a value as it comes from the user; for its parts the look ahead would not pay.
        """
        kind = type(value)
        if (kind is dict or kind is list) and not self.careful:
            size = plain_size(value, self._left, MAX_DEPTH - self._depth)
            if size >= 0:
                self._left -= size
                return value
        return self.lower(value)

    def lower(self, value: Any) -> Any:
        """The plain tree of a value. Raises ``Refused``."""
        kind = type(value)
        if kind in self._plain:
            return value
        writer = _WRITERS.get(kind)
        if writer is not None:
            return writer(self, value)
        shape = self._registry.shapes.get(kind)
        if shape is None:
            shape = self._registry.meet(value)
            if shape is None:
                raise Refused(value, self._way_out(kind, value))
        if isinstance(shape, ErrorShape):
            return self.error(value)
        self._enter(value, 1)
        tree = {shape.key: shape.lower(self, value)}
        self._depth -= 1
        return tree

    def mapping(self, value: Mapping[str, Any], step: Callable[[Any], str]) -> dict[str, Any]:
        """A dict with string keys, its values lowered; the keys are trusted to be plain."""
        self._enter(value, len(value))
        plain = self._plain
        tree: Any = value
        if not plain.issuperset(map(type, value.values())):
            tree = dict(value)
            key = None
            try:
                for key, item in value.items():
                    if type(item) not in plain:
                        tree[key] = self.lower(item)
            except Refused as refused:
                refused.at(step(key))
                raise
        self._depth -= 1
        return tree  # type: ignore[no-any-return]

    def items(
        self, value: Any, size: int, step: Callable[[int], str] = "[{}]".format
    ) -> list[Any] | tuple[Any, ...]:
        """The items of something iterable, lowered."""
        self._enter(value, size)
        plain = self._plain
        if plain.issuperset(map(type, value)):
            tree = value if type(value) is list or type(value) is tuple else list(value)
        else:
            tree = list(value)
            index = 0
            try:
                for index, item in enumerate(tree):
                    if type(item) not in plain:
                        tree[index] = self.lower(item)
            except Refused as refused:
                refused.at(step(index))
                raise
        self._depth -= 1
        return tree

    def pairs(self, value: Mapping[Any, Any]) -> list[Any]:
        """Keys and values in turn, in order, lowered."""
        self._enter(value, len(value))
        tree = []
        for key, item in value.items():
            try:
                tree.append(self.lower(key))
            except Refused as refused:
                refused.at(f" key {shorten(key, 40)}")
                raise
            try:
                tree.append(self.lower(item))
            except Refused as refused:
                refused.at(format_key(key))
                raise
        self._depth -= 1
        return tree

    def _enter(self, value: Any, size: int) -> None:
        """Count a level and its elements, so that cycles and shared parts end somewhere."""
        self._left -= size
        self._depth += 1
        if self._left < 0:
            raise Refused(value, f"more than {self._limit:,} bytes", too_large=True)
        if self._depth > MAX_DEPTH:
            raise Refused(
                value, f"it is nested deeper than {MAX_DEPTH} levels, or it contains itself"
            )

    def _way_out(self, kind: type, value: Any) -> str:
        reason = self._registry.unsupported.get(kind)
        if reason is not None:
            return f"{reason}; register it with to= and of="
        if isinstance(value, BaseException):
            return (
                "an exception can be recorded as facts but not restored: write str(error), or "
                "register the type with to= and of="
            )
        if callable(value) and hasattr(value, "__qualname__"):
            return "code is not data: write its name, or its result"
        return "register it, by register(type) if it is a record, else with to= and of="

    # -- exceptions ---------------------------------------------------------------------------

    def error(self, error: BaseException) -> Any:
        """An exception as its facts. Never refuses: what cannot be stored is stored as its repr.

        A failure must not fail to be recorded.
        """
        return self._error(error, _LONGEST_CHAIN)

    def _error(self, error: BaseException, left: int) -> Any:
        shape = self._registry.shapes.get(type(error))
        if type(error) is RecordedError:
            kind, message = error.type, error.message
        else:
            kind, message = name_of(type(error)), _text_of(error)
        if left <= 0 or self._left <= 0 or self._depth >= MAX_DEPTH:
            return {"\0e": [self._cut(kind), self._cut(message), [], [], None, None, False]}
        self._left -= 1
        self._depth += 1
        tree: Any = None
        if isinstance(shape, ErrorShape):
            facts = {name: self._fact(fact) for name, fact in shape.facts(error).items()}
            tree = {shape.key: [self._cut(message), facts, *self._chain(error, left)]}
        elif shape is not None:
            restored = self._fact(error)
            if type(restored) is dict:
                tree = {"\0x": [restored, *self._chain(error, left)]}
        if tree is None:
            members = [self._error(member, left - 1) for member in _members(error)]
            tree = {
                "\0e": [self._cut(kind), self._cut(message), members, *self._chain(error, left)]
            }
        self._depth -= 1
        return tree

    def _chain(self, error: BaseException, left: int) -> list[Any]:
        """Notes, cause, context, and whether the context is kept from view."""
        notes = getattr(error, "__notes__", None)
        notes = notes if isinstance(notes, list) else []
        suppressed = error.__suppress_context__
        cause, context = error.__cause__, None if suppressed else error.__context__
        return [
            [self._cut(note) for note in notes if isinstance(note, str)],
            None if cause is None else self._error(cause, left - 1),
            None if context is None else self._error(context, left - 1),
            suppressed,
        ]

    def _cut(self, text: object) -> Any:
        text = str.__str__(text) if isinstance(text, str) else shorten(text)
        if len(text) > _LONGEST_MESSAGE:
            text = text[: _LONGEST_MESSAGE - 1] + "…"
        return _str(self, text)

    def _fact(self, fact: Any) -> Any:
        encoder = Encoder(self._registry, self._left, careful=True)
        encoder._depth = self._depth
        try:
            tree = encoder.lower(fact)
            size = _size(tree)
        except (Refused, RecursionError):
            return self._cut(shorten(fact))
        if size > self._left:
            return self._cut(shorten(fact))
        self._left -= size
        return tree


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """The members of an exception group, recorded or not."""
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions
    return error.members if type(error) is RecordedError else ()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # a broken __str__ must not hide the error that it is of
        return f"<its str raises {type(failure).__name__}>"


def _size(tree: Any) -> int:
    """About how many bytes a plain tree takes."""
    if isinstance(tree, (str, bytes)):
        return len(tree) + 1
    if isinstance(tree, dict):
        return 1 + sum(len(key) + 1 + _size(item) for key, item in tree.items())
    if isinstance(tree, (list, tuple)):
        return 1 + sum(map(_size, tree))
    return 1


def format_key(key: Any) -> str:
    """The step to the value under a key: ``['x']``."""
    return f"[{shorten(key, 40)}]"


def is_plain(value: Any, limit: int) -> bool:
    """Whether msgpack takes a value as it is, which then has at most ``limit`` elements in all."""
    kind = type(value)
    if kind is dict or kind is list:
        return plain_size(value, limit, MAX_DEPTH) >= 0
    return kind in PLAIN


def plain_size(value: Any, left: int, depth: int) -> int:
    """How many elements a dict or list has in all; -1 unless it is a plain tree within limits."""
    size = len(value)
    if type(value) is dict:
        if not _STRINGS.issuperset(map(type, value)) or (size == 1 and _looks_like_tag(value)):
            return -1
        value = value.values()
    if not PLAIN.issuperset(map(type, value)):
        for item in value:
            kind = type(item)
            if kind is dict or kind is list:
                within = plain_size(item, left, depth - 1) if depth > 1 else -1
                size += within
                if within < 0 or size > left:
                    return -1
            elif kind not in PLAIN:
                return -1
    return size if size <= left and depth > 0 else -1


def _looks_like_tag(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("\0")


# -- one writer for each type of Python's own -------------------------------------------------


def _dict(encoder: Encoder, value: dict[Any, Any]) -> Any:
    if _is_plain_mapping(encoder, value):
        return encoder.mapping(value, format_key)
    return {"\0d": encoder.pairs(value)}


def _is_plain_mapping(encoder: Encoder, value: dict[Any, Any]) -> bool:
    """Whether it has string keys that msgpack takes, and cannot be mistaken for a tag."""
    if not _STRINGS.issuperset(map(type, value)):
        return False
    if encoder.careful and not all(map(_is_text, value)):
        return False
    return not _looks_like_tag(value)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list(encoder: Encoder, value: list[Any]) -> Any:
    return encoder.items(value, len(value))


def _str(encoder: Encoder, value: str) -> Any:
    return value if _is_text(value) else {"\0u": value.encode("utf-8", "surrogatepass")}


def _int(encoder: Encoder, value: int) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    return {"\0i": value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)}


def _items_as(tag: str, step: Callable[[int], str] = "[{}]".format) -> Writer:
    def write(encoder: Encoder, value: Any) -> Any:
        return {tag: encoder.items(value, len(value), step)}

    return write


def _deque(encoder: Encoder, value: collections.deque[Any]) -> Any:
    return {"\0q": [_optional_int(encoder, value.maxlen), encoder.items(value, len(value))]}


def _optional_int(encoder: Encoder, value: int | None) -> Any:
    return None if value is None else _int(encoder, value)


def _pairs_as(tag: str) -> Writer:
    def write(encoder: Encoder, value: Any) -> Any:
        return {tag: encoder.pairs(value)}

    return write


_FACTORIES: Final[dict[Any, str]] = {kind: name for name, kind in FACTORIES.items()}


def _defaultdict(encoder: Encoder, value: collections.defaultdict[Any, Any]) -> Any:
    factory = value.default_factory
    try:
        name = None if factory is None else _FACTORIES[factory]
    except (KeyError, TypeError):
        raise Refused(
            value,
            f"its default_factory is {shorten(factory)}, and only a built-in type such as list or "
            "int can be stored: write dict(value)",
        ) from None
    return {"\0k": [name, encoder.pairs(value)]}


def _bytearray(encoder: Encoder, value: bytearray) -> Any:
    return {"\0y": bytes(value)}


def _complex(encoder: Encoder, value: complex) -> Any:
    return {"\0z": [value.real, value.imag]}


def _date(encoder: Encoder, value: dt.date) -> Any:
    return {"\0A": [value.year, value.month, value.day]}


def _datetime(encoder: Encoder, value: dt.datetime) -> Any:
    return {
        "\0D": [
            *(value.year, value.month, value.day),
            *(value.hour, value.minute, value.second, value.microsecond, value.fold),
            _zone(encoder, value.tzinfo, value),
        ]
    }


def _time(encoder: Encoder, value: dt.time) -> Any:
    return {
        "\0T": [
            *(value.hour, value.minute, value.second, value.microsecond, value.fold),
            _zone(encoder, value.tzinfo, value),
        ]
    }


def _timedelta(encoder: Encoder, value: dt.timedelta) -> Any:
    return {"\0L": [value.days, value.seconds, value.microseconds]}


def _zone(encoder: Encoder, zone: dt.tzinfo | None, holder: Any) -> Any:
    """``None``, microseconds east of UTC (with the name, if it was given one), or an IANA key."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        arguments: tuple[Any, ...] = zone.__getinitargs__()  # type: ignore[attr-defined]
        offset = arguments[0] // dt.timedelta(microseconds=1)
        return offset if len(arguments) == 1 else [offset, encoder.lower(str(arguments[1]))]
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return zone.key
    raise Refused(
        holder,
        f"its time zone is {shorten(zone)}: use datetime.timezone, or zoneinfo.ZoneInfo with a key",
    )


def _zone_itself(encoder: Encoder, value: dt.tzinfo) -> Any:
    return {"\0Z": _zone(encoder, value, value)}


def _decimal(encoder: Encoder, value: decimal.Decimal) -> Any:
    return {"\0M": str(value)}


def _uuid(encoder: Encoder, value: uuid.UUID) -> Any:
    safe = value.is_safe.value
    return {"\0U": value.bytes if safe is None else [value.bytes, safe]}


def _path_as(tag: str) -> Writer:
    def write(encoder: Encoder, value: pathlib.PurePath) -> Any:
        return {tag: encoder.lower(str(value))}

    return write


def _recorded_error(encoder: Encoder, value: RecordedError) -> Any:
    return encoder.error(value)


_WRITERS: Final[dict[type, Writer]] = {
    dict: _dict,
    list: _list,
    str: _str,
    int: _int,
    tuple: _items_as("\0t"),
    set: _items_as("\0s", lambda _: " element"),
    frozenset: _items_as("\0f", lambda _: " element"),
    collections.deque: _deque,
    collections.OrderedDict: _pairs_as("\0o"),
    collections.Counter: _pairs_as("\0c"),
    collections.defaultdict: _defaultdict,
    bytearray: _bytearray,
    complex: _complex,
    dt.date: _date,
    dt.datetime: _datetime,
    dt.time: _time,
    dt.timedelta: _timedelta,
    dt.timezone: _zone_itself,
    zoneinfo.ZoneInfo: _zone_itself,
    decimal.Decimal: _decimal,
    uuid.UUID: _uuid,
    pathlib.PurePosixPath: _path_as("\0pp"),
    pathlib.PureWindowsPath: _path_as("\0pw"),
    pathlib.PosixPath: _path_as("\0Pp"),
    pathlib.WindowsPath: _path_as("\0Pw"),
    RecordedError: _recorded_error,
}
