"""A report that is written up by a model, from the command line to the page."""

import argparse
import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from plait.cli.refusals import Refused
from plait.cli.writers import open_writer as open_for_command
from plait.orchestration import BranchResult, Finding, Measure, Report, Verdict, merge
from plait_adapters.models.errors import LocalModelError, ModelRefusedError, ModelUnavailableError
from plait_adapters.models.local import local_model
from plait_adapters.models.reports import WrittenReport, open_writer, task_of
from tests.models.server import Fail, Reply, Say, model_server
from tests.models.test_synthesis import GOOD, WRONG, said


def result(task: str, *quotes: str, value: float | None = None) -> BranchResult:
    findings = tuple(
        Finding(quote=quote, source="s", document=f"{task}.md", place=f"line {i}", score=1)
        for i, quote in enumerate(quotes)
    )
    measures = () if value is None else (Measure(name="mean", value=value, n=9, how="sum / n"),)
    return BranchResult(
        task=task,
        type="analysis" if measures else "research",
        heading=task,
        findings=findings,
        measures=measures,
        quality=0.5,
        quality_how="made for a test",
        seconds=1,
        read="nothing",
    )


def report(*results: BranchResult) -> Report:
    return Report(
        title="forks and joins",
        status="completed",
        tasks={each.task: each.heading for each in results},
        verdict=Verdict(status="quality_approved"),
        merged=merge(results),
        results=results,
    )


REPORT = report(
    result("a", "A fork opens one branch for each target.", "It is cheap."),
    result("b", "A join waits for a quorum of branches."),
    result("c", value=4.25),
)


async def write(*replies: Reply, of: Report = REPORT) -> WrittenReport:
    async with model_server(*replies) as server, open_writer(server.url) as writer:
        return await writer(of)


def test_every_task_has_its_first_finding_before_any_has_its_second() -> None:
    task = task_of(REPORT)
    assert task is not None
    assert [each.source for each in task.findings] == [
        "a.md, line 0",
        "b.md, line 0",
        "c, 9 rows",
        "a.md, line 1",
    ]
    assert task.findings[2].text == "The mean is 4.25."


def test_of_what_was_found_twice_one_is_taken_and_long_ones_are_cut_at_a_word() -> None:
    task = task_of(report(result("a", "one two three"), result("b", "one two three")), 9, 9)
    assert task is not None
    assert [each.text for each in task.findings] == ["one two …"]


async def test_what_the_model_wrote_is_on_the_page_with_its_sources() -> None:
    page = (await write(said(GOOD))).to_markdown()
    assert page.startswith("## Synthesis\n")
    assert "A join waits for a quorum. [2]" in page
    assert "2. b.md, line 0: A join waits for a quorum of branches." in page
    assert "Written by small at http://127.0.0.1" in page


async def test_what_was_rejected_is_on_the_page_with_the_checks_that_it_failed() -> None:
    written = await write(said(WRONG))
    page = written.to_markdown()
    assert page.startswith("## Synthesis, extracted\n")
    assert "- sentence 1 cites finding 9, and there are findings 1 to 4" in page
    assert f"    {said(WRONG).text}" in page
    assert written.to_json()["synthesis"]["by_model"] is False


async def test_a_report_without_findings_is_not_written_up() -> None:
    written = await write(of=report(result("a")))
    assert written.synthesis is None
    assert "Nothing was found" in written.to_markdown()


async def test_a_model_that_fails_costs_the_text_and_not_the_report() -> None:
    written = await write(Fail(500))
    assert "The model could not be asked" in written.to_markdown()
    assert "HTTP 500" in written.problem


async def test_dollars_are_named_where_prices_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await write(said(GOOD))).cost is None
    monkeypatch.setenv("PLAIT_MODEL_PRICES", "1000,10000")
    written = await write(Say(said(GOOD).text, read=100, written=20))
    assert written.cost == pytest.approx(0.3)
    assert "120 tokens, 0.3000 dollars" in written.to_markdown()


async def test_a_model_that_cannot_be_asked_is_refused_before_the_run() -> None:
    async with model_server(models=["one", "two"]) as server:
        with pytest.raises(ModelRefusedError, match="there are one, two"):
            await open_writer(server.url).__aenter__()
    with pytest.raises(ModelUnavailableError):
        await open_writer(server.url).__aenter__()


async def test_a_file_that_is_no_model_says_what_the_server_said(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="plait[local-model] is not installed")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is no model")
    with pytest.raises(LocalModelError, match="did not start"):
        await local_model(broken).__aenter__()
    with pytest.raises(LocalModelError, match="is no file"):
        await local_model(tmp_path / "none.gguf").__aenter__()


BRIEF = """
title = "Forks and joins"
[[tasks]]
id = "forks"
type = "research"
question = "What does a fork open?"
sources = ["*.md"]
"""


async def test_the_command_line_has_a_report_written_up_by_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "brief.toml").write_text(BRIEF)
    (tmp_path / "a.md").write_text("# Forks\n\nA fork opens one branch for each target.\n")
    roots = [str(Path(__file__).parents[2] / name) for name in ("kernel", "adapters")]
    paths = os.pathsep.join([*roots, os.environ.get("PYTHONPATH", "")])
    async with model_server(said((GOOD[0],))) as server:
        command = [sys.executable, "-m", "plait.cli", "orchestrate", "brief.toml", "--quiet"]
        options = ["--agents", "model", "--model", server.url, "--store", "memory:", "--json"]
        environment = {**os.environ, "PYTHONPATH": paths, "PLAIT_MODEL_KEY": "k-1"}
        done = await anyio.run_process([*command, *options], cwd=tmp_path, env=environment)
    written = json.loads(done.stdout)["written"]
    assert written["synthesis"]["by_model"]
    assert written["synthesis"]["sentences"][0]["text"] == GOOD[0][0]
    assert [each.headers["authorization"] for each in server.asked] == ["Bearer k-1"]


@pytest.mark.parametrize(
    ("agents", "model", "refusal"),
    [
        (None, "local", "add --agents model"),
        ("model", None, "not said which model"),
        ("model", "ftp://x", "begins with http"),
        ("model", "http://k@x", "give it as `key`"),
        ("model", "none.gguf", "is no file"),
        ("dynamic", "local", "add --agents model"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(
    agents: str | None, model: str | None, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLAIT_MODEL", raising=False)
    with pytest.raises(Refused, match=refusal):
        await open_for_command(argparse.Namespace(agents=agents, model=model)).__aenter__()
