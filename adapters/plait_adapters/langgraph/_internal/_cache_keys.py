"""Under which key the writes of a task are cached."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph.types import CacheKey

from ._constants import CACHE_NS_WRITES
from ._ids import digest_bytes

if TYPE_CHECKING:
    from plait_adapters.langgraph.types import CachePolicy


def _frozen(value: Any, depth: int = 10) -> Any:
    if depth <= 0 or isinstance(value, Hashable):
        return value
    if isinstance(value, Mapping):
        return tuple(sorted((key, _frozen(each, depth - 1)) for key, each in value.items()))
    if isinstance(value, Sequence):
        return tuple(_frozen(each, depth - 1) for each in value)
    if hasattr(value, "tobytes"):
        return type(value).__name__, value.tobytes(), getattr(value, "shape", None)
    return value


def default_cache_key(*args: Any, **kwargs: Any) -> str | bytes:
    """A key that is the same for equal arguments, whatever the order of their keys.

    Pickle only writes here; what it wrote is hashed, and never read.
    """
    return pickle.dumps((_frozen(args), _frozen(kwargs)), protocol=5, fix_imports=False)


def cache_namespace(function: Any, *names: str) -> tuple[str, ...]:
    """The namespace in which the writes of a node or task are cached."""
    return (CACHE_NS_WRITES, identifier(function) or "__dynamic__", *names)


def cache_key(policy: CachePolicy[Any], function: Any, key: str | bytes, *names: str) -> CacheKey:
    """The place of a task's writes in a cache."""
    data = key.encode() if isinstance(key, str) else key
    return CacheKey(cache_namespace(function, *names), digest_bytes(data), policy.ttl)


def identifier(function: Callable[..., Any] | Any) -> str | None:
    """The module and name of a function; ``None`` for what has none."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    module = getattr(function, "__module__", None)
    return None if name is None or module is None else f"{module}.{name}"
