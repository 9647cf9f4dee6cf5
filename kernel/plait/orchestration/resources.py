"""What the machine has: cores, how busy they are, free memory; and what this process uses.

Measured by psutil where it is installed (the extra `plait[machine]`), else by the standard
library, as far as that goes. The only module that imports psutil.
"""

from __future__ import annotations

import os
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.results import Share

__all__ = ["Machine", "measure_machine", "memory_of_process"]

_SAMPLE = 0.1
"""Seconds over which psutil looks how busy the cores are."""


class Machine(BaseModel):
    """What a machine has, as it was measured."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    cores: Annotated[int, Field(ge=1)]
    """Cores that this process may use."""
    cpu_availability: Share | None
    """The part of them that was idle, 0 to 1; None where that cannot be measured."""
    memory: Annotated[int, Field(ge=0)] | None
    """Bytes of memory that could be taken without swapping; None where that is not known."""
    how: str
    """By what it was measured."""

    def limit(self, memory_per_branch: int) -> int:
        """How many branches it carries at once: its cores and 4, or as many as its memory holds."""
        by_cores = self.cores + 4
        if self.memory is None:
            return by_cores
        return max(1, min(by_cores, self.memory // memory_per_branch))


def measure_machine() -> Machine:
    """Measure this machine; takes a tenth of a second, so call it in a worker thread."""
    try:
        import psutil
    except ImportError:
        return _by_standard_library()
    busy = psutil.cpu_percent(interval=_SAMPLE)
    return Machine(
        cores=_cores(),
        cpu_availability=min(1.0, max(0.0, 1 - busy / 100)),
        memory=psutil.virtual_memory().available,
        how=f"psutil: cores busy {busy:.0f}% of {_SAMPLE:g} s",
    )


def memory_of_process() -> int | None:
    """Bytes of memory that this process has now; without psutil, the most that it ever had.

    None where not even that is known.
    """
    try:
        import psutil
    except ImportError:
        return _highest_memory()
    return int(psutil.Process().memory_info().rss)


def _by_standard_library() -> Machine:
    cores = _cores()
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):  # there is none on Windows
        availability, how = None, "standard library: how busy the cores are is not known"
    else:
        availability = min(1.0, max(0.0, 1 - load / cores))
        how = f"standard library: 1-minute load average {load:.2f} over {cores} cores"
    return Machine(cores=cores, cpu_availability=availability, memory=_free_memory(), how=how)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_memory() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _highest_memory() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
