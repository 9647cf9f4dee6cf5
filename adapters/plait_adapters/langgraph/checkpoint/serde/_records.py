"""Records of the user's: how they are named, and what is left of one whose type is not here.

A name says which kind of record it is, so that what it is made of can be told without its type.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pydantic

from plait.codec import shapes
from plait.codec.decoder import Decoder
from plait.codec.encoder import Encoder
from plait.codec.shapes import CustomShape, EnumShape, Shape, is_record

__all__ = ["BaseTypeShape", "Label", "PlainShape", "find_loaded", "label_of", "shape_of"]

_ENUM: Final = "enum"
_TUPLE: Final = "tuple"
_DATACLASS: Final = "dataclass"
_MODEL: Final = "model"
_OLD_MODEL: Final = "model-v1"


class Label(NamedTuple):
    """What a record is called in checkpoints."""

    kind: str
    module: str
    name: str
    """Of the type, within its module."""

    def __str__(self) -> str:
        return f"{self.kind} {self.module}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Label | None:
        """The label that was written so; ``None``: it is none."""
        kind, _, path = text.partition(" ")
        module, colon, name = path.partition(":")
        return cls(kind, module, name) if colon else None


def label_of(type_: type) -> Label | None:
    """What a type's instances are called; ``None``: they are no records."""
    kind = _kind_of(type_)
    return None if kind is None else Label(kind, type_.__module__, type_.__qualname__)


def _kind_of(type_: type) -> str | None:
    if is_record(type_):
        if issubclass(type_, enum.Enum):
            return _ENUM
        if issubclass(type_, pydantic.BaseModel):
            return _MODEL
        return _TUPLE if issubclass(type_, tuple) else _DATACLASS
    old = sys.modules.get("pydantic.v1")
    return _OLD_MODEL if old is not None and issubclass(type_, old.BaseModel) else None


def shape_of(type_: type, label: Label) -> Shape:
    """How its instances are taken apart. Raises ``RegistrationError``."""
    if label.kind == _ENUM:
        return _NamedAndValued(type_, str(label))
    if label.kind == _OLD_MODEL:
        return CustomShape(type_, str(label), _old_model_parts, _old_model_of(type_))
    return shapes.shape_of(type_, str(label))


def find_loaded(label: Label) -> type | None:
    """The type that a label names, if the process has it: no module is imported, and no code of one
    is run."""
    found: Any = sys.modules.get(label.module)
    for name in label.name.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    if isinstance(found, type) and label_of(found) == label:
        return found
    return None


class _NamedAndValued(EnumShape):
    """A member by its name, and its value for those who do not have the enum."""

    def lower(self, encoder: Encoder, value: Any) -> Any:
        name = super().lower(encoder, value)
        content = value.value
        if type(content) not in {str, int, float, bool, type(None)}:
            return name
        return [name, encoder.lower(content)]

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        return super().lift(decoder, tree[0] if type(tree) is list else tree)


def _old_model_parts(model: Any) -> Any:
    return dict(vars(model)), sorted(model.__fields_set__)


def _old_model_of(type_: Any) -> Callable[[Any], Any]:
    def of(parts: Any) -> Any:
        fields, was_set = parts
        model = type_.__new__(type_)
        object.__setattr__(model, "__dict__", fields)
        object.__setattr__(model, "__fields_set__", set(was_set))
        model._init_private_attributes()
        return model

    return of


class PlainShape(Shape):
    """What is left of a record whose type is not here: a dict of its fields, a tuple of its items,
    an enum's value."""

    def __init__(self, label: Label) -> None:
        super().__init__(object, str(label))
        self._kind = label.kind

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        match self._kind:
            case "enum":
                return decoder.lift(tree[1] if type(tree) is list else tree)
            case "tuple":
                return tuple(decoder.items(tree))
            case "model" if type(tree) is list:
                fields, _, extra, _ = tree
                return decoder.mapping(fields) | (decoder.lift(extra) or {})
            case "model-v1":
                return decoder.lift(tree)[0]
            case _:
                return decoder.mapping(tree)


class BaseTypeShape(Shape):
    """An instance of a subclass of one of Python's own types: it comes back as one of that type."""

    _PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
        str: str.__str__,
        int: int.__int__,
        float: float.__float__,
        bytes: lambda value: bytes(memoryview(value)),
        list: lambda value: list(list.__iter__(value)),
        tuple: lambda value: tuple(tuple.__iter__(value)),
        dict: lambda value: dict(dict.items(value)),
        set: lambda value: set(set.__iter__(value)),
        frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    }
    """By type: what makes it of a subclass, whatever that overrides."""

    def __init__(self) -> None:
        super().__init__(object, "plain")

    @classmethod
    def fits(cls, type_: type) -> bool:
        """Whether instances of a type can be stored so."""
        return any(issubclass(type_, base) for base in cls._PLAIN)

    def lower(self, encoder: Encoder, value: Any) -> Any:
        for base, plain in self._PLAIN.items():
            if isinstance(value, base):
                return encoder.lower(plain(value))
        raise TypeError(f"{type(value).__name__} is no subclass of a built-in type")

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        return decoder.lift(tree)
