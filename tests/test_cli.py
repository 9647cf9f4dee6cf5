"""The command line, as a real process."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import IO

import pytest

from plait import cli

ROOTS = [str(Path(cli.__file__).parents[2]), str(Path(__file__).parents[1] / "adapters")]

BRIEF = """
title = "Small"
[[tasks]]
id = "waits"
type = "research"
question = "How do tasks wait?"
sources = ["*.md"]
"""

# It is slow by what it reads, for as long as `library` leads to the standard library.
SLOW = """
[[tasks]]
id = "slow"
type = "research"
question = "How do tasks wait?"
sources = ["library/**/*.py"]
"""

FAILING = """
[[tasks]]
id = "none"
type = "research"
question = "How do [bold] tasks wait?"
sources = ["none.md"]
"""

# A shell that runs the tests in the background has every process below it ignore the signal.
HEEDING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from plait.cli import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, never the user's; in it the file with the threads."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PLAIT_STORE", raising=False)
    return tmp_path / "data" / "plait" / "threads.db"


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    (tmp_path / "a.md").write_text("# Waiting\nA task wäits… for tasks to end.", encoding="utf-8")
    (tmp_path / "library").symlink_to(sysconfig.get_path("stdlib"))
    return write(tmp_path, BRIEF)


def hurry(folder: Path) -> None:
    """Let what is slow be quick from now on: there is less to be read."""
    (folder / "library").unlink()
    (folder / "library").mkdir()
    (folder / "library" / "a.py").write_text("# Tasks wait for others.")


def write(folder: Path, text: str) -> Path:
    path = folder / "brief.toml"
    path.write_text(text, encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS), "PYTHONUTF8": "1"}


def plait(
    *arguments: str | Path, before: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; `before` is Python that comes before it."""
    program = f"{before}\nimport sys\nfrom plait.cli import main\nsys.exit(main())"
    command = [sys.executable, *(("-c", program) if before else ("-m", "plait.cli"))]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=environment() | (env or {}),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


