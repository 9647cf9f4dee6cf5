"""What is read back decides which known thing is where, and never what is done."""

from __future__ import annotations

import ast
import copy
import os
import pathlib
import pickle
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import ormsgpack
import pytest

import plait
from plait import Join, PlaitError
from plait.barrier import Barrier
from plait.codec import Codec, TypeRegistry
from plait.events import Interrupt as Question
from plait.events import NodeInterrupted, RunStarted, TimerKey
from plait.machine import Machine
from plait.snapshots import (
    _ATTRIBUTES,
    _MACHINE,
    _NOT_STATE,
    _PASSING,
    Header,
    Ref,
    Shared,
    Spec,
    header_of,
    register_types,
    restore,
    take,
)
from plait.tree import Branch, Generation, Member, Questions
from tests.kernel.build import build
from tests.kernel.hostile import forge, nothing_runs

KERNEL = pathlib.Path(plait.__file__).parent
READERS = [
    *sorted((KERNEL / "codec").glob("*.py")),
    *(KERNEL / f"{name}.py" for name in ("snapshots", "fingerprint", "seal")),
]

# -- by the source ----------------------------------------------------------------------------

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "import_module", "importlib", "globals", "locals"),
    *("pickle", "marshal", "shelve", "sys", "modules", "builtins", "attrgetter", "methodcaller"),
}
LATE_IMPORTS = {
    "import ormsgpack",
    "from .decoder import Decoder",
    "from .encoder import Encoder",
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM",
    "from cryptography.exceptions import InvalidTag",
}


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_no_reader_of_stored_bytes_can_import_or_call_by_name(path: pathlib.Path) -> None:
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = {getattr(node, "id", ""), getattr(node, "attr", "")}
        if ast.unparse(node) == "re.compile":
            continue
        assert not names & FORBIDDEN, f"line {node.lineno}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert id(node) in top or ast.unparse(node) in LATE_IMPORTS
            assert not {alias.name for alias in node.names} & FORBIDDEN
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name | ast.Attribute), f"line {node.lineno}"


REFLECTING = {
    *("getattr", "setattr", "hasattr", "delattr", "vars", "dir", "__getattribute__"),
    *("__setattr__", "__getattr__", "__dict__", "__class__", "__new__"),
}
REFLECTION = {
    # These write, or look at types that the user has registered.
    "__init__.Codec.encode_event": {"getattr"},
    "encoder.Encoder._way_out": {"hasattr"},
    "encoder.Encoder._chain": {"getattr"},
    "fingerprint._join": {"getattr"},
    "shapes.ErrorShape.facts": {"vars"},
    "shapes.ModelShape.lower": {"__dict__"},
    "shapes.NamedTupleShape.lower": {"getattr"},
    "shapes.RecordShape.__init__": {"__new__", "vars"},
    "shapes.RecordShape.lower": {"__dict__"},
    "shapes.TypeRegistry.__init__": {"vars"},
    "shapes._attributes": {"__getattribute__", "getattr", "hasattr"},
    "shapes._derived": {"vars"},
    "shapes._is_namedtuple": {"hasattr"},
    "shapes._slots_of": {"vars"},
    "snapshots.take": {"vars"},
    "snapshots._Writer.work_off": {"getattr"},
    # These read: attributes are set by the names of fields, or of _ATTRIBUTES, or of facts, which
    # are plain identifiers without an underscore.
    "shapes.ErrorShape.lift": {"__new__", "vars"},
    "shapes.ModelShape.lift": {"__new__", "__setattr__"},
    "shapes.NamedTupleShape.lift": {"__new__"},
    "shapes.RecordShape.lift": {"__dict__", "__new__", "__setattr__"},
    "snapshots._Reader.__init__": {"__new__", "setattr"},
    "snapshots._Reader.fill": {"setattr"},
    "snapshots._check_walks": {"vars"},
}
"""Every place that handles attributes by name: whoever adds one has to say why it may."""


def test_attributes_are_handled_by_name_only_where_it_was_thought_through() -> None:
    found: dict[str, set[str]] = {}

    def look(node: ast.AST, place: str) -> None:
        for child in ast.iter_child_nodes(node):
            defines = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            within = f"{place}.{child.name}" if defines else place  # type: ignore[attr-defined]
            names = {getattr(child, "id", ""), getattr(child, "attr", "")} & REFLECTING
            if names:
                found.setdefault(within, set()).update(names)
            look(child, within)

    for path in READERS:
        look(ast.parse(path.read_text()), path.stem)
    assert found == REFLECTION


