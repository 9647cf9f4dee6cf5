"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .contenders.base import Named
from .crowd import LIMIT as CROWD_LIMIT
from .crowd import Crowd
from .durable import JOBS, STEP_BYTES, Durability
from .footprint import FLOOR, Footprint
from .measure import Result, Series, median, quartiles
from .workloads import growth

_PLAIT = "Plait"


def table(result: Result, contenders: Sequence[Named]) -> str:
    """One case as a Markdown table."""
    case = result.case
    contenders = [each for each in contenders if each.name in result.series]
    floors = [
        each.name for each in contenders if each.kind == "floor" and result.series[each.name].wall
    ]
    heads = ["", f"µs a {case.unit}", "quartiles", "CPU µs", *[f"÷ {name}" for name in floors]]
    if case.ideal is not None:
        heads = ["", "ms a run", "quartiles", "CPU ms", "÷ ideal"]
    if result.series.get(_PLAIT, Series("")).wall:
        heads.append("÷ Plait")
    with_memory = any(series.peak is not None for series in result.series.values())
    heads += [f"peak bytes a {case.unit}"] if with_memory else []
    rows, blank = [], []
    for contender in contenders:
        series = result.series[contender.name]
        if series.reason is not None:
            rows.append([contender.name])
            blank.append(f"- {contender.name} is left blank: {series.reason}")
            continue
        scale = 1e6 if case.ideal is None else 1e3
        low, middle, high = (scale * value for value in quartiles(series.wall))
        row = [
            contender.name,
            _number(middle),
            "one run" if series.once else f"{_number(low)} – {_number(high)}",
            _number(scale * median(series.cpu)),
        ]
        if case.ideal is not None:
            row.append(f"{median(series.wall) * case.units / case.ideal:.2f}")
        else:
            row += [f"{median(result.ratios(contender.name, name)):.2f}" for name in floors]
        if heads.count("÷ Plait"):
            figure = "cpu" if case.ideal is None else "wall"  # where bodies wait, the wait counts
            row.append(f"{median(result.ratios(contender.name, _PLAIT, figure)):.2f}")
        if with_memory:
            row.append("" if series.peak is None else f"{series.peak:,.0f}")
        rows.append(row)
    notes = "".join(f"{line}\n" for line in blank)
    notes = f"\n{notes}" if notes else ""
    return f"### {case.workload}: {case.title}\n\n{markdown(heads, rows)}\n{notes}"


def footprint_table(footprints: Sequence[Footprint]) -> str:
    """W8 as a Markdown table."""
    heads = [
        "",
        "import CPU ms",
        "quartiles",
        f"÷ {FLOOR}",
        "grows MiB",
        "packages",
        "MB installed",
    ]
    floor = next(each for each in footprints if each.contender == FLOOR)
    rows = []
    for each in footprints:
        low, middle, high = (1e3 * value for value in quartiles(each.seconds))
        ratios = [mine / its for mine, its in zip(each.seconds, floor.seconds, strict=True)]
        grown = [value for value in each.memory if value is not None]
        rows.append(
            [
                each.contender,
                _number(middle),
                f"{_number(low)} – {_number(high)}",
                f"{median(ratios):.2f}",
                f"{median(grown) / 2**20:.1f}" if grown else "",
                "" if each.packages is None else str(each.packages),
                "" if each.size is None else f"{each.size / 1e6:.1f}",
            ]
        )
    return f"### W8: footprint\n\n{markdown(heads, rows)}\n"


def crowd_table(crowds: Sequence[Crowd]) -> str:
    """W9's peak of memory as a Markdown table."""
    rows, blank = [], []
    for each in crowds:
        if each.peak is None or each.seconds is None:
            blank.append(f"- {each.contender} is left blank: {each.reason}\n")
            continue
        each_bytes, micros = each.peak / each.branches, 1e6 * each.seconds / each.branches
        rows.append(
            [
                each.contender,
                f"{each.branches:,}",
                f"{each.peak / 2**20:.1f}",
                f"{each_bytes:,.0f}",
                _number(micros),
            ]
        )
    heads = ["", "branches", "peak MiB", "bytes a branch", "CPU µs a branch"]
    return (
        f"### W9: one fork, at most {CROWD_LIMIT} branches at a time\n\n{markdown(heads, rows)}\n"
        "\nThe peak is what a fresh process grew by; each has forked once.\n"
        f"{''.join(blank)}"
    )


