"""The types that a serializer knows: LangGraph's and LangChain's, some of Python's, the user's.

A record names its type. What stands behind a name is looked up in tables, which hold what is listed
here and what the user has registered; nothing is imported or looked up for a name that was read.
LangChain and numpy are imported when one of their own few types is met or read, and only then.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import pydantic

from plait.codec import DecodingError, RegistrationError, TypeRegistry
from plait.codec.decoder import Decoder
from plait.codec.encoder import Encoder
from plait.codec.shapes import Shape, is_record, records_in

__all__ = ["KnownTypes"]

_LANGCHAIN: Final = "langchain"
_LANGGRAPH: Final = "langgraph"
_OURS: Final = "plait.langgraph"
"""What the names of their types begin with in records."""

_TYPES: Final = (
    *("Send", "Interrupt", "Command", "Overwrite", "TimeoutPolicy", "StateSnapshot"),
    *("PregelTask", "CacheKey"),
)
_MODULES: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    _LANGGRAPH: (
        ("langgraph.types", _TYPES),
        ("langgraph.store.base", ("Item", "SearchItem", "GetOp")),
        ("langgraph.checkpoint.serde.types", ("_DeltaSnapshot",)),
    ),
    _OURS: (
        ("plait_adapters.langgraph.types", _TYPES),
        ("plait_adapters.langgraph.store.base", ("Item", "SearchItem", "GetOp")),
        ("plait_adapters.langgraph.checkpoint.serde.types", ("_DeltaSnapshot",)),
    ),
}
"""By prefix: modules, and those of their types which may be in a checkpoint. A thread that was
written with one of the two is read with the other, if that is the only one in the process."""

_OTHER: Final = {_LANGGRAPH: _OURS, _OURS: _LANGGRAPH}

Parts = tuple[Callable[[Any], Any], Callable[[Any], Any]]


class KnownTypes(TypeRegistry):
    """Which types may be in a checkpoint beside Python's own, and under which names.

    Those of users are named by module and qualified name. A type that is defined again, as in a
    notebook, takes the place of the one before.

    Args:
        learns: register enums, named tuples, dataclasses and models when they are first written.
            For what is read by the process that wrote it.
    """

    def __init__(self, *, learns: bool) -> None:
        super().__init__()
        self.learns = learns
        self._errors = _ReprShape()
        self.names[self._errors.name] = self._errors
        self.register(re.Pattern, "re.Pattern", to=_of_pattern, of=_pattern)
        for type_ in _ADDRESSES:
            self.register(type_, f"ipaddress.{type_.__name__}", to=str, of=type_)
        for secret in (pydantic.SecretStr, pydantic.SecretBytes):
            self.register(
                secret,
                f"pydantic.{secret.__name__}",
                to=lambda value: value.get_secret_value(),
                of=secret,
            )

    def copy(self, *, learns: bool | None = None) -> KnownTypes:
        """One that knows the same types, and does not hear of those added to this one later."""
        other = KnownTypes(learns=self.learns if learns is None else learns)
        other.shapes.update(self.shapes)
        other.names.update(self.names)
        return other

    def add(self, *types: type) -> None:
        """Register types of the user's, each under its module and qualified name.

        Raises:
            RegistrationError: one cannot be taken apart.
        """
        for type_ in types:
            if type_ not in self.shapes:
                self._replace(type_, f"{type_.__module__}.{type_.__qualname__}")

    def add_annotations(self, annotations: Iterable[Any]) -> None:
        """Register all that annotations lead to; what cannot be taken apart is refused when it is
        written."""
        for type_ in records_in(*annotations):
            if not self._is_known(type_):
                self._try(type_)

    def meet(self, value: Any) -> Shape | None:
        """The shape of a type that is in the tables, or that is learned now."""
        type_ = type(value)
        if isinstance(value, BaseException):
            return self._errors
        if self._is_known(type_):
            return self.shapes.get(type_)
        if self.learns and is_record(type_):
            self._try(type_)
        return self.shapes.get(type_)

    def recall(self, name: str) -> Shape | None:
        """The shape of a type of LangGraph's, LangChain's or numpy's, by the name in a record."""
        prefix, _, type_name = name.rpartition(".")
        if prefix == _LANGCHAIN:
            self._add_langchain()
        elif prefix in _MODULES:
            self._add_modules(prefix)
            if name not in self.names:
                other = _OTHER[prefix]
                self._add_modules(other)
                return self.names.get(f"{other}.{type_name}")
        elif name == _ARRAY:
            self._add_numpy()
        return self.names.get(name)

    def _try(self, type_: type) -> None:
        try:
            self.add(type_)
        except RegistrationError as error:
            self.unsupported[type_] = str(error)

    def _replace(self, type_: type, name: str, parts: Parts | None = None) -> None:
        former = self.names.pop(name, None)
        if former is not None:
            self.shapes.pop(former.type, None)
        to, of = parts if parts is not None else (None, None)
        self.register(type_, name, to=to, of=of)

    # -- the tables -----------------------------------------------------------------------------

    def _is_known(self, type_: type) -> bool:
        """Whether a type is in the tables; registers it then, with those beside it."""
        if type_ in self.shapes:
            return True
        module = type_.__module__
        if module.startswith("langchain_core."):
            self._add_langchain()
        elif module == "numpy":
            self._add_numpy()
        else:
            for prefix, modules in _MODULES.items():
                if any(module == known for known, _ in modules):
                    self._add_modules(prefix)
        return type_ in self.shapes

    def _add_modules(self, prefix: str) -> None:
        """Register the types of those modules that the process has loaded."""
        for module_name, names in _MODULES[prefix]:
            contents = vars(sys.modules[module_name]) if module_name in sys.modules else {}
            for name in names:
                type_ = contents.get(name)
                if isinstance(type_, type) and type_ not in self.shapes:
                    parts = None if is_record(type_) else _PARTS[name](type_)
                    self._replace(type_, f"{prefix}.{name}", parts)

    def _add_langchain(self) -> None:
        for type_ in _langchain_types():
            if type_ not in self.shapes:
                self._replace(type_, f"{_LANGCHAIN}.{type_.__name__}")

    def _add_numpy(self) -> None:
        try:
            import numpy as np  # pyright: ignore[reportMissingImports]
        except ImportError:
            return
        if np.ndarray not in self.shapes:
            self._replace(np.ndarray, _ARRAY, (_of_array, _array))


