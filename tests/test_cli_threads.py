"""The command line over threads: those of briefs, and those of other people's graphs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait import MemoryStore, cli
from plait.cli.stores import without_password
from plait.cli.telling import as_json, as_table, line_of
from plait.events import (
    BranchForked,
    Emitted,
    Event,
    GraphAdopted,
    InterruptsAnswered,
    NodeRetried,
    NodeStarted,
    Participant,
    QuorumJudged,
    Routed,
    StateUpdated,
    Target,
    TimerFired,
    TimerKey,
)

ROOTS = [str(Path(cli.__file__).parents[2]), str(Path(__file__).parents[1] / "adapters")]

APP = """
import sys
from typing import Annotated, TypedDict

import anyio

from plait import END, START, Graph, interrupt, reducers


class Letter(TypedDict):
    text: str
    said: Annotated[list, reducers.append]


async def draft(state):
    print("drafting", file=sys.stderr)
    return {"text": "A letter, " + "very " * 50 + "long."}


async def ask(state):
    return {"said": [interrupt("send it?"), interrupt("to whom?")]}


def make():
    graph = Graph(Letter, name="letters")
    graph.add_node(draft)
    graph.add_node(ask)
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "ask")
    graph.add_edge("ask", END)
    return graph


async def later():
    return make()


graph = make()
flow = graph.compile(store="sqlite:///letters.db")
unkept = graph.compile()
number = 3


def broken():
    return 1 / 0


def unfinished():
    return Graph(Letter).add_node(draft).compile()


async def main():
    async with flow:
        for name in sys.argv[1:]:
            await flow.run({}, name)


if __name__ == "__main__":
    anyio.run(main)
