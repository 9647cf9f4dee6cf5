"""The lock-step machine alone: no loop, no store."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from plait_adapters.langgraph._internal._ids import (
    checkpoint_id,
    is_interrupt_id,
    known_ids,
    path_key,
)
from plait_adapters.langgraph._internal._machine import Given, Layout, Machine, input_of
from plait_adapters.langgraph.channels import (
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    NamedBarrierValue,
)

CHANNELS: dict[str, Any] = {
    "log": BinaryOperatorAggregate(list, operator.add),
    "last": LastValue(int),
    "a": EphemeralValue(int, guard=False),
    "b": EphemeralValue(int, guard=False),
    "join": NamedBarrierValue(str, {"a", "b"}),
}
TRIGGERS = {"a": ["a"], "b": ["b"], "join": ["c"]}


class Node(NamedTuple):
    triggers: list[str]


NODES = {"a": Node(["a"]), "b": Node(["b"]), "c": Node(["join"])}


def machine(*, versions: bool = False) -> Machine:
    count = (lambda current, _: (current or 0) + 1) if versions else None
    made = Machine(
        Layout(CHANNELS, TRIGGERS), versions={} if versions else None, next_version=count
    )
    made.changed = set()
    return made


WRITES = st.lists(st.tuples(st.sampled_from(["log", "a", "b", "join"]), st.none()), max_size=4).map(
    lambda writes: [(name, {"log": [name], "join": "a"}.get(name, 1)) for name, _ in writes]
)


@given(st.lists(st.tuples(st.sampled_from("abc"), WRITES), max_size=5), st.randoms())
def test_the_order_in_which_tasks_end_does_not_matter(steps: Any, random: Any) -> None:
    tasks = [
        Given(("pull", f"{name}{index}"), name, writes, NODES[name].triggers)
        for index, (name, writes) in enumerate(steps)
    ]
    shuffled = list(tasks)
    random.shuffle(shuffled)
    one, other = machine(), machine()
    assert one.apply(tasks) == other.apply(shuffled)
    assert one.read(list(CHANNELS)) == other.read(list(CHANNELS))


@settings(max_examples=200)
@given(st.lists(st.lists(st.sampled_from("ab"), max_size=3), max_size=6))
def test_what_changed_triggers_what_versions_say(rounds: list[list[str]]) -> None:
    plain, versioned = machine(), machine(versions=True)
    for targets in rounds:
        writes = [(target, 1) for target in targets] + [("join", target) for target in targets]
        for each in (plain, versioned):
            running = [
                Given((name,), name, [], NODES[name].triggers) for name in each.triggered(NODES)
            ]
            each.changed = each.apply([*running, input_of(writes)])
        assert list(plain.triggered(NODES)) == list(versioned.triggered(NODES))


@given(st.lists(st.lists(st.integers(), max_size=3), max_size=6))
def test_a_delta_channel_replays_to_what_it_was(steps: list[list[int]]) -> None:
    channel: Any = DeltaChannel(lambda value, writes: [*value, *writes], list)
    living = channel.from_checkpoint([])
    for writes in steps:
        living.update(writes)
    again = channel.from_checkpoint([])
    again.replay_writes([("", "", write) for writes in steps for write in writes])
    assert again.get() == living.get()


def test_a_channel_for_one_step_is_empty_after_it() -> None:
    made = machine()
    assert made.apply([input_of([("a", 1)])]) == {"a"}
    assert made.apply([Given(("a",), "a", [("log", ["x"])], ["a"])]) == {"log"}
    assert made.read("a") is None


def test_reading_with_a_tasks_own_writes_changes_nothing() -> None:
    made = machine()
    made.apply([input_of([("log", ["in"])])])
    assert made.read_with(["log"], [("log", ["own"])]) == {"log": ["in", "own"]}
    assert made.read("log") == ["in"]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=2))
def test_paths_sort_by_number(numbers: list[int]) -> None:
    one, other = (path_key(("push", number, False)) for number in numbers)
    assert (one < other) == (numbers[0] < numbers[1])


def test_ids_of_checkpoints_sort_by_time_and_those_of_interrupts_are_known_as_such() -> None:
    ids = [checkpoint_id(step) for step in range(1_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    for way in known_ids():
        assert is_interrupt_id(way.interrupt("a:1"))
        assert way.interrupt("a:1") != way.interrupt("a:1", 1)
