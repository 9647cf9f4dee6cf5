"""The synthesis specialist: chooses sentences that say most, and cites where they are from."""

from pydoc_data import topics
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.agents import AgentError, AgentFactory, AgentTask, TaskRequirements
from plait.agents.sentences import cut, lexrank, vectors_of
from plait.agents.specialization import SynthesisSpecialization
from plait.agents.synthesis import (
    Finding,
    Synthesis,
    SynthesisRequest,
    plainness,
    render,
    synthesise,
)
from plait.agents.templates import register_bundled_templates

ASYNC = Finding(
    text="A coroutine suspends where it awaits. While it waits, the event loop runs other tasks.",
    source="asyncio",
)
THREADS = Finding(
    text="Threads are switched by the operating system. While a thread waits, others run.",
    source="threading",
)
SAME = Finding(text="A coroutine suspends where it awaits.", source="pydoc")


def made(request: SynthesisRequest, **wanted: Any) -> Synthesis:
    content = synthesise(request, SynthesisSpecialization(**wanted)).content
    assert isinstance(content, Synthesis)
    return content


# Words and stops, so that there are sentences of all lengths.
WORDS = "waits runs. a coroutine Task loop! await suspends thread? e.g. (x) It"
texts = st.lists(st.sampled_from(WORDS.split()), max_size=40).map(" ".join)
requests = st.builds(
    SynthesisRequest,
    findings=st.lists(
        st.builds(Finding, text=texts, source=st.sampled_from(["one", "two"])), max_size=6
    ).map(tuple),
    question=st.sampled_from(["", "how does a coroutine wait"]),
)
specializations = st.builds(
    SynthesisSpecialization,
    style=st.sampled_from(["prose", "bullets"]),
    audience=st.sampled_from(["general", "expert"]),
    length=st.integers(1, 60),
    citations=st.sampled_from(["numbers", "names", "none"]),
)


@given(requests, specializations)
@settings(deadline=None)
def test_every_sentence_stands_in_the_findings_that_it_cites(
    request: SynthesisRequest, wanted: SynthesisSpecialization
) -> None:
    result = synthesise(request, wanted)
    assert 0 <= result.quality <= 1
    assert sum(len(each.text.split()) for each in result.content.sentences) <= wanted.length
    for each in result.content.sentences:
        cited = [cut(request.findings[number - 1].text) for number in each.cites]
        assert cited
        assert any(each.text in sentences for sentences in cited)


@given(requests, specializations)
@settings(deadline=None, max_examples=30)
def test_the_same_findings_give_the_same_text(
    request: SynthesisRequest, wanted: SynthesisSpecialization
) -> None:
    assert synthesise(request, wanted) == synthesise(request, wanted)


def test_what_two_findings_say_is_said_once_and_cites_both() -> None:
    synthesis = made(SynthesisRequest(findings=(ASYNC, THREADS, SAME)))
    (shared,) = [each for each in synthesis.sentences if "awaits" in each.text]
    assert shared.cites == (1, 3)
    assert "A coroutine suspends where it awaits. [1][3]" in synthesis.text
    assert synthesis.text.endswith("[1] asyncio\n[2] threading\n[3] pydoc")


def test_in_a_short_text_is_the_sentence_that_most_resembles_the_others() -> None:
    synthesis = made(SynthesisRequest(findings=(ASYNC, THREADS, SAME)), length=7)
    assert [each.text for each in synthesis.sentences] == ["While a thread waits, others run."]


def test_a_question_draws_the_sentences_that_are_about_it() -> None:
    request = SynthesisRequest(findings=(ASYNC, SAME, THREADS), question="operating system threads")
    (sentence,) = made(request, length=8).sentences
    assert sentence.text == "Threads are switched by the operating system."


