"""The serializer of savers and caches: on Plait's codec, so without pickle and imports by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from plait.codec import Codec, DecodingError
from plait_adapters.langgraph._support import missing

from ._known import KnownTypes
from .base import SerializerProtocol

__all__ = [
    "MAX_VALUE_BYTES",
    "JsonPlusSerializer",
    "UnknownEncodingError",
    "register_annotations",
]

MAX_VALUE_BYTES: Final = 256 * 1024 * 1024
"""How many bytes one value may take, unless the serializer is told otherwise."""

_UNSAID: Final[Any] = object()


class UnknownEncodingError(DecodingError, NotImplementedError):
    """Bytes were made in a way that this serializer does not know, or not any more."""


class JsonPlusSerializer:
    """Makes bytes of values and values of bytes.

    Python's own types, langchain-core's messages and LangGraph's types come back as they were; an
    exception comes back as its ``repr``. Dataclasses, pydantic models, named tuples and enums have
    to be registered, since what is read can only name types that are: those to which the
    annotations of a graph's schemas lead are registered when it is compiled, others here. What
    cannot be stored is refused when it is written.

    Data that LangGraph's own serializer has written is not read.

    Args:
        pickle_fallback: must be false: stored bytes could run code.
        allowed_json_modules: must be ``None``: that was a format of LangGraph's own.
        allowed_msgpack_modules: types to register; each is the type, or the name of its module and
            its own name, which is imported now. Not ``True``: there is no way to allow all.
        learns: register dataclasses, models, named tuples and enums when they are first written.
            What learned types have made can be read by this serializer only, so savers that keep
            data for other processes switch it off, unless it is asked for.
        max_value_bytes: how many bytes one value may take.

    Raises:
        ValueError: what was asked for is not there, for the reasons above.
        TypeError: what is named there is no type.
        RegistrationError: a type cannot be taken apart.
    """

    def __init__(
        self,
        *,
        pickle_fallback: bool = False,
        allowed_json_modules: Iterable[tuple[str, ...]] | Literal[True] | None = None,
        allowed_msgpack_modules: Iterable[tuple[str, ...] | type] | Literal[True] | None = _UNSAID,
        learns: bool | None = None,
        max_value_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        if pickle_fallback:
            raise ValueError(
                "pickle_fallback=True is not supported: whoever can write to the store could run "
                "code. Register the type: allowed_msgpack_modules=[MyType]"
            )
        if allowed_json_modules is not None:
            raise ValueError(
                "allowed_json_modules is not supported: data of LangGraph's own is not read"
            )
        if allowed_msgpack_modules is True:
            raise ValueError(
                "allowed_msgpack_modules=True is not supported, since nothing is imported by a "
                "name that was read: list the types, allowed_msgpack_modules=[MyType]"
            )
        self.pickle_fallback = False
        self.max_value_bytes = max_value_bytes
        self._learns = learns
        self.types: KnownTypes = KnownTypes(learns=learns is not False)
        if allowed_msgpack_modules is not _UNSAID and allowed_msgpack_modules is not None:
            self.types.add(*map(_type, allowed_msgpack_modules))

    @cached_property
    def _codec(self) -> Codec:
        return Codec(self.types, max_value_bytes=self.max_value_bytes)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """How the bytes were made, and the bytes.

        Raises:
            EncodingError: some part of the value cannot be stored.
        """
        kind = type(obj)
        if obj is None:
            return "null", b""
        if kind is bytes:
            return "bytes", obj
        if kind is bytearray:
            return "bytearray", bytes(obj)
        return "msgpack", self._codec.encode(obj)

    def dumps_own(self, tree: Any) -> tuple[str, bytes]:
        """As ``dumps_typed``, for what a saver itself has put together of strings, numbers,
        ``None``, bytes, lists and dicts with string keys; several times faster."""
        content = self._codec.encode_plain(tree)
        return self.dumps_typed(tree) if content is None else ("plain", content)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value that ``dumps_typed`` gave this for.

        Raises:
            DecodingError: it did not, or a type is not registered.
        """
        how, content = data
        if how == "msgpack":
            return self._codec.decode(content)
        if how == "plain":
            return self._codec.decode_plain(content)
        if how == "null":
            return None
        if how == "bytes":
            return content
        if how == "bytearray":
            return bytearray(content)
        raise UnknownEncodingError(
            f"it was made by {how!r}, and this serializer knows null, bytes, bytearray and its own "
            "msgpack and plain: read it with the serializer that wrote it"
        )

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> Self:
        """One that knows more types."""
        return self._clone(self.types.copy(), *map(_type, extra_allowlist))

    def for_storage(self) -> Self:
        """One that does not learn types, unless that was asked for."""
        return self if self._learns is not None else self._clone(self.types.copy(learns=False))

    def _clone(self, types: KnownTypes, *more: type) -> Self:
        other = type(self)(learns=self._learns, max_value_bytes=self.max_value_bytes)
        other.types = types
        types.add(*more)
        return other


def dumps_own(serde: SerializerProtocol) -> Callable[[Any], tuple[str, bytes]]:
    """What makes bytes of what a saver itself has put together: one of ours does so faster, unless
    a subclass has another way of making bytes."""
    if type(serde).dumps_typed is JsonPlusSerializer.dumps_typed:
        return cast("JsonPlusSerializer", serde).dumps_own
    return serde.dumps_typed


def register_annotations(holder: Any, *annotations: Any) -> None:
    """Let what annotations lead to be stored by a saver, a cache, or a serializer.

    Args:
        holder: a serializer, or something that has one as ``serde``. A serializer that is none of
            these is left as it is.
        annotations: types, annotations, functions (for their parameters and results).
    """
    serde = getattr(holder, "serde", holder)
    while not isinstance(serde, JsonPlusSerializer):  # one may be within a cipher
        serde = getattr(serde, "serde", None)
        if serde is None:
            return
    serde.types.add_annotations(annotations)


def _type(item: tuple[str, ...] | type) -> type:
    """A type that the program has named, in its own code."""
    if isinstance(item, type):
        return item
    *modules, name = item
    found = getattr(importlib.import_module(".".join(modules)), name, None)
    if not isinstance(found, type):
        raise TypeError(f"allowed_msgpack_modules names {item!r}, and that is no type")
    return found


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
