"""Research quotes what is there, ranks it, and says how good the answer is."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import ResearchError
from plait.orchestration.research import research
from plait.orchestration.sources import Document
from plait.orchestration.terms import terms


def go_on() -> None:
    """The checkpoint of somebody who still wants the work."""


def document(name: str, text: str) -> Document:
    return Document("src", name, ".md", text)


WAITING = document(
    "a.md", "# Waiting\nA coroutine waits for a timer.\n\n# Other\nNothing is to be found here."
)
CANCELLING = document(
    "b.md", "Cancelling a task raises an error in it.\n\nBread and butter are for breakfast."
)
BOWL = document("bowl.md", "\n\n# H\n".join(["A bowl of soup is on the table."] * 5))
BREAD = document("c.md", "Bread is baked from flour and water.")


def test_terms_are_the_words_that_carry_the_question() -> None:
    assert terms("How does a Task wait for the task_group, and why?") == (
        "task",
        "wait",
        "task_group",
    )
    assert terms("How is it? a b") == ()


def test_the_passage_that_answers_is_quoted_with_its_place() -> None:
    answer = research("How do coroutines wait?", [BREAD, CANCELLING, WAITING], go_on)
    (finding,) = answer.findings
    assert (finding.quote, finding.document, finding.source) == (
        "A coroutine waits for a timer.",
        "a.md",
        "src",
    )
    assert finding.place == 'line 2, "Waiting"'
    assert finding.score > 0
    assert answer.shares == (("a.md", 1.0),)


def test_quality_says_which_terms_are_covered_and_by_how_much_the_best_stands_out() -> None:
    texts = ["A coroutine waits for bread and butter.", "Bread is what people wait for."]
    documents = [document(f"{i}.md", text) for i, text in enumerate(texts)]
    answer = research("Do coroutines wait for bread or elephants?", [*documents, BOWL], go_on)
    scores = [finding.score for finding in answer.findings]
    assert len(scores) == 2
    margin = (scores[0] - sum(scores) / 2) / scores[0]
    assert answer.quality == pytest.approx(0.7 * 3 / 4 + 0.3 * margin)
    assert "3 of the question's 4 terms (coverage 0.75)" in answer.how
    assert answer.notes == ("No quotation has: elephants.",)


def test_without_a_match_nothing_is_made_up() -> None:
    answer = research("Where do elephants sleep?", [WAITING], go_on)
    assert (answer.findings, answer.quality, answer.shares) == ((), 0.0, ())
    assert answer.how == "0: no passage was found to quote"
    assert answer.notes == ("No passage has any of: elephants, sleep.",)


def test_the_focus_ranks_but_does_not_match_by_itself() -> None:
    texts = [
        document("x.md", "A task ends in its own time."),
        document("y.md", "A task ends with bread in time."),
        BREAD,
    ]
    plain = research("What is a task?", texts, go_on)
    focused = research("What is a task?", texts, go_on, focus="bread task")
    assert [finding.document for finding in plain.findings] == ["x.md", "y.md"]
    assert [finding.document for finding in focused.findings] == ["y.md", "x.md"]


def test_what_scores_far_below_the_best_is_not_quoted() -> None:
    good = document("good.md", "The loop cancels a task when its timer has ended.")
    weak = document("weak.md", "A task of another kind is to bake bread before dinner time.")
    others = [document(f"{i}.md", f"Nothing to see in number {i}, really.") for i in range(9)]
    found = research("How does a timer cancel a task?", [good, weak, *others], go_on).findings
    assert [finding.document for finding in found] == ["good.md"]


def test_what_was_quoted_before_is_not_quoted_again() -> None:
    first = research("How do coroutines wait?", [WAITING], go_on)
    again = research(
        "How do coroutines wait?", [WAITING], go_on, already=[first.findings[0].quote.upper()]
    )
    assert again.findings == ()
    assert again.quality == 0.0
    assert "Passages that the tasks before it have quoted are left out." in again.notes


def test_no_document_speaks_more_than_twice_and_nothing_is_said_twice() -> None:
    loud = document("loud.md", "\n".join(f"# H{i}\nThis is the task number {i}." for i in range(9)))
    copies = [document(f"copy{i}.md", "This here is one more task.") for i in range(3)]
    found = research("What is a task?", [loud, *copies], go_on).findings
    names = [finding.document for finding in found]
    assert len(found) == 3
    assert names.count("loud.md") == 2
    assert sum(name.startswith("copy") for name in names) == 1


@given(st.text(max_size=80))
def test_no_question_is_taken_for_the_query_language(question: str) -> None:
    if terms(question):
        research(question, [WAITING], go_on)
    else:
        with pytest.raises(ResearchError, match="no word to search for"):
            research(question, [WAITING], go_on)


@given(
    st.lists(
        st.sampled_from(["task", "bread", "timer", "loop", "wait", "error"]), min_size=1, max_size=6
    ),
    st.lists(st.text("task brediml \n", min_size=1), max_size=8),
)
def test_quality_and_shares_keep_their_bounds(words: list[str], texts: list[str]) -> None:
    documents = [document(f"{i}.md", text) for i, text in enumerate(texts)]
    answer = research(" ".join(words), documents, go_on)
    assert 0 <= answer.quality <= 1
    assert [f.score for f in answer.findings] == sorted(f.score for f in answer.findings)[::-1]
    assert not answer.shares or sum(share for _, share in answer.shares) == pytest.approx(1)
    for finding in answer.findings:
        assert finding.quote in documents[int(finding.document[0])].text


def test_a_search_stops_at_a_checkpoint() -> None:
    class Stopped(Exception):
        pass

    calls = 0

    def stop_while_indexing() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # three documents are cut by then
            raise Stopped

    with pytest.raises(Stopped):
        research("What is a task?", [WAITING, CANCELLING, BREAD], stop_while_indexing)


def test_an_sqlite_without_full_text_search_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def without_fts5(name: str) -> sqlite3.Connection:
        # The authorizer refuses virtual tables, as an SQLite built without the module does.
        connection = connect(name)
        connection.set_authorizer(
            lambda action, *_: (
                sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_VTABLE else sqlite3.SQLITE_OK
            )
        )
        return connection

    monkeypatch.setattr(sqlite3, "connect", without_fts5)
    with pytest.raises(ResearchError, match=r"has no full-text search \(FTS5\)"):
        research("What is a task?", [WAITING], go_on)
