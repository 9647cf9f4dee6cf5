"""A list of messages as a channel: what comes in is merged with what is there by the ids.

langchain-core is imported when messages are first merged, and not before.
"""

from __future__ import annotations

import functools
import importlib
import uuid
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, overload

from plait_adapters.langgraph._support import absent

if TYPE_CHECKING:
    from langchain_core.messages import AnyMessage, BaseMessage, MessageLikeRepresentation
    from typing_extensions import TypedDict

    from plait_adapters.langgraph.graph.state import StateGraph

    Messages: TypeAlias = list[MessageLikeRepresentation] | MessageLikeRepresentation

__all__ = ("REMOVE_ALL_MESSAGES", "MessageGraph", "MessagesState", "add_messages")

REMOVE_ALL_MESSAGES = "__remove_all__"
"""The id of a RemoveMessage that takes away all that came before it."""


@overload
def add_messages(
    left: Messages, right: Messages, *, format: Literal["langchain-openai"] | None = None
) -> Messages: ...
@overload
def add_messages(
    *, format: Literal["langchain-openai"] | None = None
) -> functools.partial[Messages]: ...


def add_messages(left: Any = None, right: Any = None, *, format: str | None = None) -> Any:
    """Merge messages into a list of messages: a reducer.

    A message takes the place of the one with its id, or is added at the end; one without an id gets
    a new one. A `RemoveMessage` takes the one with its id away, and with the id
    `REMOVE_ALL_MESSAGES` everything before it.

    Args:
        left: The messages there are: a list, or one message. Anything that langchain-core takes
            for a message (a pair of role and text, a mapping, a string) will do.
        right: Those that come in, likewise.
        format: With `"langchain-openai"`, the contents are brought into OpenAI's form.

    Returns:
        A new list; without `left` and `right`, the reducer with that `format`.

    Raises:
        ValueError: one of the two is missing, a message is to be removed that is not there, or the
            format is unknown.
    """
    if left is None and right is None:
        merge: Any = add_messages
        return functools.partial(merge, format=format)
    if left is None or right is None:
        given = "right" if left is None else "left"
        raise ValueError(
            f"Must specify non-null arguments for both 'left' and 'right'. "
            f"Only received: {given!r}."
        )
    if format not in (None, "langchain-openai"):
        raise ValueError(
            f"Unrecognized format={format!r}. Expected one of 'langchain-openai', None."
        )
    core = importlib.import_module("langchain_core.messages")
    merged, coming = _as_messages(core, left), _as_messages(core, right)
    for message in (*merged, *coming):
        if message.id is None:
            message.id = str(uuid.uuid4())
    removal = core.RemoveMessage
    for last in range(len(coming) - 1, -1, -1):
        if coming[last].id == REMOVE_ALL_MESSAGES and isinstance(coming[last], removal):
            return coming[last + 1 :]
    merged = list(merged)
    places = {message.id: index for index, message in enumerate(merged)}
    gone: set[str | None] = set()
    for message in coming:
        place = places.get(message.id)
        if isinstance(message, removal):
            if place is None:
                raise ValueError(
                    f"Attempting to delete a message with an ID that doesn't exist ({message.id!r})"
                )
            gone.add(message.id)
        elif place is None:
            places[message.id] = len(merged)
            merged.append(message)
        else:
            gone.discard(message.id)
            merged[place] = message
    if gone:
        merged = [message for message in merged if message.id not in gone]
    return _in_openai_form(core, merged) if format else merged


def _as_messages(core: Any, given: Any) -> list[Any]:
    """What was given, as a list of messages; chunks become whole messages."""
    found = given if isinstance(given, list) else [given]
    base, chunk = core.BaseMessage, core.BaseMessageChunk
    # A long history is all messages, of few types: looking at those saves a look at each message.
    if all(issubclass(kind, base) and not issubclass(kind, chunk) for kind in {*map(type, found)}):
        return found
    return [core.message_chunk_to_message(message) for message in core.convert_to_messages(found)]


def _in_openai_form(core: Any, messages: Sequence[BaseMessage]) -> list[Any]:
    converted: list[Any] = core.convert_to_messages(core.convert_to_openai_messages(messages))
    return converted


