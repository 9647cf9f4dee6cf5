"""What to say of a name of LangGraph that is not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

TABLE = "adapters/plait_adapters/langgraph/SUPPORT.md"
"""Where every public name of LangGraph stands, with what became of it here."""

_REMOTE = "it speaks to a LangGraph server, which is another product"
_CALLBACKS = (
    "it is how LangGraph's loop finds its handlers; put a `GraphCallbackHandler` into a run's "
    "callbacks"
)
_PRINTING = "it prints and takes apart LangGraph's own internal records"

_FORMAT = (
    "it is a part of the format of LangGraph's serializer, which imports by name what it loads; "
    "the serializer here knows types that were registered"
)
_TABLES = (
    "it is a part of how LangGraph lays out its tables and writes statements; the store here has "
    "tables of its own"
)

REASONS: dict[str, str] = {
    "pregel.remote": _REMOTE,
    "pregel.debug": _PRINTING,
    **dict.fromkeys(
        (
            "callbacks.GraphCallbacks",
            "callbacks.get_async_graph_callback_manager_for_config",
            "callbacks.get_sync_graph_callback_manager_for_config",
        ),
        _CALLBACKS,
    ),
    **dict.fromkeys(
        (
            f"checkpoint.serde.jsonplus.{name}"
            for name in (
                "EMPTY_BYTES",
                "EXT_CONSTRUCTOR_KW_ARGS",
                "EXT_CONSTRUCTOR_POS_ARGS",
                "EXT_CONSTRUCTOR_SINGLE_ARG",
                "EXT_DELTA_SNAPSHOT",
                "EXT_METHOD_SINGLE_ARG",
                "EXT_NUMPY_ARRAY",
                "EXT_PYDANTIC_V1",
                "EXT_PYDANTIC_V2",
                "LC_REVIVER",
            )
        ),
        _FORMAT,
    ),
    **dict.fromkeys(
        (
            f"store.postgres.base.{name}"
            for name in (
                "MIGRATIONS",
                "Migration",
                "PLACEHOLDER",
                "Row",
                "VECTOR_MIGRATIONS",
                "get_distance_operator",
            )
        ),
        _TABLES,
    ),
}
"""Why a name is not here, by ``module.name`` below the root; or by ``module``, if none is."""


def _reason(module: str, name: str) -> str | None:
    below = module.partition("plait_adapters.langgraph.")[2]
    return REASONS.get(f"{below}.{name}") or REASONS.get(below)


def absent(module: str, name: str) -> AttributeError | ImportError:
    """The error for a name that a module lacks.

    A name that LangGraph has is an ImportError, since ``from ... import`` would lose what an
    AttributeError says.
    """
    reason = _reason(module, name)
    said = (
        f"{module!r} has no {name!r}{': ' if reason else ''}{reason or ''}. What of LangGraph is "
        f"here, and what is not, is listed in {TABLE}"
    )
    if reason and not name.startswith("_"):
        return ImportError(said, name=module)
    return AttributeError(said, name=name)


def missing(module: str) -> Callable[[str], NoReturn]:
    """A ``__getattr__`` for a module all of whose names are there already."""

    def look(name: str) -> NoReturn:
        raise absent(module, name)

    return look
