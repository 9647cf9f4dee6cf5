"""The parallel orchestrator: modes, branches, sync points, recovery, revision."""

from __future__ import annotations

from typing import Any

import pytest

from plait import NodeContext
from plait.orchestration import (
    NODES,
    BranchResult,
    LoadBalancer,
    MissingSourceError,
    ParallelOrchestrator,
    PerformanceTracker,
    Settings,
    ThrottledError,
    Work,
    WorkflowState,
)
from plait.orchestration.control import GATHER
from plait.store import MemoryStore
from plait.testing import VirtualClock
from tests.orchestration.specialists import (
    HERE,
    IDLE,
    Answers,
    answer,
    brief,
    carry_out,
    everybody,
    hangs,
    task,
)

THREE = task("a") + task("b") + task("c")


def in_virtual_time(what: str, specialists: Any, **settings: Any) -> tuple[WorkflowState, float]:
    """Carry out a brief in virtual time; the state at the end, and how long it took."""
    clock = VirtualClock()
    more = {name: settings.pop(name) for name in ("balancer", "nodes") if name in settings}
    carried = clock.run(carry_out(brief(what), specialists, Settings(**settings), **more))
    assert carried.status == "completed"
    return carried.state, clock.now


def branches_of(state: WorkflowState) -> dict[str, str]:
    return {result.task: result.branch for result in state.results}


# -- branches


def test_research_goes_by_focus_and_analysis_by_priority() -> None:
    state, _ = in_virtual_time(
        task("plain")
        + task("sold", 'focus = "customers and prices"')
        + task("rivals", 'focus = "compared with competitors"')
        + task("urgent", 'priority = "high"', type="analysis")
        + task("other", type="analysis"),
        Answers(),
    )
    assert branches_of(state) == {
        "plain": "technical",
        "sold": "market",
        "rivals": "competitive",
        "urgent": "primary",
        "other": "secondary",
    }
    assert state.allocations["sold"].why.endswith("focus or question has: customers, prices")


def test_a_task_begins_behind_those_it_depends_on_and_gets_their_results() -> None:
    answers = Answers(1.0)
    last = task("last", 'depends_on = ["first", "second"]')
    _, seconds = in_virtual_time(last + task("first") + task("second"), answers, mode="parallel")
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert answers.tasks[2] == "last"
    assert sorted(result.task for result in answers.asked[2].before) == ["first", "second"]


def test_every_write_of_a_run_is_in_a_channel_of_the_state() -> None:
    state, _ = in_virtual_time(THREE, Answers())
    assert state.workflow_id == "t"
    assert [each.task for each in state.completed_branches] == ["a", "b", "c"]
    assert state.active_branches == {}
    assert state.task_queue == []
    assert state.branch_dependencies == {"a": (), "b": (), "c": ()}
    assert {each.node for each in state.messages} >= {"task_analyzer", "sync_point_manager"}
    times = [entry.at for entry in state.execution_timeline]
    assert len(times) == 1 + 2 * 3 + 1
    assert state.integration_result is not None


@pytest.mark.parametrize(("mode", "peak"), [("sequential", 1), ("parallel", 5), ("adaptive", 3)])
def test_a_mode_says_how_many_branches_work_at_once(mode: str, peak: int) -> None:
    answers = Answers(1.0)
    in_virtual_time("".join(task(f"t{i}") for i in range(6)), answers, mode=mode)
    assert answers.peak == peak


def test_a_pool_is_never_exceeded_whatever_the_mode_allows() -> None:
    answers = Answers(1.0)
    state, _ = in_virtual_time(
        "".join(task(f"t{i}") for i in range(9)),
        answers,
        mode="parallel",
        pools={"technical": 2},
    )
    assert answers.peak == 2
    assert state.load_balancing_metrics is not None
    assert state.load_balancing_metrics.peaks["technical"] == 2


def test_the_adaptive_mode_widens_as_long_as_that_does_good() -> None:
    answers = Answers(1.0)
    state, _ = in_virtual_time("".join(task(f"t{i}") for i in range(60)), answers)
    assert state.load_balancing_metrics is not None
    assert 3 < state.load_balancing_metrics.width_highest == answers.peak <= 12


