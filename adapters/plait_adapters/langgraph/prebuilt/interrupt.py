"""What a person is asked, and what a person answers, as the agent inbox has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict, deprecated

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

__all__ = ["ActionRequest", "HumanInterrupt", "HumanInterruptConfig", "HumanResponse"]


@deprecated(
    "HumanInterruptConfig is deprecated: it has moved to `langchain.agents.interrupt`.",
    category=LangGraphDeprecatedSinceV10,
)
class HumanInterruptConfig(TypedDict):
    """Which kinds of answer are allowed."""

    allow_ignore: bool
    allow_respond: bool
    allow_edit: bool
    allow_accept: bool


@deprecated(
    "ActionRequest is deprecated: it has moved to `langchain.agents.interrupt`.",
    category=LangGraphDeprecatedSinceV10,
)
class ActionRequest(TypedDict):
    """What somebody wants done."""

    action: str
    args: dict[str, Any]


@deprecated(
    "HumanInterrupt is deprecated: it has moved to `langchain.agents.interrupt`.",
    category=LangGraphDeprecatedSinceV10,
)
class HumanInterrupt(TypedDict):
    """A question to a person: the value of an interrupt."""

    action_request: ActionRequest
    config: HumanInterruptConfig
    description: str | None


class HumanResponse(TypedDict):
    """A person's answer: the value with which the interrupt is resumed."""

    type: Literal["accept", "ignore", "response", "edit"]
    args: str | ActionRequest | None
    """Nothing to accept or ignore, a text to respond, the changed action to edit."""


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
