"""Has callbacks of langchain-core hear of a run, and streams of messages with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph._internal._constants import CONF, CONFIG_KEY_STREAM_MESSAGES_V2
from plait_adapters.langgraph._internal._langchain import need
from plait_adapters.langgraph._internal._tracing import begin, manager_for

if TYPE_CHECKING:
    from plait_adapters.langgraph._internal._run import Run


async def listen(run: Run, modes: Any, *, subgraphs: bool, version: str) -> None:
    """Give a run its manager, if anybody listens, and tell that it begins.

    Raises:
        ImportError: the mode ``messages`` is asked for, and langchain-core is not installed.
    """
    own: list[Any] = []
    if "messages" in modes:
        need("langchain_core.callbacks.manager", "stream_mode='messages'")
        from ._messages import StreamMessagesHandler, StreamMessagesHandlerV2

        in_blocks = version == "v2" and run.config[CONF].get(CONFIG_KEY_STREAM_MESSAGES_V2)
        kind = StreamMessagesHandlerV2 if in_blocks else StreamMessagesHandler
        assert run.reader is not None
        own.append(kind(run.reader.put, subgraphs, parent_ns=run.path))
    if "tools" in modes:
        need("langchain_core.callbacks.manager", "stream_mode='tools'")
        from ._tools import StreamToolCallHandler

        assert run.reader is not None
        own.append(StreamToolCallHandler(run.reader.put, subgraphs, parent_ns=run.path))
    manager = manager_for(run.config, blocking=run.blocking)
    if manager is None:
        return
    if run.caller is None:
        # It has no place in the graph around it, whose reader asked for that graph only.
        _drop(manager, _is_of_one_graph)
    if "messages" in modes and version != "v2":
        # A model streams blocks or tokens, not both, and this run's reader expects tokens.
        _drop(manager, _is_of_blocks)
    if not own and not manager.handlers:
        return
    if "ls_integration" not in manager.metadata:
        manager.add_metadata({"ls_integration": "langgraph"})
    run.manager = await begin(
        manager,
        run.input,
        run.config.get("run_name") or run.graph.get_name(),
        run.config.get("run_id"),
        blocking=run.blocking,
    )
    run.manager.inheritable_handlers.extend(own)


def _drop(manager: Any, unwanted: Callable[[Any], bool]) -> None:
    for name in ("handlers", "inheritable_handlers"):
        setattr(manager, name, [each for each in getattr(manager, name) if not unwanted(each)])


def _is_of_blocks(handler: Any) -> bool:
    from ._messages import StreamMessagesHandlerV2

    return isinstance(handler, StreamMessagesHandlerV2)


def _is_of_one_graph(handler: Any) -> bool:
    from ._messages import StreamMessagesHandler
    from ._tools import StreamToolCallHandler

    kinds = (StreamMessagesHandler, StreamToolCallHandler)
    return isinstance(handler, kinds) and not handler.subgraphs