class Going:
    """The command line at work, until it is stopped."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEEDING, *map(str, arguments)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self._errors: IO[str] = self.process.stderr
        self.told: list[str] = []

    def wait_for(self, *beginnings: str) -> None:
        """Read what it says until there is a line with each of these beginnings."""
        while not all(any(line.startswith(each) for line in self.told) for each in beginnings):
            line = self._errors.readline()
            assert line, f"it has ended, and told {self.told}"
            self.told.append(line)

    def stop(self, signal_: int) -> tuple[int, str, str]:
        """Send a signal; exit code, output and errors."""
        self.process.send_signal(signal_)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, "".join(self.told) + errors


def test_the_report_goes_to_the_output_and_progress_beside_it(brief: Path) -> None:
    done = plait("orchestrate", brief)
    assert done.returncode == 0
    assert done.stdout.startswith("# Small\n\n1 of 1 tasks have a result.")
    assert "A task wäits… for tasks to end." in done.stdout
    assert "waits: done after" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_nothing_but_json_and_quiet_is_quiet(brief: Path) -> None:
    done = plait("orchestrate", brief, "--json", "--quiet")
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["status"] == "completed"
    assert report["results"][0]["findings"][0]["document"] == "a.md"
    assert report["gathering"]["status"] == "complete"


def test_a_bad_brief_gives_every_fault_and_code_2(tmp_path: Path) -> None:
    done = plait("orchestrate", write(tmp_path, 'titel = "x"\n'))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "has 3 faults" in done.stderr
    assert "line 1: titel: unknown key" in done.stderr


def test_an_interrupt_cancels_every_branch_and_reports_what_was_finished(brief: Path) -> None:
    write(brief.parent, BRIEF + SLOW)
    going = Going("orchestrate", brief, "--thread", "cut")
    going.wait_for("waits: done", "slow: begins")
    code, output, errors = going.stop(signal.SIGINT)
    assert code == 130
    assert "Interrupted. Go on with it: plait resume cut\n" in errors
    assert "Traceback" not in errors
    assert "**The run was interrupted: Ctrl-C.**" in output
    assert "| slow | cancelled | at work when the run was interrupted |" in output
    assert "A task wäits… for tasks to end." in output


# -- threads


def test_a_killed_run_is_resumed_and_does_no_finished_task_again(brief: Path) -> None:
    write(brief.parent, BRIEF + SLOW)
    going = Going("orchestrate", brief)
    going.wait_for("Thread", "waits: done", "slow: begins")
    assert going.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    hurry(brief.parent)
    words = going.told[0].partition("if it is cut off: ")[2]
    resumed = plait(*shlex.split(words)[1:], "--json")
    assert resumed.returncode == 0, resumed.stderr
    told = resumed.stderr.splitlines()
    if told[0].endswith("waiting for a sign of life."):  # unless its lease has expired by now
        told = told[1:]
    assert told[:2] == ["1 of 2 tasks were done before", "slow: begins (branch 0.0, technical)"]
    assert not any(line.startswith("waits:") for line in told)
    report = json.loads(resumed.stdout)
    assert (report["status"], report["gathering"]["status"]) == ("completed", "complete")
    assert [result["task"] for result in report["results"]] == ["waits", "slow"]


def test_a_thread_that_somebody_runs_is_left_to_them(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(brief.parent, BRIEF + SLOW)
    going = Going("orchestrate", brief, "--thread", "mine")
    going.wait_for("waits: done")
    _, listed, _ = in_process(capsys, "runs")
    resumed = in_process(capsys, "resume", "mine")
    deleted = in_process(capsys, "delete", "mine")
    assert going.process.poll() is None
    going.stop(signal.SIGKILL)
    assert f":{going.process.pid}:" in listed.splitlines()[1]
    assert resumed[:2] == deleted[:2] == (2, "")
    assert "thread 'mine' is being run by " in resumed[2].splitlines()[-1]
    (line,) = deleted[2].splitlines()
    assert re.fullmatch(r"thread 'mine' is held by .* \(at \d\d:\d\d:\d\d\)", line)


def test_an_interrupted_run_can_be_resumed_at_once(brief: Path) -> None:
    write(brief.parent, BRIEF + SLOW)
    going = Going("orchestrate", brief, "--thread", "cut")
    going.wait_for("waits: done")
    going.stop(signal.SIGINT)
    hurry(brief.parent)
    resumed = plait("resume", "cut", "-o", brief.with_name("report.md"))
    assert resumed.returncode == 0
    assert resumed.stderr.startswith("1 of 2 tasks were done before\n")
    assert "2 of 2 tasks have a result." in brief.with_name("report.md").read_text(encoding="utf-8")


def test_where_ormsgpack_is_missing_threads_are_not_kept_and_the_work_is_done(
    brief: Path, data: Path
) -> None:
    missing = "import sys; sys.modules['ormsgpack'] = None"
    done = plait("orchestrate", brief, before=missing)
    assert (done.returncode, done.stdout[:7]) == (0, "# Small")
    first, *others = done.stderr.splitlines()
    assert first.startswith("The thread is not kept: ")
    assert "ormsgpack is not installed (pip install 'plait[cli]')" in first
    assert others[0].startswith("task_analyzer: ")
    assert not data.exists()
    for arguments in (("runs",), ("orchestrate", brief, "--store", "sqlite:///x.db")):
        refused = plait(*arguments, before=missing)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "ormsgpack is not installed" in refused.stderr


# -- in this process, where a debugger and the coverage can see


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_threads_are_kept_in_the_data_folder(
    brief: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = in_process(capsys, "orchestrate", brief)
    assert data.is_file()
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700
    name = err.split(";")[0].removeprefix("Thread ")
    assert name.startswith("brief-")
    assert in_process(capsys, "runs")[1].splitlines()[1].startswith(name)


def test_a_store_may_be_named_on_the_command_line_or_in_the_environment(
    brief: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (f"sqlite:///{brief.with_name(name)}" for name in ("one.db", "two.db"))
    monkeypatch.setenv("PLAIT_STORE", one)
    _, _, err = in_process(capsys, "orchestrate", brief, "--thread", "in-one")
    assert "if it is cut off: plait resume in-one\n" in err
    _, _, err = in_process(capsys, "orchestrate", brief, "--thread", "in-two", "--store", two)
    assert f"if it is cut off: plait resume in-two --store {two}\n" in err
    assert not data.exists()
    for store, name in ((one, "in-one"), (two, "in-two")):
        _, out, _ = in_process(capsys, "runs", "--store", store, "--json")
        assert [row["thread"] for row in json.loads(out)] == [name]


def test_in_memory_nothing_is_kept_and_nothing_said_of_it(
    brief: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "orchestrate", brief, "--store", "memory:")
    assert code == 0
    assert "hread" not in err
    assert not data.exists()


def test_a_data_folder_that_cannot_be_used_is_no_reason_not_to_work(
    brief: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.parent.parent.write_text("a file where the folder would be")
    code, out, err = in_process(capsys, "orchestrate", brief)
    assert (code, out[:7]) == (0, "# Small")
    assert err.startswith(f"The thread is not kept: {data.parent} cannot be made: ")
    code, out, err = in_process(capsys, "runs")
    assert (code, out) == (2, "")
    assert err.startswith("no threads are kept: ")


def test_a_damaged_file_is_no_reason_not_to_work(
    brief: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.parent.mkdir(parents=True)
    data.write_bytes(b"this is no database" * 100)
    code, out, err = in_process(capsys, "orchestrate", brief)
    assert (code, out[:7]) == (0, "# Small")
    assert err.startswith("The thread is not kept: ")
    assert "choose another file" in err.splitlines()[0]


def test_a_new_thread_takes_no_id_that_is_there(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(capsys, "orchestrate", brief, "--thread", "t")[0] == 0
    code, out, err = in_process(capsys, "orchestrate", brief, "--thread", "t", "--quiet")
    assert (code, out) == (2, "")
    assert err == "thread 't' exists: resume it, or give the new one another id\n"


def test_a_finished_thread_gives_its_report_again(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report, _ = in_process(capsys, "orchestrate", brief, "--thread", "t")
    assert in_process(capsys, "resume", "t", "--quiet") == (0, report, "")


def test_a_thread_of_a_brief_is_shown_with_who_is_missing(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(brief.parent, BRIEF + FAILING)
    in_process(capsys, "orchestrate", brief, "--thread", "t")
    why = 'MissingSourceError: source "none.md": no file matches'
    _, out, _ = in_process(capsys, "show", "t", "--history")
    assert "branches after 0.0" in out
    assert f"; missing: none ({why})\n" in out
    assert f"0.1 research_technical: failed in attempt 1, its branch ends: {why}\n" in out
    _, out, _ = in_process(capsys, "show", "t", "--history", "--json")
    shown = json.loads(out)
    (outcome,) = shown["outcomes"]["gather"]
    assert outcome["failed"] == [
        {"branch": "0.1", "id": "none", "node": "research_technical", "error": why}
    ]
    assert shown["state"]["brief"]["title"] == "Small"
    assert why in [event.get("error") for event in shown["history"]]


def test_a_thread_of_a_brief_takes_no_answers(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_process(capsys, "orchestrate", brief, "--thread", "t")
    code, out, err = in_process(capsys, "resume", "t", "--answer", "0:1:0=yes")
    assert (code, out, err) == (2, "", "thread 't' asks nothing: leave --answer out\n")


def test_the_report_can_go_to_a_file(brief: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = brief.with_name("report.md")
    code, out, err = in_process(capsys, "orchestrate", brief, "-o", report)
    assert (code, out) == (0, "")
    assert f"The report is in {report}" in err
    assert report.read_text(encoding="utf-8").startswith("# Small")


def test_a_picture_is_drawn_beside_the_report_which_shows_it(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = brief.parent
    (folder / "pictures").mkdir()
    output, picture = folder / "report.md", folder / "pictures" / "run.svg"
    arguments = ["orchestrate", str(brief), "--quiet", "-o", str(output), "--picture", str(picture)]
    assert cli.main(arguments) == 0
    assert "](<pictures/run.svg>)" in output.read_text()
    assert ">waits</text>" in picture.read_text()
    assert f"The picture is in {picture}" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (brief.parent, brief.parent / "no" / "report.md"):
        code, out, err = in_process(capsys, "orchestrate", brief, "-o", output)
        assert (code, out) == (2, "")
        assert "cannot be written" in err
        assert "begins" not in err


def test_a_run_that_fails_gives_code_1_and_a_report(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(brief.parent, 'title = "x"\n' + FAILING)
    code, out, err = in_process(capsys, "orchestrate", brief, "--thread", "t")
    assert code == 1
    assert "The run failed: " in err
    assert err.endswith("\nWhat led to it: plait show --history t\n")
    assert 'MissingSourceError: source "none.md": no file matches' in out


def test_a_bad_brief_is_refused_without_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = in_process(capsys, "orchestrate", tmp_path / "none.toml")
    assert (code, out) == (2, "")
    assert "cannot be read" in err


def test_json_in_this_process(brief: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "orchestrate", brief, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["title"] == "Small"


def test_agents_are_made_for_the_tasks_and_the_next_run_knows_how_they_did(
    brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for measured in ("nothing measured yet", "over 1 tasks"):
        code, out, _ = in_process(capsys, "orchestrate", brief, "--agents", "dynamic")
        assert code == 0
        assert re.search(rf"Done by agent research-passages-\w{{32}}\..*{measured}", out)


def test_a_resumed_run_makes_its_agents_as_the_command_said_that_began_it(brief: Path) -> None:
    write(brief.parent, BRIEF + SLOW)
    going = Going("orchestrate", brief, "--agents", "dynamic")
    going.wait_for("Thread", "waits: done", "slow: begins")
    going.stop(signal.SIGKILL)
    hurry(brief.parent)
    words = going.told[0].partition("if it is cut off: ")[2]
    report = json.loads(plait(*shlex.split(words)[1:], "--json").stdout)
    assert all("Done by agent" in result["notes"][-1] for result in report["results"])


def test_draw_gives_the_graph_of_a_brief(brief: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = in_process(capsys, "draw", brief)
    assert code == 0
    assert "gather" in out


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("fly",), 2), (("--version",), 0)])
def test_usage_is_code_2_and_version_is_0(arguments: Sequence[str], code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == code


class Terminal:
    """A pseudo terminal that remembers what was shown on it, and has somebody at the keyboard."""

    def __init__(self, interrupt_at: str | None = None) -> None:
        self._interrupt_at = interrupt_at
        self._master, slave = pty.openpty()
        self.stream: IO[str] = os.fdopen(slave, "w", encoding="utf-8")
        self._shown = bytearray()
        # Without a reader, a terminal blocks its writer once its buffer is full.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 4096):
                self._shown += data
                if self._interrupt_at and self._interrupt_at.encode() in self._shown:
                    self._interrupt_at = None
                    os.kill(os.getpid(), signal.SIGINT)
        except OSError:
            pass  # what Linux says when the other end is closed

    def close(self) -> str:
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return self._shown.decode()


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, *arguments: str | Path, interrupt_at: str | None = None
) -> tuple[int, str]:
    terminal = Terminal(interrupt_at)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal.stream)
        patch.setattr(sys, "stderr", terminal.stream)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "120")
        code = cli.main([str(argument) for argument in arguments])
    return code, terminal.close()


def test_a_terminal_shows_a_live_table_and_a_drawn_report(
    brief: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(brief.parent, BRIEF + FAILING)
    code, shown = on_terminal(monkeypatch, "orchestrate", brief)
    assert code == 0
    assert "\x1b[" in shown
    for part in ("Branch", "0.0", "done", "failed", "sync point: partial", "What is missing"):
        assert part in shown


def test_without_rich_a_terminal_has_plain_lines_and_a_hint(
    brief: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    code, shown = on_terminal(monkeypatch, "orchestrate", brief)
    assert code == 0
    assert "\x1b[" not in shown
    assert "(With rich, from the extra plait[cli], this is a live table.)" in shown
    assert "waits: done after" in shown


def test_a_version_is_told_even_where_plait_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cli._version()

    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cli, "version", not_installed)
    assert cli._version() == "(not installed)"


def test_ctrl_c_on_a_terminal_ends_with_a_report(
    brief: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(brief.parent, BRIEF + SLOW)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, shown = on_terminal(monkeypatch, "orchestrate", brief, interrupt_at="working")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert "The run was interrupted: Ctrl-C." in shown


@pytest.mark.parametrize("mode", ["parallel", "sequential", "adaptive"])
def test_the_mode_can_be_asked_for_and_the_report_says_so(
    brief: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    code, out, _ = in_process(capsys, "orchestrate", brief, "--mode", mode, "--store", "memory:")
    assert code == 0
    assert f"Mode {mode}, " in out
    assert "it was asked for: complexity 0." in out


def test_a_mode_that_is_not_known_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["orchestrate", "--mode", "fast"])
    assert caught.value.code == 2
