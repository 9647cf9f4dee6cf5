"""Where specialists read: files by glob, CPython's language reference, installed distributions.

| source | what it is |
| --- | --- |
| `notes/**/*.md` | a glob of `.md .txt .rst .html .py .json .csv`, relative to the brief's folder |
| `{stdlib}/asyncio/*.py` | the same; `{stdlib}` is the folder of the running Python's library |
| `pydoc:` | every topic of the language reference that CPython carries (`pydoc_data.topics`) |
| `pydoc:async*` | the topics whose name matches |
| `dist:` | name, summary and description of every installed distribution |
| `dist:anyio` | of those whose name matches (`*` and `?` as in a glob; case, `-` and `_` alike) |

Everything here blocks, so it is called in a worker thread. `Checkpoint` is called between two
pieces of work: it raises when the caller has given up, which is the only way to stop a thread.
"""

from __future__ import annotations

import glob
import importlib
import re
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path, PurePath

from plait.orchestration.errors import MissingSourceError

__all__ = [
    "SUFFIXES",
    "Checkpoint",
    "Document",
    "Package",
    "fault_in_source",
    "files_of",
    "packages_of",
    "read_documents",
]

SUFFIXES = (".md", ".txt", ".rst", ".html", ".py", ".json", ".csv")
"""The kinds of file that can be read."""

_TABLES = (".csv", ".json")

Checkpoint = Callable[[], None]
"""Called between pieces of work; raises when the work is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text, whole."""

    source: str
    """The source in the brief that it came from."""
    name: str
    """What a quotation calls it: `pydoc:async`, `dist:anyio`, `notes/waiting.md`."""
    kind: str
    """`pydoc`, `dist`, or the suffix of the file; says how it is cut into passages."""
    text: str
    """The text."""


@dataclass(frozen=True, slots=True)
class Package:
    """What is known of an installed distribution."""

    name: str
    """Its name, as it is spelled in its metadata."""
    version: str
    """Its version."""
    text: str
    """Its summary and its description."""
    size: int | None
    """Bytes of its files, by its RECORD or else by the disk; None where it lists no files."""
    files: int | None
    """How many files it lists; None where it lists none."""
    dependencies: int
    """Requirements without an `extra` marker."""
    age: float | None
    """Days since its metadata was written to this machine, which is when it was installed."""


def fault_in_source(source: str, *, tables: bool = False) -> str:
    """What is wrong with how a source is written, or an empty text; looks at no file."""
    scheme, colon, _ = source.partition(":")
    if not source.strip():
        return "is empty"
    # One letter before a colon is a drive of Windows.
    if colon and len(scheme) > 1 and scheme not in ("pydoc", "dist"):
        return f'unknown kind of source "{scheme}:"; known are pydoc:, dist: and globs of files'
    if tables and scheme == "pydoc" and colon:
        return "is text, and an analysis reads tables (.csv, .json, dist:)"
    suffix = "" if colon and len(scheme) > 1 else PurePath(source).suffix
    if suffix and not any(c in suffix for c in "*?[") and suffix not in SUFFIXES:
        return f'files of the kind "{suffix}" are not read; known are {" ".join(SUFFIXES)}'
    if tables and suffix in SUFFIXES and suffix not in _TABLES:
        return "is text, and an analysis reads tables (.csv, .json, dist:)"
    return ""


def read_documents(source: str, folder: Path, check: Checkpoint) -> list[Document]:
    """Every text of one source, in the order of their names.

    Raises:
        MissingSourceError: the source matches nothing.
    """
    if source.startswith("pydoc:"):
        return _topics_of(source)
    if source.startswith("dist:"):
        found = packages_of(source, check)
        return [Document(source, f"dist:{p.name}", "dist", p.text) for p in found]
    documents = []
    for name, path in files_of(source, folder, check):
        check()
        text = path.read_text(encoding="utf-8", errors="replace")
        documents.append(Document(source, name, path.suffix, text))
    return documents


