"""Prebuilt nodes and agents: a scenario ends the same on LangGraph and on the facade."""

import asyncio
import operator
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

pytest.importorskip("langgraph", reason="the scenarios are run on LangGraph as well")
pytest.importorskip("plait_adapters.langgraph.graph.state")

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, tool

from tests.adapters.langgraph.differential.build import Library
from tests.adapters.langgraph.differential.session import Recorder
from tests.adapters.langgraph.programs.scripted import asking, scripted

# Everything here that is deprecated says so in LangGraph's words; a test below sees to that.
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


SCENARIOS: list[Callable[[Any], Any]] = []


def scenario(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENARIOS.append(function)
    return function


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return [type(error).__name__, str(error)]


def plain(value: Any) -> Any:
    """Messages as what they say; anything else as it is recorded."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (HumanMessage, AIMessage, ToolMessage, SystemMessage)):
        status = getattr(value, "status", None)
        return [value.type, value.name, value.content, status]
    return Recorder().plain(value)


# -- tools ------------------------------------------------------------------------------------


@tool
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@tool
async def add_later(a: int, b: int) -> int:
    """The sum, after a turn of the loop."""
    await asyncio.sleep(0)
    return a + b


@tool
def divide(a: int, b: int) -> float:
    """The quotient."""
    return a / b


def blocks() -> list[dict[str, str]]:
    """Content blocks."""
    return [{"type": "text", "text": "one"}]


def as_json(key: str) -> dict[str, str]:
    """Something to be written as JSON."""
    return {key: "ü"}


class Total(TypedDict, total=False):
    messages: Annotated[list[Any], operator.add]
    total: int


def node_graph(library: Any, node: Any, *, schema: Any = Total, **compiling: Any) -> Any:
    builder = library.graph.StateGraph(schema)
    builder.add_node("tools", node)
    builder.add_edge("__start__", "tools")
    return builder.compile(**compiling)


def both_ways(graph: Any, given: Any, config: Any = None, **keywords: Any) -> list[Any]:
    async def later() -> Any:
        return await graph.ainvoke(given, config, **keywords)

    return [
        plain(outcome(lambda: graph.invoke(given, config, **keywords))),
        plain(outcome(lambda: asyncio.run(later()))),
    ]


@scenario
def several_tools_are_called(library: Any) -> Any:
    node = library.prebuilt.ToolNode([add, divide, blocks, as_json])
    calls = asking(
        1, add={"a": 1, "b": 2}, blocks={}, as_json={"key": "k"}, divide={"a": 1, "b": 4}
    )
    return both_ways(node_graph(library, node), {"messages": [calls], "total": 1})


@scenario
def a_coroutine_tool_needs_a_caller_that_awaits(library: Any) -> Any:
    node = library.prebuilt.ToolNode([add_later])
    return both_ways(
        node_graph(library, node), {"messages": [asking(1, add_later={"a": 1, "b": 2})]}
    )


@scenario
def an_unknown_tool_is_told(library: Any) -> Any:
    node = library.prebuilt.ToolNode([add, divide])
    return both_ways(node_graph(library, node), {"messages": [asking(1, nothing={})]})


@scenario
def wrong_arguments_are_told(library: Any) -> Any:
    node = library.prebuilt.ToolNode([add])
    return both_ways(node_graph(library, node), {"messages": [asking(1, add={"a": "x"})]})


def only_values(error: ValueError) -> str:
    return f"wrong value: {error}"


def arithmetic(error: ZeroDivisionError | OverflowError) -> str:
    return f"arithmetic: {error}"


def not_an_error(error: int) -> str:
    return "never"


@scenario
def errors_are_told_as_they_are_to_be(library: Any) -> Any:
    found = []
    ways: list[Any] = [True, False, "a text", ZeroDivisionError, (ValueError, ZeroDivisionError)]
    ways += [ValueError, only_values, arithmetic, not_an_error, lambda error: "anything"]
    for handling in ways:
        node = library.prebuilt.ToolNode([divide], handle_tool_errors=handling)
        given = {"messages": [asking(1, divide={"a": 1, "b": 0})]}
        found.append(both_ways(node_graph(library, node), given))
    return found


@scenario
def there_must_be_messages_and_one_of_a_model(library: Any) -> Any:
    graph = node_graph(library, library.prebuilt.ToolNode([add]))
    return [both_ways(graph, {"messages": given}) for given in ([], [HumanMessage("hello")])]


@scenario
def messages_may_be_under_another_key_or_in_a_model(library: Any) -> Any:
    class Model(pydantic.BaseModel):
        asked: Annotated[list[Any], operator.add] = []

    node = library.prebuilt.ToolNode([add], messages_key="asked")
    graph = node_graph(library, node, schema=Model)
    return both_ways(graph, {"asked": [asking(1, add={"a": 1, "b": 2})]})


@scenario
def a_list_is_a_state_of_messages(library: Any) -> Any:
    node = library.prebuilt.ToolNode([add])
    graph = node_graph(library, node, schema=Annotated[list[Any], operator.add])
    return both_ways(graph, [asking(1, add={"a": 1, "b": 2})])


@scenario
def what_is_injected_is_not_the_models(library: Any) -> Any:
    prebuilt = library.prebuilt

    def whole(x: int, state: Annotated[dict[str, Any], prebuilt.InjectedState]) -> str:
        """All of the state."""
        return f"{x} {sorted(state)} {state['total']}"

    def field(x: int, total: Annotated[int, prebuilt.InjectedState("total")]) -> str:
        """One field of the state."""
        return f"{x + total}"

    def optional(x: int, other: Annotated[int, prebuilt.InjectedState("other")] = 5) -> str:
        """A field that is not there."""
        return f"{x + other}"

    def lacking(x: int, other: Annotated[int, prebuilt.InjectedState("other")]) -> str:
        """A field that is not there, and has no default."""
        return "never"

    tools = [whole, field, optional, lacking]
    node = prebuilt.ToolNode(tools)
    graph = node_graph(library, node)
    forged = {"x": 1, "total": 99, "state": {"forged": True}}
    found = []
    for each in tools:
        call = asking(1, **{each.__name__: forged})
        found.append(both_ways(graph, {"messages": [call], "total": 7}))
    return found, sorted(node.tools_by_name["whole"].tool_call_schema.model_fields)


@scenario
def a_store_is_injected_if_there_is_one(library: Any) -> Any:
    prebuilt = library.prebuilt
    base = library.store__base.BaseStore

    def keep(key: str, store: Annotated[base, prebuilt.InjectedStore()]) -> str:  # type: ignore[valid-type]
        """Keep a key."""
        store.put(("keys",), key, {"kept": key})  # type: ignore[attr-defined]
        return ", ".join(each.key for each in store.search(("keys",)))  # type: ignore[attr-defined]

    node = prebuilt.ToolNode([keep])
    given = {"messages": [asking(1, keep={"key": "k"})]}
    store = library.store__memory.InMemoryStore()
    return [
        both_ways(node_graph(library, node, store=store), given)[0],
        both_ways(node_graph(library, node), given)[0],
    ]


@scenario
def a_tool_knows_the_run(library: Any) -> Any:
    prebuilt = library.prebuilt
    runtime_type = prebuilt.ToolRuntime

    def look(x: int, runtime: runtime_type, config: RunnableConfig) -> str:  # type: ignore[valid-type]
        """What there is to see."""
        seen: Any = runtime
        tools = [each.name for each in seen.tools]
        tag = config["configurable"]["mine"]
        return f"{seen.state['total']} {seen.context} {seen.tool_call_id} {tools} {tag}"

    node = prebuilt.ToolNode([look])
    given = {"messages": [asking(1, look={"x": 1})], "total": 3}
    return both_ways(
        node_graph(library, node), given, {"configurable": {"mine": "m"}}, context={"user": "ann"}
    )


@scenario
def tools_may_return_commands(library: Any) -> Any:
    command = library.types.Command

    @tool
    def transfer(name: str, call: Annotated[str, InjectedToolCallId]) -> Any:
        """Set the total."""
        said = ToolMessage(f"to {name}", tool_call_id=call)
        return command(update={"messages": [said], "total": len(name)})

    @tool
    def silent(call: Annotated[str, InjectedToolCallId]) -> Any:
        """Forgets to answer."""
        return command(update={"messages": []})

    @tool
    def twice(call: Annotated[str, InjectedToolCallId]) -> Any:
        """A list of both."""
        return [command(update={"total": 9}), ToolMessage("two", tool_call_id=call)]

    @tool
    def wrong(call: Annotated[str, InjectedToolCallId]) -> Any:
        """A list of something else."""
        return [command(update={"total": 9})]

    graph = node_graph(library, library.prebuilt.ToolNode([transfer, silent, twice, wrong, add]))
    asked: list[dict[str, Any]] = [
        {"transfer": {"name": "bob"}, "add": {"a": 1, "b": 1}},
        {"silent": {}},
        {"twice": {}},
        {"wrong": {}},
    ]
    return [both_ways(graph, {"messages": [asking(1, **calls)]}) for calls in asked]


@scenario
def calls_can_be_wrapped(library: Any) -> Any:
    def doubled(request: Any, execute: Any) -> Any:
        call = request.tool_call
        more = {**call, "args": {**call["args"], "b": 2 * call["args"]["b"]}}
        return execute(request.override(tool_call=more))

    def answers_itself(request: Any, execute: Any) -> Any:
        return ToolMessage(f"no {request.tool_call['name']}", tool_call_id=request.tool_call["id"])

    def breaks(request: Any, execute: Any) -> Any:
        raise ValueError("broken wrapper")

    async def later(request: Any, execute: Any) -> Any:
        await asyncio.sleep(0)
        return await execute(request)

    found = []
    for keywords in (
        {"wrap_tool_call": doubled},
        {"wrap_tool_call": answers_itself},
        {"wrap_tool_call": breaks, "handle_tool_errors": True},
        {"wrap_tool_call": breaks, "handle_tool_errors": False},
        {"awrap_tool_call": later},
    ):
        node = library.prebuilt.ToolNode([add], **keywords)
        for call in (asking(1, add={"a": 1, "b": 2}), asking(1, unknown={"a": 1, "b": 2})):
            result = both_ways(node_graph(library, node), {"messages": [call]})
            found.append(result)
    return found


@scenario
def a_tool_may_ask_a_person(library: Any) -> Any:
    interrupt = library.types.interrupt

    @tool
    def book(hotel: str) -> str:
        """Book a hotel."""
        return f"{hotel}: {interrupt({'book': hotel})}"

    graph = node_graph(
        library,
        library.prebuilt.ToolNode([book], handle_tool_errors=True),
        checkpointer=library.checkpoint__memory.InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1"}}
    first = graph.invoke({"messages": [asking(1, book={"hotel": "Ritz"})]}, config)
    asked = [each.value for each in first["__interrupt__"]]
    return asked, plain(graph.invoke(library.types.Command(resume="yes"), config))


@scenario
def tools_can_be_streamed(library: Any) -> Any:
    runtime_type = library.prebuilt.ToolRuntime

    def slow(text: str, runtime: runtime_type) -> str:  # type: ignore[valid-type]
        """Says it word by word."""
        seen: Any = runtime
        for word in text.split():
            seen.emit_output_delta(word)
        return text

    node = library.prebuilt.ToolNode([slow, divide], handle_tool_errors=True)
    graph = node_graph(library, node)
    found = []
    for calls in ({"slow": {"text": "a b"}}, {"divide": {"a": 1, "b": 0}}):
        given = {"messages": [asking(1, **calls)]}
        events = [chunk for _, chunk in graph.stream(given, stream_mode=["tools", "tools"])]
        for event in events:  # what was injected has no form of its own
            event.get("input", {}).pop("runtime", None)
        found.append([plain(event) for event in events])
    return found


@scenario
def a_condition_routes_to_tools_or_to_the_end(library: Any) -> Any:
    condition = library.prebuilt.tools_condition
    asks, says = asking(1, add={"a": 1}), AIMessage("done")
    return [
        condition({"messages": [asks]}),
        condition({"messages": [asks, says]}),
        condition([asks]),
        condition({"asked": [asks]}, messages_key="asked"),
        outcome(lambda: condition({"messages": []})),
    ]


class Choice(pydantic.BaseModel):
    number: int


@scenario
def calls_can_be_validated_alone(library: Any) -> Any:
    def pick(number: int) -> int:
        """Pick a number."""
        return number

    node = library.prebuilt.ValidationNode([Choice, add, pick])
    calls = asking(1, Choice={"number": "3"}, add={"a": 1, "b": 2}, pick={"number": "x"})
    found = both_ways(node_graph(library, node), {"messages": [calls]})
    bad: Any = 5
    return found, outcome(lambda: library.prebuilt.ValidationNode([bad]))


# -- agents -----------------------------------------------------------------------------------


@tool(return_direct=True)
def answer(text: str) -> str:
    """The answer itself."""
    return text.upper()


def script(*more: Any) -> Any:
    return scripted(asking(1, add={"a": 1, "b": 2}), AIMessage("three", id="end"), *more)


def asked(graph: Any, *, config: Any = None, **given: Any) -> Any:
    return plain(asyncio.run(graph.ainvoke({"messages": [("user", "1 + 2?")], **given}, config)))


@scenario
def an_agent_calls_tools_until_it_has_an_answer(library: Any) -> Any:
    make = library.prebuilt.create_react_agent
    found = []
    for keywords in (
        {},
        {"version": "v1"},
        {"name": "adder"},
        {"prompt": "Add."},
        {"prompt": SystemMessage("Add.")},
        {"prompt": lambda state: [("system", "Add."), *state["messages"]]},
    ):
        agent = make(script(), [add], **keywords)
        found.append([asked(agent), sorted(agent.get_graph().nodes)])
    return found


@scenario
def a_prompt_may_give_a_template(library: Any) -> Any:
    def prompt(state: Any) -> Any:
        return SystemMessage("Add.") + state["messages"]

    return asked(library.prebuilt.create_react_agent(script(), [add], prompt=prompt))


@scenario
def a_node_is_called_by_itself(library: Any) -> Any:
    def plainly(state: Any) -> Any:
        return {"x": state["x"] + 1}

    async def later(state: Any, config: RunnableConfig) -> Any:
        return [state["x"], config["configurable"]["thread_id"]]

    graph = library.graph.StateGraph(dict)
    graph.add_sequence([plainly, later])
    nodes = graph.add_edge(library.graph.START, "plainly").compile().nodes
    config: Any = {"configurable": {"thread_id": "1"}}
    return [
        nodes["plainly"].invoke({"x": 1}),
        asyncio.run(nodes["plainly"].ainvoke({"x": 2})),
        asyncio.run(nodes["later"].ainvoke({"x": 3}, config)),
    ]


@scenario
def an_agent_serves_plain_callers(library: Any) -> Any:
    agent = library.prebuilt.create_react_agent(script(), [add])
    return plain(agent.invoke({"messages": [("user", "1 + 2?")]}))


@scenario
def an_agent_streams_its_nodes(library: Any) -> Any:
    agent = library.prebuilt.create_react_agent(script(), [add])
    chunks = agent.stream({"messages": [("user", "1 + 2?")]}, stream_mode="updates")
    return [plain(each) for each in chunks]


@scenario
def an_agent_without_tools_answers_at_once(library: Any) -> Any:
    agent = library.prebuilt.create_react_agent(scripted(AIMessage("three")), [])
    return asked(agent), sorted(agent.get_graph().nodes)


@scenario
def a_tool_may_be_the_answer(library: Any) -> Any:
    make = library.prebuilt.create_react_agent
    calls = asking(1, answer={"text": "a"}, add={"a": 1, "b": 2})
    return [asked(make(scripted(calls, "never"), [add, answer], version=v)) for v in ("v1", "v2")]


@scenario
def hooks_run_around_the_model(library: Any) -> Any:
    def before(state: Any) -> Any:
        return {"llm_input_messages": state["messages"][-1:]}

    def after(state: Any) -> Any:
        return {"messages": [HumanMessage("seen")]} if not state["messages"][-1].tool_calls else {}

    make = library.prebuilt.create_react_agent
    agent = make(
        scripted(AIMessage("three", id="end")), [add], pre_model_hook=before, post_model_hook=after
    )
    return asked(agent), sorted(agent.get_graph().nodes)


@scenario
def an_agent_that_runs_out_of_steps_says_so(library: Any) -> Any:
    agent = library.prebuilt.create_react_agent(script(), [add])
    return asked(agent, config={"recursion_limit": 2})


@scenario
def a_model_may_be_chosen_for_each_call(library: Any) -> Any:
    model = script()

    def choose(state: Any, runtime: Any) -> Any:
        return model

    async def choose_later(state: Any, runtime: Any) -> Any:
        return model

    make = library.prebuilt.create_react_agent
    refused = make(choose_later, [add])
    return [
        asked(make(choose, [add])),
        outcome(lambda: refused.invoke({"messages": [("user", "1 + 2?")]})),
    ]


@scenario
def what_does_not_fit_is_refused(library: Any) -> Any:
    make = library.prebuilt.create_react_agent
    executor = library.prebuilt__chat_agent_executor
    bound = scripted().bind(tools=[{"type": "function", "function": {"name": "divide"}}])
    unanswered = [HumanMessage("hi", id="1"), asking(1, add={"a": 1, "b": 2}), HumanMessage("so?")]
    wrong: list[Callable[[], Any]] = [
        lambda: make(script(), [add], version="v3"),
        lambda: make(script(), [add], nonsense=1),
        lambda: make(script(), [add], state_schema=Total),
        lambda: make(bound, [add]),
        lambda: make(script(), [add], prompt=5),
        lambda: executor._validate_chat_history(unanswered),
    ]
    return [outcome(work)[0] for work in wrong]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_scenario_ends_as_on_langgraph(scenario: Callable[[Any], Any]) -> None:
    here, there = Library("plait_adapters.langgraph"), Library("langgraph")
    assert scenario(here) == scenario(there)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("root", ["langgraph", "plait_adapters.langgraph"])
def test_what_is_deprecated_there_is_deprecated_here(root: str) -> None:
    prebuilt = Library(root).prebuilt
    with pytest.warns(DeprecationWarning, match="create_agent"):
        prebuilt.create_react_agent(script(), [add])
    with pytest.warns(DeprecationWarning, match="ValidationNode is deprecated"):
        prebuilt.ValidationNode([Choice])


def test_a_request_is_changed_by_overriding_it() -> None:
    request_type = Library("plait_adapters.langgraph").prebuilt__tool_node.ToolCallRequest
    call: Any = {"name": "add", "args": {}, "id": "1"}
    request = request_type(call, add, {}, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert request.override(state={"a": 1}).state == {"a": 1}
    with pytest.warns(DeprecationWarning, match="override"):
        request.state = {}
