"""A brief is read whole, or refused with every fault at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import BUNDLED_BRIEF, BriefError, Task, load_brief, parse_brief

ANALYSES = "describe, correlation, trend, groups"

GOOD = """
title = "Small"

[[tasks]]
id = "a"
type = "research"
question = "How do coroutines wait?"
sources = ["*.md"]

[[tasks]]
id = "b"
type = "analysis"
analysis_type = "describe"
sources = ["*.csv", "dist:"]
depends_on = ["a"]
"""


def faults(text: str) -> list[str]:
    with pytest.raises(BriefError) as caught:
        parse_brief(text)
    return list(caught.value.faults)


def test_a_good_brief_is_read_with_its_defaults() -> None:
    brief = parse_brief(GOOD)
    first, second = brief.tasks
    assert (first.priority, first.weight, first.deadline, first.complexity) == (
        "medium",
        1.0,
        None,
        0.5,
    )
    assert first.heading == "How do coroutines wait?"
    assert second.heading == "describe of *.csv, dist:"
    assert (brief.join.quorum, brief.join.on_timeout) == (None, "recover")


def test_the_bundled_brief_is_what_it_promises() -> None:
    brief = load_brief(BUNDLED_BRIEF)
    assert len(brief.tasks) >= 6
    assert {task.type for task in brief.tasks} == {"research", "analysis"}
    assert any(task.depends_on for task in brief.tasks)
    assert isinstance(brief.join.quorum, float)
    assert brief.join.grace is not None
    assert brief.join.grace > 0


def test_one_error_lists_every_fault_with_its_place_and_line() -> None:
    text = """titel = "x"
[join]
quorum = 1.5
grace = -1

[[tasks]]
id = "a"
type = "resarch"
sources = []

[[tasks]]
id = "a"
type = "research"
question = "why is it so"
complexity = 2.0
sources = ["*.exe", "http://example.org"]
depends_on = ["x"]
deadline = "soon"
"""
    said = faults(text)
    for wanted in (
        "line 1: titel: unknown key; known are title, tasks, join",
        "title: is missing",
        'line 3: join.quorum: must be "all"',
        "line 4: join.grace: input should be greater than or equal to 0",
        "line 8: tasks[0].type: input should be 'research' or 'analysis'",
        "line 9: tasks[0].sources: must have at least one item",
        'line 12: tasks[1].id: "a" is the id of tasks[0] already',
        "line 14: tasks[1].question: research needs a question with words to search for",
        "line 15: tasks[1].complexity: input should be less than or equal to 1",
        'line 16: tasks[1].sources[0]: files of the kind ".exe" are not read',
        'line 16: tasks[1].sources[1]: unknown kind of source "http:"',
        'line 17: tasks[1].depends_on[0]: unknown task "x"',
        "line 18: tasks[1].deadline: input should be a valid number",
    ):
        assert any(one.startswith(wanted) for one in said), (wanted, said)
    assert len(said) == 13


def test_the_message_names_the_file_and_counts_the_faults() -> None:
    with pytest.raises(BriefError, match=r"(?s)notes.toml has 1 fault:\n  tasks: is missing"):
        parse_brief('title = "x"', "notes.toml")
    with pytest.raises(BriefError, match="has 2 faults"):
        parse_brief("")


def test_a_task_without_its_own_keys_or_with_those_of_the_other_type_is_refused() -> None:
    text = """title = "x"
