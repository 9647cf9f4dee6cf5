"""What a saver can be asked for, when LangGraph's own definition of it is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from ._records import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    Config,
    DeltaChannelHistory,
)

__all__ = ["SaverInterface", "V"]

V = TypeVar("V", int, float, str)


class SaverInterface(Generic[V]):
    """The methods of a saver; each raises ``NotImplementedError`` until it is overridden.

    A ``config`` names a thread, a namespace and a checkpoint in its ``"configurable"``:
    ``thread_id``, ``checkpoint_ns`` (that of a subgraph; ``""``: the graph itself) and
    ``checkpoint_id`` (absent: the latest).
    """

    serde: Any

    @property
    def config_specs(self) -> list[Any]:
        """Fields of a config that the saver needs beside the usual; none."""
        return []

    def get(self, config: Config) -> Checkpoint | None:
        """The checkpoint that a config names, or ``None``."""
        found = self.get_tuple(config)
        return found.checkpoint if found is not None else None

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint that a config names with all that belongs to it, or ``None``. Its
        ``pending_writes`` are in the order of :func:`writes_sort_key`."""
        _refuse(self, "get_tuple")

    def list(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, the latest first.

        Args:
            config: whose thread, and namespace and checkpoint if it names them; ``None``: all.
            filter: what their metadata has to have.
            before: only those before the checkpoint that this names.
            limit: so many at most.
        """
        _refuse(self, "list")

    def put(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """Store a checkpoint, and the values of those channels that ``new_versions`` names.

        Args:
            config: its thread and namespace, and the checkpoint that it follows.
            checkpoint: the checkpoint with the values of all channels.
            metadata: what is to be known of it.
            new_versions: the channels that have changed since that one, and their versions.

        Returns:
            A config that names the checkpoint.
        """
        _refuse(self, "put")

    def put_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task has written, channel and value, for the checkpoint it started from.

        Repeating it changes nothing, except that an error, an interrupt and answers take the place
        of those before.
        """
        _refuse(self, "put_writes")

    def delete_thread(self, thread_id: str) -> None:
        """Remove all that belongs to a thread."""
        _refuse(self, "delete_thread")

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that runs have made, and the writes that belong to them."""
        _refuse(self, "delete_for_runs")

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Make a thread with all that belongs to another one."""
        _refuse(self, "copy_thread")

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Give up what is old in threads.

        Args:
            thread_ids: which threads.
            strategy: ``"keep_latest"``: of each namespace the latest checkpoint stays, with what it
                is built on; ``"delete"``: nothing stays.
        """
        _refuse(self, "prune")

    def get_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are made of at the checkpoint that a config names.

        For each channel: what was written on the way to it, the oldest first, since the last
        checkpoint in which the whole value was stored, and that value, if there is one.
        """
        if not channels:
            return {}
        walk = _Walk(channels)
        found = self.get_tuple(config)
        config_ = found.parent_config if found is not None else None
        while config_ is not None and walk.goes_on:
            found = self.get_tuple(config_)
            config_ = walk.take(found)
        return walk.result()

    async def aget(self, config: Config) -> Checkpoint | None:
        """As :meth:`get`."""
        found = await self.aget_tuple(config)
        return found.checkpoint if found is not None else None

    async def aget_tuple(self, config: Config) -> CheckpointTuple | None:
        """As :meth:`get_tuple`."""
        _refuse(self, "aget_tuple")

    async def alist(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As :meth:`list`."""
        _refuse(self, "alist")
        yield

    async def aput(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """As :meth:`put`."""
        _refuse(self, "aput")

    async def aput_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As :meth:`put_writes`."""
        _refuse(self, "aput_writes")

    async def adelete_thread(self, thread_id: str) -> None:
        """As :meth:`delete_thread`."""
        _refuse(self, "adelete_thread")

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As :meth:`delete_for_runs`."""
        _refuse(self, "adelete_for_runs")

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As :meth:`copy_thread`."""
        _refuse(self, "acopy_thread")

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As :meth:`prune`."""
        _refuse(self, "aprune")

    async def aget_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As :meth:`get_delta_channel_history`."""
        if not channels:
            return {}
        walk = _Walk(channels)
        found = await self.aget_tuple(config)
        config_ = found.parent_config if found is not None else None
        while config_ is not None and walk.goes_on:
            found = await self.aget_tuple(config_)
            config_ = walk.take(found)
        return walk.result()

    def get_next_version(self, current: V | None, channel: None) -> V:
        """The version of a channel that follows another one, and is larger; by default the next
        integer."""
        if isinstance(current, str):
            _refuse(self, "get_next_version")
        number: Any = current
        following: Any = 1 if number is None else number + 1
        return following  # type: ignore[no-any-return]


class _Walk:
    """From a checkpoint back to where the values of delta channels were stored whole."""

    def __init__(self, channels: Sequence[str]) -> None:
        self._writes: dict[str, list[tuple[str, str, Any]]] = {name: [] for name in channels}
        self._seeds: dict[str, Any] = {}
        self._seen: set[str] = set()

    @property
    def goes_on(self) -> bool:
        return len(self._seeds) < len(self._writes)

    def take(self, found: CheckpointTuple | None) -> Config | None:
        """Take in one checkpoint more; the config of the one before it."""
        if found is None or found.checkpoint["id"] in self._seen:
            return None
        self._seen.add(found.checkpoint["id"])
        for write in reversed(found.pending_writes or ()):
            if write[1] in self._writes and write[1] not in self._seeds:
                self._writes[write[1]].append(write)
        values = found.checkpoint["channel_values"]
        for name in self._writes:
            if name in values and name not in self._seeds:
                self._seeds[name] = values[name]
        return found.parent_config

    def result(self) -> dict[str, DeltaChannelHistory]:
        history: dict[str, DeltaChannelHistory] = {}
        for name, writes in self._writes.items():
            history[name] = {"writes": writes[::-1]}
            if name in self._seeds:
                history[name]["seed"] = self._seeds[name]
        return history


def _refuse(saver: object, method: str) -> NoReturn:
    raise NotImplementedError(f"{type(saver).__name__} has no {method}()")
