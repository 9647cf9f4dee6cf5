"""The reducers that come with Plait, and the laws that they declare."""

import operator
from typing import Any

import pytest

from plait import reducers
from plait.reducers import MISSING, Reducer, as_reducer, declare

CASES: list[tuple[Reducer[Any], Any, list[Any], Any, str]] = [
    (reducers.append, [1], [[2], [], [3, 4]], [1, 2, 3, 4], "ordered"),
    (reducers.merge_dicts, {"a": 1}, [{"a": 2}, {"b": 3}], {"a": 2, "b": 3}, "ordered"),
    (reducers.first_write, 1, [2, 3], 1, "ordered"),
    (reducers.total, 1, [2, 3], 6, "commutative"),
    (reducers.sum_counts, {"a": 1}, [{"a": 2}, {"b": 3}], {"a": 3, "b": 3}, "commutative"),
    (reducers.union, {1}, [{2}, {1, 3}], {1, 2, 3}, "lattice"),
    (reducers.maximum, 1, [3, 2], 3, "lattice"),
    (reducers.minimum, 2, [3, 1], 1, "lattice"),
    (reducers.disjunction, False, [False, True], True, "lattice"),
    (reducers.conjunction, True, [True, False], False, "lattice"),
    (reducers.last_write(key=lambda w: w[0]), (1, "a"), [(3, "c"), (2, "b")], (3, "c"), "lattice"),
]
NAMES = [case[0].name for case in CASES]


@pytest.mark.parametrize(("reducer", "value", "writes", "result", "kind"), CASES, ids=NAMES)
def test_a_reducer_folds_many_writes_as_it_folds_one_by_one(
    reducer: Reducer[Any], value: Any, writes: list[Any], result: Any, kind: str
) -> None:
    step_by_step = value
    for write in writes:
        step_by_step = reducer(step_by_step, write)
    assert step_by_step == reducer.fold(value, writes) == result
    assert reducer.law_class == kind


@pytest.mark.parametrize(("reducer", "value", "writes", "result", "kind"), CASES, ids=NAMES)
def test_a_reducer_starts_from_its_identity_or_from_the_first_write(
    reducer: Reducer[Any], value: Any, writes: list[Any], result: Any, kind: str
) -> None:
    assert reducer.fold(MISSING, [value, *writes]) == result
    assert reducer.fold(MISSING, [value]) == value


@pytest.mark.parametrize(
    ("value", "writes", "result"),
    [
        ([1], [[2], [3]], [1, 2, 3]),
        ("a", ["b", "c"], "abc"),
        ((1,), [(2,), (3,)], (1, 2, 3)),
        (1, [2, 3], 6),
        (1.5, [1, 1], 3.5),
    ],
)
def test_plus_folds_whatever_can_be_added(value: Any, writes: list[Any], result: Any) -> None:
    assert as_reducer(operator.add, None).fold(value, writes) == result


def test_plus_does_not_add_what_python_would_not() -> None:
    with pytest.raises(TypeError):
        as_reducer(operator.add, None).fold([1], [[2], (3,)])


def test_a_reducer_may_be_declared_by_a_decorator_or_a_call() -> None:
    @declare(associative=True, commutative=True, identity=int)
    def added(value: int, write: int) -> int:
        return value + write

    called = declare(max, associative=True, commutative=True, idempotent=True, name="biggest")
    assert repr(added) == "<Reducer added: commutative>"
    assert repr(reducers.live(called)) == "<Reducer biggest: lattice, live>"
    assert added.fold(MISSING, [1, 2]) == 3


def test_what_declares_nothing_is_ordered() -> None:
    assert as_reducer(operator.add, list).law_class == "ordered"
    assert as_reducer(reducers.union, None) is reducers.union


def test_a_callable_that_cannot_be_hashed_may_be_a_reducer() -> None:
    class Joined(list[Any]):
        def __call__(self, value: Any, write: Any) -> Any:
            return value + write

    assert as_reducer(Joined(), None).fold(1, [2, 3]) == 6


def test_the_missing_value_is_false_and_one_of_a_kind() -> None:
    import copy

    assert not MISSING
    assert repr(MISSING) == "MISSING"
    assert copy.deepcopy(MISSING) is MISSING
