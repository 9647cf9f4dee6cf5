"""The names of a graph's beginning and end, and the tags that hide something."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._support import absent

from ._internal import _constants
from ._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINTER,
    END,
    START,
    TAG_HIDDEN,
    TAG_NOSTREAM,
    TASKS,
)
from .warnings import LangGraphDeprecatedSinceV10

__all__ = (
    "CONF",
    "CONFIG_KEY_CHECKPOINTER",
    "END",
    "START",
    "TAG_HIDDEN",
    "TAG_NOSTREAM",
    "TASKS",
)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        value: Any
        if name in ("Send", "Interrupt"):
            from . import types

            value = getattr(types, name)
            advice = f"Please use 'from langgraph.types import {name}' instead."
        elif not name.startswith("_") and hasattr(_constants, name):
            value = getattr(_constants, name)
            advice = "This constant is now private and should not be used directly."
        else:
            raise absent(__name__, name)
        warnings.warn(
            f"Importing {name} from langgraph.constants is deprecated. {advice}",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return value
