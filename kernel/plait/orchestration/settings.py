"""The settings of an orchestrator: thresholds, limits and pools, each with its default."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from plait.orchestration.branches import BRANCHES

__all__ = ["AdaptionSettings", "Mode", "Settings"]

Mode: TypeAlias = Literal["parallel", "sequential", "adaptive"]
"""How many branches work at once: as many as the machine carries, one, or as many as does good."""

_Share = Annotated[float, Field(ge=0, le=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    """Frozen, and takes no fields but its own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class AdaptionSettings(_Settings):
    """How a concurrency limit adapts: additive increase, multiplicative decrease."""

    increase: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Places added for as many successes as there are places."""
    decrease: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What is left of the limit after an overload: a share of it."""
    slow: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 3.0
    """How many times the expected seconds a task takes that counts as an overload."""
    warm_up: Annotated[int, Field(ge=0)] = 5
    """Tasks of a branch that end before its latencies are judged."""
    least: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """Seconds below which nothing counts as slow: they tell of the scheduler, not of the work."""


class Settings(_Settings):
    """All that an orchestrator can be told to do otherwise."""

    mode: Mode | None = None
    """The mode; by default chosen by the three thresholds below."""
    parallel_above_complexity: _Share = 0.8
    """`parallel` needs a complexity above this,"""
    parallel_above_cpu: _Share = 0.7
    """and a CPU availability above this."""
    sequential_above_interdependency: _Share = 0.6
    """`sequential` is chosen for an interdependency above this; else it is `adaptive`."""
    parallel_branches: _Count = 5
    """Most branches at once in mode `parallel`; fewer where the machine's limit is lower."""
    adaptive_branches: _Count = 3
    """Branches at once with which mode `adaptive` begins."""
    machine_limit: _Count | None = None
    """Most branches that the machine carries at once; by default its cores and 4 (a branch mostly
    waits), or fewer where its free memory is too small for them."""
    memory_per_branch: _Count = 64 * 2**20
    """Bytes that a branch is reckoned to need."""
    large: _Count = 1_000_000
    """Bytes of sources at which size counts 0.5 in the complexity."""
    kinds: _Count = 5
    """Kinds of work at which variety counts 1 in the complexity."""
    bytes_per_second: _Seconds = 2_000_000.0
    """How fast sources are reckoned to be worked through, where there is no history."""
    pools: dict[str, _Count] = {}
    """Places by branch, over all runs of one orchestrator; 20 for each that is not named."""
    quorum: _Share = 0.75
    """Progress from which a sync point proceeds conditionally, where the brief names no quorum."""
    grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """Seconds that it waits for the others then, where the brief names no quorum."""
    deadline: _Seconds | None = 600.0
    """Seconds from the fork to timeout recovery, where the brief names no timeout."""
    max_revisions: Annotated[int, Field(ge=0)] = 2
    """Rounds of recovery and revision in one run, at most."""
    attempts: _Count = 2
    """Attempts at a task in one round; what cannot get better is not attempted again."""
    retry_after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Seconds before the second attempt, at most (full jitter); they double with each attempt."""
    history: Annotated[int, Field(ge=0)] = 5
    """Earlier threads of the store from which expected durations are learnt; 0: none."""
    review: bool = False
    """Whether a person is asked what follows, once the branches are gathered and once they are
    merged; see `plait.orchestration.review`."""
    adaption: AdaptionSettings = AdaptionSettings()
    """How concurrency limits adapt."""
    agents: Literal["bundled", "dynamic"] = "bundled"
    """Whether the bundled specialists do the tasks as they are, or an agent is made for each task
    by a factory: see `plait.orchestration.templates`."""

    def pool_of(self, branch: str) -> int:
        """The places of a branch."""
        return self.pools.get(branch, 20)

    @property
    def places(self) -> int:
        """The places of all pools."""
        return sum(self.pool_of(branch) for branch in BRANCHES)