def comparison(results: Sequence[Result], other: str) -> str:
    """Plait's CPU time over that of another revision, case by case."""
    rows = []
    for result in results:
        if not all(name in result.series and result.series[name].cpu for name in (_PLAIT, other)):
            continue
        low, middle, high = quartiles(result.ratios(_PLAIT, other))
        mine, theirs = (1e6 * median(result.series[name].cpu) for name in (_PLAIT, other))
        rows.append(
            [
                f"{result.case.workload} {result.case.title}",
                _number(theirs),
                _number(mine),
                f"{middle:.2f}",
                f"{low:.2f} – {high:.2f}",
            ]
        )
    heads = ["CPU µs a unit", other, "now", "now ÷ then", "quartiles"]
    return f"### Comparison\n\n{markdown(heads, rows)}\n"


def durable_tables(found: Sequence[Durability]) -> str:
    """W6 as Markdown tables: completions a second, what they cost, and how the bytes grow."""
    rates, costs, growing, blank = [], [], [], []
    for each in found:
        if each.reason is not None:
            blank.append(f"- {each.contender} ({each.system}) is left blank: {each.reason}\n")
            continue
        signs = {job.key: ONCE if job.key in each.once else "" for job in JOBS}
        speeds = [
            f"{_number(job.completions / median(each.seconds[job.key]))}{signs[job.key]}"
            for job in JOBS
        ]
        ratios = [_faster(found, each, key) for key in ("chain", "runs")]
        rates.append([each.contender, each.system, *speeds, *ratios])
        cells = []
        for job in JOBS:
            cost = _number(1e6 * median(each.cpu[job.key]) / job.completions)
            cells.append(f"{cost}{signs[job.key]}")
            commits = each.commits.get(job.key)
            cells.append(_number(median(commits)) if commits else "")
        costs.append([each.contender, each.system, *cells, *_dearer(found, each)])
        sizes = sorted(each.stored)
        kilobytes = [f"{each.stored[size] / 1e3:,.0f}" for size in sizes]
        payload = f"{each.stored[sizes[-1]] / (sizes[-1] * STEP_BYTES):.2f}"
        power = growth.exponent(sizes, [each.stored[size] for size in sizes])
        growing.append([each.contender, each.system, *kilobytes, payload, f"{power:.2f}"])
    names = [job.title for job in JOBS]
    speeds = ["", "kept in", *[f"{name}, per s" for name in names], "chain ÷ floor", "runs ÷ floor"]
    prices = ["", "kept in"]
    for name in names:
        prices += [f"{name}, CPU µs", "commits"]
    prices += ["chain ÷ floor", "runs ÷ group commit"]
    sizes = sorted(next((each.stored for each in found if each.stored), {}))
    bytes_ = ["", "kept in", *[f"{size} steps, kB" for size in sizes], "÷ payload", "exponent"]
    return (
        f"### W6: durable: completed nodes a second\n\n{markdown(speeds, rates)}\n"
        "\nThe floor commits each completion by itself on one connection.\n"
        f"{once_note(rates)}{''.join(blank)}"
        f"\n### W6: what a completed node costs\n\n{markdown(prices, costs)}\n"
        "\nCPU time is that of the process, the server's not counted; the ratios are of it.\n"
        f"{once_note(costs)}"
        "\n### W6: what steps of 1 kB take on the disk, tables and indices\n\n"
        f"{markdown(bytes_, growing)}\n"
    )


def _faster(found: Sequence[Durability], each: Durability, key: str) -> str:
    """How many times faster than the floor of its system, by the clock."""
    floor = _measured(found, {"PostgreSQL": "bare asyncpg", "SQLite": "bare sqlite3"}[each.system])
    return "" if floor is None else f"{floor.ratio(each, key, 'seconds'):.2f}"


def _dearer(found: Sequence[Durability], each: Durability) -> list[str]:
    """How much more CPU than the least: for a chain, and for runs that share commits."""
    if each.system != "PostgreSQL":
        return ["", ""]
    floors = [
        (key, _measured(found, name))
        for key, name in (("chain", "bare asyncpg"), ("runs", "bare asyncpg, group commit"))
    ]
    return ["" if floor is None else f"{each.ratio(floor, key):.2f}" for key, floor in floors]


