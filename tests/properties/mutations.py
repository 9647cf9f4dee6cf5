"""The kernel with deliberate faults, one at a time: do the laws see each of them?

`python -m tests.properties.mutations` copies the kernel and its tests, puts one fault into the
copy, runs the laws on it and prints which test saw it. It exits with 1 if a fault survives, or if
the laws fail without any. Words as arguments choose the faults whose names contain one of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAULTS", "Edit", "Fault", "Verdict", "copy_tree", "mutate", "try_fault"]

ROOT = Path(__file__).resolve().parents[2]
KERNEL = Path("kernel/plait")
LIMIT = 90.0
"""Seconds until a run of the laws counts as hanging, or four times what the kernel without faults
takes, so that a machine with much else to do is not taken for a law."""
AT_ONCE = 2
"""How many faults are tried at the same time."""
EXAMPLES = 60
"""How many examples a law takes that does not say how many itself."""

# The quickest first, since the first test that fails ends a run.
LAWS = (
    "tests/properties/test_refinement.py",
    "tests/properties/test_laws_more.py",
    "tests/properties/test_stateful_*.py",
    "tests/properties/test_laws*.py",
    "tests/properties/test_reference.py",
)
CANCELLATION = ("tests/faults/test_stuck.py", "tests/faults/test_siblings.py")

# A fault should be seen in programs that are meant as they are, and by laws of the kernel itself:
# not by oddities, and not by the test that plants a fault of its own.
BESIDE_THE_POINT = "not knocked_out_of_place and not order_of_arrival_is_found"

# Nothing is shrunk, since any counterexample will do, and nothing is remembered. The schedules
# of a seed are always the same.
PROFILE = f"""\
from pathlib import Path

import plait
from hypothesis import HealthCheck, Phase, settings

assert Path(plait.__file__).is_relative_to(Path(__file__).parent), plait.__file__

settings.register_profile(
    "mutations",
    database=None,
    deadline=None,
    max_examples={EXAMPLES},
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutations")
"""


@dataclass(frozen=True)
class Edit:
    """A place in a file of the kernel, which must hold `old` exactly once, and what comes there."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """What is wrong, in a sentence; the edits that make it so; and who should see it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...] = LAWS


@dataclass(frozen=True)
class Verdict:
    """What came of a fault: the test that saw it, or none."""

    fault: str
    caught_by: str | None
    seconds: float
    output: str = ""


def _fault(name: str, *edits: str, tests: tuple[str, ...] = LAWS) -> Fault:
    """A fault from file, old text and new text, as often as need be."""
    triples = zip(edits[0::3], edits[1::3], edits[2::3], strict=True)
    return Fault(name, tuple(Edit(*triple) for triple in triples), tests)


