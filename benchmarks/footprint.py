"""W8: what a contender costs before it does anything.

Import time and memory are taken in fresh interpreters, interleaved like everything else, with the
bytecode of all of them at hand: an installer compiles what it installs, a checkout has to be.
Packages and megabytes are those of the distribution and of all that it requires without extras, as
the installed metadata say; compiled bytecode is not counted.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders.base import Contender

FLOOR = "anyio + pydantic + structlog"
"""What Plait's kernel stands on, and so cannot go below."""

_PROBE = """
import json, sys, time
def resident():
    try:
        for line in open('/proc/self/status'):
            if line.startswith('VmRSS'):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
before, begun = resident(), time.process_time()
import {modules}
elapsed, after = time.process_time() - begun, resident()
grown = None if before is None else after - before
print(json.dumps([elapsed, grown, len(sys.modules)]))
"""


@dataclass(slots=True)
class Footprint:
    """What one contender weighs."""

    contender: str
    seconds: list[float] = field(default_factory=list)
    """Of processor time, to import it; one figure for each repeat."""
    memory: list[int | None] = field(default_factory=list)
    """Bytes by which the process grew."""
    modules: int = 0
    """Loaded after the import, the interpreter's own included."""
    packages: int | None = None
    """Distributions, itself included."""
    size: int | None = None
    """Bytes of their files."""


def measure(contenders: Sequence[Contender], repeats: int) -> list[Footprint]:
    """The footprint of every contender that can be imported, and of the floor."""
    imports = {FLOOR: "anyio, pydantic, structlog"}
    roots = {FLOOR: ["anyio", "pydantic", "structlog"]}
    for contender in contenders:
        if contender.import_name is not None and contender.import_name not in imports.values():
            imports[contender.name] = contender.import_name
            roots[contender.name] = [contender.distribution or contender.import_name]
    found = {name: Footprint(name) for name in imports}
    with tempfile.TemporaryDirectory() as bytecode:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compiles them, and reads the disk
            list(pool.map(_probe, imports.values(), itertools.repeat(bytecode)))
        for name, footprint in found.items():
            footprint.packages, footprint.size = _weigh(roots[name])
        for _ in range(repeats):
            for name, footprint in found.items():
                seconds, memory, footprint.modules = _probe(imports[name], bytecode)
                footprint.seconds.append(seconds)
                footprint.memory.append(memory)
    return list(found.values())


def _probe(modules: str, bytecode: str) -> tuple[float, int | None, int]:
    paths = json.dumps([path for path in sys.path if path])
    code = f"import sys; sys.path[:] = {paths}\n" + _PROBE.format(modules=modules)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, memory, count = json.loads(done.stdout)
    return seconds, memory, count


def _weigh(roots: Sequence[str]) -> tuple[int | None, int | None]:
    try:
        requirements: Any = importlib.import_module("packaging.requirements")
    except ModuleNotFoundError:
        return None, None
    seen: set[str] = set()
    waiting, size = list(roots), 0
    while waiting:
        try:
            distribution = importlib.metadata.distribution(waiting.pop())
        except importlib.metadata.PackageNotFoundError:
            continue
        name = distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name in seen:
            continue
        seen.add(name)
        size += _size(distribution)
        for line in distribution.requires or ():
            requirement = requirements.Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return (len(seen), size) if seen else (None, None)


def _size(distribution: importlib.metadata.Distribution) -> int:
    files = [Path(str(file.locate())) for file in distribution.files or ()]
    if any(file.suffix == ".pth" for file in files):  # an editable install: only a pointer
        module = importlib.import_module(distribution.metadata["Name"])
        files = list(Path(str(module.__file__)).parent.rglob("*"))
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file())