def _measured(found: Sequence[Durability], contender: str) -> Durability | None:
    named = (each for each in found if each.contender == contender and each.reason is None)
    return next(named, None)


def series_over_size(
    results: Sequence[Result], prefix: str, figure: str
) -> dict[str, list[tuple[int, float]]]:
    """For each contender, (n, figure of one run) over the cases whose key is ``prefix-n``."""
    found: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        size = result.case.size
        if size is None or result.case.key != f"{prefix}-{size}":
            continue
        for name, series in result.series.items():
            value = series.peak if figure == "peak" else None
            if figure != "peak" and series.wall:
                value = median(getattr(series, figure))
            if value is not None:
                found.setdefault(name, []).append((size, value * result.case.units))
    return found


def growth_table(results: Sequence[Result]) -> str:
    """W9: the exponents, fitted over the sizes of at least 100 (below, what is constant rules)."""
    columns = [
        ("CPU time of a fork", "fork", "cpu"),
        ("memory of a fork", "fork", "peak"),
        ("CPU time of a journal", "journal", "cpu"),
        ("memory of a journal", "journal", "peak"),
    ]
    fitted: dict[str, dict[str, str]] = {}
    for title, prefix, figure in columns:
        for name, found in series_over_size(results, prefix, figure).items():
            points = [(size, value) for size, value in found if size >= 100 and value > 0]
            if len(points) >= 2:
                sizes, values = zip(*points, strict=True)
                fitted.setdefault(name, {})[title] = (
                    f"{growth.exponent(sizes, values):.2f} (to {max(sizes):,})"
                )
    if not fitted:
        return ""
    titles = [title for title, _, _ in columns]
    rows = [[name, *[found.get(title, "") for title in titles]] for name, found in fitted.items()]
    return f"### W9: growth, as the exponent of n\n\n{markdown(['', *titles], rows)}\n"


def summary_table(results: Sequence[Result], contenders: Sequence[Named]) -> str:
    """Everything in one table: medians of CPU time for each unit."""
    heads = ["CPU µs", "a", *[each.name for each in contenders]]
    rows = []
    for result in results:
        cells = [
            f"{_number(1e6 * median(series.cpu))}{ONCE if series.once else ''}"
            if series.cpu
            else ""
            for series in (result.series[each.name] for each in contenders)
        ]
        rows.append([f"{result.case.workload} {result.case.title}", result.case.unit, *cells])
    return f"### Summary\n\n{markdown(heads, rows)}\n{once_note(rows)}"


ONCE = " ¹"
"""Behind a figure that is of one run only."""


def once_note(rows: Sequence[Sequence[str]]) -> str:
    """Says what the sign behind a figure means, if it stands anywhere in the rows."""
    if any(ONCE in cell for row in rows for cell in row):
        return f"\n{ONCE.strip()} of one run only, since it takes long\n"
    return ""


def took_table(took: Mapping[str, float]) -> str:
    """How long each workload took, in seconds by the clock."""
    rows = [[name, _number(seconds)] for name, seconds in took.items()]
    rows.append(["together", _number(sum(took.values()))])
    return f"### Time\n\n{markdown(['', 'seconds'], rows)}\n"


def machine_text(machine: dict[str, Any], repeats: int) -> str:
    """The machine in a few lines."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    load = machine.get("load_before")
    busy = "" if load is None else f"; load {load:.1f} when it began"
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{machine['system']}; {machine['python']}{busy}\n{versions}\n"
        f"medians of {repeats} interleaved repeats; ratios: of CPU time, within a repeat"
    )


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads as a Markdown table; the first column is text, the others numbers."""
    rows = [[*row, *[""] * (len(heads) - len(row))] for row in rows]
    widths = [
        max(3, len(head), *(len(row[column]) for row in rows)) for column, head in enumerate(heads)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (width - 1)) + (":" if column else "-") for column, width in enumerate(widths)]
    return "\n".join([line(heads), f"| {' | '.join(rule)} |", *map(line, rows)])


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
