"""The process that serves a model on this machine; started by `local`, and by nobody else.

It reads what to serve, one line of JSON, from its standard input, writes where it listens, another
line, to its standard output, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Serve until the standard input ends."""
    wanted = json.loads(sys.stdin.readline())
    # What the library itself prints must not be taken for the address.
    answer = os.dup(1)
    os.dup2(2, 1)
    import xllamacpp

    settings = xllamacpp.CommonParams()  # pyright: ignore[reportAttributeAccessIssue]
    settings.model.path = wanted["weights"]
    settings.n_ctx = wanted["context"]
    settings.n_parallel = 1
    settings.cpuparams.n_threads = wanted["threads"]
    settings.cpuparams.poll = 0  # waiting threads sleep: others need the machine as well
    settings.offline = True
    settings.api_keys = [wanted["key"]]
    server = xllamacpp.Server(settings)  # pyright: ignore[reportAttributeAccessIssue]
    os.write(answer, json.dumps({"url": server.listening_address}).encode() + b"\n")
    sys.stdin.read()
    os._exit(0)  # its threads are in the middle of a sentence, perhaps


if __name__ == "__main__":
    main()
