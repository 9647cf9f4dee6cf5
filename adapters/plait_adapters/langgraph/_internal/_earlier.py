"""Checkpoints of formats that LangGraph had before: what triggers a node has one name now.

Up to format 2, a node was triggered by the entry's channel, by one channel for each condition that
may choose it, and by the channels of the nodes before it. Now it has one channel, whoever writes to
it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ._constants import BRANCH_TO, INTERRUPT, MISSING, START

ONE_TRIGGER_EACH = 3
"""The first format in which a node has one channel that triggers it."""


def join_triggers(
    checkpoint: dict[str, Any], nodes: Collection[str], followers: Mapping[str, Iterable[str]]
) -> None:
    """Have each node of a checkpoint triggered by its one channel, in place.

    Args:
        checkpoint: one of an earlier format.
        nodes: of the graph.
        followers: by node, those to which its edges lead.
    """
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    for channel in list(versions):
        targets = _targets(channel, nodes, followers)
        if targets is None:
            continue
        version, value = versions.pop(channel), values.pop(channel, MISSING)
        for node in targets:
            trigger = BRANCH_TO.format(node)
            versions[trigger] = max(version, versions.get(trigger, version))
            if value is not MISSING:
                values.setdefault(trigger, value)
        for reader in (*targets, INTERRUPT):
            seen = checkpoint["versions_seen"].get(reader, {})
            if channel not in seen:
                continue
            version = seen.pop(channel)
            for trigger in map(BRANCH_TO.format, targets if reader == INTERRUPT else [reader]):
                seen[trigger] = max(version, seen.get(trigger, version))


def _targets(
    channel: str, nodes: Collection[str], followers: Mapping[str, Iterable[str]]
) -> list[str] | None:
    """The nodes that a channel triggered; ``None`` if it triggered none then."""
    if channel in nodes and channel != START:
        return list(followers.get(channel, ()))
    kind, *rest = channel.split(":")
    if (kind, len(rest)) not in (("start", 1), ("branch", 3)) or rest[-1] not in nodes:
        return None
    return [rest[-1]]


__all__ = ["ONE_TRIGGER_EACH", "join_triggers"]
