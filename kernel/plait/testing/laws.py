"""Tests a reducer against the laws that it declares.

What the kernel may do with a reducer follows from its laws (see ``plait.reducers``), and it
believes what is declared. ``check_reducer`` is how to earn that belief::

    def test_newest_keeps_its_laws() -> None:
        check_reducer(newest, st.tuples(st.integers(), st.text()))
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any, Literal, TypeAlias

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from ..errors import shorten
from ..reducers import MISSING, LawClass, Reducer, as_reducer
from .equality import copied, floats_in, same

__all__ = [
    "Law",
    "LawReport",
    "LawResult",
    "LawViolation",
    "check_reducer",
    "laws_table",
]

Law: TypeAlias = Literal["pure", "associative", "order-free", "idempotent", "identity", "batch"]
Equal: TypeAlias = Callable[[Any, Any], bool]

_SENTENCES: dict[Law, str] = {
    "pure": "it leaves its arguments as they are, and gives the same result for the same arguments",
    "associative": "writes may be combined among themselves first: f(f(v, a), b) == f(v, f(a, b))",
    "order-free": "any order of the same writes gives the same value: f(f(v, a), b) == f(f(v, b), a)",
    "idempotent": "a write that is repeated changes nothing: f(f(v, a), a) == f(v, a)",
    "identity": "the neutral value e changes nothing: f(v, e) == v == f(e, v)",
    "batch": "folding many writes at once gives what folding them one by one does",
}


# -- the report -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LawResult:
    """What came of testing one law."""

    law: Law
    holds: bool | None
    """``None`` where the law says nothing about the reducer."""
    declared: bool
    """Whether the reducer must keep it."""
    detail: str = ""
    """The smallest counterexample, or why the law says nothing."""

    def __str__(self) -> str:
        verdict = {True: "holds", False: "does not hold", None: "does not apply"}[self.holds]
        declared = " (declared)" if self.declared and self.law not in {"pure", "batch"} else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.law:<12} {verdict}{declared}{detail}"


@dataclass(frozen=True, slots=True)
class LawReport:
    """Which laws a reducer keeps, as far as the examples tell."""

    reducer: str
    """Its name."""
    results: tuple[LawResult, ...]

    def __getitem__(self, law: Law) -> LawResult:
        return next(result for result in self.results if result.law == law)

    def holds(self, *laws: Law) -> bool:
        """Whether all these laws hold."""
        return all(self[law].holds is True for law in laws)

    @property
    def law_class(self) -> LawClass | None:
        """The class that a reducer with these laws belongs to; ``None`` if it is not even pure.

        A law that does not apply stands in nobody's way.
        """
        if self["pure"].holds is False:
            return None
        if self["associative"].holds is False or not self.holds("order-free"):
            return "ordered"
        return "lattice" if self.holds("idempotent") else "commutative"

    def __str__(self) -> str:
        return "\n".join([f"{self.reducer}: {self.law_class or 'not a reducer'}"] + [
            f"    {result}" for result in self.results
        ])


class LawViolation(AssertionError):
    """A reducer breaks a law that it must keep.

    Attributes:
        reducer: its name.
        law: the law.
        counterexample: the smallest one found, in words.
    """

    def __init__(self, reducer: str, law: Law | None, sentence: str, counterexample: str) -> None:
        self.reducer = reducer
        self.law = law
        self.counterexample = counterexample
        super().__init__(f"reducer {reducer!r} {sentence}\n{counterexample}")


# -- checking ---------------------------------------------------------------------------------


def check_reducer(
    reducer: Reducer[Any] | Callable[[Any, Any], Any],
    values: SearchStrategy[Any],
    *,
    start: SearchStrategy[Any] | None = None,
    equal: Equal | None = None,
    tolerance: float | None = None,
    max_examples: int = 100,
    seed: int = 0,
) -> LawReport:
    """Test a reducer against its laws.

    A ``Reducer`` must keep the laws that it declares, and two more that hold for all: *pure*, and
    *batch* if it folds in batches. Of a plain function nothing is asked but that it takes what it
    is given; the report says what it could declare.

    The channel begins as the kernel would begin it: at the identity, or, where there is none, at
    the first write. *Pure* also means that a result is a new object, so that whoever holds an
    argument does not hold the result: a reducer may always hand back one of its arguments (a
    choice, such as ``maximum``), or never. What is *in* a value may be passed on, since the state
    is never changed in place.

    Args:
        reducer: a ``Reducer``, or any function ``(value, write) -> value``.
        values: makes writes, and values too, unless ``start`` makes those. They should be such
            as the channel may hold.
        start: makes values, where a value is no write (a mean of numbers, say, kept as a pair).
            The laws that speak of combining writes do not apply then.
        equal: when two results count as the same, in place of ``==``.
        tolerance: how far two floats may be apart, relative to the largest magnitude among the
            values at hand (at least 1); ``1e-9`` suits sums of some dozen. Without it floats
            must be equal, and their addition is not associative.
        max_examples: how many examples to try for each law.
        seed: which examples; the same seed makes the same ones.

    Raises:
        LawViolation: an ``AssertionError`` with the smallest counterexample, shrunk by Hypothesis.
        ValueError: both ``equal`` and ``tolerance`` were given.
    """
    if equal is not None and tolerance is not None:
        raise ValueError("give equal= or tolerance=, not both: equal decides alone")
    checker = _Checker(reducer, values, start, equal, tolerance, max_examples, seed)
    return checker.report()


Lines: TypeAlias = list[tuple[str, Any]]
"""A counterexample: expressions and what they came to."""


class _Raised:
    """Stands for the result of a call that raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"raised {type(self.error).__name__}: {self.error}"


