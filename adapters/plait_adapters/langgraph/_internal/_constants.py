"""Names that checkpoints, configurations and savers share.

They are part of what is stored, and of the interface between a graph and a saver, so they are those
that LangGraph's savers know.
"""

from __future__ import annotations

from typing import Any, Final

START: Final = "__start__"
END: Final = "__end__"
TAG_HIDDEN: Final = "langsmith:hidden"
TAG_NOSTREAM: Final = "nostream"

# What a task writes beside channels of the state.
INPUT: Final = "__input__"
INTERRUPT: Final = "__interrupt__"
RESUME: Final = "__resume__"
ERROR: Final = "__error__"
ERROR_SOURCE_NODE: Final = "__error_source_node__"
NO_WRITES: Final = "__no_writes__"
TASKS: Final = "__pregel_tasks"
RETURN: Final = "__return__"
PREVIOUS: Final = "__previous__"
SNAPSHOT_BUMPS: Final = "__snapshot_bumps__"
CACHE_NS_WRITES: Final = "__pregel_ns_writes"
PUSH: Final = "__pregel_push"
PULL: Final = "__pregel_pull"
OVERWRITE: Final = "__overwrite__"

# Keys of ``config["configurable"]``.
CONF: Final = "configurable"
CONFIG_KEY_TASK: Final = "__pregel_task"
"""The task in which a nested graph was called: all that it inherits hangs on this one object."""
CONFIG_KEY_TASK_ID: Final = "__pregel_task_id"
CONFIG_KEY_SEND: Final = "__pregel_send"
CONFIG_KEY_READ: Final = "__pregel_read"
CONFIG_KEY_RUNTIME: Final = "__pregel_runtime"
CONFIG_KEY_CHECKPOINTER: Final = "__pregel_checkpointer"
CONFIG_KEY_CACHE: Final = "__pregel_cache"
CONFIG_KEY_DURABILITY: Final = "__pregel_durability"
CONFIG_KEY_NODE_FINISHED: Final = "__pregel_node_finished"
CONFIG_KEY_STRICT_RESUME: Final = "__pregel_strict_resume"
CONFIG_KEY_STREAM_MESSAGES_V2: Final = "__pregel_stream_messages_v2"
CONFIG_KEY_THREAD_ID: Final = "thread_id"
CONFIG_KEY_CHECKPOINT_MAP: Final = "checkpoint_map"
CONFIG_KEY_CHECKPOINT_ID: Final = "checkpoint_id"
CONFIG_KEY_CHECKPOINT_NS: Final = "checkpoint_ns"

NS_SEP: Final = "|"
"""Between the levels of a checkpoint namespace."""
NS_END: Final = ":"
"""Between the node and the task id in one level of a checkpoint namespace."""
NULL_TASK_ID: Final = "00000000-0000-0000-0000-000000000000"
"""The task id of writes that no task made."""

BRANCH_TO: Final = "branch:to:{}"
"""The channel that triggers a node of a state graph."""

CONTROL_WRITES: Final = frozenset((ERROR, ERROR_SOURCE_NODE, INTERRUPT, RESUME))
"""Writes that tell what happened to a task, not what it gave."""
FIXED_WRITES: Final[dict[str, int]] = {
    ERROR: -1,
    "__scheduled__": -2,
    INTERRUPT: -3,
    RESUME: -4,
}
"""Writes of which a task has one at most; the numbers are the places that savers keep them at."""
UNAPPLIED_WRITES: Final = frozenset(
    (NO_WRITES, PUSH, RESUME, INTERRUPT, RETURN, ERROR, ERROR_SOURCE_NODE)
)
"""Writes that reach no channel."""

RESERVED: Final = frozenset((
    TAG_HIDDEN,
    INPUT,
    INTERRUPT,
    RESUME,
    ERROR,
    ERROR_SOURCE_NODE,
    NO_WRITES,
    SNAPSHOT_BUMPS,
    CONFIG_KEY_TASK,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_SEND,
    CONFIG_KEY_READ,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    PUSH,
    PULL,
    NS_SEP,
    NS_END,
    CONF,
))  # fmt: skip
"""Names that no node and no channel may have."""


class Missing:
    """The type of :data:`MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = Missing()
"""In place of a value where there is none, since ``None`` is one."""
