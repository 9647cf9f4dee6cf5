"""Sources are read from this machine; one that matches nothing is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from plait.orchestration import MissingSourceError
from plait.orchestration.sources import (
    fault_in_source,
    files_of,
    packages_of,
    read_documents,
)


def go_on() -> None:
    """The checkpoint of somebody who still wants the work."""


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


def test_a_glob_reads_the_kinds_it_knows_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.md").write_text("Bee", encoding="utf-8")
    (tmp_path / "in" / "a.txt").write_bytes(b"\xffay")
    (tmp_path / "in" / "c.bin").write_text("no", encoding="utf-8")
    found = read_documents("in/*", tmp_path, go_on)
    assert [(d.name, d.kind, d.text) for d in found] == [
        ("in/a.txt", ".txt", "\ufffday"),
        ("in/b.md", ".md", "Bee"),
    ]


def test_a_glob_may_go_deep_and_may_be_absolute(tmp_path: Path) -> None:
    deep = tmp_path / "x" / "y"
    deep.mkdir(parents=True)
    (deep / "z.md").write_text("z", encoding="utf-8")
    assert [name for name, _ in files_of("**/*.md", tmp_path, go_on)] == ["x/y/z.md"]
    outside = tmp_path / "elsewhere"
    assert [path for _, path in files_of(f"{tmp_path}/x/y/*.md", outside, go_on)] == [deep / "z.md"]


def test_the_standard_library_is_a_source_with_a_short_name(tmp_path: Path) -> None:
    (name, path), *_ = files_of("{stdlib}/asyncio/base_ev*.py", tmp_path, go_on)
    assert name == "{stdlib}/asyncio/base_events.py"
    assert path.is_file()


def test_a_glob_without_a_readable_file_is_a_missing_source(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_text("no", encoding="utf-8")
    (tmp_path / "folder.md").mkdir()
    for source, why in (
        ("none/*.md", "no file matches"),
        ("*.md", "no file matches"),
        ("*.bin", "its files are .bin; read are .md"),
    ):
        with pytest.raises(MissingSourceError) as caught:
            read_documents(source, tmp_path, go_on)
        assert caught.value.source == source
        assert why in str(caught.value)


def test_pydoc_gives_every_topic_or_those_that_match(tmp_path: Path) -> None:
    everything = read_documents("pydoc:", tmp_path, go_on)
    assert len(everything) > 50
    some = read_documents("pydoc:async*", tmp_path, go_on)
    assert [d.name for d in some] == ["pydoc:async"]
    assert "coroutine" in some[0].text
    with pytest.raises(MissingSourceError, match=r"none of the \d+ topics matches"):
        read_documents("pydoc:no-such-topic", tmp_path, go_on)


def test_a_python_without_topics_has_a_missing_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a Python does that leaves the module out, and one in which it has another shape.
    for module in (None, ModuleType("pydoc_data.topics")):
        monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
        with pytest.raises(MissingSourceError, match="this Python carries no topics"):
            read_documents("pydoc:", tmp_path, go_on)


def test_dist_gives_the_installed_distributions_by_name(tmp_path: Path) -> None:
    names = [d.name for d in read_documents("dist:", tmp_path, go_on)]
    assert "dist:anyio" in names
    assert len(names) == len(set(names))
    (one,) = read_documents("dist:Typing.Extensions", tmp_path, go_on)
    assert one.name == "dist:typing_extensions"
    assert metadata.metadata("typing_extensions")["Summary"] in one.text
    with pytest.raises(MissingSourceError, match="no installed distribution matches"):
        read_documents("dist:no-such-thing", tmp_path, go_on)


def test_a_distribution_is_counted_from_its_own_records() -> None:
    (package,) = packages_of("dist:anyio", go_on)
    files = metadata.files("anyio")
    assert files is not None
    assert package.files == len(files)
    assert package.size == sum(f.size or Path(str(f.locate())).stat().st_size for f in files)
    assert package.version == metadata.version("anyio")
    assert package.dependencies >= 1
    assert package.age is not None


def install(folder: Path, name: str, meta: str, record: str | None) -> None:
    info = folder / f"{name}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(meta, encoding="utf-8")
    if record is not None:
        (info / "RECORD").write_text(record, encoding="utf-8")


def test_odd_distributions_are_read_as_far_as_they_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "Metadata-Version: 2.1\n"
    install(tmp_path, "odd_one-1", f"{head}Name: odd-one\nVersion: 1\n\nBody.", None)
    install(
        tmp_path,
        "odd_two-1",
        f"{head}Name: odd-two\nVersion: 1\nSummary: Two.\nDescription: Said.\n"
        "Requires-Dist: a\nRequires-Dist: b; extra == 'x'\n",
        "gone.py,,\nodd_two-1.dist-info/METADATA,,\n",
    )
    install(
        tmp_path, "odd_three-1", f"{head}Name: odd-three\nVersion: 1\n", "x/METADATA,,\nb.py,,7\n"
    )
    install(tmp_path, "nameless-1", head, None)
    monkeypatch.syspath_prepend(str(tmp_path))
    one, three, two = packages_of("dist:odd-*", go_on)
    assert (one.text, one.size, one.files, one.age) == ("Body.", None, None, None)
    assert (two.text, two.dependencies) == ("Two.\n\nSaid.", 1)
    assert two.files in (1, 2)  # Python 3.12 and later do not list the one that is gone
    assert two.size == (tmp_path / "odd_two-1.dist-info" / "METADATA").stat().st_size
    assert three.age is None


@pytest.mark.parametrize(
    "read", [lambda f, c: read_documents("*.md", f, c), lambda f, c: packages_of("dist:", c)]
)
def test_reading_stops_at_a_checkpoint(
    tmp_path: Path, read: Callable[[Path, Callable[[], None]], object]
) -> None:
    (tmp_path / "a.md").write_text("a", encoding="utf-8")
    with pytest.raises(Stopped):
        read(tmp_path, stop)


@pytest.mark.parametrize(
    "source", ["*.md", "a/b*.[mt]*", "C:\\notes\\a.md", "pydoc:", "dist:x", "{stdlib}/**", "data/*"]
)
def test_every_way_to_write_a_source_is_accepted(source: str) -> None:
    assert fault_in_source(source) == ""
