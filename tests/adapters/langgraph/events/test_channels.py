"""Channels: one reader, in order, who carries the run forward; or several, who get the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_adapters.langgraph.stream import StreamChannel, StreamTransformer
from plait_adapters.langgraph.stream._mux import StreamMux
from plait_adapters.langgraph.stream.run_stream import GraphRunStream


def channel(*, is_async: bool = False) -> StreamChannel[Any]:
    made: StreamChannel[Any] = StreamChannel()
    made._bind(is_async=is_async)
    return made


def source(target: StreamChannel[Any], items: list[Any]) -> Callable[[], bool]:
    """Pushes one of the items each time a reader wants more, then closes the channel."""
    left: Iterator[Any] = iter(items)

    def more() -> bool:
        for item in left:
            target.push(item)
            return True
        target.close()
        return False

    return more


@given(st.lists(st.one_of(st.integers(), st.just("read"))))
def test_a_reader_gets_what_was_pushed_in_that_order(script: list[Any]) -> None:
    target = channel()
    reader = iter(target)
    pushed = [each for each in script if each != "read"]
    got = []
    for each in script:
        if each != "read":
            target.push(each)
        elif target._items:
            got.append(next(reader))
    target.close()
    assert [*got, *reader] == pushed


@given(st.lists(st.integers()))
def test_reading_carries_the_run_forward_to_its_end(items: list[int]) -> None:
    target = channel()
    target._request_more = source(target, items)
    assert list(target) == items


def test_only_what_comes_after_the_reader_is_kept() -> None:
    target = channel()
    target.push("before")
    reader = iter(target)
    target.push("after")
    target.close()
    assert list(reader) == ["after"]
    assert not target._items


def test_an_error_comes_after_the_items_before_it() -> None:
    target = channel()
    reader = iter(target)
    target.push(1)
    target.fail(KeyError("gone"))
    assert next(reader) == 1
    with pytest.raises(KeyError, match="gone"):
        next(reader)


def test_a_channel_without_a_run_cannot_be_read() -> None:
    with pytest.raises(TypeError, match="not been bound"):
        iter(StreamChannel())


def test_a_channel_is_read_in_the_way_that_its_run_goes() -> None:
    with pytest.raises(TypeError, match="async for"):
        iter(channel(is_async=True))
    with pytest.raises(TypeError, match="'for'"):
        aiter(channel())


def test_a_channel_belongs_to_one_run() -> None:
    with pytest.raises(RuntimeError, match="already bound"):
        channel()._bind(is_async=True)


def test_there_is_one_reader() -> None:
    target = channel()
    iter(target)
    with pytest.raises(RuntimeError, match=r"tee\(n\)"):
        iter(target)


def test_what_nobody_could_read_any_more_is_refused() -> None:
    target = channel()
    iter(target)
    target.close()
    with pytest.raises(RuntimeError, match="closed"):
        target.push(1)


def test_a_limit_is_a_positive_number() -> None:
    with pytest.raises(ValueError, match="positive"):
        StreamChannel(maxlen=0)


@given(st.lists(st.integers(), max_size=8), st.integers(1, 4), st.lists(st.integers(0, 3)))
def test_every_reader_of_a_tee_gets_everything(
    items: list[int], readers: int, turns: list[int]
) -> None:
    target = channel()
    target._request_more = source(target, items)
    branches = target.tee(readers)
    got: list[list[int]] = [[] for _ in branches]
    for turn in turns:
        place = turn % readers
        got[place].extend([each for each in [next(branches[place], None)] if each is not None])
    for branch, theirs in zip(branches, got, strict=True):
        theirs.extend(branch)
    assert got == [items] * readers


def test_every_reader_of_a_tee_hears_of_an_error() -> None:
    target = channel()
    branches = target.tee(2)
    target.push(1)
    target.fail(KeyError())
    for branch in branches:
        assert next(branch) == 1
        with pytest.raises(KeyError):
            next(branch)


def test_a_tee_has_a_reader() -> None:
    with pytest.raises(ValueError, match="at least one"):
        channel().tee(0)


async def test_readers_of_a_tee_may_wait_side_by_side() -> None:
    target = channel(is_async=True)
    pushed = source(target, list(range(5)))

    async def more() -> bool:
        await anyio.lowlevel.checkpoint()
        return pushed()

    target._request_more = more
    got: list[list[int]] = []

    async def read(branch: Any) -> None:
        got.append([each async for each in branch])

    async with anyio.create_task_group() as group:
        for branch in target.atee(3):
            group.start_soon(read, branch)
    assert got == [list(range(5))] * 3


async def test_a_reader_of_a_tee_that_gives_up_leaves_the_others_theirs() -> None:
    target = channel(is_async=True)
    pushed = source(target, [1, 2])
    begun, go_on = anyio.Event(), anyio.Event()

    async def more() -> bool:
        begun.set()
        await go_on.wait()
        return pushed()

    target._request_more = more
    patient, hasty = target.atee(2)

    async def read() -> None:
        await anext(hasty)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await begun.wait()
        group.cancel_scope.cancel()
    go_on.set()
    assert [each async for each in patient] == [1, 2]


class Several(StreamTransformer):
    """Channels by name."""

    names = ("a", "b", "c")

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self.channels: dict[str, StreamChannel[int]] = {
            name: StreamChannel() for name in self.names
        }

    def init(self) -> dict[str, Any]:
        return {**self.channels, "number": 7}

    def process(self, event: Any) -> bool:
        name, item = event["params"]["data"]
        self.channels[name].push(item)
        return True


def interleaved(items: list[tuple[str, int]]) -> GraphRunStream:
    parts = [{"type": "custom", "ns": (), "data": each} for each in items]
    return GraphRunStream(parts, StreamMux([Several()]))


ITEMS = st.lists(st.tuples(st.sampled_from(Several.names), st.integers()))


@given(ITEMS)
def test_channels_that_are_interleaved_come_in_the_order_in_which_they_were_written(
    items: list[tuple[str, int]],
) -> None:
    assert list(interleaved(items).interleave(*Several.names)) == items


@given(ITEMS)
def test_channels_that_are_left_out_are_left_out(items: list[tuple[str, int]]) -> None:
    found = list(interleaved(items).interleave("c", "a"))
    assert found == [each for each in items if each[0] != "b"]


def test_interleaving_takes_channels_only() -> None:
    run = interleaved([])
    with pytest.raises(KeyError):
        list(run.interleave("a", "z"))
    with pytest.raises(TypeError, match="'number' is a int"):
        list(run.interleave("a", "number"))
    assert list(run.interleave("a")) == []  # it was let go of each time


def test_a_channel_that_is_read_is_not_interleaved() -> None:
    run = interleaved([])
    iter(run.extensions["a"])
    with pytest.raises(RuntimeError, match="subscriber"):
        list(run.interleave("a"))


def test_interleaving_may_be_left_and_taken_up_again() -> None:
    run = interleaved([("a", 1), ("b", 2), ("a", 3)])
    for item in run.interleave("a", "b"):
        assert item == ("a", 1)
        break
    assert list(run.interleave("a", "b")) == [("b", 2), ("a", 3)]


def test_an_error_comes_after_what_was_interleaved_before_it() -> None:
    def parts() -> Iterator[Any]:
        yield {"type": "custom", "ns": (), "data": ("a", 1)}
        raise KeyError

    run = GraphRunStream(parts(), StreamMux([Several()]))
    found = run.interleave("a", "b")
    assert next(found) == ("a", 1)
    with pytest.raises(KeyError):
        next(found)
