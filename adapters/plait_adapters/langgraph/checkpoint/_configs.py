"""What configs say to a saver."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from .base import Checkpoint, Config

__all__ = ["Place", "at_path", "config_of", "matches", "next_version", "place_of", "without_values"]

_DIGITS: Final = 12
"""Of the number in a version: enough for more steps than a thread can take."""


class Place(NamedTuple):
    """Where a checkpoint is."""

    thread_id: str
    namespace: str
    """That of a subgraph; empty for the graph itself."""
    checkpoint_id: str | None
    """``None``: the latest."""


def place_of(config: Config) -> Place:
    """The place that a config names. Raises ``ValueError`` if it names no thread."""
    configurable = config.get("configurable") or {}
    thread_id = configurable.get("thread_id")
    if thread_id is None:
        raise ValueError(
            "the config names no thread: pass {'configurable': {'thread_id': ...}} with it"
        )
    return Place(
        str(thread_id),
        configurable.get("checkpoint_ns") or "",
        configurable.get("checkpoint_id") or None,
    )


def config_of(thread_id: str, namespace: str, checkpoint_id: str) -> Config:
    """A config that names a place."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def without_values(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint without the values of its channels, which are stored by version."""
    bare = cast("dict[str, Any]", checkpoint).copy()
    bare.pop("channel_values", None)
    return bare


def matches(
    metadata: Mapping[str, Any], wanted: Mapping[str, Any] | None, *, dotted: bool = False
) -> bool:
    """Whether metadata have all that is asked for. ``dotted``: a name that they do not have may
    be a path, with dots between its steps."""
    look = at_path if dotted else _at_name
    return not wanted or all(look(metadata, name) == item for name, item in wanted.items())


def _at_name(content: Mapping[str, Any], name: str) -> Any:
    return content.get(name)


def at_path(content: Mapping[str, Any], path: str) -> Any:
    """What stands under a name, or at the end of a path with dots; ``None``: nothing does."""
    if path in content:
        return content[path]
    found: Any = content
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def next_version(current: str | int | None) -> str:
    """The version that follows another one: a number, and something that tells forks apart.

    Versions are compared as texts, so those of one thread keep the width of the first. A checkpoint
    has two of them for each node, and they are most of it: so they are short.
    """
    number = "0" if current is None else str(current).partition(".")[0]
    after, chance = int(number) + 1, random.getrandbits(48)
    if len(number) > _DIGITS:
        return f"{after:0{len(number)}}.{chance:012x}"
    return f"{after:012}.{chance:012x}"
