"""Numbers are computed from real tables, with intervals and with how."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.orchestration import MissingSourceError, TableError
from plait.orchestration.analysis import SEED, analyse, bootstrap
from plait.orchestration.results import Measure
from plait.orchestration.tables import Cell, Table, read_table


def go_on() -> None:
    """The checkpoint of somebody who still wants the work."""


def table(**columns: list[Cell]) -> Table:
    rows = len(next(iter(columns.values())))
    return Table(columns, (("t.csv", rows),))


def by_name(measures: tuple[Measure, ...]) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


# -- tables


def test_tables_are_stacked_and_cells_are_numbers_texts_or_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffx;name;when\n1;Ann;2024-01-02\n;n/a;2024-01-03\n")
    rows = [{"x": 2.5, "ok": True, "odd": [1]}, {"x": "inf", "name": "Bob", "ok": False}]
    (tmp_path / "b.json").write_text(json.dumps({"rows": rows, "count": 2}))
    found = read_table(["*.csv", "b.json"], tmp_path, go_on)
    assert found.columns == {
        "x": [1.0, None, 2.5, None],
        "name": ["Ann", None, None, "Bob"],
        "when": [19724.0, 19725.0, None, None],
        "ok": [None, None, "yes", "no"],
        "odd": [None] * 4,
    }
    assert found.origins == (("a.csv", 2), ("b.json", 2))
    assert found.dates == {"when"}
    assert found.numeric() == ["x", "when"]


def test_distributions_are_a_table_that_tells_who_was_quoted() -> None:
    quoted = {"look": frozenset(("dist:anyio",))}
    found = read_table(["dist:"], Path(), go_on, quoted)
    at = list(found.columns["name"]).index("anyio")
    assert found.columns["quoted_by_look"][at] == "yes"
    assert list(found.columns["quoted_by_look"]).count("yes") == 1
    assert found.numeric() == ["size_bytes", "files", "dependencies", "age_days"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "is not a list of objects"),
        ("a.json", '{"a": [], "b": []}', "is not a list of objects"),
        ("a.csv", "x,y\n", "has no rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=why):
        read_table([name], tmp_path, go_on)


def test_a_source_without_tables_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    for source, why in (("*", "matches no table"), ("*.csv", "no file matches")):
        with pytest.raises(MissingSourceError, match=why):
            read_table([source], tmp_path, go_on)


# -- intervals

finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@settings(max_examples=30, deadline=None)
@given(st.lists(finite, min_size=2, max_size=30))
def test_the_interval_of_a_mean_contains_the_mean(values: list[float]) -> None:
    found = bootstrap(values, statistics.fmean, go_on)
    assert found is not None
    low, high, _ = found
    margin = 1e-9 * max(map(abs, values))
    assert low - margin <= statistics.fmean(values) <= high + margin
    assert min(values) - margin <= low
    assert high <= max(values) + margin


def test_an_interval_is_the_same_whenever_it_is_drawn() -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    first, again = (bootstrap(values, statistics.fmean, go_on) for _ in range(2))
    assert first == again
    assert first is not None
    assert first[2] == 1_000
    assert SEED


def test_there_is_no_interval_where_there_is_nothing_to_draw() -> None:
    assert bootstrap([1.0], statistics.fmean, go_on) is None

    def never(values: object) -> float:
        raise statistics.StatisticsError

    assert bootstrap([1.0, 2.0], never, go_on) is None


# -- the four kinds


def test_describe_gives_what_the_statistics_module_gives() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    found = analyse("describe", table(x=[*values, None], name=["a"] * 5), go_on)
    numbers = by_name(found.measures)
    assert numbers["mean of x"].value == 4.0
    assert numbers["median of x"].value == 3.0
    assert numbers["standard deviation of x"].value == pytest.approx(statistics.stdev(values))
    assert (numbers["smallest of x"].value, numbers["largest of x"].value) == (1.0, 9.0)
    assert "1,000 bootstrap draws" in numbers["mean of x"].how
    assert found.notes == ("1 of 5 rows have no x, and are left out.",)
    assert found.read == "5 rows of 2 columns from t.csv"


def test_describing_a_single_row_has_no_interval_and_little_quality() -> None:
    found = analyse("describe", table(x=[3.0]), go_on)
    assert found.measures[0].low is None
    assert "too few rows" in found.measures[0].how
    assert "standard deviation of x" not in by_name(found.measures)
    assert found.quality == pytest.approx(0.5 * 1 / 11)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=3, max_size=15))
def test_correlation_is_pearsons_or_is_said_to_be_undefined(
    rows: list[tuple[float, float]],
) -> None:
    xs, ys = [x for x, _ in rows], [y for _, y in rows]
    data = table(x=list(xs), y=list(ys))
    try:
        expected = statistics.correlation(xs, ys)
    except statistics.StatisticsError:
        with pytest.raises(TableError, match="no pair has a correlation"):
            analyse("correlation", data, go_on)
    else:
        found = analyse("correlation", data, go_on)
        assert found.measures[0].value == pytest.approx(expected)
        assert 0 <= found.quality <= 1


def test_correlations_are_given_strongest_first_with_a_warning_about_many() -> None:
    data = table(
        a=[1.0, 2.0, 3.0, 4.0], b=[2.0, 4.0, 6.0, 8.0], c=[1.0, -1.0, 1.0, -1.0], k=[5.0] * 4
    )
    found = analyse("correlation", data, go_on)
    assert found.measures[0].name == "r of a and b"
    assert found.measures[0].value == pytest.approx(1)
    assert "a and k have no correlation: one of them is the same in every row." in found.notes
    assert any(note.startswith("The strongest 3 of 3 correlations") for note in found.notes)
    assert any(note.startswith("The interval of the r of a and c has 0") for note in found.notes)


def test_a_trend_is_the_least_squares_line() -> None:
    xs = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = analyse("trend", table(x=list(xs), y=[2 * x + 1 for x in xs]), go_on)
    numbers = by_name(found.measures)
    assert numbers["change of y for one unit of x"].value == pytest.approx(2)
    assert numbers["y at x = 0"].value == pytest.approx(1)
    assert numbers["r² of y over x"].value == pytest.approx(1)
    assert found.quality == pytest.approx(0.5 * 5 / 15 + 0.5)


def test_a_trend_over_dates_is_for_one_day(tmp_path: Path) -> None:
    lines = [f"2024-01-0{day},{5 if day % 2 else 7}" for day in range(1, 9)]
    (tmp_path / "a.csv").write_text("when,y\n" + "\n".join(lines))
    data = read_table(["a.csv"], tmp_path, go_on)
    found = analyse("trend", data, go_on, columns=["when", "y"])
    assert found.measures[0].name == "change of y for one day"
    assert "when is counted in days since 1970-01-01." in found.notes
    assert "The interval of the change has 0 in it: there may be no trend." in found.notes


def test_a_level_trend_says_so() -> None:
    found = analyse("trend", table(x=[1.0, 2.0, 3.0], y=[4.0] * 3), go_on)
    assert found.measures[0].value == 0
    assert "y is the same in every row." in found.notes


def test_groups_are_compared_by_their_means() -> None:
    data = table(
        kind=["a", "a", "a", "b", "b", "b", "c", None],
        x=[1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 5.0, 1.0],
    )
    found = analyse("groups", data, go_on)
    numbers = by_name(found.measures)
    assert numbers["mean of x where kind is b"].value == 12
    difference = numbers["difference of x: b − a"]
    assert difference.value == pytest.approx(10)
    assert difference.low is not None
    assert difference.high is not None
    assert 8 <= difference.low <= 10 <= difference.high <= 12
    assert "kind = c is a single row: no interval." in found.notes
    assert "1 of 8 rows have no kind and x, and are left out." in found.notes


def test_groups_that_may_be_alike_are_said_to_be() -> None:
    data = table(kind=["a", "b"] * 3, x=[1.0, 2.0, 9.0, 8.0, 5.0, 6.0])
    found = analyse("groups", data, go_on)
    assert any(note.startswith("The interval of the difference of x") for note in found.notes)


def test_groups_by_a_number_and_groups_of_one_row_each() -> None:
    data = table(n=[1.0, 2.0, 3.0], x=[4.0, 5.0, 6.0])
    found = analyse("groups", data, go_on, columns=["n", "x"])
    assert found.measures[0].name == "mean of x where n is 3"
    assert "No difference has an interval: fewer than two groups have two rows." in found.notes


def test_many_groups_are_cut_to_the_highest_and_that_is_said() -> None:
    data = table(k=[f"k{i % 12}" for i in range(24)], x=[float(i) for i in range(24)])
    found = analyse("groups", data, go_on)
    assert sum(m.name.startswith("mean") for m in found.measures) == 8
    assert "12 groups; given are the 8 of the highest means." in found.notes


NAMES: list[Cell] = ["a", "b", "c"]
NUMBERS: list[Cell] = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "data", "columns", "why"),
    [
        ("describe", table(name=NAMES), [], "no numeric column to describe; there are name"),
        ("describe", table(x=NUMBERS), ["y"], 'no column "y"; there are x'),
        ("describe", table(x=NAMES), ["x"], 'column "x" is not numeric; numeric are none'),
        ("correlation", table(x=NUMBERS), [], "takes two numeric columns; numeric are x"),
        ("trend", table(x=NUMBERS), [], "takes two numeric columns; numeric are x"),
        ("trend", table(x=[1.0, 1.0], y=[1.0, 2.0]), [], "no trend of y over x: one of them"),
        ("trend", table(x=[1.0, None], y=[1.0, 2.0]), [], "1 rows have both"),
        ("groups", table(name=NAMES, x=NUMBERS), [], "no column to group by"),
        ("groups", table(name=NAMES, x=NUMBERS), ["name"], "groups take two columns"),
        ("groups", table(k=["a", "a"], x=[1.0, 2.0]), ["k", "x"], 'k is "a" in all of them'),
        ("groups", table(k=[None, "b"], x=[1.0, None]), ["k", "x"], "0 rows have k"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_what_it_has(
    kind: str, data: Table, columns: list[str], why: str
) -> None:
    with pytest.raises(TableError, match=why):
        analyse(kind, data, go_on, columns=columns)  # type: ignore[arg-type]


def test_how_long_ago_something_was_installed_is_explained() -> None:
    found = analyse("describe", table(age_days=NUMBERS), go_on)
    assert found.notes[0].startswith("age_days: days since a distribution was installed")
