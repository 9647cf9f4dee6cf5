"""Takes the times: contenders interleaved in one process and one event loop.

A repeat runs every contender once, in an order that is shuffled anew, so that whatever the machine
does meanwhile falls upon all alike; ratios are taken within a repeat. A sample is as many runs as
fill some milliseconds.

The garbage collector is on, with its default thresholds, and its work counts. What was there before
a case began (above all the modules of all the peers) is frozen meanwhile: a full collection would
otherwise walk through it, and whoever happens to set it off would pay some 50 ms for the others.
Before each sample garbage is collected, so that nobody pays for the contender before.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .contenders.base import CannotExpressError, Contender, Run
from .workloads.base import Case, WrongResultError

_LONG = 0.1
"""Processor seconds: after a longer run, its contender is warm, and the time that it took says well
enough how many of them make a sample."""

_COLD = 1.0
"""Processor seconds: of a longer run, what fills caches is so little that it may be the only one
that counts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How thoroughly to measure."""

    repeats: int = 7
    sample: float = 0.030
    """Processor seconds that a sample takes at least, unless one run takes longer."""
    slow: float = 5.0
    """Processor seconds; of a contender whose one run takes longer, that run is all there is."""
    longest: float = 30.0
    """Processor seconds; one whose run would take longer, by what a smaller one took, is left
    blank without being tried."""
    longest_traced: float = 2.0
    """Processor seconds; the memory of a longer run is not measured, since tracing is slow."""


@dataclass(slots=True)
class Series:
    """What one contender showed in one case. All figures are for one unit of the case."""

    contender: str
    wall: list[float] = field(default_factory=list)
    """Seconds by the clock, one figure for each repeat; of who is slow, that of its one run."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time of this process, in user and system mode, of all its threads."""
    runs: int = 0
    """How many runs a sample is made of."""
    peak: float | None = None
    """Bytes: the peak of memory allocated by Python while one run goes on."""
    once: bool = False
    """Whether there is one run only, since it took long."""
    reason: str | None = None
    """Why it is left blank."""


@dataclass(frozen=True, slots=True)
class Result:
    """One case, and what everyone showed in it."""

    case: Case
    series: dict[str, Series]

    def ratios(self, of: str, to: str, figure: str = "cpu") -> list[float]:
        """One contender's figures over another's, each within its repeat.

        If of one of the two there is one run only, it is held against the other's median.
        """
        upper, lower = getattr(self.series[of], figure), getattr(self.series[to], figure)
        if self.once(of, to):
            return [median(upper) / median(lower)]
        return [a / b for a, b in zip(upper, lower, strict=True)]

    def once(self, *names: str) -> bool:
        """Whether of one of these contenders there is one run only."""
        return any(self.series[name].once for name in names)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile, interpolated linearly."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return at(0.25), at(0.5), at(0.75)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return quartiles(values)[1]


async def measure(
    cases: Iterable[Case],
    contenders: Sequence[Contender],
    settings: Settings,
    progress: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Measure every contender in every case: case by case, but together those that belong so."""
    results: list[Result] = []
    for _, group in itertools.groupby(cases, lambda case: case.beside or case.key):
        for result in await _measure_together([*group], contenders, settings, results):
            progress(result)
            results.append(result)
    return results


async def measure_case(case: Case, contenders: Sequence[Contender], settings: Settings) -> Result:
    """Measure all contenders in one case."""
    (result,) = await _measure_together([case], contenders, settings, ())
    return result


@dataclass(frozen=True, slots=True)
class _Ready:
    """A contender that is warm for a case."""

    case: Case
    run: Run
    series: Series
    elapsed: float
    """Processor seconds of one run."""


async def _measure_together(
    cases: Sequence[Case],
    contenders: Sequence[Contender],
    settings: Settings,
    before: Sequence[Result],
) -> list[Result]:
    """Measure all contenders in some cases, each in every repeat.

    Left out are those who would take too long by the cases before.
    """
    results: list[Result] = []
    ready: list[_Ready] = []
    for case in cases:
        results.append(
            result := Result(case, {each.name: Series(each.name) for each in contenders})
        )
        for contender in contenders:
            series = result.series[contender.name]
            expected = _expected(case, contender.name, before)
            if expected > settings.longest:
                series.reason = (
                    f"one run takes {expected:.1f} s or more, by what a smaller one took"
                )
                continue
            try:
                run = case.build(contender)
                elapsed = await _warm_up(case, run, series, settings)
            except CannotExpressError as reason:
                series.reason = str(reason)
            except WrongResultError as fault:
                series.reason = f"wrong result: {fault}"
            except Exception as error:
                series.reason = f"fails: {type(error).__name__}: {error}"
            else:
                if not series.once:
                    ready.append(_Ready(case, run, series, elapsed))
    chance = random.Random(cases[0].key)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(settings.repeats):
            for each in chance.sample(ready, len(ready)):
                await _take_sample(each.case, each.run, each.series)
    finally:
        gc.unfreeze()
    for each in ready:
        if each.case.memory and each.elapsed <= settings.longest_traced:
            each.series.peak = await _peak(each.run) / each.case.units
    return results


def _expected(case: Case, name: str, before: Sequence[Result]) -> float:
    """Processor seconds that one run would take if it cost as much a unit as smaller ones did."""
    smaller = [
        median(each.series[name].cpu)
        for each in before
        if each.case.workload == case.workload
        and each.case.unit == case.unit
        and name in each.series
        and each.series[name].cpu
    ]
    return case.units * max(smaller, default=0.0)


async def _warm_up(case: Case, run: Run, series: Series, settings: Settings) -> float:
    """Processor seconds of one run, once caches are filled.

    A run that is slow even so is its contender's only one.
    """
    wall, cpu = await _time(case, run, 1)
    first = cpu * case.units
    if case.ideal is None and (first < _LONG or settings.slow < first < _COLD):
        wall, cpu = await _time(case, run, 1)
    elapsed = max(cpu * case.units, 1e-6)
    series.runs = max(1, math.ceil(settings.sample / elapsed)) if case.ideal is None else 1
    if elapsed > settings.slow:
        series.once = True
        series.wall.append(wall)
        series.cpu.append(cpu)
    return elapsed


async def _take_sample(case: Case, run: Run, series: Series) -> None:
    gc.collect()
    wall, cpu = await _time(case, run, series.runs)
    series.wall.append(wall)
    series.cpu.append(cpu)


async def _time(case: Case, run: Run, runs: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor, for one unit; the last result is checked."""
    state = None
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs):
        state = await run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert state is not None
    case.check(state)
    units = runs * case.units
    return wall / units, cpu / units


async def _peak(run: Run) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        await run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
