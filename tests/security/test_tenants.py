"""Three tenants with the same ids in the same rows, in any order of what can be done."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from plait import Flow, Graph, PlaitError, Store, StoreError
from plait.errors import ThreadExists, ThreadNotFound
from plait.fingerprint import describe, fingerprint_of
from plait.seal import Cipher, Seal, Signer
from tests.kernel.build import build, does
from tests.properties.conftest import EVERY
from tests.security.stores import DURABLE, rows

law = settings(
    EVERY, max_examples=int(os.environ.get("PLAIT_EXAMPLES", "8")), stateful_step_count=25
)

TENANTS = ["a", "b", "a'"]
THREADS = ["t", "u", "v"]
GRAPH = build("START n END", n=does(items=["n"]))
OTHER = build("START n m END", n=does(items=["n"]))


def _graph_of(tenant: str) -> Graph:
    return OTHER if tenant == "b" else GRAPH


def _fingerprint_of(tenant: str) -> str:
    return fingerprint_of(describe(_graph_of(tenant).compile().plan))


tenants, threads = st.sampled_from(TENANTS), st.sampled_from(THREADS)
words = st.text("xyz", min_size=1, max_size=2)

KEYS = {"key": b"k" * 32}


class Tenants(RuleBasedStateMachine):
    """Each tenant's threads, beside a dict that says what they should be."""

    kind = "memory backend"
    seal: Seal | None = None

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.run = self.stack.enter_context(anyio.from_thread.start_blocking_portal()).call
        open_rows = self.stack.enter_context(rows(self.kind))
        self.stores: dict[str, Store] = {}
        self.expected: dict[str, dict[str, list[dict[str, Any]]]] = {each: {} for each in TENANTS}
        self.origins: dict[str, dict[str, str]] = {each: {} for each in TENANTS}
        for tenant in TENANTS:
            self.stores[tenant] = open_rows(tenant, seal=self.seal)
        self.used: dict[str, set[str]] = {each: set() for each in TENANTS}

    def teardown(self) -> None:
        for store in self.stores.values():
            self.run(store.close)
        self.stack.close()

    def flow(self, tenant: str) -> Flow[Any]:
        return _graph_of(tenant).compile(self.stores[tenant])

    def states(self, tenant: str, thread_id: str) -> list[dict[str, Any]]:
        """The states of a thread, position by position."""

        async def read() -> list[dict[str, Any]]:
            found = [each.state async for each in self.flow(tenant).history(thread_id)]
            return found[::-1]

        return self.run(read)

    @rule(tenant=tenants, thread_id=threads, word=words)
    def go_on(self, tenant: str, thread_id: str, word: str) -> None:
        known = self.expected[tenant].get(thread_id, [])

        async def run() -> None:
            result = await self.flow(tenant).run({"text": f"{tenant}: {word}"}, thread_id=thread_id)
            assert result.state["text"] == f"{tenant}: {word}"

        self.run(run)
        self.used[tenant].add(_fingerprint_of(tenant))
        found = self.states(tenant, thread_id)
        assert found[: len(known)] == known
        assert len(found) > len(known)
        self.expected[tenant][thread_id] = found

    @rule(tenant=tenants, thread_id=threads, word=words)
    def write(self, tenant: str, thread_id: str, word: str) -> None:
        flow, known = self.flow(tenant), self.expected[tenant].get(thread_id)
        writes = {"other": f"{tenant}: {word}"}
        if known is None:
            with pytest.raises(ThreadNotFound):
                self.run(flow.update, thread_id, writes)
        else:
            known.append({**known[-1], **self.run(flow.update, thread_id, writes).state})

    @rule(tenant=tenants, thread_id=threads, new=threads, at=st.integers(1, 9))
    def fork(self, tenant: str, thread_id: str, new: str, at: int) -> None:
        mine = self.expected[tenant]
        known = mine.get(thread_id)
        fork = self.flow(tenant).fork
        if known is None or new in mine or at > len(known):
            with pytest.raises((ThreadNotFound, ThreadExists, ValueError)):
                self.run(fork, thread_id, at, new)
        else:
            self.run(fork, thread_id, at, new)
            mine[new] = known[:at]
            self.origins[tenant][new] = thread_id
            self.run(self.finish, tenant, new)
            mine[new] = self.states(tenant, new)
            assert mine[new][:at] == known[:at]

    async def finish(self, tenant: str, thread_id: str) -> None:
        await self.flow(tenant).resume(thread_id)

    @rule(tenant=tenants, thread_id=threads)
    def delete(self, tenant: str, thread_id: str) -> None:
        mine = self.expected[tenant]
        try:
            self.run(self.stores[tenant].delete, thread_id)
        except ThreadNotFound:
            assert thread_id not in mine
        except StoreError:
            assert thread_id in self.origins[tenant].values()
        else:
            del mine[thread_id]
            self.origins[tenant].pop(thread_id, None)

    @invariant()
    def nobody_has_the_graphs_of_others(self) -> None:
        for tenant, store in self.stores.items():
            for fingerprint in set(map(_fingerprint_of, TENANTS)):
                found = self.run(store.load_plan, fingerprint)
                assert (found is not None) == (fingerprint in self.used[tenant])

    @invariant()
    def nobody_sees_what_is_not_theirs(self) -> None:
        for tenant, mine in self.expected.items():
            listed = self.run(self.list_, tenant)
            assert listed.keys() == mine.keys()
            for thread_id in THREADS:
                if thread_id not in mine:
                    with pytest.raises(PlaitError):
                        self.states(tenant, thread_id)
                    continue
                assert self.states(tenant, thread_id) == mine[thread_id]
                texts = {state["text"] for state in mine[thread_id] if "text" in state}
                assert all(text.startswith(f"{tenant}: ") for text in texts)

    async def list_(self, tenant: str) -> dict[str, int]:
        found = await self.stores[tenant].threads(limit=100)
        assert len(found) == len({row.thread_id for row in found})
        return {row.thread_id: row.position for row in found}


@pytest.mark.parametrize("seal", [None, Signer(KEYS), Cipher(KEYS)], ids=["plain", "hmac", "aes"])
@pytest.mark.parametrize("kind", DURABLE)
def test_no_tenant_sees_or_changes_what_is_anothers(kind: str, seal: Seal | None) -> None:
    parts = {"kind": kind, "seal": seal}
    run_state_machine_as_test(type("Tenants", (Tenants,), parts), settings=law)
