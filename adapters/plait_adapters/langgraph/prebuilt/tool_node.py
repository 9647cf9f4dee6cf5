"""A node that calls the tools which a model asked for."""

from __future__ import annotations

import json
import warnings
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from langchain_core.messages import (
    AIMessage,
    RemoveMessage,
    ToolCall,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.runnables.config import RunnableConfig, get_config_list
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool
from langchain_core.tools.base import TOOL_MESSAGE_BLOCK_TYPES
from pydantic import ValidationError
from typing_extensions import Unpack

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import GraphBubbleUp, is_invalid_resume
from plait_adapters.langgraph.graph.message import REMOVE_ALL_MESSAGES
from plait_adapters.langgraph.prebuilt._failures import (
    INVALID_TOOL_NAME_ERROR_TEMPLATE,
    TOOL_CALL_ERROR_TEMPLATE,
    TOOL_EXECUTION_ERROR_TEMPLATE,
    TOOL_INVOCATION_ERROR_TEMPLATE,
    Handling,
    ToolInvocationError,
    faults_of_the_model,
    is_told,
    kinds_handled,
    tell_invocation_errors,
    told,
)
from plait_adapters.langgraph.prebuilt._injection import (
    InjectedArguments,
    InjectedState,
    InjectedStore,
    ToolRuntime,
    injected_into,
)
from plait_adapters.langgraph.prebuilt._two_ways import PLAIN, TwoWays, Way, at_once, runtime_of
from plait_adapters.langgraph.types import Command, Send

__all__ = [
    "INVALID_TOOL_NAME_ERROR_TEMPLATE",
    "TOOL_CALL_ERROR_TEMPLATE",
    "TOOL_EXECUTION_ERROR_TEMPLATE",
    "TOOL_INVOCATION_ERROR_TEMPLATE",
    "AsyncToolCallWrapper",
    "InjectedState",
    "InjectedStore",
    "ToolCallRequest",
    "ToolCallWithContext",
    "ToolCallWrapper",
    "ToolInvocationError",
    "ToolNode",
    "ToolRuntime",
    "msg_content_output",
    "tools_condition",
]

InputKind: TypeAlias = Literal["list", "dict", "tool_calls"]
Response: TypeAlias = "ToolMessage | Command[Any] | list[ToolMessage | Command[Any]]"

# Names by which programs reach into LangGraph's module.
_infer_handled_types = kinds_handled
_handle_tool_error = told
_get_all_injected_args = injected_into
_default_handle_tool_errors = tell_invocation_errors


class ToolCallWithContext(TypedDict):
    """A tool call together with the state: what an agent sends to its tools, one for each call."""

    tool_call: ToolCall
    __type: Literal["tool_call_with_context"]
    state: Any


class _Overrides(TypedDict, total=False):
    tool_call: ToolCall
    tool: BaseTool
    state: Any


@dataclass
class ToolCallRequest:
    """One tool call, as a wrapper around calls gets it."""

    tool_call: ToolCall
    tool: BaseTool | None
    """None if the node has no such tool; the wrapper may then answer in its place."""
    state: Any
    runtime: ToolRuntime[Any, Any]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Once there is one, it is deprecated: use `override`."""
        if name in self.__dict__:
            warnings.warn(
                f"Setting attribute {name!r} on ToolCallRequest is deprecated. Use the override() "
                "method instead to create a new instance with modified values.",
                DeprecationWarning,
                stacklevel=2,
            )
        object.__setattr__(self, name, value)

    def override(self, **overrides: Unpack[_Overrides]) -> ToolCallRequest:
        """A request with other values; this one stays as it is."""
        return replace(self, **overrides)


ToolCallWrapper: TypeAlias = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], "ToolMessage | Command[Any]"]],
    "ToolMessage | Command[Any]",
]
"""Is given a request and a function that carries it out, once, several times or not at all."""
AsyncToolCallWrapper: TypeAlias = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], Awaitable["ToolMessage | Command[Any]"]]],
    Awaitable["ToolMessage | Command[Any]"],
]
"""The same as a coroutine function."""


def msg_content_output(output: Any) -> str | list[Any]:
    """What a tool returned, as the content of a message: text and content blocks as they are.

    Anything else becomes JSON, or else its `str`.
    """
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(
        isinstance(each, dict) and each.get("type") in TOOL_MESSAGE_BLOCK_TYPES for each in output
    ):
        return output
    try:
        return json.dumps(output, ensure_ascii=False)
    except Exception:  # whatever an object's own methods raise
        return str(output)


class ToolNode(TwoWays):
    """Calls the tools that the last message of a model asks for, all at the same time.

    | input | output |
    | --- | --- |
    | a state with messages: a mapping, dataclass or model | `{"messages": [ToolMessage, ...]}` |
    | a list of messages | `[ToolMessage, ...]` |
    | a list of tool calls, or a `ToolCallWithContext` | as for a state |

    A tool may return a `Command` or a list of commands and messages; then so does the node.
    """

    def __init__(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: Handling = tell_invocation_errors,
        messages_key: str = "messages",
        wrap_tool_call: ToolCallWrapper | None = None,
        awrap_tool_call: AsyncToolCallWrapper | None = None,
    ) -> None:
        """Take the tools.

        Args:
            tools: Tools of langchain-core, or functions, which become tools by their signatures.
            name: The node's name.
            tags: Tags of its runs.
            handle_tool_errors: Which errors are told to the model instead of being raised. `True`:
                all; a text: all, and this is what is told; an exception's class, or several: those;
                a function: those that its first argument is annotated with, and it says what is
                told; `False`: none. By default, arguments that do not fit the tool.
            messages_key: Where the messages are in the state.
            wrap_tool_call: Called around every tool call.
            awrap_tool_call: The same for callers that await; by default `wrap_tool_call`.
        """
        super().__init__(self._work_on, name=name, tags=tags)
        self._handle_tool_errors = handle_tool_errors
        self._messages_key = messages_key
        self._wrap_tool_call = wrap_tool_call
        self._awrap_tool_call = awrap_tool_call
        made = [each if isinstance(each, BaseTool) else create_tool(each) for each in tools]
        self._tools_by_name: dict[str, BaseTool] = {tool.name: tool for tool in made}
        self._injected_args = {
            name: injected_into(tool) for name, tool in self._tools_by_name.items()
        }

    @property
    def tools_by_name(self) -> dict[str, BaseTool]:
        """The tools by their names."""
        return self._tools_by_name

    # -- all calls ----------------------------------------------------------------------------

    async def _work_on(self, input: Any, config: RunnableConfig, way: Way) -> Any:
        runtime = runtime_of(config)
        calls, kind = self._parse_input(input)

        def job(call: ToolCall, own: RunnableConfig) -> Any:
            given = ToolRuntime(
                state=self._extract_state(input, own),
                tool_call_id=call["id"],
                config=own,
                context=runtime.context,
                store=runtime.store,
                stream_writer=runtime.stream_writer,
                tools=[*self._tools_by_name.values()],
                execution_info=getattr(runtime, "execution_info", None),
                server_info=getattr(runtime, "server_info", None),
            )
            return lambda: self._wrapped(call, kind, given, way)

        configs = get_config_list(config, len(calls))
        jobs = [job(*each) for each in zip(calls, configs, strict=True)]
        return self._combined(await way.together(jobs, config), kind)

    def _parse_input(self, input: Any) -> tuple[list[ToolCall], InputKind]:
        """The tool calls, and what kind of input they were found in."""
        kind: InputKind = "dict"
        if isinstance(input, list):
            if isinstance(input[-1], dict) and input[-1].get("type") == "tool_call":
                return input, "tool_calls"
            kind, messages = "list", input
        elif isinstance(input, dict):
            if input.get("__type") == "tool_call_with_context":
                return [input["tool_call"]], "tool_calls"
            messages = input.get(self._messages_key, [])
        else:
            messages = getattr(input, self._messages_key, [])
        if not messages:
            raise ValueError("No message found in input")
        for message in reversed(messages):
            if isinstance(message, AIMessage):
                return list(message.tool_calls), kind
        raise ValueError("No AIMessage found in input")

    def _extract_state(self, input: Any, config: RunnableConfig) -> Any:
        """The state that tools may ask for: that of a Send's argument is read from the graph."""
        if isinstance(input, dict) and input.get("__type") == "tool_call_with_context":
            return input["state"]
        if isinstance(input, list) and input and isinstance(input[-1], dict):
            read = config.get("configurable", {}).get("__pregel_read")
            return {} if read is None else read(list(read.args[1]), True)
        return input

    def _combined(self, responses: Sequence[Response], kind: InputKind) -> Any:
        """What the node returns for what its tools did."""
        flat: list[ToolMessage | Command[Any]] = []
        for response in responses:
            flat += response if isinstance(response, list) else [response]
        if not any(isinstance(each, Command) for each in flat):
            return flat if kind == "list" else {self._messages_key: flat}
        combined: list[Any] = []
        upwards: list[Send] = []
        for each in flat:
            if isinstance(each, ToolMessage):
                combined.append([each] if kind == "list" else {self._messages_key: [each]})
            elif _only_sends_upwards(each):
                upwards += each.goto  # type: ignore[arg-type]
            else:
                combined.append(each)
        if upwards:  # one command for all, since a node can leave its graph only once
            combined.append(Command(graph=Command.PARENT, goto=upwards))
        return combined

    # -- one call -----------------------------------------------------------------------------

    async def _wrapped(
        self, call: ToolCall, kind: InputKind, runtime: ToolRuntime[Any, Any], way: Way
    ) -> Response:
        """One call, within the wrapper if there is one."""
        tool = self._tools_by_name.get(call["name"])
        request = ToolCallRequest(call, tool, runtime.state, runtime)
        config = runtime.config

        async def execute(asked: ToolCallRequest) -> Any:
            return await self._carry_out(asked, kind, config, way)

        def execute_plainly(asked: ToolCallRequest) -> Any:
            return at_once(self._carry_out(asked, kind, config, PLAIN))

        try:
            if way.suspends and self._awrap_tool_call is not None:
                return await self._awrap_tool_call(request, execute)
            if self._wrap_tool_call is not None:
                return self._wrap_tool_call(request, execute_plainly)
        except GraphBubbleUp:
            raise
        except Exception as error:
            if not self._handle_tool_errors or is_invalid_resume(error):
                raise
            return self._failed(call, error)
        return await self._carry_out(request, kind, config, way)

    async def _carry_out(
        self, request: ToolCallRequest, kind: InputKind, config: RunnableConfig, way: Way
    ) -> Response:
        """One call, and what is told to the model if it fails."""
        call, tool = request.tool_call, request.tool
        if tool is None:
            if call["name"] in self._tools_by_name:
                raise TypeError(f"Tool {call['name']} is not registered with ToolNode")
            said = INVALID_TOOL_NAME_ERROR_TEMPLATE.format(
                requested_tool=call["name"], available_tools=", ".join(self._tools_by_name)
            )
            return ToolMessage(said, name=call["name"], tool_call_id=call["id"], status="error")
        given = {**self._inject_tool_args(call, request.runtime, tool), "type": "tool_call"}
        try:
            try:
                response = await way.invoke(tool, given, config)
            except ValidationError as error:
                if is_invalid_resume(error):
                    raise
                injected = self._injected_args.get(call["name"])
                names = injected.names if injected is not None else frozenset()
                faults = faults_of_the_model(error, names)
                raise ToolInvocationError(call["name"], error, call["args"], faults) from error
            return self._checked(response, call, kind)
        except GraphBubbleUp:  # interrupts and commands to a parent are no failures
            raise
        except Exception as error:
            # A person's answer that did not fit is nothing that the model could mend.
            if is_invalid_resume(error) or not is_told(error, self._handle_tool_errors):
                raise
            return self._failed(call, error)

    def _failed(self, call: ToolCall, error: Exception) -> ToolMessage:
        said = told(error, self._handle_tool_errors)
        return ToolMessage(said, name=call["name"], tool_call_id=call["id"], status="error")

    def _inject_tool_args(
        self, tool_call: ToolCall, tool_runtime: ToolRuntime[Any, Any], tool: BaseTool | None = None
    ) -> ToolCall:
        """The call with what is injected; what the model set in such an argument's place is gone.

        Raises:
            ValueError: a store is asked for and there is none, or a state and there is a list.
        """
        injected = self._injected_args.get(tool_call["name"])
        if injected is None:
            if tool is None:
                return tool_call
            injected = injected_into(tool)
        values = self._state_values(injected, tool_call["name"], tool_runtime.state)
        if injected.store:
            if tool_runtime.store is None:
                raise ValueError(
                    "Cannot inject store into tools with InjectedStore annotations - please "
                    "compile your graph with a store."
                )
            values[injected.store] = tool_runtime.store
        if injected.runtime:
            values[injected.runtime] = tool_runtime
        chosen = {
            name: value for name, value in tool_call["args"].items() if name not in injected.all
        }
        return {**tool_call, "args": {**chosen, **values}}

    def _state_values(self, injected: InjectedArguments, tool: str, state: Any) -> dict[str, Any]:
        if not injected.state:
            return {}
        if isinstance(state, list):
            wanted = list(injected.state.values())
            if wanted[0] is not None and wanted != [self._messages_key]:
                fields = ", ".join(each for each in wanted if each)
                raise ValueError(
                    f"Invalid input to ToolNode. Tool {tool} requires graph state dict as input. "
                    f"State should contain fields {fields}."
                )
            state = {self._messages_key: state}
        values: dict[str, Any] = {}
        for argument, name in injected.state.items():
            if name is None:
                values[argument] = state
            elif isinstance(state, dict):
                if name in state:
                    values[argument] = state[name]
                elif argument not in injected.optional:
                    raise KeyError(name)
            elif hasattr(state, name):
                values[argument] = getattr(state, name)
            elif argument not in injected.optional:
                raise AttributeError(name)
        return values

    # -- what a tool returned -----------------------------------------------------------------

    def _checked(self, response: Any, call: ToolCall, kind: InputKind) -> Response:
        """A tool's response, if it is one that the node can hand on."""
        if isinstance(response, Command):
            return self._checked_command(response, call, kind, closing=True)
        if isinstance(response, ToolMessage):
            response.content = msg_content_output(response.content)
            return response
        if not isinstance(response, list):
            raise TypeError(f"Tool {call['name']} returned unexpected type: {type(response)}")
        if not all(isinstance(each, (Command, ToolMessage)) for each in response):
            raise TypeError(
                f"Tool {call['name']} returned a list with invalid element types: expected all "
                "Command or ToolMessage"
            )
        answers = 0
        for each in response:
            messages = [each]
            if isinstance(each, Command):
                update = each.update if isinstance(each.update, dict) else {}
                messages = update.get(self._messages_key, [])
            answers += sum(
                isinstance(message, ToolMessage) and message.tool_call_id == call["id"]
                for message in messages
            )
        if answers != 1:
            raise ValueError(
                f"Tool {call['name']} returned a list with {answers} messages bound to "
                f"tool_call_id {call['id']!r}; expected exactly one terminating ToolMessage."
            )
        checked: list[ToolMessage | Command[Any]] = []
        for each in response:
            if isinstance(each, Command):
                checked.append(self._checked_command(each, call, kind, closing=False))
            else:
                each.content = msg_content_output(each.content)
                checked.append(each)
        return checked

    def _checked_command(
        self, command: Command[Any], call: ToolCall, kind: InputKind, *, closing: bool
    ) -> Command[Any]:
        """A command whose messages are messages, with this call's name on its answer.

        With `closing`, one that stays in this graph must bring the answer.
        """
        if isinstance(command.update, dict):
            if kind == "list":
                raise ValueError(
                    "Tools can provide a dict in Command.update only when using dict with "
                    f"'{self._messages_key}' key as ToolNode input, got: {command.update} for tool "
                    f"'{call['name']}'"
                )
        elif isinstance(command.update, list):
            if kind != "list":
                raise ValueError(
                    "Tools can provide a list of messages in Command.update only when using list "
                    f"of messages as ToolNode input, got: {command.update} for tool "
                    f"'{call['name']}'"
                )
        else:
            return command
        command = deepcopy(command)
        update: Any = command.update
        found = update.get(self._messages_key, []) if isinstance(update, dict) else update
        messages = convert_to_messages(found)
        if messages == [RemoveMessage(id=REMOVE_ALL_MESSAGES)]:
            return command
        answered = False
        for message in messages:
            if isinstance(message, ToolMessage) and message.tool_call_id == call["id"]:
                message.name = call["name"]
                answered = True
        if closing and command.graph is None and not answered:
            inner = '[ToolMessage("Success", tool_call_id=tool_call_id), ...]'
            update_like = f'{{"messages": {inner}}}' if kind == "dict" else inner
            raise ValueError(
                "Expected to have a matching ToolMessage in Command.update for tool "
                f"'{call['name']}', got: {messages}. Every tool call (LLM requesting to call a "
                "tool) in the message history MUST have a corresponding ToolMessage. You can fix "
                f"it by modifying the tool to return `Command(update={update_like}, ...)`."
            )
        return command


def _only_sends_upwards(command: Command[Any]) -> bool:
    goto = command.goto
    return (
        command.graph is Command.PARENT
        and isinstance(goto, list)
        and all(isinstance(each, Send) for each in goto)
    )


def tools_condition(state: Any, messages_key: str = "messages") -> Literal["tools", "__end__"]:
    """A router: to `"tools"` if the last message asks for tools, else to the end.

    Raises:
        ValueError: there are no messages.
    """
    messages: Any = state
    if not isinstance(state, list):
        messages = state.get(messages_key, []) if isinstance(state, dict) else None
        messages = messages or getattr(state, messages_key, [])
    if not messages:
        raise ValueError(f"No messages found in input state to tool_edge: {state}")
    return "tools" if getattr(messages[-1], "tool_calls", None) else "__end__"


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
