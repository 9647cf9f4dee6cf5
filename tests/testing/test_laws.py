"""check_reducer: what it finds, what it lets pass, and what it says."""

import itertools
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st

from plait import reducers
from plait.codec import Codec, TypeRegistry
from plait.reducers import Reducer, declare
from plait.testing import LawViolation, check_reducer

lists = st.lists(st.integers(-9, 9), max_size=4)
dicts = st.dictionaries(st.sampled_from("xy"), st.integers(-9, 9))


def violation(reducer: Any, values: Any = lists, **options: Any) -> LawViolation:
    with pytest.raises(LawViolation) as caught:
        check_reducer(reducer, values, max_examples=50, **options)
    return caught.value


def concatenate(value: list[Any], write: list[Any]) -> list[Any]:
    return [*value, *write]


@pytest.mark.parametrize(
    ("reducer", "values"),
    [
        (reducers.append, st.integers() | lists),
        (reducers.merge_dicts, dicts),
        (reducers.total, st.integers()),
        (reducers.sum_counts, dicts),
        (reducers.union, st.sets(st.integers())),
        (reducers.maximum, lists),
        (reducers.minimum, st.integers()),
        (reducers.disjunction, st.booleans()),
        (reducers.conjunction, st.booleans()),
        (reducers.first_write, dicts),
        (reducers.last_write(key=lambda write: write), lists),
        (reducers.live(reducers.union), st.sets(st.integers())),
    ],
    ids=str,
)
def test_a_reducer_of_the_library_keeps_the_laws_that_it_declares(
    reducer: Reducer[Any], values: Any
) -> None:
    report = check_reducer(reducer, values, max_examples=50)
    assert {"ordered": 0, "commutative": 1, "lattice": 2}[report.law_class or ""] >= {
        "ordered": 0,
        "commutative": 1,
        "lattice": 2,
    }[reducer.law_class]
    assert report.holds("codec")


def test_a_reducer_that_depends_on_the_order_may_not_say_otherwise() -> None:
    caught = violation(declare(concatenate, associative=True, commutative=True))
    assert caught.law == "order-free"
    assert str(caught).splitlines()[1:] == [
        "    v          (no value yet)",
        "    a          [0]",
        "    b          [1]",
        "    a, then b  [0, 1]",
        "    b, then a  [1, 0]",
    ]


def test_ties_make_the_last_write_depend_on_the_order() -> None:
    newest: Reducer[Any] = reducers.last_write(key=lambda write: write[0])
    assert violation(newest, st.tuples(st.integers(), st.text())).law == "order-free"


@pytest.mark.parametrize(
    ("reducer", "law"),
    [
        (declare(lambda v, w: v - w, associative=True, name="minus"), "associative"),
        (declare(max, associative=True, identity=int), "identity"),
        (
            declare(operator.add, associative=True, commutative=True, idempotent=True),
            "idempotent",
        ),
        (Reducer(operator.add, batch=lambda v, ws: v + len(ws)), "batch"),
        (Reducer(operator.add, batch=lambda v, ws: ws[0]), "batch"),
    ],
)
def test_a_law_that_is_declared_and_broken_is_named(reducer: Reducer[int], law: str) -> None:
    assert violation(reducer, st.integers()).law == law


def extending(value: list[Any], write: list[Any]) -> list[Any]:
    value.extend(write)
    return value


def emptying(value: list[Any], write: list[Any]) -> list[Any]:
    result = [*value, *write]
    write.clear()
    return result


def keeping(value: dict[str, Any], write: dict[str, Any]) -> dict[str, Any]:
    result = dict(value)
    for key, items in write.items():
        result.setdefault(key, items).extend(items[:1])
    return result


def sometimes_itself(value: list[Any], write: list[Any]) -> list[Any]:
    return [*value, *write] if write else value


def sometimes_the_write(value: list[Any], write: list[Any]) -> list[Any]:
    return [*value, *write] if value else write


def counting() -> Callable[[Any, Any], Any]:
    calls = []

    def reducer(value: list[Any], write: list[Any]) -> list[Any]:
        calls.append(write)
        return [*value, *write, len(calls)]

    return reducer


def reusing() -> Callable[[Any, Any], Any]:
    result: list[Any] = []

    def reducer(value: list[Any], write: list[Any]) -> list[Any]:
        result[:] = [*value, *write]
        return result

    return reducer


def raising_on_repeats(value: list[Any], write: list[Any]) -> list[Any]:
    if value and value[-1:] == write:
        raise ValueError(write)
    return [*value, *write]


@pytest.mark.parametrize(
    "fn",
    [extending, emptying, sometimes_itself, sometimes_the_write, counting(), reusing()],
)
def test_a_reducer_is_pure(fn: Callable[[Any, Any], Any]) -> None:
    assert violation(declare(fn)).law == "pure"


def test_a_write_may_not_be_changed_by_a_later_one() -> None:
    values = st.dictionaries(st.sampled_from("xy"), lists)
    assert violation(declare(keeping), values).law == "pure"


def test_a_choice_between_the_arguments_is_pure() -> None:
    assert check_reducer(declare(lambda _, write: write), lists).holds("pure")


