"""`plait doctor` and `plait compare`, which an adapter adds to the command line."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="programs are written for LangGraph")

from plait import cli
from plait.cli.refusals import Refused
from plait_adapters.langgraph import commands
from plait_adapters.langgraph.compare import Comparison, EngineError, Run, compare

PROGRAM = """
import operator
from typing import Annotated, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    said: Annotated[list[str], operator.add]
    last: str


async def ask(state: State):
    return {"said": [interrupt("who?")], "last": "ask"}


async def greet(state: State):
    return {"said": [f"hello {state['said'][-1]}"]}


async def lower(state: State):
    return {"last": "lower"}


def build():
    builder = StateGraph(State)
    for node in (ask, greet, lower):
        builder.add_node(node)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "greet")
    builder.add_edge(START, "lower")
    return builder.compile(checkpointer=InMemorySaver())


here = build().__class__.__module__
differs = StateGraph(State)
differs.add_node("where", lambda state: {"last": here})
differs.add_edge(START, "where")
nothing = 5
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"program_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    found = []
    for number, given in enumerate([{"said": []}, {"__resume__": "Ann"}]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(given), encoding="utf-8")
        found += ["--input", str(path)]
    return found


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name, f"plait_adapters.langgraph.commands:{name}", "plait.commands")
        for name in ("doctor", "compare")
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)


@pytest.mark.usefixtures("installed")
def test_commands_of_adapters_are_commands(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", f"{program}:build"]) == 1
    assert "parallel-writes: ask, lower: may write 'last'" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_the_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "compare, doctor" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_what_is_refused_is_one_line(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", f"{program}:nothing"]) == 2
    assert "a StateGraph is wanted" in capsys.readouterr().err


def test_findings_can_be_ignored_and_be_json(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.doctor([f"{program}:build", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["rule"] == "parallel-writes"
    assert commands.doctor([f"{program}:build", "--ignore", "parallel-writes"]) == 0
    assert "Nothing was found." in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nowhere:graph"], ["no_colon"]])
def test_a_program_that_is_not_there_is_refused(arguments: list[str]) -> None:
    with pytest.raises(Refused, match=arguments[0]):
        commands.doctor(arguments)


def test_an_unknown_rule_is_refused(program: str) -> None:
    with pytest.raises(Refused, match="there are parallel-writes"):
        commands.doctor([f"{program}:build", "--ignore", "nonsense"])


def test_a_program_is_the_same_on_both_engines(
    program: str, inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.compare([f"{program}:build", *inputs, "--repeat", "2"]) == 0
    said = capsys.readouterr().out
    assert "state: the same\norder: the same\nevents: the same\n" in said
    assert "times as fast" in said


def test_what_differs_is_shown(
    program: str, inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"{program}:differs", *inputs[:2], "--repeat", "1"]
    assert commands.compare(given) == 1
    said = capsys.readouterr().out
    assert "state [0].last" in said
    assert "LangGraph: 'langgraph.graph.state'" in said
    assert "Plait:     'plait_adapters.langgraph.graph.state'" in said
    assert commands.compare([*given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["same"] is False


def test_a_program_that_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="on langgraph the program could not be run"):
        compare("no_such_program:graph", [{}], repeats=1)


def run(**facts: Any) -> Run:
    usual: dict[str, Any] = {"states": [{}], "events": [], "errors": [None], "seconds": [2.0]}
    return Run(**usual | facts)


def test_a_comparison_tells_states_order_and_events_apart() -> None:
    updates = [["updates", {"a": None}], ["updates", {"b": None}]]
    there, here = run(events=updates), run(events=updates[::-1], seconds=[0.5])
    found = Comparison(there, here)
    assert not found.same
    assert not found.states
    assert (found.there.order, found.here.order) == (["a", "b"], ["b", "a"])
    assert found.speed == 4.0
    assert Comparison(there, there).same
    assert Comparison(there, run(events=updates[:1])).events == [("updates", 2, 1)]
    assert Comparison(run(), run(errors=["broke"])).states == [("error [0]", None, "broke")]
