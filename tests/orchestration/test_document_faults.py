"""What an orchestrator of this kind gets wrong easily: one test for each fault."""

from __future__ import annotations

import time
from typing import get_type_hints

import pytest

from plait import NodeError, Send, WriteError, reducers
from plait.events import NodeCompleted
from plait.orchestration import (
    MissingSourceError,
    NodeRecord,
    ParallelOrchestrator,
    Settings,
    Specialist,
    WorkflowState,
    merge,
)
from plait.testing import VirtualClock
from tests.orchestration.specialists import (
    HERE,
    Answers,
    brief,
    carry_out,
    everybody,
    hangs,
    task,
)

FOUR = task("a") + task("b") + task("c", 'focus = "market"') + task("d", type="analysis")


def run(what: str, specialists: object, **settings: object) -> WorkflowState:
    clock = VirtualClock()
    chosen = Settings.model_validate(settings)
    return clock.run(carry_out(brief(what), specialists, chosen)).state  # type: ignore[arg-type]


def test_whatever_branches_write_side_by_side_has_a_reducer() -> None:
    clock, written = VirtualClock(), set[str]()

    async def main() -> None:
        orchestrator = ParallelOrchestrator(specialists=everybody(Answers()))
        flow = orchestrator.flow(brief(FOUR))
        async with flow.stream(orchestrator.given(brief(FOUR), HERE), "t") as events:
            async for event in events:
                if isinstance(event, NodeCompleted) and len(event.branch) > 1:
                    written.update(name for name, _ in event.writes)

    clock.run(main())
    hints = get_type_hints(WorkflowState, include_extras=True)
    assert written >= {"results", "branch_performance", "completed_branches", "execution_timeline"}
    for name in written:
        assert any(isinstance(each, reducers.Reducer) for each in hints[name].__metadata__), name


def test_a_channel_that_adds_up_has_each_write_once_over_all_rounds() -> None:
    answers = Answers(quality={0: 0.1, 1: 0.8})
    state = run(task("a") + task("b"), answers)
    done = sorted((each.task, each.round) for each in state.results)
    assert done == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len(state.completed_branches) == 4
    said = [message.node for message in state.messages]
    assert said.count("quality_validator") == 2
    assert said.count("task_analyzer") == 1


async def test_only_a_router_sends_and_a_node_that_does_is_told_so() -> None:
    async def coordinator(state: WorkflowState) -> object:
        return [Send("research_technical", id="a")]

    with pytest.raises(NodeError) as caught:
        await carry_out(
            brief(task("a")),
            Answers(),
            nodes={"parallel_coordinator": coordinator},
        )
    assert isinstance(caught.value.__cause__, WriteError)
    assert "the way on is Command" in str(caught.value.__cause__)


def test_to_go_on_waiting_takes_no_turns_of_a_loop_and_the_timeout_is_taken() -> None:
    clock, turns = VirtualClock(), 0

    def count() -> bool:
        nonlocal turns
        turns += 1
        return False

    clock.on_idle = count
    slow: dict[str, Specialist] = {"technical": Answers(), "market": hangs}
    what = brief(task("a") + task("b", 'focus = "market"'))
    began = time.process_time()
    state = clock.run(
        carry_out(what, slow, Settings(deadline=3600.0, mode="parallel", max_revisions=1))
    ).state
    assert state.sync_points["gather#0"].status == "timeout"
    assert state.sync_points["gather#0"].decision == "recover"
    assert clock.now >= 3600
    assert turns < 20
    assert time.process_time() - began < 30


def test_a_branch_that_failed_is_no_success_and_no_branches_divide_by_nothing() -> None:
    answers = Answers(failing={"a": MissingSourceError("x.md", "no file matches")})
    state = run(FOUR, answers)
    whole = state.integration_result
    assert whole is not None
    assert (whole.performance.successful, whole.performance.failed) == (3, 1)
    assert whole.performance.success_rate == 0.75
    assert merge([], []).performance.success_rate == 0.0


def test_an_error_keeps_its_type_and_is_tried_again_where_that_may_help() -> None:
    answers = Answers(
        failing={
            "a": [ConnectionError("reset")],
            "b": MissingSourceError("x.md", "no file matches"),
        }
    )
    state = run(task("a") + task("b") + task("c") + task("d"), answers)
    assert answers.tasks.count("a") == 2
    assert state.branch_performance["a#0"].attempts == 2
    assert answers.tasks.count("b") == 1
    assert state.branch_performance["b#0"].error.startswith("MissingSourceError: ")
    assert state.shortages[0].permanent


@pytest.mark.parametrize("node", ["task_analyzer", "branch_merger"])
async def test_a_key_that_the_state_has_not_is_refused_by_name(node: str) -> None:
    async def wrong(state: WorkflowState) -> dict[str, object]:
        return {"merge_status": "done"}

    with pytest.raises(NodeError) as caught:
        await carry_out(brief(task("a")), Answers(), nodes={node: wrong})
    assert "merge_status" in str(caught.value.__cause__)


def test_every_write_of_every_node_is_in_the_state_that_is_declared() -> None:
    state = run(FOUR, Answers())
    assert set(state.model_dump()) == set(WorkflowState.model_fields)
    assert all(isinstance(each, NodeRecord) for each in state.monitoring_metrics.values())
