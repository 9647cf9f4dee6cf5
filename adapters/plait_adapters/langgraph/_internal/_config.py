"""Configurations of calls: how they are merged, and which one holds where a program is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
    NS_END,
    NS_SEP,
)

if TYPE_CHECKING:
    from ._task import Task

current_task: ContextVar[Task | None] = ContextVar("plait.langgraph.task", default=None)
"""The task in which a program is."""

_KEYS: Final = frozenset((
    "tags",
    "metadata",
    "callbacks",
    "run_name",
    "max_concurrency",
    "recursion_limit",
    CONF,
    "run_id",
))  # fmt: skip
_COPIED: Final = ("tags", "metadata", "callbacks", CONF)
_COORDINATES: Final = (
    CONFIG_KEY_THREAD_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
)
_TOLD: Final = (
    "thread_id",
    "checkpoint_id",
    "checkpoint_ns",
    "task_id",
    "run_id",
    "assistant_id",
    "graph_id",
)
"""What of ``configurable`` is metadata too."""


class _Default(int):
    """A limit that nobody has set."""


DEFAULT_RECURSION_LIMIT: Final = _Default(os.getenv("LANGGRAPH_DEFAULT_RECURSION_LIMIT", "10007"))
DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT: Final = int(
    os.getenv("LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", "5000")
)


class LazyConfig(dict[str, Any]):
    """A task's configuration that is made when somebody looks.

    Every node is given one through langchain-core's context variable, and few look.
    """

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task: Task | None = task

    def _full(self) -> LazyConfig:
        task = self._task
        if task is not None:
            self._task = None
            super().update(task.config)
        return self

    def __getitem__(self, key: str) -> Any:
        return dict.__getitem__(self._full(), key)

    def __setitem__(self, key: str, value: Any) -> None:
        dict.__setitem__(self._full(), key, value)

    def __delitem__(self, key: str) -> None:
        dict.__delitem__(self._full(), key)

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self._full(), key)

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self._full())

    def __len__(self) -> int:
        return dict.__len__(self._full())

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return dict.__eq__(self._full(), other)

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return dict.__or__(self.copy(), other)

    def __ror__(self, other: Any) -> Any:
        return dict.__ror__(self.copy(), other)

    def __repr__(self) -> str:
        return dict.__repr__(self._full())

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        return dict.get(self._full(), key, default)

    def items(self) -> Any:
        """As of a dict."""
        return dict.items(self._full())

    def keys(self) -> Any:
        """As of a dict."""
        return dict.keys(self._full())

    def values(self) -> Any:
        """As of a dict."""
        return dict.values(self._full())

    def copy(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(dict.items(self._full()))

    def pop(self, *arguments: Any) -> Any:
        """As of a dict."""
        return dict.pop(self._full(), *arguments)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        return dict.setdefault(self._full(), key, default)

    def update(self, *arguments: Any, **more: Any) -> None:
        """As of a dict."""
        dict.update(self._full(), *arguments, **more)


def ambient_config() -> Mapping[str, Any] | None:
    """The configuration of the node in which a program is; ``None`` outside of one."""
    langchain: Any = sys.modules.get("langchain_core.runnables.config")
    if langchain is not None:
        config: Mapping[str, Any] | None = langchain.var_child_runnable_config.get()
        if config:
            return config
    task = current_task.get()
    return None if task is None else task.config


def _is_given(value: Any) -> bool:
    return len(value) > 0 if isinstance(value, (list, tuple, dict)) else value is not None


def _merge_metadata(base: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    merged = {
        key: dict(each) if isinstance(each, Mapping) else each for key, each in (base or {}).items()
    }
    for key, value in new.items():
        if (
            key == "lc_versions"
            and isinstance(value, Mapping)
            and isinstance(merged.get(key), Mapping)
        ):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = dict(value) if isinstance(value, Mapping) else value
    return merged


def _merge_callbacks(base: Any, new: Any) -> Any:
    """Callbacks are a list of handlers, or a manager that has some."""
    if new is None:
        return base
    if base is None:
        return new.copy() if hasattr(new, "copy") else new
    if isinstance(base, list) and isinstance(new, list):
        return base + new
    if isinstance(base, list) or isinstance(new, list):
        handlers: Any = base if isinstance(base, list) else new
        manager: Any = new if isinstance(base, list) else base
        manager = manager.copy()
        for handler in handlers:
            manager.add_handler(handler, inherit=True)
        return manager
    return base.merge(new)


def ensure_config(*configs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration of a call: what the caller gave, over that of the node in which it is made.

    A caller that names a thread or a checkpoint of its own means a history of its own: then nothing
    ``configurable`` comes from the node around the call.
    """
    merged: dict[str, Any] = {
        "tags": [],
        "metadata": {},
        "callbacks": None,
        "recursion_limit": DEFAULT_RECURSION_LIMIT,
        CONF: {},
    }
    inherited: set[str] = set()
    ambient = ambient_config()
    if ambient is not None:
        for key, value in ambient.items():
            if _is_given(value):
                merged[key] = value.copy() if key in _COPIED else value
        inherited.update(merged["tags"])
        if merged[CONF] and any(
            _is_given(config[CONF].get(key))
            for config in configs
            if config and config.get(CONF)
            for key in _COORDINATES
        ):
            merged[CONF] = {}
    for config in configs:
        if not config:
            continue
        for key, value in config.items():
            if not _is_given(value):
                continue
            if key == CONF:
                merged[CONF] = {**merged[CONF], **value}
            elif key == "metadata":
                merged[key] = _merge_metadata(merged[key], value)
            elif key == "tags":
                merged[key] = [*merged[key], *(tag for tag in value if tag not in inherited)]
            elif key == "callbacks":
                merged[key] = _merge_callbacks(merged[key], value)
            elif key in _KEYS:
                merged[key] = value
            else:
                merged[CONF][key] = value
    configurable = merged[CONF]
    if configurable:
        metadata = merged["metadata"]
        for key in _TOLD:
            if key not in metadata and (value := configurable.get(key)):
                metadata[key] = value
    return merged


