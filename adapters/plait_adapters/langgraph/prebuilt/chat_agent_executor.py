"""An agent: a model that calls tools in a loop until it has an answer."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeAlias,
    TypeVar,
    get_type_hints,
)

import pydantic
from langchain_core.language_models import BaseChatModel, LanguageModelInput, LanguageModelLike
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.tools import BaseTool
from typing_extensions import TypedDict, deprecated

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.constants import END
from plait_adapters.langgraph.errors import ErrorCode, create_error_message
from plait_adapters.langgraph.graph.message import add_messages
from plait_adapters.langgraph.graph.state import CompiledStateGraph, StateGraph
from plait_adapters.langgraph.managed import RemainingSteps
from plait_adapters.langgraph.prebuilt._two_ways import TwoWays, Way, call, runtime_of
from plait_adapters.langgraph.prebuilt.tool_node import ToolNode
from plait_adapters.langgraph.types import Send
from plait_adapters.langgraph.warnings import LangGraphDeprecatedSinceV10

__all__ = [
    "AgentState",
    "AgentStatePydantic",
    "AgentStateWithStructuredResponse",
    "AgentStateWithStructuredResponsePydantic",
    "create_react_agent",
    "create_tool_calling_executor",
]

StructuredResponse: TypeAlias = dict[str, Any] | pydantic.BaseModel
StructuredResponseSchema: TypeAlias = dict[str, Any] | type[pydantic.BaseModel]
StateSchema = TypeVar("StateSchema")
StateSchemaType: TypeAlias = type[StateSchema]
Prompt: TypeAlias = (
    SystemMessage | str | Callable[[Any], LanguageModelInput] | Runnable[Any, LanguageModelInput]
)
PROMPT_RUNNABLE_NAME = "Prompt"

with warnings.catch_warnings():
    # The second of each pair inherits from the first, which is deprecated as well.
    warnings.simplefilter("ignore", LangGraphDeprecatedSinceV10)

    @deprecated(
        "AgentState has been moved to `langchain.agents`. Please update your import to "
        "`from langchain.agents import AgentState`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentState(TypedDict):
        """The state of the agent."""

        messages: Annotated[Sequence[BaseMessage], add_messages]
        remaining_steps: NotRequired[RemainingSteps]

    @deprecated(
        "AgentStatePydantic has been deprecated in favor of AgentState in `langchain.agents`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentStatePydantic(pydantic.BaseModel):
        """The state of an agent, as a model."""

        messages: Annotated[Sequence[BaseMessage], add_messages]
        remaining_steps: RemainingSteps = 25

    @deprecated(
        "AgentStateWithStructuredResponse has been deprecated in favor of AgentState in "
        "`langchain.agents`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentStateWithStructuredResponse(AgentState):
        """The state of an agent whose answer has a schema."""

        structured_response: StructuredResponse

    @deprecated(
        "AgentStateWithStructuredResponsePydantic has been deprecated in favor of AgentState in "
        "`langchain.agents`.",
        category=LangGraphDeprecatedSinceV10,
    )
    class AgentStateWithStructuredResponsePydantic(AgentStatePydantic):
        """The state of an agent whose answer has a schema, as a model."""

        structured_response: StructuredResponse


@deprecated(
    "create_react_agent has been moved to `langchain.agents`. Please update your import to "
    "`from langchain.agents import create_agent`.",
    category=LangGraphDeprecatedSinceV10,
)
def create_react_agent(
    model: str | LanguageModelLike | Callable[..., Any] | Callable[..., Awaitable[Any]],
    tools: Sequence[BaseTool | Callable[..., Any] | dict[str, Any]] | ToolNode,
    *,
    prompt: Prompt | None = None,
    response_format: StructuredResponseSchema | tuple[str, StructuredResponseSchema] | None = None,
    pre_model_hook: Any = None,
    post_model_hook: Any = None,
    state_schema: Any = None,
    context_schema: type[Any] | None = None,
    checkpointer: Any = None,
    store: Any = None,
    interrupt_before: list[str] | None = None,
    interrupt_after: list[str] | None = None,
    debug: bool = False,
    version: Literal["v1", "v2"] = "v2",
    name: str | None = None,
    **deprecated_kwargs: Any,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Build an agent: the model is called, then the tools that it asks for, until it asks for none.

    Args:
        model: A chat model; `"provider:model"`, which needs langchain; or a function of the state
            and the runtime that returns a model with its tools bound.
        tools: What the model may call: tools, functions, tools of the provider as mappings, or a
            `ToolNode`. With none, the model is called once.
        prompt: Put before the messages: a text or system message, or a function or Runnable of the
            state that returns all that the model is given.
        response_format: The schema of an answer that is made at the end, with one more call;
            or a pair of a system prompt for that call and the schema.
        pre_model_hook: A node before each call of the model. What it writes to
            `llm_input_messages` is what the model is given, in place of the messages.
        post_model_hook: A node after each call of the model.
        state_schema: The state; it has `messages` and `remaining_steps`, and
            `structured_response` if there is a `response_format`.
        context_schema: What the caller gives a run beside its input.
        checkpointer: As for `StateGraph.compile`.
        store: As for `StateGraph.compile`.
        interrupt_before: As for `StateGraph.compile`.
        interrupt_after: As for `StateGraph.compile`.
        debug: As for `StateGraph.compile`.
        version: `"v1"`: one task calls all tools of a message; `"v2"`: one task for each call.
        name: The agent's name, also that of its messages.
        deprecated_kwargs: `config_schema`, the old name of `context_schema`.

    Returns:
        The compiled graph; its nodes are `agent`, `tools`, and what else was asked for.

    Raises:
        TypeError: an unknown argument.
        ValueError: an unknown version, a state that lacks a key, or tools that do not fit those
            that the model was bound with.
    """
    if "config_schema" in deprecated_kwargs:
        warnings.warn(
            "`config_schema` is deprecated and will be removed. Please use `context_schema` "
            "instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        old = deprecated_kwargs.pop("config_schema")
        context_schema = context_schema or old
    if deprecated_kwargs:
        raise TypeError(
            f"create_react_agent() got unexpected keyword arguments: {deprecated_kwargs}"
        )
    if version not in {"v1", "v2"}:
        raise ValueError(f"Invalid version {version}. Supported versions are 'v1' and 'v2'.")
    if state_schema is None:
        state_schema = AgentState if response_format is None else AgentStateWithStructuredResponse
    else:
        needed = {"messages", "remaining_steps"}
        needed |= {"structured_response"} if response_format is not None else set()
        if lacking := needed - set(get_type_hints(state_schema)):
            raise ValueError(f"Missing required key(s) {lacking} in state_schema")
    node = (
        tools
        if isinstance(tools, ToolNode)
        else ToolNode([each for each in tools if not isinstance(each, dict)])
    )
    builtin = (
        [] if isinstance(tools, ToolNode) else [each for each in tools if isinstance(each, dict)]
    )
    agent = _Agent(
        _bound(model, list(node.tools_by_name.values()), builtin),
        _get_prompt_runnable(prompt),
        response_format,
        name,
        hooked=pre_model_hook is not None,
        direct=frozenset(each.name for each in node.tools_by_name.values() if each.return_direct),
    )
    builder: Any = StateGraph(state_schema, context_schema=context_schema)
    seen = _with_model_input(state_schema) if pre_model_hook is not None else state_schema
    builder.add_node("agent", TwoWays(agent.call_model, name="call_model"), input_schema=seen)
    entry = "agent"
    if pre_model_hook is not None:
        builder.add_node("pre_model_hook", pre_model_hook)
        builder.add_edge("pre_model_hook", "agent")
        entry = "pre_model_hook"
    builder.set_entry_point(entry)
    last = END
    if response_format is not None:
        last = "generate_structured_response"
        builder.add_node(last, TwoWays(agent.respond, name=last))
    if post_model_hook is not None:
        builder.add_node("post_model_hook", post_model_hook)
        builder.add_edge("agent", "post_model_hook")
    if node.tools_by_name:
        builder.add_node("tools", node)
        _add_routes(builder, agent, entry, last, version, hooked=post_model_hook is not None)
    elif last is not END:
        builder.add_edge("agent" if post_model_hook is None else "post_model_hook", last)
    compiled: CompiledStateGraph[Any, Any, Any, Any] = builder.compile(
        checkpointer=checkpointer,
        store=store,
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        debug=debug,
        name=name,
    )
    return compiled


create_tool_calling_executor = create_react_agent


def _add_routes(
    builder: Any, agent: _Agent, entry: str, last: str, version: str, *, hooked: bool
) -> None:
    """The conditional edges of an agent with tools."""

    def should_continue(state: Any) -> Any:
        message = _value(state, "messages")[-1]
        asks = isinstance(message, AIMessage) and bool(message.tool_calls)
        if hooked:
            return "post_model_hook" if not asks or version == "v2" else "tools"
        if not asks:
            return last
        return "tools" if version == "v1" else _sends(message.tool_calls, state)

    def post_model_hook_router(state: Any) -> Any:
        messages = _value(state, "messages")
        waiting = _unanswered(messages, _last_answer(messages).tool_calls)
        if waiting:
            return _sends(waiting, state)
        return entry if isinstance(messages[-1], ToolMessage) else last

    def route_tool_responses(state: Any) -> str:
        messages = _value(state, "messages")
        for message in reversed(messages):
            if not isinstance(message, ToolMessage):
                # With a task for each call, this one may not be the one that ends it.
                calls = message.tool_calls if isinstance(message, AIMessage) else []
                return END if any(each["name"] in agent.direct for each in calls) else entry
            if message.name in agent.direct:
                return END
        return entry

    if hooked:
        builder.add_conditional_edges(
            "post_model_hook", post_model_hook_router, path_map=[entry, "tools", last]
        )
    builder.add_conditional_edges(
        "agent", should_continue, path_map=["post_model_hook"] if hooked else ["tools", last]
    )
    if agent.direct:
        builder.add_conditional_edges("tools", route_tool_responses, path_map=[entry, END])
    else:
        builder.add_edge("tools", entry)


def _sends(calls: Sequence[Any], state: Any) -> list[Send]:
    return [
        Send("tools", {"__type": "tool_call_with_context", "tool_call": each, "state": state})
        for each in calls
    ]


def _last_answer(messages: Sequence[Any]) -> AIMessage:
    return next(each for each in reversed(messages) if isinstance(each, AIMessage))


def _unanswered(messages: Sequence[Any], calls: Sequence[Any]) -> list[Any]:
    answered = {each.tool_call_id for each in messages if isinstance(each, ToolMessage)}
    return [each for each in calls if each["id"] not in answered]


def _value(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, dict) else getattr(state, name, None)


def _with_model_input(state_schema: Any) -> Any:
    """The state, and what a hook chose for the model."""
    if isinstance(state_schema, type) and issubclass(state_schema, pydantic.BaseModel):
        more: dict[str, Any] = {"llm_input_messages": (list[AnyMessage], ...)}
        return pydantic.create_model("CallModelInputSchema", __base__=state_schema, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangGraphDeprecatedSinceV10)

        class CallModelInputSchema(state_schema):  # type: ignore[misc]
            llm_input_messages: list[AnyMessage]

    return CallModelInputSchema


@dataclass(frozen=True, slots=True)
class _Agent:
    """What the nodes of an agent do."""

    model: Any
    """With its tools bound, or a function that returns such a model."""
    prompt: Runnable[Any, Any]
    response_format: Any
    name: str | None
    hooked: bool
    """A hook may have chosen what the model is given."""
    direct: frozenset[str]
    """Tools whose result is the agent's answer."""

    async def call_model(self, state: Any, config: RunnableConfig, way: Way) -> Any:
        """The model's next message."""
        messages = _value(state, "llm_input_messages") if self.hooked else None
        messages = messages or _value(state, "messages")
        if messages is None:
            keys = "'llm_input_messages' or 'messages' key" if self.hooked else "'messages' key"
            raise ValueError(f"Expected input to call_model to have {keys}, but got {state}")
        _validate_chat_history(messages)
        given = (
            {**state, "messages": messages}
            if isinstance(state, dict)
            else state.model_copy(update={"messages": messages})
        )
        response = await way.invoke(await self._prompted(given, config, way), given, config)
        response.name = self.name
        if self._runs_out_of_steps(state, response):
            said = "Sorry, need more steps to process this request."
            response = AIMessage(id=response.id, content=said)
        return {"messages": [response]}

    async def respond(self, state: Any, config: RunnableConfig, way: Way) -> Any:
        """The answer in its schema."""
        messages, schema = list(_value(state, "messages")), self.response_format
        if isinstance(schema, tuple):
            system, schema = schema
            messages = [SystemMessage(content=system), *messages]
        model = _get_model(await self._prompted(state, config, way))
        structured = model.with_structured_output(schema)
        return {"structured_response": await way.invoke(structured, messages, config)}

    async def _prompted(self, state: Any, config: RunnableConfig, way: Way) -> Any:
        """The prompt and then the model."""
        model = self.model
        if not isinstance(model, Runnable):
            if inspect.iscoroutinefunction(model) and not way.suspends:
                raise RuntimeError(
                    "Async model callable provided but agent invoked synchronously. Use "
                    "agent.ainvoke() or agent.astream(), or provide a sync model callable."
                )
            model = model(state, runtime_of(config))
            model = await model if inspect.isawaitable(model) else model
        return self.prompt | model

    def _runs_out_of_steps(self, state: Any, response: Any) -> bool:
        """Whether what the model asks for could not be called, or its result not be used."""
        remaining = _value(state, "remaining_steps")
        calls = response.tool_calls if isinstance(response, AIMessage) else []
        if remaining is None or not isinstance(response, AIMessage):
            return False
        only_direct = all(each["name"] in self.direct for each in calls)
        return bool((remaining < 1 and only_direct) or (remaining < 2 and calls))


def _get_prompt_runnable(prompt: Any) -> Runnable[Any, Any]:
    """The prompt as a Runnable of the state.

    Raises:
        ValueError: it is none of what a prompt may be.
    """
    if isinstance(prompt, Runnable):
        return prompt
    if isinstance(prompt, str):
        prompt = SystemMessage(content=prompt)
    if prompt is not None and not isinstance(prompt, SystemMessage) and not callable(prompt):
        raise ValueError(f"Got unexpected type for `prompt`: {type(prompt)}")

    async def apply(state: Any, config: RunnableConfig, way: Way) -> Any:
        if prompt is None:
            return _value(state, "messages")
        if isinstance(prompt, SystemMessage):
            return [prompt, *_value(state, "messages")]
        made = await call(prompt, state, config, way)
        # "a system message + messages" is a template, and that a Runnable
        return await way.invoke(made, state, config) if isinstance(made, Runnable) else made

    return TwoWays(apply, name=PROMPT_RUNNABLE_NAME)


def _bound(model: Any, tools: list[BaseTool], builtin: list[dict[str, Any]]) -> Any:
    """The model with its tools; a function that chooses a model is left as it is."""
    if not isinstance(model, (str, Runnable)) and callable(model):
        return model
    if isinstance(model, str):
        try:
            chat_models = importlib.import_module("langchain.chat_models")
        except ImportError as error:
            raise ImportError(
                "Please install langchain (`pip install langchain`) to use '<provider>:<model>' "
                "string syntax for `model` parameter."
            ) from error
        model = chat_models.init_chat_model(model)
    if _should_bind_tools(model, tools, num_builtin=len(builtin)) and (tools or builtin):
        chat: Any = model
        return chat.bind_tools([*tools, *builtin])
    return model


def _should_bind_tools(model: Any, tools: Sequence[BaseTool], num_builtin: int = 0) -> bool:
    """Whether the model has no tools yet.

    Raises:
        ValueError: it has others than these.
    """
    model = _model_in(model)
    if not isinstance(model, RunnableBinding) or "tools" not in model.kwargs:
        return True
    bound = model.kwargs["tools"]
    if len(tools) != len(bound) - num_builtin:
        raise ValueError(
            "Number of tools in the model.bind_tools() and tools passed to create_react_agent must "
            f"match. Got {len(tools)} tools, expected {len(bound) - num_builtin}"
        )
    # Providers describe a tool in one of two ways; of other ways nothing is known.
    names = {
        each["function"]["name"] if each.get("type") == "function" else each.get("name")
        for each in bound
    }
    if lacking := {tool.name for tool in tools} - names:
        raise ValueError(f"Missing tools '{lacking}' in the model.bind_tools()")
    return False


def _model_in(model: Any) -> Any:
    """The model, or its binding, in a sequence; else what was given."""
    if not isinstance(model, RunnableSequence):
        return model
    kinds = (RunnableBinding, BaseChatModel)
    return next((step for step in model.steps if isinstance(step, kinds)), model)


def _get_model(model: Any) -> BaseChatModel:
    """The chat model itself.

    Raises:
        TypeError: there is none.
    """
    model = _model_in(model)
    model = model.bound if isinstance(model, RunnableBinding) else model
    if not isinstance(model, BaseChatModel):
        raise TypeError(
            "Expected `model` to be a ChatModel or RunnableBinding (e.g. model.bind_tools(...)), "
            f"got {type(model)}"
        )
    return model


def _validate_chat_history(messages: Sequence[Any]) -> None:
    """Refuse messages in which a tool call has no answer: models refuse them, less clearly.

    Raises:
        ValueError: there is such a call.
    """
    calls = [
        each
        for message in messages
        if isinstance(message, AIMessage)
        for each in message.tool_calls
    ]
    if waiting := _unanswered(messages, calls):
        raise ValueError(
            create_error_message(
                message="Found AIMessages with tool_calls that do not have a corresponding "
                f"ToolMessage. Here are the first few of those tool calls: {waiting[:3]}.\n\n"
                "Every tool call (LLM requesting to call a tool) in the message history MUST have "
                "a corresponding ToolMessage (result of a tool invocation to return to the LLM) - "
                "this is required by most LLM providers.",
                error_code=ErrorCode.INVALID_CHAT_HISTORY,
            )
        )


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
