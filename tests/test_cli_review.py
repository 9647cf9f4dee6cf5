"""A person reviews a run from the command line: at a terminal, by a pipe, or in another process."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from plait import cli
from tests.test_cli import environment, write

BRIEF = """
title = "Small"
[[tasks]]
id = "waits"
type = "research"
question = "How do tasks wait?"
sources = ["*.md"]
[[tasks]]
id = "ends"
type = "research"
question = "When does a task end?"
sources = ["*.md"]
"""


@pytest.fixture(autouse=True)
def brief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A brief; its threads are kept in a folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PLAIT_STORE", raising=False)
    waiting = "# Waiting\nAll tasks wait here for what others do."
    (tmp_path / "a.md").write_text(f"{waiting}\n\n# Ending\nA task has its end when it is done.")
    return write(tmp_path, BRIEF)


def plait(*arguments: str | Path, says: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plait.cli", *map(str, arguments)],
        env=environment(),
        input=says,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_answers_may_come_by_a_pipe(brief: Path) -> None:
    says = "certainly\n\nrevise waits: more of it\napprove\napprove: well done"
    done = plait("orchestrate", brief, "--review", "--json", says=says)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"]["decided"] == "A person approved this: well done."
    assert "'certainly\\n' is no decision: say \"approve\"" in done.stderr
    assert "A person asked for a revision of waits: more of it" in done.stderr
    assert done.stderr.count("Are these results enough?") == 2
    assert done.stderr.count("Is the whole good enough?") == 1


def test_a_rejection_is_code_1_with_a_report_that_says_why(brief: Path) -> None:
    done = plait("orchestrate", brief, "--review", says="reject: ask somebody else\n")
    assert done.returncode == 1
    assert "The run failed: A person rejected it: ask somebody else" in done.stderr
    assert "**The run failed: A person rejected it: ask somebody else" in done.stdout


def test_another_process_answers_what_nobody_answered(brief: Path) -> None:
    left = plait("orchestrate", brief, "--review", "--thread", "t")
    assert (left.returncode, left.stdout) == (3, "")
    *_, way_out = left.stderr.splitlines()
    assert way_out.startswith("It waits for an answer: plait resume t --answer ")
    answer = way_out.rpartition(" --answer ")[2]
    merged = plait("resume", "t", "--answer", answer)
    assert merged.returncode == 3
    assert "Is the whole good enough?" in merged.stderr
    answer = merged.stderr.splitlines()[-1].rpartition(" --answer ")[2]
    done = plait("resume", "t", "--answer", answer, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["decided"] == "A person approved this."


def test_a_run_that_waits_may_be_reviewed_at_leisure(brief: Path) -> None:
    assert plait("orchestrate", brief, "--review", "--thread", "t", "--quiet").returncode == 3
    assert plait("resume", "t", "--quiet").returncode == 3  # it still waits
    done = plait("resume", "t", "--review", "--json", says="approve\napprove\n")
    assert json.loads(done.stdout)["status"] == "completed"


def test_an_answer_that_is_none_is_refused(
    brief: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert cli.main(["orchestrate", str(brief), "--review", "--thread", "t"]) == 3
    words = capsys.readouterr().err.splitlines()[-1]
    name = words.rpartition(" --answer ")[2].partition("=")[0]
    assert cli.main(["resume", "t", "--answer", f"{name}=revise everything", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("there is no task everything; there are waits, ends")


def test_what_is_not_kept_cannot_be_answered_later(brief: Path) -> None:
    left = plait("orchestrate", brief, "--review", "--store", "memory:")
    assert left.returncode == 3
    assert "so nobody can answer any more" in left.stderr
    done = plait("orchestrate", brief, "--review", "--store", "memory:", says="approve\n" * 2)
    assert done.returncode == 0


def test_at_a_terminal_each_answer_is_asked_for(brief: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "plait.cli", "orchestrate", str(brief), "--review", "--json"],
        env=environment() | {"TERM": "dumb"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    for answers in range(1, 3):
        while shown.count(b"reject[: REASON]> ") < answers:
            shown += os.read(ours, 4096)
        os.write(ours, b"approve\n")
    out, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out)["verdict"]["status"] == "quality_approved"
