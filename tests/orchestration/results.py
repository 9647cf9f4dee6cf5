"""Results of specialists, for tests of what is made of them."""

from __future__ import annotations

from hypothesis import strategies as st

from plait.orchestration import BranchResult, Finding, Measure
from plait.orchestration.merge import Absence

__all__ = ["absences", "analysis", "finding", "measure", "research", "results"]


def finding(quote: str = "It waits.", score: float = 2.0, document: str = "a.md") -> Finding:
    return Finding(quote=quote, source="*.md", document=document, place="line 1", score=score)


def measure(name: str, value: float, half: float | None = None, n: int = 9) -> Measure:
    low, high = (None, None) if half is None else (value - half, value + half)
    return Measure(name=name, value=value, low=low, high=high, n=n, how="mean")


def research(
    task: str, *findings: Finding, quality: float = 0.8, seconds: float = 1.0
) -> BranchResult:
    documents = dict.fromkeys(each.document for each in findings)
    return BranchResult(
        task=task,
        type="research",
        heading=f"About {task}",
        findings=findings,
        quality=quality,
        quality_how="measured",
        seconds=seconds,
        read="1 document",
        sources=tuple((name, 1 / len(documents)) for name in documents),
    )


def analysis(
    task: str,
    *measures: Measure,
    quality: float = 0.8,
    seconds: float = 1.0,
    documents: tuple[str, ...] = ("t.csv",),
) -> BranchResult:
    return BranchResult(
        task=task,
        type="analysis",
        heading=f"About {task}",
        measures=measures,
        quality=quality,
        quality_how="measured",
        seconds=seconds,
        read="9 rows",
        sources=tuple((name, 1 / len(documents)) for name in documents),
    )


# Few words, names and documents, so that many of those drawn are alike.
_words = st.sampled_from(["tasks", "wait", "for", "others", "to", "end"])
_quotes = st.lists(_words, min_size=1, max_size=9)
_findings = st.builds(
    finding, _quotes.map(" ".join), st.floats(0, 30), st.sampled_from(["a.md", "b.md", "c.md"])
)
_measures = st.builds(
    measure,
    st.sampled_from(["mean of x", "mean of y", "difference of x: a − b"]),
    st.floats(-1e6, 1e6),
    st.none() | st.floats(0, 1e6),
)
_tasks = st.sampled_from([f"t{i}" for i in range(8)])
_quality, _seconds = st.floats(0, 1), st.floats(0, 1e4)


@st.composite
def _one_result(draw: st.DrawFn) -> BranchResult:
    made = {"quality": draw(_quality), "seconds": draw(_seconds)}
    task = draw(_tasks)
    if draw(st.booleans()):
        return research(f"r-{task}", *draw(st.lists(_findings, max_size=4)), **made)
    documents = tuple(draw(st.lists(st.sampled_from(["x.csv", "y.csv"]), unique=True)))
    measures = draw(st.lists(_measures, max_size=4))
    return analysis(f"n-{task}", *measures, documents=documents, **made)


results = st.lists(_one_result(), max_size=12)
"""Results, now and then several of one task."""

absences = st.lists(
    st.builds(
        Absence,
        task=st.sampled_from([f"{kind}-t{i}" for kind in "rn" for i in range(8)]),
        status=st.sampled_from(["failed", "late", "cancelled", "dead"]),
        reason=st.just("x"),
    ),
    max_size=6,
    unique_by=lambda one: one.task,
)
