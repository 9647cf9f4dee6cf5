"""Whether nodes and channels fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plait_adapters.langgraph._internal._callables import is_cancellable
from plait_adapters.langgraph._internal._constants import RESERVED
from plait_adapters.langgraph._internal._timeouts import sync_timeout_unsupported

from ._read import PregelNode

__all__ = ("validate_graph", "validate_keys")


def _names(keys: str | Sequence[str] | None) -> Sequence[str]:
    return (keys,) if isinstance(keys, str) else keys or ()


def validate_graph(
    nodes: Mapping[str, PregelNode],
    channels: Mapping[str, Any],
    managed: Mapping[str, Any],
    input_channels: str | Sequence[str],
    output_channels: str | Sequence[str],
    stream_channels: str | Sequence[str] | None,
    interrupt_after_nodes: Any,
    interrupt_before_nodes: Any,
) -> None:
    """Check a graph before it runs.

    Raises:
        ValueError: a name is reserved or unknown, or nothing subscribes to the input.
        TypeError: something is no node.
    """
    known = repr(sorted(channels))[:100]
    for kind, names in (("Channel", channels), ("Managed", managed), ("Node", nodes)):
        for name in names:
            if name in RESERVED:
                raise ValueError(f"{kind} name '{name}' is reserved")
    subscribed: set[str] = set()
    for name, node in nodes.items():
        if not isinstance(node, PregelNode):
            raise TypeError(f"Invalid node type {type(node)}, expected PregelNode or NodeBuilder")
        if node.timeout is not None and not is_cancellable(node.bound):
            raise sync_timeout_unsupported(name)
        subscribed.update(node.triggers)
        for channel in _names(node.channels):
            if channel not in channels and (
                isinstance(node.channels, str) or channel not in managed
            ):
                raise ValueError(
                    f"Node {name} reads channel '{channel}' not in known channels: '{known}'"
                )
    for channel in subscribed:
        if channel not in channels:
            raise ValueError(f"Subscribed channel '{channel}' not in known channels: '{known}'")
    inputs = _names(input_channels)
    for channel in inputs:
        if channel not in channels:
            raise ValueError(f"Input channel '{channel}' not in known channels: '{known}'")
    if subscribed.isdisjoint(inputs):
        if isinstance(input_channels, str):
            raise ValueError(f"Input channel {input_channels} is not subscribed to by any node")
        raise ValueError(
            f"None of the input channels {input_channels} are subscribed to by any node"
        )
    for channel in (*_names(output_channels), *_names(stream_channels)):
        if channel not in channels:
            raise ValueError(f"Output channel '{channel}' not in known channels: '{known}'")
    for stops in (interrupt_after_nodes, interrupt_before_nodes):
        if stops != "*":
            for name in stops:
                if name not in nodes:
                    raise ValueError(f"Node {name} not in nodes")


def validate_keys(keys: str | Sequence[str] | None, channels: Mapping[str, Any]) -> None:
    """Check that keys name channels.

    Raises:
        ValueError: one does not.
    """
    for name in _names(keys):
        if name not in channels:
            raise ValueError(f"Key {name} not in channels")
