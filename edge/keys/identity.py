"""What keys are to the rest of the house: who somebody is, and whom one believes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from joserfc.jwk import OKPKey

MAX_RECIPIENTS = 16  # of one message; the device's own console is one of them


@dataclass(frozen=True)
class SigningKey:
    """A private Ed25519 key."""

    kid: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class PrivateKey:
    """A private X25519 key: opens what was sealed for it."""

    kid: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class PublicKey:
    """A public key of somebody, Ed25519 or X25519; `owner` is a name for people."""

    kid: str
    owner: str
    jwk: OKPKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class TrustedDevice:
    """A device that a receiver believes by its signing key, and answers under its sealing key."""

    device: str
    site: str
    key: PublicKey
    sealing: PublicKey


@dataclass(frozen=True)
class TrustedDevices:
    """The devices a receiver believes, by the kid of their signing key.

    A device may have several: while keys rotate, both are believed.
    """

    by_kid: Mapping[str, TrustedDevice]

    def find(self, kid: str) -> TrustedDevice | None:
        """Return the device that signs with `kid`, or None."""
        return self.by_kid.get(kid)


@dataclass(frozen=True)
class TrustedCentral:
    """A central server that may read this device's alerts, and whose receipts it believes."""

    name: str
    signing: PublicKey
    sealing: PublicKey


@dataclass(frozen=True)
class TrustedCentrals:
    """The central servers of a device, by the kid of their signing key."""

    by_kid: Mapping[str, TrustedCentral]

    def find(self, kid: str) -> TrustedCentral | None:
        """Return the server that signs with `kid`, or None."""
        return self.by_kid.get(kid)

    @property
    def readers(self) -> tuple[PublicKey, ...]:
        """Whom alerts are sealed for, in the order of their names."""
        keys = {central.sealing.kid: central.sealing for central in self.by_kid.values()}
        return tuple(sorted(keys.values(), key=lambda key: (key.owner, key.kid)))
