"""How the deltas of concurrent branches become one: in path order, and not without a word.

"Concurrent" means that neither branch has seen what the other wrote. The children of one fork are
concurrent, except where ``after=`` puts one behind another; so are they and what their owner
writes once a sync point has let it go on without them.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import TypeAlias

from .errors import ConflictError
from .events import BranchPath, ChannelName
from .state import NodeWrites, Overwrite, Schema
from .tree import Branch, Generation, by_path, subtree

__all__ = ["Contribution", "Merger", "in_order"]


Contribution: TypeAlias = tuple[Branch, Sequence[NodeWrites]]
"""A branch, and what it brings to a merge."""


class Merger:
    """Puts deltas together.

    Attributes:
        after: for each branch with ``after=``, the siblings that it depends on, directly or not.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.after: dict[BranchPath, frozenset[BranchPath]] = {}

    def collect(self, top: Branch) -> list[NodeWrites]:
        """All that a branch and the branches below it contribute, in order.

        Raises:
            ConflictError: two of them wrote a channel that takes one writer.
        """
        found: dict[Branch, list[NodeWrites]] = {}
        # From below, without recursion: a loop that forks in each turn makes a tree as deep as
        # it is long.
        for branch in reversed(list(subtree(top))):
            groups = [
                [(child, found.pop(child)) for child in _children(generation)]
                for generation in branch.forks
            ]
            found[branch] = self._assemble(branch.delta, groups)
        return found[top]

    def take(
        self, top: Branch, leaves: Iterable[Branch], on_the_way: set[Branch]
    ) -> list[NodeWrites]:
        """Take the deltas of some leaves, and of the branches above them, out of the tree.

        Args:
            top: where to begin.
            leaves: those that have arrived.
            on_the_way: they, and those between ``top`` and them.

        Raises:
            ConflictError: as ``collect``.
        """
        arrived = set(leaves)
        found: dict[Branch, list[NodeWrites]] = {}
        for branch in reversed([each for each in subtree(top) if each in on_the_way]):
            delta: list[NodeWrites] = []
            if not branch.apart or branch in arrived:
                delta, branch.delta = branch.delta, []
            groups = [
                [
                    (child, found.pop(child))
                    for child in _children(generation)
                    if child in on_the_way
                ]
                for generation in branch.forks
            ]
            found[branch] = self._assemble(delta, groups)
        return found[top]

    def _assemble(
        self, own: Sequence[NodeWrites], groups: Sequence[Sequence[Contribution]]
    ) -> list[NodeWrites]:
        """What a branch wrote, and behind it what its children did, generation by generation."""
        deltas = [delta for group in groups for _, delta in self._in_order(group)]
        if deltas:
            self._check_conflicts([own, *deltas])
        return list(chain(own, *deltas))

    def concatenate(self, contributions: Sequence[Contribution]) -> tuple[list[NodeWrites], bool]:
        """The deltas of concurrent branches, one after the other, in path order.

        ``contributions`` come in path order; a branch with ``after=`` is put behind those it
        depends on. Also returns whether there are writes that may conflict with later ones.

        Raises:
            ConflictError: as ``collect``.
        """
        deltas = [delta for _, delta in self._in_order(contributions)]
        contested = self._check_conflicts(deltas)
        return list(chain.from_iterable(deltas)), contested

    def join(self, deltas: Sequence[Sequence[NodeWrites]]) -> list[NodeWrites]:
        """The same for deltas that are in their order already."""
        if len(deltas) > 1:
            self._check_conflicts(deltas)
        return list(chain.from_iterable(deltas))

    def _in_order(self, contributions: Sequence[Contribution]) -> Sequence[Contribution]:
        """In path order, but each after those that it depends on."""
        if not self.after:
            return contributions
        places = {
            member.path: place
            for place, (branch, _) in enumerate(contributions)
            for member in branch.members
        }
        before = [
            {
                places[path]
                for member in branch.members
                for path in member.after
                if path in places and places[path] != place
            }
            for place, (branch, _) in enumerate(contributions)
        ]
        return [contributions[place] for place in in_order(before)]

    def handed_to(self, branch: Branch, delta: Sequence[NodeWrites]) -> list[NodeWrites]:
        """The delta, with a note that ``branch`` has it: what it forks from now on has seen it.

        Only writes that may conflict need the note.
        """
        note = (branch.path, branch.next_child)
        exclusive = self.schema.exclusive
        noted: list[NodeWrites] = []
        for entry in delta:
            for channel, value in entry.writes:
                if channel in exclusive or type(value) is Overwrite:
                    noted.append(entry._replace(taken=(*entry.taken, note)))
                    break
            else:
                noted.append(entry)
        return noted

    def _check_conflicts(self, deltas: Sequence[Sequence[NodeWrites]]) -> bool:
        """Refuse a second concurrent writer where only one may write.

        Returns whether there is a first one, or an ``Overwrite``.

        Within one delta the writes are in sequence, or were checked when it was put together.
        Linear in the writes: plain writes through reducers, the common case, are passed over, and
        looked at again only for channels that somebody overwrote.
        """
        writers: dict[ChannelName, list[tuple[Sequence[NodeWrites], NodeWrites]]] = {}
        overwritten: set[ChannelName] = set()
        exclusive = self.schema.exclusive
        for delta in deltas:
            for entry in delta:
                for channel, value in entry.writes:
                    if channel in exclusive:
                        claims = writers.setdefault(channel, [])
                        for origin, earlier in claims:
                            if origin is not delta and self._concurrent(earlier, entry):
                                raise _conflict(channel, earlier, entry)
                        claims.append((delta, entry))
                    elif type(value) is Overwrite:
                        overwritten.add(channel)
        for channel in sorted(overwritten):
            self._check_overwrites(channel, deltas)
        return bool(writers or overwritten)

    def _check_overwrites(
        self, channel: ChannelName, deltas: Sequence[Sequence[NodeWrites]]
    ) -> None:
        claims: list[tuple[Sequence[NodeWrites], NodeWrites, bool]] = []
        for delta in deltas:
            for entry in delta:
                for name, value in entry.writes:
                    if name != channel:
                        continue
                    overwrites = type(value) is Overwrite
                    for origin, earlier, overwrote in claims:
                        if (
                            (overwrites or overwrote)
                            and origin is not delta
                            and self._concurrent(earlier, entry)
                        ):
                            raise _conflict(channel, earlier, entry, overwrite=True)
                    claims.append((delta, entry, overwrites))

    def _concurrent(self, one: NodeWrites, other: NodeWrites) -> bool:
        return not (self._saw(one, other) or self._saw(other, one))

    def _saw(self, later: NodeWrites, earlier: NodeWrites) -> bool:
        """Whether the branch that wrote ``later`` had seen ``earlier``."""
        path, other = later.branch, earlier.branch
        for holder, children in ((other, earlier.children), *earlier.taken):
            # The same branch, or one that it forked: it saw what was there before that fork.
            if path[: len(holder)] == holder and (
                len(path) == len(holder) or path[len(holder)] >= children
            ):
                return True
        if path[: len(other)] == other:
            return False
        fork = 0
        while fork < len(path) and path[fork] == other[fork]:
            fork += 1
        return other[: fork + 1] in self.after.get(path[: fork + 1], ())


def _children(generation: Generation) -> list[Branch]:
    return sorted(generation.children.values(), key=by_path)


def _conflict(
    channel: ChannelName, earlier: NodeWrites, later: NodeWrites, *, overwrite: bool = False
) -> ConflictError:
    branches = (earlier.branch, later.branch)
    return ConflictError(channel, branches, (earlier.node, later.node), overwrite=overwrite)


def in_order(before: Sequence[Collection[int]]) -> list[int]:
    """Places 0, 1, ... in order, but each after those in ``before`` of it: else the lowest first.

    Takes time linear in the dependencies, but for a logarithm. What would wait for itself comes
    last.
    """
    waits = [len(places) for places in before]
    dependents: list[list[int]] = [[] for _ in before]
    for place, places in enumerate(before):
        for earlier in places:
            dependents[earlier].append(place)
    free = [place for place, count in enumerate(waits) if count == 0]
    result: list[int] = []
    while free:
        place = heapq.heappop(free)
        result.append(place)
        for dependent in dependents[place]:
            waits[dependent] -= 1
            if waits[dependent] == 0:
                heapq.heappush(free, dependent)
    done = set(result)
    return result + [place for place in range(len(before)) if place not in done]
