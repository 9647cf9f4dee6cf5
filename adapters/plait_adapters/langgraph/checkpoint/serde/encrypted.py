"""A serializer around another one, that encrypts what it makes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Self

from plait.codec import DecodingError
from plait.errors import PlaitError
from plait_adapters.langgraph._support import missing

from .base import CipherProtocol, SerializerProtocol
from .jsonplus import JsonPlusSerializer

__all__ = ["EncryptedSerializer"]

_NONCE: Final = 12
"""Bytes, as NIST SP 800-38D has them for AES-GCM."""


class EncryptedSerializer:
    """Encrypts what a serializer makes, and reads nothing that is not encrypted.

    Args:
        cipher: encrypts and decrypts bytes.
        serde: makes the bytes; by default a :class:`JsonPlusSerializer`.
    """

    def __init__(self, cipher: CipherProtocol, serde: SerializerProtocol | None = None) -> None:
        self.cipher = cipher
        self.serde: SerializerProtocol = JsonPlusSerializer() if serde is None else serde

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """How the bytes were made and encrypted, and the bytes."""
        how, content = self.serde.dumps_typed(obj)
        cipher, encrypted = self.cipher.encrypt(content)
        return f"{how}+{cipher}", encrypted

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value that ``dumps_typed`` gave this for.

        Raises:
            DecodingError: it is not encrypted, or was changed.
        """
        how, content = data
        how, plus, cipher = how.rpartition("+")
        if not plus:
            raise DecodingError(
                "it is not encrypted: whoever can write to the store could put it there. Read it "
                "with the serializer that wrote it, and write it anew"
            )
        return self.serde.loads_typed((how, self.cipher.decrypt(cipher, content)))

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> Self:
        """One around a serializer that has more types registered; itself, if they are already, or
        the one within knows of no types."""
        extend = getattr(self.serde, "with_msgpack_allowlist", None)
        inner = self.serde if extend is None else extend(extra_allowlist)
        if inner is self.serde:
            return self
        other = copy(self)
        other.serde = inner
        return other

    @classmethod
    def from_pycryptodome_aes(
        cls, serde: SerializerProtocol | None = None, **kwargs: Any
    ) -> EncryptedSerializer:
        """One with AES-GCM, of the package ``cryptography``.

        Args:
            serde: as for the class.
            kwargs: ``key``: 16, 24 or 32 bytes; by default what the environment variable
                ``LANGGRAPH_AES_KEY`` has. Nothing else: the mode is GCM.

        Raises:
            ValueError: there is no key, or it has another length, or there are other arguments.
        """
        key = kwargs.pop("key", None)
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: not supported; the cipher is AES-GCM")
        if key is None:
            text = os.environ.get("LANGGRAPH_AES_KEY")
            if text is None:
                raise ValueError("give key=, or set the environment variable LANGGRAPH_AES_KEY")
            key = text.encode()
        if len(key) not in {16, 24, 32}:
            raise ValueError(f"the AES key has {len(key)} bytes; it must have 16, 24 or 32")
        return cls(_AesGcm(key), serde)


class _AesGcm:
    """AES-GCM with a random nonce in front of each ciphertext."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise PlaitError(
                "encryption needs the package cryptography: pip install 'plait[encryption]'"
            ) from error
        self._cipher = AESGCM(key)

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        nonce = os.urandom(_NONCE)
        return "aes", nonce + self._cipher.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if ciphername != "aes":
            raise DecodingError(f"it is encrypted with {ciphername!r}, and this cipher is 'aes'")
        try:
            return self._cipher.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise DecodingError("its key is another one, or it was changed") from error


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)
