"""What a serializer is, and what a cipher is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from plait_adapters.langgraph._support import missing

__all__ = [
    "CipherProtocol",
    "SerializerCompat",
    "SerializerProtocol",
    "UntypedSerializerProtocol",
    "maybe_add_typed_methods",
]


class UntypedSerializerProtocol(Protocol):
    """Makes bytes of values, without saying how."""

    def dumps(self, obj: Any) -> bytes:
        """The bytes of a value."""
        ...

    def loads(self, data: bytes) -> Any:
        """The value that bytes stand for."""
        ...


@runtime_checkable
class SerializerProtocol(Protocol):
    """Makes bytes of values, and says in a word how, so that several ways can be read."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """How the bytes were made, and the bytes."""
        ...

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value that such a pair stands for."""
        ...


class SerializerCompat:
    """A serializer that does not say how, as one that gives the name of the value's type."""

    def __init__(self, serde: UntypedSerializerProtocol) -> None:
        self.serde = serde

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The name of the value's type, and the bytes."""
        return type(obj).__name__, self.serde.dumps(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value, whatever the name says."""
        return self.serde.loads(data[1])


def maybe_add_typed_methods(
    serde: SerializerProtocol | UntypedSerializerProtocol,
) -> SerializerProtocol:
    """The serializer itself if it says how bytes are made, else one around it that does."""
    return serde if isinstance(serde, SerializerProtocol) else SerializerCompat(serde)


class CipherProtocol(Protocol):
    """Encrypts bytes, and says with what."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """The name of the cipher, and what it made of the bytes."""
        ...

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """The bytes again; raises if the cipher is another one, or the bytes were changed."""
        ...


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
