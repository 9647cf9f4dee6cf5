"""Ids of messages that are written to a ``DeltaChannel``.

Its writes are folded again whenever it is read from a checkpoint, so a message must have its id
before it is stored, or it would have another one each time.
"""

from __future__ import annotations

import sys
from collections.abc import MutableSequence, Sequence
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
    """A write whose messages have ids.

    A reducer that takes messages in any shape gets messages. Any other channel may hold dicts that
    only look like messages: they become messages in a list that is added, as everywhere, but not in
    what replaces the value.
    """
    is_overwrite, new = overwritten(value)
    if is_overwrite:
        if not isinstance(new, (list, tuple)):
            return value
        items = [_message(each) if coerces else _stamped(each) for each in new]
        return value if _same(items, new) else Overwrite(type(new)(items))
    if isinstance(value, list):
        items = [_listed(each, coerces=coerces) for each in value]
        return value if _same(items, value) else items
    if coerces:
        return _message(value)
    if _looks_like_one(value) and not value.get("id"):
        return {**value, "id": str(uuid4())}
    return _stamped(value)


def _same(items: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(items, others, strict=True))


def _looks_like_one(item: Any) -> bool:
    return isinstance(item, dict) and (item.get("role") in _ROLES or item.get("type") in _TYPES)


def _listed(item: Any, *, coerces: bool) -> Any:
    """An item of a list that is added.

    Raises:
        Exception: it looks like a message, and cannot become one.
    """
    if _looks_like_one(item):
        return _stamped(_converted(item))
    return _message(item) if coerces else _stamped(item)


def _message(item: Any) -> Any:
    """A message, if the item can become one."""
    try:
        return _stamped(_converted(item))
    except Exception:
        return item  # the reducer says what is wrong with it


def _converted(item: Any) -> Any:
    messages: Any = sys.modules["langchain_core.messages"]
    if isinstance(item, messages.BaseMessage):
        return item
    return messages.utils.convert_to_messages([item])[0]


def _stamped(item: Any) -> Any:
    """The item itself, with an id if it is a message."""
    if isinstance(item, sys.modules["langchain_core.messages"].BaseMessage) and not item.id:
        item.id = str(uuid4())
    return item
