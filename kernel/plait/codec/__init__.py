"""Safe typed encoding: how values and events are stored. No pickle, no import by name.

What a value is made of is written down with it, type by type, so that it comes back exactly as it
was, or is refused when it is written, with the place in the value and the way out. What is read
back can name only types that were registered: those that the schema's annotations lead to, and
those that the user adds. So whoever can change stored bytes can falsify data, and cannot run code.

Two things are not kept: that a value occurs twice as the same object, and the class of an exception
that is not Plait's own (it comes back as a :class:`RecordedError`).
"""

from __future__ import annotations

import secrets
from typing import Any

from plait.errors import PlaitError
from plait.events import JournalEvent, RunStarted

from . import envelope
from .decoder import Decoder
from .encoder import Encoder, is_plain
from .faults import (
    CodecError,
    DecodingError,
    EncodingError,
    RecordedError,
    Refused,
    RegistrationError,
    ValueTooLarge,
)
from .records import lift_event, lower_event, lower_plain, values_of
from .shapes import TypeRegistry

__all__ = [
    "MAX_VALUE_BYTES",
    "Codec",
    "CodecError",
    "DecodingError",
    "EncodingError",
    "RecordedError",
    "RegistrationError",
    "TypeRegistry",
    "ValueTooLarge",
]

MAX_VALUE_BYTES = 2 * 1024 * 1024
"""How many bytes one value may take, unless the codec is told otherwise."""

_END = secrets.token_bytes(16)


