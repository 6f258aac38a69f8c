"""For ``scanside check``: how long a certificate is still good."""

from __future__ import annotations

from datetime import datetime, timezone

from edge.grades import CheckResult, Grade
from edge.keys.tls import RENEW_DAYS, TlsCertificate


def validity(name: str, certificate: TlsCertificate, advice: str) -> CheckResult:
    """Say how long a certificate is still good."""
    days = certificate.days_left(datetime.now(timezone.utc))
    text = f"{certificate.name}, by {certificate.issuer}, until {certificate.until:%Y-%m-%d}"
    if days < 0:
        return CheckResult(name, Grade.BAD, f"{text}: EXPIRED", advice)
    if days < RENEW_DAYS:
        return CheckResult(name, Grade.WARNING, f"{text}, {days} days", advice)
    return CheckResult(name, Grade.GOOD, text)
