"""User-interface messages: what a front end is to show, streamed and kept in the state."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from typing_extensions import TypedDict

from plait_adapters.langgraph._support import missing

__all__ = (
    "AnyUIMessage",
    "RemoveUIMessage",
    "UIMessage",
    "delete_ui_message",
    "push_ui_message",
    "ui_message_reducer",
)


class UIMessage(TypedDict):
    """A component that a front end is to show."""

    type: Literal["ui"]
    id: str
    name: str
    """The component."""
    props: dict[str, Any]
    metadata: dict[str, Any]
    """Of the run, and `merge`: whether the props go into those of the message with this id."""


class RemoveUIMessage(TypedDict):
    """A component that is to go."""

    type: Literal["remove-ui"]
    id: str


AnyUIMessage: TypeAlias = UIMessage | RemoveUIMessage


def push_ui_message(
    name: str,
    props: dict[str, Any],
    *,
    id: str | None = None,
    metadata: dict[str, Any] | None = None,
    message: Any = None,
    state_key: str | None = "ui",
    merge: bool = False,
) -> UIMessage:
    """Show a component: a value of the `custom` stream, and a write to the state.

    Args:
        name: The component.
        props: What it is given.
        id: Of the message; a new one by default.
        metadata: Added to what is known of the run.
        message: The message that it belongs to; its id goes into the metadata.
        state_key: The channel that it is written to, or None to stream it only.
        merge: Whether the props go into those of the message with this id.

    Returns:
        The message.
    """
    from plait_adapters.langgraph.config import get_config

    config: Any = get_config()
    belongs = message.get("id") if isinstance(message, dict) else getattr(message, "id", None)
    known = {
        "merge": merge,
        "run_id": config.get("run_id"),
        "tags": config.get("tags"),
        "name": config.get("run_name"),
        **(metadata or {}),
        **({"message_id": belongs} if belongs else {}),
    }
    shown: UIMessage = {
        "type": "ui",
        "id": id or str(uuid.uuid4()),
        "name": name,
        "props": props,
        "metadata": known,
    }
    _send(config, shown, state_key)
    return shown


def delete_ui_message(id: str, *, state_key: str = "ui") -> RemoveUIMessage:
    """Remove a component: a value of the `custom` stream, and a write to the state."""
    from plait_adapters.langgraph.config import get_config

    gone: RemoveUIMessage = {"type": "remove-ui", "id": id}
    _send(get_config(), gone, state_key)
    return gone


def _send(config: Any, message: AnyUIMessage, state_key: str | None) -> None:
    from plait_adapters.langgraph.config import get_stream_writer

    get_stream_writer()(message)
    if state_key:
        config["configurable"]["__pregel_send"]([(state_key, message)])


def ui_message_reducer(
    left: list[AnyUIMessage] | AnyUIMessage, right: list[AnyUIMessage] | AnyUIMessage
) -> list[AnyUIMessage]:
    """Merge user-interface messages by their ids: a reducer.

    Raises:
        ValueError: a message is to be removed that is not there.
    """
    merged: list[Any] = [*left] if isinstance(left, list) else [left]
    places = {message.get("id"): place for place, message in enumerate(merged)}
    gone: set[str] = set()
    coming: list[Any] = right if isinstance(right, list) else [right]
    for each in coming:
        message, name = each, each.get("id")
        place = places.get(name)
        if message.get("type") == "remove-ui":
            if place is None:
                raise ValueError(
                    f"Attempting to delete an UI message with an ID that doesn't exist ({name!r})"
                )
            gone.add(name)
        elif place is None:
            places[name] = len(merged)
            merged.append(message)
        else:
            gone.discard(name)
            if message.get("metadata", {}).get("merge", False):
                message = {**message, "props": {**merged[place]["props"], **message["props"]}}
            merged[place] = message
    return [message for message in merged if message.get("id") not in gone]


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