def test_an_overload_narrows_the_branch_and_is_given_its_rest() -> None:
    refused = ThrottledError("HTTP 429", retry_after=30.0)
    answers = Answers(1.0, failing={"a": [refused]})
    state, seconds = in_virtual_time(THREE, answers, pools={"technical": 1})
    assert sorted(answers.tasks) == ["a", "a", "b", "c"]
    assert 30 <= seconds < 40
    assert len(state.results) == 3


def test_refusals_decrease_the_limit_of_their_branch() -> None:
    names = [f"t{i}" for i in range(8)]
    answers = Answers(1.0, failing={name: [ThrottledError("HTTP 429")] for name in names})
    state, _ = in_virtual_time("".join(map(task, names)), answers, pools={"technical": 8})
    metrics = state.load_balancing_metrics
    assert metrics is not None
    assert metrics.overloads >= 1
    assert metrics.limits["technical"] < 8
    assert len(state.results) == 8


# -- the sync point


def test_all_there_proceeds() -> None:
    state, _ = in_virtual_time(THREE, Answers())
    record = state.sync_points[f"{GATHER}#0"]
    assert (record.status, record.progress, record.decision) == ("complete", 1.0, "proceed")


def test_three_quarters_wait_for_the_grace_time_and_proceed_conditionally() -> None:
    slow = {"technical": Answers(1.0), "market": hangs}
    state, seconds = in_virtual_time(
        THREE + task("d", 'focus = "market"'), slow, mode="parallel", grace=7.0
    )
    record = state.sync_points[f"{GATHER}#0"]
    assert (record.status, record.progress, record.decision) == ("quorum", 0.75, "conditional")
    assert seconds == pytest.approx(8.0, abs=0.1)
    assert [absence.task for absence in state.absences] == ["d"]


def test_below_that_it_waits_until_the_deadline_and_recovers_what_is_missing() -> None:
    slow = {"technical": Answers(1.0), "market": hangs, "competitive": Answers(2.0)}
    what = task("a") + task("b", 'focus = "market"')
    state, seconds = in_virtual_time(what, slow, mode="parallel", deadline=60.0)
    first, second = (state.sync_points[f"{GATHER}#{i}"] for i in (0, 1))
    assert (first.status, first.progress, first.decision) == ("timeout", 0.5, "recover")
    assert (second.status, second.progress, second.decision) == ("complete", 1.0, "proceed")
    assert branches_of(state)["b"] in ("technical", "competitive")
    assert 61 <= seconds < 63


def test_waiting_costs_nothing() -> None:
    clock = VirtualClock()
    jumps = 0

    def count() -> bool:
        nonlocal jumps
        jumps += 1
        return False

    clock.on_idle = count
    clock.run(
        carry_out(brief(task("a")), Answers(86_400.0), Settings(deadline=None, mode="parallel"))
    )
    assert jumps < 10


def test_rounds_come_to_an_end_with_an_honest_partial_result() -> None:
    what = task("a") + task("b")
    answers = Answers(failing={"b": RuntimeError("no luck")})
    state, _ = in_virtual_time(what, answers, max_revisions=2)
    assert state.round == 2
    assert answers.tasks.count("b") == 3 * 2  # rounds, and attempts in each
    assert state.report is not None
    assert [absence.task for absence in state.report.merged.absences] == ["b"]
    assert "no round of recovery is left" in state.sync_points[f"{GATHER}#2"].why


def test_a_failed_task_is_given_to_a_branch_that_has_not_failed_at_it() -> None:
    answers = Answers()
    failing = Answers(failing={"a": RuntimeError("not me")})
    state, _ = in_virtual_time(task("a"), everybody(answers) | {"technical": failing})
    assert branches_of(state)["a"] in ("market", "competitive")
    metrics = state.load_balancing_metrics
    assert metrics is not None
    assert metrics.rounds[0].reason == "timeout recovery"


def test_what_everybody_would_fail_at_is_not_done_again() -> None:
    answers = Answers(failing={"a": MissingSourceError("x.md", "no file matches")})
    state, _ = in_virtual_time(task("a") + task("b"), answers)
    assert answers.tasks.count("a") == 1
    assert state.round == 0
    assert "nobody could do better" in state.sync_points[f"{GATHER}#0"].why


def test_what_depends_on_a_recovered_task_is_done_again_behind_it() -> None:
    answers = Answers(failing={"a": [RuntimeError("once"), RuntimeError("twice")]})
    what = task("a") + task("b", 'depends_on = ["a"]')
    state, _ = in_virtual_time(what, answers)
    assert answers.tasks == ["a", "a", "b", "a", "b"]
    assert [result.task for result in answers.asked[-1].before] == ["a"]
    assert state.round == 1


