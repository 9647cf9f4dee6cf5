"""From plain trees back to values.

What was read chooses among the functions written here and the types that were registered, and
nothing else: no name is imported, looked up in a module or called. Anything that the encoder would
not have written ends in an exception, which the codec turns into a ``DecodingError``.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from .faults import DecodingError, RecordedError
from .shapes import Shape, TypeRegistry

__all__ = ["FACTORIES", "Decoder"]

_MAX_DEPTH = 256
"""More than the encoder writes, fewer than Python's stack takes."""

_CONTAINERS = frozenset({list, dict})
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")

Reader = Callable[["Decoder", Any], Any]


class Decoder:
    """Makes values of plain trees, which it takes over; one for each record."""

    __slots__ = ("_depth", "_registry")

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._depth = 0

    def lift(self, tree: Any) -> Any:
        """The value that a plain tree stands for."""
        kind = type(tree)
        if kind is list:
            return self.items(tree)
        if kind is not dict:
            return tree
        if len(tree) == 1:
            ((tag, content),) = tree.items()
            if tag[:1] == "\0":
                return self._tagged(tag, content)
        return self.mapping(tree)

    def items(self, tree: Any) -> list[Any]:
        """The same list, with what its items stand for."""
        _expect(list, tree)
        if not _CONTAINERS.isdisjoint(map(type, tree)):
            self._enter()
            for index, item in enumerate(tree):
                if type(item) in _CONTAINERS:
                    tree[index] = self.lift(item)
            self._depth -= 1
        return tree  # type: ignore[no-any-return]

    def mapping(self, tree: Any) -> dict[str, Any]:
        """The same dict, with what its values stand for."""
        _expect(dict, tree)
        if not _CONTAINERS.isdisjoint(map(type, tree.values())):
            self._enter()
            for key, item in tree.items():
                if type(item) in _CONTAINERS:
                    tree[key] = self.lift(item)
            self._depth -= 1
        return tree  # type: ignore[no-any-return]

    def pairs(self, tree: Any, into: Any) -> Any:
        """Put keys and values that stand in turn into an empty mapping."""
        items = self.items(tree)
        for index in range(0, len(items), 2):
            into[items[index]] = items[index + 1]
        if 2 * len(into) != len(items):
            raise DecodingError("a mapping has a key twice")
        return into

    def _tagged(self, tag: str, content: Any) -> Any:
        self._enter()
        read = _READERS.get(tag)
        if read is not None:
            value = read(self, content)
        else:
            shape = self._shape(tag[2:]) if tag[1:2] == ":" else None
            if shape is None:
                raise DecodingError(
                    f"it holds a {tag[2:]!r}, which is not registered: register the type, or say "
                    f"formerly=[{tag[2:]!r}] where it has another name now"
                )
            value = shape.lift(self, content)
        self._depth -= 1
        return value

    def _shape(self, name: str) -> Shape | None:
        shape = self._registry.names.get(name)
        return shape if shape is not None else self._registry.recall(name)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise DecodingError("it is nested too deeply")

    # -- exceptions ---------------------------------------------------------------------------

    def error(self, tree: Any) -> BaseException:
        """An exception, as its facts or as one of Plait's own."""
        error = self.lift(tree)
        if not isinstance(error, BaseException):
            raise DecodingError("an exception was expected")
        return error

    def text(self, tree: Any) -> str:
        """A string."""
        return _expect(str, self.lift(tree))  # type: ignore[no-any-return]

    def chained(self, error: BaseException, chain: Any) -> BaseException:
        """The exception with its notes, its cause and its context."""
        notes, cause, context, suppressed = chain
        if _expect(list, notes):
            error.__notes__ = [self.text(note) for note in notes]
        if context is not None:
            error.__context__ = self.error(context)
        if cause is not None:
            error.__cause__ = self.error(cause)
        error.__suppress_context__ = _expect(bool, suppressed)
        return error


def _expect(kind: type, tree: Any) -> Any:
    if type(tree) is not kind:
        raise DecodingError(f"{kind.__name__} expected, and not {type(tree).__name__}")
    return tree


def _numbers(tree: Any) -> Any:
    """A list that begins with ints; bools are none."""
    if any(type(item) is not int for item in _expect(list, tree)):
        raise DecodingError("integers expected")
    return tree


# -- one reader for each tag ------------------------------------------------------------------


def _dict(decoder: Decoder, tree: Any) -> Any:
    return decoder.pairs(tree, {})


def _str(decoder: Decoder, tree: Any) -> Any:
    return _expect(bytes, tree).decode("utf-8", "surrogatepass")


def _int(decoder: Decoder, tree: Any) -> Any:
    return int.from_bytes(_expect(bytes, tree), "little", signed=True)


def _tuple(decoder: Decoder, tree: Any) -> Any:
    return tuple(decoder.items(tree))


def _set(decoder: Decoder, tree: Any) -> Any:
    items = decoder.items(tree)
    result = set(items)
    if len(result) != len(items):
        raise DecodingError("a set has an element twice")
    return result


def _frozenset(decoder: Decoder, tree: Any) -> Any:
    return frozenset(_set(decoder, tree))


