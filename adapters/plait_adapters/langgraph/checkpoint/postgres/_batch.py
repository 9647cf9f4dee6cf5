"""Checkpoints and writes as the arguments of one statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from plait_adapters.langgraph.checkpoint._stored import NewCheckpoint, NewWrite, NewWrites, Record
from plait_adapters.postgres.packing import as_array, texts_as_array

__all__ = ["Batch", "as_json"]

_MOST_RECORDS: Final = 1_000
_MOST_BYTES: Final = 8 * 1024 * 1024
"""With these a statement ends well within its timeout."""


class _Data:
    """Bytes of many, one after the other, with where each begins (from 1) and how long it is."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> tuple[int, int]:
        start = self.size + 1
        self.parts.append(part)
        self.size += len(part)
        return start, len(part)


class Batch:
    """What one statement stores, in the order in which it was added.

    A statement writes a row once only: of checkpoints with one id the last counts; of the writes of
    a task at one place the first, or the last where later ones replace them.
    """

    def __init__(self) -> None:
        self._checkpoints: dict[tuple[str, str, str], NewCheckpoint] = {}
        self._writes: dict[tuple[str, str, str, str, int], tuple[str, NewWrite]] = {}
        self._count = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the next one should go into another statement."""
        return self._count >= _MOST_RECORDS or self._bytes >= _MOST_BYTES

    def add(self, record: Record) -> None:
        """Take one more."""
        self._count += 1
        if isinstance(record, NewWrites):
            task = (record.thread_id, record.namespace, record.checkpoint_id, record.task_id)
            for write in record.writes:
                self._bytes += len(write.data)
                place = (*task, write.place)
                if write.place < 0 or place not in self._writes:
                    self._writes[place] = (record.task_path, write)
        else:
            self._bytes += len(record.data) + sum(len(value[3]) for value in record.values)
            place_of_it = (record.thread_id, record.namespace, record.checkpoint_id)
            self._checkpoints[place_of_it] = record

    def arguments(self) -> list[object]:
        """The arguments of the statement ``save``."""
        data = _Data()
        return [
            *self._of_checkpoints(data),
            *self._of_values(data),
            *self._of_writes(data),
            b"".join(data.parts),
        ]

    def _of_checkpoints(self, data: _Data) -> list[object]:
        found = [*self._checkpoints.values()]
        return [
            *_columns(
                [
                    (
                        *(each.thread_id, each.namespace, each.checkpoint_id),
                        *(each.parent_id, each.run_id, as_json(each.metadata), each.encoding),
                        *map(texts_as_array, (each.versions, each.versions.values(), each.delta)),
                    )
                    for each in found
                ],
                10,
            ),
            *map(as_array, _columns([data.add(each.data) for each in found], 2)),
        ]

    def _of_values(self, data: _Data) -> list[object]:
        found = [
            ((each.thread_id, each.namespace, channel, version, encoding), content)
            for each in self._checkpoints.values()
            for channel, version, encoding, content in each.values
        ]
        return [
            *_columns([texts for texts, _ in found], 5),
            *map(as_array, _columns([data.add(content) for _, content in found], 2)),
        ]

    def _of_writes(self, data: _Data) -> list[object]:
        found = self._writes.items()
        return [
            *_columns(
                [
                    (*place[:4], path, write.channel, write.encoding)
                    for place, (path, write) in found
                ],
                7,
            ),
            as_array(place[4] for place, _ in found),
            *map(as_array, _columns([data.add(write.data) for _, (_, write) in found], 2)),
        ]


def _columns(rows: list[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows of so many items each as lists of what stands at each place."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * count


def as_json(items: Mapping[str, Any], *, strict: bool = False) -> str:
    """What of a mapping is JSON, as PostgreSQL has it: without NUL.

    Raises:
        TypeError: some of it is not, and it is to be strict.
    """
    try:
        whole = json.dumps(items, allow_nan=False)
    except (TypeError, ValueError):
        whole = "\\u0000"
    if "\\u0000" not in whole:
        return whole
    found = {}
    for name, item in items.items():
        try:
            text = json.dumps(item, allow_nan=False)
        except (TypeError, ValueError):
            if strict:
                raise TypeError(
                    f"filter={{{name!r}: ...}} has a {type(item).__name__}, and only what is JSON "
                    "can be filtered by"
                ) from None
            continue
        found[_without_nul(name)] = _without_nul(json.loads(text))
    return json.dumps(found)


def _without_nul(item: Any) -> Any:
    if isinstance(item, str):
        return item.replace("\0", "")
    if isinstance(item, list):
        return [_without_nul(one) for one in item]
    if isinstance(item, dict):
        return {_without_nul(key): _without_nul(one) for key, one in item.items()}
    return item