# -- named sync points


NAMED = (
    '[[sync_points]]\nname = "facts"\ntasks = ["a", "b"]\nquorum = "any"\n'
    + task("a")
    + task("b", 'focus = "market"')
    + task("c", 'depends_on = ["a", "b"]')
)


def test_a_named_sync_point_opens_by_its_own_policy_for_its_own_tasks() -> None:
    slow = {"technical": Answers(1.0), "market": hangs}
    state, seconds = in_virtual_time(NAMED, slow, mode="parallel", quorum=0.5)
    facts = state.sync_points["facts#0"]
    assert (facts.status, facts.required, facts.arrived) == ("quorum", ("a", "b"), ("a",))
    assert seconds == pytest.approx(2.0, abs=0.2)  # `c` begins when `b` is given up
    assert [result.task for result in state.results] == ["a", "c"]


def test_tasks_of_a_named_sync_point_are_in_the_whole() -> None:
    state, _ = in_virtual_time(NAMED.replace("any", "all"), Answers(1.0))
    assert state.sync_points["facts#0"].status == "complete"
    assert state.sync_points[f"{GATHER}#0"].progress == 1.0
    assert [each.task for each in state.completed_branches] == ["a", "b", "c"]


# -- revision


def test_what_the_validation_finds_wanting_is_done_again_more_thoroughly() -> None:
    answers = Answers(quality={0: 0.1, 1: 0.8})
    state, _ = in_virtual_time(task("a") + task("b"), answers)
    assert [work.depth for work in answers.asked] == [1, 1, 2, 2]
    assert state.round == 1
    assert state.verdict is not None
    assert state.verdict.status == "quality_approved"
    assert state.load_balancing_metrics is not None
    assert "revision" in state.load_balancing_metrics.rounds[0].reason


def test_a_revision_that_makes_it_worse_does_not_count() -> None:
    answers = Answers(quality={0: 0.2, 1: 0.1, 2: 0.15})
    state, _ = in_virtual_time(task("a"), answers)
    assert state.report is not None
    (result,) = state.report.results
    assert (result.quality, result.round) == (0.2, 0)
    assert state.report.verdict.status == "needs_revision"


def test_a_brief_may_ask_for_more_quality_of_a_task_than_the_rules_do() -> None:
    answers = Answers(quality={0: 0.6, 1: 0.8})
    state, _ = in_virtual_time(task("a", "quality = 0.7") + task("b"), answers)
    assert answers.tasks == ["a", "b", "a"]
    assert state.verdict is not None
    assert state.verdict.status == "quality_approved"


def test_an_analysis_is_not_repeated_unless_that_may_do_good() -> None:
    what = task("a", type="analysis")
    poor = Answers(quality={0: 0.1})
    in_virtual_time(what, poor)
    assert poor.tasks == ["a"]
    other = Answers(quality={0: 0.1})
    in_virtual_time(what, other, balancer=LoadBalancer(repeatable={"analysis"}))
    assert other.tasks == ["a", "a"]


# -- what can be replaced


