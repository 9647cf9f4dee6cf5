"""``python -m benchmarks``; see the README beside this file."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib.util
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from . import crowd, durable, footprint, goals, machine, moved, page, plots, postgres, report
from .contenders import find
from .contenders.base import Contender
from .contenders.plait_kernel import PlaitKernel
from .measure import Result, Settings, measure
from .results import Results
from .workloads import CROWDED, DURABLE, FOOTPRINT, MODULES, MOVED, cases

ROOT = Path(__file__).parent.parent
QUICK = Settings(repeats=5, sample=0.005, slow=0.4, longest=0.6, longest_traced=0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the results. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.results:
        data = json.loads(Path(options.results).read_text(encoding="utf-8"))
        _publish(options, Results.from_json(data))
        return 0
    everything = [*MODULES, DURABLE, FOOTPRINT, MOVED]
    names = options.only.upper().split(",") if options.only else everything
    unknown = [name for name in names if name not in everything]
    if unknown:
        known = ", ".join(everything)
        print(f"no workload {', '.join(unknown)}: there are {known}", file=sys.stderr)
        return 2
    settings = QUICK if options.quick else Settings()
    if options.repeats:
        settings = dataclasses.replace(settings, repeats=options.repeats)
    contenders, missing = find(options.contenders.split(",") if options.contenders else None)
    with tempfile.TemporaryDirectory() as scratch:
        if options.compare:
            contenders.append(_at_revision(options.compare, Path(scratch)))
        return _run(options, names, settings, contenders, missing)


def _run(
    options: argparse.Namespace,
    names: list[str],
    settings: Settings,
    contenders: list[Contender],
    missing: dict[str, str],
) -> int:
    distributions = [each.distribution for each in contenders if each.distribution]
    here = machine.describe(dict.fromkeys([*distributions, "anyio", "pydantic", "structlog"]))
    results = Results(here, settings, [*contenders], missing, quick=options.quick)
    print(f"{report.machine_text(here, settings.repeats)}\n", flush=True)
    for name, reason in missing.items():
        print(f"without {name}: {reason}", flush=True)

    def progress(result: Result) -> None:
        print(f"\n{report.table(result, contenders)}", flush=True)

    async def timed() -> None:
        for name in names:
            with _taken(options, results, name):
                chosen = cases([name], quick=options.quick)
                results.timed += await measure(chosen, contenders, settings, progress)

    asyncio.run(timed())
    if growth := report.growth_table(results.timed):
        print(f"\n{growth}")
    if len(results.timed) > 1:
        print(f"\n{report.summary_table(results.timed, contenders)}")
    if CROWDED in names:
        of_now = contenders[:-1] if options.compare else contenders
        with _taken(options, results, CROWDED):
            results.crowds = crowd.measure(of_now, quick=options.quick)
        print(f"\n{report.crowd_table(results.crowds)}")
    if FOOTPRINT in names:
        repeats = min(3, settings.repeats) if options.quick else settings.repeats
        with _taken(options, results, FOOTPRINT):
            results.footprints = footprint.measure(contenders, repeats)
        print(f"\n{report.footprint_table(results.footprints)}")
    if not {DURABLE, MOVED}.isdisjoint(names):
        with postgres.server() as url:
            _measure_on(url, options, results, names, progress)
    if options.compare:
        print(f"\n{report.comparison(results.timed, contenders[-1].name)}")
    if reached := goals.table(results):
        print(f"\n{reached}")
    print(f"\n{report.took_table(results.took)}")
    written = _publish(options, results)
    print(f"{', '.join(map(str, written))} written")
    wrong = [
        f"{result.case.key}: {series.contender}: {series.reason}"
        for result in [*results.timed, *results.moved]
        for series in result.series.values()
        if series.reason is not None and series.reason.startswith(("wrong", "fails"))
    ]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def _measure_on(
    url: str,
    options: argparse.Namespace,
    results: Results,
    names: list[str],
    progress: Callable[[Result], None],
) -> None:
    """The workloads that take a PostgreSQL server."""
    settings, quick = results.settings, results.quick
    if DURABLE in names:
        peers = [each.name for each in results.contenders if each.kind == "peer"]
        with _taken(options, results, DURABLE):
            found = durable.measure(settings.repeats, peers, url, quick=quick)
            results.durable = asyncio.run(found)
        print(f"\n{report.durable_tables(results.durable)}")
    if MOVED in names and "langgraph" not in results.missing:
        with _taken(options, results, MOVED):
            results.moved = asyncio.run(moved.measure(settings, url, progress, quick=quick))
        print(f"\n{moved.table(results.moved)}")


@contextmanager
def _taken(options: argparse.Namespace, results: Results, workload: str) -> Iterator[None]:
    """Add the seconds of the block to what the workload took, and keep what it has shown.

    So that what comes later and fails, or is interrupted, takes nothing with it.
    """
    begun = time.monotonic()
    yield
    results.took[workload] = results.took.get(workload, 0.0) + time.monotonic() - begun
    _keep(options, results)


def _keep(options: argparse.Namespace, results: Results) -> Path:
    """Write the file of the results."""
    file = Path(options.output) / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    return file


def _publish(options: argparse.Namespace, results: Results) -> list[Path]:
    """Write the results, the plots, and the section of a page, if that is asked for."""
    file = _keep(options, results)
    written = [file, *plots.draw(results.timed, results.contenders, file.parent)]
    if options.into:
        page.write_into(Path(options.into), results, Path(options.figures))
        written.append(Path(options.into))
    return written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: under two minutes")
    parser.add_argument("--only", metavar="W1,W2", help="these workloads alone")
    parser.add_argument("--contenders", metavar="NAMES", help="those whose name has one of these")
    parser.add_argument("--compare", metavar="REV", help="Plait as of this git revision as well")
    parser.add_argument("--repeats", type=int, help="how many (7)")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        default=str(ROOT / "build" / "benchmarks"),
        help="where results.json and the plots go (build/benchmarks)",
    )
    parser.add_argument("--into", metavar="PAGE", help="rewrite the section of that page, too")
    parser.add_argument(
        "--figures",
        metavar="FOLDER",
        default=str(ROOT / "benchmarks" / "figures"),
        help="where the plots of that page go, and all tables (benchmarks/figures)",
    )
    parser.add_argument("--results", metavar="FILE", help="take these results, measure nothing")
    return parser


def _at_revision(revision: str, scratch: Path) -> Contender:
    """Plait as of a git revision, under an import name of its own, in this same process."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision, "kernel/plait"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(scratch, filter="data")
    package = scratch / "kernel" / "plait"
    spec = importlib.util.spec_from_file_location(
        "plait_compared", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plait_compared"] = module
    spec.loader.exec_module(module)
    compared = PlaitKernel(module, f"Plait at {revision}")
    compared.distribution, compared.import_name = None, None
    return compared


if __name__ == "__main__":
    sys.exit(main())
