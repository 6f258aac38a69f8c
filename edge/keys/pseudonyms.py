"""A patient's pseudonym: the same for every study on this device, useless without its key."""

from __future__ import annotations

import base64
import hashlib
import hmac

_DOMAIN = b"scanside/pseudonym/v1"


def pseudonym(key: bytes, issuer: str, patient_id: str) -> str:
    """Return the keyed pseudonym of a patient: the same for every study, useless without the key.

    Parameters
    ----------
    key : bytes, shape (32,)
        `DeviceKeys.pseudonym`.
    issuer, patient_id : str
        DICOM (0010,0021) and (0010,0020). Leading and trailing spaces do not count
        (PS3.5 section 6.2, LO).

    Returns
    -------
    str
        26 characters of base32 (RFC 4648): 130 bits of HMAC-SHA256 (RFC 2104).
    """
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    who = issuer.strip().encode()
    text = b"%s\0%d:%s:%s" % (_DOMAIN, len(who), who, patient_id.strip().encode())
    return base64.b32encode(hmac.new(key, text, hashlib.sha256).digest())[:26].decode()