def files_of(source: str, folder: Path, check: Checkpoint) -> list[tuple[str, Path]]:
    """The files of a glob that can be read, each with the name that a quotation gives it.

    Raises:
        MissingSourceError: no file matches, or none of a kind that can be read.
    """
    stdlib = glob.escape(sysconfig.get_path("stdlib"))
    pattern = source.replace("{stdlib}", stdlib)
    # Path.glob takes neither an absolute pattern nor a pattern that leads out of the folder.
    files = []
    for name in glob.iglob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207
        check()
        if (folder / name).is_file():
            files.append(folder / name)
    files.sort()
    if not files:
        raise MissingSourceError(source, "no file matches")
    readable = [(_name_of(path, folder), path) for path in files if path.suffix in SUFFIXES]
    if not readable:
        kinds = " ".join(sorted({path.suffix or "(no suffix)" for path in files}))
        raise MissingSourceError(source, f"its files are {kinds}; read are {' '.join(SUFFIXES)}")
    return readable


def _name_of(path: Path, folder: Path) -> str:
    """The path without the part that says more of the machine than of the text."""
    for root, shown in ((Path(sysconfig.get_path("stdlib")), "{stdlib}/"), (folder, "")):
        if path.is_relative_to(root):
            return shown + path.relative_to(root).as_posix()
    return path.as_posix()


def _topics_of(source: str) -> list[Document]:
    topics = _topics(source)
    pattern = source.removeprefix("pydoc:") or "*"
    names = sorted(name for name in topics if fnmatchcase(name, pattern) and topics[name].strip())
    if not names:
        raise MissingSourceError(source, f"none of the {len(topics)} topics matches")
    return [Document(source, f"pydoc:{name}", "pydoc", topics[name]) for name in names]


def _topics(source: str) -> dict[str, str]:
    # The module is an implementation detail of CPython: a later version may move it, and some
    # distributions of Python leave it out. Then the source is missing, and nothing else breaks.
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as error:
        raise MissingSourceError(source, f"this Python carries no topics ({error})") from error
    return {str(name): str(text) for name, text in topics.items()}


def packages_of(source: str, check: Checkpoint) -> list[Package]:
    """The installed distributions of a `dist:` source, by name; the first of a name counts.

    Raises:
        MissingSourceError: no installed distribution matches.
    """
    pattern = _normal(source.removeprefix("dist:")) or "*"
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        check()
        # A folder left behind by a broken removal has no name.
        name = _field(distribution.metadata, "Name")
        if name and _normal(name) not in found and fnmatchcase(_normal(name), pattern):
            found[_normal(name)] = _package(name, distribution)
    if not found:
        raise MissingSourceError(source, "no installed distribution matches")
    return [found[name] for name in sorted(found)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(name: str, distribution: metadata.Distribution) -> Package:
    said = distribution.metadata
    files = distribution.files
    # The description is the body of the metadata; before its version 2.1 it was a field.
    body = getattr(said, "get_payload", str)()
    summary, description = _field(said, "Summary"), _field(said, "Description") or body
    wants = [text for text in distribution.requires or () if not re.search(r"\bextra\s*==", text)]
    return Package(
        name=name,
        version=distribution.version,
        text=f"{summary}\n\n{description}".strip(),
        size=None if files is None else sum(_sizes(files)),
        files=None if files is None else len(files),
        dependencies=len(wants),
        age=_age(files),
    )


def _field(said: metadata.PackageMetadata, name: str) -> str:
    # `said[name]` is deprecated for a field that may be absent.
    return str((said.get_all(name) or ("",))[0])


def _sizes(files: list[metadata.PackagePath]) -> Iterator[int]:
    for file in files:
        if file.size is not None:
            yield file.size
            continue
        try:
            yield Path(str(file.locate())).stat().st_size
        except OSError:
            # Listed, and gone from the disk.
            yield 0


def _age(files: list[metadata.PackagePath] | None) -> float | None:
    for file in files or ():
        if file.name in ("METADATA", "PKG-INFO"):
            try:
                return (time.time() - Path(str(file.locate())).stat().st_mtime) / 86_400
            except OSError:
                return None
    return None
