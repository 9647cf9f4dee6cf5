"""The main job: a brief of tasks, done by specialists in parallel branches, and reported.

`load_brief` reads a brief, `orchestrate` carries it out, `resume` goes on where it was cut off,
`to_markdown` and `to_json` write the report. The specialists read real text and compute on real
numbers, on this machine and without a network.
"""

from __future__ import annotations

from plait.orchestration.brief import Brief, JoinPolicy, Task, load_brief, parse_brief
from plait.orchestration.briefs import BUNDLED_BRIEF
from plait.orchestration.errors import (
    BriefError,
    DeadlineError,
    MissingSourceError,
    ResearchError,
    SpecialistError,
    TableError,
)
from plait.orchestration.merge import Absence, Attribution, Contribution, Gathering, Merged, merge
from plait.orchestration.progress import Progress
from plait.orchestration.report import Report, to_json, to_markdown
from plait.orchestration.results import BranchResult, Finding, Measure
from plait.orchestration.validation import RULES, Rule, Verdict, validate
from plait.orchestration.workflow import GRAPH, build_flow, build_graph, orchestrate, recall, resume

__all__ = [
    "BUNDLED_BRIEF",
    "GRAPH",
    "RULES",
    "Absence",
    "Attribution",
    "BranchResult",
    "Brief",
    "BriefError",
    "Contribution",
    "DeadlineError",
    "Finding",
    "Gathering",
    "JoinPolicy",
    "Measure",
    "Merged",
    "MissingSourceError",
    "Progress",
    "Report",
    "ResearchError",
    "Rule",
    "SpecialistError",
    "TableError",
    "Task",
    "Verdict",
    "build_flow",
    "build_graph",
    "load_brief",
    "merge",
    "orchestrate",
    "parse_brief",
    "recall",
    "resume",
    "to_json",
    "to_markdown",
    "validate",
]
