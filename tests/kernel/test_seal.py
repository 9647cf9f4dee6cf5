"""Signed and encrypted rows: what an attacker who can write rows, and has no key, cannot do."""

from __future__ import annotations

import copy
import dataclasses
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import plait
from plait import Flow, NodeContext, StoreError
from plait.durable import DurableStore
from plait.errors import PlaitError, StoreUnavailable
from plait.seal import Cipher, Place, Protection, Seal, Signer
from plait.testing.memory_backend import MemoryBackend
from tests.kernel.build import build, does

KEYS = {"new": secrets.token_bytes(32), "old": secrets.token_bytes(32)}
SIGNER, CIPHER = Signer(KEYS), Cipher(KEYS)
SEALS = pytest.mark.parametrize("seal", [SIGNER, CIPHER], ids=["signed", "encrypted"])
PLACE = Place("event", "tenant", "thread", 3, b"link")
GRAPH = build("START a b c END", a=does(text="a long story", items=["a"]))


def flow_on(backend: MemoryBackend, seal: Seal | None) -> Flow[Any]:
    return GRAPH.compile(DurableStore(backend, seal=seal))


async def begun(seal: Seal | None, *threads: str) -> MemoryBackend:
    """Rows of threads with four events each."""
    backend = MemoryBackend()
    for thread_id in threads:
        await flow_on(backend, seal).run({"other": thread_id}, thread_id=thread_id)
    return backend


def events(backend: MemoryBackend, thread_id: str = "t") -> dict[int, tuple[int, bytes]]:
    """What an attacker has before them: epoch and row by position."""
    return backend._tenant.threads[thread_id].events


def put(backend: MemoryBackend, position: int, row: bytes) -> None:
    epoch, _ = events(backend)[position]
    events(backend)[position] = (epoch, row)


# -- what still works -------------------------------------------------------------------------


@SEALS
async def test_a_sealed_thread_runs_goes_on_forks_and_is_pruned(seal: Seal) -> None:
    backend = await begun(seal, "t")
    flow, store = flow_on(backend, seal), DurableStore(backend, seal=seal)
    second = await flow.run({"sum": 1}, thread_id="t")
    await store.fork("t", 6, "f")
    assert await flow.prune("t", keep=3) == 5
    await flow.resume("f")
    for thread_id in ("t", "f"):
        assert (await flow_on(backend, seal).state(thread_id)).state == second.state
    history = [step async for step in flow_on(backend, seal).history("t")]
    assert [step.position for step in history] == [8, 7, 6, 5]


@SEALS
async def test_a_fork_of_a_pruned_thread_goes_on_from_its_snapshot(seal: Seal) -> None:
    backend = await begun(seal, "t")
    flow = flow_on(backend, seal)
    await flow.prune("t", keep=2)
    await DurableStore(backend, seal=seal).fork("t", 3, "f")
    resumed = await flow.resume("f")
    await flow.prune("f", keep=1)
    assert (await flow_on(backend, seal).state("f")).state == resumed.state


@SEALS
async def test_keys_are_changed_by_putting_a_new_one_in_front(seal: Seal) -> None:
    old = {"old": KEYS["old"]}
    backend = await begun(type(seal)(old), "t")  # type: ignore[call-arg]
    await flow_on(backend, seal).run({}, thread_id="t")
    assert (await flow_on(backend, seal).state("t")).position == 8
    with pytest.raises(StoreError, match=r"event 5 of thread 't'.*key 'new'.* only 'old'"):
        await flow_on(backend, type(seal)(old)).state("t")  # type: ignore[call-arg]


@SEALS
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_in_doubt_breaks_no_chain(seal: Seal, when: str) -> None:
    faults = [StoreUnavailable("cut")]

    def cut(method: str, at: str) -> None:
        if (method, at) == ("commit", when) and faults:
            raise faults.pop()

    async def pays(_: Any, context: NodeContext) -> Any:
        (await context.transaction())[context.idempotency_key] = "paid"
        return {"items": ["paid"]}

    rows, graph = MemoryBackend(), build("START a pays b END", pays=pays)
    await graph.compile(DurableStore(rows.view(fault=cut), seal=seal)).run({}, thread_id="t")
    state = (await graph.compile(DurableStore(rows, seal=seal)).state("t")).state
    assert (state["items"], len(rows.table)) == (["a", "paid", "b"], 1)


