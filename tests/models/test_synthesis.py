"""A synthesis by a model: what is checked, how it is judged, and what replaces one that is bad."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.agents import AgentResult
from plait_adapters.models.synthesis import (
    CitedSentence,
    Draft,
    FindingText,
    SynthesisTask,
    WrittenSynthesis,
    extract,
    faults_of,
    judge,
    schema_of,
)
from plait_adapters.models.writer import ModelSynthesizer
from tests.models.agents import FINDINGS, made, run
from tests.models.server import ModelServer, Say, model_server

GOOD = (("A fork opens a branch for each target.", [1]), ("A join waits for a quorum.", [2]))
ODD = (("Bananas grow on trees in warm countries.", [1]),)
WRONG = (("A fork opens a branch.", [9]),)

words = st.sampled_from(["fork", "join", "branch", "quorum", "merges", "waits", "cheap", "moon"])
sentences = st.builds(
    CitedSentence,
    text=st.lists(words, min_size=1, max_size=12).map(" ".join),
    cites=st.lists(st.integers(-2, 6), max_size=4).map(tuple),
)


def said(parts: tuple[tuple[str, list[int]], ...]) -> Say:
    return Say(json.dumps({"sentences": [{"text": t, "cites": c} for t, c in parts]}))


def draft(*parts: tuple[str, tuple[int, ...]]) -> Draft:
    return Draft(sentences=tuple(CitedSentence(text=t, cites=c) for t, c in parts))


async def write(*replies: Say, **aims: Any) -> tuple[WrittenSynthesis, AgentResult, ModelServer]:
    async with model_server(*replies) as server:
        result = await run(made(ModelSynthesizer, server, **aims), FINDINGS)
    assert isinstance(result.content, WrittenSynthesis)
    return result.content, result, server


async def test_the_models_text_is_taken_when_it_passes_every_check() -> None:
    written, result, _ = await write(said(GOOD))
    assert written.by_model
    assert (
        written.text == "A fork opens a branch for each target. [1] A join waits for a quorum. [2]"
    )
    assert result.quality == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert "2 of 3 findings are cited" in result.how


async def test_the_model_is_told_the_findings_by_number() -> None:
    _, _, server = await write(said(GOOD), length=40)
    assert "[2] A join waits for a quorum of branches. (b.md)" in server.asked[0].prompt
    assert "at most 40 words" in server.asked[0].prompt


ECHOED = ("A fork opens a branch for each target.", "A join waits for a quorum.", "It reduces.")


async def test_a_small_model_is_asked_for_one_sentence_at_a_time() -> None:
    replies = [Say(text) for text in (*ECHOED[:2], "A reducer merges what branches wrote.")]
    written, result, server = await write(*replies, simple=True)
    assert server.asked[1].prompt == "Rewrite this sentence: A join waits for a quorum of branches."
    assert [each.cites for each in written.sentences] == [(1,), (2,), (3,)]
    assert (result.quality, result.tokens) == (1.0, 90)


async def test_of_a_small_model_the_sentences_that_hold_are_kept_and_the_others_named() -> None:
    written, result, server = await write(*map(Say, ECHOED), simple=True)
    assert (written.by_model, len(written.sentences), len(server.asked)) == (True, 2, 4)
    assert written.rejected == "It reduces."
    assert "fewer than half of its words" in written.failed_checks[0]
    assert result.wanting == ("finding 3 is not cited",)


async def test_a_small_model_none_of_whose_sentences_hold_gives_way_to_extraction() -> None:
    written, _, _ = await write(Say("Bananas grow on trees."), simple=True)
    assert not written.by_model


async def test_a_citation_that_names_no_finding_is_told_and_repaired() -> None:
    written, _, server = await write(said(WRONG), said(GOOD))
    assert "cites finding 9, and there are findings 1 to 3" in server.asked[1].prompt
    assert written.by_model


@pytest.mark.parametrize("bad", [said(WRONG), said(ODD), Say("I cannot."), said(GOOD * 2)])
async def test_a_text_that_fails_twice_gives_way_to_an_extracted_one_and_says_so(bad: Say) -> None:
    written, result, server = await write(bad)
    assert len(server.asked) == 2
    assert not written.by_model
    assert written.failed_checks
    assert written.rejected == bad.text
    assert written.sentences[0].text == "A fork opens one branch for each target."
    assert result.how.startswith("extracted, not written")
    assert "extracted from the findings" in result.notes[0]


async def test_the_style_and_the_citations_are_as_they_were_asked_for() -> None:
    written, _, _ = await write(said(GOOD), style="bullets", citations="names")
    assert written.text.splitlines()[1] == "- A join waits for a quorum. (b.md)"
    written, _, _ = await write(said(GOOD), citations="none")
    assert written.text == "A fork opens a branch for each target. A join waits for a quorum."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (draft(("A fork opens a branch.", ())), "sentence 1 cites nothing"),
        (draft(("A fork opens a branch.", (0,))), "cites finding 0"),
        (draft(("A fork opens a branch.", (2,))), "fewer than half of its words"),
        (draft(("A fork opens 7 branches for 1 target.", (1,))), "says 7, 1, which is not in"),
        (draft(("A fork is cheap. A fork is cheap.", (1,))), "says the same twice"),
        (draft(("a fork opens a branch " * 16, (1,))), "it has 80 words, and 20 are asked for"),
    ],
)
def test_each_check_names_what_is_wrong(text: Draft, fault: str) -> None:
    assert fault in "; ".join(faults_of(text, FINDINGS, 20))


@given(st.lists(sentences, max_size=6))
def test_a_quality_is_a_share_and_no_text_has_none(text: list[CitedSentence]) -> None:
    quality = judge(text, FINDINGS).quality
    assert 0 <= quality <= 1
    if not any(number in {1, 2, 3} for each in text for number in each.cites):
        assert quality == 0


def test_citing_everything_everywhere_gains_nothing() -> None:
    honest = judge(draft(*((text, tuple(cites)) for text, cites in GOOD)).sentences, FINDINGS)
    lavish = judge(draft(*((text, (1, 2, 3)) for text, _ in GOOD)).sentences, FINDINGS)
    assert lavish.quality < honest.quality


@given(st.lists(sentences, min_size=1, max_size=6), st.integers(1, 50))
def test_what_passes_the_checks_cites_only_findings_that_there_are(
    text: list[CitedSentence], length: int
) -> None:
    checked = Draft(sentences=tuple(text))
    if not faults_of(checked, FINDINGS, length):
        assert all(1 <= number <= 3 for each in text for number in each.cites)
        assert judge(text, FINDINGS).quality > 1 / 3


findings = st.builds(
    SynthesisTask,
    title=st.just("anything"),
    findings=st.lists(
        st.builds(FindingText, text=st.text(min_size=1, max_size=600), source=st.just("s")),
        min_size=1,
        max_size=6,
    ).map(tuple),
)


@given(findings, st.integers(1, 200))
def test_an_extracted_text_is_of_the_findings_whatever_they_are(
    task: SynthesisTask, length: int
) -> None:
    for sentence in extract(task, length):
        (number,) = sentence.cites
        assert sentence.text in " ".join(task.findings[number - 1].text.split())


def test_the_schema_lets_a_server_hold_the_model_to_the_findings() -> None:
    cites = schema_of(FINDINGS, 60)["$defs"]["CitedSentence"]["properties"]["cites"]
    assert cites["items"] == {"type": "integer", "minimum": 1, "maximum": 3}
