"""A cache in Redis, or in what speaks as Redis does."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import structlog

from plait.codec import DecodingError
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT
from plait_adapters.langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["RedisCache"]

_SPECIAL: Final = re.compile(r"[\\*?\[\]]")
"""What stands for something else in a pattern of Redis's."""

_AT_ONCE: Final = 500
"""How many keys Redis looks at, about, before it lets others in."""

_log = structlog.get_logger(__name__)


class RedisCache(BaseCache[ValueT]):
    """A cache in Redis, for any number of machines.

    A server that cannot be reached is one that has nothing: it is logged, and the nodes run. The
    same holds of a value that cannot be read. How often and how long the client tries is the
    client's: see its ``retry`` and ``socket_timeout``.

    Args:
        redis: a client of the package ``redis``, made without ``decode_responses``. With one of
            ``redis.asyncio``, only the methods for asynchronous callers work; with another, these
            use worker threads.
        serde: makes bytes of values.
        prefix: what all keys begin with.

    Raises:
        ImportError: the package ``redis`` is not installed.
        ValueError: the client makes texts of what it reads.
    """

    def __init__(
        self,
        redis: Any,
        *,
        serde: SerializerProtocol | None = None,
        prefix: str = "langgraph:cache:",
    ) -> None:
        super().__init__(serde=serde)
        try:
            from redis.exceptions import RedisError
        except ImportError as error:
            raise ImportError("RedisCache needs redis: pip install 'plait[redis]'") from error
        if redis.get_encoder().decode_responses:
            raise ValueError(
                "the client makes texts of bytes: give one made with decode_responses=False"
            )
        self.redis = redis
        self.prefix = prefix
        self._is_async = iscoroutinefunction(redis.execute_command)
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that have one."""
        return self._found(keys, self._do(self._read, keys))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As :meth:`get`."""
        return self._found(keys, await self._ado(self._read, keys))

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds; ``None``: for good."""
        self._do(self._write, self._encoded(pairs))

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As :meth:`set`."""
        await self._ado(self._write, self._encoded(pairs))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget all values of namespaces; ``None``: of all that begin with the prefix."""
        self._do(self._remove, self._scan(namespaces))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As :meth:`clear`."""
        if self._is_async:
            await self._ado(self._remove, await self._ascan(namespaces))
        else:
            await anyio.to_thread.run_sync(self.clear, namespaces)

    # -- commands, many at once -------------------------------------------------------------------

    def _do(self, fill: Callable[[Any, Any], None], what: Any) -> list[Any]:
        """Send the commands for something; what the server answers, or nothing."""
        self._check()
        try:
            return self._filled(fill, what).execute()  # type: ignore[no-any-return]
        except self._failures as error:
            return self._lost(error)

    async def _ado(self, fill: Callable[[Any, Any], None], what: Any) -> list[Any]:
        if not self._is_async:
            return await anyio.to_thread.run_sync(self._do, fill, what)
        try:
            return await self._filled(fill, what).execute()  # type: ignore[no-any-return]
        except self._failures as error:
            return self._lost(error)

    def _filled(self, fill: Callable[[Any, Any], None], what: Any) -> Any:
        commands = self.redis.pipeline(transaction=False)
        fill(commands, what)
        return commands

    def _read(self, commands: Any, keys: Sequence[FullKey]) -> None:
        for namespace, key in keys:
            commands.get(self._key(namespace, key))

    def _write(self, commands: Any, rows: Iterable[tuple[str, bytes, int | None]]) -> None:
        for key, content, milliseconds in rows:
            if milliseconds is not None and milliseconds <= 0:
                commands.delete(key)  # its time is over already, and Redis refuses to be told so
            else:
                commands.set(key, content, px=milliseconds)

    def _remove(self, commands: Any, keys: Sequence[bytes]) -> None:
        for key in keys:
            commands.unlink(key)

    def _scan(self, namespaces: Sequence[Namespace] | None) -> list[bytes]:
        self._check()
        try:
            return [
                key
                for pattern in self._patterns(namespaces)
                for key in self.redis.scan_iter(match=pattern, count=_AT_ONCE)
            ]
        except self._failures as error:
            return self._lost(error)

    async def _ascan(self, namespaces: Sequence[Namespace] | None) -> list[bytes]:
        try:
            return [
                key
                for pattern in self._patterns(namespaces)
                async for key in self.redis.scan_iter(match=pattern, count=_AT_ONCE)
            ]
        except self._failures as error:
            return self._lost(error)

    def _check(self) -> None:
        if self._is_async:
            raise TypeError(
                "the cache has a client of redis.asyncio, which needs an event loop: run the graph "
                "by ainvoke or astream, or give the cache a client of redis.Redis"
            )

    def _lost(self, error: Exception) -> list[Any]:
        _log.warning("Redis cannot be reached: the cache is empty", error=str(error))
        return []

    # -- keys and values --------------------------------------------------------------------------

    def _key(self, namespace: Namespace, key: str) -> str:
        # JSON says where the namespace ends, whatever is in its labels.
        return f"{self.prefix}{json.dumps([*namespace])}{key}"

    def _patterns(self, namespaces: Sequence[Namespace] | None) -> list[str]:
        begin = [self._key(namespace, "") for namespace in namespaces or ()]
        if namespaces is None:
            begin = [self.prefix]
        return [_SPECIAL.sub(r"\\\g<0>", text) + "*" for text in begin]

    def _encoded(
        self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]
    ) -> list[tuple[str, bytes, int | None]]:
        rows = []
        for (namespace, key), (value, ttl) in pairs.items():
            how, content = self.serde.dumps_typed(value)
            milliseconds = None if ttl is None else math.ceil(1000 * ttl)
            rows.append((self._key(namespace, key), f"{how}:".encode() + content, milliseconds))
        return rows

    def _found(
        self, keys: Sequence[FullKey], contents: Sequence[bytes | None]
    ) -> dict[FullKey, ValueT]:
        found = {}
        for (namespace, key), content in zip(keys, contents, strict=False):  # none, if it is lost
            if content is None:
                continue
            how, _, data = content.partition(b":")
            try:
                found[tuple(namespace), key] = self.serde.loads_typed((how.decode(), data))
            except (DecodingError, UnicodeDecodeError) as error:
                _log.warning("a cached value cannot be read", key=key, error=str(error))
        return found


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
