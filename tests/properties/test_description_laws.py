"""Descriptions of random graphs, whole and forged.

``PLAIT_EXAMPLES`` sets how many examples each law is tried on.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import PlaitError, StoreError
from plait.fingerprint import describe, differences, rebuild
from plait.plan import Plan
from tests.kernel.build import build
from tests.properties.conftest import EVERY
from tests.properties.drive import prepare
from tests.properties.programs import Features, Program, programs

law = settings(EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "150")))

PROGRAMS = programs(Features(subgraphs=False))
SCHEMA = build("START a END").compile().plan.schema


@law
@given(PROGRAMS)
def test_a_plan_that_was_built_again_has_the_same_description(program: Program) -> None:
    plan = prepare(program).plan
    data = describe(plan)
    again = rebuild(data, plan.schema)
    assert _without_writes(describe(again)) == _without_writes(data)
    assert differences(data, data) == []


def _without_writes(data: bytes) -> Any:
    """Declared writes matter to who compiles, and to no replay."""
    content = json.loads(data)
    for node in content["nodes"].values():
        del node["writes"]
    return content


NAMES = ["", "n0", "n1", "s0", "__start__", "__end__", "__class__", "quorum", "word", "raise", "\0"]
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.sampled_from(NAMES)),
    *(st.just(10**400), st.just(-(10**400)), st.just("\ud800")),
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=4,
)


def forge(content: Any, draw: Any) -> Any:
    """The same, with something else somewhere within."""
    if isinstance(content, list) and content and draw(st.integers(0, 9)):
        index = draw(st.integers(0, len(content) - 1))
        return [*content[:index], forge(content[index], draw), *content[index + 1 :]]
    if isinstance(content, dict) and content and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(content)))
        if draw(st.integers(0, 9)):
            return {**content, key: forge(content[key], draw)}
        return {**content, draw(st.sampled_from(NAMES)): content[key]}
    return draw(JUNK)


def read(data: bytes) -> Plan | None:
    """The plan of a description, unless it is refused by name."""
    try:
        return rebuild(data, SCHEMA)
    except PlaitError:
        return None


@law
@given(PROGRAMS, st.data())
def test_a_forged_description_is_refused_or_is_a_plan(program: Program, data: Any) -> None:
    described = describe(prepare(program).plan)
    for _ in range(10):
        forged = json.dumps(forge(json.loads(described), data.draw)).encode()
        plan = read(forged)
        if plan is not None:
            describe(plan)
            differences(described, forged)


@law
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_no_description(data: bytes) -> None:
    assert read(data) is None


def description(**changes: Any) -> bytes:
    content = {"format": 1, "name": "g", "channels": {}, "nodes": {}, "sync_points": {}, "ways": {}}
    return json.dumps({**content, **changes}).encode()


NODE: dict[str, Any] = {"targets": [], "on_error": "raise", "writes": None}
ANYWHERE = {"targets": None, "makes": "unknown"}
PROBES: dict[str, bytes] = {
    "no JSON": b"cos\nsystem\n(S'true'\ntR.",
    "deep": b"[" * 1_000_000,
    "long": b" " * 17_000_000,
    "a long integer": b"1" * 5_000,
    "no object": b"[]",
    "another format": description(format=2),
    "more": description(__class__="os.system"),
    "a channel": description(channels={"c": ["int", {"import": "os"}]}),
    "a node": description(nodes={"n": {**NODE, "fn": "os.system"}}),
    "START": description(nodes={"__start__": NODE}),
    "a handler": description(nodes={"n": {**NODE, "on_error": "os.system"}}),
    "a target": description(nodes={"n": {**NODE, "targets": ["__import__"]}}),
    "a fork": description(sync_points={"s": {"fork": "n", "join": {}}}),
    "a policy": description(sync_points={"s": {"fork": "__start__", "join": {"label": 1}}}),
    "a dunder": description(sync_points={"s": {"fork": "__start__", "join": {"__class__": 1}}}),
    "a quorum": description(sync_points={"s": {"fork": "__start__", "join": {"quorum": {}}}}),
    "a word": description(
        sync_points={"s": {"fork": "__start__", "join": {"quorum": {"word": ["__class__"]}}}}
    ),
    "a large number": description(
        sync_points={"s": {"fork": "__start__", "join": {"timeout": 10**400}}}
    ),
    "a way": description(ways={"n": ["n"]}),
    "a way to nowhere": description(ways={"__start__": ["os.system"]}),
    "a router": description(ways={"__start__": [{**ANYWHERE, "fn": "os.system"}]}),
    "all lead anywhere": description(
        nodes={str(number): {**NODE, "targets": None} for number in range(5_000)}
    ),
    "many sync points": description(
        sync_points={str(each): {"fork": "__start__", "join": {}} for each in range(5_000)}
    ),
}


@pytest.mark.parametrize("probe", PROBES)
def test_hostile_descriptions_are_refused_at_once(probe: str) -> None:
    began = time.process_time()
    with pytest.raises(StoreError):
        rebuild(PROBES[probe], SCHEMA)
    assert time.process_time() - began < 2
