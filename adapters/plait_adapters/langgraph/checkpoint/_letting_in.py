"""What a saver is told of a graph's types before it is used."""

from __future__ import annotations

import sys
from typing import Any, Final

from plait.codec.shapes import records_in

from .serde.jsonplus import JsonPlusSerializer, register_annotations

__all__ = ["letting_in"]

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "plait_adapters.langgraph.types": (
        *("Send", "Interrupt", "Command", "Overwrite", "TimeoutPolicy", "StateSnapshot"),
        *("PregelTask", "CacheKey"),
    ),
    "plait_adapters.langgraph.store.base": ("Item", "SearchItem", "GetOp"),
    "plait_adapters.langgraph.checkpoint.serde.types": ("_DeltaSnapshot",),
}
"""Types of this package that may be in a checkpoint."""


def letting_in(checkpointer: Any, *annotations: Any) -> Any:
    """A saver that stores this package's types, and those to which annotations lead.

    One of LangGraph's own whose serializer lets in what is listed comes back as another one, over
    the same checkpoints, that has them in its list.
    """
    if checkpointer is None or isinstance(checkpointer, bool):
        return checkpointer
    register_annotations(checkpointer, *annotations)
    if not hasattr(checkpointer, "with_allowlist") or not _has_a_list(checkpointer):
        return checkpointer
    own = [
        (module, name)
        for module, names in _MODULES.items()
        if module in sys.modules
        for name in names
    ]
    found = [(type_.__module__, type_.__name__) for type_ in records_in(*annotations)]
    return checkpointer.with_allowlist({*own, *found})


def _has_a_list(checkpointer: Any) -> bool:
    """Whether its serializer, or the one within that, has a list, and is none of this package's."""
    serde: Any = getattr(checkpointer, "serde", None)
    while serde is not None and not hasattr(serde, "with_msgpack_allowlist"):
        serde = getattr(serde, "serde", None)
    while hasattr(serde, "serde"):
        serde = serde.serde
    return serde is not None and not isinstance(serde, JsonPlusSerializer)
