"""What is around every record: a version, flags, a checksum.

::

    byte  0      version of the format: 1
    byte  1      flags: what the body is, and how it is protected
    bytes 2-5    CRC-32 of bytes 0, 1 and the body, big-endian
    bytes 6-     the body, msgpack

A checksum finds accidents, not attackers: whoever can write rows can compute it. The two upper
bits of the flags are for those who can: around a ``SIGNED`` or ``SEALED`` record is a second
envelope, with a keyed digest in front of it or with ciphertext in its place, each bound to where
the record belongs (:mod:`plait.seal`). A reader that does not know a flag refuses the record, and
one that has a key refuses what has no flag, so neither can be taken off unseen.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from .faults import DecodingError

__all__ = [
    "EVENT",
    "FORMAT",
    "OVERHEAD",
    "SEALED",
    "SIGNED",
    "VALUE",
    "close",
    "flags_of",
    "open_",
]

FORMAT: Final = 1
"""The version of the format that is written."""

VALUE: Final = 0x00
"""The body is a value."""
EVENT: Final = 0x01
"""The body is an event of a journal."""
SIGNED: Final = 0x40
"""The body is a record with a keyed digest."""
SEALED: Final = 0x80
"""The body is an encrypted record."""

_HEAD = Struct(">BBI")
OVERHEAD: Final = _HEAD.size
"""How many bytes the envelope takes."""

_STARTS = {flags: crc32(bytes((FORMAT, flags))) for flags in (VALUE, EVENT, SIGNED, SEALED)}


def close(flags: int, body: bytes) -> bytes:
    """Put a body into an envelope."""
    return _HEAD.pack(FORMAT, flags, crc32(body, _STARTS[flags])) + body


def flags_of(data: bytes) -> int:
    """The flags of what may be an envelope; those of a value if it is none."""
    return data[1] if len(data) > OVERHEAD and data[0] == FORMAT else VALUE


def open_(flags: int, data: bytes) -> bytes:
    """Take the body out of an envelope with these flags. Raises ``DecodingError``."""
    if len(data) <= OVERHEAD:
        raise DecodingError(f"{len(data)} bytes are too few: it was cut off")
    version, found, checksum = _HEAD.unpack_from(data)
    body = data[OVERHEAD:]
    if crc32(body, crc32(data[:2])) != checksum:
        raise DecodingError("its checksum is wrong: it was changed or cut off after it was written")
    if version != FORMAT:
        raise DecodingError(
            f"its format is version {version}, and this Plait reads version {FORMAT}: "
            "read it with the Plait that wrote it, or a newer one"
        )
    if found != flags:
        raise DecodingError(
            f"its flags are {found:#04x}, and {flags:#04x} was asked for: it is another kind of "
            "record, or protected in a way that this reader does not know"
        )
    return body
