"""What the annotations of a class say about its fields."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from ._constants import MISSING


def annotated_keys(cls: Any) -> tuple[str, ...]:
    """The annotated names of a class and its bases, bases first; empty for a plain class."""
    return _annotated_keys(cls)


@lru_cache(maxsize=1_024)
def _annotated_keys(cls: Any) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        annotations = vars(base).get("__annotations__")
        if isinstance(annotations, dict):
            keys.update(dict.fromkeys(annotations))
        elif annotations is None and base is not object and sys.version_info >= (3, 14):
            keys.update(dict.fromkeys(getattr(base, "__annotations__", None) or ()))
    return tuple(keys)


def is_pydantic(value: Any) -> bool:
    """Whether a value is an instance of a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def is_pydantic_type(cls: Any) -> bool:
    """Whether a class is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def updates_of(value: Any, keys: Sequence[str]) -> list[tuple[str, Any]]:
    """The fields of an object as writes.

    A field that is ``None`` is a write unless that is a pydantic model's default for it which
    nobody has set.
    """
    defaults: dict[str, Any] = {}
    given: set[str] = set()
    if is_pydantic(value):
        defaults = {name: field.default for name, field in type(value).model_fields.items()}
        given = value.model_fields_set
    return [
        (key, field)
        for key in keys
        if (field := getattr(value, key, MISSING)) is not MISSING
        and (field is not None or defaults.get(key, MISSING) is not None or key in given)
    ]


def _is_optional(type_: Any) -> bool:
    origin = get_origin(type_)
    if origin is Annotated:
        return _is_optional(get_args(type_)[0])
    if origin in (Union, types.UnionType):
        return any(arg is type(None) or _is_optional(arg) for arg in get_args(type_))
    if getattr(type_, "__bound__", None) is not None:
        return _is_optional(type_.__bound__)
    return type_ is None


def _is_required(type_: Any) -> bool | None:
    origin = get_origin(type_)
    if origin is Required:
        return True
    if origin is NotRequired:
        return False
    return _is_required(get_args(type_)[0]) if origin is Annotated else None


def field_default(name: str, type_: Any, schema: type[Any]) -> Any:
    """The default of a field; ``...`` if it has none and must be given."""
    required = _is_required(type_)
    if name in getattr(schema, "__optional_keys__", ()):
        return ... if required else None
    if required is not None:
        return ... if required else None
    if dataclasses.is_dataclass(schema):
        for field in dataclasses.fields(schema):
            if field.name != name:
                continue
            if field.default is not dataclasses.MISSING:
                return field.default
            if field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return None if _is_optional(type_) else ...
