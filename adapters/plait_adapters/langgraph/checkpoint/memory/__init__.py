"""A saver that keeps checkpoints in this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
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
from plait_adapters.langgraph.checkpoint.serde.jsonplus import (
    JsonPlusSerializer,
    dumps_metadata,
    dumps_own,
)

from ._kept import Item, Keeping, Kept, Line
from ._persistent import PersistentDict

__all__ = ["InMemorySaver", "MemorySaver", "PersistentDict"]

_EMPTY: Final = "empty"
"""What LangGraph puts in place of an encoding for a channel that has no value."""

_PUTTING: Final = frozenset(("put", "put_writes", "get_next_version"))

_Bytes = tuple[str, bytes]
_Saved = tuple[_Bytes, _Bytes, str | None]
_Write = tuple[str, str, _Bytes, str]
_Storage = defaultdict[str, dict[str, dict[str, _Saved]]]
_Writes = defaultdict[tuple[str, str, str], dict[tuple[str, int], _Write]]
_Blobs = dict[tuple[str, str, str, str | int | float], _Bytes]


class InMemorySaver(BaseCheckpointSaver[str]):
    """A saver that keeps checkpoints in this process, encoded, so that nobody shares values.

    Its asynchronous methods do not wait for anything. What runs put is kept packed; once one of the
    dicts below has been asked for, everything is in them, and what is put goes there.

    Args:
        serde: makes bytes of values.
        factory: makes the dicts that are below, of what a ``defaultdict`` is made of. Where it is
            another one, such as :class:`PersistentDict`, they are entered as context managers, and
            left when the saver is.
    """

    stack: ExitStack
    """What is left when the saver is; more may be put there."""

    def __init__(
        self,
        *,
        serde: SerializerProtocol | None = None,
        factory: Callable[..., Any] = defaultdict,
    ) -> None:
        super().__init__(serde=serde)
        self._storage: _Storage = factory(lambda: defaultdict(dict))
        self._writes: _Writes = factory(dict)
        self._blobs: _Blobs = factory()
        self.stack = ExitStack()
        self._keeping = Keeping()
        """What runs have put, until somebody looks at the dicts."""
        self._lock = self._keeping.lock
        if factory is not defaultdict:
            for kept in (self.storage, self.writes, self.blobs):
                self.stack.enter_context(cast("Any", kept))

    @property
    def storage(self) -> _Storage:
        """By thread, namespace and checkpoint: the checkpoint, its metadata, and which one it
        follows."""
        self._open()
        return self._storage

    @storage.setter
    def storage(self, storage: _Storage) -> None:
        self._open()
        self._storage = storage

    @property
    def writes(self) -> _Writes:
        """By thread, namespace and checkpoint, then task and place: task, channel, value, task
        path."""
        self._open()
        return self._writes

    @writes.setter
    def writes(self, writes: _Writes) -> None:
        self._open()
        self._writes = writes

    @property
    def blobs(self) -> _Blobs:
        """Values by thread, namespace, channel and version."""
        self._open()
        return self._blobs

    @blobs.setter
    def blobs(self, blobs: _Blobs) -> None:
        self._open()
        self._blobs = blobs

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

    # -- what runs put ---------------------------------------------------------------------------

    def _line(self, config: Config, thread_id: str, namespace: str) -> Line | None:
        """What takes the steps of a run; ``None`` where somebody wants to see each of them, or
        bytes are made in another way."""
        serde = self.serde
        keeps = (
            type(self) is InMemorySaver
            and _PUTTING.isdisjoint(vars(self))
            and type(serde) is JsonPlusSerializer
            and "dumps_typed" not in vars(serde)
            and not self._keeping.is_over
        )
        return Line(self, config, thread_id, namespace) if keeps else None

    def _kept_for(self, thread_id: str, namespace: str) -> Kept | None:
        """Where to keep what is put into a namespace; ``None`` if nothing more is to be kept."""
        keeping = self._keeping
        kept = keeping.find(thread_id, namespace)
        if kept is None and not keeping.is_over:
            kept = Kept(cast("JsonPlusSerializer", self.serde))
            keeping.threads.setdefault(thread_id, {})[namespace] = kept
            self._storage[thread_id][namespace]  # it has its place in the order of all
        return kept

    def _settle(self, thread_id: str) -> None:
        """Have what is kept of a thread in the dicts."""
        for namespace, kept in self._keeping.take(thread_id).items():
            saved = self._storage[thread_id][namespace]
            for checkpoint_id in kept.steps:
                checkpoint, metadata, parent_id = kept.find(checkpoint_id)
                saved[checkpoint_id] = (
                    dumps_own(self.serde)(checkpoint),
                    dumps_metadata(self.serde, metadata),
                    parent_id,
                )
            for version, values in kept.values(kept.versions).items():
                for channel, item in values.items():
                    self._blobs[thread_id, namespace, channel, version] = self._dumped(item)
            for checkpoint_id in kept.written:
                found = self._writes[thread_id, namespace, checkpoint_id]
                for task_id, path, index, channel, item in kept.writes(checkpoint_id):
                    place = (task_id, WRITES_IDX_MAP.get(channel, index))
                    if place[1] < 0 or place not in found:
                        found[place] = (task_id, channel, self._dumped(item), path)

    def _settle_all(self) -> None:
        for thread_id in [*self._keeping.threads]:
            self._settle(thread_id)

    def _open(self) -> None:
        """Have all that there is in the dicts, from now on."""
        if not self._keeping.is_over or self._keeping.threads:
            with self._lock:
                self._keeping.is_over = True
                self._settle_all()

    def _dumped(self, item: Item) -> _Bytes:
        content: _Bytes = item.content
        return content if item.is_typed else self.serde.dumps_typed(item.content)

    def _loaded(self, item: Item) -> Any:
        return self.serde.loads_typed(item.content) if item.is_typed else item.content

    # -- reading -------------------------------------------------------------------------------

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint that a config names with all that belongs to it, or ``None``."""
        thread_id, namespace, checkpoint_id = place_of(config)
        with self._lock:
            if checkpoint_id is None:
                checkpoint_id = max(self._ids(thread_id, namespace), default=None)
                if checkpoint_id is None:
                    return None
                config = config_of(thread_id, namespace, checkpoint_id)
            elif not self._has(thread_id, namespace, checkpoint_id):
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
        for place in self._places(config, before):
            if left is not None and left <= 0:
                return
            with self._lock:
                if not self._has(*place) or not matches(self._metadata(*place), filter):
                    continue
                found = self._load(*place)
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
            threads = [place_of(config).thread_id] if config else [*self._storage]
            return [
                (thread_id, namespace, checkpoint_id)
                for thread_id in threads
                for namespace in self._storage.get(thread_id, ())
                if wanted_namespace is None or namespace == wanted_namespace
                for checkpoint_id in sorted(self._ids(thread_id, namespace), reverse=True)
                if not wanted_id or checkpoint_id == wanted_id
                if not bound or checkpoint_id < bound
            ]

    def _namespace(self, thread_id: str, namespace: str) -> dict[str, _Saved]:
        """The checkpoints of a namespace by id; does not make one for having been asked."""
        return self._storage.get(thread_id, {}).get(namespace, {})

    def _ids(self, thread_id: str, namespace: str) -> Iterator[str]:
        kept = self._keeping.find(thread_id, namespace)
        return chain(self._namespace(thread_id, namespace), () if kept is None else kept.steps)

    def _has(self, thread_id: str, namespace: str, checkpoint_id: str) -> bool:
        kept = self._keeping.find(thread_id, namespace)
        return (kept is not None and checkpoint_id in kept.steps) or (
            checkpoint_id in self._namespace(thread_id, namespace)
        )

    def _metadata(self, thread_id: str, namespace: str, checkpoint_id: str) -> Any:
        kept = self._keeping.find(thread_id, namespace)
        if kept is not None and checkpoint_id in kept.steps:
            return kept.metadata(checkpoint_id)
        return self.serde.loads_typed(self._storage[thread_id][namespace][checkpoint_id][1])

    def _load(
        self, thread_id: str, namespace: str, checkpoint_id: str, *, config: Config | None = None
    ) -> CheckpointTuple:
        loads = self.serde.loads_typed
        checkpoint: Any
        metadata: Any
        kept = self._keeping.find(thread_id, namespace)
        if kept is not None and checkpoint_id in kept.steps:
            checkpoint, metadata, parent_id = kept.find(checkpoint_id)
        else:
            data, about, parent_id = self._storage[thread_id][namespace][checkpoint_id]
            checkpoint, metadata = loads(data), loads(about)
        versions = checkpoint["channel_versions"]
        fresh = {} if kept is None else kept.values(versions.values())
        values = {}
        for channel, version in versions.items():
            if version in fresh and channel in fresh[version]:
                values[channel] = self._loaded(fresh[version][channel])
            elif (blob := self._blob(thread_id, namespace, channel, version)) is not None:
                values[channel] = loads(blob)
        return CheckpointTuple(
            config=config or config_of(thread_id, namespace, checkpoint_id),
            checkpoint=cast("Checkpoint", checkpoint | {"channel_values": values}),
            metadata=metadata,
            parent_config=config_of(thread_id, namespace, parent_id) if parent_id else None,
            pending_writes=[
                (task_id, channel, self._loaded(item))
                for task_id, channel, item in self._writes_of(thread_id, namespace, checkpoint_id)
            ],
        )

    def _blob(self, *place: Any) -> _Bytes | None:
        """The value of a channel, if there is one: it may be there and say that there is none."""
        blob = self._blobs.get(cast("Any", place))
        return blob if blob is not None and blob[0] != _EMPTY else None

    def _writes_of(
        self, thread_id: str, namespace: str, checkpoint_id: str
    ) -> Sequence[tuple[str, str, Item]]:
        """Task, channel and value of each write, as they are applied."""
        found = {
            place: (task_id, channel, Item(True, value), path)
            for place, (task_id, channel, value, path) in self._writes.get(
                (thread_id, namespace, checkpoint_id), {}
            ).items()
        }
        kept = self._keeping.find(thread_id, namespace)
        if kept is not None:
            for write in kept.writes(checkpoint_id):
                place = (write.task_id, WRITES_IDX_MAP.get(write.channel, write.number))
                if place[1] < 0 or place not in found:
                    found[place] = (write.task_id, write.channel, write.item, write.task_path)
        places = sorted(found, key=lambda place: writes_sort_key(found[place][3], *place))
        return [found[place][:3] for place in places]

    def get_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are made of at the checkpoint that a config names."""
        thread_id, namespace, checkpoint_id = place_of(config)
        loads = self.serde.loads_typed
        writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
        seeds: dict[str, Any] = {}
        with self._lock:
            self._settle(thread_id)  # graphs with such channels do not put steps
            saved = self._namespace(thread_id, namespace)
            target = saved.get(checkpoint_id or max(saved, default=""))
            current = target[2] if target is not None else None
            seen: set[str | None] = set()
            while current in saved and current not in seen and len(seeds) < len(writes):
                seen.add(current)
                data, _, parent_id = saved[current]
                for task_id, channel, item in reversed(
                    self._writes_of(thread_id, namespace, current)
                ):
                    if channel in writes and channel not in seeds:
                        writes[channel].append((task_id, channel, self._loaded(item)))
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
            kept = self._keeping.find(thread_id, namespace)
            if kept is not None and checkpoint["id"] in kept.steps:
                self._settle(thread_id)
            self._blobs.update(blobs)
            self._storage[thread_id][namespace][checkpoint["id"]] = saved
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
            kept, at = self._keeping.find(thread_id, namespace), checkpoint_id or ""
            if kept is not None and at in kept.written:
                self._settle(thread_id)
            found = self._writes[thread_id, namespace, at]
            for place, channel, value in encoded:
                if place[1] < 0 or place not in found:
                    found[place] = (task_id, channel, value, task_path)

    # -- removing and copying ------------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Remove all that belongs to a thread."""
        thread_id = str(thread_id)
        with self._lock:
            self._keeping.take(thread_id)
            self._storage.pop(thread_id, None)
            for place in [place for place in self._writes if place[0] == thread_id]:
                del self._writes[place]
            for key in [key for key in self._blobs if key[0] == thread_id]:
                del self._blobs[key]

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that runs have made, and the writes that belong to them.

        Raises:
            StoreError: a delta channel of a later checkpoint is built on one of them.
        """
        wanted = set(map(str, run_ids))
        with self._lock:
            self._settle_all()
            keep: dict[tuple[str, str], set[str]] = {}
            for thread_id, namespaces in self._storage.items():
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
            self._settle(source)
            self._settle(target)
            if any(self._storage.get(target, {}).values()):
                raise ThreadExists(target, "exists already: choose another id for the copy")
            for namespace, saved in self._storage.get(source, {}).items():
                self._storage[target][namespace] = dict(saved)
            for place in [place for place in self._writes if place[0] == source]:
                self._writes[target, place[1], place[2]] = dict(self._writes[place])
            for key in [key for key in self._blobs if key[0] == source]:
                self._blobs[target, key[1], key[2], key[3]] = self._blobs[key]

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Give up what is old in threads; see :meth:`BaseCheckpointSaver.prune`."""
        check_pruning(thread_ids, strategy)
        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                self.delete_thread(thread_id)
                continue
            with self._lock:
                self._settle(thread_id)
                for namespace in self._storage.get(thread_id, {}):
                    self._keep(thread_id, namespace, to_keep(self._bones(thread_id, namespace)))

    def _keep(self, thread_id: str, namespace: str, keep: set[str]) -> None:
        """Remove the checkpoints that are not to be kept, and the values that none has then."""
        saved = self._storage[thread_id][namespace]
        for checkpoint_id in saved.keys() - keep:
            del saved[checkpoint_id]
            self._writes.pop((thread_id, namespace, checkpoint_id), None)
        versions = {
            version
            for data, _, _ in saved.values()
            for version in self.serde.loads_typed(data)["channel_versions"].items()
        }
        for key in [key for key in self._blobs if key[:2] == (thread_id, namespace)]:
            if key[2:] not in versions:
                del self._blobs[key]
        for checkpoint_id, (data, metadata, parent_id) in saved.items():
            if parent_id is not None and parent_id not in saved:
                saved[checkpoint_id] = (data, metadata, None)

    def _bones(self, thread_id: str, namespace: str) -> Iterable[Bone]:
        loads = self.serde.loads_typed
        for checkpoint_id, (data, metadata, parent_id) in self._storage[thread_id][
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
