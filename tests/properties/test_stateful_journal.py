"""The journals of a store, and the threads on them, against a model of three lists.

A journal is only ever appended to; one run at a time holds a thread; a run that was cut off is
resumed and nothing else; and what `state` and `history` say of a position stays true for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plait import (
    END,
    START,
    Graph,
    MemoryStore,
    NodeContext,
    NodeError,
    RunResult,
    Snapshot,
    ThreadBusy,
    ThreadError,
    ThreadNotFound,
    ThreadUnfinished,
)
from tests.kernel.build import Work
from tests.properties.stepping import Held, Stepper

BOOM = ValueError("boom")
NODES = ("a", "b", "c")
threads = st.sampled_from(["t0", "t1", "t2"])


class Thread:
    """What the model knows of a thread.

    Attributes:
        items: what has been written, in order.
        todo: the nodes of the present run that have not finished.
        run: the task that holds the thread, if there is one.
        call: the call that this run waits for.
        seen: by position of the journal, the items and nodes that were to run there.
    """

    def __init__(self) -> None:
        self.items: list[str] = []
        self.todo: tuple[str, ...] = ()
        self.run: asyncio.Task[RunResult[Any]] | None = None
        self.call: Held | None = None
        self.seen: dict[int, tuple[list[str], tuple[str, ...]]] = {}
        self.journal: tuple[Any, ...] = ()


class Journals(RuleBasedStateMachine):
    """Three threads of one flow, whose three nodes wait to be told."""

    @initialize()
    def begin(self) -> None:
        self.stepper = Stepper()
        self.threads: dict[str, Thread] = {}
        self.store = MemoryStore()
        made = Graph(Work)
        for node, following in zip(NODES, (*NODES[1:], END), strict=True):
            made.add_node(node, self.work).add_edge(node, following)
        self.flow = made.add_edge(START, NODES[0]).compile(self.store)

    async def work(self, _state: Any, ctx: NodeContext) -> Any:
        thread = self.threads[ctx.thread_id]
        assert thread.call is None, "two runs have the thread at once"
        assert ctx.node == thread.todo[0], "a node that had finished is called again"
        thread.call = call = Held(ctx.node)
        try:
            await call.wait()
        finally:
            thread.call = None
        return {"items": [ctx.node]}

    # -- rules --------------------------------------------------------------------------------

    @rule(name=threads, given=st.sampled_from(["x", "y"]))
    def run(self, name: str, given: str) -> None:
        thread = self.threads.setdefault(name, Thread())
        refused: type[ThreadError] | None = None
        if thread.run is not None:
            refused = ThreadBusy
        elif thread.todo:
            refused = ThreadUnfinished
        else:
            thread.items, thread.todo = [*thread.items, given], NODES
        self.attempt(thread, self.flow.run({"items": [given]}, thread_id=name), refused)

    @rule(name=threads)
    def resume(self, name: str) -> None:
        thread = self.threads.get(name, Thread())
        refused: type[ThreadError] | None = None
        if name not in self.threads:
            refused = ThreadNotFound
        elif thread.run is not None:
            refused = ThreadBusy
        self.attempt(thread, self.flow.resume(name), refused)

    def attempt(self, thread: Thread, job: Any, refused: type[ThreadError] | None) -> None:
        task = self.stepper.begin(job)
        if refused is not None:
            assert type(task.exception()) is refused
        elif thread.todo:
            assert not task.done()
            thread.run = task
        else:
            assert task.result().state["items"] == thread.items

    @rule(name=threads)
    def finish(self, name: str) -> None:
        thread = self.threads.get(name)
        if thread is None or thread.call is None:
            return
        assert thread.run is not None
        thread.items = [*thread.items, thread.todo[0]]
        thread.todo = thread.todo[1:]
        self.stepper.step(thread.call.end())
        assert thread.run.done() == (not thread.todo)
        if not thread.todo:
            assert thread.run.result().state["items"] == thread.items
            thread.run = None

    @rule(name=threads)
    def fail(self, name: str) -> None:
        thread = self.threads.get(name)
        if thread is None or thread.call is None:
            return
        assert thread.run is not None
        self.stepper.step(thread.call.end(BOOM))
        error = thread.run.exception()
        assert isinstance(error, NodeError)
        assert (error.node, error.__cause__) == (thread.todo[0], BOOM)
        thread.run = None

    @rule(name=threads, times=st.integers(1, 2))
    def cancel(self, name: str, times: int) -> None:
        thread = self.threads.get(name)
        if thread is None or thread.run is None:
            return
        self.stepper.cancel(thread.run, times)
        assert thread.run.cancelled()
        thread.run = None

    @precondition(lambda self: self.threads)
    @rule(name=threads, back=st.integers(0, 20))
    def look_back(self, name: str, back: int) -> None:
        thread = self.threads.get(name)
        if thread is None:
            return
        position = max(0, len(thread.journal) - back)
        snapshot = self.stepper.step(self.flow.state(name, at=position))
        if position in thread.seen:
            assert told(snapshot) == thread.seen[position]

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def journals_are_only_appended_to(self) -> None:
        for name, thread in self.threads.items():
            journal = tuple(self.stepper.step(self.store.read(name)))
            assert journal[: len(thread.journal)] == thread.journal
            thread.journal = journal
            thread.seen[len(journal)] = (thread.items, thread.todo[:1])

    @invariant()
    def state_and_history_agree_with_the_model(self) -> None:
        for name, thread in self.threads.items():
            now = self.stepper.step(self.flow.state(name))
            assert told(now) == (thread.items, thread.todo[:1])
            assert now.status == ("running" if thread.todo else "completed")
            snapshots = self.stepper.step(self.history(name))
            assert [each.position for each in snapshots] == [*range(len(thread.journal), 0, -1)]
            for each in snapshots:
                if each.position in thread.seen:
                    assert told(each) == thread.seen[each.position]

    async def history(self, name: str) -> list[Snapshot[Any]]:
        return [snapshot async for snapshot in self.flow.history(name)]

    def teardown(self) -> None:
        if not hasattr(self, "flow"):
            return
        for name, thread in self.threads.items():
            if thread.run is None:
                self.resume(name)
            while thread.todo:
                self.finish(name)
        self.journals_are_only_appended_to()
        self.state_and_history_agree_with_the_model()
        self.stepper.close()


def told(snapshot: Snapshot[Any]) -> tuple[list[str], tuple[str, ...]]:
    """What a snapshot says of the written items and of the nodes that are to run."""
    return snapshot.state["items"], snapshot.next


TestJournals = Journals.TestCase
TestJournals.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
