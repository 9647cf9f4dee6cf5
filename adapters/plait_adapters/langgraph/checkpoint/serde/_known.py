"""The types that a serializer knows: LangGraph's and LangChain's, some of Python's, the user's.

A record names its type. What stands behind a name is looked up in tables, which hold what is listed
here, what the user has registered, and what this process has written; and then, unless the user has
said otherwise, among the records of the modules that the process has loaded. Nothing is imported
for a name that was read, and no constructor is called. LangChain, numpy and pydantic's version 1
are imported when one of their own few types is met or read, and only then.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import pydantic

from plait.codec import DecodingError, RegistrationError, TypeRegistry
from plait.codec.decoder import Decoder
from plait.codec.encoder import Encoder
from plait.codec.shapes import Shape, is_record, records_in

from ._records import BaseTypeShape, Label, PlainShape, find_loaded, label_of, shape_of
from .event_hooks import emit_serde_event

__all__ = ["KnownTypes"]

logger = logging.getLogger(__name__)

_MOST_WARNINGS: Final = 1000
"""How many types at most are warned of, since they may be made without end."""

_warned: set[tuple[str, Label]] = set()
"""Of which types the process was warned, with what was said of them."""

_LANGCHAIN: Final = "langchain"
_LANGGRAPH: Final = "langgraph"
_OURS: Final = "plait.langgraph"
_OLD_PYDANTIC: Final = "pydantic.v1"
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

    Those of users are named by kind, module and qualified name. A type that is defined again, as in
    a notebook, takes the place of the one before. Enums, named tuples, dataclasses and models can
    be written without being registered.

    Args:
        open_: what becomes of such a record when it is read. True: it is what it was, if the type
            was written by this process or is in a module that is loaded. False: it is what is left
            of it without its type.
    """

    def __init__(self, *, open_: bool) -> None:
        super().__init__()
        self.open = open_
        self._met: dict[str, Shape] = {}
        """Types that were written without being registered, by name."""
        self._awaited: set[tuple[str, str]] = set()
        """Types that are registered by module and name, and were not there."""
        self._errors = _ReprShape()
        self._plain = BaseTypeShape()
        for shape in (self._errors, self._plain):
            self.names[shape.name] = shape
        self.register(re.Pattern, "re.Pattern", to=_of_pattern, of=_pattern)
        for type_ in _ADDRESSES:
            self.register(type_, f"ipaddress.{type_.__name__}", to=str, of=type_)
        self._add_secrets("pydantic", pydantic)

    def copy(self) -> KnownTypes:
        """One that knows the same types, and does not hear of those added to this one later."""
        other = KnownTypes(open_=self.open)
        other.shapes.update(self.shapes)
        other.names.update(self.names)
        other._met.update(self._met)
        other._awaited.update(self._awaited)
        return other

    def add(self, item: type | tuple[str, ...]) -> bool:
        """Register a type of the user's and all to which its annotations lead.

        Args:
            item: the type, or the name of its module, which is imported now, and its own. If there
                is no such type now, it is looked for when one of that name is written or read.

        Returns:
            Whether that is news.

        Raises:
            RegistrationError: it cannot be taken apart.
        """
        if not isinstance(item, type):
            *modules, name = item
            found = _import(".".join(modules), name)
            if found is None:
                place = (".".join(modules), name)
                is_new = place not in self._awaited
                self._awaited.add(place)
                return is_new
            item = found
        if item.__module__.startswith(_OLD_PYDANTIC):
            self._is_known(item)
        if item in self.shapes and self.shapes[item].name in self.names:
            return False
        self._name(item)
        self.add_annotations([item])
        return True

    def add_annotations(self, annotations: Iterable[Any]) -> None:
        """Register all that annotations lead to; what cannot be taken apart is refused when it is
        written."""
        for type_ in records_in(*annotations):
            if not self._is_known(type_):
                try:
                    self._name(type_)
                except RegistrationError as error:
                    self.unsupported[type_] = str(error)

    def meet(self, value: Any) -> Shape | None:
        """The shape of a type that is in the tables, of a record, or of a subclass of a built-in
        type."""
        type_ = type(value)
        if isinstance(value, BaseException):
            return self._errors
        if self._is_known(type_):
            return self.shapes.get(type_)
        label = label_of(type_)
        if label is not None:
            return self._meet_record(type_, label)
        return self._plain if self._plain.fits(type_) else None

    def _meet_record(self, type_: type, label: Label) -> Shape | None:
        if str(label) in self.names or label[1:] in self._awaited:
            self._name(type_)
            return self.shapes.get(type_)
        try:
            shape = shape_of(type_, label)
        except RegistrationError as error:
            self.unsupported[type_] = str(error)
            return None
        self.shapes[type_] = self._met[str(label)] = shape
        return shape

    def recall(self, name: str) -> Shape | None:
        """The shape of a type of LangGraph's, LangChain's or numpy's, or of a record, by the name
        in what was read."""
        label = Label.parse(name)
        if label is not None:
            return self._recall_record(label)
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
        elif prefix == _OLD_PYDANTIC:
            self._add_old_secrets()
        return self.names.get(name)

    def known(self, name: str) -> type | None:
        """The type of LangGraph's or LangChain's that such a name stands for in checkpoints."""
        shape = self.names.get(name) or self.recall(name)
        return shape.type if shape is not None else None

    def _recall_record(self, label: Label) -> Shape:
        _, module, name = label
        is_awaited = label[1:] in self._awaited
        if not is_awaited and not self.open:
            emit_serde_event({"kind": "msgpack_blocked", "module": module, "name": name})
            _warn("Blocked {}, which is no registered type: what was read is plain data.", label)
            return PlainShape(label)
        shape = self._met.get(str(label))
        if shape is None:
            type_ = find_loaded(label)
            shape = self._meet_record(type_, label) if type_ is not None else None
        if shape is None:
            _warn("Could not find {} among what is loaded: what was read is plain data.", label)
            return PlainShape(label)
        if not is_awaited:
            emit_serde_event(
                {"kind": "msgpack_unregistered_allowed", "module": module, "name": name}
            )
            _warn(
                "Read an instance of {}, an unregistered type: another process may not have it. "
                "With LANGGRAPH_STRICT_MSGPACK=true it would be plain data.",
                label,
            )
        return shape

    def _name(self, type_: type) -> None:
        """Let a record of the user's be read. Raises ``RegistrationError``."""
        label = label_of(type_)
        if label is None:
            raise RegistrationError(
                type_, "it is no enum, named tuple, dataclass or pydantic model"
            )
        shape = shape_of(type_, label)
        self._forget(shape.name)
        self._add(shape, ())

    def _replace(self, type_: type, name: str, parts: Parts | None = None) -> None:
        self._forget(name)
        to, of = parts if parts is not None else (None, None)
        self.register(type_, name, to=to, of=of)

    def _forget(self, name: str) -> None:
        former = self.names.pop(name, None) or self._met.pop(name, None)
        if former is not None:
            self.shapes.pop(former.type, None)

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
        elif module.startswith(_OLD_PYDANTIC):
            self._add_old_secrets()
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

    def _add_old_secrets(self) -> None:
        """Register those of pydantic's first version."""
        self._add_secrets(_OLD_PYDANTIC, importlib.import_module(_OLD_PYDANTIC))

    def _add_secrets(self, prefix: str, module: Any) -> None:
        for secret in (module.SecretStr, module.SecretBytes):
            name = f"{prefix}.{secret.__name__}"
            if name not in self.names:
                self.register(secret, name, to=lambda value: value.get_secret_value(), of=secret)

    def _add_numpy(self) -> None:
        try:
            import numpy as np  # pyright: ignore[reportMissingImports]
        except ImportError:
            return
        if np.ndarray not in self.shapes:
            self._replace(np.ndarray, _ARRAY, (_of_array, _array))


def _import(module: str, name: str) -> type | None:
    """A type that the program has named, in its own code."""
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _warn(text: str, label: Label) -> None:
    """Warn of a type, the first time that this is to be said of it."""
    if (text, label) in _warned or len(_warned) >= _MOST_WARNINGS:
        return
    _warned.add((text, label))
    logger.warning(
        "%s Register it: allowed_msgpack_modules=[(%r, %r)]",
        text.format(f"{label.module}.{label.name}"),
        label.module,
        label.name,
    )


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