def test_every_attribute_has_its_reader() -> None:
    machine = Machine(build("START a END").compile().plan)
    assert vars(machine).keys() - _NOT_STATE == _MACHINE.keys()
    for class_, readers in _ATTRIBUTES.items():
        assert set(class_.__slots__) - _PASSING == readers.keys()  # type: ignore[attr-defined]


# -- by trying --------------------------------------------------------------------------------


def make_codec() -> Codec:
    registry = TypeRegistry()
    register_types(registry)
    return Codec(registry)


CODEC = make_codec()
PLAN = build("START a gather m END", "START b gather", gather=Join(timeout=5)).compile().plan


def content() -> list[Any]:
    """A snapshot taken in the midst of a run: header, state, after, objects, values, cells."""
    machine = Machine(PLAN)
    machine.handle(RunStarted(1.0, (0,), (("text", "given"),)))
    machine.handle(
        NodeInterrupted(2.0, (0, 0), "a", 1, (Question("0.0:1:0", "why?", (0, 0), "a"),))
    )
    return CODEC.decode(take(machine, "f", CODEC))  # type: ignore[no-any-return]


def number_of(class_: type) -> int:
    return [Branch, Generation, Barrier, Member, Questions].index(class_)


def first(tree: list[Any], class_: type) -> tuple[int, dict[str, Any]]:
    """The number and the attributes of the first object of a class."""
    place = next(i for i, (number, _) in enumerate(tree[3]) if number == number_of(class_))
    return place, tree[3][place][1]


Forgery: TypeAlias = Callable[[list[Any]], Any]


def sets(class_: type, **attributes: Any) -> Forgery:
    return lambda tree: first(tree, class_)[1].update(attributes)


def state(**attributes: Any) -> Forgery:
    return lambda tree: tree[1].update(attributes)


def follows_itself(tree: list[Any]) -> None:
    number, attributes = first(tree, Branch)
    attributes["heir"] = Ref(number)


def is_below_itself(tree: list[Any]) -> None:
    generation, attributes = first(tree, Generation)
    owner = attributes["owner"].number
    tree[3][owner][1]["generation"] = Ref(generation)


def laughs(tree: list[Any]) -> None:
    """Each of a hundred generations twice below the one above it."""
    _, branch = first(tree, Branch)
    _, generation = first(tree, Generation)
    for _ in range(100):
        here = len(tree[3])
        tree[3].append([number_of(Branch), {**branch, "forks": [Ref(here + 1)] * 2}])
        tree[3].append([number_of(Generation), {**generation, "owner": Ref(here)}])


def has_two_parents(tree: list[Any]) -> None:
    number, generation = first(tree, Generation)
    tree[3].append([number_of(Generation), copy.copy(generation)])
    owner = tree[3][generation["owner"].number][1]
    owner["forks"] = [Ref(number), Ref(len(tree[3]) - 1)]


def is_elsewhere(tree: list[Any]) -> None:
    tree[1]["branches"] = {(5,): next(iter(tree[1]["branches"].values()))}


def replace(index: int, value: Any) -> Forgery:
    def forgery(tree: list[Any]) -> None:
        tree[index] = value

    return forgery


