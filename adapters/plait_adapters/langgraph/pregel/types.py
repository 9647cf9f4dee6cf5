"""Where the types were before they moved to ``types``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from plait_adapters.langgraph._internal._retries import default_retry_on
from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.types import (
    All,
    CachePolicy,
    PregelExecutableTask,
    PregelTask,
    RetryPolicy,
    StateSnapshot,
    StateUpdate,
    StreamMode,
    StreamWriter,
)
from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

__all__ = [
    "All",
    "CachePolicy",
    "PregelExecutableTask",
    "PregelTask",
    "RetryPolicy",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamWriter",
    "default_retry_on",
]

warnings.warn(
    "Importing from langgraph.pregel.types is deprecated. Please use 'from langgraph.types import "
    "...' instead.",
    LangGraphDeprecatedSinceV10,
    stacklevel=2,
)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
