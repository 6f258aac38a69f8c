"""Encryption at rest: a key per study, wrapped by the device key.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce a record; study keys are wrapped with
AES key wrap (RFC 3394). To destroy a study's key is to erase the study.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
_DAMAGED = "Stored bytes are damaged or were exchanged."


class SealBroken(ValueError):
    """Stored bytes do not open with their key: damaged, exchanged, or another device's."""


class StudyKey:
    """The key of one study.

    Parameters
    ----------
    raw : bytes
        32 bytes.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._cipher = AESGCM(raw)

    def __repr__(self) -> str:
        return "StudyKey(...)"

    @classmethod
    def new(cls) -> StudyKey:
        """Make a key from the system's random source."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def unwrap(cls, wrapped: bytes, device_key: bytes) -> StudyKey:
        """Open a wrapped key.

        Raises
        ------
        SealBroken
            If it was wrapped by another device key.
        """
        try:
            return cls(aes_key_unwrap(device_key, wrapped))
        except InvalidUnwrap as error:
            raise SealBroken(
                "A study's key does not open with this device's storage key. "
                "Check [storage] keys: the keys of another device may be in that folder."
            ) from error

    def wrapped(self, device_key: bytes) -> bytes:
        """Return the key under `device_key`, 40 bytes."""
        return aes_key_wrap(device_key, self.raw)

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Encrypt `data`; it opens again only for the same `place`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt what `seal` made for `place`.

        Raises
        ------
        SealBroken
            If the bytes or their place were changed.
        """
        if len(sealed) < OVERHEAD_BYTES:
            raise SealBroken(_DAMAGED)
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except InvalidTag as error:
            raise SealBroken(_DAMAGED) from error