"""

IN_ITS_STORE = ("--flow", "app:flow")
IN_THE_FILE = ("--flow", "app:make", "--store", "sqlite:///letters.db")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an app in it; the data folder is the test's own, too."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PLAIT_STORE", raising=False)
    # The current folder is on the path because the command line puts it there.
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(ROOTS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which the app has begun a thread, and asks."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text(APP)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)}
    subprocess.run([sys.executable, "app.py", "t"], cwd=folder, env=env, check=True)
    assert [path.name for path in folder.glob("letters*")] == ["letters.db"]
    return folder / "letters.db"


@pytest.fixture
def begun(folder: Path, letters: Path) -> None:
    """The app has begun the thread `t`, and asks."""
    shutil.copy(letters, folder)


def plait(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "plait.cli", *arguments)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in this process, without what it imports for `--flow`."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "app", None)

    def run(*arguments: str) -> tuple[int, str, str]:
        sys.modules.pop("app", None)
        code = cli.main(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def refused(result: tuple[int, str, str], code: int = 2) -> str:
    """The one line that a command said which did nothing."""
    assert result[:2] == (code, "")
    (line,) = result[2].splitlines()
    return line


# -- real processes


@pytest.mark.usefixtures("begun")
def test_a_run_of_anybodys_graph_is_answered_and_resumed() -> None:
    first = plait("resume", "t", "--answer", '0:2:0={"yes": true}', *IN_ITS_STORE)
    assert first.returncode == 3, first.stderr
    assert "drafting" not in first.stderr
    assert "answered: 0:2:0 = {'yes': True}" in first.stderr
    assert first.stderr.splitlines()[-1] == (
        "It waits for answers: plait resume t --answer 0:2:1=VALUE --flow app:flow"
    )
    last = plait("resume", "t", "--answer", "0:2:1=to=you", "--json", "--quiet", *IN_ITS_STORE)
    assert (last.returncode, last.stderr) == (0, "")
    assert json.loads(last.stdout)["state"]["said"] == [{"yes": True}, "to=you"]


def test_threads_are_listed_the_last_updated_first() -> None:
    assert python("app.py", "one", "two", "three").returncode == 0
    listed = plait("runs", "--store", "sqlite:///letters.db", "--limit", "2")
    heading, *rows = [line.split() for line in listed.stdout.splitlines()]
    assert heading == ["THREAD", "GRAPH", "STATUS", "EVENTS", "BYTES", "UPDATED", "HELD", "BY"]
    assert [row[:4] for row in rows] == [
        ["three", "letters", "suspended", "3"],
        ["two", "letters", "suspended", "3"],
    ]
    assert listed.stderr == "There are more: --limit 20\n"


@pytest.mark.usefixtures("begun")
def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    program = f"{sys.executable} -m plait.cli show t --history --flow app:flow | true"
    done = subprocess.run(program, shell=True, capture_output=True, encoding="utf-8", check=False)
    assert done.stderr == ""


# -- in this process


@pytest.mark.usefixtures("begun")
def test_a_thread_is_shown_for_a_reader(command: Command) -> None:
    code, out, err = command("show", "t", *IN_THE_FILE)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    for line in (
        ["thread", "t"],
        ["graph", "letters"],
        ["status", "suspended"],
        ["position", "3", "of", "3"],
        ["0", "ask", "parked"],
        ["0:2:0", "at", "ask", "within", "it", "'send", "it?'"],
    ):
        assert line in lines
    assert max(map(len, out.splitlines())) < 120  # values are shortened


@pytest.mark.usefixtures("begun")
def test_a_thread_is_shown_as_json_in_full(command: Command) -> None:
    _, out, _ = command("show", "t", "--json", "--history", *IN_THE_FILE)
    shown = json.loads(out)
    assert (shown["thread"], shown["status"], shown["position"]) == ("t", "suspended", 3)
    assert shown["state"]["text"] == f"A letter, {'very ' * 50}long."
    assert shown["interrupts"] == [
        {"id": "0:2:0", "value": "send it?", "branch": "0", "node": "ask", "when": "within"}
    ]
    assert [(each["position"], each["event"]) for each in shown["history"]] == [
        (1, "RunStarted"),
        (2, "NodeCompleted"),
        (3, "NodeInterrupted"),
    ]


@pytest.mark.usefixtures("begun")
def test_the_history_has_a_line_for_each_event_up_to_a_position(command: Command) -> None:
    _, out, _ = command("show", "t", "--at", "2", "--history", *IN_THE_FILE)
    assert "\nposition    2 of 3\n" in out
    first, second = out.partition("\nhistory\n")[2].splitlines()
    assert first.split()[0] == "1"
    assert first.endswith("0: the run began")
    assert second.endswith("s, wrote text -> ask")


def test_a_thread_that_is_not_there_is_named(command: Command) -> None:
    for name in ("show", "resume", "delete"):
        line = refused(command(name, "none"))
        assert line == "there is no thread 'none': `plait runs` lists those that there are"


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "t", "--at", "9"), "thread 't' has positions 0 to 3, not 9"),
        (("fork", "t", "9", "new"), "thread 't' has positions 1 to 3 to fork from, not 9"),
        (("fork", "t", "2", "o\n"), "the thread_id 'o\\n' has characters that cannot be printed"),
        (("show", "\n"), "the thread_id '\\n' has characters that cannot be printed"),
        (("blame", "t", "x"), "graph 'letters' has no channel 'x'; it has 'text', 'said'"),
        (("resume", "t", "--answer", "0=1"), "there is no interrupt '0'; open are: '0:2:0'"),
        (("resume", "t", "--answer", "yes"), "--answer yes: write ID=VALUE"),
        (("resume", "t", *("--answer", "0:2:0=1") * 2), "0:2:0 has two answers"),
        (("resume", "t", "-o", "no/file"), "no/file cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    command: Command, arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused(command(*arguments, *IN_THE_FILE))


@pytest.mark.usefixtures("begun")
def test_a_fork_is_a_thread_of_its_own(command: Command) -> None:
    code, out, _ = command("fork", "t", "1", "new", *IN_THE_FILE)
    assert code == 0
    assert out.endswith(": plait resume new --flow app:make --store sqlite:///letters.db\n")
    code, out, err = command("resume", "new", *IN_THE_FILE)
    assert code == 3
    assert "drafting" in err
    assert "fork of     t at 1\n" in out
    assert "exists" in refused(command("fork", "t", "1", "new", *IN_THE_FILE))


@pytest.mark.usefixtures("begun")
def test_a_fork_that_nobody_has_run_belongs_to_the_graph_of_its_origin(command: Command) -> None:
    command("fork", "t", "2", "new", "--store", "sqlite:///letters.db")
    _, out, _ = command("runs", "--store", "sqlite:///letters.db", "--json")
    (row,) = [row for row in json.loads(out) if row["thread"] == "new"]
    assert (row["graph"], row["status"], row["origin"]) == (
        "",
        "not run yet",
        {"thread": "t", "at": 2},
    )
    assert "belongs to graph 'letters'" in refused(
        command("show", "new", "--store", "sqlite:///letters.db")
    )


@pytest.mark.usefixtures("begun")
def test_blame_says_who_wrote_to_a_channel(command: Command) -> None:
    _, out, _ = command("blame", "t", "text", *IN_THE_FILE)
    heading, row = [line.split() for line in out.splitlines()]
    assert heading == ["POSITION", "NODE", "BRANCH", "ATTEMPT", "FATE", "VALUE"]
    assert row[:6] == ["2", "draft", "0", "1", "kept", "'A"]
    _, out, _ = command("blame", "t", "text", "--json", *IN_THE_FILE)
    assert json.loads(out)[0]["value"].endswith("long.")
    assert command("blame", "t", "text", "--at", "1", *IN_THE_FILE) == (
        0,
        "",
        "Nobody has written to text.\n",
    )


@pytest.mark.usefixtures("begun")
def test_older_history_is_given_up(command: Command) -> None:
    assert command("prune", "t", "--keep", "1", *IN_THE_FILE) == (
        0,
        "Positions 2 to 3 of thread t are kept.\n",
        "",
    )
    assert "position 1 of thread 't' was pruned" in refused(
        command("show", "t", "--at", "1", *IN_THE_FILE), code=1
    )
    _, out, _ = command("show", "t", "--history", *IN_THE_FILE)
    assert "kept from   2\n" in out
    command("prune", "t", "--keep-bytes", "0", *IN_THE_FILE)
    _, out, _ = command("runs", "--store", "sqlite:///letters.db", "--json")
    assert json.loads(out)[0]["pruned"] == 3


@pytest.mark.usefixtures("begun")
def test_a_thread_is_deleted(command: Command) -> None:
    store = ("--store", "sqlite:///letters.db")
    assert command("delete", "t", *store) == (0, "Thread t is deleted.\n", "")
    assert command("runs", *store) == (0, "", "There are no threads.\n")


# -- other people's graphs


@pytest.mark.usefixtures("begun")
def test_without_a_flow_threads_of_other_graphs_are_left_alone(command: Command) -> None:
    line = refused(command("show", "t", "--store", "sqlite:///letters.db"))
    assert "thread 't' belongs to graph 'letters'" in line
    assert line.endswith("say where it is with --flow MODULE:ATTRIBUTE")


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("name", ["graph", "make", "later", "unkept", "flow"])
def test_a_flow_may_be_a_graph_a_flow_or_a_function_that_makes_one(
    command: Command, name: str
) -> None:
    store = ("--store", "sqlite:///letters.db")
    assert command("show", "t", "--flow", f"app:{name}", *store)[0] == 0


@pytest.mark.usefixtures("begun")
def test_a_flow_brings_its_own_store_unless_another_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIT_STORE", "sqlite:///others.db")
    assert command("show", "t", "--flow", "app:flow")[0] == 0
    for elsewhere in (("--flow", "app:unkept"), ("--flow", "app:flow", "--store", "memory:")):
        assert "there is no thread 't'" in refused(command("show", "t", *elsewhere))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("app", "write MODULE:ATTRIBUTE, such as app.graphs:flow"),
        ("none:flow", "ModuleNotFoundError: No module named 'none'"),
        ("app:none", "AttributeError: module 'app' has no attribute 'none'"),
        ("app:number", "is of type int, and a Flow or a Graph is wanted"),
        ("app:broken", "ZeroDivisionError: division by zero (app.py, line 45)"),
        ("app:unfinished", "GraphError: graph 'Letter' cannot be compiled: "),
        ("bad:flow", "SyntaxError: invalid syntax (bad.py, line 1)"),
    ],
)
def test_a_flow_that_cannot_be_had_is_refused_in_one_line(
    command: Command, folder: Path, name: str, says: str
) -> None:
    (folder / "bad.py").write_text("is not python")
    line = refused(command("runs", "--flow", name))
    assert line.startswith(f"--flow {name}: ")
    assert says in line.replace(f"{folder}{os.sep}", "")


@pytest.mark.usefixtures("begun")
def test_a_flow_of_another_name_is_refused(command: Command, folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('name="letters"', 'name="mail"'))
    assert "thread 't' belongs to graph 'letters', and app:make is graph 'mail'" in refused(
        command("show", "t", *IN_THE_FILE)
    )


@pytest.mark.usefixtures("begun")
def test_a_changed_graph_is_refused_in_one_line_unless_one_insists(
    command: Command, folder: Path
) -> None:
    changed = APP.replace("add_node(draft)\n", 'add_node(draft, on_error="record")\n')
    (folder / "app.py").write_text(changed)
    line = refused(command("resume", "t", *IN_THE_FILE))
    assert "node 'draft' had on_error='raise' and has 'record'" in line
    assert "--migrate" in line
    assert command("resume", "t", "--migrate", *IN_THE_FILE)[0] == 3


def test_the_graph_of_a_flow_is_drawn(command: Command) -> None:
    assert '"ask"' in command("draw", "--flow", "app:graph")[1]


@pytest.mark.usefixtures("begun")
def test_a_failed_run_says_how_to_go_on(command: Command, folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('[interrupt("send it?"),', "[1 / 0,"))
    code, out, err = command("resume", "t", "--quiet", "--answer", "0:2:0=1", *IN_THE_FILE)
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        (
            "The run failed: node 'ask' in branch 0 failed in attempt 1: "
            "ZeroDivisionError: division by zero"
        ),
        "Go on with it: plait resume t --flow app:make --store sqlite:///letters.db",
    ]


# -- stores


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nowhere", "no store is known for 'nowhere'"),
        ("mysql://x", "no store is known for 'mysql'"),
        ("sqlite:x", "'sqlite:x' names no file"),
    ],
)
def test_a_store_that_is_not_known_is_refused(command: Command, url: str, says: str) -> None:
    assert says in refused(command("runs", "--store", url))


def test_a_store_that_cannot_be_opened_is_a_failure_in_one_line(command: Command) -> None:
    assert "there is no folder" in refused(command("runs", "--store", "sqlite:///no/x.db"), code=1)


def test_passwords_are_not_shown() -> None:
    shown = without_password("postgresql://me:secret@host:5432/db?x=1")
    assert shown == "postgresql://me:***@host:5432/db?x=1"


def test_an_upgrade_of_sqlite_has_nothing_to_do(command: Command) -> None:
    assert command("db", "upgrade", "--store", "sqlite:///x.db") == (
        0,
        "sqlite:///x.db needs no upgrade: there is nothing to do.\n",
        "",
    )


class Upgraded(MemoryStore):
    """A store whose tables are old."""

    async def upgrade(self) -> list[str]:
        return ["0002_more.sql"]


def test_an_upgrade_says_what_it_did(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.durable.open_store", lambda url: Upgraded())
    assert command("db", "upgrade", "--store", "postgresql://x") == (
        0,
        "0002_more.sql\nThe tables are up to date.\n",
        "",
    )


@pytest.mark.usefixtures("begun")
def test_what_the_kernel_logs_is_not_in_the_output(command: Command) -> None:
    begun = Path("app.py").read_text().replace("compile(store", "compile(debug=True, store")
    Path("app.py").write_text(begun)
    _, out, err = command("resume", "t", "--json", *IN_ITS_STORE)
    assert json.loads(out)["status"] == "suspended"
    assert "drafting" not in err


@pytest.mark.parametrize("arguments", [("show", "t", "--at", "-1"), ("prune", "t"), ("db",)])
def test_arguments_that_make_no_sense_are_code_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


# -- how things are told


EVENTS: list[tuple[Event, str]] = [
    (NodeStarted(1.0, (0, 1), "n", 2), "0.1 n: began, attempt 2"),
    (NodeRetried(1.0, (0,), "n", 1, OSError("x"), 0.5), "0 n: attempt 1 failed, the next is in "),
    (InterruptsAnswered(1.0, (("0:2:0", "a"),)), "answered: 0:2:0 = 'a'"),
    (StateUpdated(1.0, (), "n", (("c", 1),)), "n: written from outside, wrote c"),
    (Routed(1.0, (0,), "__start__", (Target("a"),) * 6), "0 START -> a, a, a, a, 2 more"),
    (Routed(1.0, (0,), "s", ()), "0 s: ended"),
    (TimerFired(1.0, TimerKey((0,), 0, "s", "grace")), "0 s: its grace time passed"),
    (QuorumJudged(1.0, (0,), 0, "s", 2, False), "0 s: quorum not met by 2 arrivals"),
    (GraphAdopted(1.0, "f00"), "the run goes on with graph f00"),
    (BranchForked(1.0, (0,), "n", (Participant((0, 0), None, "a"),)), "0 n: 1 branches"),
    (Emitted(1.0, (0,), "n", "half"), "0 n: 'half'"),
]


@pytest.mark.parametrize(("event", "line"), EVENTS, ids=lambda value: type(value).__name__)
def test_every_event_has_a_line(event: Event, line: str) -> None:
    assert line_of(event).startswith(line)


def test_json_has_what_it_can_of_any_value() -> None:
    odd: dict[str, Any] = {
        "nan": [float("nan")],
        "set": {1},
        "type": object,
        "large": 10**5000,
        "\ud800": b"\xff",
    }
    plain = json.loads(as_json(odd))
    assert (plain["nan"], plain["set"], plain["type"]) == (["nan"], [1], "<class 'object'>")
    assert int(plain["large"], 16) == 10**5000
    assert plain["\ud800"] == "_w=="
    assert json.loads(as_json([{"\ud800": 1}])) == [{"\ud800": 1}]


def test_a_table_moves_no_cursor() -> None:
    assert as_table([("a\x1b[2J", "b")]) == "a\N{REPLACEMENT CHARACTER}[2J  b\n"


# -- what happened when


@pytest.mark.usefixtures("begun")
def test_what_happened_when_is_told_of_anybodys_thread(command: Command, folder: Path) -> None:
    assert plait("resume", "t", "--answer", "0:2:0=yes", *IN_ITS_STORE).returncode == 3
    code, out, err = command("show", "t", "--times", "--picture", "t.svg", *IN_THE_FILE)
    assert (code, err) == (0, "The picture is in t.svg\n")
    _, _, told = out.partition("what happened when\n")
    assert "run" in told
    path = told.partition("the critical path\n")[2].splitlines()
    assert any(line.endswith("run  waiting for a person at ask") for line in path)
    assert (folder / "t.svg").read_text().startswith("<svg ")


@pytest.mark.usefixtures("begun")
def test_what_happened_when_is_in_the_json(command: Command) -> None:
    timeline = json.loads(command("show", "t", "--times", "--json", *IN_THE_FILE)[1])["timeline"]
    assert [span["kind"] for span in timeline["rows"][0]["spans"]][-1] == "node"
