"""Analysis: what a table says in numbers, each with an interval and with how it was computed.

Every interval is a percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13): rows are drawn with replacement, as many as there are, again and again, and the
interval is what the middle 95% of the results span. The draws come from `random.Random(SEED)`, so
the same table gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from statistics import StatisticsError, correlation, fmean, linear_regression, median, stdev
from typing import TypeVar

from plait.orchestration.brief import AnalysisType
from plait.orchestration.errors import TableError
from plait.orchestration.results import Measure
from plait.orchestration.sources import Checkpoint
from plait.orchestration.tables import Table

__all__ = ["SEED", "Insight", "analyse", "bootstrap"]

SEED = 20_240_601
"""Where the drawing of every bootstrap begins. Any fixed number would do."""

CONFIDENCE = 0.95
"""The share of intervals that should hold the true value, unless another is asked for."""

RESAMPLES = 1_000
"""How often a bootstrap draws, on tables small enough for that."""

_DRAWS = 1_000_000
_MOST_PAIRS = 6
_MOST_GROUPS = 8
_ENOUGH_ROWS = 10
_FEW_ROWS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Insight:
    """What an analysis found."""

    measures: tuple[Measure, ...]
    """The numbers."""
    quality: float
    """0 to 1, by `how`."""
    how: str
    """The formula of the quality, with its numbers."""
    read: str
    """What was computed on."""
    notes: tuple[str, ...]
    """What a reader must know before believing the numbers."""


@dataclass(slots=True)
class _Draft:
    """What is found while an analysis goes on."""

    check: Checkpoint
    confidence: float | None
    """The share of intervals that should hold the true value; ``None``: no intervals."""
    measures: list[Measure] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    """For each main number, 1 for an interval without width, falling to 0 as it widens."""
    sizes: list[int] = field(default_factory=list)
    """For each main number, the rows behind it."""
    notes: list[str] = field(default_factory=list)

    def main(self, measure: Measure, scale: float) -> None:
        """Take a number that the analysis is about; `scale` is what its width is judged by."""
        self.measures.append(measure)
        self.sizes.append(measure.n)
        if measure.low is None or measure.high is None:
            self.precision.append(0.0)
            return
        half = (measure.high - measure.low) / 2
        self.precision.append(scale / (scale + half) if scale + half > 0 else 1.0)


def analyse(
    kind: AnalysisType,
    table: Table,
    check: Checkpoint,
    *,
    columns: Sequence[str] = (),
    confidence: float | None = CONFIDENCE,
) -> Insight:
    """Compute one kind of analysis on a table.

    Args:
        kind: `describe` (mean, median, spread of each column), `correlation` (Pearson's, of each
        pair),
            `trend` (least squares of the second column over the first), `groups` (the mean of the
            second column by the values of the first, and the widest difference).
        table: the rows.
        check: called between pieces of work, to stop it.
        columns: those to use; without them the ones that fit, in the table's order.
        confidence: the share of intervals that should hold the true value; `None` for no intervals.

    Raises:
        TableError: the table has not the columns or the rows for it.
    """
    draft = _Draft(check, confidence)
    _KINDS[kind](table, list(columns), draft)
    quality, how = _quality(draft)
    return Insight(
        measures=tuple(draft.measures),
        quality=quality,
        how=how,
        read=f"{table.rows:,} {'row' if table.rows == 1 else 'rows'} "
        f"of {len(table.columns)} columns from {', '.join(name for name, _ in table.origins)}",
        notes=(*_dated(table, draft), *draft.notes),
    )


def bootstrap(
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float],
    check: Checkpoint,
    confidence: float = CONFIDENCE,
) -> tuple[float, float, int] | None:
    """The percentile interval of a statistic, and how many draws it is from.

    A draw for which the statistic is undefined (all of one value, say) is left out. There is no
    interval for fewer than two rows, or when fewer than half of the draws can be used.
    """
    if len(rows) < 2:
        return None
    random = Random(SEED)
    draws = max(100, min(RESAMPLES, _DRAWS // len(rows)))
    found: list[float] = []
    for _ in range(draws):
        check()
        try:
            found.append(statistic(random.choices(rows, k=len(rows))))
        except StatisticsError:
            continue
    if len(found) < draws / 2:
        return None
    found.sort()
    cut = (1 - confidence) / 2 * (len(found) - 1)
    return found[math.floor(cut)], found[math.ceil(len(found) - 1 - cut)], len(found)


def _describe(table: Table, columns: list[str], draft: _Draft) -> None:
    names = columns or [name for name in table.numeric() if name not in table.dates]
    if not names:
        raise TableError(f"no numeric column to describe; there are {table.said(table.columns)}")
    for name in names:
        values = [value for (value,) in table.numbers(name)]
        plain = f"of the {len(values)} values of {name}"
        draft.main(
            _measured(f"mean of {name}", values, fmean, draft, f"arithmetic mean {plain}"),
            scale=_size(values),
        )
        for what, number, how in (
            ("median", median(values), "middle value"),
            ("smallest", min(values), "minimum"),
            ("largest", max(values), "maximum"),
        ):
            draft.measures.append(
                _plain(f"{what} of {name}", number, len(values), f"{how} {plain}")
            )
        if len(values) > 1:
            how = f"sample standard deviation {plain}"
            draft.measures.append(
                _plain(f"standard deviation of {name}", stdev(values), len(values), how)
            )
        _note_missing(table, (name,), len(values), draft)


def _correlate(table: Table, columns: list[str], draft: _Draft) -> None:
    names = columns or table.numeric()
    pairs = list(combinations(dict.fromkeys(names), 2))
    if not pairs:
        raise TableError(
            f"a correlation takes two numeric columns; numeric are {table.said(names)}"
        )
    found: list[Measure] = []
    for one, other in pairs:
        rows = table.numbers(one, other)
        how = f"Pearson's r over the {len(rows)} rows that have both"
        try:
            found.append(_measured(f"r of {one} and {other}", rows, _pearson, draft, how))
        except StatisticsError:
            draft.notes.append(f"{one} and {other} have no correlation: {_why_undefined(rows)}.")
        _note_missing(table, (one, other), len(rows), draft)
    if not found:
        raise TableError(f"no pair has a correlation: {' '.join(draft.notes)}")
    found.sort(key=lambda measure: -abs(measure.value))
    for measure in found[:_MOST_PAIRS]:
        draft.main(measure, scale=1.0)
        if (
            measure.low is not None
            and measure.high is not None
            and measure.low <= 0 <= measure.high
        ):
            draft.notes.append(f"The interval of the {measure.name} has 0 in it: it may be none.")
    if len(found) > 1:
        draft.notes.append(
            f"The strongest {len(draft.measures)} of {len(found)} correlations are given. The more "
            "are looked at, the stronger the strongest is by chance: no interval allows for that."
        )


def _trend(table: Table, columns: list[str], draft: _Draft) -> None:
    over, name, *_ = [*(columns or table.numeric()), "", ""]
    if not name:
        raise TableError(
            f"a trend takes two numeric columns; numeric are {table.said(table.numeric())}"
        )
    rows = table.numbers(over, name)
    try:
        slope = _slope(rows)
        intercept = fmean(y for _, y in rows) - slope * fmean(x for x, _ in rows)
    except StatisticsError:
        raise TableError(f"no trend of {name} over {over}: {_why_undefined(rows)}") from None
    how = f"slope of the least-squares line through {len(rows)} rows"
    unit = "day" if over in table.dates else f"unit of {over}"
    measure = _measured(f"change of {name} for one {unit}", rows, _slope, draft, how)
    draft.main(measure, scale=abs(slope))
    draft.measures.append(
        _plain(f"{name} at {over} = 0", intercept, len(rows), "where that line meets zero")
    )
    try:
        r_squared = _pearson(rows) ** 2
        how = "Pearson's r, squared: the share of the variance that the line accounts for"
        draft.measures.append(_plain(f"r² of {name} over {over}", r_squared, len(rows), how))
    except StatisticsError:
        draft.notes.append(f"{name} is the same in every row.")
    if measure.low is not None and measure.high is not None and measure.low <= 0 <= measure.high:
        draft.notes.append("The interval of the change has 0 in it: there may be no trend.")
    _note_missing(table, (over, name), len(rows), draft)


def _groups(table: Table, columns: list[str], draft: _Draft) -> None:
    by, name = _group_columns(table, columns)
    table.numbers(name)
    groups: dict[str, list[float]] = {}
    used = 0
    for key, value in zip(table.columns[by], table.columns[name], strict=True):
        if key is not None and isinstance(value, float):
            groups.setdefault(key if isinstance(key, str) else f"{key:g}", []).append(value)
            used += 1
    if len(groups) < 2:
        only = f'; {by} is "{next(iter(groups))}" in all of them' if groups else ""
        raise TableError(f"no groups to compare: {used} rows have {by} and {name}{only}")
    ordered = sorted(groups.items(), key=lambda item: -fmean(item[1]))
    if len(ordered) > _MOST_GROUPS:
        draft.notes.append(
            f"{len(ordered)} groups; given are the {_MOST_GROUPS} of the highest means."
        )
    for key, values in ordered[:_MOST_GROUPS]:
        how = f"arithmetic mean of the {len(values)} rows with {by} = {key}"
        named = f"mean of {name} where {by} is {key}"
        draft.main(_measured(named, values, fmean, draft, how), scale=_size(values))
        if len(values) < 2:
            draft.notes.append(f"{by} = {key} is a single row: no interval.")
        elif len(values) < _FEW_ROWS:
            draft.notes.append(
                f"{by} = {key} is {len(values)} rows: an interval from so few is too narrow."
            )
    _difference(name, ordered, draft)
    _note_missing(table, (by, name), used, draft)


def _group_columns(table: Table, columns: list[str]) -> tuple[str, str]:
    if len(columns) >= 2:
        return table.column(columns[0]), table.column(columns[1])
    if columns:
        raise TableError(
            f'groups take two columns, what to group by and what to compare; got "{columns[0]}"'
        )
    numeric = table.numeric()
    # A column that is different in every row names the rows; it makes no groups.
    by = [
        name
        for name, cells in table.columns.items()
        if name not in numeric and 1 < len({c for c in cells if c is not None}) < table.rows
    ]
    if not by or not numeric:
        raise TableError(
            f"no column to group by, or none to compare; there are {table.said(table.columns)}"
        )
    return by[0], numeric[0]


def _difference(name: str, ordered: Sequence[tuple[str, list[float]]], draft: _Draft) -> None:
    """The highest mean less the lowest; for its interval each group is drawn by itself."""
    if draft.confidence is None:
        return
    candidates = [group for group in ordered if len(group[1]) > 1]
    if len(candidates) < 2:
        draft.notes.append("No difference has an interval: fewer than two groups have two rows.")
        return
    (high, highs), (low, lows) = candidates[0], candidates[-1]
    random = Random(SEED)
    draws = max(100, min(RESAMPLES, _DRAWS // (len(highs) + len(lows))))
    found = []
    for _ in range(draws):
        draft.check()
        one, other = random.choices(highs, k=len(highs)), random.choices(lows, k=len(lows))
        found.append(fmean(one) - fmean(other))
    found.sort()
    cut = (1 - draft.confidence) / 2 * (draws - 1)
    measure = Measure(
        name=f"difference of {name}: {high} − {low}",
        value=fmean(highs) - fmean(lows),
        low=found[math.floor(cut)],
        high=found[math.ceil(draws - 1 - cut)],
        level=draft.confidence,
        n=len(highs) + len(lows),
        how=f"difference of the two means; {_level(draft.confidence)}interval from {draws:,} "
        "bootstrap draws in each group",
    )
    draft.measures.append(measure)
    if measure.low is not None and measure.high is not None and measure.low <= 0 <= measure.high:
        draft.notes.append(f"The interval of the {measure.name} has 0 in it: there may be none.")


def _measured(
    name: str, rows: Sequence[T], statistic: Callable[[Sequence[T]], float], draft: _Draft, how: str
) -> Measure:
    value = statistic(rows)
    if draft.confidence is None:
        return Measure(name=name, value=value, n=len(rows), how=f"{how}; no interval asked for")
    interval = bootstrap(rows, statistic, draft.check, draft.confidence)
    if interval is None:
        return Measure(
            name=name, value=value, n=len(rows), how=f"{how}; too few rows for an interval"
        )
    low, high, draws = interval
    how = f"{how}; {_level(draft.confidence)}interval from {draws:,} bootstrap draws"
    level = draft.confidence
    return Measure(name=name, value=value, low=low, high=high, level=level, n=len(rows), how=how)


def _level(confidence: float) -> str:
    """What is said of an interval's level: nothing of the usual one."""
    return "" if confidence == CONFIDENCE else f"{confidence:.0%} "


