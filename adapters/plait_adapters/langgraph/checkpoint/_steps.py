"""A checkpoint as a run hands it over: what its step has moved, and the rest to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["FORMAT", "Step", "bare_checkpoint", "time_of"]

FORMAT: Final = 4
"""The format of the checkpoints that runs make; LangGraph's of that number is the same."""


@dataclass(slots=True)
class Step:
    """One checkpoint of a run. Whoever takes it looks at it at once: the run goes on to change what
    is in it."""

    id: str
    parent_id: str | None
    """The checkpoint that it follows."""
    made: float
    """When, in seconds since 1970."""
    metadata: Mapping[str, Any]
    """Without what was configured, which is the same for all of a run."""
    updated: list[str] | None
    """The channels that the step has changed, sorted."""
    versions: Mapping[str, Any]
    """Of all channels."""
    seen: Mapping[str, Mapping[str, Any]]
    """By node, the versions of its triggers at its last run."""
    moved: Collection[str]
    """The channels that have got a new version since the checkpoint that it follows."""
    ran: Collection[str]
    """The nodes that have seen something since then."""
    values: dict[str, Any]
    """Of those channels that have moved and hold one."""

    def bare(self) -> dict[str, Any]:
        """The checkpoint without values."""
        return bare_checkpoint(self.id, self.made, self.versions, self.seen, self.updated)


def bare_checkpoint(
    id: str, made: float, versions: Any, seen: Any, updated: list[str] | None
) -> dict[str, Any]:
    """A checkpoint without values, of its parts."""
    return {
        "v": FORMAT,
        "ts": time_of(made),
        "id": id,
        "channel_versions": versions,
        "versions_seen": seen,
        "updated_channels": updated,
    }


def time_of(made: float) -> str:
    """A time as checkpoints have it."""
    return datetime.fromtimestamp(made, UTC).isoformat()