@pytest.mark.parametrize(
    ("citations", "expected"),
    [
        ("numbers", "Locks are taken and released.  [1]\n\n[1] threading"),
        ("names", "Locks are taken and released. (threading)"),
        ("none", "Locks are taken and released."),
    ],
)
def test_citations_are_as_asked_for(
    citations: Literal["numbers", "names", "none"], expected: str
) -> None:
    finding = Finding(text="Locks are taken and released.", source="threading")
    text = made(SynthesisRequest(findings=(finding,)), citations=citations).text
    assert text == expected.replace("  [", " [")


def test_bullets_are_one_sentence_to_a_line() -> None:
    synthesis = made(SynthesisRequest(findings=(ASYNC,)), style="bullets", citations="none")
    assert synthesis.text.splitlines() == [f"- {each.text}" for each in synthesis.sentences]
    assert len(synthesis.sentences) == 2


def test_plain_sentences_are_preferred_for_a_general_audience() -> None:
    hard = "The coroutine.send(value) implementation propagates StopIteration._value downwards."
    plain = "A coroutine can be sent a value, and it goes on from there."
    assert plainness(hard) < plainness(plain)
    findings = (Finding(text=hard, source="a"), Finding(text=plain, source="b", weight=0.9))
    request = SynthesisRequest(findings=findings)
    assert made(request, audience="general", length=13).sentences[0].text == plain
    assert made(request, audience="expert", length=13).sentences[0].text == hard


def test_the_quality_says_what_share_of_the_findings_is_in_the_text() -> None:
    request = SynthesisRequest(findings=(ASYNC, THREADS))
    whole = synthesise(request, SynthesisSpecialization())
    assert (whole.quality, whole.wanting) == (1.0, ())
    part = synthesise(request, SynthesisSpecialization(length=8))
    assert "cites 1 of 2 findings, 0.50 of their weight" in part.how
    assert part.quality < 1
    assert part.wanting == ("Not cited: 1.",)


def test_without_findings_there_is_an_empty_text_of_quality_0() -> None:
    result = synthesise(SynthesisRequest(findings=()), SynthesisSpecialization())
    assert (result.content.text, result.quality) == ("", 0)
    assert result.wanting == ("There are no findings.",)


def test_real_text_becomes_a_short_one() -> None:
    findings = tuple(
        Finding(text=topics.topics[name], source=name) for name in ("async", "with", "try", "for")
    )
    request = SynthesisRequest(findings=findings, question="What does a with statement do?")
    result = synthesise(request, SynthesisSpecialization(length=100))
    assert 40 < sum(len(each.text.split()) for each in result.content.sentences) <= 100
    assert "with" in {
        result.content.sources[n - 1] for s in result.content.sentences for n in s.cites
    }
    assert render(result.content.sentences, result.content.sources, SynthesisSpecialization())


def test_ranks_sum_to_1_and_the_sentence_like_all_others_is_first() -> None:
    sentences = ["red green", "green blue", "blue green red", "something else"]
    ranks = lexrank(vectors_of(sentences), [1.0] * 4, lambda: None)
    assert sum(ranks) == pytest.approx(1)
    assert max(range(4), key=lambda index: ranks[index]) == 2


def test_abbreviations_end_no_sentence() -> None:
    assert cut("Some, e.g. Python, wait. Others\ndo not!\n\nA heading\n\nDr. No waits.") == [
        "Some, e.g. Python, wait.",
        "Others do not!",
        "A heading",
        "Dr. No waits.",
    ]


async def test_the_factory_makes_a_synthesis_specialist_that_is_told_what_to_do() -> None:
    makers = AgentFactory()
    register_bundled_templates(makers)
    wanted = TaskRequirements(
        capabilities=frozenset({"synthesis"}), specialization={"style": "bullets", "length": 30}
    )
    async with await makers.generate_agent_for_task(wanted) as agent:
        request = SynthesisRequest(findings=(ASYNC, THREADS))
        result = await agent.run(AgentTask(id="sum", requirements=wanted, payload=request))
        assert result.content.text.startswith("- ")
        with pytest.raises(AgentError, match="as a SynthesisRequest"):
            await agent.run(AgentTask(id="bad", requirements=wanted, payload="text"))