class _Checker:
    """One call of :func:`check_reducer`."""

    def __init__(
        self,
        reducer: Reducer[Any] | Callable[[Any, Any], Any],
        values: SearchStrategy[Any],
        start: SearchStrategy[Any] | None,
        equal: Equal | None,
        tolerance: float | None,
        max_examples: int,
        seed: int,
    ) -> None:
        self.declares = isinstance(reducer, Reducer)
        self.reducer: Reducer[Any] = as_reducer(reducer, None)
        self.equal = equal
        self.tolerance = tolerance
        self.max_examples = max_examples
        self.seed = seed
        # The state makes a list of a lone item before it gets to the reducer.
        self.writes = values.map(_as_list) if self.reducer.items else values
        self.neutral = self._find_neutral()
        self.starts, self.values = self._starts(start)
        self.combines = start is None and self._combines()
        self.builds = self._builds()

    def _find_neutral(self) -> Any:
        """The declared identity; for a plain function, the empty value of its writes' type."""
        if self.reducer.identity is not None:
            return self.reducer.identity()
        if self.declares:
            return MISSING
        kind = type(self._find(self.writes, lambda _: True))
        return kind() if kind in _HAVE_EMPTY else MISSING

    def _starts(
        self, start: SearchStrategy[Any] | None
    ) -> tuple[SearchStrategy[Any], SearchStrategy[Any]]:
        """What a channel may be when a write comes: with "no value yet", and without."""
        if start is not None:
            return start, start
        if self.reducer.identity is None:
            return st.just(MISSING) | self.writes, self.writes
        reached = st.lists(self.writes, max_size=2).map(self._reach)
        return reached, reached

    def _reach(self, writes: list[Any]) -> Any:
        assert self.reducer.identity is not None
        return self.fold(self.reducer.identity(), *writes)

    def _combines(self) -> bool:
        """Whether a write can stand where a value does."""
        if self.reducer.identity is None:  # then the first write is the first value
            return True
        pairs = st.tuples(self.writes, self.writes)
        return self._find(pairs, lambda pair: isinstance(self.fold(*pair), _Raised)) is None

    # -- tools --------------------------------------------------------------------------------

    def _find(self, strategy: SearchStrategy[Any], condition: Callable[[Any], bool]) -> Any:
        """The smallest example of a condition; ``None`` if none was found."""
        try:
            return find(
                strategy,
                condition,
                settings=settings(
                    max_examples=self.max_examples,
                    database=None,
                    deadline=None,
                    phases=(Phase.generate, Phase.shrink),
                ),
                random=Random(self.seed),
            )
        except NoSuchExample:
            return None

    def fold(self, value: Any, *writes: Any) -> Any:
        """Fold one by one, on copies, so that no law suffers from a reducer that is not pure."""
        value, *rest = copied([value, *writes])
        if value is MISSING:
            value, *rest = rest
        try:
            for write in rest:
                value = self.reducer.fn(value, write)
        except Exception as error:
            return _Raised(error)
        return value

    def same(self, first: Any, second: Any, inputs: Sequence[Any] = ()) -> bool:
        """Whether two results count as the same."""
        if isinstance(first, _Raised) or isinstance(second, _Raised):
            return False
        if self.equal is not None:
            return bool(self.equal(first, second))
        if self.tolerance is None:
            return same(first, second)
        magnitude = max(map(abs, floats_in([first, second, *inputs])), default=1.0)
        return same(first, second, self.tolerance * max(1.0, magnitude))

    # -- the laws -----------------------------------------------------------------------------

    def report(self) -> LawReport:
        self._check_defined()
        reducer = self.reducer
        results = (
            self._check("pure", self.declares, 2, self._impure, self.values),
            self._check("associative", reducer.associative, 2, self._not_associative, self.values),
            self._check("order-free", reducer.commutative, 2, self._not_order_free, self.starts),
            self._check("idempotent", reducer.idempotent, 1, self._not_idempotent, self.starts),
            self._check_identity(),
            self._check_batch(),
        )
        return LawReport(reducer.name, results)

    def _check_defined(self) -> None:
        """A reducer takes every value and every write; else there is nothing to say about it."""
        pairs = st.tuples(self.starts, self.writes)
        found = self._find(pairs, lambda pair: isinstance(self.fold(*pair), _Raised))
        if found is None:
            return
        lines = [*_named(found[0], found[1:]), ("f(v, a)", self.fold(*found))]
        raise LawViolation(
            self.reducer.name,
            None,
            "raises for values that it was to be tested with. If a value of its channel is of "
            "another kind than a write, say what makes values: start=...",
            _show(lines),
        )

    def _check(
        self,
        law: Law,
        declared: bool,
        writes: int,
        broken: Callable[..., Lines | None],
        values: SearchStrategy[Any],
    ) -> LawResult:
        """Look for a value and some writes for which ``broken`` says how the law is broken.

        Writes are drawn by the handful, and all ways to choose some are tried: many laws are broken
        only where two writes have something in common, a key or a timestamp.
        """
        if law == "associative" and not self.combines:
            return LawResult(law, None, declared, "a write is not a value, so writes do not combine")
        handful = st.tuples(*[self.writes] * (_HANDFUL if writes else 0))
        drawn = st.tuples(values, handful)
        return self._judge(law, declared, drawn, lambda given: product(given, repeat=writes), broken)

    def _judge(
        self,
        law: Law,
        declared: bool,
        drawn: SearchStrategy[tuple[Any, Sequence[Any]]],
        choices: Callable[[Sequence[Any]], Iterable[Sequence[Any]]],
        broken: Callable[..., Lines | None],
    ) -> LawResult:
        def counterexample(example: tuple[Any, Sequence[Any]]) -> tuple[Sequence[Any], Lines] | None:
            value, given = example
            for writes in choices(given):
                shown = copied([value, *writes])
                lines = broken(*copied(shown))
                if lines is not None:
                    return shown, lines
            return None

        found = self._find(drawn, lambda example: counterexample(example) is not None)
        if found is None:
            return LawResult(law, True, declared)
        broken_by = counterexample(found)
        assert broken_by is not None
        (value, *writes), lines = broken_by
        lines = [*_named(value, writes), *lines]
        note = ""
        if law not in {"pure", "idempotent"} and any(True for _ in floats_in([value, *writes])):
            note = (
                "\n    Floats are rounded, so their addition is not associative. If results this "
                "close will do, declare a tolerance, for example tolerance=1e-9"
            )
        if declared:
            must = "must keep" if law in {"pure", "batch"} else "declares"
            raise LawViolation(
                self.reducer.name,
                law,
                f"breaks the law {law!r}, which it {must}: {_SENTENCES[law]}",
                _show(lines) + note,
            )
        return LawResult(law, False, declared, _show_in_line(lines) + note.replace("\n   ", "."))

    def _impure(self, value: Any, first: Any, second: Any) -> Lines | None:
        fn = self.reducer.fn
        before = copied([value, first, second])
        try:
            result = fn(value, first)
            kept = copied(result)
            again = fn(value, first)
            fn(value, second)
            fn(result, second)
            fn(result, first)
        except Exception as error:
            return [("f(f(v, a), b)", _Raised(error))]
        for name, old, new in zip("vab", before, [value, first, second], strict=True):
            if not same(old, new):
                return [(f"{name} after f(v, a)", new)]
        if not same(kept, result):
            return [("f(v, a)", kept), ("the same object after another call", result)]
        if not self.same(kept, again):
            return [("f(v, a)", kept), ("f(v, a) again", again)]
        shared = next((n for n, o in [("v", value), ("a", first)] if o is result), None)
        if shared is not None and _is_mutable(result) and self.builds:
            words = f"is the object {shared} itself, though elsewhere it is a new one"
            return [("f(v, a)", result), ("the result", _Words(words))]
        return None

    def _builds(self) -> bool:
        """Whether the reducer makes new objects: it does not always choose an argument."""

        def makes_new(pair: Any) -> bool:
            try:
                result = self.reducer.fn(*pair)
            except Exception:
                return False
            return all(result is not argument for argument in pair)

        return self._find(st.tuples(self.values, self.writes), makes_new) is not None

    def _not_associative(self, value: Any, first: Any, second: Any) -> Lines | None:
        combined = self.fold(first, second)
        left = self.fold(value, first, second)
        right = combined if isinstance(combined, _Raised) else self.fold(value, combined)
        if self.same(left, right, [value, first, second]):
            return None
        return [("f(f(v, a), b)", left), ("f(v, f(a, b))", right)]

    def _not_order_free(self, value: Any, first: Any, second: Any) -> Lines | None:
        left, right = self.fold(value, first, second), self.fold(value, second, first)
        if self.same(left, right, [value, first, second]):
            return None
        return [("a, then b", left), ("b, then a", right)]

    def _not_idempotent(self, value: Any, write: Any) -> Lines | None:
        once, twice = self.fold(value, write), self.fold(value, write, write)
        if self.same(once, twice, [value, write]):
            return None
        return [("a once", once), ("a twice", twice)]

    def _check_identity(self) -> LawResult:
        declared = self.reducer.identity is not None
        if self.neutral is MISSING or not self.combines:
            why = "a write is not a value" if self.neutral is not MISSING else "there is none"
            return LawResult("identity", None, declared, why)
        result = self._check("identity", declared, 0, self._not_neutral, self.values)
        if result.holds:
            return LawResult("identity", True, declared, f"e = {self.neutral!r}")
        return result

    def _not_neutral(self, value: Any) -> Lines | None:
        after, before = self.fold(value, self.neutral), self.fold(self.neutral, value)
        if self.same(after, value, [value]) and self.same(before, value, [value]):
            return None
        return [("e", self.neutral), ("f(v, e)", after), ("f(e, v)", before)]

    def _check_batch(self) -> LawResult:
        if self.reducer.batch is None:
            return LawResult("batch", None, self.declares, "it folds one by one")
        several = st.lists(self.writes, max_size=_HANDFUL)
        drawn = st.tuples(self.values, several)
        return self._judge("batch", self.declares, drawn, lambda given: [given], self._not_batched)

    def _not_batched(self, value: Any, *writes: Any) -> Lines | None:
        assert self.reducer.batch is not None
        one_by_one = self.fold(value, *writes)
        given = copied([value, *writes])
        try:
            at_once = self.reducer.batch(given[0], given[1:])
        except Exception as error:
            at_once = _Raised(error)
        if not same(given, [value, *writes]):
            return [("the arguments after batch(v, [...])", given)]
        if self.same(one_by_one, at_once, [value, *writes]):
            return None
        return [("one by one", one_by_one), ("at once", at_once)]


