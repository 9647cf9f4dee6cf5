"""Transformers: what they see, what they may hold back, and how they end."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from plait_adapters.langgraph.stream import StreamChannel, StreamTransformer
from plait_adapters.langgraph.stream._mux import StreamMux
from plait_adapters.langgraph.stream._types import ProtocolEvent, event_of


def event(method: str = "custom", data: Any = None, *namespace: str) -> ProtocolEvent:
    return event_of({"type": method, "ns": namespace, "data": data})


class Log(StreamTransformer):
    """Writes down what it is told."""

    def __init__(self, scope: tuple[str, ...] = (), lines: list[Any] | None = None) -> None:
        super().__init__(scope)
        self.lines: list[Any] = [] if lines is None else lines

    def init(self) -> dict[str, Any]:
        return {}

    def process(self, event: ProtocolEvent) -> bool:
        self.lines.append(event["params"]["data"])
        return True

    def finalize(self) -> None:
        self.lines.append("end")

    def fail(self, err: BaseException) -> None:
        self.lines.append(err)


class Breaks(Log):
    def finalize(self) -> None:
        raise KeyError("finalize")

    def fail(self, err: BaseException) -> None:
        raise KeyError("fail")


class Holds(Log):
    def process(self, event: ProtocolEvent) -> bool:
        return bool(event["params"]["data"] != "held")


def named(name: str, *, native: bool = False) -> type[StreamTransformer]:
    class Echo(StreamTransformer):
        _native = native

        def init(self) -> dict[str, Any]:
            self.channel: StreamChannel[Any] = StreamChannel(name)
            return {name: self.channel}

        def process(self, event: ProtocolEvent) -> bool:
            self.channel.push(event["params"]["data"])
            return True

    return Echo


def test_an_event_says_what_a_part_of_a_stream_does() -> None:
    part = {"type": "values", "ns": ("a:1",), "data": {"x": 1}, "interrupts": (2,)}
    made = event_of(part)
    assert made["params"].pop("timestamp") > 0  # type: ignore[misc]
    assert made == {
        "type": "event",
        "method": "values",
        "params": {"namespace": ["a:1"], "data": {"x": 1}, "interrupts": (2,)},
    }


def test_what_one_transformer_holds_back_is_not_logged_but_seen_by_the_others() -> None:
    later = Log()
    mux = StreamMux([Holds(), later])
    log = iter(mux._events)
    for data in ("a", "held", "b"):
        mux.push(event(data=data))
    mux.close()
    assert [each["params"]["data"] for each in log] == ["a", "b"]
    assert later.lines == ["a", "held", "b", "end"]


def test_events_are_numbered_as_they_are_logged() -> None:
    mux = StreamMux(factories=[named("mine"), named("ours", native=True)])
    log = iter(mux._events)
    mux.push(event(data=1))
    mux.close()
    assert [(each["method"], each["seq"]) for each in log] == [
        ("custom:mine", 1),
        ("ours", 2),
        ("custom", 3),
    ]


def test_who_asks_to_be_first_is_first() -> None:
    lines: list[Any] = []

    class First(Log):
        before_builtins = True

        def process(self, event: ProtocolEvent) -> bool:
            event["params"]["data"] = "changed"
            return True

    mux = StreamMux(factories=[lambda scope: Log(scope, lines), First])
    mux.push(event(data="given"))
    assert lines == ["changed"]


def test_two_transformers_cannot_make_something_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"Echo.*'a' of Echo"):
        StreamMux(factories=[named("a"), named("a")])


def test_what_a_transformer_makes_has_names() -> None:
    class Nameless(Log):
        def init(self) -> Any:
            return ["a"]

    with pytest.raises(TypeError, match="a dict, not a list"):
        StreamMux([Nameless()])


def test_a_transformer_processes_events_in_one_of_two_ways() -> None:
    class Neither(StreamTransformer):
        def init(self) -> dict[str, Any]:
            return {}

    with pytest.raises(NotImplementedError, match="Neither"):
        StreamMux([Neither()]).push(event())


@pytest.mark.parametrize("name", ["aprocess", "afinalize", "afail"])
def test_what_awaits_something_needs_an_event_loop(name: str) -> None:
    async def waits(self: Any, *_: Any) -> bool:
        return True

    waiting = type("Waits", (Log,), {name: waits})
    with pytest.raises(RuntimeError, match="astream_events"):
        StreamMux([waiting()])
    StreamMux([waiting()], is_async=True)
    both = type("Both", (waiting,), {"supports_sync": True})
    StreamMux([both()])


def test_transformers_for_nested_graphs_are_made_anew() -> None:
    with pytest.raises(RuntimeError, match="factories"):
        StreamMux([Log()])._make_child(("a:1",))
    inner = StreamMux(factories=[named("a")])._make_child(("a:1",))
    assert inner.scope == ("a:1",)
    made = inner.transformer_by_key("a")
    assert made is not None
    assert made.scope == ("a:1",)


def test_all_are_told_of_the_end_and_closed_though_one_breaks() -> None:
    last = Log()
    mux = StreamMux([Breaks(), named("a")(), last])
    reader = iter(mux.extensions["a"])
    with pytest.raises(KeyError, match="finalize"):
        mux.close()
    assert last.lines == ["end"]
    with pytest.raises(KeyError, match="finalize"):
        next(reader)


def test_an_error_reaches_all_though_one_breaks_and_notes_so() -> None:
    last, error = Log(), ValueError("the run")
    mux = StreamMux([Breaks(), last])
    mux.fail(error)
    assert last.lines == [error]
    assert error.__notes__ == ["Breaks was told of it, and raised KeyError('fail')"]
    with pytest.raises(ValueError, match="the run"):
        next(iter(mux._events))


def test_the_end_comes_once() -> None:
    log = Log()
    mux = StreamMux([log])
    mux.close()
    mux.close()
    mux.fail(ValueError())
    assert log.lines == ["end"]


async def test_the_next_transformer_waits_for_what_the_one_before_awaits() -> None:
    class Redacts(Log):
        async def aprocess(self, event: ProtocolEvent) -> bool:
            await anyio.lowlevel.checkpoint()
            event["params"]["data"] = "***"
            return True

    later = Log()
    mux = StreamMux([Redacts(), later], is_async=True)
    await mux.apush(event(data="secret"))
    await mux.aclose()
    assert later.lines == ["***", "end"]


class Schedules(Log):
    requires_async = True
    on_error: Any = "log"

    async def later(self, data: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if data == "break":
            raise KeyError(data)
        if data == "for ever":
            try:
                await anyio.sleep_forever()
            finally:
                self.lines.append("cancelled")
        self.lines.append(data)

    def process(self, event: ProtocolEvent) -> bool:
        self.schedule(self.later(event["params"]["data"]), on_error=self.on_error)
        return True


class Strict(Schedules):
    on_error = "raise"


async def test_the_run_waits_for_what_was_scheduled() -> None:
    transformer = Schedules()
    mux = StreamMux([transformer], is_async=True)
    await mux.apush(event(data=1))
    await mux.apush(event(data=2))
    assert transformer.lines == []
    await mux.aclose()
    assert transformer.lines == [1, 2, "end"]


async def test_what_was_scheduled_is_cancelled_when_the_run_fails() -> None:
    transformer, error = Schedules(), ValueError()
    mux = StreamMux([transformer], is_async=True)
    await mux.apush(event(data="for ever"))
    await anyio.wait_all_tasks_blocked()
    await mux.afail(error)
    assert transformer.lines == ["cancelled", error]


async def test_an_error_of_what_was_scheduled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mux = StreamMux([Schedules()], is_async=True)
    with caplog.at_level(logging.ERROR):
        await mux.apush(event(data="break"))
        await mux.aclose()
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("before_the_end", [False, True])
async def test_an_error_of_what_was_scheduled_fails_the_run_if_it_is_to(
    before_the_end: bool,
) -> None:
    transformer = Strict()
    mux = StreamMux([transformer], is_async=True)
    await mux.apush(event(data="break"))
    if before_the_end:
        await anyio.wait_all_tasks_blocked()
    with pytest.raises(KeyError, match="break"):
        await mux.aclose()
    assert [type(each) for each in transformer.lines] == [KeyError]


def test_nothing_is_scheduled_without_an_event_loop() -> None:
    transformer = Schedules()
    coroutine = transformer.later(1)
    with pytest.raises(RuntimeError, match="running event loop"):
        transformer.schedule(coroutine)
    coroutine.close()