FAULTS: tuple[Fault, ...] = (
    # -- merging --
    _fault(
        "branches are merged in order of arrival",
        "machine.py",
        "tops = sorted(barrier.arrived, key=by_path)",
        "tops = list(barrier.arrived)",
    ),
    _fault(
        "a reducer is called with its arguments swapped",
        "reducers.py",
        "return self.fn(value, writes[0])",
        "return self.fn(writes[0], value)",
    ),
    _fault(
        "a batch is folded in reverse order",
        "reducers.py",
        "return self.batch(value, writes)",
        "return self.batch(value, writes[::-1])",
    ),
    _fault(
        "writes through a plain reducer are folded in reverse order",
        "reducers.py",
        "for write in writes:\n            value = fn(value, write)",
        "for write in reversed(writes):\n            value = fn(value, write)",
    ),
    _fault(
        "a conflict between two branches is not seen",
        "merging.py",
        "if origin is not delta and self._concurrent(earlier, entry):",
        "if False:",
    ),
    _fault(
        "a conflict with what the owner wrote beside its branches is not seen",
        "merging.py",
        "self._check_conflicts([own, *deltas])",
        "self._check_conflicts(deltas)",
    ),
    _fault(
        "Overwrite is folded like a plain write",
        "state.py",
        "pending.pop(channel, None)\n                    result[channel] = value.value",
        "pending.setdefault(channel, []).append(value.value)",
    ),
    _fault(
        "Overwrite beside a plain write is no conflict",
        "merging.py",
        "(overwrites or overwrote)",
        "(overwrites and overwrote)",
    ),
    _fault(
        "a fold changes the state that siblings share, so that they see each other's writes",
        "state.py",
        "result = values.copy()\n        pending",
        "result = values\n        pending",
        "state.py",
        "result = values.copy()\n        for",
        "result = values\n        for",
    ),
    _fault(
        "the leftovers of a run are lost",
        "machine.py",
        "rest = entries[len(root.delta) :]",
        "rest = entries[:0]",
    ),
    _fault(
        "the leftovers of a run are merged twice",
        "machine.py",
        "[*root.unfolded, *rest]",
        "[*root.unfolded, *rest, *rest]",
    ),
    _fault(
        "what the owner of a fork wrote is merged again with its branches",
        "machine.py",
        "merged.unfolded.extend(delta)\n",
        "merged.unfolded.extend([*merged.delta, *delta])\n",
    ),
    _fault(
        "a write to a live channel is folded twice",
        "machine.py",
        "self.live_values = self.schema.fold(start, [entry])",
        "self.live_values = self.schema.fold(start, [entry, entry])",
    ),
    _fault(
        "a subgraph hands back its final state",
        "executor.py",
        "for entry in machine.delta\n"
        "                if entry.node != INPUT\n"
        "                for write in entry.writes\n",
        "for write in machine.values.items()\n",
    ),
    _fault(
        "what a node wrote on a second attempt is lost",
        "executor.py",
        "writes, goto = check_output(self.plan.schema, spec, output)",
        "writes, goto = check_output(self.plan.schema, spec, output)\n"
        "                writes = writes if attempt == 1 else ()",
    ),
    # -- sync points --
    _fault(
        "a sync point forgets a dead branch and waits for it",
        "machine.py",
        "elif not barrier.opened:\n",
        "elif False:\n",
    ),
    _fault(
        "a sync point forgets that a branch below a participant is dead",
        "machine.py",
        "if leaves == 0:\n            self._suspects.append",
        "if leaves < 0:\n            self._suspects.append",
    ),
    _fault(
        "a sync point opens twice",
        "machine.py",
        "join = spec.join\n        barrier.opened = True\n",
        "join = spec.join\n",
    ),
    _fault(
        "a sync point opens early, while a branch without a place of its own is on the way",
        "barrier.py",
        "if not self.guests:",
        "if True:",
    ),
    _fault(
        "a branch counts as a participant of sync points that it cannot reach",
        "machine.py",
        "child.hopes = vertices[node].reach & scope",
        "child.hopes = scope",
    ),
    _fault(
        "a participant with several branches arrives with the first of them",
        "machine.py",
        "if top.leaves[bit] > 0 or top in barrier.arrived:",
        "if top in barrier.arrived:",
        "machine.py",
        "if leaves == 0:\n            self._suspects.append",
        "if leaves >= 0:\n            self._suspects.append",
    ),
    _fault(
        "an empty generation is not opened",
        "machine.py",
        "if targets or vertex.owns:",
        "if targets:",
    ),
    _fault(
        "the loops of a fork share one generation",
        "machine.py",
        "passages.get(spec.name, -1) + 1",
        "max(passages.get(spec.name, -1), 0)",
    ),
    _fault(
        "a share of weights is counted by heads",
        "barrier.py",
        "return self.arrived_weight >= quorum * self.total_weight * (1 - ROUNDING)",
        "return self.arrived_count >= quorum * len(self.members) * (1 - ROUNDING)",
    ),
    _fault(
        "a count is met one arrival too late",
        "barrier.py",
        "return self.arrived_count >= quorum\n",
        "return self.arrived_count > quorum\n",
    ),
    _fault(
        "the minimum is off by one",
        "machine.py",
        "too_few = len(outcome.arrived) < join.minimum",
        "too_few = len(outcome.arrived) <= join.minimum",
    ),
    _fault(
        "on_timeout is not asked when the deadline passes",
        "machine.py",
        'if too_few or (status == "timeout" and join.on_timeout != "proceed"):',
        "if too_few:",
    ),
    _fault(
        "the deadline from the first arrival is measured from the fork",
        "machine.py",
        'if spec.join.timeout is not None and spec.join.timeout_from == "fork":',
        "if spec.join.timeout is not None:",
    ),
    _fault(
        "the deadline is measured from the last arrival",
        "machine.py",
        "if len(barrier.arrived) == 1:",
        "if len(barrier.arrived) == barrier.arrived_count:",
        "machine.py",
        "barrier.timer_due[key] = self._at + seconds",
        "if key in barrier.timer_due:\n"
        "            self._commands.append(StopTimer(key))\n"
        "        barrier.timer_due[key] = self._at + seconds",
    ),
    _fault(
        "the grace time begins again with each arrival",
        "barrier.py",
        'if not any(key.kind == "grace" for key in (*self.timer_due, *self.timer_left)):',
        "if True:",
        "machine.py",
        "barrier.timer_due[key] = self._at + seconds",
        "if key in barrier.timer_due:\n"
        "            self._commands.append(StopTimer(key))\n"
        "        barrier.timer_due[key] = self._at + seconds",
    ),
    # -- stragglers and late branches --
    _fault(
        "stragglers are not cancelled",
        "machine.py",
        "self._commands.append(CancelBranch(branch.path, branch.step))",
        "pass",
    ),
    _fault(
        "the writes of a cancelled participant's other branches are kept",
        "machine.py",
        "_void(stopped, top)",
        "pass",
    ),
    _fault(
        "a late write is let through",
        "machine.py",
        "            _void(leaves, top)\n",
        "            pass\n",
    ),
    _fault(
        "a late branch also writes channels that are no lattice",
        "machine.py",
        "[w for w in entry.writes if w[0] in lattice and type(w[1]) is not Overwrite]",
        "[w for w in entry.writes if type(w[1]) is not Overwrite]",
    ),
    _fault(
        "a late branch that is to join the next round is dropped",
        "machine.py",
        'elif late == "next_round":',
        'elif late == "never":',
    ),
    _fault(
        "an outcome names late branches as cancelled",
        "machine.py",
        "(late if detach else cancelled).append(participant)",
        "cancelled.append(participant)",
    ),
    # -- failures --
    _fault(
        "the writes of a failed branch are kept",
        "machine.py",
        "if branch.generation is not None:\n            branch.delta = []",
        "if branch.generation is None:\n            branch.delta = []",
    ),
    _fault(
        "a recorded failure that no sync point named is not named at END",
        "machine.py",
        "if root.failures:\n",
        "if False:\n",
    ),
    _fault(
        "a run that has failed goes on",
        "executor.py",
        "            self._error = error\n        self._crew.end()",
        "            self._error = error",
        tests=(*LAWS, *CANCELLATION),
    ),
    # -- forks, paths, dependencies --
    _fault(
        "the numbers of a branch's children begin again at each of its forks",
        "machine.py",
        'owner.status = "forked"\n',
        'owner.status = "forked"\n        owner.next_child = 0\n',
    ),
    _fault(
        "a sync point belongs to its immediate dominator",
        "plan.py",
        "forking = self._forking(vertex, name, graph)",
        'forking = "certain"',
    ),
    _fault(
        "after= is ignored",
        "machine.py",
        "held = held or bool(target.after)",
        "held = False",
    ),
    _fault(
        "a branch with after= is merged in path order",
        "merging.py",
        "return [contributions[place] for place in in_order(before)]",
        "return list(contributions)",
    ),
    _fault(
        "a held branch begins when the first of its siblings is done",
        "machine.py",
        "if held.held_for or held.target is None:",
        "if held.target is None:",
    ),
    # -- interrupts --
    _fault(
        "clocks go on while a branch is parked",
        "barrier.py",
        'return self.parked > 0 and self.spec.join.clock_on_interrupt == "pause"',
        "return False",
    ),
    _fault(
        "clocks go on when the first of several parked branches does",
        "machine.py",
        "if barrier.parked == 0 and not barrier.opened:",
        "if not barrier.opened:",
    ),
    _fault(
        "a node is called again when one of its questions is answered",
        "machine.py",
        "            if not questions.open:\n",
        "            if True:\n",
    ),
    _fault(
        "a parked branch lets go of those that are held for it",
        "machine.py",
        'if branch.status in ("running", "routing", "held", "parked"):',
        'if branch.status in ("running", "routing", "held"):',
    ),
    _fault(
        "a question outlives its branch",
        "machine.py",
        "                del self._asked[name]\n",
        "                pass\n",
    ),
    # -- journal, recovery, tasks --
    _fault(
        "an idempotency key is used again in a loop",
        "machine.py",
        "branch.step += 1\n            branch.q",
        "branch.q",
        "machine.py",
        "branch.step += 1\n        branch.q",
        "branch.q",
    ),
    _fault(
        "a router is asked again when the journal is replayed",
        "replay.py",
        "            try:\n                _check_follows(machine, event)\n",
        "            from .node import find_targets\n\n"
        "            here = self.plan.vertices.get(getattr(event, 'node', ''))\n"
        "            if here is not None and here.targets is None:\n"
        "                asked = machine.branches[event.branch]\n"
        "                seen = machine.view_after(asked, getattr(event, 'writes', ()))\n"
        "                state = self.plan.schema.instance(seen)\n"
        "                try:\n"
        "                    find_targets(self.plan, here, lambda: state, ()).send(None)\n"
        "                except StopIteration as answer:\n"
        "                    event = event._replace(targets=answer.value)\n"
        "            try:\n                _check_follows(machine, event)\n",
    ),
    _fault(
        "a predicate is asked again when a run is resumed",
        "machine.py",
        "barrier.judged = max(barrier.judged, event.arrivals)",
        "pass",
    ),
    _fault(
        "a deadline is forgotten when a run is resumed",
        "machine.py",
        "commands += [StartTimer(*timer) for timer in barrier.timer_due.items()]",
        "pass",
    ),
    _fault(
        "the branches that wait for a router are forgotten when a run is resumed",
        "machine.py",
        "commands.append(RouteBranch(path, branch.place, branch.step))",
        "pass",
    ),
    _fault(
        "what follows from an event does not wait until it is in the journal",
        "executor.py",
        "                        await durable\n",
        "                        self._crew.start(lambda _: durable)\n",
        "executor.py",
        "                else:\n                    await durable\n",
        "                else:\n                    self._crew.start(lambda _: durable)\n",
        tests=(*LAWS, "tests/kernel/test_recovery.py", *CANCELLATION),
    ),
    _fault(
        "a place in a pool is not given back",
        "executor.py",
        "pool.release_on_behalf_of(holder)",
        "pass",
    ),
)