_HANDFUL = 5
"""How many writes are drawn at a time."""

_HAVE_EMPTY = frozenset(
    {list, dict, set, frozenset, tuple, int, float, complex, str, bytes, bool},
)


class _Words:
    """Shows words as they are."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __repr__(self) -> str:
        return self.words


def _as_list(write: Any) -> list[Any]:
    return write if isinstance(write, list) else [write]


def _is_mutable(value: Any) -> bool:
    """Python's own convention: what can be changed in place cannot be hashed."""
    try:
        hash(value)
    except TypeError:
        return True
    return False


def _named(value: Any, writes: Sequence[Any]) -> Lines:
    shown = _Words("(no value yet)") if value is MISSING else value
    return [("v", shown), *zip("abcdefgh", writes, strict=False)]


def _show(lines: Lines) -> str:
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"    {name:<{width}}  {shorten(value, 200)}" for name, value in lines)


def _show_in_line(lines: Lines) -> str:
    return ", ".join(f"{name} = {shorten(value, 40)}" for name, value in lines)


# -- the table --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A usual reducer, as a plain function: what holds is found out, not declared."""

    name: str
    fn: Callable[[Any, Any], Any]
    values: SearchStrategy[Any]
    tolerance: float | None = None


def _dedupe(value: list[Any], write: list[Any]) -> list[Any]:
    return [*value, *(item for item in write if item not in value)]


