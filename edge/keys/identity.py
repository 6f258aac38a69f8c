"""What keys are to the rest of the house: who somebody is, and whom one believes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

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
    """A device that a receiver believes by its signing key, and answers under its sealing key.

    `until`: it has new keys, and these are believed until then; None: they are its latest.
    """

    device: str
    site: str
    key: PublicKey
    sealing: PublicKey
    until: datetime | None = None


@dataclass(frozen=True)
class TrustedDevices:
    """The devices a receiver believes, by the kid of their signing key.

    A device may have several: while keys rotate, both are believed.
    """

    by_kid: Mapping[str, TrustedDevice]

    def find(self, kid: str) -> TrustedDevice | None:
        """Return the device that signs with `kid`, or None; a key whose time is over is none."""
        found = self.by_kid.get(kid)
        return None if found is None or _over(found.until) else found


@dataclass(frozen=True)
class TrustedCentral:
    """A central server that may read this device's alerts, and whose receipts it believes.

    `until`: it has new keys, and the receipts of these are believed until then.
    """

    name: str
    signing: PublicKey
    sealing: PublicKey
    until: datetime | None = None


@dataclass(frozen=True)
class TrustedCentrals:
    """The central servers of a device, by the kid of their signing key."""

    by_kid: Mapping[str, TrustedCentral]

    def find(self, kid: str) -> TrustedCentral | None:
        """Return the server that signs with `kid`, or None; a key whose time is over is none."""
        found = self.by_kid.get(kid)
        return None if found is None or _over(found.until) else found

    @property
    def readers(self) -> tuple[PublicKey, ...]:
        """Whom alerts are sealed for, in the order of their names: each with its latest key."""
        latest = [central for central in self.by_kid.values() if central.until is None]
        keys = {central.sealing.kid: central.sealing for central in latest}
        return tuple(sorted(keys.values(), key=lambda key: (key.owner, key.kid)))


def _over(until: datetime | None) -> bool:
    return until is not None and datetime.now(timezone.utc) > until
