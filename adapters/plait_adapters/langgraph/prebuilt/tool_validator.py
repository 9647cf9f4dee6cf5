"""A node that checks the arguments of tool calls without calling any tool."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pydantic
from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.utils.pydantic import is_basemodel_subclass

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.prebuilt._two_ways import TwoWays, Way
from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

__all__ = ["ValidationNode"]


def _say(error: BaseException, call: ToolCall, schema: type[pydantic.BaseModel]) -> str:
    return f"{error!r}\n\nRespond after fixing all validation errors."


class ValidationNode(TwoWays):
    """Validates the tool calls of the last message, with a `ToolMessage` for each.

    The content is the validated arguments as JSON; or what is wrong, and then `additional_kwargs`
    has `is_error`.
    """

    def __init__(
        self,
        schemas: Sequence[BaseTool | type[pydantic.BaseModel] | Callable[..., Any]],
        *,
        format_error: Callable[[BaseException, ToolCall, type[pydantic.BaseModel]], str]
        | None = None,
        name: str = "validation",
        tags: list[str] | None = None,
    ) -> None:
        """Take the schemas.

        Args:
            schemas: Models of pydantic, tools (by their arguments' model), or functions (by their
                signatures).
            format_error: What to say of an error, for a call and its schema.
            name: The node's name.
            tags: Tags of its runs.

        Raises:
            ValueError: one of the schemas is none of these.
        """
        warnings.warn(
            "ValidationNode is deprecated. Please use `create_agent` from `langchain.agents` with "
            "custom tool error handling.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        super().__init__(self._validate, name=name, tags=tags)
        self._format_error = format_error or _say
        self.schemas_by_name: dict[str, Any] = dict(map(_named, schemas))

    async def _validate(self, input: Any, config: RunnableConfig, way: Way) -> Any:
        if isinstance(input, list):
            messages = input
        elif not (messages := input.get("messages", [])):
            raise ValueError("No message found in input")
        message = messages[-1]
        if not isinstance(message, AIMessage):
            raise ValueError("Last message is not an AIMessage")  # noqa: TRY004 - as LangGraph does
        found = [self._check(call) for call in message.tool_calls]
        return found if isinstance(input, list) else {"messages": found}

    def _check(self, call: ToolCall) -> ToolMessage:
        schema = self.schemas_by_name[call["name"]]
        more: dict[str, Any] = {}
        try:
            if issubclass(schema, pydantic.BaseModel):
                content = schema.model_validate(call["args"]).model_dump_json()
            else:
                content = schema.validate(call["args"]).json()  # a model of pydantic's version 1
        except ValueError as error:  # of which both versions' ValidationErrors are
            if type(error).__name__ != "ValidationError":
                raise
            content = self._format_error(error, call, schema)
            more["additional_kwargs"] = {"is_error": True}
        return ToolMessage(content=content, name=call["name"], tool_call_id=call["id"], **more)


def _named(schema: Any) -> tuple[str, Any]:
    if isinstance(schema, BaseTool):
        model = schema.args_schema
        if model is None:
            raise ValueError(f"Tool {schema.name} does not have an args_schema defined.")
        if not isinstance(model, type) or not is_basemodel_subclass(model):
            raise ValueError(
                "Validation node only works with tools that have a pydantic BaseModel args_schema. "
                f"Got {schema.name} with args_schema: {model}."
            )
        return schema.name, model
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return schema.__name__, schema
    if callable(schema):
        return schema.__name__, create_schema_from_function("Validation", schema)
    raise ValueError(
        "Unsupported input to ValidationNode. Expected BaseModel, tool or function. "
        f"Got: {type(schema)}."
    )


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
