"""For ``scanside check``: are the ports free, the certificates good, the scanners reached?"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone

from edge.config import Config, Dicom
from edge.grades import CheckResult, Grade
from edge.intake.tls import Credentials, DicomTlsError
from edge.keys.checking import validity
from edge.keys.revocation import RevocationLists
from edge.store.commitments import unreported
from edge.store.journal import Journal, JournalError

_REPORT_S = 600.0  # a scanner that is there has its storage commitment report long before


def check_dicom(config: Config) -> Iterator[CheckResult]:
    """Say whether scanners reach the appliance, and it them."""
    settings = config.dicom
    if settings.plain:
        yield _port("dicom", "port", settings.port, settings)
    if settings.tls_port is not None:
        yield _port("dicom over tls", "tls_port", settings.tls_port, settings)
    if settings.tls_port is not None or settings.report_to_tls:
        yield from _certificates(settings)
    yield from _commitments(config)


def _certificates(settings: Dicom) -> Iterator[CheckResult]:
    try:
        credentials = Credentials(settings)
    except DicomTlsError as error:
        yield CheckResult("dicom certificate", Grade.BAD, str(error))
        return
    for name, key, certificate in (
        ("dicom certificate", "cert", credentials.certificate),
        ("dicom senders' authority", "ca", credentials.authority),
    ):
        advice = f"Put a new one at [dicom] {key}; it is used at once."
        yield validity(name, certificate, advice)
    if credentials.revoked is not None:
        yield _revocation(credentials.revoked.state.lists)


def _revocation(lists: RevocationLists) -> CheckResult:
    name, until = "dicom revocation list", lists.until
    text = f"{lists.revoked} certificates taken back"
    text += "" if until is None else f", to be replaced by {until:%Y-%m-%d %H:%M} UTC"
    if lists.late(datetime.now(timezone.utc)):
        advice = "What it names is refused all the same. Put a new one at [dicom] crl."
        return CheckResult(name, Grade.WARNING, f"{text}: LATE", advice)
    if lists.unlisted:
        text += f"; there is no list of {', '.join(lists.unlisted)}"
        advice = "Every certificate of theirs comes in. Add their lists to [dicom] crl."
        return CheckResult(name, Grade.WARNING, text, advice)
    return CheckResult(name, Grade.GOOD, text)


def _commitments(config: Config) -> Iterator[CheckResult]:
    file = config.storage.folder / "journal.db"
    if not file.exists():
        return
    try:
        with closing(Journal(file, read_only=True)) as journal:
            waiting = unreported(journal, time.time() - _REPORT_S)
    except JournalError:
        return  # said of the journal
    if waiting:
        told = ", ".join(f"{number} for {name!r}" for name, number in waiting.items())
        yield CheckResult(
            "storage commitment",
            Grade.WARNING,
            f"reports wait: {told}",
            "Scanside must reach a scanner that does not wait for its report: [dicom] report_to.",
        )


def _port(name: str, key: str, port: int, settings: Dicom) -> CheckResult:
    where = f"{settings.host}:{port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, port))
        except OSError as error:
            return CheckResult(
                name,
                Grade.WARNING,
                f"{where} is in use ({error.strerror})",
                f"That is right while the daemon runs; else choose another [dicom] {key}.",
            )
    return CheckResult(name, Grade.GOOD, f"{where} is free for {settings.ae_title}")
