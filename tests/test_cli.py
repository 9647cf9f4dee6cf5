"""The command line, as a real process."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import IO

import pytest

from plait import cli

KERNEL = str(Path(cli.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": KERNEL, "PYTHONUTF8": "1"}

BRIEF = """
title = "Small"
[[tasks]]
id = "waits"
type = "research"
question = "How do tasks wait?"
sources = ["*.md"]
"""

SLOW = """
[[tasks]]
id = "slow"
type = "research"
question = "How do tasks wait?"
sources = ["{stdlib}/**/*.py"]
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


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    (tmp_path / "a.md").write_text("# Waiting\nA task wäits… for tasks to end.", encoding="utf-8")
    return write(tmp_path, BRIEF)


def write(folder: Path, text: str) -> Path:
    path = folder / "brief.toml"
    path.write_text(text, encoding="utf-8")
    return path


def plait(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plait.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


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
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDING, "orchestrate", str(brief)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stderr is not None
    told = set[str]()
    while not {"waits: done", "slow: begins"} <= told:
        told.add(" ".join(process.stderr.readline().split()[:2]))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    assert "**The run was interrupted: Ctrl-C.**" in output
    assert "| slow | cancelled | at work when the run was interrupted |" in output
    assert "A task wäits… for tasks to end." in output


# -- in this process, where a debugger and the coverage can see


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_report_can_go_to_a_file(brief: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = brief.with_name("report.md")
    code, out, err = in_process(capsys, "orchestrate", brief, "-o", report)
    assert (code, out) == (0, "")
    assert f"The report is in {report}" in err
    assert report.read_text(encoding="utf-8").startswith("# Small")


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
    code, out, err = in_process(capsys, "orchestrate", brief)
    assert code == 1
    assert "The run failed: " in err
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
