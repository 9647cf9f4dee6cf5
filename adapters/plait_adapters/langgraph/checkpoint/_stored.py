"""Savers whose checkpoints are rows in a database: values to rows and back.

A checkpoint is a row without the values of its channels; these are rows of their own, one for each
version, so that what a step has not changed is not written again, and a delta channel is stored as
what was written to it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from plait_adapters.langgraph.checkpoint._bridge import finish, run
from plait_adapters.langgraph.checkpoint._configs import (
    config_of,
    matches,
    next_version,
    place_of,
    without_values,
)
from plait_adapters.langgraph.checkpoint._pruning import check_pruning
from plait_adapters.langgraph.checkpoint._steps import Step
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
    get_checkpoint_metadata,
)
from plait_adapters.langgraph.checkpoint.serde.jsonplus import dumps_metadata, dumps_own

__all__ = [
    "Ancestor",
    "Cursor",
    "NewCheckpoint",
    "NewWrite",
    "NewWrites",
    "Query",
    "Record",
    "RecordLine",
    "Rows",
    "StoredCheckpoint",
    "StoredSaver",
    "StoredValue",
    "StoredWrite",
]

T = TypeVar("T")

_PUTTING: Final = frozenset(("aput", "put", "aput_writes", "put_writes"))

_TEXT: Final = frozenset((str,))

_PAGE = 50
"""How many checkpoints are fetched at a time: they have all their values with them."""


class StoredValue(NamedTuple):
    """The value of a channel."""

    channel: str
    encoding: str
    data: bytes


class StoredWrite(NamedTuple):
    """What a task has written to a channel."""

    task_id: str
    channel: str
    encoding: str
    data: bytes


class NewWrite(NamedTuple):
    """What is to be stored of a write."""

    place: int
    """Where it is among those of the task; negative where there is one at most of its kind, which a
    later one replaces."""
    channel: str
    encoding: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint and what belongs to it."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    parent_id: str | None
    encoding: str
    data: bytes
    """The checkpoint without the values of its channels, and its metadata."""
    values: Sequence[StoredValue]
    writes: Sequence[StoredWrite]
    """In the order in which they are applied."""


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """What is to be stored of a checkpoint."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    parent_id: str | None
    run_id: str | None
    """Of the run that made it."""
    versions: dict[str, str]
    """By channel."""
    delta: list[str]
    """Its delta channels."""
    metadata: dict[str, Any]
    """To be filtered by."""
    encoding: str
    data: bytes
    values: list[tuple[str, str, str, bytes]]
    """Of the channels that have changed: channel, version, encoding, data."""


@dataclass(frozen=True, slots=True)
class NewWrites:
    """What is to be stored of a task's writes."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    """From which the task started."""
    task_id: str
    task_path: str
    """They are sorted by it when they are applied."""
    writes: Sequence[NewWrite]


Record: TypeAlias = NewCheckpoint | NewWrites
"""What is to be stored, in bytes."""


class Cursor(NamedTuple):
    """Behind which checkpoint a page begins."""

    checkpoint_id: str
    thread_id: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which checkpoints are wanted, the latest first."""

    thread_id: str | None = None
    namespace: str | None = None
    checkpoint_id: str | None = None
    before: str | None = None
    """Only those with a smaller id."""
    wanted: Mapping[str, Any] | None = None
    """What their metadata has to have."""
    accept: Callable[[str, bytes], bool] | None = None
    """Whether a checkpoint has it, by its encoding and data; for where the rows cannot tell."""
    after: Cursor | None = None
    left: int | None = None
    """How many more at most."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A checkpoint on the way to another one, and what of it is needed for delta channels."""

    writes: Sequence[StoredWrite]
    """In the order in which they are applied."""
    seeds: Sequence[StoredValue]
    """Whole values that it has."""


class Rows(Protocol):
    """Where the rows are. Each method is one transaction, and can be repeated."""

    async def find(
        self, thread_id: str, namespace: str, checkpoint_id: str | None
    ) -> StoredCheckpoint | None:
        """A checkpoint; the latest where no id is given."""
        ...

    async def page(self, query: Query, size: int) -> Sequence[StoredCheckpoint]:
        """So many of those that are wanted; fewer if there are no more."""
        ...

    async def ancestors(
        self, thread_id: str, namespace: str, checkpoint_id: str | None, channels: Sequence[str]
    ) -> Sequence[Ancestor]:
        """Those before a checkpoint, the nearest first, as far back as is needed to find a whole
        value of each channel; of each, only what belongs to channels not found nearer."""
        ...

    async def save(self, records: Sequence[Record]) -> None:
        """Store checkpoints and writes, in this order, and together as far as they fit into one
        transaction. A checkpoint with an id that is there is replaced."""
        ...

    async def delete_threads(self, thread_ids: Sequence[str]) -> None:
        """Remove all that belongs to threads."""
        ...

    async def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs have made. Raises ``StoreError`` if what stays is built on it."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Make a thread that is the same as another one. Raises ``ThreadExists``."""
        ...

    async def prune(self, thread_ids: Sequence[str]) -> None:
        """Remove all but the latest checkpoints of threads, and what those are built on."""
        ...