def _deque(decoder: Decoder, tree: Any) -> Any:
    longest, items = tree
    longest = None if longest is None else _expect(int, decoder.lift(longest))
    result = collections.deque(decoder.items(items), longest)
    if len(result) != len(items):
        raise DecodingError("a deque is longer than its maxlen")
    return result


def _ordered_dict(decoder: Decoder, tree: Any) -> Any:
    return decoder.pairs(tree, collections.OrderedDict())


def _counter(decoder: Decoder, tree: Any) -> Any:
    return decoder.pairs(tree, collections.Counter())


FACTORIES: Final[dict[str, type]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "tuple": tuple,
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
}
"""What may make the values of a defaultdict."""


def _defaultdict(decoder: Decoder, tree: Any) -> Any:
    name, content = tree
    factory = None if name is None else FACTORIES[name]
    return decoder.pairs(content, collections.defaultdict(factory))


def _bytearray(decoder: Decoder, tree: Any) -> Any:
    return bytearray(_expect(bytes, tree))


def _complex(decoder: Decoder, tree: Any) -> Any:
    real, imaginary = tree
    return complex(_expect(float, real), _expect(float, imaginary))


def _date(decoder: Decoder, tree: Any) -> Any:
    year, month, day = _numbers(tree)
    return dt.date(year, month, day)


def _datetime(decoder: Decoder, tree: Any) -> Any:
    zone = _zone(decoder, tree.pop())
    year, month, day, hour, minute, second, microsecond, fold = _numbers(tree)
    return dt.datetime(year, month, day, hour, minute, second, microsecond, tzinfo=zone, fold=fold)


def _time(decoder: Decoder, tree: Any) -> Any:
    zone = _zone(decoder, tree.pop())
    hour, minute, second, microsecond, fold = _numbers(tree)
    return dt.time(hour, minute, second, microsecond, tzinfo=zone, fold=fold)


def _timedelta(decoder: Decoder, tree: Any) -> Any:
    days, seconds, microseconds = _numbers(tree)
    return dt.timedelta(days, seconds, microseconds)


def _zone(decoder: Decoder, tree: Any) -> Any:
    if tree is None:
        return None
    if type(tree) is int:
        return dt.timezone(dt.timedelta(microseconds=tree))
    if type(tree) is list:
        offset, name = tree
        return dt.timezone(dt.timedelta(microseconds=_expect(int, offset)), decoder.text(name))
    # The key becomes a path in the time zone database: no way may lead out of there.
    if not _ZONE_KEY.fullmatch(_expect(str, tree)):
        raise DecodingError(f"{tree!r} is no key of a time zone")
    try:
        return zoneinfo.ZoneInfo(tree)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise DecodingError(
            f"the time zone {tree!r} is not known on this machine: install tzdata"
        ) from error


def _zone_itself(decoder: Decoder, tree: Any) -> Any:
    zone = _zone(decoder, tree)
    if zone is None:
        raise DecodingError("a time zone was expected")
    return zone


def _decimal(decoder: Decoder, tree: Any) -> Any:
    result = decimal.Decimal(_expect(str, tree))
    if str(result) != tree:  # where the context does not trap, nonsense becomes NaN
        raise DecodingError("a Decimal was expected")
    return result


def _uuid(decoder: Decoder, tree: Any) -> Any:
    if type(tree) is bytes:
        return uuid.UUID(bytes=tree)
    content, safe = tree
    return uuid.UUID(bytes=_expect(bytes, content), is_safe=uuid.SafeUUID(_expect(int, safe)))


def _path_of(type_: type[pathlib.PurePath]) -> Reader:
    def read(decoder: Decoder, tree: Any) -> Any:
        text = decoder.text(tree)
        path = type_(text)
        if str(path) != text:
            raise DecodingError("a path was expected as it is written")
        return path

    return read


def _error(decoder: Decoder, tree: Any) -> Any:
    name, message, members, *chain = tree
    recorded = RecordedError(
        decoder.text(name),
        decoder.text(message),
        tuple(map(decoder.error, _expect(list, members))),
    )
    return decoder.chained(recorded, chain)


def _registered_error(decoder: Decoder, tree: Any) -> Any:
    error, *chain = tree
    return decoder.chained(decoder.error(error), chain)


_READERS: Final[dict[str, Reader]] = {
    "\0d": _dict,
    "\0u": _str,
    "\0i": _int,
    "\0t": _tuple,
    "\0s": _set,
    "\0f": _frozenset,
    "\0q": _deque,
    "\0o": _ordered_dict,
    "\0c": _counter,
    "\0k": _defaultdict,
    "\0y": _bytearray,
    "\0z": _complex,
    "\0A": _date,
    "\0D": _datetime,
    "\0T": _time,
    "\0L": _timedelta,
    "\0Z": _zone_itself,
    "\0M": _decimal,
    "\0U": _uuid,
    "\0pp": _path_of(pathlib.PurePosixPath),
    "\0pw": _path_of(pathlib.PureWindowsPath),
    "\0Pp": _path_of(pathlib.PosixPath),
    "\0Pw": _path_of(pathlib.WindowsPath),
    "\0e": _error,
    "\0x": _registered_error,
}
