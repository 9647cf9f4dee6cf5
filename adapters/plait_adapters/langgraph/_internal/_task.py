"""A task: one run of one node in one step. What a node may ask of it is made when it is asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any

from plait_adapters.langgraph.errors import GraphInterrupt, NodeError
from plait_adapters.langgraph.runtime import ExecutionInfo, Runtime
from plait_adapters.langgraph.types import Interrupt

from ._config import DEFAULT_RECURSION_LIMIT, LazyConfig, current_task
from ._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
    MISSING,
    NS_END,
    NS_SEP,
    NULL_TASK_ID,
    RESUME,
    TAG_HIDDEN,
)
from ._ids import path_key

if TYPE_CHECKING:
    from plait_adapters.langgraph.pregel._read import PregelNode
    from plait_adapters.langgraph.types import CacheKey, RetryPolicy, TimeoutPolicy

    from ._run import Run

Write = tuple[str, Any]


class Task:
    """One run of one node in one step.

    Attributes:
        run: the run that it belongs to.
        node: what is called.
        name: the name of the node.
        input: what it is called with.
        path: its place in the order of the step.
        triggers: the channels that triggered it.
        writes: what it has written.
        step: the number of its step.
        attempt: the number of the present attempt, from 1.
        retry: the policies by which it is tried again.
        timeout: how long an attempt may take.
        cache_key: where its writes are cached.
        node_error: why the node failed that this one handles.
        callbacks: a manager of langchain-core, for what the node calls.
        parent: the task that called it, of the functional interface.
        failed: the task whose failure it handles.
    """

    __slots__ = (
        "__weakref__",
        "_answers",
        "_asked",
        "_called",
        "_config",
        "_id",
        "_key",
        "_names",
        "_runtime",
        "_subgraphs",
        "attempt",
        "cache_key",
        "callbacks",
        "failed",
        "first_attempt_time",
        "future",
        "heartbeat",
        "input",
        "name",
        "node",
        "node_error",
        "parent",
        "path",
        "progress",
        "retry",
        "run",
        "step",
        "timeout",
        "triggers",
        "writer",
        "writes",
    )  # fmt: skip

    def __init__(
        self,
        run: Run,
        node: PregelNode,
        name: str,
        input: Any,
        path: tuple[Any, ...],
        triggers: Sequence[str],
        names: tuple[str, ...],
    ) -> None:
        self.run: Run = run
        self.node: PregelNode = node
        self.name: str = name
        self.input: Any = input
        self.path: tuple[Any, ...] = path
        self.triggers: Sequence[str] = triggers
        self.writes: list[Write] = []
        self.step: int = run.step
        self.attempt: int = 1
        self.retry: Sequence[RetryPolicy] = node.retry_policy or run.graph.retry_policy
        self.timeout: TimeoutPolicy | None = node.timeout
        self.cache_key: CacheKey | None = None
        self.node_error: NodeError | None = None
        self.callbacks: Any = None
        self.parent: Task | None = None
        self.failed: Task | None = None
        self.future: Any = None
        self.heartbeat: Callable[[], None] | None = None
        self.writer: Callable[[Any], None] | None = None
        self.progress: Callable[[], None] | None = None
        self.first_attempt_time: float | None = None
        self._names = names
        self._id: str | None = None
        self._key: str | None = None
        self._config: dict[str, Any] | None = None
        self._runtime: Runtime[Any] | None = None
        self._answers: list[Any] | None = None
        self._asked: Any = None
        self._called: Any = None
        self._subgraphs: Any = None

    # -- names --------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The same whenever this step is taken from the same checkpoint."""
        if self._id is None:
            outer = self.outer_namespace
            namespace = f"{outer}{NS_SEP}{self.name}" if outer else self.name
            self._id = self.run.ids.task(
                self.run.checkpoint_id, namespace, str(self.step), self.name, *self._names
            )
        return self._id

    @property
    def key(self) -> str:
        """Its path as text that sorts as the writes of a step are applied."""
        if self._key is None:
            self._key = path_key(self.path)
        return self._key

    @property
    def outer_namespace(self) -> str:
        """The namespace around its own: that of its graph, or of the task that it is for."""
        inner = self.parent or self.failed
        return self.run.namespace if inner is None else inner.namespace

    def rename(self) -> None:
        """Have the id made anew, since the run names its tasks in another way."""
        self._id = None

    @property
    def namespace(self) -> str:
        """The checkpoint namespace of a graph that the node calls."""
        outer = self.outer_namespace
        name = f"{self.name}{NS_END}{self.id}"
        return f"{outer}{NS_SEP}{name}" if outer else name

    @property
    def is_hidden(self) -> bool:
        """Whether streams are not to show it."""
        tags = self.node.tags
        return (tags is not None and TAG_HIDDEN in tags) or TAG_HIDDEN in self.run.tags

    @property
    def is_call(self) -> bool:
        """Whether it is a task of the functional interface, whose caller hears of its failure."""
        return self.parent is not None

    # -- what the node is given ---------------------------------------------------------------

    def write(self, writes: Sequence[Write]) -> None:
        """Add writes."""
        self.writes.extend(writes)
        if self.progress is not None:
            self.progress()

    def read(self, select: str | list[str], fresh: bool = False) -> Any:
        """Values of channels and managed values; ``fresh`` as after the task's own writes."""
        machine, managed = self.run.machine, self.run.graph.layout.managed
        if isinstance(select, str):
            return machine.read_with(select, self.writes) if fresh else machine.read(select)
        names = [name for name in select if name not in managed]
        values = machine.read_with(names, self.writes) if fresh else machine.read(names)
        for name in select:
            if name in managed:
                values[name] = managed[name].get(self)
        return values

    @property
    def stop(self) -> int:
        """The first step that the run may not take."""
        return self.run.stop

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of what the node calls."""
        if self._config is None:
            self._config = self._make_config()
        return self._config

    def _make_config(self) -> dict[str, Any]:
        run, node = self.run, self.node
        namespace = self.namespace
        metadata = {
            **run.config["metadata"],
            "langgraph_step": self.step,
            "langgraph_node": self.name,
            "langgraph_triggers": self.triggers,
            "langgraph_path": self.path,
            "langgraph_checkpoint_ns": namespace,
            **(node.metadata or {}),
        }
        outer = run.config[CONF]
        config = {
            **run.config,
            "metadata": metadata,
            "callbacks": self.callbacks,
            CONF: {
                **outer,
                CONFIG_KEY_TASK: self,
                CONFIG_KEY_TASK_ID: self.id,
                CONFIG_KEY_SEND: self.write,
                CONFIG_KEY_READ: self.read,
                CONFIG_KEY_CHECKPOINTER: run.inherited_saver,
                CONFIG_KEY_CHECKPOINT_MAP: {
                    **(outer.get(CONFIG_KEY_CHECKPOINT_MAP) or {}),
                    run.namespace: run.checkpoint_id,
                    self.outer_namespace: run.checkpoint_id,
                },
                CONFIG_KEY_CHECKPOINT_ID: None,
                CONFIG_KEY_CHECKPOINT_NS: namespace,
                CONFIG_KEY_RUNTIME: self.runtime,
            },
        }
        tags = [*run.config["tags"], *(node.tags or ())]
        if tags:
            config["tags"] = tags
        else:
            del config["tags"]
        if run.config["recursion_limit"] is DEFAULT_RECURSION_LIMIT:
            # What nobody has set is not passed on as if somebody had.
            del config["recursion_limit"]
        # These two name the run of the graph, and not of what the node calls.
        config.pop("run_name", None)
        config.pop("run_id", None)
        return config

    @property
    def runtime(self) -> Runtime[Any]:
        """What the run gives to the node."""
        if self._runtime is None:
            run = self.run
            base = run.runtime
            run_id = run.config.get("run_id")
            self._runtime = Runtime(
                context=base.context,
                store=base.store,
                stream_writer=self.writer or base.stream_writer,
                heartbeat=self.heartbeat or base.heartbeat,
                previous=None if self.is_call else run.previous,
                execution_info=ExecutionInfo(
                    checkpoint_id=run.checkpoint_id,
                    checkpoint_ns=self.namespace,
                    task_id=self.id,
                    thread_id=run.config[CONF].get(CONFIG_KEY_THREAD_ID),
                    run_id=None if run_id is None else str(run_id),
                    node_attempt=self.attempt,
                    node_first_attempt_time=self._first_attempt(),
                ),
                server_info=base.server_info,
                control=base.control,
            )
        return self._runtime

    def _first_attempt(self) -> float:
        if self.first_attempt_time is None:
            self.first_attempt_time = time.time()
        return self.first_attempt_time

    def again(self) -> None:
        """Make ready for another attempt: answers are matched from the first again."""
        self._first_attempt()
        self.attempt += 1
        self.renew()
        self._asked = None

    def renew(self) -> None:
        """Have configuration and runtime made anew, since something in them has changed."""
        self._config = self._runtime = None

    def context(self) -> Context:
        """A context of its own in which the node is called."""
        context = copy_context()
        context.run(_enter, self)
        return context

    # -- interrupts ---------------------------------------------------------------------------

    @property
    def answers(self) -> list[Any]:
        """What has been answered to this task, in the order of its questions."""
        if self._answers is None:
            self._answers = self._find_answers()
        return self._answers

    def _find_answers(self) -> list[Any]:
        pending = self.run.pending
        if not pending:
            return []
        own = self.id
        answers: list[Any] = []
        for tid, channel, value in pending:
            if tid == own and channel == RESUME:
                answers = list(value) if isinstance(value, list) else [value]
                break
        by_id = self.run.answers_by_id
        if by_id:
            namespace = self.namespace
            ids = self.run.ids
            for key in (ids.interrupt(namespace, len(answers)), ids.interrupt(namespace)):
                if key in by_id:
                    answers.append(by_id[key])
                    break
        return answers

    def answer(self, accept: Callable[[Any], Any]) -> Any:
        """The answer to the next question of the node; ``MISSING`` if there is none yet."""
        if self._asked is None:
            self._asked = count()
        index, answers = next(self._asked), self.answers
        if index < len(answers):
            accepted = accept(answers[index])
            self.write([(RESUME, answers[: index + 1])])
            return accepted
        given = self.general_answer(consume=True)
        if given is None:
            return MISSING
        accepted = accept(given)
        answers.append(given)
        self.write([(RESUME, answers)])
        return accepted

    def ask(self, value: Any, accept: Callable[[Any], Any], schema: Any) -> Any:
        """Ask somebody outside the run, and return the answer.

        Raises:
            GraphInterrupt: there is none yet.
        """
        answer = self.answer(accept)
        if answer is not MISSING:
            return answer
        raise GraphInterrupt((Interrupt(value, self.next_interrupt_id(), response_schema=schema),))

    def general_answer(self, *, consume: bool) -> Any:
        """The answer that was given to whoever asks, here or in a graph around; ``None`` for none.

        It cannot be ``None`` itself: JSON does not tell that from nothing.
        """
        pending = self.run.pending
        for write in pending:
            if write[0] == NULL_TASK_ID and write[1] == RESUME:
                if consume:
                    pending.remove(write)
                return write[2]
        caller = self.parent or self.run.caller
        return None if caller is None else caller.general_answer(consume=consume)

    def next_interrupt_id(self) -> str:
        """The id of the question that is being asked."""
        return self.run.ids.interrupt(self.namespace, len(self.answers))

    # -- what it calls ------------------------------------------------------------------------

    def next_call(self) -> int:
        """The number of the next task that this one calls."""
        if self._called is None:
            self._called = count()
        return int(next(self._called))

    def next_subgraph(self) -> int:
        """The number of the next graph that the node calls."""
        if self._subgraphs is None:
            self._subgraphs = count()
        return int(next(self._subgraphs))


def _enter(task: Task) -> None:
    """Have the node's variables say which task it is in; in the node's own context."""
    current_task.set(task)
    langchain: Any = sys.modules.get("langchain_core.runnables.config")
    if langchain is not None:
        langchain.var_child_runnable_config.set(LazyConfig(task))
    if task.callbacks is not None:
        from ._tracing import follow

        follow(task.callbacks)
