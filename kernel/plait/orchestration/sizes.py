"""How much there is to read for a task: bytes of its sources, without reading the files.

What cannot be found counts nothing here; the specialist that reads it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plait.orchestration.brief import Task
from plait.orchestration.errors import MissingSourceError
from plait.orchestration.sources import Checkpoint, files_of, packages_of, read_documents

__all__ = ["sizes_of"]


def sizes_of(tasks: Sequence[Task], folder: Path, check: Checkpoint) -> Mapping[str, int]:
    """Bytes of the sources of each task, by its id. Blocks, so call it in a worker thread."""
    known: dict[str, int] = {}
    for source in dict.fromkeys(source for task in tasks for source in task.sources):
        check()
        known[source] = _size_of(source, folder, check)
    return {task.id: sum(known[source] for source in task.sources) for task in tasks}


def _size_of(source: str, folder: Path, check: Checkpoint) -> int:
    try:
        if source.startswith("dist:"):
            return sum(len(package.text) for package in packages_of(source, check))
        if source.startswith("pydoc:"):
            return sum(len(document.text) for document in read_documents(source, folder, check))
        return sum(_bytes_of(path) for _, path in files_of(source, folder, check))
    except MissingSourceError:
        return 0


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
