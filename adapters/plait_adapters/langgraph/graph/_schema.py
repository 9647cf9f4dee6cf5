"""Channels from the annotations of a schema."""

from __future__ import annotations

import inspect
import typing
import warnings
from inspect import isclass
from typing import Any, NotRequired, Required, cast, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from plait_adapters.langgraph._internal._fields import field_default, is_pydantic_type
from plait_adapters.langgraph.channels.base import BaseChannel
from plait_adapters.langgraph.channels.binop import BinaryOperatorAggregate
from plait_adapters.langgraph.channels.delta import DeltaChannel
from plait_adapters.langgraph.channels.last_value import LastValue
from plait_adapters.langgraph.managed.base import ManagedValueSpec, is_managed_value

Field = BaseChannel[Any, Any, Any] | ManagedValueSpec
ROOT = "__root__"
"""The one channel of a state that is no mapping."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def fields_of(schema: Any) -> dict[str, Field]:
    """The channels and managed values of a schema, by key."""
    if not hasattr(schema, "__annotations__"):
        return {ROOT: _field(ROOT, schema, may_be_managed=False)}
    hints = get_type_hints(schema, include_extras=True)
    return {name: _field(name, hint) for name, hint in hints.items() if name != "__slots__"}


def warn_of_odd_schema(schema: Any) -> None:
    """Warn of a schema that is no type."""
    if not isinstance(schema, type) and not typing.get_args(schema):
        warnings.warn(
            f"Invalid state_schema: {schema}. Expected a type or Annotated[type, reducer]. "
            f"Please provide "
            "a valid schema to ensure correct updates.\n See: "
            "https://langchain-ai.github.io/langgraph/reference/graphs/#stategraph",
            stacklevel=4,
        )


def _field(name: str, hint: Any, *, may_be_managed: bool = True) -> Field:
    if get_origin(hint) in (Required, NotRequired):
        hint = get_args(hint)[0]
    managed = _managed(hint)
    if managed is not None:
        if not may_be_managed:
            raise ValueError(f"This {hint} not allowed in this position")
        return managed
    channel = _channel(hint)
    if channel is None:
        channel = _reduced(hint) or LastValue(hint)
    channel.key = name
    return channel


def _managed(hint: Any) -> ManagedValueSpec | None:
    metadata = getattr(hint, "__metadata__", ())
    if metadata:
        last = get_origin(metadata[-1]) or metadata[-1]
        if is_managed_value(last):
            return last
    if get_origin(hint) is not None and get_args(hint):
        inner = get_args(hint)[0]
        return _managed(inner) if inner else None
    return None


def _channel(hint: Any) -> BaseChannel[Any, Any, Any] | None:
    origin = getattr(hint, "__origin__", hint)
    for item in getattr(hint, "__metadata__", ()):
        if isinstance(item, DeltaChannel):
            if get_origin(origin) in (Required, NotRequired):
                origin = get_args(origin)[0]
            return type(item)(item.reducer, origin, snapshot_frequency=item.snapshot_frequency)
        if isinstance(item, BaseChannel):
            return item
        if isclass(item) and issubclass(item, BaseChannel):
            return item(origin)
    return None


def _reduced(hint: Any) -> BaseChannel[Any, Any, Any] | None:
    metadata = getattr(hint, "__metadata__", ())
    if not metadata or not callable(metadata[-1]):
        return None
    signature = inspect.signature(metadata[-1])
    if sum(each.kind in _POSITIONAL for each in signature.parameters.values()) != 2:
        raise ValueError(f"Invalid reducer signature. Expected (a, b) -> c. Got {signature}")
    return BinaryOperatorAggregate(hint, metadata[-1])


def json_schema(
    schema: Any,
    fields: dict[str, Field],
    channels: dict[str, BaseChannel[Any, Any, Any]],
    name: str,
) -> dict[str, Any]:
    """A schema as JSON schema."""
    from pydantic import TypeAdapter

    if is_pydantic_type(schema):
        return cast("dict[str, Any]", schema.model_json_schema())
    if is_typeddict(schema):
        return TypeAdapter(schema).json_schema()
    from plait_adapters.langgraph._internal._models import make_model

    if list(fields) == [ROOT]:
        model = make_model(name, root=(channels[ROOT].UpdateType, None))
        return cast("dict[str, Any]", model.model_json_schema())
    model = make_model(
        name,
        fields={
            key: (channel.UpdateType, field_default(key, channel.UpdateType, schema))
            for key in fields
            if (channel := channels.get(key)) is not None
        },
    )
    return cast("dict[str, Any]", model.model_json_schema())
