"""A PostgreSQL server for W6: the one in ``PLAIT_BENCH_POSTGRES``, or one for the occasion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server that waits for the disk at every commit."""
    given = os.environ.get("PLAIT_BENCH_POSTGRES")
    if given:
        yield given
        return
    from tests.postgres.server import Server

    started = Server(fsync="on")
    try:
        yield started.url
    finally:
        started.stop()
