"""langchain-core, where it is installed, and only once somebody needs it.

Nothing here imports it before the program has: what is not loaded can have made no objects, so
whether something is a Runnable or a message is a look into ``sys.modules``.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any


def loaded(module: str) -> Any | None:
    """A module of langchain-core, if the program has imported it."""
    return sys.modules.get(module)


def is_runnable(value: Any) -> bool:
    """Whether a value is a Runnable of langchain-core."""
    base = sys.modules.get("langchain_core.runnables.base")
    return base is not None and isinstance(value, base.Runnable)


def is_traced() -> bool:
    """Whether LangSmith's tracer may be asked for: in the environment, or by LangSmith itself."""
    return "langsmith.run_helpers" in sys.modules or _is_traced()


@cache  # as LangSmith, which reads it once, too
def _is_traced() -> bool:
    return any(
        os.environ.get(f"{prefix}_{name}", "").casefold() == "true"
        for prefix in ("LANGSMITH", "LANGCHAIN")
        for name in ("TRACING", "TRACING_V2")
    )


def need(module: str, what: str) -> Any:
    """A module of langchain-core, imported.

    Raises:
        ImportError: it is not installed; says what needs it, and the extra that brings it.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs langchain-core: pip install 'plait[langgraph]'") from error
