"""A cache in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["InMemoryCache"]


class InMemoryCache(BaseCache[ValueT]):
    """A cache in this process, for any number of threads of execution.

    Args:
        serde: makes bytes of values, so that nobody shares them.
    """

    def __init__(self, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        # By namespace and key: how the bytes were made, the bytes, when they expire.
        self._cache: dict[Namespace, dict[str, tuple[str, bytes, float | None]]] = {}
        self._lock = threading.Lock()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that have one."""
        now = time.time()
        found: dict[FullKey, tuple[str, bytes]] = {}
        with self._lock:
            for namespace, key in keys:
                values = self._cache.get(tuple(namespace), {})
                entry = values.get(key)
                if entry is None:
                    continue
                how, data, expires = entry
                if expires is None or now < expires:
                    found[tuple(namespace), key] = (how, data)
                else:
                    del values[key]
        return {key: self.serde.loads_typed(value) for key, value in found.items()}

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As :meth:`get`."""
        return self.get(keys)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds; ``None``: for good."""
        now = time.time()
        encoded = [
            (key, self.serde.dumps_typed(value), None if ttl is None else now + ttl)
            for key, (value, ttl) in pairs.items()
        ]
        with self._lock:
            for (namespace, key), (how, data), expires in encoded:
                self._cache.setdefault(tuple(namespace), {})[key] = (how, data, expires)

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As :meth:`set`."""
        self.set(pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget all values of namespaces; ``None``: of all."""
        with self._lock:
            for namespace in [*self._cache] if namespaces is None else namespaces:
                self._cache.pop(tuple(namespace), None)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As :meth:`clear`."""
        self.clear(namespaces)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
