"""Whoever wants to hear of types that were read from a checkpoint and not registered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NotRequired, TypedDict

from plait_adapters.langgraph._support import missing

__all__ = [
    "SerdeEvent",
    "SerdeEventListener",
    "emit_serde_event",
    "register_serde_event_listener",
]

logger = logging.getLogger(__name__)


class SerdeEvent(TypedDict):
    """What was done with a value whose type is not registered."""

    kind: str
    """``"msgpack_unregistered_allowed"``: it came back as it was; ``"msgpack_blocked"``: as plain
    data."""
    module: str
    """That of the type."""
    name: str
    """The type's, within its module."""
    method: NotRequired[str]
    """Always absent: no method is called for what was read."""


SerdeEventListener = Callable[[SerdeEvent], None]

_listeners: tuple[SerdeEventListener, ...] = ()


def register_serde_event_listener(listener: SerdeEventListener) -> Callable[[], None]:
    """Have a listener called for each event, in the thread that reads.

    Returns:
        Takes it away again; more often than once does nothing.
    """
    global _listeners  # noqa: PLW0603 - events are those of the process
    _listeners = (*_listeners, listener)

    def unregister() -> None:
        global _listeners  # noqa: PLW0603
        _listeners = tuple(other for other in _listeners if other is not listener)

    return unregister


def emit_serde_event(event: SerdeEvent) -> None:
    """Tell all listeners. One that fails is logged, and does not keep the value from being read."""
    for listener in _listeners:
        try:
            listener(event)
        except Exception:
            logger.warning("a listener of serializer events failed", exc_info=True)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
