"""What a checkpoint is made of, and what is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, NotRequired, TypeAlias, TypedDict, cast

from plait_adapters.langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME, SCHEDULED
from plait_adapters.langgraph.errors import EmptyChannelError

from .id import uuid6

__all__ = [
    "EXCLUDED_METADATA_KEYS",
    "LATEST_VERSION",
    "WRITES_IDX_MAP",
    "ChannelVersions",
    "Checkpoint",
    "CheckpointMetadata",
    "CheckpointTuple",
    "Config",
    "DeltaChannelHistory",
    "EmptyChannelError",
    "PendingWrite",
    "copy_checkpoint",
    "create_checkpoint",
    "empty_checkpoint",
    "get_checkpoint_id",
    "get_checkpoint_metadata",
    "get_serializable_checkpoint_metadata",
    "writes_sort_key",
]

Config: TypeAlias = Any
"""A dict with ``"configurable"`` in it: langchain-core's ``RunnableConfig``."""

PendingWrite: TypeAlias = tuple[str, str, Any]
"""The task that wrote, the channel, the value."""

ChannelVersions: TypeAlias = dict[str, str | int | float]
"""By channel, which version of its value is meant."""

LATEST_VERSION: Final = 2

WRITES_IDX_MAP: Final = {ERROR: -1, SCHEDULED: -2, INTERRUPT: -3, RESUME: -4}
"""At which place of a task's writes a special one is kept: there is one at most of each. All
others are kept at their place in the list."""

EXCLUDED_METADATA_KEYS: Final = {
    "thread_id",
    "checkpoint_id",
    "checkpoint_ns",
    "checkpoint_map",
    "langgraph_step",
    "langgraph_node",
    "langgraph_triggers",
    "langgraph_path",
    "langgraph_checkpoint_ns",
}
"""What of a config does not become metadata of the checkpoint."""


class CheckpointMetadata(TypedDict, total=False):
    """What is known of a checkpoint beside its state; users may add to it."""

    source: Literal["input", "loop", "update", "fork"]
    """What made it: the input of a run, a step of it, an update from outside, or a copy."""
    step: int
    """-1 for the first input, 0 for the first step, and so on."""
    parents: dict[str, str]
    """By namespace, the id of the checkpoint that was the latest there."""
    run_id: str
    """Of the run that made it."""
    counters_since_delta_snapshot: dict[str, tuple[int, int]]
    """By delta channel: how many steps have written to it, and how many there were, since its whole
    value was stored."""


class Checkpoint(TypedDict):
    """The state of a graph at one moment."""

    v: int
    """Of the format."""
    id: str
    """Sorts by time."""
    ts: str
    """When it was made, in ISO 8601."""
    channel_values: dict[str, Any]
    """What channels stored. One that has no value is absent."""
    channel_versions: ChannelVersions
    """Which version each channel has."""
    versions_seen: dict[str, ChannelVersions]
    """By node, which versions it has seen: what is newer makes it run."""
    updated_channels: list[str] | None
    """Those that the last step has changed."""


class CheckpointTuple(NamedTuple):
    """A checkpoint and what belongs to it."""

    config: Config
    """Names it."""
    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    parent_config: Config | None = None
    """Names the one before it."""
    pending_writes: list[PendingWrite] | None = None
    """What the tasks of the next step have written so far."""


class DeltaChannelHistory(TypedDict):
    """What a delta channel is made of."""

    writes: list[PendingWrite]
    """What was written to it since ``seed``, the oldest first."""
    seed: NotRequired[Any]
    """The whole value, where it was stored last; absent if it never was."""


def writes_sort_key(task_path: str, task_id: str = "", idx: int = 0) -> tuple[str, str, int]:
    """By what the writes of one step are sorted: so they are applied when the graph runs."""
    return (task_path, task_id, idx)


def get_checkpoint_id(config: Config) -> str | None:
    """The checkpoint that a config names; ``None``: the latest."""
    return config["configurable"].get("checkpoint_id")  # type: ignore[no-any-return]


def get_checkpoint_metadata(config: Config, metadata: CheckpointMetadata) -> CheckpointMetadata:
    """What is stored about a checkpoint: its metadata, then those of the run, then what the run
    was configured with, as far as that is text or a number."""
    result: dict[str, Any] = {name: _without_nul(item) for name, item in metadata.items()}
    for source in (config.get("metadata"), config.get("configurable")):
        for name, item in (source or {}).items():
            if name in result or name in EXCLUDED_METADATA_KEYS or name.startswith("__"):
                continue
            if isinstance(item, (str, int, float)):
                result[name] = _without_nul(item)
    return cast("CheckpointMetadata", result)


def _without_nul(item: Any) -> Any:
    return item.replace("\0", "") if isinstance(item, str) and "\0" in item else item


def get_serializable_checkpoint_metadata(
    config: Config, metadata: CheckpointMetadata
) -> CheckpointMetadata:
    """As :func:`get_checkpoint_metadata`, without the writes that old versions kept there."""
    result = get_checkpoint_metadata(config, metadata)
    cast("dict[str, Any]", result).pop("writes", None)
    return result


def copy_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint that can be changed without changing the other; values are shared."""
    return cast(
        "Checkpoint",
        {
            "v": checkpoint["v"],
            "ts": checkpoint["ts"],
            "id": checkpoint["id"],
            "channel_values": checkpoint["channel_values"].copy(),
            "channel_versions": checkpoint["channel_versions"].copy(),
            "versions_seen": {
                node: versions.copy() for node, versions in checkpoint["versions_seen"].items()
            },
            "pending_sends": list(cast("Any", checkpoint).get("pending_sends", ())),
            "updated_channels": checkpoint.get("updated_channels"),
        },
    )


def empty_checkpoint() -> Checkpoint:
    """The state of a graph that has not run."""
    return cast(
        "Checkpoint",
        {
            "v": LATEST_VERSION,
            "id": str(uuid6(clock_seq=-2)),
            "ts": datetime.now(UTC).isoformat(),
            "channel_values": {},
            "channel_versions": {},
            "versions_seen": {},
            "pending_sends": [],
            "updated_channels": None,
        },
    )


def create_checkpoint(
    checkpoint: Checkpoint,
    channels: Mapping[str, Any] | None,
    step: int,
    *,
    id: str | None = None,
) -> Checkpoint:
    """A checkpoint that follows another one.

    Args:
        checkpoint: the one before.
        channels: from which the values are taken; ``None``: they stay as they were.
        step: the number of the step; it becomes part of the id.
        id: in place of a new one.
    """
    if channels is None:
        values = checkpoint["channel_values"]
    else:
        values = {}
        for name, channel in channels.items():
            if name in checkpoint["channel_versions"]:
                try:
                    values[name] = channel.checkpoint()
                except EmptyChannelError:
                    pass
    return cast(
        "Checkpoint",
        {
            "v": LATEST_VERSION,
            "ts": datetime.now(UTC).isoformat(),
            "id": id or str(uuid6(clock_seq=step)),
            "channel_values": values,
            "channel_versions": checkpoint["channel_versions"],
            "versions_seen": checkpoint["versions_seen"],
            "pending_sends": cast("Any", checkpoint).get("pending_sends", []),
            "updated_channels": None,
        },
    )
