"""A proxy that pools transactions, as PgBouncer does: it gives a client another connection of the
server for each transaction, so whatever a session keeps is gone, or somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["transaction_pool"]

_SERVERS = 3
"""Connections to the server for each client; a transaction never gets the one before its own."""


@asynccontextmanager
async def transaction_pool(socket: str) -> AsyncIterator[str]:
    """Open the proxy in front of a server's Unix socket; the URL of the database ``postgres``."""

    async def serve(client: SocketStream) -> None:
        async with client:
            try:
                await _Session(socket, client).run()
            except* (
                OSError,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
                anyio.EndOfStream,
                asyncio.IncompleteReadError,
            ):
                pass  # one end has gone

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        group.cancel_scope.cancel()


class _Session:
    """One client."""

    def __init__(self, socket: str, client: SocketStream) -> None:
        self._socket = socket
        self._client = client
        self._received = b""
        self._servers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._turn = 0
        self._is_idle = True

    async def run(self) -> None:
        startup = await self._exactly(4)
        startup += await self._exactly(int.from_bytes(startup, "big") - 4)
        try:
            greeting = b""
            for _ in range(_SERVERS):
                greeting = await self._connect(startup)
            await self._client.send(greeting)
            async with anyio.create_task_group() as group:
                for reader, _ in self._servers:
                    group.start_soon(self._answer, reader)
                await self._ask()
        finally:
            for _, writer in self._servers:
                writer.close()

    async def _connect(self, startup: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._servers.append((reader, writer))
        writer.write(startup)
        greeting = b""
        while True:
            frame = await _frame(reader)
            greeting += frame
            if frame[:1] == b"Z":
                return greeting
            if frame[:1] == b"E":
                await self._client.send(greeting)
                raise anyio.EndOfStream

    async def _ask(self) -> None:
        while True:
            head = await self._exactly(5)
            frame = head + await self._exactly(int.from_bytes(head[1:], "big") - 4)
            if self._is_idle:
                self._turn = (self._turn + 1) % len(self._servers)
                self._is_idle = False
            _, writer = self._servers[self._turn]
            writer.write(frame)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        while True:
            frame = await _frame(reader)
            if frame[:1] == b"Z" and frame[5:] == b"I":
                self._is_idle = True
            await self._client.send(frame)

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._received += await self._client.receive()
        data, self._received = self._received[:count], self._received[count:]
        return data


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
