"""The memory saver with dicts of other kinds, and those that are kept in a file."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import PersistentDict as LangGraphsPersistentDict

from plait.codec import DecodingError, EncodingError
from plait_adapters.langgraph.checkpoint.base import create_checkpoint, empty_checkpoint
from plait_adapters.langgraph.checkpoint.memory import InMemorySaver, PersistentDict

THREAD: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}


def put(saver: InMemorySaver) -> str:
    """Stores a checkpoint with one value; its id."""
    checkpoint = create_checkpoint(empty_checkpoint(), None, 1)
    checkpoint["channel_values"] = {"x": [1]}
    checkpoint["channel_versions"] = {"x": "1"}
    config = saver.put(THREAD, checkpoint, {"source": "loop"}, {"x": "1"})
    saver.put_writes(config, [("x", 2)], "task")
    return checkpoint["id"]


class EachOfItsOwn:
    """A factory whose dicts have a file each."""

    def __init__(self, kind: type[Any], directory: Path) -> None:
        self.kind, self.directory = kind, directory
        self.made: list[Any] = []

    def __call__(self, *args: Any) -> Any:
        self.made.append(self.kind(*args, filename=str(self.directory / f"{len(self.made)}")))
        return self.made[-1]


@pytest.mark.parametrize("kind", [PersistentDict, LangGraphsPersistentDict], ids=["ours", "theirs"])
def test_what_a_saver_has_is_in_files_once_it_is_left(kind: type[Any], tmp_path: Path) -> None:
    with InMemorySaver(factory=EachOfItsOwn(kind, tmp_path)) as saver:
        checkpoint_id = put(saver)
    assert saver.get_tuple(THREAD) is None

    factory = EachOfItsOwn(kind, tmp_path)
    later = InMemorySaver(factory=factory)
    for kept in factory.made:
        kept.load()
    found = later.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["id"] == checkpoint_id
    assert found.checkpoint["channel_values"] == {"x": [1]}
    assert found.pending_writes == [("task", "x", 2)]
    within: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": "within"}}
    later.put(within, empty_checkpoint(), {}, {})
    assert later.get_tuple(within) is not None


async def test_what_is_put_on_the_stack_is_left_with_the_saver() -> None:
    left: list[str] = []
    async with InMemorySaver() as saver:
        saver.stack.callback(left.append, "left")
        assert left == []
    assert left == ["left"]


KEYS = st.text() | st.tuples(st.text(), st.integers())


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.binary() | st.none())))
def test_what_is_written_to_the_file_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, content: dict[Any, Any]
) -> None:
    make = partial(PersistentDict, dict, filename=tmp_path_factory.mktemp("kept") / "dict")
    with make() as kept:
        kept.update(content)
    assert kept == {}

    again = make()
    again.load()
    assert again == content
    assert again["another"] == {}


def test_values_become_what_the_default_factory_makes(tmp_path: Path) -> None:
    factory: Callable[[], Any] = lambda: defaultdict(dict)  # noqa: E731
    with PersistentDict(factory, filename=tmp_path / "f") as kept:
        kept["a"]["b"]["c"] = 1

    again = PersistentDict(factory, filename=tmp_path / "f")
    again.load()
    again["a"]["new"]["d"] = 2
    assert again == {"a": {"b": {"c": 1}, "new": {"d": 2}}}


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    kept = PersistentDict(filename=tmp_path / "f")
    kept["x"] = 1
    kept.sync()
    kept["x"] = object()
    with pytest.raises(EncodingError):
        kept.sync()

    again = PersistentDict(filename=tmp_path / "f")
    again.load()
    assert again == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_flags_and_modes_of_a_file_are_followed(tmp_path: Path) -> None:
    kept = PersistentDict(filename=tmp_path / "f")
    kept["x"], kept.mode = 1, 0o600
    kept.sync()
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600

    reader = PersistentDict(filename=tmp_path / "f")
    reader.flag = "r"
    reader.load()
    reader["x"] = 2
    reader.close()
    newcomer = PersistentDict(filename=tmp_path / "f")
    newcomer.flag = "n"
    newcomer.load()
    assert newcomer == {}
    newcomer.flag = "c"
    newcomer.load()
    assert newcomer == {"x": 1}


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with LangGraphsPersistentDict(filename=str(tmp_path / "f")) as theirs:
        theirs["x"] = 1
    with pytest.raises(DecodingError):
        PersistentDict(filename=tmp_path / "f").load()
    (tmp_path / "f").write_bytes(b"")
    empty = PersistentDict(filename=tmp_path / "f")
    empty.load()
    assert empty == {}


def test_a_value_that_is_said_to_be_empty_is_none_at_all() -> None:
    saver = InMemorySaver()
    put(saver)
    saver.blobs["1", "", "x", "1"] = ("empty", b"")

    found = saver.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"] == {}
