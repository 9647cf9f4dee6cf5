"""What becomes of a tool call that fails: an error, or a message that tells the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from langchain_core.tools.base import ToolException
from pydantic import ValidationError

Handling: TypeAlias = (
    bool | str | Callable[..., str] | type[Exception] | tuple[type[Exception], ...]
)
"""Which errors are told to the model, and how: see `ToolNode`."""

INVALID_TOOL_NAME_ERROR_TEMPLATE = (
    "Error: {requested_tool} is not a valid tool, try one of [{available_tools}]."
)
TOOL_CALL_ERROR_TEMPLATE = "Error: {error}\n Please fix your mistakes."
TOOL_EXECUTION_ERROR_TEMPLATE = (
    "Error executing tool '{tool_name}' with kwargs {tool_kwargs} with error:\n"
    " {error}\n"
    " Please fix the error and try again."
)
TOOL_INVOCATION_ERROR_TEMPLATE = (
    "Error invoking tool '{tool_name}' with kwargs {tool_kwargs} with error:\n"
    " {error}\n"
    " Please fix the error and try again."
)


class ToolInvocationError(ToolException):
    """A tool could not be called with the arguments that the model gave.

    Attributes:
        message: what the model is told.
        tool_name: the tool.
        tool_kwargs: the arguments of the model.
        source: pydantic's error.
        filtered_errors: its faults, without those of injected arguments.
    """

    def __init__(
        self,
        tool_name: str,
        source: ValidationError,
        tool_kwargs: dict[str, Any],
        filtered_errors: list[Any] | None = None,
    ) -> None:
        if filtered_errors is None:
            said = str(source)
        else:
            said = "\n".join(
                f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg', 'Unknown error')}"
                for each in filtered_errors
            )
        self.message = TOOL_INVOCATION_ERROR_TEMPLATE.format(
            tool_name=tool_name, tool_kwargs=tool_kwargs, error=said
        )
        self.tool_name = tool_name
        self.tool_kwargs = tool_kwargs
        self.source = source
        self.filtered_errors = filtered_errors
        super().__init__(self.message)


def faults_of_the_model(error: ValidationError, injected: frozenset[str]) -> list[Any]:
    """The faults of arguments that the model chose, without what was injected beside them."""
    faults: list[Any] = []
    for fault in error.errors():
        if not fault["loc"] or fault["loc"][0] in injected:
            continue
        given = fault["input"]
        if isinstance(given, dict):
            given = {name: value for name, value in given.items() if name not in injected}
        faults.append({**fault, "input": given})
    return faults


def tell_invocation_errors(error: Exception) -> str:
    """The default: the model hears of wrong arguments; what a tool raises is raised."""
    if isinstance(error, ToolInvocationError):
        return error.message
    raise error


def is_told(error: Exception, handling: Handling) -> bool:
    """Whether an error is one that the model is told of."""
    if not handling:
        return False
    kinds: tuple[type[Exception], ...] = (Exception,)
    if isinstance(handling, type):
        kinds = (handling,)
    elif isinstance(handling, tuple):
        kinds = handling
    elif callable(handling):
        kinds = kinds_handled(handling)
    return isinstance(error, kinds)


def told(error: Exception, handling: Handling) -> str:
    """What the model is told of an error.

    Raises:
        ValueError: `handling` is none of what it may be.
    """
    if isinstance(handling, str):
        return handling
    if isinstance(handling, (bool, tuple, type)):
        return TOOL_CALL_ERROR_TEMPLATE.format(error=repr(error))
    if callable(handling):
        return handling(error)
    raise ValueError(
        "Got unexpected type of `handle_tool_error`. Expected bool, str or callable. "
        f"Received: {handling}"
    )


def kinds_handled(handler: Callable[..., str]) -> tuple[type[Exception], ...]:
    """The exceptions that a handler's first argument is annotated with; any, if it is not.

    Raises:
        ValueError: the annotation is something other than exceptions.
    """
    names = list(inspect.signature(handler).parameters)
    if len(names) == 2 and names[0] in {"self", "cls"}:
        names = names[1:]
    hint = get_type_hints(handler).get(names[0]) if names else None
    if hint is None:
        return (Exception,)
    several = get_origin(hint) in {Union, UnionType}
    kinds = get_args(hint) if several else (hint,)
    if all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        return kinds
    if several:
        raise ValueError(
            "All types in the error handler error annotation must be Exception types. For "
            "example, `def custom_handler(e: Union[ValueError, TypeError])`. "
            f"Got '{hint}' instead."
        )
    raise ValueError(
        "Arbitrary types are not supported in the error handler signature. Please annotate the "
        "error with either a specific Exception type or a union of Exception types. For example, "
        "`def custom_handler(e: ValueError)` or "
        f"`def custom_handler(e: Union[ValueError, TypeError])`. Got '{hint}' instead."
    )
