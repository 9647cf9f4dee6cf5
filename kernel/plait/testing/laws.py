"""Tests a reducer against the laws that it declares.

What the kernel may do with a reducer follows from its laws (see ``plait.reducers``), and it
believes what is declared. ``check_reducer`` is how to earn that belief::

    def test_newest_keeps_its_laws() -> None:
        check_reducer(newest, st.tuples(st.integers(), st.text()))
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from random import Random
from typing import Any, Literal, TypeAlias

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from plait.codec import Codec, CodecError
from plait.errors import PlaitError, shorten
from plait.reducers import MISSING, LawClass, Reducer, as_reducer

from .equality import copied, floats_in, same

__all__ = [
    "Law",
    "LawReport",
    "LawResult",
    "LawViolation",
    "check_reducer",
    "laws_table",
]

Law: TypeAlias = Literal[
    "pure", "associative", "order-free", "idempotent", "identity", "batch", "codec"
]
Equal: TypeAlias = Callable[[Any, Any], bool]

_SENTENCES: dict[Law, str] = {
    "pure": "it leaves its arguments as they are, and gives the same result for the same arguments",
    "associative": "writes may be combined among themselves first: f(f(v, a), b) == f(v, f(a, b))",
    "order-free": "any order of writes gives the same value: f(f(v, a), b) == f(f(v, b), a)",
    "idempotent": "a write that is repeated changes nothing: f(f(v, a), a) == f(v, a)",
    "identity": "the neutral value e changes nothing: f(v, e) == v, f(f(e, a), b) == f(a, b)",
    "batch": "folding many writes at once gives what folding them one by one does",
    "codec": "values, writes and results come back from storage as they were, and fold the same",
}

_OF_ALL: frozenset[Law] = frozenset({"pure", "batch", "codec"})
"""The laws that nobody declares."""


# -- the report -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LawResult:
    """What came of testing one law."""

    law: Law
    holds: bool | None
    """``None`` where the law says nothing about the reducer, or could not be tested."""
    declared: bool
    """Whether the reducer must keep it."""
    detail: str = ""
    """The smallest counterexample, or why there is no verdict."""

    def __str__(self) -> str:
        verdict = {True: "holds", False: "does not hold", None: "does not apply"}[self.holds]
        declared = " (declared)" if self.declared and self.law not in _OF_ALL else ""
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
        return "\n".join(
            [f"{self.reducer}: {self.law_class or 'not a reducer'}"]
            + [f"    {result}" for result in self.results]
        )


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
    codec: Codec | None = None,
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

    The law *codec* tells whether the channel can be in a thread that is stored. Without ``codec=``
    it is only reported, since a flow without a store keeps anything.

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
        codec: what values are to be stored with: the law *codec* must hold then. Without it they
            are tried with one that knows Python's own types; if ormsgpack is missing, they are not.
        max_examples: how many examples to try for each law.
        seed: which examples; the same seed makes the same ones.

    Raises:
        LawViolation: an ``AssertionError`` with the smallest counterexample, shrunk by Hypothesis.
        ValueError: both ``equal`` and ``tolerance`` were given.
    """
    if equal is not None and tolerance is not None:
        raise ValueError("give equal= or tolerance=, not both: equal decides alone")
    checker = _Checker(reducer, values, start, equal, tolerance, codec, max_examples, seed)
    return checker.report()


Lines: TypeAlias = list[tuple[str, Any]]
"""A counterexample: expressions and what they came to."""


