"""Pydantic models that are made for schemas."""

from __future__ import annotations

from typing import Any

_TAKEN = frozenset(("schema", "json", "dict", "copy", "validate", "construct", "parse_obj"))
"""Names of fields that would hide something of pydantic's."""


def make_model(
    name: str, *, fields: dict[str, Any] | None = None, root: tuple[Any, ...] = ()
) -> Any:
    """A model with fields, each with its type and default; or with one root value.

    A field with a name that pydantic does not take has it as its alias.

    Args:
        name: of the model.
        fields: types and defaults by name.
        root: the type of the root value; and its default, if it has one.
    """
    from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

    if root:
        namespace: dict[str, Any] = {"__module__": __name__, "__annotations__": {"root": root[0]}}
        if len(root) > 1:
            namespace["root"] = root[1]
        namespace["model_config"] = ConfigDict(arbitrary_types_allowed=True)
        return type(name, (RootModel,), namespace)
    given: dict[str, Any] = {}
    for key, (type_, default) in (fields or {}).items():
        if key.startswith("_") or key in _TAKEN or hasattr(BaseModel, key):
            safe = f"private_{key.lstrip('_')}"
            given[safe] = (
                type_,
                Field(default, alias=key, serialization_alias=key, title=_title(key)),
            )
        else:
            given[key] = (type_, default)
    config = ConfigDict(arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **given)


def _title(name: str) -> str:
    return name.lstrip("_").replace("_", " ").title()
