"""Files that a command writes."""

from __future__ import annotations

from pathlib import Path

from plait.cli.refusals import Refused

__all__ = ["check_output", "write_file"]


def check_output(path: Path | None) -> None:
    """Refuse, before the work, a file that cannot be written. Raises `Refused`."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise Refused(f"{path} cannot be written: no such folder, or it is one")


def write_file(path: Path, text: str) -> None:
    """Write a file, in place of what is there. Raises `Refused`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror or error}") from error