def test_a_batch_may_not_change_its_arguments() -> None:
    def batch(value: list[Any], writes: Sequence[Any]) -> list[Any]:
        for write in writes:
            value.extend(write)
        return value

    batched: Reducer[Any] = Reducer(concatenate, batch=batch)
    caught = violation(batched)
    assert (caught.law, "afterwards" in caught.counterexample) == ("batch", True)


def test_a_batch_may_not_raise_where_the_reducer_does_not() -> None:
    caught = violation(Reducer(concatenate, batch=lambda v, ws: [v, ws[0]]))
    assert "raised IndexError" in caught.counterexample


def test_of_a_plain_function_nothing_is_asked_but_a_report() -> None:
    report = check_reducer(extending, lists, max_examples=40)
    assert (report["pure"].holds, report.law_class) == (False, None)
    assert str(report).startswith("extending: not a reducer\n    pure         does not hold: v = ")


def test_the_report_says_what_a_plain_function_could_declare() -> None:
    report = check_reducer(operator.or_, st.sets(st.integers()), max_examples=40)
    assert report.holds("pure", "associative", "order-free", "idempotent", "identity")
    assert (report.law_class, report["identity"].detail) == ("lattice", "e = set()")


def test_the_addition_of_floats_is_not_associative_unless_a_tolerance_is_declared() -> None:
    exact = check_reducer(operator.add, st.floats(-1e6, 1e6), max_examples=40)
    assert (exact["associative"].holds, exact.law_class) == (False, "ordered")
    assert "declare a tolerance" in exact["associative"].detail
    assert check_reducer(operator.add, st.floats(-1e6, 1e6), tolerance=1e-9).law_class == (
        "commutative"
    )


def test_a_declared_sum_of_floats_is_told_about_tolerance() -> None:
    add = declare(operator.add, associative=True, commutative=True)
    assert "tolerance=1e-9" in str(violation(add, st.floats(0, 1e6)))


def test_equality_may_be_that_of_the_user() -> None:
    report = check_reducer(
        concatenate, lists, equal=lambda a, b: sorted(a) == sorted(b), max_examples=40
    )
    assert report.holds("order-free")
    with pytest.raises(ValueError, match="not both"):
        check_reducer(max, st.integers(), equal=operator.eq, tolerance=0.1)


def test_writes_of_another_kind_than_values_do_not_combine() -> None:
    def add_item(value: list[int], write: int) -> list[int]:
        return [*value, write]

    report = check_reducer(add_item, st.integers(), start=lists, max_examples=40)
    assert (report["associative"].holds, report["identity"].holds) == (None, None)
    declared = declare(add_item, associative=True, identity=list)
    assert check_reducer(declared, st.integers())["associative"].holds is None


def test_a_reducer_that_raises_is_shown_and_told_about_start() -> None:
    caught = violation(lambda value, write: [*value, write], st.integers())
    assert caught.law is None
    assert "start=" in str(caught)
    assert "raised TypeError" in caught.counterexample


def test_a_value_that_cannot_be_reached_is_shown() -> None:
    caught = violation(declare(operator.add, identity=list), st.integers())
    assert "raised TypeError" in caught.counterexample


def test_a_reducer_that_raises_later_is_not_pure_either() -> None:
    caught = violation(declare(raising_on_repeats), st.just([1]))
    assert "raised ValueError" in str(caught)


def test_a_lottery_is_found_out() -> None:
    answers = iter(range(10_000))
    assert violation(declare(lambda value, write: next(answers)), st.integers()).law == "pure"


def test_a_law_that_is_broken_only_once_is_reported_too() -> None:
    verdicts = itertools.chain([False], itertools.repeat(True))
    report = check_reducer(max, st.integers(), equal=lambda a, b: next(verdicts), max_examples=40)
    assert "does not behave the same way twice" in report["pure"].detail


# -- storage ----------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Money:
    """A type that no codec knows by itself."""

    cents: int


money = st.builds(Money, st.integers(0, 99))


def test_a_type_that_a_store_would_refuse_is_reported_and_breaks_nothing() -> None:
    report = check_reducer(reducers.maximum, money, max_examples=20)
    assert (report["codec"].holds, report["codec"].declared) == (False, False)
    assert "read back = raised EncodingError" in report["codec"].detail
    assert report.law_class == "lattice"


def test_with_the_codec_of_the_store_values_must_come_back() -> None:
    caught = violation(reducers.maximum, money, codec=Codec())
    assert caught.law == "codec"
    assert "which it must keep" in str(caught)
    registry = TypeRegistry()
    registry.register(Money)
    report = check_reducer(reducers.maximum, money, codec=Codec(registry), max_examples=20)
    assert report.holds("codec")


def test_a_type_that_comes_back_as_another_value_is_found() -> None:
    registry = TypeRegistry()
    registry.register(Money, to=lambda money: money.cents // 10, of=Money)
    caught = violation(reducers.maximum, money, codec=Codec(registry))
    assert "a, read back" in caught.counterexample


def test_without_ormsgpack_storage_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ormsgpack", None)
    report = check_reducer(operator.add, st.integers(), max_examples=20)
    assert report["codec"].holds is None
    assert "ormsgpack" in report["codec"].detail
    assert "not checked" in str(report)
