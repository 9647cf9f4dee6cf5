"""Opens the third version of streams of events, which is carried by the second of streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from plait_adapters.langgraph._internal._config import ensure_config, patch_configurable
from plait_adapters.langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_STREAM_MESSAGES_V2,
    NS_SEP,
)
from plait_adapters.langgraph.stream import (
    AsyncGraphRunStream,
    GraphRunStream,
    LifecycleTransformer,
    StreamTransformer,
    SubgraphTransformer,
)
from plait_adapters.langgraph.stream._mux import StreamMux
from plait_adapters.langgraph.stream._types import TransformerFactory
from plait_adapters.langgraph.stream.transformers import MessagesTransformer, ValuesTransformer

_BUILT_IN: tuple[TransformerFactory, ...] = (
    ValuesTransformer,
    MessagesTransformer,
    LifecycleTransformer,
    SubgraphTransformer,
)


def factories_of(given: Sequence[Callable[[tuple[str, ...]], Any]]) -> list[TransformerFactory]:
    """Check transformers that were given to a graph or a call.

    Raises:
        TypeError: one of them makes no transformers.
    """
    for each in given:
        name = type(each).__name__
        if isinstance(each, StreamTransformer):
            raise TypeError(
                f"transformers= takes what makes transformers, and not a pre-built instance: every "
                f"graph needs its own. Instead of the {name}, give its class or a function of the "
                "namespace"
            )
        if not callable(each):
            raise TypeError(f"transformers= takes what makes transformers, and not a {name}")
    return list(given)


def _mux(graph: Any, config: Any, given: Any, *, is_async: bool) -> StreamMux:
    own = ensure_config(graph.config, config)[CONF].get(CONFIG_KEY_CHECKPOINT_NS)
    return StreamMux(
        factories=[
            *_BUILT_IN,
            *factories_of(graph.stream_transformers),
            *factories_of(given or ()),
        ],
        scope=tuple(own.split(NS_SEP)) if own else (),
        is_async=is_async,
    )


def _options(mux: StreamMux, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``stream`` and ``astream``.

    Raises:
        TypeError: an argument was given that is not the caller's to choose.
    """
    if taken := [name for name in ("stream_mode", "subgraphs") if name in options]:
        raise TypeError(
            f"stream_events(version='v3') and astream_events(version='v3') do not accept "
            f"{', '.join(taken)}: the stream modes are those that the transformers name, and "
            "nested graphs are always told of"
        )
    modes = {mode for each in mux._transformers for mode in each.required_stream_modes}
    if find_spec("langchain_core") is None:  # nobody can have made a message
        modes.discard("messages")
    # What is not given is given as None, for classes of graphs with defaults of their own.
    unset = dict.fromkeys(("interrupt_before", "interrupt_after", "control"))
    return {
        **unset,
        **options,
        "stream_mode": sorted(modes),
        "subgraphs": True,
        "version": "v2",
    }


def open_stream(
    graph: Any, given: Any, config: Any, transformers: Any, options: dict[str, Any]
) -> GraphRunStream:
    """A run that blocks its readers."""
    mux = _mux(graph, config, transformers, is_async=False)
    config = patch_configurable(config, {CONFIG_KEY_STREAM_MESSAGES_V2: True})
    return GraphRunStream(graph.stream(given, config, **_options(mux, options)), mux)


async def open_stream_async(
    graph: Any, given: Any, config: Any, transformers: Any, options: dict[str, Any]
) -> AsyncGraphRunStream:
    """A run whose readers await it."""
    mux = _mux(graph, config, transformers, is_async=True)
    config = patch_configurable(config, {CONFIG_KEY_STREAM_MESSAGES_V2: True})
    return AsyncGraphRunStream(graph.astream(given, config, **_options(mux, options)), mux)
