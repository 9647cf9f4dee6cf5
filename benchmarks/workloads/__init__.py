"""The workloads: a module for each."""

from __future__ import annotations

from . import building, chain, fork, growth, lines, many_runs, state_size, stragglers
from .base import Case

MODULES = {
    "W1": chain,
    "W2": fork,
    "W3": lines,
    "W4": state_size,
    "W5": stragglers,
    "W7": many_runs,
    "W9": growth,
    "W10": building,
}
"""The timed workloads by their names. Not among them: W6, which runs on a server, W8,
the footprint, which is taken in fresh processes, and W11, which is about two contenders alone."""

CROWDED = "W9"
"""Also takes the peak of memory of a wide fork, in processes of their own."""
DURABLE = "W6"
FOOTPRINT = "W8"
MOVED = "W11"


def cases(names: list[str], *, quick: bool) -> list[Case]:
    """The cases of the workloads of the given names."""
    return [case for name in names if name in MODULES for case in MODULES[name].cases(quick=quick)]
