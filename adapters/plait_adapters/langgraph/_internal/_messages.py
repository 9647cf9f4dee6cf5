"""Ids of messages that are written to a ``DeltaChannel``.

Its writes are folded again whenever it is read from a checkpoint, so a message must have its id
before it is stored, or it would have another one each time.
"""

from __future__ import annotations

import sys
from collections.abc import MutableSequence
from typing import Any
from uuid import uuid4

from plait_adapters.langgraph.channels._concrete import overwritten
from plait_adapters.langgraph.channels.delta import DeltaChannel
from plait_adapters.langgraph.types import Overwrite

from ._checkpoints import Specs

_ROLES = frozenset(("user", "human", "assistant", "ai", "tool", "system", "function"))
_TYPES = frozenset(("human", "ai", "tool", "system", "function", "remove"))


def give_ids(specs: Specs, writes: Any) -> None:
    """Give messages ids that have none, in place."""
    if "langchain_core.messages" not in sys.modules or not isinstance(writes, MutableSequence):
        return
    for index, (name, value) in enumerate(writes):
        spec = specs.get(name)
        if isinstance(spec, DeltaChannel):
            coerces = getattr(spec.reducer, "coerces_messages", False)
            new = _with_ids(value, coerces=coerces)
            if new is not value:
                writes[index] = (name, new)


def _with_ids(value: Any, *, coerces: bool) -> Any:
    is_overwrite, new = overwritten(value)
    if is_overwrite:
        if not isinstance(new, (list, tuple)):
            return value
        items = [_item(each, coerces=coerces) for each in new]
        same = all(one is other for one, other in zip(items, new, strict=True))
        return value if same else Overwrite(type(new)(items))
    if isinstance(value, list):
        items = [_item(each, coerces=coerces) for each in value]
        same = all(one is other for one, other in zip(items, value, strict=True))
        return value if same else items
    return _item(value, coerces=coerces)


def _item(item: Any, *, coerces: bool) -> Any:
    messages: Any = sys.modules["langchain_core.messages"]
    if isinstance(item, messages.BaseMessage):
        if item.id is None:
            item.id = str(uuid4())
        return item
    is_message = isinstance(item, dict) and (
        item.get("role") in _ROLES or item.get("type") in _TYPES
    )
    if not (coerces or is_message):
        return item
    if is_message and not coerces and item.get("id"):
        return item
    try:
        message = messages.utils.convert_to_messages([item])[0]
    except Exception:
        if is_message:
            raise
        return item
    if not message.id:
        message.id = str(uuid4())
    return message
