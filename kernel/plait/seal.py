"""Rows that only those who have a key can write, or read as well.

Whoever can write to a database can change what a journal says. With a :class:`Signer`, rows that
were written without its key are refused; with a :class:`Cipher`, nobody without the key can read
them, either. A sealed row is bound to its place: to the version of the format, to what it is
(event, snapshot, description of a graph), to tenant, thread and position, and, as its journal is a
chain, to all events before it. It is worth nothing anywhere else.

::

    byte  0      version of the format: 1
    byte  1      flags: 0x40 signed, 0x80 encrypted
    bytes 2-5    CRC-32 of all others, which tells damage from forgery
    byte  6      length of the key's id in bytes, then the id
    signed       HMAC-SHA-256 (32 bytes), then the record
    encrypted    nonce (12 bytes), then the record by AES-256-GCM, then its tag (16 bytes)

What a seal does not do: somebody who can write rows can still remove them, or bring back a whole
journal (or a whole database) as it was at an earlier time, since nothing outside says what the
latest was. And what a store needs in order to find and order rows is always visible: tenants,
thread ids, names and fingerprints of graphs, positions, sizes, times, statuses, the origins of
forks, who holds a lease, and the ids of keys.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from .codec import envelope
from .codec.faults import DecodingError
from .errors import PlaitError, StoreError
from .events import ThreadId

__all__ = ["Cipher", "Kind", "Place", "Protection", "Seal", "Signer"]

Kind: TypeAlias = Literal["event", "snapshot", "plan"]

_LONGEST_KEY_ID: Final = 32
_DIGEST: Final = 32
_NONCE: Final = 12
_TAG: Final = 16

_POSITION = Struct(">Q")
_LENGTH = Struct(">I")


class Place(NamedTuple):
    """Where a sealed row belongs, and nowhere else."""

    kind: Kind
    tenant: str
    name: str
    """The thread; of a description, the fingerprint of its graph."""
    position: int
    """Of the event, or of the last one that a snapshot knows; 0 for a description."""
    link: bytes
    """Stands for the event before this one, and so for all before it: 32 bytes, or none before
    the first event. Empty unless it is an event."""


class Seal(Protocol):
    """How rows are protected: a :class:`Signer` or a :class:`Cipher`."""

    def close(self, place: Place, record: bytes) -> bytes:
        """What is stored in place of a record."""
        ...

    def open(self, place: Place, row: bytes) -> bytes:
        """The record in a row. Raises ``DecodingError`` unless it was sealed for this place."""
        ...


class Signer:
    """Signs rows with HMAC-SHA-256, 40 bytes or so each; their content can be read by anybody.

    ::

        key = secrets.token_bytes(32)  # kept in a vault, not beside the database
        open_store("sqlite:///runs.db", seal=Signer({"2026": key}))

    A store is signed from its first row on, since rows that are not are refused: begin with an
    empty one, or another tenant.

    Args:
        keys: 32 to 64 random bytes each, by an id of 1 to 32 bytes, which is in every row. The
            first is for writing, all are for reading. To change keys, put a new one in front, and
            keep the old one as long as there are rows that it has signed.

    Raises:
        ValueError: there is no key, or one has another size; a password is none.
    """

    __slots__ = ("_id", "_keys")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = _checked(keys, 32, 64)
        self._id: bytes = next(iter(self._keys))

    def close(self, place: Place, record: bytes) -> bytes:
        """The record, with what shows that somebody who has the key has written it here."""
        digest = self._digest(self._id, place, record)
        return envelope.close(envelope.SIGNED, _headed(self._id, digest + record))

    def open(self, place: Place, row: bytes) -> bytes:
        """The record in a row. Raises ``DecodingError`` unless it was signed for this place."""
        key_id, content = _parts(envelope.SIGNED, row, self._keys, _DIGEST)
        digest, record = content[:_DIGEST], content[_DIGEST:]
        if not hmac.compare_digest(digest, self._digest(key_id, place, record)):
            raise _forged("signature", key_id)
        return record

    def _digest(self, key_id: bytes, place: Place, record: bytes) -> bytes:
        bound = _bound(envelope.SIGNED, key_id, place)
        return hmac.digest(self._keys[key_id], bound + record, "sha256")

    def __repr__(self) -> str:
        return f"Signer({_ids(self._keys)})"


class Cipher:
    """Encrypts rows with AES-256-GCM, by the package ``cryptography`` (``plait[encryption]``).

    Nobody without the key can read values, or anything else in events, snapshots and descriptions
    of graphs, or write rows that are taken for genuine. Takes 35 bytes or so for each row.

    Each row has a random nonce of 96 bits. Two rows with the same nonce under one key would give
    both away, so put a new key in front before 2**32 rows (4.3 billion; by then the odds are one
    in 2**32) were written under one, all tenants and processes together: NIST SP 800-38D, 8.3.

    Args:
        keys: 32 random bytes each; otherwise as for :class:`Signer`, which says how keys are
            changed. A key of a ``Signer`` must not be used here.

    Raises:
        ValueError: there is no key, or one has another size; a password is none.
        PlaitError: ``cryptography`` is not installed.
    """

    __slots__ = ("_ciphers", "_id")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        checked = _checked(keys, 32, 32)
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise PlaitError(
                "rows are encrypted with cryptography, which is not installed: "
                "pip install 'plait[encryption]'"
            ) from error
        self._ciphers = {key_id: AESGCM(key) for key_id, key in checked.items()}
        self._id: bytes = next(iter(self._ciphers))

    def close(self, place: Place, record: bytes) -> bytes:
        """The record, encrypted for this place."""
        nonce = secrets.token_bytes(_NONCE)
        bound = _bound(envelope.SEALED, self._id, place)
        hidden = self._ciphers[self._id].encrypt(nonce, record, bound)
        return envelope.close(envelope.SEALED, _headed(self._id, nonce + hidden))

    def open(self, place: Place, row: bytes) -> bytes:
        """The record in a row. Raises ``DecodingError`` unless it was encrypted for this place."""
        from cryptography.exceptions import InvalidTag

        key_id, content = _parts(envelope.SEALED, row, self._ciphers, _NONCE + _TAG)
        bound = _bound(envelope.SEALED, key_id, place)
        try:
            return self._ciphers[key_id].decrypt(content[:_NONCE], content[_NONCE:], bound)
        except InvalidTag:
            raise _forged("authentication tag", key_id) from None

    def __repr__(self) -> str:
        return f"Cipher({_ids(self._ciphers)})"


# -- keys and parts ---------------------------------------------------------------------------


def _checked(keys: Any, least: int, most: int) -> dict[bytes, bytes]:
    if not isinstance(keys, Mapping) or not keys:
        raise ValueError("give a mapping of key ids to keys with one key at least")
    checked: dict[bytes, bytes] = {}
    for name, key in keys.items():
        if not (isinstance(name, str) and name.isprintable()):
            raise ValueError(f"the id of a key is a printable string, not {name!r}")
        if not 0 < len(name.encode()) <= _LONGEST_KEY_ID:
            raise ValueError(f"the id {name!r} of a key must have 1 to {_LONGEST_KEY_ID} bytes")
        if not isinstance(key, bytes) or not least <= len(key) <= most:
            size = f"{least} bytes" if least == most else f"{least} to {most} bytes"
            found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
            raise ValueError(
                f"key {name!r} must be {size}, as secrets.token_bytes({least}) gives, not {found}"
            )
        checked[name.encode()] = key
    return checked


def _ids(keys: Mapping[bytes, object]) -> str:
    return ", ".join(repr(key_id.decode()) for key_id in keys)


def _headed(key_id: bytes, content: bytes) -> bytes:
    return bytes((len(key_id),)) + key_id + content


def _parts(flags: int, row: bytes, keys: Mapping[bytes, object], least: int) -> tuple[bytes, bytes]:
    """The id of the key of a row, which is known, and what follows it."""
    body = _body(flags, row)
    end = 1 + body[0]
    key_id, content = body[1:end], body[end:]
    if len(content) < least:
        raise DecodingError("it is too short to be what it says it is: nobody with a key wrote it")
    if key_id not in keys:
        raise DecodingError(
            f"it was {_HOW[flags]} with a key {key_id.decode(errors='replace')!r}, and seal= has "
            f"only {_ids(keys)}: add that key behind the others, if it is one of yours"
        )
    return key_id, content


_HOW: Final = {envelope.SIGNED: "signed", envelope.SEALED: "encrypted"}
_OPTIONS: Final = {envelope.SIGNED: "seal=Signer(...)", envelope.SEALED: "seal=Cipher(...)"}


def _body(flags: int, row: bytes) -> bytes:
    found = envelope.flags_of(row)
    if found != flags:
        how = f"it is {_HOW[found]}" if found in _HOW else f"it is not {_HOW[flags]}"
        raise DecodingError(
            f"{how}, and this store's rows are {_HOW[flags]}, all of them: it was written by "
            "somebody without the key, or before seal= was given"
        )
    return envelope.open_(flags, row)


def _bound(flags: int, key_id: bytes, place: Place) -> bytes:
    """What a row is bound to. Each part has a fixed length or says its own, so that no two
    places look alike."""
    parts = [bytes((envelope.FORMAT, flags)), _POSITION.pack(place.position)]
    for text in (key_id, place.kind.encode(), place.tenant.encode(), place.name.encode()):
        parts += (_LENGTH.pack(len(text)), text)
    parts += (_LENGTH.pack(len(place.link)), place.link)
    return b"".join(parts)


def _forged(what: str, key_id: bytes) -> DecodingError:
    return DecodingError(
        f"its {what} is wrong. Somebody without the key has changed it, moved it here from another "
        "place (thread, tenant, position) or another history of this thread, or changed what comes "
        f"before it; or the key {key_id.decode()!r} is not the one it was written with"
    )


# -- the rows of a store ----------------------------------------------------------------------


class Protection:
    """Seals and unseals the rows of one store; without a seal, hands them on as they are.

    Events form a chain: each is bound to the *link* of the one before it, which is the SHA-256 of
    the row. So rows of one history of a thread cannot be mixed with those of another: of a run
    that was rolled back, or of a thread that was deleted and begun anew. A snapshot carries the
    link with which the journal goes on behind it.

    Args:
        seal: ``None``: rows are plain, and sealed ones are refused.
        tenant: whose rows they are.
    """

    __slots__ = ("_seal", "_tenant", "is_on")

    def __init__(self, seal: Seal | None, tenant: str) -> None:
        self.is_on: bool = seal is not None
        self._seal = seal
        self._tenant = tenant

    def seal_event(
        self, thread_id: ThreadId, position: int, link: bytes, record: bytes
    ) -> tuple[bytes, bytes]:
        """The row of an event, and the link for the next one."""
        if self._seal is None:
            return record, b""
        row = self._seal.close(Place("event", self._tenant, thread_id, position, link), record)
        return row, hashlib.sha256(row).digest()

    def open_event(
        self, thread_id: ThreadId, position: int, link: bytes, row: bytes
    ) -> tuple[bytes, bytes]:
        """The record of an event, and the link for the next one. Raises ``StoreError``."""
        record = self._open(Place("event", self._tenant, thread_id, position, link), row)
        return record, b"" if self._seal is None else hashlib.sha256(row).digest()

    def seal_snapshot(
        self, thread_id: ThreadId, position: int, link: bytes, record: bytes
    ) -> bytes:
        """The row of a snapshot; ``link`` is that for the event behind it."""
        if self._seal is None:
            return record
        place = Place("snapshot", self._tenant, thread_id, position, b"")
        return self._seal.close(place, link + record)

    def open_snapshot(self, thread_id: ThreadId, position: int, row: bytes) -> tuple[bytes, bytes]:
        """The record of a snapshot, and the link for the next event. Raises ``StoreError``."""
        record = self._open(Place("snapshot", self._tenant, thread_id, position, b""), row)
        if self._seal is None:
            return record, b""
        return record[_DIGEST:], record[:_DIGEST]

    def seal_plan(self, fingerprint: str, description: bytes) -> bytes:
        """The row of a description, whose names of nodes may be telling."""
        if self._seal is None:
            return description
        return self._seal.close(Place("plan", self._tenant, fingerprint, 0, b""), description)

    def open_plan(self, fingerprint: str, row: bytes) -> bytes:
        """The description in a row. Raises ``StoreError``."""
        return self._open(Place("plan", self._tenant, fingerprint, 0, b""), row)

    def _open(self, place: Place, row: Any) -> bytes:
        try:
            if not isinstance(row, bytes):  # SQLite, for one, keeps anything in any column
                raise DecodingError(f"it is no bytes, but {type(row).__name__}")
            if self._seal is not None:
                return self._seal.open(place, row)
            how = envelope.flags_of(row)
            if how in _HOW:
                envelope.open_(how, row)
                raise DecodingError(
                    f"it is {_HOW[how]}, and the store was opened without a key: "
                    f"open it with {_OPTIONS[how]}"
                )
        except DecodingError as error:
            raise StoreError(f"{_described(place)} is refused: {error.problem}") from error
        return row


def _described(place: Place) -> str:
    tenant = f"(tenant {place.tenant!r})"
    if place.kind == "plan":
        return f"the description of graph {place.name} {tenant}"
    what = "event" if place.kind == "event" else "the snapshot at position"
    return f"{what} {place.position} of thread {place.name!r} {tenant}"
