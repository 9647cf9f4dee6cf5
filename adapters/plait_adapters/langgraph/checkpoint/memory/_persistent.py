"""A dict that is kept in a file between one program and the next."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from plait_adapters.langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

__all__ = ["PersistentDict"]

_SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)


class PersistentDict(defaultdict[Any, Any]):
    """A ``defaultdict`` that is written to a file when it is closed, and read from there by
    :meth:`load`.

    The file is replaced as a whole, so it has what was there before, or all that is there now. It
    is made by Plait's codec and not by pickle: reading it runs no code.

    Args:
        args: as for a ``defaultdict``.
        filename: where the file is, or is to be.
        kwds: as for a ``defaultdict``.
    """

    def __init__(self, *args: Any, filename: str | os.PathLike[str], **kwds: Any) -> None:
        self.flag = "c"
        """``"r"``: never written; ``"n"``: never read; else ``"c"``."""
        self.mode: int | None = None
        """Permissions that the file is given, as ``0o644``; ``None``: the usual ones."""
        self.filename: str | os.PathLike[str] = filename
        super().__init__(*args, **kwds)

    def load(self) -> None:
        """Take in what the file has; an empty one has nothing.

        Where values are dicts, they become what the default factory makes, with the items of the
        file in it.

        Raises:
            OSError: there is no such file.
            DecodingError: it was not written by :meth:`sync`.
        """
        content = b"" if self.flag == "n" else Path(self.filename).read_bytes()
        if content:
            self.update(
                {
                    key: self._made(value)
                    for key, value in _SERIALIZER.loads_typed(("msgpack", content)).items()
                }
            )

    def _made(self, value: Any) -> Any:
        made = self.default_factory() if self.default_factory is not None else None
        if not isinstance(made, dict):
            return value
        made.update(value)
        return made

    def sync(self) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
            EncodingError: something in the dict cannot be stored.
        """
        if self.flag == "r":
            return
        beside = Path(f"{os.fspath(self.filename)}.tmp")
        try:
            with beside.open("wb") as file:
                self.dump(file)
            if self.mode is not None:
                beside.chmod(self.mode)
            beside.replace(self.filename)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def dump(self, fileobj: IO[bytes]) -> None:
        """Write to an open file what the dict has."""
        fileobj.write(_SERIALIZER.dumps_typed(_plain(self))[1])

    def close(self) -> None:
        """Write the file and forget what it has."""
        self.sync()
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _plain(value: Any) -> Any:
    """Without default factories, which only programs know."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
