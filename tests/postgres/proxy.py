"""A wire to PostgreSQL that can be cut, held up, truncated and stalled at each message.

The proxy reads the frames of PostgreSQL's protocol as they pass, in both directions, numbers them,
and does at one of them what it is told::

    async with Proxy.open(server.socket) as proxy:
        backend = PostgresBackend(proxy.url)
        ...
        proxy.arm(Fault(3, "cut before"))  # the fourth message from now on does not get through
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET
from typing import Final, Literal, NamedTuple, Protocol, Self, TypeAlias, get_args

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["KINDS", "Fault", "Kind", "Message", "Proxy"]

Kind: TypeAlias = Literal["cut before", "cut after", "truncate", "reset", "stall", "delay"]
"""Both ends see the connection end, before or behind the message, or in the middle of it;
``reset``: before it, as after a crash of a router. ``stall``: nothing passes any more, and nobody
is told. ``delay``: it passes a little later."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_DELAY: Final = 0.02
"""Seconds."""


class Message(NamedTuple):
    """A message that came to the proxy."""

    sender: Literal["client", "server"]
    type: str
    """One letter, as in PostgreSQL's documentation; ``startup`` for a client's first."""


class Fault(NamedTuple):
    """What to do at one message."""

    at: int
    """Its number, from 0, counted in both directions and over all connections since ``arm``."""
    kind: Kind


class _End(Protocol):
    """One end of a wire."""

    async def receive(self) -> bytes: ...

    async def send(self, item: bytes) -> None: ...


class _CutError(Exception):
    """The connection is to end."""


class Proxy:
    """Listens on a port of this machine, and connects to a server's Unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._fault: Fault | None = None
        self._wires: set[_Wire] = set()
        self.port = 0
        self.seen: list[Message] = []
        """Since ``arm``."""
        self.struck = False
        """Whether the message at which there was something to do has come."""
        self.is_dead = False
        """While this is set, nothing passes on any connection, new ones included."""

    @property
    def url(self) -> str:
        """The URL of the database ``postgres`` by this wire, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    @classmethod
    @asynccontextmanager
    async def open(cls, socket: str) -> AsyncIterator[Self]:
        """Open a wire."""
        proxy = cls(socket)
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            proxy.port = listener.extra(SocketAttribute.local_port)
            group.start_soon(listener.serve, proxy._serve)
            yield proxy
            group.cancel_scope.cancel()

    def arm(self, fault: Fault | None = None) -> None:
        """Count messages from here, and do something at one of them."""
        self._fault = fault
        self.seen = []
        self.struck = False

    def cut(self) -> None:
        """End all connections."""
        for wire in self._wires:
            wire.scope.cancel()

    async def _serve(self, client: SocketStream) -> None:
        wire = _Wire(self, client)
        self._wires.add(wire)
        try:
            async with (
                client,
                _ToServer(*await asyncio.open_unix_connection(self._socket)) as server,
            ):
                await wire.run(server)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # there is no server at this moment, or one end has gone
        finally:
            self._wires.discard(wire)

    def strike(self, message: Message) -> Kind | None:
        """Take note of a message; what to do with it."""
        self.seen.append(message)
        if self._fault is not None and self._fault.at == len(self.seen) - 1:
            self.struck = True
            return self._fault.kind
        return None


class _ToServer:
    """A Unix socket by asyncio's streams: anyio's own fail in a callback when they are cancelled
    at the moment at which data arrives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        data = await self._reader.read(65536)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        self._writer.write(item)
        await self._writer.drain()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()


class _Wire:
    """One connection."""

    def __init__(self, proxy: Proxy, client: SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._is_stalled = False
        self.scope = anyio.CancelScope()

    async def run(self, server: _ToServer) -> None:
        with self.scope:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._pass_on, "client", self._client, server)
                    group.start_soon(self._pass_on, "server", server, self._client)
            except* (
                _CutError,
                OSError,
                anyio.EndOfStream,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
            ):
                pass

    async def _pass_on(
        self, sender: Literal["client", "server"], source: _End, target: _End
    ) -> None:
        buffer = b""
        is_first = sender == "client"
        while True:
            while (size := _size(buffer, is_first=is_first)) is not None:
                frame, buffer = buffer[:size], buffer[size:]
                letter = "startup" if is_first else chr(frame[0])
                is_first = False
                await self._deliver(Message(sender, letter), frame, target)
            buffer += await source.receive()

    async def _deliver(self, message: Message, frame: bytes, target: _End) -> None:
        kind = self._proxy.strike(message)
        if kind == "stall":
            self._is_stalled = True
        if self._is_stalled or self._proxy.is_dead:
            return
        if kind == "reset":
            # With this option, closing discards what is on its way and tells the peer so.
            socket = self._client.extra(SocketAttribute.raw_socket)
            socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        if kind in {"cut before", "reset"}:
            raise _CutError
        if kind == "truncate":
            await target.send(frame[: max(1, len(frame) // 2)])
            raise _CutError
        if kind == "delay":
            await anyio.sleep(_DELAY)
        await target.send(frame)
        if kind == "cut after":
            raise _CutError


def _size(buffer: bytes, *, is_first: bool) -> int | None:
    """The length of the frame at the beginning of a buffer; ``None`` if it is not all there."""
    head = 0 if is_first else 1
    if len(buffer) < head + 4:
        return None
    size = head + int.from_bytes(buffer[head : head + 4], "big")
    return size if len(buffer) >= size else None
