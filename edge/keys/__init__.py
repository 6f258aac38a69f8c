"""The keys of a device and of a central server: files, who may read them, what they are for.

A private folder (0700) holds one JWK a file (RFC 7517, 0600). Its `*.public.json` is what
one hands to the other side: no secret is in it. A key is known by its RFC 7638 thumbprint.

=============== =========== ============================================================
file            kind        for
=============== =========== ============================================================
signing.jwk     Ed25519     signing alerts (device), receipts (central)
sealing.jwk     X25519      opening what is sealed for us; a device can read its own alerts
storage.jwk     32 bytes    wrapping the study keys of the spool (device)
pseudonym.jwk   32 bytes    the patients' pseudonyms (device)
=============== =========== ============================================================
"""

from edge.key_files import KeyFileError
from edge.keys.identity import (
    PrivateKey,
    PublicKey,
    SigningKey,
    TrustedCentral,
    TrustedCentrals,
    TrustedDevice,
    TrustedDevices,
)
from edge.keys.own import (
    CENTRAL_PUBLIC,
    DEVICE_PUBLIC,
    CentralKeys,
    DeviceKeys,
    init_central,
    init_device,
)
from edge.keys.peers import (
    add_recipient,
    load_centrals,
    load_recipients,
    load_trusted,
    remove_recipient,
    trust_device,
)
from edge.keys.pseudonyms import pseudonym
from edge.keys.ring import KeyRing, KeySet

__all__ = [
    "CENTRAL_PUBLIC",
    "DEVICE_PUBLIC",
    "CentralKeys",
    "DeviceKeys",
    "KeyFileError",
    "KeyRing",
    "KeySet",
    "PrivateKey",
    "PublicKey",
    "SigningKey",
    "TrustedCentral",
    "TrustedCentrals",
    "TrustedDevice",
    "TrustedDevices",
    "add_recipient",
    "init_central",
    "init_device",
    "load_centrals",
    "load_recipients",
    "load_trusted",
    "pseudonym",
    "remove_recipient",
    "trust_device",
]
