"""Intervals for what several branches say together: a weighted mean, and pooled numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from statistics import NormalDist
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.analysis import SEED
from plait.orchestration.results import Measure, Share

__all__ = ["Interval", "Pooled", "pool", "weighted_bootstrap", "weighted_mean"]


def _errors_in(level: float) -> float:
    """Standard errors from the middle of a normal distribution to the ends of its middle share."""
    return NormalDist().inv_cdf((1 + level) / 2)


class Interval(BaseModel):
    """A number with the range in which it would mostly lie if the work were done again."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What the number is."""
    value: float
    """The number, in its own unit."""
    low: float
    """The lower end of its interval."""
    high: float
    """The upper end."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The share of such intervals that should hold the true value."""
    n: Annotated[int, Field(ge=0)]
    """How many branches it was computed from."""
    heterogeneity: Share | None = None
    """Of a pooled number: the share of the differences between branches that is more than chance
    (I²); 0 where they agree."""
    how: str
    """How it was computed."""

    @property
    def precision(self) -> float:
        """1 for an interval without width, falling to 0 as it widens beside the number."""
        half, size = (self.high - self.low) / 2, abs(self.value)
        if not half:
            return 1.0
        return 1 / (1 + half / size) if size else 0.0


_MOST_DRAWN = 200_000
"""Branches that a bootstrap draws in all: more would take longer than what they are about."""


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The mean, each value counting by its weight; within the range of the values.

    Raises:
        ZeroDivisionError: the weights add up to 0.
    """
    mean = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    return min(max(mean, min(values)), max(values))


def weighted_bootstrap(
    values: Sequence[float], weights: Sequence[float], draws: int
) -> tuple[float, float] | None:
    """The 95% percentile interval of a weighted mean: what branches such as these would give.

    Branches are drawn with replacement, each with its weight, as many as there are, and the
    weighted mean of each draw is taken (Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, chapter 13). The draws are those of `random.Random(SEED)`, so the same branches in the
    same order give the same interval. Many branches are drawn less often than `draws` says, but
    100 times at least. `None` for fewer than two branches.
    """
    if len(values) < 2:
        return None
    random, lowest, highest = Random(SEED), min(values), max(values)
    pairs = [(v * w, w) for v, w in zip(values, weights, strict=True)]
    draws = max(100, min(draws, _MOST_DRAWN // len(pairs)))
    means = []
    for _ in range(draws):
        drawn = random.choices(pairs, k=len(pairs))
        mean = sum(product for product, _ in drawn) / sum(w for _, w in drawn)
        means.append(min(max(mean, lowest), highest))
    means.sort()
    cut = 0.025 * (draws - 1)
    return means[math.floor(cut)], means[math.ceil(draws - 1 - cut)]


class Pooled(NamedTuple):
    """One number out of several branches' numbers for the same thing."""

    value: float
    low: float
    """The lower end of its 95% interval."""
    high: float
    """The upper end."""
    heterogeneity: float
    """I²: 0 where the branches differ no more than by chance, towards 1 as they do."""


def pool(measures: Sequence[Measure]) -> Pooled | None:
    """Pool numbers by the inverse of their variances.

    A number's standard error is read off its interval; at 95%, that is 2 × 1.96 of them wide. Where
    the numbers differ by more than chance, the variance between them is added to each (random
    effects: DerSimonian and Laird, "Meta-analysis in clinical trials", 1986); where they do not,
    that is 0. I² is that of Higgins and Thompson, "Quantifying heterogeneity in a meta-analysis",
    2002. The numbers must come from different data, or the interval is too narrow.

    `None` for fewer than two numbers, or for one without an interval that has a width.
    """
    errors = [
        (m.high - m.low) / (2 * _errors_in(m.level))
        for m in measures
        if m.low is not None and m.high is not None
    ]
    values = [m.value for m in measures]
    if (
        len(values) < 2
        or len(errors) < len(values)
        or not 0 < min(errors) <= max(errors) < math.inf
    ):
        return None
    least = min(errors)  # weights beside the best number's, which neither overflow nor vanish
    weights = [(least / error) ** 2 for error in errors]
    total, middle = math.fsum(weights), weighted_mean(values, weights)
    scatter = math.fsum(w * (v - middle) ** 2 for v, w in zip(values, weights, strict=True))
    by_chance = (len(values) - 1) * least**2
    # That is total - sum of squares / total, without a difference of almost equal numbers.
    before = accumulate(weights, initial=0.0)
    spread = 2 * math.fsum(w * b for w, b in zip(weights, before, strict=False)) / total
    # Where one number is beyond measure more precise than all others, it decides alone.
    between = max(0.0, scatter - by_chance) / spread if spread > 0 else 0.0
    variances = [error**2 + between for error in errors]
    smallest = min(variances)
    if not (smallest > 0 and math.isfinite(max(variances))):
        return None
    weights = [smallest / variance for variance in variances]
    middle = weighted_mean(values, weights)
    half = _errors_in(0.95) * math.sqrt(smallest / math.fsum(weights))
    heterogeneity = max(0.0, 1 - by_chance / scatter) if scatter > 0 else 0.0
    return Pooled(middle, middle - half, middle + half, heterogeneity)