[[tasks]]
id = "a"
type = "research"
analysis_type = "trend"
columns = ["x"]
sources = ["*.md"]
[[tasks]]
id = "b"
type = "analysis"
sources = ["pydoc:", "*.md", ""]
tables = 1
"""
    assert faults(text) == [
        "line 2: tasks[0].question: research needs a question with words to search for",
        "line 5: tasks[0].analysis_type: belongs to an analysis, and this is research",
        "line 6: tasks[0].columns: belongs to an analysis, and this is research",
        f"line 8: tasks[1].analysis_type: is missing; an analysis is one of {ANALYSES}",
        "line 11: tasks[1].sources[0]: is text, and an analysis reads tables (.csv, .json, dist:)",
        "line 11: tasks[1].sources[1]: is text, and an analysis reads tables (.csv, .json, dist:)",
        "line 11: tasks[1].sources[2]: is empty",
        f"line 12: tasks[1].tables: unknown key; known are {', '.join(Task.model_fields)}",
    ]


def tasks(*edges: tuple[str, list[str]]) -> str:
    return 'title = "x"\n' + "".join(
        f'[[tasks]]\nid = "{name}"\ntype = "research"\nquestion = "async"\n'
        f'sources = ["*.md"]\ndepends_on = {needs!r}\n'
        for name, needs in edges
    )


def test_a_cycle_of_dependencies_is_told_once_and_with_its_way() -> None:
    said = faults(tasks(("a", ["b"]), ("b", ["c"]), ("c", ["a"]), ("d", ["a"]), ("e", ["e"])))
    assert said == [
        "line 7: tasks[0].depends_on: is a cycle: a -> b -> c -> a",
        "line 31: tasks[4].depends_on: is a cycle: e -> e",
    ]


@given(st.integers(2, 8), st.data())
def test_dependencies_on_earlier_tasks_alone_are_never_a_cycle(n: int, data: st.DataObject) -> None:
    edges = [
        (
            f"t{i}",
            data.draw(st.lists(st.sampled_from([f"t{j}" for j in range(i)] or [""]), max_size=3)),
        )
        for i in range(1, n)
    ]
    brief = parse_brief(
        tasks(("t0", []), *[(name, [x for x in needs if x]) for name, needs in edges])
    )
    assert len(brief.tasks) == n


@given(st.sets(st.sampled_from(["id", "type", "sources", "weight", "priority"]), min_size=1))
def test_every_fault_is_told_however_many_there_are(broken: set[str]) -> None:
    good = {
        "id": '"a"',
        "type": '"research"',
        "question": '"async"',
        "sources": '["*.md"]',
        "weight": "1",
        "priority": '"low"',
    }
    bad = {"id": '"a b"', "type": "3", "sources": '"*.md"', "weight": "0", "priority": '"now"'}
    lines = [f"{key} = {bad[key] if key in broken else value}" for key, value in good.items()]
    said = faults('title = "x"\n[[tasks]]\n' + "\n".join(lines))
    assert {one.split(":")[1].strip() for one in said} == {f"tasks[0].{key}" for key in broken}


@pytest.mark.parametrize(
    ("quorum", "wanted"),
    [
        ("3", "asks for 3 tasks, and there are 2"),
        ("0", "must be"),
        ("0.0", "must be"),
        ("true", "must be"),
        ('"most"', "must be"),
        ("{a = 0.5, x = 0.5}", 'unknown task "x"'),
        ("{a = 0.5}", "the weights add up to 0.5, and must reach 1"),
    ],
)
def test_a_quorum_that_can_never_be_meant_is_refused(quorum: str, wanted: str) -> None:
    assert any(wanted in one for one in faults(f"{GOOD}\n[join]\nquorum = {quorum}"))


@pytest.mark.parametrize("quorum", ['"any"', "2", "1", "0.5", "1.0", "{a = 0.5, b = 0.5}"])
def test_every_kind_of_quorum_is_read_as_it_is_written(quorum: str) -> None:
    read = parse_brief(f"{GOOD}\n[join]\nquorum = {quorum}").join.quorum
    assert type(read) is {'"': str, "{": dict}.get(quorum[0], float if "." in quorum else int)


def test_what_cannot_be_read_is_a_fault_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(BriefError, match=r"byte 9: is not UTF-8"):
        load_brief(tmp_path / "latin.toml")
    with pytest.raises(BriefError, match="cannot be read: No such file"):
        load_brief(tmp_path / "none.toml")
    with pytest.raises(BriefError, match="is not TOML: Invalid value"):
        parse_brief("title =")


def test_tasks_that_are_no_tables_are_refused() -> None:
    assert faults('title = "x"\ntasks = 3')
    assert faults('title = "x"\ntasks = ["a"]\njoin = 4')
    inline = (
        'title = "x"\ntasks = [{id = "a", type = "research", question = "async", sources = [1]}]'
    )
    assert faults(inline) == ["tasks[0].sources[0]: input should be a valid string"]
