"""The main job: a brief of tasks, done by specialists in parallel branches, and reported.

`load_brief` reads a brief, `orchestrate` carries it out, `resume` goes on where it was cut off,
`to_markdown` and `to_json` write the report. The specialists read real text and compute on real
numbers, on this machine and without a network.
"""

from __future__ import annotations

from plait.orchestration.balancing import LoadBalancer
from plait.orchestration.branches import BRANCHES
from plait.orchestration.brief import Brief, JoinPolicy, SyncPoint, Task, load_brief, parse_brief
from plait.orchestration.briefs import BUNDLED_BRIEF
from plait.orchestration.critical_path import Segment, critical_path
from plait.orchestration.errors import (
    BriefError,
    DeadlineError,
    MissingSourceError,
    ResearchError,
    ReviewError,
    SpecialistError,
    TableError,
    ThrottledError,
)
from plait.orchestration.gantt import to_svg, to_text
from plait.orchestration.intervals import Interval
from plait.orchestration.markdown import to_markdown
from plait.orchestration.merge import (
    Absence,
    Attribution,
    Confidence,
    Contribution,
    Gathering,
    IntegrationResult,
    MergePerformance,
    Merger,
    MergeSettings,
    QualitySpread,
    Superseded,
    merge,
)
from plait.orchestration.orchestrator import NODES, Carried, ParallelOrchestrator
from plait.orchestration.performance import BranchRecord, NodeRecord, PerformanceTracker
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report, Section, make_report, to_json
from plait.orchestration.resources import Machine, measure_machine
from plait.orchestration.results import BranchResult, Finding, Measure
from plait.orchestration.review import Review, read_review
from plait.orchestration.settings import AdaptionSettings, Settings
from plait.orchestration.specialists import Specialist, Work, work_on
from plait.orchestration.state import WorkflowState
from plait.orchestration.synthesis import Evidence, PrimaryFinding, Synthesis
from plait.orchestration.timeline import Arrived, Gate, Row, Span, Timeline, timeline_of
from plait.orchestration.validation import (
    QualityValidator,
    Rule,
    Shortfall,
    Thresholds,
    Verdict,
    rules_for,
    validate,
)
from plait.orchestration.workflow import GRAPH, build_flow, orchestrate, recall, resume

__all__ = [
    "BRANCHES",
    "BUNDLED_BRIEF",
    "GRAPH",
    "NODES",
    "Absence",
    "AdaptionSettings",
    "Arrived",
    "Attribution",
    "BranchRecord",
    "BranchResult",
    "Brief",
    "BriefError",
    "Carried",
    "Confidence",
    "Contribution",
    "DeadlineError",
    "Evidence",
    "Finding",
    "Gate",
    "Gathering",
    "IntegrationResult",
    "Interval",
    "JoinPolicy",
    "LoadBalancer",
    "Machine",
    "Measure",
    "MergePerformance",
    "MergeSettings",
    "Merger",
    "MissingSourceError",
    "NodeRecord",
    "ParallelOrchestrator",
    "PerformanceTracker",
    "PrimaryFinding",
    "Progress",
    "QualitySpread",
    "QualityValidator",
    "Report",
    "ResearchError",
    "Review",
    "ReviewError",
    "Row",
    "Rule",
    "Section",
    "Segment",
    "Settings",
    "Shortfall",
    "Span",
    "Specialist",
    "SpecialistError",
    "Superseded",
    "SyncPoint",
    "Synthesis",
    "TableError",
    "Task",
    "Thresholds",
    "ThrottledError",
    "Timeline",
    "Verdict",
    "Work",
    "WorkflowState",
    "build_flow",
    "critical_path",
    "load_brief",
    "make_report",
    "measure_machine",
    "merge",
    "orchestrate",
    "parse_brief",
    "read_review",
    "recall",
    "resume",
    "rules_for",
    "timeline_of",
    "to_json",
    "to_markdown",
    "to_svg",
    "to_text",
    "validate",
    "work_on",
]