FORGERIES: dict[str, Forgery] = {
    "no header": replace(0, None),
    "another format": replace(0, Header(2, "f", {})),
    "a format by name": replace(0, Header("os.system", "f", {})),  # type: ignore[arg-type]
    "a graph that is no text": replace(0, Header(1, ["f"], {})),  # type: ignore[arg-type]
    "more than a snapshot": lambda tree: tree.append(1),
    "less than a snapshot": lambda tree: tree.pop(),
    "no state": replace(1, None),
    "a state without order": replace(1, [1]),
    "dependencies of another kind": replace(2, {(0,): {(0, 1)}}),
    "objects of no class": replace(3, [[99, {}]]),
    "objects of a class before the first": replace(3, [[-1, {}]]),
    "objects of a class by truth": replace(3, [[True, {}]]),
    "objects of a class by name": replace(3, [["os.system", {}]]),
    "objects without attributes": replace(3, [[0, {}]]),
    "objects that are none": replace(3, [0]),
    "values of no cell": replace(4, [{"text": 1_000}]),
    "values of a cell before the first": replace(4, [{"text": -1}]),
    "values that are none": replace(4, [["text"]]),
    "cells that are none": replace(5, 7),
    "a plan": state(plan="os.system"),
    "a schema": state(schema=None),
    "a merger": state(_merger=1),
    "a class": state(__class__="os.system"),
    "a dict": state(__dict__={}),
    "a method": state(handle="os.system"),
    "what a machine is not": state(more=1),
    "a count that is none": state(runs="1"),
    "a count below none": state(_alive=-1),
    "too many alive": state(_alive=1_000),
    "a root that is no branch": lambda tree: state(_root=Ref(first(tree, Generation)[0]))(tree),
    "a root beyond the last": state(_root=Ref(10**9)),
    "a root before the first": state(_root=Ref(-1)),
    "a root by name": state(_root=Ref("os")),  # type: ignore[arg-type]
    "values that are no values": state(values=Ref(0)),
    "values beyond the last": state(values=Shared(10**9)),
    "values in the flesh": state(values={"text": "x"}),
    "a branch that is elsewhere": is_elsewhere,
    "outcomes of nothing": state(outcomes={"os.system": []}),
    "questions that nobody asked": state(_asked={"0:1:0": Ref(0)}),
    "an attribute that no branch has": sets(Branch, __class__="os.system"),
    "a dict of a branch": sets(Branch, __dict__={}),
    "a place that is none": sets(Branch, place="os.system"),
    "a status that is none": sets(Branch, status="__class__"),
    "a path of words": sets(Branch, path=("os",)),
    "hopes without end": sets(Branch, hopes=-1),
    "hopes for nothing": sets(Branch, hopes=1 << 10_000),
    "a delta of pairs": sets(Branch, delta=[("a", ())]),
    "a target by name": sets(Branch, target="os.system"),
    "an error that is none": sets(Branch, error="os.system"),
    "a member that is a branch": sets(Branch, members=(Ref(0),)),
    "arrivals at no sync point": sets(Branch, arrivals={3: []}),
    "a fork that is none": sets(Generation, fork="os.system"),
    "an owner of another class": sets(Generation, owner=Spec("gather")),
    "a sync point that is none": sets(Barrier, spec=Spec("a")),
    "a sync point by number": sets(Barrier, spec=Spec(1)),  # type: ignore[arg-type]
    "a sync point beyond the graph": sets(Barrier, spec=Spec("os.system")),
    "a timer of no kind": sets(Barrier, timer_due={TimerKey((0,), 0, "gather", "os"): 1.0}),  # type: ignore[arg-type]
    "a timer that is never due": sets(Barrier, timer_due={TimerKey((0,), 0, "m", "grace"): "x"}),
    "a fate that is none": sets(Member, fate="os.system"),
    "an answer to a number": sets(Questions, answers={1: 1}),
    "a branch that follows itself": follows_itself,
    "a branch below itself": is_below_itself,
    "a branch with two parents": has_two_parents,
    "a tree of 2**100 branches": laughs,
}


def read(data: bytes) -> Machine:
    tree = CODEC.decode(data)
    header_of(tree)
    return restore(tree, PLAN)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_snapshot_is_refused_at_once(name: str) -> None:
    tree = content()
    restore(copy.deepcopy(tree), PLAN)
    FORGERIES[name](tree)
    data = CODEC.encode(tree)
    began = time.process_time()
    with nothing_runs(), pytest.raises(PlaitError):
        read(data)
    assert time.process_time() - began < 1


BYTES: dict[str, bytes] = {
    "pickle": pickle.dumps(os.system),
    "pickle of old": b"cos\nsystem\n(S'true'\ntR.",
    "a pickle in an envelope": forge(pickle.dumps(os.system)),
    "an extension type": forge(ormsgpack.packb(ormsgpack.Ext(1, b"x"))),
    "deep": forge(b"\x91" * 100_000 + b"\xc0"),
    "deeper": forge(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "tags within tags": forge(b"\x81\xa2\x00t\x91" * 300 + b"\xc0"),
    "a huge array": forge(b"\xdd\xff\xff\xff\xff"),
    "a huge map": forge(b"\xdf\xff\xff\xff\xff"),
    "a huge string": forge(b"\xdb\xff\xff\xff\xff"),
    "huge bytes": forge(b"\xc6\xff\xff\xff\xff"),
    "huge arrays within one another": forge(b"\xdd\x7f\xff\xff\xff" * 1_000),
    "a large number": forge({"\0M": "1e" + "9" * 9_000}),
    "a large integer": forge({"\0M": "9" * 5_000 + "x"}),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_record_take_neither_time_nor_memory(name: str) -> None:
    began = time.process_time()
    for decode in (CODEC.decode, CODEC.decode_event):
        with nothing_runs(), pytest.raises(PlaitError):
            decode(BYTES[name])
    assert time.process_time() - began < 1


def test_there_are_enough_probes() -> None:
    assert len(FORGERIES) + len(BYTES) >= 50