class _Raised:
    """Stands for the result of a call that raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"raised {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class _Test:
    """A law as something that can be broken."""

    declared: bool
    choices: Callable[[Sequence[Any]], Iterable[Sequence[Any]]]
    """Which of the writes at hand to try, in which orders."""
    broken: Callable[..., Lines | None]
    """Says for a value and some writes how they break the law; ``None`` if they do not."""


_Example: TypeAlias = tuple[Any, tuple[Any, ...]]
"""A value from ``start`` (``MISSING`` without one), and a handful of writes."""


class _Checker:
    """One call of :func:`check_reducer`."""

    def __init__(
        self,
        reducer: Reducer[Any] | Callable[[Any, Any], Any],
        values: SearchStrategy[Any],
        start: SearchStrategy[Any] | None,
        equal: Equal | None,
        tolerance: float | None,
        codec: Codec | None,
        max_examples: int,
        seed: int,
    ) -> None:
        self.declares = isinstance(reducer, Reducer)
        self.must_be_stored = codec is not None
        self.reducer: Reducer[Any] = as_reducer(reducer, None)
        self.name = str(self.reducer.name)
        self.equal = equal
        self.tolerance = tolerance
        self.max_examples = max_examples
        self.seed = seed
        # The state makes a list of a lone item before it gets to the reducer.
        writes = values.map(_as_list) if self.reducer.items else values
        self.has_start = start is not None
        # Writes come by the handful, and all ways to choose some are tried: many laws are broken
        # only where two writes have something in common, a key or a timestamp.
        starts = st.just(MISSING) if start is None else start
        self.examples = st.tuples(starts, st.tuples(*[writes] * _HANDFUL))
        self.few = st.tuples(starts, st.tuples(*[writes] * _FEW))
        self.copies = True
        self.neutral = self._neutral()
        self.codec = codec
        self.no_codec = ""
        if codec is None:
            try:
                self.codec = Codec()
            except PlaitError as error:  # what it needs is not installed
                self.no_codec = f"not checked: {error}"

    def _neutral(self) -> Any:
        """The declared identity; for a plain function, the empty value of its writes' type."""
        if self.reducer.identity is not None:
            return self.reducer.identity()
        found = None if self.declares else self._find(lambda _: True, self.few)
        kind = type(found[1][0]) if found is not None else None
        return kind() if kind in _HAVE_EMPTY else MISSING

    # -- tools --------------------------------------------------------------------------------

    def _find(
        self,
        condition: Callable[[_Example], bool],
        examples: SearchStrategy[_Example],
        *,
        shrink: bool = True,
    ) -> _Example | None:
        """The smallest example of a condition; ``None`` if none was found."""
        try:
            return find(
                examples,
                condition,
                settings=settings(
                    max_examples=self.max_examples,
                    database=None,
                    deadline=None,
                    phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
                ),
                random=Random(self.seed),
            )
        except NoSuchExample:
            return None

    def fold(self, value: Any, *writes: Any) -> Any:
        """Fold one by one; on copies as long as the reducer may change its arguments."""
        if self.copies:
            value, *writes = copied([value, *writes])  # type: ignore[assignment]
        if value is MISSING:
            value, *writes = writes  # type: ignore[assignment]
        try:
            for write in writes:
                value = self.reducer.fn(value, write)
        except Exception as error:
            return _Raised(error)
        return value

    def values(self, example: _Example) -> list[Any]:
        """What the channel may be when a write comes, as far as an example goes."""
        start, (first, second, *_) = example
        if self.has_start:
            return [start]
        if self.reducer.identity is None:
            return [MISSING, first]
        empty = self.reducer.identity()
        return [empty, self.fold(empty, first), self.fold(empty, first, second)]

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

    def counterexample(self, test: _Test, example: _Example) -> Lines | None:
        """How an example breaks a law, if it does."""
        for value in self.values(example):
            for writes in test.choices(example[1]):
                given = copied([value, *writes]) if self.copies else [value, *writes]
                lines = test.broken(*given)
                if lines is not None:
                    return [*_named(value, writes), *lines]
        return None

    def judge(self, tests: Mapping[Law, _Test]) -> dict[Law, LawResult]:
        """Try each example on all laws; then look for the smallest that breaks each broken one."""
        standing = dict(tests)

        def visit(example: _Example) -> bool:
            for law, test in list(standing.items()):
                if self.counterexample(test, example) is not None:
                    del standing[law]
            return False

        self._find(visit, self.examples, shrink=False)
        return {
            law: LawResult(law, True, test.declared) if law in standing else self._broken(law, test)
            for law, test in tests.items()
        }

    def _broken(self, law: Law, test: _Test) -> LawResult:
        found = None
        for examples in (self.few, self.examples):  # few are shrunk in a tenth of the time
            if found is None:
                found = self._find(
                    lambda given: self.counterexample(test, given) is not None, examples
                )
        lines = self.counterexample(test, found) if found is not None else None
        if lines is None:
            lines = [("it", _Words("does not behave the same way twice"))]
        note = ""
        given = [value for name, value in lines if name in _NAMES]
        if law in {"associative", "order-free", "batch"} and any(True for _ in floats_in(given)):
            note = (
                "Floats are rounded, so their addition is not associative. If results this close "
                "will do, declare a tolerance, for example tolerance=1e-9"
            )
        if test.declared:
            must = "must keep" if law in _OF_ALL else "declares"
            raise LawViolation(
                self.name,
                law,
                f"breaks the law {law!r}, which it {must}: {_SENTENCES[law]}",
                _show(lines) + (note and f"\n    {note}"),
            )
        return LawResult(law, False, False, _show_in_line(lines) + (note and f". {note}"))

    # -- the laws -----------------------------------------------------------------------------

    def report(self) -> LawReport:
        reducer = self.reducer
        combines, builds = self._probe()
        pure = self._judge_purity(builds)
        self.copies = not pure.holds
        tests: dict[Law, _Test] = {
            "associative": _Test(reducer.associative, _pairs, self._not_associative),
            "order-free": _Test(reducer.commutative, _pairs, self._not_order_free),
            "idempotent": _Test(reducer.idempotent, _singles, self._not_idempotent),
            "identity": _Test(reducer.identity is not None, _pairs, self._not_neutral),
            "batch": _Test(self.declares, _prefixes, self._not_batched),
            "codec": _Test(self.must_be_stored, _singles, self._not_stored),
        }
        silent: dict[Law, str] = {}
        if not combines:
            silent["associative"] = silent["identity"] = (
                "a write is no value, so two do not combine"
            )
        elif self.neutral is MISSING:
            silent["identity"] = "there is none"
        if reducer.batch is None:
            silent["batch"] = "it folds one by one"
        if self.codec is None:
            silent["codec"] = self.no_codec
        found = self.judge({law: test for law, test in tests.items() if law not in silent})
        for law, why in silent.items():
            found[law] = LawResult(law, None, tests[law].declared, why)
        if found["identity"].holds:
            found["identity"] = replace(found["identity"], detail=f"e = {self.neutral!r}")
        return LawReport(self.name, (pure, *(found[law] for law in tests)))

    def _probe(self) -> tuple[bool, bool]:
        """Whether a write can stand where a value does, and whether the reducer makes new objects.

        Raises ``LawViolation`` where it raises; then there is nothing more to say about it.
        """
        combines, builds = not self.has_start, False

        def visit(example: _Example) -> bool:
            nonlocal combines, builds
            writes = example[1]
            if self.reducer.identity is not None and combines:
                combines = not any(isinstance(self.fold(*pair), _Raised) for pair in _pairs(writes))
            if self._raises(example) is not None:
                return True
            value, write = copied([self.values(example)[-1], writes[-1]])
            builds = builds or all(self.reducer.fn(value, write) is not x for x in (value, write))
            return False

        found = self._find(visit, self.few)
        if found is not None:
            raise LawViolation(
                self.name,
                None,
                "raises for values that it was to be tested with. If a value of its channel is of "
                "another kind than a write, say what makes values: start=...",
                _show(self._raises(found) or []),
            )
        return combines, builds

    def _raises(self, example: _Example) -> Lines | None:
        for value in self.values(example):
            for write in example[1]:
                result = value if isinstance(value, _Raised) else self.fold(value, write)
                if isinstance(result, _Raised):
                    return [*_named(value, [write]), ("f(v, a)", result)]
        return None

    def _judge_purity(self, builds: bool) -> LawResult:
        test = _Test(self.declares, _neighbours, self._impure)
        result = self.judge({"pure": test})["pure"]
        if result.holds and builds:
            test = _Test(self.declares, _singles, self._aliased)
            result = self.judge({"pure": test})["pure"]
        return result

    def _impure(self, value: Any, first: Any, second: Any) -> Lines | None:
        if value is MISSING:
            return None
        fn = self.reducer.fn
        before = copied([value, first, second])
        try:
            result = fn(value, first)
            kept = copied(result)
            again = fn(value, first)
            for write in (second, first):
                fn(value, write)
                fn(result, write)
        except Exception as error:
            return [("f(f(v, a), b)", _Raised(error))]
        for name, old, new in zip(_NAMES, before, [value, first, second], strict=False):
            if not same(old, new):
                return [(f"{name} afterwards", new)]
        if not same(kept, result):
            return [("f(v, a)", kept), ("the same object after further calls", result)]
        if not self.same(kept, again):
            return [("f(v, a)", kept), ("f(v, a) once more", again)]
        return None

    def _aliased(self, value: Any, write: Any) -> Lines | None:
        if value is MISSING:
            return None
        result = self.reducer.fn(value, write)
        shared = "v" if result is value else "a" if result is write else None
        if shared is None or not _is_mutable(result):
            return None
        words = f"is the object {shared} itself, though elsewhere it is a new one"
        return [("f(v, a)", result), ("the result", _Words(words))]

    def _not_associative(self, value: Any, first: Any, second: Any) -> Lines | None:
        if value is MISSING:
            return None
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

    def _not_neutral(self, value: Any, first: Any, second: Any) -> Lines | None:
        neutral = self.neutral
        if value is not MISSING:
            after = self.fold(value, neutral)
            if not self.same(after, value, [value]):
                return [("e", neutral), ("f(v, e)", after)]
        # Not f(e, a) == a: a reducer that keeps its value sorted, say, may take any list.
        begun, bare = self.fold(neutral, first, second), self.fold(first, second)
        if self.same(begun, bare, [first, second]):
            return None
        return [("e", neutral), ("f(f(e, a), b)", begun), ("f(a, b)", bare)]

    def _not_batched(self, value: Any, *writes: Any) -> Lines | None:
        if value is MISSING:
            return None
        assert self.reducer.batch is not None
        one_by_one = self.fold(value, *writes)
        given = copied([value, list(writes)])
        try:
            at_once = self.reducer.batch(*given)
        except Exception as error:
            at_once = _Raised(error)
        if not same(given, [value, list(writes)]):
            return [("the arguments of the batch afterwards", given)]
        if self.same(one_by_one, at_once, [value, *writes]):
            return None
        return [("one by one", one_by_one), ("at once", at_once)]

    def _not_stored(self, value: Any, write: Any) -> Lines | None:
        result = self.fold(value, write)
        if isinstance(result, _Raised):
            return None
        read: list[Any] = []
        for name, given in zip(("v", "a", "f(v, a)"), (value, write, result), strict=True):
            again = given if given is MISSING else self._read_back(given)
            if type(again) is not type(given) or not same(given, again):
                return [("f(v, a)", result), (f"{name}, read back", again)]
            read.append(again)
        after = self.fold(*read[:2])
        if self.same(result, after, [value, write]):
            return None
        return [("f(v, a)", result), ("f of v and a, read back", after)]

    def _read_back(self, value: Any) -> Any:
        assert self.codec is not None
        try:
            return self.codec.decode(self.codec.encode(value))
        except CodecError as error:
            return _Raised(error)