# -- what cannot be a record ------------------------------------------------------------------


class _ReprShape(Shape):
    """An exception: it comes back as its ``repr``, a string, as it does from LangGraph's savers."""

    def __init__(self) -> None:
        super().__init__(BaseException, "exception")

    def lower(self, encoder: Encoder, value: Any) -> Any:
        return encoder.lower(repr(value))

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        return decoder.text(tree)


def _send_parts(type_: Any) -> Parts:
    def to(send: Any) -> Any:
        return send.node, send.arg, getattr(send, "timeout", None)

    def of(parts: Any) -> Any:
        node, argument, timeout = parts
        return type_(node, argument) if timeout is None else type_(node, argument, timeout=timeout)

    return to, of


def _item_parts(type_: Any) -> Parts:
    def to(item: Any) -> Any:
        return {
            "namespace": item.namespace,
            "key": item.key,
            "value": item.value,
            "created_at": item.created_at,
            "updated_at": item.updated_at,
            **({"score": item.score} if hasattr(item, "score") else {}),
        }

    return to, lambda parts: type_(**parts)


_PARTS: Final[dict[str, Callable[[Any], Parts]]] = {
    "Send": _send_parts,
    "Item": _item_parts,
    "SearchItem": _item_parts,
}
"""For those that are neither dataclass nor named tuple."""

_ADDRESSES: Final = (
    *(ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network),
    *(ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network),
)


def _of_pattern(pattern: re.Pattern[Any]) -> Any:
    return pattern.pattern, pattern.flags


def _pattern(parts: Any) -> re.Pattern[Any]:
    text, flags = parts
    return re.compile(text, flags)


_ARRAY: Final = "numpy.ndarray"


def _of_array(array: Any) -> Any:
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(f"an array of {array.dtype} has no bytes of its own: write array.tolist()")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return array.dtype.str, array.shape, order, array.tobytes(order=order)


def _array(parts: Any) -> Any:
    import numpy as np  # pyright: ignore[reportMissingImports]

    dtype, shape, order, content = parts
    if np.dtype(dtype).hasobject:
        raise DecodingError("an array of objects was never written")
    return np.frombuffer(content, dtype=np.dtype(dtype)).reshape(shape, order=order)


def _langchain_types() -> Iterable[type]:
    """The messages and documents of langchain-core, if that is installed."""
    try:
        from langchain_core import agents, documents
        from langchain_core import messages as m
    except ImportError:
        return ()
    return (
        *(m.HumanMessage, m.HumanMessageChunk, m.AIMessage, m.AIMessageChunk),
        *(m.SystemMessage, m.SystemMessageChunk, m.ChatMessage, m.ChatMessageChunk),
        *(m.ToolMessage, m.ToolMessageChunk, m.FunctionMessage, m.FunctionMessageChunk),
        *(m.BaseMessage, m.BaseMessageChunk, m.RemoveMessage, documents.Document),
        *(agents.AgentAction, agents.AgentActionMessageLog, agents.AgentFinish, agents.AgentStep),
    )
