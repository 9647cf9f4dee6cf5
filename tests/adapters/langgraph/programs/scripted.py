"""A chat model that says what it was told to say, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage


class Scripted(GenericFakeChatModel):
    """Tools can be bound to it; it asks for those that its script names."""

    def bind_tools(self, tools: Sequence[Any], **keywords: Any) -> Any:
        """The model itself: its script knows the tools."""
        return self


def scripted(*messages: AIMessage | str) -> Scripted:
    """A model that says these."""
    return Scripted(messages=iter(messages))


def asking(number: int, **calls: dict[str, Any]) -> AIMessage:
    """A message that asks for tools: one call for each keyword, with these arguments."""
    made = [
        {"name": name, "args": arguments, "id": f"call-{number}-{place}", "type": "tool_call"}
        for place, (name, arguments) in enumerate(calls.items())
    ]
    return AIMessage("", tool_calls=made, id=f"asking-{number}")
