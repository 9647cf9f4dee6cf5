"""What LangGraph wrote before it wrote msgpack: JSON in which an object is a call of its class.

Here the class is one of LangGraph's or LangChain's that may be in a checkpoint, or one that the
user has let in. It is called as it is written, methods are not.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any, Literal

from plait.errors import PlaitError

from ._known import KnownTypes
from ._records import label_of

__all__ = ["InvalidModuleError", "JsonReader"]

logger = logging.getLogger(__name__)

_MESSAGES = "langchain_core."
_LANGGRAPH = ("langgraph.types", "langgraph.store.base", "langgraph.checkpoint.serde.types")


class InvalidModuleError(PlaitError):
    """What was read names a class that is not let in."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class JsonReader:
    """Makes values of such JSON.

    Args:
        types: has the classes that may always be there.
        allowed: those that the user lets in, each by the parts of its module's name and its own;
            ``True``: enums, named tuples, dataclasses and models of all modules that are loaded.
    """

    def __init__(
        self, types: KnownTypes, allowed: Iterable[tuple[str, ...]] | Literal[True] | None
    ) -> None:
        self._types = types
        self._everything = allowed is True
        listed = () if allowed is True or allowed is None else allowed
        self._allowed = {".".join(parts) for parts in listed}

    def read(self, content: bytes) -> Any:
        """The value. Raises ``ValueError`` if it is no JSON."""
        return json.loads(content, object_hook=self._object)

    def _object(self, fields: dict[str, Any]) -> Any:
        parts = fields.get("id")
        if fields.get("type") != "constructor" or not isinstance(parts, list):
            return fields
        match fields.get("lc"):
            case 1:
                return _langchains_own(fields)
            case 2:
                return self._called(fields, ".".join(map(str, parts)))
            case _:
                return fields

    def _called(self, fields: dict[str, Any], name: str) -> Any:
        try:
            type_ = self._class(name)
        except InvalidModuleError as error:
            logger.warning("%s", error.message)
            return fields
        try:
            return type_(*(fields.get("args") or ()), **(fields.get("kwargs") or {}))
        except Exception as error:  # a constructor may raise anything
            logger.warning("%s cannot be made of what was read: %r", name, error)
            return fields

    def _class(self, name: str) -> type:
        """The class that a name stands for. Raises ``InvalidModuleError``."""
        module, _, own = name.rpartition(".")
        if module.startswith(_MESSAGES):
            found = self._types.known(f"langchain.{own}")
        elif module in _LANGGRAPH:
            found = self._types.known(f"langgraph.{own}")
        else:
            found = None
        if found is not None:
            return found
        if self._everything or name in self._allowed:
            found = vars(sys.modules[module]).get(own) if module in sys.modules else None
            if isinstance(found, type) and (name in self._allowed or label_of(found)):
                return found
            raise InvalidModuleError(
                f"The class {name} is let in, and is not there: its module must be imported before "
                "the value is read. What was read is plain data."
            )
        raise InvalidModuleError(
            f"Blocked {name}: what was read is plain data. Let it in: "
            f"allowed_json_modules=[{tuple(name.split('.'))!r}]"
        )


def _langchains_own(fields: dict[str, Any]) -> Any:
    """An object as langchain-core writes it, made by its reader of such objects."""
    try:
        from langchain_core.load.load import Reviver
    except ImportError:
        return fields
    try:
        return Reviver(allowed_objects="core")(fields)
    except (ValueError, NotImplementedError, TypeError, ImportError) as error:
        logger.warning("langchain-core does not make what was read: %s", error)
        return fields