def _plain(name: str, value: float, n: int, how: str) -> Measure:
    return Measure(name=name, value=value, n=n, how=how)


def _pearson(rows: Sequence[tuple[float, ...]]) -> float:
    return correlation([row[0] for row in rows], [row[1] for row in rows])


def _slope(rows: Sequence[tuple[float, ...]]) -> float:
    return linear_regression([row[0] for row in rows], [row[1] for row in rows]).slope


def _size(values: Sequence[float]) -> float:
    """How large the values are: what the width of their mean's interval is judged against."""
    return fmean(abs(value) for value in values)


def _why_undefined(rows: Sequence[tuple[float, ...]]) -> str:
    if len(rows) < 2:
        return f"{len(rows)} rows have both"
    return "one of them is the same in every row"


def _note_missing(table: Table, names: Sequence[str], used: int, draft: _Draft) -> None:
    if used < table.rows:
        which = " and ".join(names)
        draft.notes.append(
            f"{table.rows - used} of {table.rows} rows have no {which}, and are left out."
        )


def _dated(table: Table, draft: _Draft) -> list[str]:
    said = " ".join(measure.name for measure in draft.measures)
    notes = [f"{name} is counted in days since 1970-01-01." for name in table.dates if name in said]
    if "age_days" in said:
        notes.append(
            "age_days: days since a distribution was installed here, by its metadata file."
        )
    return notes


def _quality(draft: _Draft) -> tuple[float, str]:
    n, precision = median(draft.sizes), fmean(draft.precision)
    enough = n / (n + _ENOUGH_ROWS)
    return 0.5 * enough + 0.5 * precision, (
        f"0.5 × size + 0.5 × precision: {n:g} rows behind the typical main number "
        f"(size = n / (n + {_ENOUGH_ROWS}) = {enough:.2f}); precision is the mean of "
        f"scale / (scale + half the interval's width) = {precision:.2f}, where scale is the mean "
        "size of the values, for a correlation 1"
    )


_KINDS: dict[AnalysisType, Callable[[Table, list[str], _Draft], None]] = {
    "describe": _describe,
    "correlation": _correlate,
    "trend": _trend,
    "groups": _groups,
}