def _three_largest(value: list[int], write: list[int]) -> list[int]:
    return sorted([*value, *write], reverse=True)[:3]


def _add_by_key(value: dict[str, int], write: dict[str, int]) -> dict[str, int]:
    return {key: value.get(key, 0) + write.get(key, 0) for key in [*value, *write]}


def _later(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, write: write if key(write) > key(value) else value


def _rows() -> list[_Row]:
    small = st.integers(-100, 100)
    some = st.lists(small, max_size=4)
    distinct = st.lists(small, max_size=4, unique=True)
    counts = st.dictionaries(st.sampled_from("xyz"), small, max_size=3)
    # (time, writer, what was written): a writer writes one thing at a time.
    stamped = st.tuples(st.integers(0, 3), st.sampled_from("xyz")).map(
        lambda pair: (*pair, f"{pair[1]}{pair[0]}")
    )
    pairs = st.tuples(small, st.integers(1, 9))
    return [
        _Row("list `+`", operator.add, some),
        _Row("int `+`", operator.add, small),
        _Row("float `+`", operator.add, st.floats(-1e6, 1e6)),
        _Row("float `+`, within `tolerance=1e-9`", operator.add, st.floats(-1e6, 1e6), 1e-9),
        _Row("dict update", lambda value, write: {**value, **write}, counts),
        _Row("set union", operator.or_, st.sets(small, max_size=4)),
        _Row("max", max, small),
        _Row("append what is new (dedupe)", _dedupe, distinct),
        _Row("top-k", _three_largest, some.map(lambda items: _three_largest(items, []))),
        _Row("last write", lambda _, write: write, small),
        _Row("first write", lambda value, _: value, small),
        _Row("last write by timestamp, no tie-break", _later(lambda write: write[0]), stamped),
        _Row("last write by timestamp and writer", _later(lambda write: (write[0], write[1])), stamped),
        _Row("dict of sums", _add_by_key, counts),
        _Row("running mean, as `(v + w) / 2`", lambda value, write: (value + write) / 2, small),
        _Row("mean, as sum and count", lambda v, w: (v[0] + w[0], v[1] + w[1]), pairs),
    ]


def laws_table() -> str:
    """The laws of the usual reducers, found out by :func:`check_reducer`, as a Markdown table."""
    lines = [
        "| reducer | associative | order-free | idempotent | neutral value | so it is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in _rows():
        report = check_reducer(row.fn, row.values, tolerance=row.tolerance)
        laws: list[Law] = ["associative", "order-free", "idempotent"]
        cells = ["yes" if report.holds(law) else "no" for law in laws]
        identity = report["identity"]
        cells.append(f"`{identity.detail.removeprefix('e = ')}`" if identity.holds else "none")
        kind = str(report.law_class)
        if not report.holds("associative"):
            kind += " (not associative)"
        lines.append(f"| {row.name} | {' | '.join(cells)} | {kind} |")
    return "\n".join(lines) + "\n"