def copy_tree(target: Path, source: Path = ROOT) -> None:
    """Copy what a run of the laws needs from a checkout, or from a copy."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.pyc")
    for folder in ("kernel", "tests"):
        shutil.copytree(source / folder, target / folder, ignore=ignored)
    shutil.copy(source / "pyproject.toml", target)
    (target / "profile_of_mutations.py").write_text(PROFILE)


def mutate(root: Path, fault: Fault) -> list[Path]:
    """Put a fault into the kernel below `root`, and return the files that were changed.

    Raises `ValueError` where the old text is not there exactly once: the fault has rotted.
    """
    changed = []
    for edit in fault.edits:
        path = root / KERNEL / edit.file
        text = path.read_text()
        count = text.count(edit.old)
        if count != 1:
            raise ValueError(f"{fault.name}: {edit.file} has {count} times {edit.old!r}, not once")
        path.write_text(text.replace(edit.old, edit.new))
        changed.append(path)
    return changed


def try_fault(fault: Fault, source: Path = ROOT, limit: float = LIMIT) -> Verdict:
    """Run the laws on a copy of the kernel that has the fault, up to the first test that fails."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        root = Path(folder).resolve()
        copy_tree(root, source)
        mutate(root, fault)
        return _run(root, fault, limit)


def _run(root: Path, fault: Fault, limit: float) -> Verdict:
    paths = [path for pattern in fault.tests for path in sorted(root.glob(pattern))]
    tests = list(dict.fromkeys(map(str, paths)))
    options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "profile_of_mutations"]
    options += ["-k", BESIDE_THE_POINT]
    command = [sys.executable, "-m", "pytest", *options, "--hypothesis-seed=0", *tests]
    folders = os.pathsep.join(map(str, (root, root / "kernel")))
    environment = {**os.environ, "PYTHONPATH": folders, "PLAIT_PROFILE": "mutations"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return Verdict(fault.name, "by hanging", time.monotonic() - began)
    seconds = time.monotonic() - began
    if done.returncode == 0:
        return Verdict(fault.name, None, seconds, done.stdout)
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    # Only a test that fails has seen something: another end is a fault of this script.
    if done.returncode not in (1, 2) or found is None:
        raise RuntimeError(f"{fault.name}: pytest ended with {done.returncode}\n{done.stdout}")
    name = found[1].removeprefix("tests/").replace(".py::", " ")
    return Verdict(fault.name, f"`{name}`", seconds, done.stdout)


def _row(verdict: Verdict) -> str:
    caught = verdict.caught_by or "**nothing**"
    return f"| {verdict.fault} | {caught} | {verdict.seconds:.1f} |"


def _chosen(words: Sequence[str]) -> Iterable[Fault]:
    return [each for each in FAULTS if not words or any(word in each.name for word in words)]


def main(words: Sequence[str]) -> int:
    """Try the faults, print a Markdown table, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        source = Path(folder)  # what is edited meanwhile is not mixed in
        copy_tree(source)
        return _try_all(list(_chosen(words)), source)


def _try_all(faults: Sequence[Fault], source: Path) -> int:
    began = time.monotonic()
    tests = tuple(dict.fromkeys(pattern for fault in faults for pattern in fault.tests))
    sound = try_fault(Fault("no fault at all", (), tests), source)
    if sound.caught_by is not None:
        print(f"{sound.output}\nWithout any fault, the laws fail: {sound.caught_by}")
        return 1
    limit = max(LIMIT, 4 * sound.seconds)
    survivors = []
    print("| fault | caught by | seconds |\n| --- | --- | --- |", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for verdict in pool.map(lambda fault: try_fault(fault, source, limit), faults):
            print(_row(verdict), flush=True)
            if verdict.caught_by is None:
                survivors.append(verdict.fault)
    seconds = time.monotonic() - began
    print(f"\n{len(faults) - len(survivors)} of {len(faults)} faults caught in {seconds:.0f} s.")
    for name in survivors:
        print(f"Survived: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
