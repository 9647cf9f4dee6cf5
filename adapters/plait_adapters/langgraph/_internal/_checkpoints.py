"""Checkpoints: from channels, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from plait_adapters.langgraph.channels.base import BaseChannel
from plait_adapters.langgraph.channels.binop import BinaryOperatorAggregate
from plait_adapters.langgraph.channels.delta import DeltaChannel
from plait_adapters.langgraph.channels.untracked_value import UntrackedValue
from plait_adapters.langgraph.checkpoint._steps import FORMAT
from plait_adapters.langgraph.types import Send

from ._config import DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT
from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    MISSING,
    NS_END,
    NS_SEP,
    SNAPSHOT_BUMPS,
    TASKS,
)
from ._ids import checkpoint_id
from ._saves import Saves

Checkpoint = dict[str, Any]
Specs = Mapping[str, BaseChannel[Any, Any, Any]]
Versions = dict[str, Any]


def now() -> str:
    """The time, as checkpoints have it."""
    return datetime.now(UTC).isoformat()


def empty_checkpoint() -> Checkpoint:
    """The checkpoint before the first."""
    return {
        "v": FORMAT,
        "id": checkpoint_id(-2),
        "ts": now(),
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "updated_channels": None,
    }


def copied(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint whose parts may be changed."""
    return {
        **checkpoint,
        "channel_values": dict(checkpoint["channel_values"]),
        "channel_versions": dict(checkpoint["channel_versions"]),
        "versions_seen": {node: dict(seen) for node, seen in checkpoint["versions_seen"].items()},
        "updated_channels": checkpoint.get("updated_channels"),
    }


def new_versions(before: Versions, after: Versions) -> Versions:
    """The versions of the channels that have changed."""
    if not before:
        return after
    return {name: version for name, version in after.items() if before.get(name) != version}


def snapshot_type() -> Any:
    """The class by which savers know the stored value of a ``DeltaChannel``."""
    from plait_adapters.langgraph.checkpoint.serde import types

    return types._DeltaSnapshot


# -- from channels to a checkpoint ----------------------------------------------------------------


def make_checkpoint(
    specs: Specs,
    channels: Mapping[str, BaseChannel[Any, Any, Any]],
    versions: Versions,
    seen: dict[str, Versions],
    *,
    id: str,
    changed: Iterable[str] | None,
    snapshots: Iterable[str] = (),
    stored: Versions | None = None,
    next_version: Callable[[Any, None], Any] | None = None,
    triggers: Mapping[str, Sequence[str]] | None = None,
    kept: Mapping[str, Any] | None = None,
    moved: Iterable[str] = (),
) -> Checkpoint:
    """A checkpoint of the channels as they are.

    A step changes few of a graph's channels, so what the others stored is taken over where it is
    known: a channel stores what it did as long as its version stays.

    Args:
        specs: the graph's channels.
        channels: the living ones.
        versions: of the channels; a snapshot of one that has not changed gives it a new one, since
            savers store what has a new version.
        seen: by node, the versions of its triggers.
        id: of the checkpoint.
        changed: the channels that the step changed.
        snapshots: the ``DeltaChannel``s whose value is to be stored.
        stored: the versions of the checkpoint before.
        next_version: makes versions.
        triggers: the nodes that a channel triggers.
        kept: the values of the checkpoint before, if it had no snapshots.
        moved: the channels that got a new version since.
    """
    values: dict[str, Any] = {} if kept is None else dict(kept)
    versions = dict(versions)
    bumped: dict[str, tuple[Any, Any]] = {}
    snapshots = set(snapshots)
    names = versions if kept is None else moved
    for name in [*names, *(name for name in snapshots if name not in versions)]:
        if name not in specs:
            continue
        channel = channels[name]
        if name in snapshots:
            old = versions.get(name)
            if next_version is not None and (
                old is None or (stored is not None and old == stored.get(name))
            ):
                versions[name] = next_version(old, None)
                bumped[name] = (old, versions[name])
            if name in versions and channel.is_available():
                values[name] = snapshot_type()(channel.get())
        else:
            value = channel.checkpoint()
            if value is not MISSING:
                values[name] = value
            elif kept is not None:
                values.pop(name, None)
    return {
        "v": FORMAT,
        "ts": now(),
        "id": id,
        "channel_values": _with_tracked(specs, values),
        "channel_versions": versions,
        "versions_seen": _mark(seen, bumped, triggers or {}),
        "updated_channels": None if changed is None else sorted(changed),
    }


def moved_values(
    specs: Specs, channels: Mapping[str, BaseChannel[Any, Any, Any]], moved: Iterable[str]
) -> dict[str, Any]:
    """What those of the channels store that have got a new version."""
    values: dict[str, Any] = {}
    for name in moved:
        value = channels[name].checkpoint()
        if value is not MISSING:
            values[name] = value
    return _with_tracked(specs, values)


def _with_tracked(specs: Specs, values: dict[str, Any]) -> dict[str, Any]:
    if values.get(TASKS) and any(isinstance(spec, UntrackedValue) for spec in specs.values()):
        values[TASKS] = [without_untracked(specs, each) for each in values[TASKS]]
    return values


def without_untracked(specs: Specs, packet: Any) -> Any:
    """A Send without the values of channels that are never stored."""
    if not isinstance(packet, Send) or not isinstance(packet.arg, dict):
        return packet
    kept = {
        key: value
        for key, value in packet.arg.items()
        if not isinstance(specs.get(key), UntrackedValue)
    }
    return Send(packet.node, kept, timeout=packet.timeout)


def _keys(node: str, channel: str) -> tuple[str, str]:
    """Where it is noted which version a snapshot set, and which one the node had read before."""
    return f"{node}{NS_SEP}{channel}", f"{node}{NS_END}{channel}"