def test_a_store_without_a_cipher_loads_no_cryptography() -> None:
    script = "import sys, plait.durable, plait.seal; sys.exit('cryptography' in sys.modules)"
    path = {**os.environ, "PYTHONPATH": str(Path(plait.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], check=False, env=path)
    assert done.returncode == 0


@SEALS
def test_a_row_takes_forty_bytes_more(seal: Seal) -> None:
    assert len(seal.close(PLACE, b"record")) - len(b"record") <= 42


# -- what is refused --------------------------------------------------------------------------

Attack: TypeAlias = Callable[[MemoryBackend, MemoryBackend, MemoryBackend], Any]
"""Changes the first rows; the second are those of an earlier thread of the same name, the third
are not sealed."""


def _plain(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, events(plain)[3][1])


def _another_way(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    other = CIPHER if events(rows)[3][1][1] == 0x40 else SIGNER
    put(rows, 3, other.close(Place("event", "default", "t", 3, b""), events(plain)[3][1]))


def _position(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, events(rows)[4][1])


def _thread(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, events(rows, "u")[3][1])


def _history(rows: MemoryBackend, earlier: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, events(earlier)[3][1])


def _cut(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, events(rows)[3][1][:-1])


def _empty(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, b"")


def _text(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    put(rows, 3, "RunStarted")  # type: ignore[arg-type]


def _flipped(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    row = bytearray(events(rows)[3][1])
    row[-1] ^= 1
    put(rows, 3, bytes(row))


def _fork(rows: MemoryBackend, _: MemoryBackend, plain: MemoryBackend) -> None:
    thread = rows._tenant.threads["t"]
    thread.origin = ("u", 2)
    for position in (1, 2):
        del thread.events[position]
        thread.positions.remove(position)


@SEALS
@pytest.mark.parametrize(
    "attack",
    [_plain, _another_way, _position, _thread, _history, _cut, _empty, _text, _flipped, _fork],
)
async def test_rows_that_were_tampered_with_are_refused(seal: Seal, attack: Attack) -> None:
    rows, earlier = await begun(seal, "t", "u"), await begun(seal, "t")
    attack(rows, earlier, await begun(None, "t"))
    for act in (flow_on(rows, seal).state, flow_on(rows, seal).resume):
        with pytest.raises(StoreError, match=r"event 3 of thread 't'.* is refused: "):
            await act("t")


@SEALS
async def test_rows_of_another_tenant_are_refused(seal: Seal) -> None:
    rows = await begun(seal, "t")
    other = rows.view(tenant="other")
    other._tenant.threads = copy.copy(rows._tenant.threads)
    with pytest.raises(StoreError, match=r"event 1 of thread 't' \(tenant 'other'\) is refused"):
        await flow_on(other, seal).state("t")


@SEALS
async def test_snapshots_that_were_tampered_with_are_refused(seal: Seal) -> None:
    rows, plain = await begun(seal, "t"), await begun(None, "t")
    for each, its in ((rows, seal), (plain, None)):
        await flow_on(each, its).prune("t", keep=2)
    snapshots = rows._tenant.threads["t"].snapshots
    for row in (plain._tenant.threads["t"].snapshots[2], events(rows)[4][1], snapshots[2][:-1]):
        snapshots[2] = row
        with pytest.raises(StoreError, match=r"the snapshot at position 2 of thread 't'.* refused"):
            await flow_on(rows, seal).state("t")


@SEALS
async def test_a_genuine_snapshot_of_another_history_is_refused(seal: Seal) -> None:
    rows, earlier = await begun(seal, "t"), await begun(seal, "t")
    for each in (rows, earlier):
        await flow_on(each, seal).prune("t", keep=2)
    rows._tenant.threads["t"].snapshots = earlier._tenant.threads["t"].snapshots
    with pytest.raises(StoreError, match=r"event 3 of thread 't'.*another history"):
        await flow_on(rows, seal).state("t")


@SEALS
async def test_descriptions_of_graphs_are_sealed_under_their_fingerprint(seal: Seal) -> None:
    rows, plain = await begun(seal, "t"), await begun(None, "t")
    ((fingerprint, row),) = rows._tenant.plans.items()
    store, sealed = DurableStore(rows, seal=seal), row
    assert await store.load_plan(fingerprint) == plain._tenant.plans[fingerprint]
    rows._tenant.plans["f" * 16] = sealed
    rows._tenant.plans["e" * 16] = plain._tenant.plans[fingerprint]
    for name in ("f" * 16, "e" * 16):
        with pytest.raises(StoreError, match=rf"the description of graph {name}.* is refused"):
            await store.load_plan(name)


@SEALS
async def test_without_a_seal_sealed_rows_are_refused_with_the_way_out(seal: Seal) -> None:
    rows = await begun(seal, "t")
    way_out = f"open it with seal={type(seal).__name__}"
    with pytest.raises(StoreError, match=rf"event 1 of thread 't'.*without a key: {way_out}"):
        await flow_on(rows, None).state("t")
    with pytest.raises(StoreError, match=way_out):
        await DurableStore(rows).load_plan(next(iter(rows._tenant.plans)))


async def test_a_plain_row_that_looks_sealed_is_damaged() -> None:
    rows = await begun(None, "t")
    row = bytearray(events(rows)[3][1])
    row[1] |= 0x40
    put(rows, 3, bytes(row))
    with pytest.raises(StoreError, match=r"event 3 of thread 't'.*checksum"):
        await flow_on(rows, None).state("t")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "snapshot"},
        {"tenant": "tenan", "name": "tthread"},
        {"tenant": "", "name": "tenantthread"},
        {"name": "thread\0"},
        {"position": 4},
        {"link": b""},
        {"name": "threadlink", "link": b""},
    ],
    ids=str,
)
@SEALS
def test_no_two_places_look_alike(seal: Seal, change: dict[str, Any]) -> None:
    row = seal.close(PLACE, b"record")
    assert seal.open(PLACE, row) == b"record"
    with pytest.raises(PlaitError, match="is wrong"):
        seal.open(PLACE._replace(**change), row)


def test_the_same_record_is_never_encrypted_the_same_way() -> None:
    rows = {CIPHER.close(PLACE, b"record") for _ in range(1000)}
    assert len(rows) == 1000
    assert not any(b"record" in row for row in rows)


@SEALS
def test_a_history_that_was_written_twice_cannot_be_mixed(seal: Seal) -> None:
    protection = Protection(seal, "tenant")
    first, link = protection.seal_event("t", 1, b"", b"a")
    again, _ = protection.seal_event("t", 1, b"", b"b")
    second, _ = protection.seal_event("t", 2, link, b"c")
    _, other = protection.open_event("t", 1, b"", again)
    assert protection.open_event("t", 2, link, second)[0] == b"c"
    assert protection.open_event("t", 1, b"", first) == (b"a", link)
    with pytest.raises(StoreError, match="event 2"):
        protection.open_event("t", 2, other, second)


# -- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Signer, Cipher])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        None,
        b"k" * 32,
        {"k": b""},
        {"k": b"k" * 31},
        {"k": b"k" * 65},
        {"k": "k" * 32},
        {"": b"k" * 32},
        {"k" * 33: b"k" * 32},
        {"k\0": b"k" * 32},
        {1: b"k" * 32},
        {"k": b"k" * 32, "l": b"short"},
    ],
    ids=repr,
)
def test_wrong_keys_are_refused(make: Callable[[Any], Seal], keys: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        make(keys)


def test_keys_are_not_shown() -> None:
    with pytest.raises(ValueError, match="not 6 bytes") as raised:
        Signer({"k": b"secret"})
    assert "secret" not in str(raised.value).replace("secrets.", "")
    for seal in (Signer(KEYS), Cipher(KEYS)):
        assert repr(seal) == f"{type(seal).__name__}('new', 'old')"
        assert not hasattr(seal, "__dict__")
        with pytest.raises(TypeError):
            dataclasses.asdict(seal)  # type: ignore[call-overload]


def test_encryption_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "cryptography.hazmat.primitives.ciphers.aead"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlaitError, match=r"pip install 'plait\[encryption\]'"):
        Cipher(KEYS)


@pytest.mark.parametrize("tenant", ["", "\0", "\ud800", "a\nb", "x" * 513])
def test_a_tenant_has_the_form_of_an_id(tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        DurableStore(MemoryBackend(tenant=tenant))
