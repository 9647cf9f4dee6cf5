"""The critical path accounts for all of a run's time, and says what it was spent on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import ANY, END, START, Flow, Graph, Join, Retry, Send, interrupt
from plait.events import JournalEvent, NodeCompleted
from plait.machine import Machine
from plait.orchestration.critical_path import critical_path
from plait.orchestration.timeline import Timeline, timeline_of
from plait.plan import Plan
from plait.testing import VirtualClock
from plait.trace import Step, Tracer
from tests.kernel.build import Work, build, does
from tests.properties.drive import drive, prepare
from tests.properties.programs import Features, Program, programs


def timeline(graph: Graph, answers: Any = None, **options: Any) -> Timeline:
    flow: Flow[Any] = graph.compile(**options)

    async def go() -> Timeline:
        await flow.run(thread_id="t")
        if answers:
            await anyio.sleep(60)
            await flow.resume("t", answers)
        return timeline_of(await flow.trace("t"))

    return VirtualClock().run(go())


def specialists(seconds: dict[str, float], join: Join, **after: tuple[str, ...]) -> Graph:
    """A plan that sends each specialist to its own branch, a sync point, and a merge of 1 s."""
    graph = Graph(Work).add_node("plan", does(1)).add_node("merge", does(1))
    for name, takes in seconds.items():
        graph.add_node(name, does(takes)).add_edge(name, "gather")
    sends = [Send(name, id=name, after=after.get(name, ())) for name in seconds]
    graph.add_conditional_edges("plan", lambda _: sends, list(seconds))
    graph.add_sync_point("gather", join).add_edge("gather", "merge")
    return graph.add_edge(START, "plan").add_edge("merge", END)


def spent(found: Timeline) -> list[tuple[str, str, float]]:
    return [(part.kind, part.branch, part.seconds) for part in found.path if part.seconds]


def test_the_slowest_branch_is_on_the_path_and_its_rivals_are_not() -> None:
    found = timeline(specialists({"technical": 2, "market": 6.1, "competitive": 1}, Join()))
    assert spent(found) == [
        ("node", "run", 1.0),
        ("node", "market", pytest.approx(6.1)),
        ("node", "run", pytest.approx(1.0)),
    ]
    (gate,) = found.gates
    assert (gate.status, gate.waited_for) == ("complete", "market")
    assert gate.waited == pytest.approx(4.1)


def test_a_branch_that_waited_for_another_has_that_before_it_on_the_path() -> None:
    found = timeline(specialists({"a": 2, "b": 3, "c": 4}, Join(), b=("a",)))
    assert spent(found)[1:3] == [("node", "a", 2.0), ("node", "b", 3.0)]
    held = [row.spans[0] for row in found.rows if row.label == "b"]
    assert [(span.kind, span.start, span.end) for span in held] == [("held", 1.0, 3.0)]


def test_a_grace_time_is_time_that_was_waited_for_nothing() -> None:
    found = timeline(specialists({"a": 1, "slow": 60}, Join(quorum=ANY, grace=2)))
    assert ("grace", "run", 2.0) in spent(found)
    (gate,) = found.gates
    assert (gate.status, gate.waited_for, gate.waited) == ("quorum", "slow", 2.0)
    assert [(one.label, one.fate, one.at) for one in gate.branches] == [
        ("a", "done", 2.0),
        ("slow", "cancelled", None),
    ]


def test_a_deadline_is_named_with_those_who_did_not_come() -> None:
    found = timeline(specialists({"a": 30, "b": 60}, Join(timeout=5, minimum=0)))
    assert ("deadline", "run", 5.0) in spent(found)
    assert found.gates[0].waited_for == "a, b"
    assert {row.label: row.fate for row in found.rows} == {
        "run": "done",
        "a": "cancelled",
        "b": "cancelled",
    }


def test_waiting_for_a_place_is_apart_from_the_work() -> None:
    found = timeline(specialists({"a": 2, "b": 2}, Join()), max_concurrency=1)
    assert [part for part in spent(found) if part[1] != "run"] == [
        ("queue", "b", 2.0),
        ("node", "b", 2.0),
    ]


def test_waiting_for_a_place_within_a_node_is_apart_from_the_work_too() -> None:
    flow: Flow[Any] = specialists({"a": 5, "b": 2}, Join()).compile()

    async def go() -> Timeline:
        await flow.run(thread_id="t")
        return timeline_of(await flow.trace("t"), [("a", 4.0), ("b", 99.0)])

    found = VirtualClock().run(go())
    assert [part for part in spent(found) if part[1] != "run"] == [
        ("queue", "a", 3.0),
        ("node", "a", 2.0),
    ]
    rows = {
        row.label: [(span.kind, span.start, span.end) for span in row.spans] for row in found.rows
    }
    assert rows["a"] == [("queue", 1.0, 4.0), ("node", 4.0, 6.0)]
    assert rows["b"] == [("node", 1.0, 3.0), ("sync", 3.0, 6.0)]


def test_a_pause_between_attempts_is_apart_from_them() -> None:
    failures = iter([OSError(), OSError()])

    async def flaky(_state: Any) -> None:
        await anyio.sleep(1)
        if error := next(failures, None):
            raise error

    graph = Graph(Work).add_node("flaky", flaky, retry=Retry(3, initial=4, jitter=False))
    found = timeline(graph.add_edge(START, "flaky").add_edge("flaky", END))
    assert [kind for kind, _, _ in spent(found)] == ["attempt", "pause", "attempt", "pause", "node"]
    assert [span.kind for span in found.rows[0].spans] == [kind for kind, _, _ in spent(found)]


def test_waiting_for_a_person_is_on_the_path() -> None:
    async def asks(_state: Any) -> Any:
        await anyio.sleep(1)
        return {"text": interrupt("?")}

    found = timeline(build("START asks END", asks=asks), {"0:1:0": "yes"})
    assert spent(found) == [("node", "run", 1.0), ("person", "run", 60.0), ("node", "run", 1.0)]


def test_a_thread_without_events_has_an_empty_path() -> None:
    assert critical_path([]) == ()
    assert timeline_of([]).rows == ()


# -- for any program, and any clock -------------------------------------------------------------


def steps_of(plan: Plan, journal: Sequence[JournalEvent]) -> list[Step]:
    machine, tracer = Machine(plan), Tracer(0)
    for event in journal:
        tracer.note(machine, event, machine.handle(event))
    return tracer.steps


def at_times(steps: Sequence[Step], times: Sequence[float]) -> list[Step]:
    """The same steps by a clock that shows any times, also earlier ones than before."""
    found = []
    for i, step in enumerate(steps):
        event = step.event._replace(at=times[i % len(times)])
        if isinstance(event, NodeCompleted):
            event = event._replace(started=times[(i * 7 + 3) % len(times)])
        found.append(Step(step.position, event, step.cause, step.calls, step.cancels, step.told))
    return found


clocks = st.lists(st.floats(0, 1e6), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(programs(Features()), st.lists(st.integers(0, 20), max_size=30), clocks, st.booleans())
def test_segments_lie_end_to_end_and_add_up_to_the_makespan(
    program: Program, schedule: list[int], times: list[float], in_order: bool
) -> None:
    run = drive(prepare(program), schedule)
    steps = steps_of(run.case.plan, run.journal)
    if in_order:
        times = sorted(times)
        times += [times[-1]] * len(steps)
    steps = at_times(steps, times)
    path = critical_path(steps)
    found = timeline_of(steps)
    assert [part.effect for part in found.path] == [part.effect for part in path]
    assert all(span.start <= span.end for row in found.rows for span in row.spans)
    if not path:
        return
    assert path[0].start == 0.0
    for one, other in pairwise(path):
        assert one.end == other.start
        assert one.effect <= other.cause or one.effect == other.effect
    assert all(steps[part.effect - 1].cause == part.cause for part in path)
    assert all(part.cause < part.effect for part in path)
    assert sum(part.seconds for part in path) == pytest.approx(path[-1].end)
    if in_order:
        assert path[-1].end == pytest.approx(found.seconds)
