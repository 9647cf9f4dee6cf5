"""Which checkpoints have to stay when old ones are given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from plait.errors import StoreError

__all__ = ["STRATEGIES", "Bone", "check_pruning", "check_removal", "needed", "to_keep"]

STRATEGIES = ("keep_latest", "delete")


@dataclass(frozen=True, slots=True)
class Bone:
    """What of a checkpoint matters when others are given up."""

    checkpoint_id: str
    parent_id: str | None
    """The one before it."""
    delta: frozenset[str]
    """Its delta channels: their values are what was written since they were stored last."""
    stored: frozenset[str]
    """Channels whose whole value it has."""


def check_pruning(thread_ids: Sequence[str], strategy: str) -> None:
    """Raise ``ValueError`` for a strategy that is not known, and ``TypeError`` for one id in place
    of several: its letters may be ids of other threads."""
    if isinstance(thread_ids, str):
        raise TypeError(f"thread_ids={thread_ids!r} must be a list of ids, not a str")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} must be one of {', '.join(STRATEGIES)}")


def to_keep(bones: Iterable[Bone]) -> set[str]:
    """Of the checkpoints of one namespace: the latest, and those on which its values are built."""
    known = {bone.checkpoint_id: bone for bone in bones}
    if not known:
        return set()
    latest = max(known)
    return {latest, *needed(latest, known)}


def needed(checkpoint_id: str, known: dict[str, Bone]) -> Iterator[str]:
    """Those before a checkpoint on which its delta channels are built, the last first."""
    delta = frozenset().union(*(bone.delta for bone in known.values()))
    bone = known[checkpoint_id]
    missing = delta - bone.stored
    while missing and bone.parent_id in known:
        bone = known[bone.parent_id]
        yield bone.checkpoint_id
        missing -= bone.stored


def check_removal(thread_id: str, bones: Iterable[Bone], left: set[str]) -> None:
    """Raise ``StoreError`` if one of those left is built on one that is not."""
    known = {bone.checkpoint_id: bone for bone in bones}
    for checkpoint_id in left & known.keys():
        gone = set(needed(checkpoint_id, known)) - left
        if gone:
            raise StoreError(
                f"checkpoint {checkpoint_id} of thread {thread_id!r} stays, and its delta channels "
                f"are built on what was written at {min(gone)}, which would be removed: remove "
                "later runs with it, or the thread"
            )