def _messages_delta_reducer(state: Any, writes: Sequence[Any]) -> list[Any]:
    """Merge several writes of messages at once: the reducer for a `DeltaChannel`.

    However the writes are cut into batches, the result is the same. So, unlike in `add_messages`,
    removing a message that is not there does nothing, there is no removing of all, and no message
    is given an id (the engine does that before a write is stored).
    """
    core = importlib.import_module("langchain_core.messages")
    flat = [each for write in writes for each in (write if isinstance(write, list) else [write])]
    typed = bool(state) and isinstance(state[0], core.BaseMessage)
    kept = list(state) if typed else core.convert_to_messages(state)
    # By id, or by identity where there is none; a dict keeps the order in which they came.
    named: dict[Any, Any] = {}
    for message in kept:
        named[message.id or id(message)] = message
    for message in core.convert_to_messages(flat):
        if isinstance(message, core.RemoveMessage) and message.id is not None:
            named.pop(message.id, None)
        else:
            named[message.id or id(message)] = message
    return list(named.values())


_messages_delta_reducer.coerces_messages = True  # type: ignore[attr-defined]


def push_message(
    message: MessageLikeRepresentation, *, state_key: str | None = "messages"
) -> AnyMessage:
    """Send a message to the `messages` stream now, and write it to the state.

    Args:
        message: The message; it must have an id.
        state_key: The channel that it is written to, or None to stream it only.

    Returns:
        The message, as one of langchain-core's classes.

    Raises:
        ValueError: the message has no id.
        RuntimeError: called outside a node.
    """
    from plait_adapters.langgraph.config import get_config

    core = importlib.import_module("langchain_core.messages")
    whole: AnyMessage = core.convert_to_messages([message])[0]
    if whole.id is None:
        raise ValueError("Message ID is required")
    config = get_config()
    _stream(config, whole)
    if state_key:
        config["configurable"]["__pregel_send"]([(state_key, whole)])
    return whole


def _stream(config: Any, message: Any) -> None:
    from plait_adapters.langgraph.pregel._messages import push

    push(message, config)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        if name == "MessagesState":
            made: Any = _messages_state()
        elif name == "Messages":
            like = importlib.import_module("langchain_core.messages").MessageLikeRepresentation
            made = list[like] | like
        elif name == "MessageGraph":
            made = _message_graph()
        else:
            raise absent(__name__, name)
        globals()[name] = made
        return made


def _channel() -> Any:
    """The annotation of a list of messages; of anything where langchain-core is not installed."""
    try:
        message: Any = importlib.import_module("langchain_core.messages").AnyMessage
    except ModuleNotFoundError:
        message = Any
    return Annotated[list[message], add_messages]


def _messages_state() -> Any:
    from typing_extensions import TypedDict

    make: Any = TypedDict
    made: Any = make("MessagesState", {"messages": _channel()})
    made.__module__ = __name__
    made.__doc__ = "A state with a list of messages, merged by `add_messages`."
    return made


def _message_graph() -> Any:
    from plait_adapters.langgraph.graph.state import StateGraph
    from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

    class MessageGraph(StateGraph[Any, Any, Any, Any]):
        """A graph whose whole state is one list of messages; deprecated."""

        def __init__(self) -> None:
            warnings.warn(
                "MessageGraph is deprecated in LangGraph v1.0.0, to be removed in v2.0.0. Please "
                "use StateGraph with a `messages` key instead.",
                category=LangGraphDeprecatedSinceV10,
                stacklevel=2,
            )
            super().__init__(_channel())

    MessageGraph.__module__, MessageGraph.__qualname__ = __name__, "MessageGraph"
    return MessageGraph


if TYPE_CHECKING:

    class MessagesState(TypedDict):
        """A state with a list of messages, merged by `add_messages`."""

        messages: Annotated[list[AnyMessage], add_messages]

    class MessageGraph(StateGraph[Any, Any, Any, Any]):
        """A graph whose whole state is one list of messages; deprecated."""

        def __init__(self) -> None: ...
