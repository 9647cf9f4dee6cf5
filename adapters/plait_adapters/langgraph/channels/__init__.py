"""The kinds of channels: what becomes of the writes that a step makes to one key of the state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait_adapters.langgraph._support import missing
from plait_adapters.langgraph.errors import EmptyChannelError

from .any_value import AnyValue
from .base import BaseChannel
from .binop import BinaryOperatorAggregate
from .delta import DeltaChannel
from .ephemeral_value import EphemeralValue
from .last_value import LastValue, LastValueAfterFinish
from .named_barrier_value import NamedBarrierValue, NamedBarrierValueAfterFinish
from .topic import Topic
from .untracked_value import UntrackedValue

__all__ = (
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "DeltaChannel",
    "EmptyChannelError",
    "EphemeralValue",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Topic",
    "UntrackedValue",
)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
