"""Drawings as langchain-core has them, for those that read them as JSON.

LangGraph's viewers know what a node is by the id of its class. So the JSON of a drawing has the ids
that LangGraph's would have, also where the class is one of this package.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables.graph import Graph

from ._callables import Callee
from ._constants import START

_OWN = __name__.split(".")[0]
_FUNCTION = ["langgraph", "_internal", "_runnable", "RunnableCallable"]
_PASSING = ["langchain", "schema", "runnable", "RunnablePassthrough"]


class PassedOn:
    """What stands in a drawing for a node that calls nothing, and passes its input on."""


class ViewedGraph(Graph):
    """What can be drawn of a graph."""

    def to_json(self, *, with_schemas: bool = False) -> Any:
        """The drawing as JSON: the edges, and the nodes, each with the id of what it calls."""
        shown: Any = super().to_json(with_schemas=with_schemas)
        for node, described in zip(self.nodes.values(), shown["nodes"], strict=True):
            data: Any = node.data
            known: list[str] | None = None
            if isinstance(data, Callee):
                known = _FUNCTION
            elif isinstance(data, PassedOn):
                known = _FUNCTION if node.id.rpartition(":")[2] == START else _PASSING
            elif described.get("type") == "runnable" and described["data"]["id"][0] == _OWN:
                own: list[str] = described["data"]["id"][1:]
                known = _FUNCTION if any(part.startswith("_") for part in own) else own
            if known is not None:
                described["type"] = "runnable"
                described["data"] = {"id": known, "name": node.id}
        return shown