class StoredSaver(BaseCheckpointSaver[str]):
    """A saver over rows. Each method is there for asynchronous and for synchronous callers.

    Args:
        serde: makes bytes of values.
    """

    @property
    @abstractmethod
    def _rows(self) -> Rows:
        """The rows, for the event loop that runs."""

    @property
    def _rows_here(self) -> Rows | None:
        """The rows in such a way that no method ever suspends; ``None``: there is none."""
        return None

    def _now(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call an async method of the saver from where there is no event loop."""
        rows = self._rows_here
        if rows is not None:
            return finish(method(rows, *args))
        return run(self._there, method, *args)

    async def _there(self, method: Callable[..., Any], *args: Any) -> Any:
        return await method(self._rows, *args)

    # -- reading ----------------------------------------------------------------------------------

    async def aget_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint that a config names with all that belongs to it, or ``None``."""
        return await self._get(self._rows, config)

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """As :meth:`aget_tuple`."""
        return cast("CheckpointTuple | None", self._now(self._get, config))

    async def _get(self, rows: Rows, config: Config) -> CheckpointTuple | None:
        found = await rows.find(*place_of(config))
        return self._load(found) if found is not None else None

    async def alist(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, the latest first; see :meth:`BaseCheckpointSaver.list`."""
        query: Query | None = self._query(config, filter, before, limit)
        while query is not None:
            page, query = await self._page(self._rows, query)
            for found in page:
                yield found

    def list(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """As :meth:`alist`."""
        query: Query | None = self._query(config, filter, before, limit)
        while query is not None:
            page, query = self._now(self._page, query)
            yield from page

    def _query(
        self,
        config: Config | None,
        wanted: dict[str, Any] | None,
        before: Config | None,
        limit: int | None,
    ) -> Query:
        thread_id = checkpoint_id = namespace = None
        if config:
            thread_id, _, checkpoint_id = place_of(config)
            namespace = config["configurable"].get("checkpoint_ns")
        bound = ((before or {}).get("configurable") or {}).get("checkpoint_id")
        accept = self._accepting(wanted) if wanted else None
        return Query(thread_id, namespace, checkpoint_id, bound, wanted, accept, left=limit)

    _dotted = False
    """Whether a filter may have paths: names with dots between them."""

    def _accepting(self, wanted: Mapping[str, Any]) -> Callable[[str, bytes], bool]:
        def accept(how: str, data: bytes) -> bool:
            loads = self.serde.loads_typed
            _, *known = loads((how, data))
            return matches(_metadata(loads, known), wanted, dotted=self._dotted)

        return accept

    async def _page(
        self, rows: Rows, query: Query
    ) -> tuple[Sequence[CheckpointTuple], Query | None]:
        """A page, and what asks for the next one."""
        size = _PAGE if query.left is None else min(_PAGE, query.left)
        if size <= 0:
            return (), None
        found = await rows.page(query, size)
        page = [self._load(one) for one in found]
        if len(found) < size:
            return page, None
        last = found[-1]
        return page, replace(
            query,
            after=Cursor(last.checkpoint_id, last.thread_id, last.namespace),
            left=None if query.left is None else query.left - size,
        )

    def _load(self, found: StoredCheckpoint) -> CheckpointTuple:
        loads = self.serde.loads_typed
        checkpoint, *known = loads((found.encoding, found.data))
        metadata = _metadata(loads, known)
        values = {channel: loads((how, data)) for channel, how, data in found.values}
        thread_id, namespace, parent_id = found.thread_id, found.namespace, found.parent_id
        return CheckpointTuple(
            config=config_of(thread_id, namespace, found.checkpoint_id),
            checkpoint=cast("Checkpoint", checkpoint | {"channel_values": values}),
            metadata=metadata,
            parent_config=config_of(thread_id, namespace, parent_id) if parent_id else None,
            pending_writes=[
                (task_id, channel, loads((how, data)))
                for task_id, channel, how, data in found.writes
            ],
        )

    async def aget_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are made of at the checkpoint that a config names."""
        return await self._history(self._rows, config, channels)

    def get_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As :meth:`aget_delta_channel_history`."""
        history: Mapping[str, DeltaChannelHistory] = self._now(self._history, config, channels)
        return history

    async def _history(
        self, rows: Rows, config: Config, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        if not channels:
            return {}
        loads = self.serde.loads_typed
        writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
        history: dict[str, DeltaChannelHistory] = {
            channel: {"writes": writes[channel]} for channel in channels
        }
        ancestors = await rows.ancestors(*place_of(config), tuple(writes))
        for ancestor in reversed(ancestors):
            for task_id, channel, how, data in ancestor.writes:
                writes[channel].append((task_id, channel, loads((how, data))))
            for channel, how, data in ancestor.seeds:
                history[channel]["seed"] = loads((how, data))
        return history

    # -- writing ----------------------------------------------------------------------------------

    async def aput(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """Store a checkpoint, and the values of those channels that ``new_versions`` names.

        Raises:
            EncodingError: some part of it cannot be stored.
        """
        record = self.record_of_checkpoint(config, checkpoint, metadata, new_versions)
        await self.asave([record])
        return config_of(record.thread_id, record.namespace, record.checkpoint_id)

    def put(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Config:
        """As :meth:`aput`."""
        record = self.record_of_checkpoint(config, checkpoint, metadata, new_versions)
        self.save([record])
        return config_of(record.thread_id, record.namespace, record.checkpoint_id)

    async def aput_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task has written for the checkpoint it started from.

        Raises:
            EncodingError: some part of it cannot be stored.
        """
        record = self.record_of_writes(config, writes, task_id, task_path)
        if record.writes:
            await self.asave([record])

    def put_writes(
        self,
        config: Config,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As :meth:`aput_writes`."""
        record = self.record_of_writes(config, writes, task_id, task_path)
        if record.writes:
            self.save([record])

    # -- writing in two steps: to bytes, then to the rows, as much at once as has come together ---

    @property
    def takes_records(self) -> bool:
        """Whether records may be stored in place of what they are made of: not where a subclass,
        or somebody who replaced a method, wants to see that."""
        return _PUTTING.isdisjoint(vars(self)) and _PUTTING.isdisjoint(
            name
            for cls in type(self).__mro__[: type(self).__mro__.index(StoredSaver)]
            for name in vars(cls)
        )

    def record_of_checkpoint(
        self,
        config: Config,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> NewCheckpoint:
        """What :meth:`aput` stores, in bytes.

        Raises:
            EncodingError: some part of it cannot be stored.
        """
        thread_id, namespace, parent_id = place_of(config)
        known: dict[str, Any] = dict(self._known_of(config, metadata))
        values = checkpoint["channel_values"]
        versions = _texts(checkpoint["channel_versions"])
        # A checkpoint that somebody has made by hand, or copied, may have values without a version,
        # or say of none that it is new.
        unversioned = dict.fromkeys(values.keys() - versions.keys(), checkpoint["id"])
        changed = (new_versions or checkpoint["channel_versions"]) | unversioned
        dumps = self.serde.dumps_typed
        encoding, data = dumps_own(self.serde)(
            [without_values(checkpoint), *dumps_metadata(self.serde, known)]
        )
        run_id = known.get("run_id")
        return NewCheckpoint(
            thread_id,
            namespace,
            checkpoint["id"],
            parent_id,
            str(run_id) if run_id is not None else None,
            versions | unversioned,
            [*(known.get("counters_since_delta_snapshot") or ())],
            known,
            encoding,
            data,
            [
                (name, str(version), *dumps(values[name]))
                for name, version in changed.items()
                if name in values
            ],
        )

    def _line(self, config: Config, thread_id: str, namespace: str) -> RecordLine | None:
        """What makes records of the steps of a run; ``None`` where somebody wants to see each."""
        return RecordLine(self, config, thread_id, namespace) if self.takes_records else None

    def _known_of(self, config: Config, metadata: CheckpointMetadata) -> CheckpointMetadata:
        """What is stored about a checkpoint."""
        return get_checkpoint_metadata(config, metadata)

    def record_of_writes(
        self, config: Config, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> NewWrites:
        """What :meth:`aput_writes` stores, in bytes.

        Raises:
            EncodingError: some part of it cannot be stored.
        """
        thread_id, namespace, checkpoint_id = place_of(config)
        if checkpoint_id is None:
            raise ValueError("the config names no checkpoint to which the writes would belong")
        encoded = _encoded(self.serde.dumps_typed, writes)
        return NewWrites(thread_id, namespace, checkpoint_id, task_id, task_path, encoded)

    async def asave(self, records: Sequence[Record]) -> None:
        """Store records, in this order."""
        await self._save(self._rows, records)

    def save(self, records: Sequence[Record]) -> None:
        """As :meth:`asave`."""
        self._now(self._save, records)

    async def _save(self, rows: Rows, records: Sequence[Record]) -> None:
        await rows.save(records)

    # -- removing and copying ---------------------------------------------------------------------

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove all that belongs to a thread."""
        await self._rows.delete_threads([str(thread_id)])

    def delete_thread(self, thread_id: str) -> None:
        """As :meth:`adelete_thread`."""
        self._now(_delete_threads, [str(thread_id)])

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that runs have made, and the writes that belong to them.

        Raises:
            StoreError: a delta channel of a later checkpoint is built on one of them.
        """
        await self._rows.delete_runs([*map(str, run_ids)])

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As :meth:`adelete_for_runs`."""
        self._now(_delete_runs, [*map(str, run_ids)])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Make a thread with all that belongs to another one.

        Raises:
            ThreadExists: there is one of that name already.
        """
        await self._rows.copy(str(source_thread_id), str(target_thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As :meth:`acopy_thread`."""
        self._now(_copy, str(source_thread_id), str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Give up what is old in threads; see :meth:`BaseCheckpointSaver.prune`."""
        await _prune(self._rows, thread_ids, strategy)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As :meth:`aprune`."""
        self._now(_prune, thread_ids, strategy)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """The version of a channel that follows another one."""
        return next_version(current)


class RecordLine:
    """A namespace of a thread, as one run puts into it: what it puts, in bytes.

    Args:
        saver: where the records will go.
        config: of the run.
        thread_id, namespace: the place.
    """

    def __init__(self, saver: StoredSaver, config: Config, thread_id: str, namespace: str) -> None:
        self._place = (thread_id, namespace)
        self._serde = saver.serde
        self._dumps_own = dumps_own(saver.serde)
        self._known = dict(saver._known_of(config, {}))
        run_id = self._known.get("run_id")
        self._run_id = None if run_id is None else str(run_id)

    def record_of_step(self, step: Step) -> NewCheckpoint:
        """What is stored of a checkpoint. Raises ``EncodingError``."""
        thread_id, namespace = self._place
        known = {**self._known, **step.metadata}
        dumps = self._serde.dumps_typed
        encoding, data = self._dumps_own([step.bare(), *dumps_metadata(self._serde, known)])
        versions = _texts(step.versions)
        return NewCheckpoint(
            thread_id,
            namespace,
            step.id,
            step.parent_id,
            self._run_id,
            versions,
            [],
            known,
            encoding,
            data,
            [(name, versions[name], *dumps(value)) for name, value in step.values.items()],
        )

    def record_of_writes(
        self, checkpoint_id: str, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> NewWrites:
        """What is stored of a task's writes. Raises ``EncodingError``."""
        thread_id, namespace = self._place
        encoded = _encoded(self._serde.dumps_typed, writes)
        return NewWrites(thread_id, namespace, checkpoint_id, task_id, path, encoded)


def _encoded(
    dumps: Callable[[Any], tuple[str, bytes]], writes: Sequence[tuple[str, Any]]
) -> list[NewWrite]:
    """Writes in bytes; of several of one special kind the last one counts."""
    encoded = {}
    for number, (channel, value) in enumerate(writes):
        place = WRITES_IDX_MAP.get(channel, number)
        encoded[place] = NewWrite(place, channel, *dumps(value))
    return [*encoded.values()]


def _texts(versions: Mapping[str, Any]) -> dict[str, str]:
    """Versions as texts, which those of ours are."""
    if _TEXT.issuperset(map(type, versions.values())):
        return dict(versions)
    return {name: str(version) for name, version in versions.items()}


def _metadata(loads: Callable[[tuple[str, bytes]], Any], known: Sequence[Any]) -> Any:
    """What was stored of the metadata: how they were encoded, and their bytes; before that was so,
    themselves."""
    return known[0] if len(known) == 1 else loads((known[0], known[1]))


async def _delete_threads(rows: Rows, thread_ids: Sequence[str]) -> None:
    await rows.delete_threads(thread_ids)


async def _delete_runs(rows: Rows, run_ids: Sequence[str]) -> None:
    await rows.delete_runs(run_ids)


async def _copy(rows: Rows, source: str, target: str) -> None:
    await rows.copy(source, target)


async def _prune(rows: Rows, thread_ids: Sequence[str], strategy: str) -> None:
    check_pruning(thread_ids, strategy)
    if isinstance(thread_ids, str):
        raise TypeError(f"thread_ids={thread_ids!r} must be a list of ids")
    ids = [*map(str, thread_ids)]
    if strategy == "delete":
        await rows.delete_threads(ids)
    else:
        await rows.prune(ids)
