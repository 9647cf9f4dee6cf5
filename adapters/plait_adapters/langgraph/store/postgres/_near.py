"""An approximate index of vectors, by the extension pgvector: what was asked for, as SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["NearIndex"]

_LONGEST: Final = {"vector": 2000, "halfvec": 4000}
"""How many numbers a vector of each type may have in an index."""

_METRICS: Final = {
    "cosine": ("cosine", "<=>", "1 - distance"),
    "l2": ("l2", "<->", "- distance"),
    "inner_product": ("ip", "<#>", "- distance"),
}
"""For each metric, what its class of operators is called, its operator and the score."""

_LEAST_LOOKED_AT: Final = 200
"""pgvector's own 40 find about half of the ten nearest among vectors without any pattern."""

_MOST_LOOKED_AT: Final = 1000
"""What ``hnsw.ef_search`` may be at most."""


@dataclass(frozen=True, slots=True)
class NearIndex:
    """An index on the vectors of one length, over the table that searches without it read, too."""

    kind: str
    """``"hnsw"`` or ``"ivfflat"``."""
    type: str
    """The type of its vectors: ``"vector"`` or ``"halfvec"``."""
    metric: str
    """What near means."""
    dims: int
    """How many numbers a vector has."""
    parameters: tuple[tuple[str, int], ...]
    """Those of the index that were given, by pgvector's names."""

    @classmethod
    def of(cls, index: Mapping[str, Any], metric: str) -> Self | None:
        """What the configuration of a store asks for; ``None``: no approximate index.

        Raises:
            ValueError: there is none as it asks for.
        """
        if "ann_index_config" not in index:
            return None
        asked = dict(index["ann_index_config"] or {})
        kind, type_ = asked.pop("kind", "hnsw"), asked.pop("vector_type", "vector")
        if kind not in _PARAMETERS:
            raise ValueError(
                f"ann_index_config: kind={kind!r} must be one of {', '.join(_PARAMETERS)}"
            )
        if type_ not in _LONGEST:
            raise ValueError(
                f"ann_index_config: vector_type={type_!r} must be one of {', '.join(_LONGEST)}"
            )
        parameters = {}
        for name, number in asked.items():
            parameter, least, most = _PARAMETERS[kind].get(name, (None, 0, 0))
            if parameter is None:
                there = ", ".join(_PARAMETERS[kind]) or "no others"
                raise ValueError(f"ann_index_config: {name!r} is unknown for {kind}; {there}")
            if type(number) is not int or not least <= number <= most:
                raise ValueError(
                    f"ann_index_config: {name}={number!r} must be an integer from {least} to {most}"
                )
            parameters[parameter] = number
        if kind == "flat":
            return None
        dims = index.get("dims")
        if type(dims) is not int or not 0 < dims <= _LONGEST[type_]:
            raise ValueError(
                f"dims={dims!r} must be from 1 to {_LONGEST[type_]} for an index of {type_}: "
                "take kind='flat', which looks at every vector, for longer ones"
            )
        return cls(kind, type_, metric, dims, tuple(sorted(parameters.items())))

    @property
    def name(self) -> str:
        """The name of the index: another for each configuration, so that none takes the place of
        what another store searches by."""
        facts = [self.kind, self.type, self.metric, str(self.dims)]
        return "_".join(
            ["near", *facts, *(f"{name[:2]}{number}" for name, number in self.parameters)]
        )

    def written(self, text: str, home: str) -> str:
        """A statement for this index. ``home``: the schema of the extension."""
        operators, operator, score = _METRICS[self.metric]
        quoted = '"{}"'.format(home.replace('"', '""'))
        given = ", ".join(f"{name} = {number}" for name, number in self.parameters)
        for name, item in {
            "index": f'"{self.name}"',
            "kind": self.kind,
            "type": f"{quoted}.{self.type}({self.dims})",
            "operators": f"{self.type}_{operators}_ops",
            "operator": operator,
            "score": score,
            "parameters": f" with ({given})" if given else "",
            "dims": str(self.dims),
            "home": quoted,
        }.items():
            text = text.replace(f"{{{name}}}", item)
        return text

    def settings(self, count: int, version: str) -> dict[str, str]:
        """Those of the server for a search that looks at so many vectors.

        From version 0.8 on, pgvector goes on where a filter leaves too few; before it, a search
        that gets too few is one that looks at every vector.
        """
        goes_on = tuple(map(int, version.split(".")[:2])) >= (0, 8)
        if self.kind == "hnsw":
            looked_at = min(_MOST_LOOKED_AT, max(_LEAST_LOOKED_AT, 4 * count))
            settings = {"hnsw.ef_search": str(looked_at)}
            return settings | ({"hnsw.iterative_scan": "strict_order"} if goes_on else {})
        lists = dict(self.parameters).get("lists", 100)  # pgvector's own default
        settings = {"ivfflat.probes": str(math.ceil(math.sqrt(lists)))}
        return settings | ({"ivfflat.iterative_scan": "relaxed_order"} if goes_on else {})


_PARAMETERS: Final[dict[str, dict[str, tuple[str, int, int]]]] = {
    "hnsw": {"m": ("m", 2, 100), "ef_construction": ("ef_construction", 4, 1000)},
    "ivfflat": {"nlist": ("lists", 1, 32768), "lists": ("lists", 1, 32768)},
    "flat": {},
}
"""For each kind, the parameters by the names in a configuration: pgvector's name, and the least and
the most that it may be."""