def _mark(
    seen: dict[str, Versions],
    bumped: Mapping[str, tuple[Any, Any]],
    triggers: Mapping[str, Sequence[str]],
) -> dict[str, Versions]:
    """Have nodes that had seen a channel have seen it still, though its version has moved."""
    if not bumped:
        return seen
    marked = dict(seen)
    for channel, (old, _) in bumped.items():
        if old is None:
            for node in triggers.get(channel, ()):
                marked.setdefault(node, {})
    marks = dict(seen.get(SNAPSHOT_BUMPS, {}))
    for node in [name for name in marked if name != SNAPSHOT_BUMPS]:
        for channel, (old, new) in bumped.items():
            if marked[node].get(channel) != old:
                continue
            set_key, read_key = _keys(node, channel)
            if old is not None and marks.get(set_key) != old:
                marks[read_key] = old
            marks[set_key] = new
            marked[node] = {**marked[node], channel: new}
    if marks:
        marked[SNAPSHOT_BUMPS] = marks
    return marked


def really_seen(seen: dict[str, Versions]) -> dict[str, Versions]:
    """By node, the versions that it has read, without those that snapshots have set since."""
    marks = seen.get(SNAPSHOT_BUMPS)
    if not marks:
        return seen
    real: dict[str, Versions] = {}
    for node, versions in seen.items():
        if node == SNAPSHOT_BUMPS:
            continue
        real[node] = {}
        for channel, version in versions.items():
            set_key, read_key = _keys(node, channel)
            if marks.get(set_key) != version:
                real[node][channel] = version
            elif read_key in marks:
                real[node][channel] = marks[read_key]
    return real


# -- from a checkpoint to channels ----------------------------------------------------------------


async def restore(
    specs: Specs, checkpoint: Checkpoint, saves: Saves | None, config: Any
) -> dict[str, BaseChannel[Any, Any, Any]]:
    """The channels that a checkpoint has stored.

    Raises:
        ValueError: a ``DeltaChannel`` has a history, and there is no saver to read it from.
    """
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    replayed = [
        name
        for name, spec in specs.items()
        if isinstance(spec, (DeltaChannel, BinaryOperatorAggregate))
        and name in versions
        and values.get(name, MISSING) is MISSING
    ]
    histories: Mapping[str, Any] = {}
    if replayed:
        if saves is None or config is None:
            raise ValueError(
                f"DeltaChannel {replayed} has history to replay but no checkpointer or config "
                f"was passed to read it"
            )
        histories = await saves.history(config, replayed)
    channels: dict[str, BaseChannel[Any, Any, Any]] = {}
    for name, spec in specs.items():
        history = histories.get(name)
        if history is None:
            if name in values or isinstance(spec, DeltaChannel):
                channels[name] = spec.from_checkpoint(values.get(name, MISSING))
            continue
        channel = channels[name] = spec.from_checkpoint(history.get("seed", MISSING))
        if isinstance(channel, DeltaChannel):
            channel.replay_writes(history["writes"])
        else:
            # Those of many steps: taken at once, they could not hold a second overwrite.
            for _, _, value in history["writes"]:
                channel.update([value])
    return channels


async def is_superseded(saves: Saves, config: Any, saved: Any) -> bool:
    """Whether a thread has gone on from the checkpoint that a configuration names."""
    if not config[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
        return False
    latest = await saves.find({**config, CONF: {**config[CONF], CONFIG_KEY_CHECKPOINT_ID: None}})
    return latest is not None and latest.checkpoint["id"] != saved.checkpoint["id"]


# -- channels of which the writes are stored ------------------------------------------------------


def delta_names(specs: Specs, pending: Iterable[tuple[str, str, Any]]) -> set[str]:
    """The ``DeltaChannel``s that pending writes go to."""
    return {name for _, name, _ in pending if isinstance(specs.get(name), DeltaChannel)}


def overwritten_deltas(specs: Specs, writes: Iterable[tuple[str, Any]]) -> set[str]:
    """The ``DeltaChannel``s that writes overwrite; replaying sparse history must begin after
    that."""
    from plait_adapters.langgraph.channels._concrete import overwritten

    return {
        name
        for name, value in writes
        if isinstance(specs.get(name), DeltaChannel) and overwritten(value)[0]
    }


COUNTERS = "counters_since_delta_snapshot"
"""Where metadata have them."""
Counters = dict[str, tuple[int, int]]
"""By ``DeltaChannel``: updates and steps since its value was stored."""


def count_step(
    deltas: Iterable[str], before: Mapping[str, Any], changed: Iterable[str]
) -> Counters:
    """The counters after one more step."""
    counters: Counters = {}
    for name in deltas:
        updates, steps = before.get(name, (0, 0))
        counters[name] = (updates + (name in changed), steps + 1)
    return counters


def stored_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored about a checkpoint: its counters as lists, since few formats know tuples."""
    counters = metadata.get(COUNTERS)
    if not counters:
        return dict(metadata)
    return {**metadata, COUNTERS: {name: list(count) for name, count in counters.items()}}


def due_snapshots(
    specs: Specs,
    channels: Mapping[str, BaseChannel[Any, Any, Any]],
    counters: Mapping[str, Any],
    versions: Versions,
) -> set[str]:
    """The ``DeltaChannel``s whose value is to be stored by now."""
    due: set[str] = set()
    for name, (updates, steps) in counters.items():
        spec = specs.get(name)
        if not isinstance(spec, DeltaChannel) or name not in versions:
            continue
        if (
            updates >= spec.snapshot_frequency or steps >= DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT
        ) and channels[name].is_available():
            due.add(name)
    return due
