"""What a saver is, and the checkpoints that it keeps.

A saver given to ``compile`` may be any object with these methods. Those of Plait have LangGraph's
own base class, too, where that is loaded, so that LangGraph takes them for what they are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.checkpoint.serde.base import (
    SerializerProtocol,
    maybe_add_typed_methods,
)
from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from plait_adapters.langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME, SCHEDULED

from ._interface import V
from ._records import (
    EXCLUDED_METADATA_KEYS,
    LATEST_VERSION,
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    Config,
    DeltaChannelHistory,
    EmptyChannelError,
    PendingWrite,
    copy_checkpoint,
    create_checkpoint,
    empty_checkpoint,
    get_checkpoint_id,
    get_checkpoint_metadata,
    get_serializable_checkpoint_metadata,
    writes_sort_key,
)
from .id import uuid6

__all__ = [
    "ERROR",
    "EXCLUDED_METADATA_KEYS",
    "INTERRUPT",
    "LATEST_VERSION",
    "RESUME",
    "SCHEDULED",
    "WRITES_IDX_MAP",
    "BaseCheckpointSaver",
    "ChannelVersions",
    "Checkpoint",
    "CheckpointMetadata",
    "CheckpointTuple",
    "Config",
    "DeltaChannelHistory",
    "EmptyChannelError",
    "PendingWrite",
    "SerializerProtocol",
    "V",
    "copy_checkpoint",
    "create_checkpoint",
    "empty_checkpoint",
    "get_checkpoint_id",
    "get_checkpoint_metadata",
    "get_serializable_checkpoint_metadata",
    "uuid6",
    "writes_sort_key",
]


logger = logging.getLogger(__name__)


def _langgraphs_own() -> Any:
    """LangGraph's own base class, if the process has loaded it."""
    return getattr(sys.modules.get("langgraph.checkpoint.base"), "BaseCheckpointSaver", None)


if TYPE_CHECKING:
    from ._interface import SaverInterface as _Root
else:
    # To load LangGraph's would cost half a second and langchain-core, for whoever does not use it.
    _Root = _langgraphs_own()
    if _Root is None:
        from ._interface import SaverInterface as _Root


class BaseCheckpointSaver(_Root[V]):
    """What savers have in common; override what raises ``NotImplementedError``.

    Args:
        serde: makes bytes of values; by default a :class:`JsonPlusSerializer`.
    """

    serde: SerializerProtocol = JsonPlusSerializer()

    def __init__(self, *, serde: SerializerProtocol | None = None) -> None:
        self.serde = JsonPlusSerializer() if serde is None else maybe_add_typed_methods(serde)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """The same saver, with a serializer that has more types registered; itself if it has them
        already, or its serializer knows of no types."""
        extend = getattr(self.serde, "with_msgpack_allowlist", None)
        if extend is None:
            logger.warning(
                "The serializer %s does not support msgpack allowlists: what it lets in is its own",
                type(self.serde).__name__,
            )
            return self
        serde = extend(extra_allowlist)
        if serde is self.serde:
            return self
        other = copy(self)
        other.serde = serde
        return other

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            """Also an instance of LangGraph's base class if that was loaded after this module."""
            return _with_langgraphs(type(self), _langgraphs_own())


@cache
def _with_langgraphs(type_: type, own: type | None) -> type:
    if own is None or issubclass(type_, own):
        return type_
    return type(type_.__name__, (type_, own), {"__module__": type_.__module__})


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
