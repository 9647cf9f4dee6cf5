"""A server that speaks the chat completions protocol on a local port, and fails as it is told.

It is a real HTTP/1.1 server (h11 over anyio's sockets): what a test sees of connections is what the
client does with them. It answers requests in the order in which it was told how to::

    async with model_server(Busy("1"), Say("hello")) as server:
        endpoint = Endpoint(url=server.url, model="small")

When it was told nothing more, the last answer is repeated.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream

__all__ = [
    "Asked",
    "Break",
    "Busy",
    "Fail",
    "Hang",
    "ModelServer",
    "Reply",
    "Say",
    "Send",
    "model_server",
]


@dataclass(frozen=True)
class Say:
    """Answers with a text: as one body, or as a stream if it is asked for one."""

    text: str
    read: int = 20
    """Tokens that are said to have been read."""
    written: int = 10
    """Tokens that are said to have been written."""
    usage: bool = True
    """Whether they are said at all."""
    finish: str = "stop"
    refusal: str | None = None
    """Takes the place of the text."""


@dataclass(frozen=True)
class Fail:
    """Answers with an error."""

    status: int = 500
    message: str = "out of order"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def Busy(  # noqa: N802 - it reads as one of the answers
    after: str | None = None, status: int = 429, *, header: str = "Retry-After", **more: str
) -> Fail:
    """Asks to come back later, with the value of ``Retry-After`` if there is one."""
    headers = dict(more) if after is None else {header: after, **more}
    return Fail(status, "too many requests", headers=headers)


@dataclass(frozen=True)
class Hang:
    """Answers nothing until the client goes away; with a text, begins to stream it."""

    text: str = ""


@dataclass(frozen=True)
class Break:
    """Closes the connection in the middle of an answer; ``quietly`` ends a stream in good form, but
    with no end of the answer."""

    text: str = "this will not be said to its end"
    quietly: bool = False


@dataclass(frozen=True)
class Send:
    """Sends these bytes as the body."""

    body: bytes
    type: str = "application/json"


Reply = Say | Fail | Hang | Break | Send


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    path: str
    headers: Mapping[str, str]
    """With keys in lower case."""
    body: Mapping[str, Any]
    at: float
    """On the clock of the event loop, in seconds."""

    @property
    def prompt(self) -> str:
        """All that was said to the model."""
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass
class ModelServer:
    """One that runs. Its lists grow while it does."""

    url: str
    replies: list[Reply]
    """How the next requests are answered, in order."""
    models: Sequence[str] = ("small",)
    """What it says that it serves."""
    asked: list[Asked] = field(default_factory=list)
    """The requests for an answer that came."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set when a client has gone away before its answer was there."""
    open: int = 0
    """Connections at this moment."""
    numbers: Any = field(default_factory=count)

    def next_reply(self) -> Reply:
        """How this request is answered."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@asynccontextmanager
async def model_server(
    *replies: Reply, models: Sequence[str] = ("small",)
) -> AsyncIterator[ModelServer]:
    """Run one on a free port of this machine while the block runs."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    server = ModelServer(f"http://127.0.0.1:{port}/v1", list(replies) or [Say("hello")], models)

    async def serve(stream: SocketStream) -> None:
        server.open += 1
        try:
            async with stream:
                await _Connection(server, stream).serve()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            server.gone.set()
        finally:
            server.open -= 1

    failure: Exception | None = None
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield server
        except Exception as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Connection:
    def __init__(self, server: ModelServer, stream: SocketStream) -> None:
        self.server = server
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        while (asked := await self._request()) is not None:
            if asked.path.endswith("/models"):
                listed = [{"id": name, "object": "model"} for name in self.server.models]
                await self._json({"object": "list", "data": listed})
            else:
                self.server.asked.append(asked)
                await self._answer(asked, self.server.next_reply())
            if self.http.our_state is not h11.DONE:
                return
            self.http.start_next_cycle()

    async def _request(self) -> Asked | None:
        head, body = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self.http.receive_data(await self.stream.receive())
                except anyio.EndOfStream:
                    self.http.receive_data(b"")
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                asked = json.loads(body) if body else {}
                return Asked(head.target.decode(), headers, asked, anyio.current_time())
            else:
                return None

    async def _answer(self, asked: Asked, reply: Reply) -> None:
        streamed = bool(asked.body.get("stream"))
        match reply:
            case Say() if streamed:
                await self._begin()
                await self._stream(reply)
                await self._send(h11.EndOfMessage())
            case Say():
                await self._json(self._completion(reply))
            case Fail(status, message, code, headers):
                error = {"message": message, "code": code, "type": None, "param": None}
                await self._json({"error": error}, status, headers)
            case Hang(text):
                if streamed and text:
                    await self._begin()
                    await self._piece({"delta": {"content": text}})
                await self._wait_until_gone()
            case Break(text, quietly):
                await self._break(text, streamed=streamed, quietly=quietly)
            case Send(body, type_):
                await self._body(body, type_)

    async def _stream(self, reply: Say) -> None:
        words = reply.text.split(" ")
        for i, word in enumerate(words):
            await self._piece({"delta": {"content": word if i == 0 else f" {word}"}})
        if reply.refusal is not None:
            await self._piece({"delta": {"refusal": reply.refusal}})
        await self._piece({"delta": {}, "finish_reason": reply.finish})
        if reply.usage:
            await self._event(self._chunk([], self._usage(reply)))
        await self._send(h11.Data(data=b"data: [DONE]\n\n"))

    async def _break(self, text: str, *, streamed: bool, quietly: bool) -> None:
        if streamed:
            await self._begin()
            await self._piece({"delta": {"content": text}})
            if quietly:
                await self._send(h11.EndOfMessage())
        else:
            data = json.dumps(self._completion(Say(text))).encode()
            await self._head("application/json", {"Content-Length": str(len(data))})
            await self.stream.send(data[: len(data) // 2])

    async def _wait_until_gone(self) -> None:
        try:
            await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        self.server.gone.set()

    def _completion(self, reply: Say) -> dict[str, Any]:
        content = reply.text if reply.refusal is None else None
        message = {"role": "assistant", "content": content, "refusal": reply.refusal}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        found = {**self._chunk([choice]), "object": "chat.completion"}
        return {**found, "usage": self._usage(reply)} if reply.usage else found

    def _usage(self, reply: Say) -> dict[str, int]:
        total = reply.read + reply.written
        return {
            "prompt_tokens": reply.read,
            "completion_tokens": reply.written,
            "total_tokens": total,
        }

    def _chunk(
        self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None
    ) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{next(self.server.numbers)}",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "small",
            "choices": choices,
            "usage": usage,
        }

    async def _piece(self, choice: dict[str, Any]) -> None:
        await self._event(self._chunk([{"index": 0, "finish_reason": None, **choice}]))

    async def _event(self, data: dict[str, Any]) -> None:
        await self._send(h11.Data(data=f"data: {json.dumps(data)}\n\n".encode()))

    async def _begin(self) -> None:
        await self._head("text/event-stream", {"Transfer-Encoding": "chunked"})

    async def _json(
        self, data: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        await self._body(json.dumps(data).encode(), "application/json", status, headers)

    async def _body(
        self,
        body: bytes,
        type_: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        length = {"Content-Length": str(len(body)), **(headers or {})}
        await self._head(type_, length, status)
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _head(self, type_: str, headers: Mapping[str, str], status: int = 200) -> None:
        lines = [("Content-Type", type_), *headers.items()]
        await self._send(h11.Response(status_code=status, headers=lines))

    async def _send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            await self.stream.send(data)