async def test_every_node_can_be_replaced() -> None:
    seen: list[str] = []

    def noted(name: str) -> Any:
        orchestrator = ParallelOrchestrator(specialists=everybody(Answers()), measure=lambda: IDLE)
        own = {
            "task_analyzer": orchestrator.control.analyze,
            "parallel_coordinator": orchestrator.control.coordinate,
            "sync_point_manager": orchestrator.control.manage,
            "load_balancer": orchestrator.control.balance,
            "branch_merger": orchestrator.control.merge,
            "quality_validator": orchestrator.control.validate,
            "final_integrator": orchestrator.control.integrate,
        }

        async def node(state: WorkflowState, ctx: NodeContext) -> Any:
            seen.append(name)
            if name in own:
                return await own[name](state, ctx)
            work = Work(task=state.brief.tasks[0], folder=HERE, branch="technical")
            return {"results": [answer(work)]}

        return node

    failing = task("a") + task("b", 'focus = "market"')
    replaced = {name: noted(name) for name in NODES if name != "research_market"}
    broken = Answers(failing={"b": [RuntimeError("once"), RuntimeError("twice")]})
    carried = await carry_out(brief(failing), broken, nodes=replaced)
    assert carried.report is not None
    others = {name for name in NODES if name.startswith(("analysis_", "research_"))}
    assert set(seen) >= set(NODES) - others | {"research_technical"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nodes": {"plan": hangs}}, "there is no node 'plan'; there are task_analyzer, "),
        ({"specialists": {"primry": hangs}}, "there is no branch 'primry'; there are technical"),
    ],
)
def test_what_is_not_there_cannot_be_replaced(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ParallelOrchestrator(**given)


@pytest.mark.parametrize("given", [None, "a text", 3])
async def test_a_specialist_that_gives_no_result_fails_by_name(given: Any) -> None:
    async def wrong(work: Work) -> BranchResult:
        return given  # type: ignore[no-any-return]

    carried = await carry_out(brief(task("a")), wrong, Settings(max_revisions=0))
    assert carried.report is not None
    assert carried.report.status == "failed"
    (absence,) = carried.report.merged.absences
    assert "the specialist of 'technical' gave" in absence.reason


async def test_a_run_waits_for_a_person_before_the_nodes_that_are_named() -> None:
    store = MemoryStore()
    orchestrator = ParallelOrchestrator(
        specialists=everybody(Answers()),
        measure=lambda: IDLE,
        store=store,
        interrupt_before=["sync_point_manager", "quality_validator"],
    )
    what = brief(THREE)
    asked = []
    carried = await orchestrator.run(what, HERE, thread_id="t")
    while carried.status == "suspended":
        (interrupt,) = carried.interrupts
        asked.append(interrupt.node)
        carried = await orchestrator.resume("t", what, {interrupt.id: "go on"})
    assert asked == ["sync_point_manager", "quality_validator"]
    assert carried.report is not None
    assert carried.report.status == "completed"


# -- performance


def test_every_branch_is_measured_and_its_wait_at_the_sync_point_too() -> None:
    quick, slow = Answers(1.0), Answers(5.0)
    state, _ = in_virtual_time(
        task("a") + task("b", 'focus = "market"'), {"technical": quick, "market": slow}
    )
    a, b = (state.branch_performance[f"{name}#0"] for name in "ab")
    assert [a.seconds, a.waited] == pytest.approx([1.0, 4.0])
    assert [b.seconds, b.waited] == pytest.approx([5.0, 0.0])
    assert (a.status, a.attempts, a.results, a.quality) == ("arrived", 1, 1, 0.9)
    assert a.throughput == pytest.approx(1.0)
    assert a.memory is None or a.memory > 0


def test_time_in_the_queue_is_no_time_of_work() -> None:
    state, _ = in_virtual_time(task("a") + task("b"), Answers(2.0), mode="sequential")
    b = state.branch_performance["b#0"]
    assert [b.queued, b.seconds] == pytest.approx([2.0, 2.0])


def test_every_node_is_measured_in_every_round() -> None:
    answers = Answers(quality={0: 0.1})
    state, _ = in_virtual_time(task("a"), answers)
    names = set(state.monitoring_metrics)
    assert {"task_analyzer#0", "parallel_coordinator#1", "load_balancer#0"} <= names
    assert {"sync_point_manager#0", "sync_point_manager#1", "final_integrator#1"} <= names
    assert all(record.seconds >= 0 for record in state.monitoring_metrics.values())


async def test_what_was_measured_is_expected_in_the_next_run() -> None:
    store = MemoryStore()
    what = brief(task("a") + task("b", 'focus = "market"'))
    specialists = {"technical": Answers(0.05), "market": Answers(0.2)}
    await carry_out(what, specialists, store=store)
    orchestrator = ParallelOrchestrator(specialists=specialists, measure=lambda: IDLE, store=store)
    allocated = (await orchestrator.run(what, HERE, thread_id="two")).state.allocations
    assert list(allocated) == ["b", "a"]  # the longest expected first
    assert allocated["b"].expected_how == "what `b` took in `market` before"
    assert allocated["b"].expected == pytest.approx(0.2, abs=0.15)


def test_a_tracker_learns_from_records_in_order() -> None:
    state, _ = in_virtual_time(THREE, Answers(2.0))
    tracker = PerformanceTracker(state.branch_performance.values())
    known = tracker.of("technical")
    assert (known.runs, known.failures, known.quality) == (3, 0.0, 0.9)
    assert known.seconds == pytest.approx(2.0)
    assert tracker.expect("a", "technical", 0, 0.5).seconds == pytest.approx(2.0)
    assert tracker.of("market").runs == 0