_NAMES = "vabcdefgh"


def _singles(writes: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return [(write,) for write in writes]


def _pairs(writes: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return product(writes, repeat=2)


def _neighbours(writes: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return pairwise(writes)


def _prefixes(writes: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return [writes[:length] for length in range(len(writes) + 1)]


_HANDFUL = 6
"""How many writes are drawn at a time."""

_FEW = 3
"""As many as the counterexample to any law needs."""

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
    return [("v", shown), *zip(_NAMES[1:], writes, strict=False)]


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
        _Row(
            "last write by timestamp and writer",
            _later(lambda write: (write[0], write[1])),
            stamped,
        ),
        _Row("dict of sums", _add_by_key, counts),
        _Row("running mean, as `(v + w) / 2`", lambda value, write: (value + write) / 2, small),
        _Row("mean, as sum and count", lambda v, w: (v[0] + w[0], v[1] + w[1]), pairs),
    ]


def laws_table() -> str:
    """The laws of the usual reducers, found out by :func:`check_reducer`, as a Markdown table."""
    lines = [
        "| reducer | associative | order-free | idempotent | neutral value | codec | so it is |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in _rows():
        report = check_reducer(row.fn, row.values, tolerance=row.tolerance, max_examples=30)
        laws: list[Law] = ["associative", "order-free", "idempotent"]
        cells = ["yes" if report.holds(law) else "no" for law in laws]
        identity = report["identity"]
        cells.append(f"`{identity.detail.removeprefix('e = ')}`" if identity.holds else "none")
        cells.append({True: "yes", False: "no", None: "not checked"}[report["codec"].holds])
        kind = str(report.law_class)
        if not report.holds("associative"):
            kind += " (not associative)"
        lines.append(f"| {row.name} | {' | '.join(cells)} | {kind} |")
    return "\n".join(lines) + "\n"
