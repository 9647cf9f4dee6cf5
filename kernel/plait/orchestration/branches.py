"""The branches of an orchestrator: five specialists, and which of them a task is for.

Research goes to `technical`, `market` or `competitive`, by its focus; an analysis to `primary` or
`secondary`, by its priority. A node is named after its branch (`research_market`), and where the
branch works towards a named sync point of the brief, after both (`research_market@facts`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from plait.orchestration.terms import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plait.orchestration.brief import Task

__all__ = ["ANALYSIS", "BRANCHES", "LENSES", "RESEARCH", "branch_for", "branch_of", "node_of"]

RESEARCH: Final = ("technical", "market", "competitive")
"""The branches for research."""

ANALYSIS: Final = ("primary", "secondary")
"""The branches for analysis."""

BRANCHES: Final = (*RESEARCH, *ANALYSIS)
"""All branches."""

_MARKET = """
    adoption adopters audience business buyer buyers company companies consumer cost costs customer
    customers demand demographic economic economy enterprise growth industry market markets popular
    popularity price prices pricing revenue sales segment spending trend trends usage user users
    vendor vendors
"""

_COMPETITIVE = """
    advantage advantages alternative alternatives benchmark benchmarks better compare compared
    compares comparison compete competes competing competitive competitor competitors contrast
    difference differences differs drawback drawbacks instead rival rivals strength strengths unlike
    versus vs weakness weaknesses
"""

LENSES: Final[Mapping[str, frozenset[str]]] = {
    "market": frozenset(_MARKET.split()),
    "competitive": frozenset(_COMPETITIVE.split()),
}
"""Words by which a focus or a question is seen to be about a market, or about competitors; the
branch prefers passages that have them. Everything else is `technical`."""

_FOCUS_WEIGHT = 2


def branch_for(task: Task) -> tuple[str, str]:
    """The branch for a task, and why: by its type, and its focus or its priority."""
    if task.type == "analysis":
        branch = "primary" if task.priority == "high" else "secondary"
        return branch, f"an analysis of {task.priority} priority"
    found = {branch: _seen(task, lens) for branch, lens in LENSES.items()}
    score, branch = max((score, branch) for branch, (score, _) in found.items())
    if score == 0:
        return "technical", "research whose focus names neither a market nor competitors"
    words = ", ".join(found[branch][1])
    return branch, f"research whose focus or question has: {words}"


def _seen(task: Task, lens: frozenset[str]) -> tuple[int, list[str]]:
    """How much of a lens a task has (a word of its focus counts twice), and which words."""
    focus = [word for word in terms(task.focus) if word in lens]
    asked = [word for word in terms(task.question) if word in lens and word not in focus]
    return _FOCUS_WEIGHT * len(focus) + len(asked), [*focus, *asked]


def node_of(branch: str, sync_point: str = "") -> str:
    """The node in which a branch works, towards a named sync point or towards the last."""
    kind = "research" if branch in RESEARCH else "analysis"
    return f"{kind}_{branch}@{sync_point}" if sync_point else f"{kind}_{branch}"


def branch_of(node: str) -> str | None:
    """The branch that works in a node; None for any other node."""
    match = re.fullmatch(r"(?:research|analysis)_([a-z]+)(?:@.*)?", node)
    return match[1] if match and match[1] in BRANCHES else None
