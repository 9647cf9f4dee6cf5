"""All that one call of the benchmarks has shown, and the file that it is kept in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .contenders.base import Contender, Named, Run
from .crowd import Crowd
from .durable import Durability
from .footprint import Footprint
from .measure import Result, Series, Settings, median
from .workloads.base import Case

FORMAT = 3


@dataclass(frozen=True, slots=True)
class Who:
    """A contender as results name it."""

    name: str
    kind: str


@dataclass(slots=True)
class Results:
    """What was measured, on what, and how thoroughly."""

    machine: dict[str, Any]
    """See ``machine.describe``."""
    settings: Settings
    contenders: list[Named]
    missing: dict[str, str]
    """Contenders that are not installed, and what to do about it."""
    quick: bool = False
    timed: list[Result] = field(default_factory=list)
    """W1 to W5, W7, W9 and W10."""
    moved: list[Result] = field(default_factory=list)
    """W11."""
    durable: list[Durability] = field(default_factory=list)
    """W6."""
    footprints: list[Footprint] = field(default_factory=list)
    """W8."""
    crowds: list[Crowd] = field(default_factory=list)
    """W9: peak memory."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds by the clock, by workload."""

    def case(self, key: str) -> Result | None:
        """The case of that key, if it was measured."""
        return next((each for each in self.timed if each.case.key == key), None)

    def ratio(self, key: str, of: str, to: str, figure: str = "cpu") -> float | None:
        """The median of one contender's figures over another's, if both have some in that case."""
        result = self.case(key)
        if result is None or not all(
            name in result.series and getattr(result.series[name], figure) for name in (of, to)
        ):
            return None
        return median(result.ratios(of, to, figure))

    def series(self, key: str, name: str) -> Series | None:
        """What a contender showed in a case, if it was measured in it."""
        result = self.case(key)
        series = None if result is None else result.series.get(name)
        return series if series is not None and series.cpu else None

    def cpu(self, key: str, name: str) -> float | None:
        """Median processor seconds for one unit of a case, if that was measured."""
        series = self.series(key, name)
        return None if series is None else median(series.cpu)

    def once(self, key: str, *names: str) -> bool:
        """Whether of one of these contenders there is one run only in that case."""
        result = self.case(key)
        return result is not None and result.once(*names)

    def as_json(self) -> dict[str, Any]:
        """Everything, in seconds and bytes."""
        return {
            "format": FORMAT,
            "machine": self.machine,
            "settings": dataclasses.asdict(self.settings),
            "quick": self.quick,
            "took": self.took,
            "contenders": [{"name": each.name, "kind": each.kind} for each in self.contenders],
            "missing": self.missing,
            "results": [_result_as_json(each) for each in self.timed],
            "moved": [_result_as_json(each) for each in self.moved],
            "durable": [dataclasses.asdict(each) for each in self.durable],
            "footprints": [dataclasses.asdict(each) for each in self.footprints],
            "crowds": [dataclasses.asdict(each) for each in self.crowds],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Results:
        """The results in such a file. Raises ``ValueError`` for one of another format."""
        if data.get("format") != FORMAT:
            raise ValueError(
                f"these results have format {data.get('format')!r}, not {FORMAT}: measure again"
            )
        durable = [Durability(**each) for each in data["durable"]]
        for each in durable:  # keys of JSON are strings
            each.stored = {int(steps): size for steps, size in each.stored.items()}
        return Results(
            machine=data["machine"],
            settings=Settings(**data["settings"]),
            contenders=[Who(**each) for each in data["contenders"]],
            missing=data["missing"],
            quick=data["quick"],
            timed=[_result_from_json(each) for each in data["results"]],
            moved=[_result_from_json(each) for each in data["moved"]],
            durable=durable,
            footprints=[Footprint(**each) for each in data["footprints"]],
            crowds=[Crowd(**each) for each in data["crowds"]],
            took=data["took"],
        )


_CASE = ("workload", "key", "title", "units", "unit", "ideal", "memory", "size", "beside")
"""What of a case is kept: all but how it is run."""


def _result_as_json(result: Result) -> dict[str, Any]:
    return {
        **{name: getattr(result.case, name) for name in _CASE},
        "series": {name: dataclasses.asdict(each) for name, each in result.series.items()},
    }


def _result_from_json(data: Mapping[str, Any]) -> Result:
    def build(_contender: Contender) -> Run:
        raise NotImplementedError("results from a file cannot be measured again")

    def check(_state: object) -> None:
        """There is nothing to check."""

    case = Case(build=build, check=check, **{name: data[name] for name in _CASE})
    return Result(case, {name: Series(**each) for name, each in data["series"].items()})
