"""A store that carries out what several tasks ask for at the same time in one batch."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from plait_adapters.langgraph._support import missing

from . import NOT_PROVIDED, BaseStore, NotProvided
from ._records import Item, NamespacePath, Op, PutOp, Result, SearchItem

__all__ = ["AsyncBatchedBaseStore"]

T = TypeVar("T")


class AsyncBatchedBaseStore(BaseStore):
    """A store whose asynchronous methods gather what is asked for at the same time, and carry it
    out in one batch. Override ``abatch``.

    It belongs to the event loop in which it was made. Its synchronous methods are for other threads
    of execution than that loop's.
    """

    __slots__ = ("_loop", "_turn", "_waiting")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Op, asyncio.Future[Result]]] = []

    @abstractmethod
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As :meth:`BaseStore.batch`."""

    async def _ask(self, op: Op) -> Result:
        """Carry out an operation, together with all that are asked for meanwhile.

        Each caller waits for its turn, and whoever has it works for all who wait. So nothing runs
        in the background, and if one is cancelled in its turn, the next one takes its place.
        """
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((op, answer))
        try:
            await asyncio.sleep(0)  # others may be about to ask
            async with self._turn:
                if not answer.done():
                    await self._work()
            return answer.result()
        finally:
            answer.cancel()  # where this caller was cancelled

    async def _work(self) -> None:
        asked = [(op, answer) for op, answer in self._waiting if not answer.done()]
        self._waiting.clear()
        places, ops = _distinct([op for op, _ in asked])
        try:
            results = await self.abatch(ops)
        except Exception as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # whoever was cancelled does not look at it
        except BaseException:  # this caller was cancelled; the others have the next turn
            self._waiting[:0] = asked
            raise
        else:
            for (_, answer), place in zip(asked, places, strict=True):
                if not answer.done():
                    answer.set_result(results[place])

    # -- asynchronous -----------------------------------------------------------------------------

    async def aget(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """As :meth:`BaseStore.get`."""
        op = self._to_get(namespace, key, refresh_ttl)
        return cast("Item | None", await self._ask(op))

    async def asearch(
        self,
        namespace_prefix: tuple[str, ...],
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """As :meth:`BaseStore.search`."""
        op = self._to_search(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", await self._ask(op))

    async def aput(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """As :meth:`BaseStore.put`."""
        await self._ask(self._to_put(namespace, key, value, index, ttl))

    async def adelete(self, namespace: tuple[str, ...], key: str) -> None:
        """As :meth:`BaseStore.delete`."""
        await self._ask(self._to_delete(namespace, key))

    async def alist_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """As :meth:`BaseStore.list_namespaces`."""
        op = self._to_list(prefix, suffix, max_depth, limit, offset)
        return cast("list[tuple[str, ...]]", await self._ask(op))

    # -- synchronous, from other threads of execution ---------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """As :meth:`BaseStore.batch`.

        Raises:
            asyncio.InvalidStateError: it is called in the store's own event loop, where it would
                wait for itself.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise asyncio.InvalidStateError(
                f"{type(self).__name__} was called in the event loop that it works in, by a method "
                "that would wait for itself: await store.aget(...) in place of store.get(...), and "
                "so on"
            )
        return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()


def _distinct(ops: Sequence[Op]) -> tuple[list[int], list[Op]]:
    """Operations without repetitions, and for each of those given its place among them.

    Of several puts to one key the last one is left.
    """
    places: list[int] = []
    distinct: list[Op] = []
    puts: dict[tuple[tuple[str, ...], str], int] = {}
    for op in ops:
        if isinstance(op, PutOp):
            place = puts.setdefault((op.namespace, op.key), len(distinct))
        else:
            place = distinct.index(op) if op in distinct else len(distinct)
        if place == len(distinct):
            distinct.append(op)
        else:
            distinct[place] = op
        places.append(place)
    return places, distinct


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