def merge_configs(*configs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Configurations one over the other, without regard to where the program is."""
    merged: dict[str, Any] = {}
    for config in configs:
        for key, value in (config or {}).items():
            if not value:
                continue
            if key == "metadata":
                merged[key] = _merge_metadata(merged.get(key), value)
            elif key == "tags":
                merged[key] = [*merged.get(key, ()), *value]
            elif key == CONF:
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "callbacks":
                merged[key] = _merge_callbacks(merged.get(key), value)
            elif key != "recursion_limit" or not isinstance(value, _Default):
                merged[key] = value
    merged.setdefault(CONF, {})
    return merged


def patch_configurable(
    config: Mapping[str, Any] | None, patch: Mapping[str, Any]
) -> dict[str, Any]:
    """A configuration with some keys of ``configurable`` replaced."""
    config = config or {}
    return {**config, CONF: {**config.get(CONF, {}), **patch}}


def patch_checkpoint_map(config: Any, metadata: Mapping[str, Any] | None) -> Any:
    """A checkpoint's configuration, that also names the checkpoints of the graphs around it."""
    parents = (metadata or {}).get("parents")
    if config is None or not parents:
        return config
    conf = config[CONF]
    own = {conf[CONFIG_KEY_CHECKPOINT_NS]: conf[CONFIG_KEY_CHECKPOINT_ID]}
    return patch_configurable(config, {CONFIG_KEY_CHECKPOINT_MAP: {**parents, **own}})


def without_ids(namespace: str) -> str:
    """A checkpoint namespace as a path of node names."""
    return NS_SEP.join(
        part.split(NS_END)[0] for part in namespace.split(NS_SEP) if not part.isdigit()
    )


def public_config(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of a configuration streams and snapshots show."""
    if config is None:
        return None
    conf = config.get(CONF, {})
    return {CONF: {key: value for key, value in conf.items() if not key.startswith("__pregel_")}}


def user_tags(tags: Any) -> list[str] | None:
    """Tags without those that number the steps of a sequence; ``None`` if there are no others."""
    return [tag for tag in tags or () if not tag.startswith("seq:step")] or None