class Codec:
    """Values and events to bytes, and back.

    Args:
        registry: the types that may be stored beside Python's own; by default none.
        max_value_bytes: how many bytes one value may take: a write to a channel, or the argument
            of a ``Send``.

    Raises:
        PlaitError: ormsgpack is not installed.
    """

    def __init__(
        self, registry: TypeRegistry | None = None, *, max_value_bytes: int = MAX_VALUE_BYTES
    ) -> None:
        try:
            import ormsgpack
        except ImportError as error:
            raise PlaitError(
                "values are stored with ormsgpack, which is not installed: "
                "pip install 'plait[sqlite]' or 'plait[postgres]'"
            ) from error
        self.registry: TypeRegistry = TypeRegistry() if registry is None else registry
        self.max_value_bytes = max_value_bytes
        self._pack = ormsgpack.packb
        self._unpack = ormsgpack.unpackb
        self._packing = (
            ormsgpack.OPT_PASSTHROUGH_DATACLASS
            | ormsgpack.OPT_PASSTHROUGH_DATETIME
            | ormsgpack.OPT_PASSTHROUGH_ENUM
            | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
            | ormsgpack.OPT_PASSTHROUGH_UUID
        )
        self._strictly = self._packing | ormsgpack.OPT_PASSTHROUGH_TUPLE

    def encode(self, value: Any, *, node: str | None = None, channel: str | None = None) -> bytes:
        """Encode a value. ``node`` and ``channel`` say in errors where it comes from.

        Raises:
            EncodingError: some part of it cannot be stored.
            ValueTooLarge: it takes more bytes than a value may.
        """
        try:
            body = self._body(value)
            if len(body) > self.max_value_bytes:
                raise Refused(value, f"{len(body):,} bytes", too_large=True)
        except Refused as refused:
            raise self._fault(refused, node, channel) from refused.__cause__
        return envelope.close(envelope.VALUE, body)

    def encode_plain(self, tree: Any) -> bytes | None:
        """Encode what a program has put together of strings, numbers, ``None``, bytes, lists and
        dicts with string keys: without a look at each, so several times faster than ``encode``.

        Not for what comes from a user: a ``bytearray`` would come back as bytes, and what is shared
        or contains itself is not found out before it has been written as often as it occurs.

        Returns:
            What ``decode_plain`` reads; ``None`` if there is anything else in it, or too much.
        """
        try:
            body = self._pack(tree, None, self._strictly)
        except TypeError:
            return None
        if len(body) > self.max_value_bytes:
            return None
        return envelope.close(envelope.VALUE, body)

    def pack(self, tree: Any) -> bytes | None:
        """As ``encode_plain``, for what never leaves the process: nothing protects the bytes, and
        nothing limits them. The tree may have tuples, which come back as lists."""
        try:
            return self._pack(tree, None, self._packing)
        except TypeError:
            return None

    def unpack(self, data: bytes) -> Any:
        """Decode what ``pack`` gave in this process."""
        return self._unpack(data)

    def encode_event(self, event: JournalEvent) -> bytes:
        """Encode an event of a journal. Raises as ``encode``, naming the node and the channel."""
        try:
            body = self._event_body(event)
            if len(body) > self.max_value_bytes:
                self._check_sizes(event)
        except Refused as refused:
            node = "the input" if isinstance(event, RunStarted) else getattr(event, "node", None)
            raise self._fault(refused, node, refused.channel) from refused.__cause__
        return envelope.close(envelope.EVENT, body)

    def decode(self, data: bytes) -> Any:
        """Decode what ``encode`` gave. Raises ``DecodingError``, and nothing else."""
        try:
            return Decoder(self.registry).lift(self._tree(envelope.VALUE, data))
        except DecodingError:
            raise
        except Exception as error:
            raise _damaged(error) from error

    def decode_plain(self, data: bytes) -> Any:
        """Decode what ``encode_plain`` gave. Raises ``DecodingError``, and nothing else."""
        try:
            return self._tree(envelope.VALUE, data)
        except DecodingError:
            raise
        except Exception as error:
            raise _damaged(error) from error

    def decode_event(self, data: bytes) -> JournalEvent:
        """Decode what ``encode_event`` gave. Raises ``DecodingError``, and nothing else."""
        try:
            return lift_event(Decoder(self.registry), self._tree(envelope.EVENT, data))
        except DecodingError:
            raise
        except Exception as error:
            raise _damaged(error) from error

    def _tree(self, flags: int, data: bytes) -> Any:
        """The plain tree in a record. Raises ``DecodingError``, or whatever msgpack does."""
        # ormsgpack ignores what follows the first object. So the body is read as the first of
        # two, and the second must be one that nobody could have written into it.
        body = envelope.open_(flags, data)
        tree, end = self._unpack(b"".join((b"\x92", body, b"\xc4\x10", _END)))
        if end != _END:
            raise DecodingError("something follows its content")
        return tree

    # -- bodies -------------------------------------------------------------------------------

    def _encoder(self, *, careful: bool) -> Encoder:
        return Encoder(self.registry, self.max_value_bytes, careful=careful)

    def _body(self, value: Any) -> bytes:
        try:
            try:
                if is_plain(value, self.max_value_bytes):
                    return self._pack(value)
                return self._pack(self._encoder(careful=False).lower(value))
            except TypeError:  # a lone surrogate or a large int
                return self._pack(self._encoder(careful=True).lower(value))
        except RecursionError:
            raise Refused(value, "it is nested deeper than the stack here allows") from None

    def _event_body(self, event: JournalEvent) -> bytes:
        try:
            try:
                tree = lower_plain(event, self.max_value_bytes)
                if tree is None:
                    tree = lower_event(self._encoder(careful=False), event)
                return self._pack(tree)
            except TypeError:
                return self._pack(lower_event(self._encoder(careful=True), event))
        except RecursionError:
            raise Refused(event, "it is nested deeper than the stack here allows") from None

    def _check_sizes(self, event: JournalEvent) -> None:
        """Refuse an event in which one value is too large; several together may be."""
        for channel, value in values_of(event):
            size = len(self._body(value))
            if size > self.max_value_bytes:
                refused = Refused(value, f"{size:,} bytes", too_large=True)
                refused.channel = channel
                raise refused

    def _fault(self, refused: Refused, node: str | None, channel: str | None) -> EncodingError:
        if refused.too_large:
            return ValueTooLarge(
                node, channel, refused.path, refused.type, refused.problem, self.max_value_bytes
            )
        return EncodingError(node, channel, refused.path, refused.type, refused.problem)


def _damaged(error: Exception) -> DecodingError:
    return DecodingError(f"its content makes no sense ({type(error).__name__}: {error!s:.200})")
