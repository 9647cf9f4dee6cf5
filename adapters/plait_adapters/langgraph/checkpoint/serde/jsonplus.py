"""The serializer of savers and caches: on Plait's codec, so without pickle and imports by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from plait.codec import Codec, DecodingError
from plait.codec.encoder import PLAIN
from plait_adapters.langgraph._support import missing

from ._json import InvalidModuleError, JsonReader
from ._known import KnownTypes
from .base import SerializerProtocol

__all__ = [
    "MAX_VALUE_BYTES",
    "InvalidModuleError",
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
    exception comes back as its ``repr``, an instance of a subclass of a built-in type as one of
    that type. Dataclasses, pydantic models, named tuples and enums come back if the process that
    reads has their modules loaded: none is imported for what was read, and no constructor is
    called. Types that are not registered are logged when they are read, each once, and told to the
    listeners of ``serde.event_hooks``. Where there is no such type, or it is not let in, plain data
    comes back: a dict of the fields, a tuple of the items, an enum's value. The types to which the
    annotations of a graph's schemas lead are registered when it is compiled.

    What else cannot be stored is refused when it is written. Of what LangGraph's own serializer has
    written, JSON is read, and nothing else.

    Args:
        pickle_fallback: must be false: stored bytes could run code.
        allowed_json_modules: what else may be in JSON that LangGraph wrote before it wrote msgpack,
            beside its own types and langchain-core's: classes by the names of their modules and
            their own; ``True``: enums, named tuples, dataclasses and models of loaded modules.
            For JSON, constructors are called.
        allowed_msgpack_modules: ``True``: types that are not registered are let in; ``None``: they
            are not; types, or names of their modules and their own: only these are, with those to
            which their annotations lead. By default ``True``, unless the environment variable
            ``LANGGRAPH_STRICT_MSGPACK`` is ``true``, ``yes`` or ``1``.
        max_value_bytes: how many bytes one value may take.

    Raises:
        ValueError: what was asked for is not there, for the reasons above.
        RegistrationError: a type cannot be taken apart.
    """

    def __init__(
        self,
        *,
        pickle_fallback: bool = False,
        allowed_json_modules: Iterable[tuple[str, ...]] | Literal[True] | None = None,
        allowed_msgpack_modules: Iterable[tuple[str, ...] | type] | Literal[True] | None = _UNSAID,
        max_value_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        if pickle_fallback:
            raise ValueError(
                "pickle_fallback=True is not supported: whoever can write to the store could run "
                "code. Register the type: allowed_msgpack_modules=[MyType]"
            )
        if allowed_msgpack_modules is _UNSAID:
            strict = os.environ.get("LANGGRAPH_STRICT_MSGPACK", "").lower()
            allowed_msgpack_modules = None if strict in {"1", "true", "yes"} else True
        self.pickle_fallback = False
        self.max_value_bytes = max_value_bytes
        self._allowed_json: Any = (
            allowed_json_modules
            if allowed_json_modules is True or allowed_json_modules is None
            else tuple(allowed_json_modules)
        )
        self.types: KnownTypes = KnownTypes(open_=allowed_msgpack_modules is True)
        if allowed_msgpack_modules is not True:
            for item in allowed_msgpack_modules or ():
                self.types.add(item)

    @cached_property
    def _codec(self) -> Codec:
        return Codec(self.types, max_value_bytes=self.max_value_bytes)

    @cached_property
    def _json(self) -> JsonReader:
        return JsonReader(self.types, self._allowed_json)

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

    @cached_property
    def pack(self) -> Callable[[Any], bytes | None]:
        """As ``dumps_own``, for what never leaves the process; tuples come back as lists. ``None``
        if there is something else in it."""
        return self._codec.pack

    @cached_property
    def unpack(self) -> Callable[[bytes], Any]:
        """The value that ``pack`` gave this for."""
        return self._codec.unpack

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value that ``dumps_typed`` gave this for.

        Raises:
            DecodingError: it did not.
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
        if how == "json":
            return self._read_json(content)
        raise UnknownEncodingError(
            f"it was made by {how!r}, and this serializer knows null, bytes, bytearray, json, "
            "msgpack and plain: read it with the serializer that wrote it"
        )

    def _read_json(self, content: bytes) -> Any:
        try:
            return self._json.read(content)
        except ValueError as error:
            raise DecodingError(f"it is no JSON: {error}") from error

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> Self:
        """One that has more types registered; itself, if they are already."""
        types = self.types.copy()
        is_news = [types.add(item) for item in extra_allowlist]
        if not any(is_news):
            return self
        other = copy(self)
        for made in ("_codec", "_json", "pack", "unpack"):
            other.__dict__.pop(made, None)
        other.types = types
        return other


def dumps_own(serde: SerializerProtocol) -> Callable[[Any], tuple[str, bytes]]:
    """What makes bytes of what a saver itself has put together: one of ours does so faster, unless
    a subclass has another way of making bytes."""
    if type(serde).dumps_typed is JsonPlusSerializer.dumps_typed:
        return cast("JsonPlusSerializer", serde).dumps_own
    return serde.dumps_typed


def dumps_metadata(serde: SerializerProtocol, metadata: Mapping[str, Any]) -> tuple[str, bytes]:
    """How metadata were made bytes, and the bytes: they are the saver's own, unless a user has put
    something else among them."""
    own = all(
        type(item) in PLAIN or (type(item) is dict and not item) for item in metadata.values()
    )
    return dumps_own(serde)(metadata) if own else serde.dumps_typed(metadata)


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


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
