"""The main job: a brief of tasks, done by specialists in parallel branches, and reported.

`load_brief` reads a brief, `orchestrate` carries it out, `resume` goes on where it was cut off,
`to_markdown` and `to_json` write the report. The specialists read real text and compute on real
numbers, on this machine and without a network.
"""

from __future__ import annotations

from plait.orchestration.balancing import LoadBalancer
from plait.orchestration.brief import Brief, JoinPolicy, SyncPoint, Task, load_brief, parse_brief
from plait.orchestration.briefs import BUNDLED_BRIEF
from plait.orchestration.errors import (
    BriefError,
    DeadlineError,
    MissingSourceError,
    ResearchError,
    SpecialistError,
    TableError,
    ThrottledError,
)
from plait.orchestration.merge import Absence, Attribution, Contribution, Gathering, Merged, merge
from plait.orchestration.orchestrator import NODES, Carried, ParallelOrchestrator
from plait.orchestration.performance import BranchRecord, NodeRecord, PerformanceTracker
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report, to_json, to_markdown
from plait.orchestration.resources import Machine, measure_machine
from plait.orchestration.results import BranchResult, Finding, Measure
from plait.orchestration.settings import AdaptionSettings, Settings
from plait.orchestration.specialists import Specialist, Work, work_on
from plait.orchestration.state import WorkflowState
from plait.orchestration.validation import RULES, Rule, Verdict, validate
from plait.orchestration.workflow import GRAPH, build_flow, orchestrate, recall, resume

__all__ = [
    "BUNDLED_BRIEF",
    "GRAPH",
    "NODES",
    "RULES",
    "Absence",
    "AdaptionSettings",
    "Attribution",
    "BranchRecord",
    "BranchResult",
    "Brief",
    "BriefError",
    "Carried",
    "Contribution",
    "DeadlineError",
    "Finding",
    "Gathering",
    "JoinPolicy",
    "LoadBalancer",
    "Machine",
    "Measure",
    "Merged",
    "MissingSourceError",
    "NodeRecord",
    "ParallelOrchestrator",
    "PerformanceTracker",
    "Progress",
    "Report",
    "ResearchError",
    "Rule",
    "Settings",
    "Specialist",
    "SpecialistError",
    "SyncPoint",
    "TableError",
    "Task",
    "ThrottledError",
    "Verdict",
    "Work",
    "WorkflowState",
    "build_flow",
    "load_brief",
    "measure_machine",
    "merge",
    "orchestrate",
    "parse_brief",
    "recall",
    "resume",
    "to_json",
    "to_markdown",
    "validate",
    "work_on",
]
