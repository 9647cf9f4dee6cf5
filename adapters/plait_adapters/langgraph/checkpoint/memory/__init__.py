"""A saver that keeps checkpoints in this process."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from plait.errors import ThreadExists
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint._configs import (
    config_of,
    matches,
    next_version,
    place_of,
    without_values,
)
from plait_adapters.langgraph.checkpoint._pruning import (
    Bone,
    check_pruning,
    check_removal,
    to_keep,
)
from plait_adapters.langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    Config,
    DeltaChannelHistory,
    PendingWrite,
    SerializerProtocol,
    get_checkpoint_metadata,
    writes_sort_key,
)
from plait_adapters.langgraph.checkpoint.serde.jsonplus import dumps_metadata, dumps_own

from ._persistent import PersistentDict

__all__ = ["InMemorySaver", "MemorySaver", "PersistentDict"]

_EMPTY: Final = "empty"
"""What LangGraph puts in place of an encoding for a channel that has no value."""

_Bytes = tuple[str, bytes]
_Saved = tuple[_Bytes, _Bytes, str | None]
_Write = tuple[str, str, _Bytes, str]


class InMemorySaver(BaseCheckpointSaver[str]):
    """A saver that keeps checkpoints in this process, encoded, so that nobody shares values.

    Its asynchronous methods do not wait for anything.

    Args:
        serde: makes bytes of values.
        factory: makes the dicts that are below, of what a ``defaultdict`` is made of. Where it is
            another one, such as :class:`PersistentDict`, they are entered as context managers, and
            left when the saver is.
    """

    storage: defaultdict[str, dict[str, dict[str, _Saved]]]
    """By thread, namespace and checkpoint: the checkpoint, its metadata, and which one it follows.
    """
    writes: defaultdict[tuple[str, str, str], dict[tuple[str, int], _Write]]
    """By thread, namespace and checkpoint, then task and place: task, channel, value, task path."""
    blobs: dict[tuple[str, str, str, str | int | float], _Bytes]
    """Values by thread, namespace, channel and version."""
    stack: ExitStack
    """What is left when the saver is; more may be put there."""

    def __init__(
        self,
        *,
        serde: SerializerProtocol | None = None,
        factory: Callable[..., Any] = defaultdict,
    ) -> None:
        super().__init__(serde=serde)
        self.storage = factory(lambda: defaultdict(dict))
        self.writes = factory(dict)
        self.blobs = factory()
        self.stack = ExitStack()
        if factory is not defaultdict:
            for kept in (self.storage, self.writes, self.blobs):
                self.stack.enter_context(cast("Any", kept))
        self._lock = threading.RLock()  # LangGraph calls savers from several threads

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self.stack.__exit__(kind, error, traceback)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self.stack.__exit__(kind, error, traceback)

    # -- reading -------------------------------------------------------------------------------

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint that a config names with all that belongs to it, or ``None``."""
        thread_id, namespace, checkpoint_id = place_of(config)
        with self._lock:
            saved = self._namespace(thread_id, namespace)
            if checkpoint_id is None:
                if not saved:
                    return None
                checkpoint_id = max(saved)
                config = config_of(thread_id, namespace, checkpoint_id)
            elif checkpoint_id not in saved:
                return None
            return self._load(thread_id, namespace, checkpoint_id, config=config)

    def list(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, by thread and namespace, and in each the latest first."""
        left = limit
        for thread_id, namespace, checkpoint_id in self._places(config, before):
            if left is not None and left <= 0:
                return
            with self._lock:
                saved = self._namespace(thread_id, namespace).get(checkpoint_id)
                if saved is None:
                    continue
                if not matches(self.serde.loads_typed(saved[1]), filter):
                    continue
                found = self._load(thread_id, namespace, checkpoint_id)
            if left is not None:
                left -= 1
            yield found

    def _places(
        self, config: Config | None, before: Config | None
    ) -> Sequence[tuple[str, str, str]]:
        bound = (before or {}).get("configurable", {}).get("checkpoint_id")
        wanted_namespace = wanted_id = None
        if config:
            wanted_namespace = config["configurable"].get("checkpoint_ns")
            wanted_id = config["configurable"].get("checkpoint_id")
        with self._lock:
            threads = [place_of(config).thread_id] if config else [*self.storage]
            return [
                (thread_id, namespace, checkpoint_id)
                for thread_id in threads
                for namespace, saved in self.storage.get(thread_id, {}).items()
                if wanted_namespace is None or namespace == wanted_namespace
                for checkpoint_id in sorted(saved, reverse=True)
                if not wanted_id or checkpoint_id == wanted_id
                if not bound or checkpoint_id < bound
            ]

    def _namespace(self, thread_id: str, namespace: str) -> dict[str, _Saved]:
        """The checkpoints of a namespace by id; does not make one for having been asked."""
        return self.storage.get(thread_id, {}).get(namespace, {})

    def _load(
        self, thread_id: str, namespace: str, checkpoint_id: str, *, config: Config | None = None
    ) -> CheckpointTuple:
        data, metadata, parent_id = self.storage[thread_id][namespace][checkpoint_id]
        loads = self.serde.loads_typed
        checkpoint = loads(data)
        values = {
            channel: loads(blob)
            for channel, version in checkpoint["channel_versions"].items()
            if (blob := self._blob(thread_id, namespace, channel, version)) is not None
        }
        return CheckpointTuple(
            config=config or config_of(thread_id, namespace, checkpoint_id),
            checkpoint=cast("Checkpoint", checkpoint | {"channel_values": values}),
            metadata=loads(metadata),
            parent_config=config_of(thread_id, namespace, parent_id) if parent_id else None,
            pending_writes=[
                (task_id, channel, loads(value))
                for task_id, channel, value, _ in self._writes_of(
                    thread_id, namespace, checkpoint_id
                )
            ],
        )

    def _blob(self, *place: Any) -> _Bytes | None:
        """The value of a channel, if there is one: it may be there and say that there is none."""
        blob = self.blobs.get(cast("Any", place))
        return blob if blob is not None and blob[0] != _EMPTY else None

    def _writes_of(self, thread_id: str, namespace: str, checkpoint_id: str) -> Sequence[_Write]:
        found = self.writes.get((thread_id, namespace, checkpoint_id), {})
        places = sorted(found, key=lambda place: writes_sort_key(found[place][3], *place))
        return [found[place] for place in places]

    def get_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are made of at the checkpoint that a config names."""
        thread_id, namespace, checkpoint_id = place_of(config)
        loads = self.serde.loads_typed
        writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
        seeds: dict[str, Any] = {}
        with self._lock:
            saved = self._namespace(thread_id, namespace)
            target = saved.get(checkpoint_id or max(saved, default=""))
            current = target[2] if target is not None else None
            seen: set[str | None] = set()
            while current in saved and current not in seen and len(seeds) < len(writes):
                seen.add(current)
                data, _, parent_id = saved[current]
                for task_id, channel, value, _ in reversed(
                    self._writes_of(thread_id, namespace, current)
                ):
                    if channel in writes and channel not in seeds:
                        writes[channel].append((task_id, channel, loads(value)))
                versions = loads(data)["channel_versions"]
                for channel in writes.keys() - seeds.keys():
                    blob = self._blob(thread_id, namespace, channel, versions.get(channel))
                    if blob is not None:
                        seeds[channel] = loads(blob)
                current = parent_id
        history: dict[str, DeltaChannelHistory] = {}
        for channel, items in writes.items():
            history[channel] = {"writes": items[::-1]}
            if channel in seeds:
                history[channel]["seed"] = seeds[channel]
        return history

    # -- writing -------------------------------------------------------------------------------

    def put(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """Store a checkpoint, and the values of those channels that ``new_versions`` names."""
        thread_id, namespace, parent_id = place_of(config)
        dumps, values = self.serde.dumps_typed, checkpoint["channel_values"]
        blobs = {
            (thread_id, namespace, channel, version): dumps(values[channel])
            for channel, version in new_versions.items()
            if channel in values
        }
        saved = (
            dumps_own(self.serde)(without_values(checkpoint)),
            dumps_metadata(self.serde, get_checkpoint_metadata(config, metadata)),
            parent_id,
        )
        with self._lock:
            self.blobs.update(blobs)
            self.storage[thread_id][namespace][checkpoint["id"]] = saved
        return config_of(thread_id, namespace, checkpoint["id"])

    def put_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task has written for the checkpoint it started from."""
        thread_id, namespace, checkpoint_id = place_of(config)
        encoded = [
            ((task_id, WRITES_IDX_MAP.get(channel, index)), channel, self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        with self._lock:
            found = self.writes[thread_id, namespace, checkpoint_id or ""]
            for place, channel, value in encoded:
                if place[1] < 0 or place not in found:
                    found[place] = (task_id, channel, value, task_path)

    # -- removing and copying ------------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Remove all that belongs to a thread."""
        thread_id = str(thread_id)
        with self._lock:
            self.storage.pop(thread_id, None)
            for place in [place for place in self.writes if place[0] == thread_id]:
                del self.writes[place]
            for key in [key for key in self.blobs if key[0] == thread_id]:
                del self.blobs[key]

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that runs have made, and the writes that belong to them.

        Raises:
            StoreError: a delta channel of a later checkpoint is built on one of them.
        """
        wanted = set(map(str, run_ids))
        with self._lock:
            keep: dict[tuple[str, str], set[str]] = {}
            for thread_id, namespaces in self.storage.items():
                for namespace, saved in namespaces.items():
                    left = {
                        checkpoint_id
                        for checkpoint_id, (_, metadata, _) in saved.items()
                        if self.serde.loads_typed(metadata).get("run_id") not in wanted
                    }
                    if len(left) < len(saved):
                        check_removal(thread_id, self._bones(thread_id, namespace), left)
                        keep[thread_id, namespace] = left
            for (thread_id, namespace), left in keep.items():
                self._keep(thread_id, namespace, left)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Make a thread with all that belongs to another one.

        Raises:
            ThreadExists: there is one of that name already.
        """
        source, target = str(source_thread_id), str(target_thread_id)
        with self._lock:
            if any(self.storage.get(target, {}).values()):
                raise ThreadExists(target, "exists already: choose another id for the copy")
            for namespace, saved in self.storage.get(source, {}).items():
                self.storage[target][namespace] = dict(saved)
            for place in [place for place in self.writes if place[0] == source]:
                self.writes[target, place[1], place[2]] = dict(self.writes[place])
            for key in [key for key in self.blobs if key[0] == source]:
                self.blobs[target, key[1], key[2], key[3]] = self.blobs[key]

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Give up what is old in threads; see :meth:`BaseCheckpointSaver.prune`."""
        check_pruning(thread_ids, strategy)
        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                self.delete_thread(thread_id)
                continue
            with self._lock:
                for namespace in self.storage.get(thread_id, {}):
                    self._keep(thread_id, namespace, to_keep(self._bones(thread_id, namespace)))

    def _keep(self, thread_id: str, namespace: str, keep: set[str]) -> None:
        """Remove the checkpoints that are not to be kept, and the values that none has then."""
        saved = self.storage[thread_id][namespace]
        for checkpoint_id in saved.keys() - keep:
            del saved[checkpoint_id]
            self.writes.pop((thread_id, namespace, checkpoint_id), None)
        versions = {
            version
            for data, _, _ in saved.values()
            for version in self.serde.loads_typed(data)["channel_versions"].items()
        }
        for key in [key for key in self.blobs if key[:2] == (thread_id, namespace)]:
            if key[2:] not in versions:
                del self.blobs[key]
        for checkpoint_id, (data, metadata, parent_id) in saved.items():
            if parent_id is not None and parent_id not in saved:
                saved[checkpoint_id] = (data, metadata, None)

    def _bones(self, thread_id: str, namespace: str) -> Iterable[Bone]:
        loads = self.serde.loads_typed
        for checkpoint_id, (data, metadata, parent_id) in self.storage[thread_id][
            namespace
        ].items():
            versions = loads(data)["channel_versions"]
            yield Bone(
                checkpoint_id,
                parent_id,
                frozenset(loads(metadata).get("counters_since_delta_snapshot") or ()),
                frozenset(
                    channel
                    for channel, version in versions.items()
                    if self._blob(thread_id, namespace, channel, version) is not None
                ),
            )

    # -- the same for asynchronous callers -----------------------------------------------------

    async def aget_tuple(self, config: Config) -> CheckpointTuple | None:
        """As :meth:`get_tuple`."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As :meth:`list`."""
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """As :meth:`put`."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As :meth:`put_writes`."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """As :meth:`delete_thread`."""
        self.delete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As :meth:`delete_for_runs`."""
        self.delete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As :meth:`copy_thread`."""
        self.copy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As :meth:`prune`."""
        self.prune(thread_ids, strategy=strategy)

    async def aget_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As :meth:`get_delta_channel_history`."""
        return self.get_delta_channel_history(config=config, channels=channels)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """The version of a channel that follows another one."""
        return next_version(current)


MemorySaver = InMemorySaver


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
