"""The certificate: who passed which test with how many points, signed by the appliance.

It is a signed statement (`edge.jose.signature`) of a type of its own. Whoever has the device's
public file can check it years later and elsewhere: `scanside training verify`.
"""

from __future__ import annotations

import calendar
import json
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timezone

from edge.alerts.message import new_id
from edge.jose.envelope import Refusal, SealError
from edge.jose.signature import Statement
from edge.keys import SigningKey, TrustedDevices
from edge.timestamps import rfc3339
from edge.training.content import Course
from edge.training.paper import Marks

CERTIFICATE = Statement("scanside-certificate+jws", {"created": str, "dev": str})
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is certified.

    Parameters
    ----------
    id : str
        UUIDv7.
    name, role : str
        Of the person who passed.
    course, version : str
    score, of, needed : int
        Right answers, questions, and how many must be right.
    issued, expires : str
        Days, ISO 8601. It holds through the day on which it expires.
    device, site : str
        Who certifies.
    """

    id: str
    name: str
    role: str
    course: str
    version: str
    score: int
    of: int
    needed: int
    issued: str
    expires: str
    device: str
    site: str

    def holds(self, today: date) -> bool:
        """Return whether it is valid on a day."""
        return self.issued <= today.isoformat() <= self.expires


def certify(
    name: str, role: str, course: Course, marks: Marks, *, device: str, site: str, today: date
) -> Certificate:
    """Return the certificate for a test that was passed.

    Raises
    ------
    ValueError
        When it was not passed.
    """
    if not marks.passed:
        raise ValueError(f"{marks.score} of {marks.of} right answers do not pass.")
    return Certificate(
        id=new_id(),
        name=name,
        role=role,
        course=course.id,
        version=course.version,
        score=marks.score,
        of=marks.of,
        needed=marks.needed,
        issued=today.isoformat(),
        expires=months_later(today, course.valid_months).isoformat(),
        device=device,
        site=site,
    )


def months_later(day: date, months: int) -> date:
    """Return the same day so many months later, or the last day of a shorter month."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def sign(certificate: Certificate, signer: SigningKey) -> str:
    """Return the certificate as a compact JWS."""
    body = json.dumps({"certificate": _VERSION, **asdict(certificate)}, sort_keys=True).encode()
    created = rfc3339(datetime.now(timezone.utc))
    return CERTIFICATE.sign(body, {"created": created, "dev": certificate.device}, signer).decode()


def verify(signed: str, trusted: TrustedDevices) -> Certificate:
    """Read a certificate and check who signed it.

    Parameters
    ----------
    signed : str
        The compact JWS, as it was printed or saved.
    trusted : TrustedDevices
        Whose certificates count.

    Raises
    ------
    SealError
        When it is no certificate, was altered, or was signed by somebody else.
    """
    message = signed.strip().encode()
    header = CERTIFICATE.read_header(message)
    device = trusted.find(header["kid"])
    if device is None:
        raise SealError(Refusal.UNKNOWN_DEVICE, "signed with a key that is not trusted here")
    body = json.loads(CERTIFICATE.verify(message, device.key))
    names = {field.name: field.type for field in fields(Certificate)}
    if not isinstance(body, dict) or body.pop("certificate", None) != _VERSION:
        raise SealError(Refusal.MALFORMED, f"not a certificate of version {_VERSION}")
    if body.keys() != names.keys():
        raise SealError(Refusal.MALFORMED, "the certificate has other members than it should")
    if body["device"] != device.device:
        raise SealError(Refusal.MISMATCH, "it names another device than its key")
    return Certificate(**body)
