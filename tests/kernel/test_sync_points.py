"""When a sync point opens, whom it waits for, and what its outcome says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from plait import ALL, ANY, END, START, Arrival, Command, Join, NodeError, Send, SyncPointError
from plait.events import SyncPointOpened
from plait.policy import Quorum
from plait.testing import VirtualClock
from tests.kernel.build import (
    Log,
    build,
    does,
    fan,
    ids,
    outcome_of,
    run,
    sends_once,
    sizes,
    timed,
)

BOOM = ValueError("boom")


async def sleeper(seconds: float) -> Any:
    """A node that takes as long as its Send says."""
    await anyio.sleep(seconds)
    return {"items": [seconds]}


# -- whom it waits for ------------------------------------------------------------------------


def test_it_waits_for_all_branches_of_its_fork_and_reports_them() -> None:
    log = Log()
    result, seconds = timed(fan(Join(), 3, 1, 2, merge=log.outcome()))
    outcome = log.saw["outcome"]
    assert (outcome.status, outcome.progress, outcome.waited, seconds) == ("complete", 1.0, 3, 3)
    assert ids(outcome.arrived) == ["b0", "b1", "b2"]
    assert [each.branch for each in outcome.arrived] == [(0, 0), (0, 1), (0, 2)]
    assert result.outcomes["gather"] == [outcome]


def test_only_the_node_after_the_sync_point_gets_the_outcome() -> None:
    log = Log()
    graph = build(
        "START a gather first second END",
        "START b gather",
        gather=Join(),
        a=log.outcome("before"),
        first=log.outcome("first"),
        second=log.outcome("second"),
    )
    run(graph)
    assert log.saw["before"] is None
    assert log.saw["first"].status == "complete"
    assert log.saw["second"] is None


def test_every_branch_of_a_fork_behind_a_sync_point_gets_the_outcome() -> None:
    log = Log()
    graph = build(
        "START a gather c END",
        "START b gather d END",
        gather=Join(),
        c=log.outcome("c"),
        d=log.outcome("d"),
    )
    run(graph)
    assert log.saw["c"] is log.saw["d"] is not None


def test_a_branch_that_takes_another_way_does_not_hang_the_barrier() -> None:
    graph = build("START a gather merge END", "START b", "c END", gather=Join())
    graph.add_conditional_edges("b", lambda _: "c", ["gather", "c"])
    result = run(graph)
    outcome = result.outcomes["gather"].latest
    assert (outcome.status, ids(outcome.arrived), ids(outcome.dead)) == ("partial", ["a"], ["b"])
    assert result.state["items"] == ["a", "merge", "b", "c"]


def test_a_sync_point_gives_up_on_a_branch_as_soon_as_it_cannot_reach_it() -> None:
    log = Log()
    graph = build(
        "START a gather merge END",
        "START b",
        "slow END",
        gather=Join(),
        slow=does(takes=60),
        merge=log.node("merge"),
    )
    graph.add_conditional_edges("b", lambda _: "slow", ["gather", "slow"])
    _, seconds = timed(graph)
    assert log.entries == [("merge", 0)]
    assert seconds == 60


def test_a_command_without_declared_targets_may_come_yet_and_is_waited_for() -> None:
    async def wander(_state: Any) -> Command:
        return Command(goto=END)

    log = Log()
    graph = build(
        "START a gather merge END",
        "START b wander",
        gather=Join(),
        b=does(takes=9),
        wander=wander,
        merge=log.node("merge"),
    )
    outcome = outcome_of(graph)
    assert (outcome.status, ids(outcome.dead)) == ("partial", ["b"])
    assert log.entries == [("merge", 9)]


def test_a_failed_branch_is_named_with_its_error() -> None:
    outcome = outcome_of(fan(Join(), 1, BOOM, 1))
    (failed,) = outcome.failed
    assert outcome.status == "partial"
    assert isinstance(failed.error, NodeError)
    assert failed.error.__cause__ is BOOM
    assert (failed.id, failed.branch, failed.error.node) == ("b1", (0, 1), "work")


def test_a_failed_branch_contributes_nothing() -> None:
    async def fail(_state: Any) -> None:
        raise BOOM

    graph = build("START a gather END", gather=Join()).add_edge(START, "b")
    graph.add_node("b", does(items=["lost"])).add_node("c", fail, on_error="record")
    graph.add_edge("b", "c").add_edge("c", "gather")
    assert run(graph).state["items"] == ["a"]


def test_a_passage_to_one_target_is_a_generation_of_one() -> None:
    graph = build("work gather END", gather=Join())
    graph.add_conditional_edges(START, sends_once("work"), ["work"])
    assert sizes(outcome_of(graph)) == (1, 0, 0, 0, 0)


def test_a_branch_that_could_never_reach_the_sync_point_takes_no_part() -> None:
    graph = build("START a gather END", "START b gather", "START c END", gather=Join())
    outcome = outcome_of(graph)
    assert (outcome.status, outcome.activated) == ("complete", 2)


def test_a_branch_that_forks_on_has_arrived_when_all_of_its_own_have() -> None:
    log = Log()
    graph = build(
        "START a gather merge END",
        "START b b1 gather",
        "b b2 gather",
        gather=Join(),
        b2=does(takes=5, items=["b2"]),
        merge=log.outcome(items=["merge"]),
        forks={"gather": START},
    )
    result, seconds = timed(graph)
    assert seconds == 5
    assert ids(log.saw["outcome"].arrived) == ["a", "b"]
    assert result.state["items"] == ["a", "b", "b1", "b2", "merge"]


def test_a_branch_that_forked_on_is_taken_whole_or_not_at_all() -> None:
    graph = build(
        "START a gather END",
        "START b b1 gather",
        "b b2 gather",
        gather=Join(quorum=1),
        a=does(takes=1, items=["a"]),
        b2=does(takes=5),
        forks={"gather": START},
    )
    result, seconds = timed(graph)
    outcome = result.outcomes["gather"].latest
    assert (seconds, ids(outcome.arrived), ids(outcome.cancelled)) == (1, ["a"], ["b"])
    assert result.state["items"] == ["a"]


def test_of_a_branch_that_forked_on_those_that_took_another_way_keep_their_own_writes() -> None:
    graph = build(
        "START a gather merge END",
        "START b b1 gather",
        "b b2 END",
        gather=Join(),
        forks={"gather": START},
    )
    result = run(graph)
    assert result.outcomes["gather"].latest.status == "complete"
    assert result.state["items"] == ["a", "b", "b1", "merge", "b2"]


def test_a_branch_whose_sub_branches_failed_or_went_away_has_failed() -> None:
    graph = build("START a gather END", "START b b1 END", gather=Join())
    graph.add_node("b2", does(raises=BOOM), on_error="record")
    graph.add_edge("b", "b2").add_edge("b2", "gather")
    outcome = outcome_of(graph)
    assert ids(outcome.failed) == ["b"]
    assert outcome.failed[0].error is not None
    assert outcome.failed[0].error.__cause__ is BOOM


# -- forks in forks, and loops ----------------------------------------------------------------


def test_an_inner_fork_with_an_inner_sync_point_nests() -> None:
    graph = build(
        "START a outer merge END",
        "START b b1 inner join outer",
        "b b2 inner",
        outer=Join(),
        inner=Join(),
        a=does(takes=1, items=["a"]),
        b1=does(takes=5, items=["b1"]),
    )
    result = run(graph)
    assert result.state["items"] == ["a", "b", "b1", "b2", "join", "merge"]
    inner, outer = result.outcomes["inner"].latest, result.outcomes["outer"].latest
    assert (ids(inner.arrived), ids(outer.arrived)) == (["b1", "b2"], ["a", "b"])
    assert (inner.branch, outer.branch) == ((0, 1), (0,))


def test_a_sync_point_right_after_another_gathers_the_outer_fork() -> None:
    graph = build(
        "START a outer END", "START b b1 inner outer", "b b2 inner", outer=Join(), inner=Join()
    )
    result = run(graph)
    assert ids(result.outcomes["inner"].latest.arrived) == ["b1", "b2"]
    assert ids(result.outcomes["outer"].latest.arrived) == ["a", "b"]


def test_each_branch_of_a_fork_has_inner_generations_of_its_own() -> None:
    graph = build("leaf inner after outer END", inner=Join(), outer=Join())
    graph.add_node("split", does())
    graph.add_conditional_edges(START, sends_once("split", "split"), ["split"])
    graph.add_conditional_edges("split", sends_once("leaf", "leaf", "leaf"), ["leaf"])
    outcomes = run(graph).outcomes
    assert [(o.branch, o.activated) for o in outcomes["inner"]] == [((0, 0), 3), ((0, 1), 3)]
    assert outcomes["outer"].latest.activated == 2


def test_a_retry_loop_through_the_fork_gets_a_new_generation() -> None:
    graph = build(
        "START plan a gather check",
        "plan b gather",
        "done END",
        gather=Join(),
        check=does(seen={1}),
    )
    graph.add_conditional_edges(
        "check", lambda state: "plan" if len(state["items"]) < 9 else "done", ["plan", "done"]
    )
    result = run(graph)
    assert result.state["items"] == ["plan", "a", "b"] * 3 + ["done"]
    assert [outcome.generation for outcome in result.outcomes["gather"]] == [0, 1, 2]
    assert all(outcome.activated == 2 for outcome in result.outcomes["gather"])


def test_a_loop_inside_a_branch_is_a_generation_inside_the_branch() -> None:
    rounds = iter(["plan", "gather"])
    graph = build("START plan b gather END", "plan a", gather=Join())
    graph.add_conditional_edges("a", lambda _: next(rounds), ["plan", "gather"])
    result = run(graph)
    outer, inner = result.outcomes["gather"]
    assert (inner.branch, inner.status) == ((0, 1), "complete")
    assert (outer.branch, ids(outer.arrived), ids(outer.dead)) == ((0,), ["b"], ["a"])
    assert result.state["items"] == ["plan", "b", "a", "plan", "b", "a"]


# -- several sync points of one fork ----------------------------------------------------------


def test_several_sync_points_of_one_fork_gather_one_after_the_other() -> None:
    graph = build(
        "START a early then late END",
        "START b early",
        "START c late",
        early=Join(),
        late=Join(),
        c=does(takes=9, items=["c"]),
    )
    result, _ = timed(graph)
    early, late = result.outcomes["early"].latest, result.outcomes["late"].latest
    assert (early.waited, ids(early.arrived)) == (0, ["a", "b"])
    assert (late.waited, ids(late.arrived)) == (9, ["a", "b", "c"])
    assert result.state["items"] == ["a", "b", "then", "c"]


def test_a_merged_branch_that_goes_away_is_dead_to_the_later_sync_point() -> None:
    graph = build("START a early", "START b early", "START c late END", early=Join(), late=Join())
    graph.add_conditional_edges("early", lambda _: END, ["late", END])
    result = run(graph)
    outcome = result.outcomes["late"].latest
    assert (outcome.status, ids(outcome.arrived), ids(outcome.dead)) == (
        "partial",
        ["c"],
        ["a", "b"],
    )
    assert result.state["items"] == ["c", "a", "b"]


def test_two_sync_points_of_one_fork_of_which_neither_comes_last() -> None:
    graph = build(
        "START a x after END", "START b x", "START c y also END", "START d y", x=Join(), y=Join()
    )
    result = run(graph)
    assert ids(result.outcomes["x"].latest.arrived) == ["a", "b"]
    assert ids(result.outcomes["y"].latest.arrived) == ["c", "d"]
    assert result.state["items"] == ["a", "b", "after", "c", "d", "also"]


def test_a_branch_may_arrive_at_one_sync_point_and_its_sub_branch_at_another() -> None:
    graph = build(
        "START a a1 x END",
        "a a2 y END",
        "START b x",
        "START c y",
        x=Join(),
        y=Join(),
        a2=does(takes=5, items=["a2"]),
        forks={"x": START, "y": START},
    )
    result = run(graph)
    assert ids(result.outcomes["x"].latest.arrived) == ["a", "b"]
    assert result.outcomes["y"].latest.activated == 2
    assert sorted(result.state["items"]) == ["a", "a1", "a2", "b", "c"]


def test_a_sync_point_that_no_branch_of_a_passage_can_reach_does_not_exist_in_it() -> None:
    graph = build("a gather END", "b gather", "away END", gather=Join())
    graph.add_conditional_edges(START, sends_once("away", "away"), ["a", "b", "away"])
    result = run(graph)
    assert result.state["items"] == ["away", "away"]
    assert "gather" not in result.outcomes


def test_an_empty_fork_opens_its_sync_points_one_after_the_other() -> None:
    none = Join(minimum=0)
    graph = build("a early late after END", "b late", early=none, late=none)
    graph.add_conditional_edges(START, lambda _: [], ["a", "b"])
    result = run(graph)
    assert result.state["items"] == ["after"]
    assert [result.outcomes[name].latest.status for name in ("early", "late")] == ["complete"] * 2


# -- quorums ----------------------------------------------------------------------------------


def test_a_fork_of_twenty_with_one_slow_branch_is_done_in_milliseconds_at_three_quarters() -> None:
    takes = [60.0 if number == 7 else 0.001 for number in range(20)]
    result, seconds = timed(fan(Join(quorum=0.75, grace=0.01), *takes))
    outcome = result.outcomes["gather"].latest
    assert seconds == pytest.approx(0.011)
    assert outcome.status == "quorum"
    assert ids(outcome.missing) == ids(outcome.cancelled) == ["b7"]
    assert sizes(outcome) == (19, 0, 0, 1, 0)
    assert 7 not in result.state["items"]


@pytest.mark.parametrize(
    ("quorum", "seconds"),
    [
        (ALL, 5),
        (ANY, 1),
        (1, 1),
        (3, 3),
        (5, 5),
        (0.2, 1),
        (0.6, 3),
        (0.61, 4),
        (1.0, 5),
        ({"b1": 0.5, "b3": 0.5}, 4),
        ({"b2": 1}, 3),
        ({"work": 0.25}, 4),
        (lambda arrivals: sum(arrival.writes[0][1][0] for arrival in arrivals) >= 3, 3),
    ],
    ids=lambda value: "predicate" if callable(value) else str(value),
)
def test_every_kind_of_quorum_opens_as_soon_as_it_is_met(quorum: Quorum, seconds: int) -> None:
    if isinstance(quorum, Mapping) and sum(quorum.values()) < 1:
        quorum = {**quorum, "nobody": 1}  # as far as compile() can see, it could be met
    result, took = timed(fan(Join(quorum=quorum), 1, 2, 3, 4, 5))
    outcome = result.outcomes["gather"].latest
    assert took == seconds
    assert len(outcome.arrived) == seconds
    assert outcome.status == ("complete" if seconds == 5 else "quorum")


def test_a_share_is_taken_of_the_weights_of_those_that_take_part() -> None:
    heavy = fan(Join(quorum=0.5), 1, 2, 3, weights=[1, 1, 5])
    light = fan(Join(quorum=0.5), 1, 2, 3, weights=[5, 1, 1])
    assert outcome_of(heavy).waited == 3
    assert outcome_of(light).waited == 1


def test_a_predicate_sees_the_arrivals_so_far_with_their_writes() -> None:
    calls: list[list[Any]] = []

    def enough(arrivals: tuple[Arrival, ...]) -> bool:
        calls.append([(each.id, each.node, each.weight, dict(each.writes)) for each in arrivals])
        return len(arrivals) == 2

    outcome_of(fan(Join(quorum=enough), 2, 1, 9))
    second = ("b1", "work", 1.0, {"items": [1], "seen": {1}})
    assert calls == [[second], [second, ("b0", "work", 1.0, {"items": [0], "seen": {0}})]]


def test_a_predicates_verdict_is_journalled_and_never_asked_again() -> None:
    calls: list[int] = []

    def enough(arrivals: tuple[Arrival, ...]) -> bool:
        calls.append(len(arrivals))
        return len(arrivals) == 2

    flow = fan(Join(quorum=enough), 1, 2, 9).compile()
    clock = VirtualClock()
    clock.run(flow.run(thread_id="t"))
    asked = len(calls)
    snapshot = clock.run(flow.state("t"))
    assert snapshot.outcomes["gather"].latest.status == "quorum"
    assert len(calls) == asked == 2


def test_a_predicate_that_raises_fails_the_run() -> None:
    def broken(_arrivals: tuple[Arrival, ...]) -> bool:
        raise BOOM

    with pytest.raises(NodeError, match="'gather'") as caught:
        run(fan(Join(quorum=broken), 1, 2))
    assert caught.value.__cause__ is BOOM


def test_a_predicate_that_never_agrees_ends_as_complete() -> None:
    assert outcome_of(fan(Join(quorum=lambda _: False), 1, 2)).status == "complete"


def test_a_count_beyond_what_was_opened_ends_as_complete() -> None:
    assert outcome_of(fan(Join(quorum=5), 1, 2)).status == "complete"


def test_a_quorum_that_cannot_be_met_any_more_ends_as_partial() -> None:
    assert outcome_of(fan(Join(quorum=2), 1, BOOM)).status == "partial"


def test_a_share_of_ten_tenths_is_met_within_rounding() -> None:
    graph = fan(Join(quorum=0.3), 1, 1, 1, *[9.0] * 7, weights=[0.1] * 10)
    assert outcome_of(graph).waited == 1


# -- grace and deadlines ----------------------------------------------------------------------


def test_the_grace_time_lets_in_who_comes_a_little_later() -> None:
    outcome = outcome_of(fan(Join(quorum=2, grace=2), 1, 2, 3.5, 60))
    assert (outcome.status, outcome.waited) == ("quorum", 4)
    assert ids(outcome.arrived) == ["b0", "b1", "b2"]


def test_the_grace_time_begins_when_the_quorum_is_met_and_is_not_begun_again() -> None:
    outcome = outcome_of(fan(Join(quorum=1, grace=3), 1, 2, 3, 60))
    assert outcome.waited == 4


def test_the_grace_time_ends_early_when_all_have_come() -> None:
    outcome = outcome_of(fan(Join(quorum=1, grace=50), 1, 2))
    assert (outcome.status, outcome.waited) == ("complete", 2)


def test_a_deadline_runs_from_the_fork() -> None:
    outcome = outcome_of(fan(Join(timeout=10), 4, 60))
    assert (outcome.status, outcome.waited) == ("timeout", 10)
    assert ids(outcome.cancelled) == ["b1"]


def test_a_deadline_may_run_from_the_first_arrival() -> None:
    outcome = outcome_of(fan(Join(timeout=10, timeout_from="first_arrival"), 4, 60))
    assert (outcome.status, outcome.waited) == ("timeout", 14)


def test_a_deadline_from_the_first_arrival_never_comes_without_one() -> None:
    graph = fan(Join(timeout=10, timeout_from="first_arrival"), 60, 61)
    assert outcome_of(graph).status == "complete"


def test_the_deadline_cuts_the_grace_time_short() -> None:
    outcome = outcome_of(fan(Join(quorum=1, grace=50, timeout=10), 4, 60))
    assert (outcome.status, outcome.waited) == ("timeout", 10)


def test_a_deadline_that_is_no_longer_wanted_does_not_hold_up_the_run() -> None:
    _, seconds = timed(fan(Join(timeout=1000), 1, 2))
    assert seconds == 2


def test_the_earlier_of_two_deadlines_comes_first() -> None:
    graph = build(
        "START a outer END",
        "START b b1 inner outer",
        "b b2 inner",
        outer=Join(timeout=100),
        inner=Join(timeout=5),
        b=does(takes=1),
        b2=does(takes=60),
    )
    result, seconds = timed(graph)
    assert (result.outcomes["inner"].latest.status, seconds) == ("timeout", 6)
    assert result.outcomes["outer"].latest.status == "complete"


def test_on_timeout_raise_fails_the_run_and_names_the_late() -> None:
    with pytest.raises(SyncPointError, match=r"deadline passed after 10 s.*b1") as caught:
        run(fan(Join(timeout=10, on_timeout="raise"), 1, 60))
    assert caught.value.outcome is not None
    assert ids(caught.value.outcome.missing) == ["b1"]


def test_on_timeout_may_name_a_node_which_gets_what_has_arrived() -> None:
    log = Log()
    graph = fan(Join(timeout=10, on_timeout="rescue"), 1, 60)
    graph.add_node("rescue", log.outcome(items=["rescued"])).add_edge("rescue", END)
    result = run(graph)
    assert log.saw["outcome"].status == "timeout"
    assert result.state["items"] == [0, "rescued"]


def test_on_timeout_does_not_apply_to_a_quorum_in_time() -> None:
    assert outcome_of(fan(Join(quorum=1, timeout=10, on_timeout="raise"), 1, 60)).status == "quorum"


# -- the minimum ------------------------------------------------------------------------------


def test_fewer_than_the_minimum_is_an_error_that_names_the_branches() -> None:
    with pytest.raises(SyncPointError) as caught:
        run(fan(Join(minimum=2), 1, BOOM, BOOM))
    text = str(caught.value)
    assert "1 of 3 branches arrived, fewer than the minimum of 2" in text
    assert "0.1 (b1) failed" in text
    assert "Join(minimum=1)" in text


def test_below_the_minimum_a_node_may_take_over() -> None:
    graph = fan(Join(minimum=2, on_timeout="rescue"), 1, BOOM)
    graph.add_node("rescue", does(items=["rescued"])).add_edge("rescue", END)
    assert run(graph).state["items"] == [0, "rescued"]


def test_no_arrival_at_all_is_below_the_minimum_of_one() -> None:
    with pytest.raises(SyncPointError, match="0 of 2 branches arrived"):
        run(fan(Join(), BOOM, BOOM))


def test_a_minimum_of_none_lets_the_merger_run_whatever_happens() -> None:
    log = Log()
    run(fan(Join(minimum=0), BOOM, BOOM, merge=log.outcome()))
    assert (log.saw["outcome"].status, sizes(log.saw["outcome"])) == ("partial", (0, 2, 0, 0, 0))


def test_a_deadline_with_too_few_arrivals_is_an_error_even_if_it_should_proceed() -> None:
    with pytest.raises(SyncPointError, match="fewer than the minimum"):
        run(fan(Join(timeout=10), 20, 60))


def test_an_empty_fork_has_too_few_branches_for_its_sync_point() -> None:
    with pytest.raises(SyncPointError, match="0 of 0 branches arrived"):
        run(fan(Join()))


def test_an_empty_fork_is_complete_where_no_branch_is_needed() -> None:
    log = Log()
    run(fan(Join(minimum=0), merge=log.outcome()))
    outcome = log.saw["outcome"]
    assert (outcome.status, outcome.activated, outcome.progress) == ("complete", 0, 1.0)


# -- stragglers and latecomers ----------------------------------------------------------------


def test_stragglers_are_cancelled_and_leave_nothing() -> None:
    log = Log()
    graph = build(
        "START a gather merge END",
        "START b b2 gather",
        gather=Join(quorum=1),
        a=does(takes=1, items=["a"]),
        b=log.node("b", takes=60, items=["lost"]),
        b2=log.node("b2"),
    )
    result, seconds = timed(graph)
    assert (seconds, log.order) == (1, ["b"])
    assert ids(result.outcomes["gather"].latest.cancelled) == ["b"]
    assert result.state["items"] == ["a", "merge"]


def test_a_straggler_that_waits_in_an_inner_fork_is_cancelled_with_all_of_it() -> None:
    graph = build(
        "START a outer END",
        "START b b1 inner outer",
        "b b2 inner",
        outer=Join(quorum=1),
        inner=Join(timeout=30),
        a=does(takes=1),
        b1=does(takes=60),
        b2=does(takes=60),
    )
    result, seconds = timed(graph)
    assert seconds == 1
    assert "inner" not in result.outcomes


def test_detached_stragglers_run_on_and_the_end_waits_for_them() -> None:
    log = Log()
    graph = build(
        "START a gather merge END",
        "START b b2 gather",
        gather=Join(quorum=1, stragglers="detach"),
        b=log.node("b", takes=60, items=["b"]),
        b2=log.node("b2", items=["b2"]),
    )
    result, seconds = timed(graph)
    assert (seconds, log.order) == (60, ["b", "b2"])
    assert ids(result.outcomes["gather"].latest.late) == ["b"]
    assert result.state["items"] == ["a", "merge"], "late branches are dropped by default"


def test_a_detached_straggler_that_ends_elsewhere_keeps_its_writes() -> None:
    graph = build(
        "START a gather merge END",
        "START b",
        gather=Join(quorum=1, stragglers="detach"),
        b=does(takes=60, items=["b"]),
    )
    graph.add_conditional_edges("b", lambda _: END, ["gather", END])
    assert run(graph).state["items"] == ["a", "merge", "b"]


def test_late_writes_of_lattice_channels_may_be_merged_when_they_come() -> None:
    log = Log()
    graph = fan(
        Join(quorum=1, stragglers="detach", late="merge"),
        1,
        5,
        then="wait look END",
        wait=does(takes=10),
        look=log.node("look"),
    )
    result = run(graph)
    assert log.saw["look"]["seen"] == result.state["seen"] == {0, 1}
    assert result.state["items"] == [0], "an ordered channel takes nothing late"


def test_what_is_merged_late_is_not_seen_by_a_node_that_is_running() -> None:
    log = Log()
    graph = fan(
        Join(quorum=1, stragglers="detach", late="merge"), 1, 5, merge=log.node("merge", takes=10)
    )
    assert run(graph).state["seen"] == {0, 1}
    assert log.saw["merge"]["seen"] == {0}


def test_late_writes_reach_the_state_even_after_the_merged_branch_has_ended() -> None:
    result, seconds = timed(fan(Join(quorum=1, stragglers="detach", late="merge"), 1, 5))
    assert seconds == 5
    assert result.state["seen"] == {0, 1}


def test_late_branches_may_join_the_next_round() -> None:
    join = Join(quorum=1, stragglers="detach", late="next_round")
    rounds = iter([[1, 5], [20, 21]])
    graph = build(
        "START plan",
        "work gather merge",
        plan=does(),
        work=sleeper,
        gather=join,
        merge=does(takes=10),
    )
    graph.add_conditional_edges(
        "plan", lambda _: [Send("work", takes) for takes in next(rounds)], ["work"]
    )
    graph.add_conditional_edges(
        "merge", lambda state: "plan" if len(state["items"]) < 2 else END, ["plan", END]
    )
    outcomes = run(graph).outcomes["gather"]
    assert [sizes(outcome) for outcome in outcomes] == [(1, 0, 1, 0, 0), (1, 0, 2, 0, 0)]


def test_a_late_branch_joins_the_next_round_even_while_that_is_waiting() -> None:
    join = Join(quorum=1, stragglers="detach", late="next_round")
    rounds = iter([[1, 5], [20, 21]])
    graph = build("START plan", "work gather", plan=does(), work=sleeper, gather=join)
    graph.add_conditional_edges(
        "plan", lambda _: [Send("work", takes) for takes in next(rounds)], ["work"]
    )
    graph.add_conditional_edges(
        "gather", lambda state: "plan" if len(state["items"]) < 2 else END, ["plan", END]
    )
    result = run(graph)
    first, second = result.outcomes["gather"]
    assert (sizes(first), sizes(second)) == ((1, 0, 1, 0, 0), (1, 0, 2, 0, 0))
    assert second.waited == 4
    assert result.state["items"] == [1, 5]


def test_a_late_branch_for_which_no_next_round_comes_is_dropped() -> None:
    graph = fan(Join(quorum=1, stragglers="detach", late="next_round"), 1, 5)
    assert run(graph).state["items"] == [0]


@pytest.mark.parametrize("sibling", [1, 9])
def test_late_writes_reach_a_merged_branch_that_ended_inside_an_outer_fork(sibling: int) -> None:
    join = Join(quorum=1, stragglers="detach", late="merge")
    graph = build(
        "START a END",
        "START b x inner END",
        "b y inner",
        a=does(takes=sibling),
        b=does(),
        x=does(),
        y=does(takes=5, seen={"y"}, items=["y"]),
        inner=join,
    )
    state = run(graph).state
    assert (state["seen"], state["items"]) == ({"y"}, [])


def test_late_writes_reach_the_branch_into_which_the_merged_one_was_merged_since() -> None:
    log = Log()
    graph = build(
        "START a early late wait look END",
        "START b early",
        "START c late",
        early=Join(quorum=1, stragglers="detach", late="merge"),
        late=Join(quorum=2, stragglers="detach"),
        b=does(takes=5, seen={"b"}),
        wait=does(takes=10),
        look=log.node("look"),
    )
    assert run(graph).state["seen"] == log.saw["look"]["seen"] == {"b"}


def test_late_writes_of_a_merged_branch_that_failed_are_dropped() -> None:
    join = Join(quorum=1, stragglers="detach", late="merge")
    graph = build(
        "START a END", "START b x inner", "b y inner", x=does(), y=does(5, seen={"y"}), inner=join
    )
    graph.add_node("c", does(raises=BOOM), on_error="record").add_edge("inner", "c")
    graph.add_edge("c", END)
    assert run(graph).state["seen"] == set()


def test_who_was_late_at_one_sync_point_is_late_at_those_after_it() -> None:
    graph = build(
        "START a early late END",
        "START b early",
        "START c late",
        early=Join(quorum=1, stragglers="detach"),
        late=Join(),
        b=does(takes=5, items=["lost"]),
        c=does(takes=9, items=["c"]),
    )
    result = run(graph)
    early, late = result.outcomes["early"].latest, result.outcomes["late"].latest
    assert ids(early.late) == ids(late.late) == ["b"]
    assert (late.status, ids(late.arrived)) == ("partial", ["a", "c"])
    assert result.state["items"] == ["a", "c"]


def test_what_a_merged_branch_left_behind_is_merged_at_the_end() -> None:
    graph = build(
        "START a a1 early then late END",
        "a a2 END",
        "START b early",
        "START c late",
        early=Join(),
        late=Join(),
        forks={"early": START, "late": START},
    )
    result = run(graph)
    assert result.state["items"] == ["a", "a1", "b", "then", "c", "a2"]
    assert ids(result.outcomes["late"].latest.arrived) == ["a", "b", "c"]


def test_a_predicates_verdict_that_comes_too_late_changes_nothing() -> None:
    outcome = outcome_of(fan(Join(quorum=lambda _: True), 1, 1, 60))
    assert (outcome.status, outcome.waited) == ("quorum", 1)


@pytest.mark.parametrize("answer", ["raise", "return"])
def test_a_straggler_that_resists_its_cancellation_changes_nothing(answer: str) -> None:
    async def stubborn(_state: Any) -> Any:
        try:
            await anyio.sleep(60)
        except BaseException:
            if answer == "raise":
                raise BOOM from None
        return {"items": ["lost"]}

    join = Join(quorum=1)
    result = run(
        build(
            "START a gather END",
            "START b gather",
            gather=join,
            a=does(takes=1, items=["a"]),
            b=stubborn,
        )
    )
    assert result.state["items"] == ["a"]
    assert ids(result.outcomes["gather"].latest.cancelled) == ["b"]


@pytest.mark.parametrize("answer", ["raise", "return"])
def test_a_router_that_resists_the_cancellation_of_its_branch_changes_nothing(answer: str) -> None:
    async def stubborn(_state: Any) -> str:
        try:
            await anyio.sleep(60)
        except BaseException:
            if answer == "raise":
                raise BOOM from None
        return "gather"

    graph = build("START a gather END", "START b", gather=Join(quorum=1), a=does(takes=1))
    graph.add_conditional_edges("b", stubborn, ["gather"])
    assert ids(run(graph).outcomes["gather"].latest.cancelled) == ["b"]


@pytest.mark.parametrize("answer", ["raise", "return"])
def test_a_router_behind_a_sync_point_may_be_cancelled_as_well(answer: str) -> None:
    async def stubborn(_state: Any) -> str:
        try:
            await anyio.sleep(60)
        except BaseException:
            if answer == "raise":
                raise BOOM from None
        return "outer"

    graph = build(
        "START a outer END",
        "START b x inner",
        "b y inner",
        outer=Join(quorum=1),
        inner=Join(),
        a=does(takes=1),
    )
    graph.add_conditional_edges("inner", stubborn, ["outer"])
    assert ids(run(graph).outcomes["outer"].latest.cancelled) == ["b"]


# -- what the outcome says --------------------------------------------------------------------


def test_the_counts_of_an_outcome_add_up_to_what_was_activated() -> None:
    graph = fan(Join(quorum=2), 1, BOOM, 2, 60)
    graph.add_edge(START, "away")
    graph.add_node("away", does())
    graph.add_conditional_edges("away", lambda _: END, ["gather", END])
    outcome = outcome_of(graph)
    assert sizes(outcome) == (2, 1, 0, 1, 1)
    assert outcome.activated == sum(sizes(outcome)) == 5
    assert outcome.progress == pytest.approx(2 / 5)
    assert ids(outcome.missing) == ["b1", "b3", "away"]


def test_a_failure_that_no_sync_point_names_is_named_by_the_end() -> None:
    graph = build("START a END")
    graph.add_node("b", does(raises=BOOM), on_error="record")
    graph.add_edge(START, "b").add_edge("b", END)
    result = run(graph)
    (failed,) = result.outcomes[END].latest.failed
    assert (failed.branch, failed.error.__cause__ if failed.error else None) == ((0, 1), BOOM)
    assert [each.node for each in result.outcomes[END].latest.arrived] == ["a"]


def test_the_end_is_not_mentioned_where_nothing_failed() -> None:
    assert END not in run(fan(Join(), 1, BOOM)).outcomes


def test_a_sync_point_opens_once_in_a_generation() -> None:
    flow = fan(Join(quorum=0.5, grace=1, timeout=3), 1, 1, 1, 60).compile()

    async def openings() -> list[str]:
        async with flow.stream({}) as events:
            return [e.outcome.status async for e in events if isinstance(e, SyncPointOpened)]

    assert VirtualClock().run(openings()) == ["quorum"]


def test_arriving_again_without_passing_the_fork_is_a_run_time_error() -> None:
    visits: list[int] = []

    async def wander(_state: Any) -> Command:
        visits.append(1)
        return Command(goto="gather" if len(visits) < 3 else END)

    graph = build("START a gather wander", "START b gather", gather=Join(), wander=wander)
    graph.add_edge("wander", END)
    with pytest.raises(SyncPointError, match="arrived, but not from its fork"):
        run(graph)
