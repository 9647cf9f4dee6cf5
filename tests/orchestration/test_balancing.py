"""Tasks are allotted, and allotted again, by what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.orchestration import BranchRecord, LoadBalancer, PerformanceTracker, Settings, Task
from plait.orchestration.allocation import QueuedTask, allocate
from plait.orchestration.balancing import Shortage
from plait.orchestration.branches import BRANCHES, RESEARCH, branch_of, node_of
from tests.orchestration.specialists import brief, task

records = st.builds(
    BranchRecord,
    task=st.sampled_from("abc"),
    branch=st.sampled_from(BRANCHES),
    status=st.sampled_from(["arrived", "failed", "cancelled"]),
    began=st.just(0.0),
    ended=st.floats(0, 1e4),
    size=st.integers(0, 10**9),
    quality=st.none() | st.floats(0, 1),
)


def record(
    branch: str, seconds: float = 1.0, quality: float | None = 0.9, *, failed: bool = False
) -> BranchRecord:
    return BranchRecord(
        task="x",
        branch=branch,
        status="failed" if failed else "arrived",
        began=0.0,
        ended=seconds,
        size=1_000,
        quality=None if failed else quality,
    )


def chosen(*known: BranchRecord, tried: tuple[BranchRecord, ...] = ()) -> str:
    """The branch for a task that is missing."""
    tasks = {each.id: each for each in brief(task("x")).tasks}
    done = LoadBalancer().reallot(
        [Shortage(task="x", kind="missing", reason="late")],
        tasks,
        tried,
        {},
        PerformanceTracker(known),
        1,
        "timeout recovery",
    )
    (queued,) = done.queue
    return queued.branch


@given(st.lists(records, max_size=30))
def test_statistics_are_within_what_was_measured(known: list[BranchRecord]) -> None:
    tracker = PerformanceTracker(known)
    for branch, found in tracker.statistics.items():
        own = [each for each in known if each.branch == branch]
        seconds = [each.seconds for each in own if each.seconds is not None]
        assert found.runs == len(own)
        assert 0 <= found.failures <= 1
        assert found.seconds is not None
        assert min(seconds) - 1e-6 <= found.seconds <= max(seconds) + 1e-6


@given(st.lists(records, max_size=30))
def test_a_score_is_from_0_to_1_and_the_branch_is_of_the_right_kind(
    known: list[BranchRecord],
) -> None:
    tracker = PerformanceTracker(known)
    statistics = [tracker.of(branch) for branch in BRANCHES]
    for each in statistics:
        assert 0 <= LoadBalancer().score(each, statistics).score <= 1
    assert chosen(*known) in RESEARCH


@pytest.mark.parametrize(
    "better",
    [record("market", quality=0.95), record("market", seconds=0.1)],
    ids=["quality", "speed"],
)
def test_the_branch_that_did_better_gets_it(better: BranchRecord) -> None:
    others = record("technical", 9.0, 0.5), record("competitive", 9.0, 0.5)
    assert chosen(*others, better) == "market"


def test_a_branch_that_fails_loses_to_one_that_does_not() -> None:
    good, bad = record("competitive"), record("technical", failed=True)
    assert chosen(good, bad, record("market", failed=True)) == "competitive"


def test_a_branch_that_failed_at_the_task_comes_last() -> None:
    best, failure = record("technical", 0.1, 1.0), record("technical", failed=True)
    assert chosen(best, tried=(failure,)) != "technical"
    everywhere = tuple(record(branch, failed=True) for branch in RESEARCH)
    assert chosen(best, tried=everywhere) == "technical"


def test_one_good_branch_does_not_get_everything() -> None:
    names = [f"t{i}" for i in range(30)]
    tasks = {each.id: each for each in brief("".join(map(task, names))).tasks}
    done = LoadBalancer(Settings(pools=dict.fromkeys(BRANCHES, 5))).reallot(
        [Shortage(task=name, kind="missing", reason="late") for name in names],
        tasks,
        (),
        {},
        PerformanceTracker([record("technical", 0.1, 1.0), record("market", 9.0, 0.6)]),
        1,
        "timeout recovery",
    )
    counts = {branch: sum(each.branch == branch for each in done.queue) for branch in RESEARCH}
    assert sum(counts.values()) == 30
    assert min(counts.values()) >= 5
    assert max(counts, key=lambda branch: counts[branch]) == "technical"


# -- allocation


def allocated(text: str, tracker: PerformanceTracker | None = None, **sizes: int) -> list[str]:
    what = brief(text)
    queue = [QueuedTask(task=each.id, branch="technical", why="") for each in what.tasks]
    known = tracker or PerformanceTracker()
    return [each.task for each in allocate(what, queue, sizes, known, Settings(), 0)]


def test_the_longest_expected_goes_first_and_what_waits_for_it_counts() -> None:
    assert allocated(task("a") + task("b"), a=10, b=20) == ["b", "a"]
    chain = task("a") + task("b") + task("c", 'depends_on = ["a"]')
    assert allocated(chain, a=10, b=20, c=15) == ["a", "b", "c"]


def test_priority_comes_before_length() -> None:
    assert allocated(task("a") + task("b", 'priority = "high"'), a=10**9, b=1) == ["b", "a"]


def test_history_comes_before_size() -> None:
    known = [
        BranchRecord(task=name, branch="technical", status="arrived", began=0.0, ended=seconds)
        for name, seconds in (("a", 9.0), ("b", 1.0))
    ]
    assert allocated(task("a") + task("b"), PerformanceTracker(known), a=1, b=10**9) == ["a", "b"]


def test_a_task_is_given_a_place_and_a_time() -> None:
    what = brief("[join]\ntimeout = 9.0\n" + task("a", "deadline = 5.0") + task("b"))
    queue = [QueuedTask(task=each.id, branch="market", why="") for each in what.tasks]
    settings = Settings(pools={"market": 7})
    both = allocate(what, queue, {}, PerformanceTracker(), settings, 0)
    assert [(each.task, each.seconds, each.places, each.of_places) for each in both] == [
        ("a", 5.0, 1, 7),
        ("b", 9.0, 1, 7),
    ]


@given(st.data())
def test_a_task_never_stands_before_one_of_its_priority_that_it_waits_for(
    data: st.DataObject,
) -> None:
    tasks: list[Task] = []
    for i in range(data.draw(st.integers(1, 8))):
        after = data.draw(st.sets(st.sampled_from([each.id for each in tasks]))) if tasks else set()
        text = task(f"t{i}", f"depends_on = {sorted(after)!r}".replace("'", '"'))
        tasks += brief("".join(task(each.id) for each in tasks) + text).tasks[-1:]
    what = brief(task("t")).model_copy(update={"tasks": tuple(tasks)})
    queue = [QueuedTask(task=each.id, branch="technical", why="") for each in tasks]
    sizes = {each.id: data.draw(st.integers(1, 10**6)) for each in tasks}
    order = [
        each.task for each in allocate(what, queue, sizes, PerformanceTracker(), Settings(), 0)
    ]
    for each in tasks:
        assert all(order.index(other) < order.index(each.id) for other in each.depends_on)


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("sync_point", ["", "facts", "a.b-c"])
def test_a_node_is_named_after_its_branch(branch: str, sync_point: str) -> None:
    assert branch_of(node_of(branch, sync_point)) == branch
    assert branch_of("branch_merger") is None
