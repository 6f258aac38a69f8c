"""Every way by which images come in: opened together, watched together, closed together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone

from edge.config import Config
from edge.imaging.header import Limits
from edge.intake.dicom import DicomDoor, IntakeCounts
from edge.intake.events import Heard
from edge.intake.folder import FolderCounts, FolderDoor, FolderError
from edge.intake.ports import PortTaken
from edge.intake.revoked import RevocationState
from edge.intake.taking import Taker
from edge.intake.web import WebCounts, WebDoor
from edge.keys.tls import RENEW_DAYS
from edge.store.studies import Store

log = logging.getLogger("scanside.intake")


class DoorError(RuntimeError):
    """A door cannot be opened; the text says why and what to do."""


class Doors:
    """DICOM; a watched folder and DICOMweb where they are configured.

    Parameters
    ----------
    config : Config
    store : Store
        Where instances go.
    pseudonym : callable
        Makes a patient's keyed pseudonym from issuer and patient ID.
    tell : callable
        Is told what comes and ends; must not block.
    on_revoked : callable
        Is told of each sender whose certificate was taken back: whose it is, and the address.

    Raises
    ------
    DicomTlsError, ConfigError
        If certificate, key or authority of DICOM over TLS, or DICOMweb's token, cannot be used.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        pseudonym: Callable[[str, str], str],
        tell: Callable[[Heard], None],
        on_revoked: Callable[[str, str], None],
    ) -> None:
        self._config = config
        self._open = ExitStack()
        self._dicom = DicomDoor(config.dicom, store, pseudonym, tell, on_revoked)
        watched = config.folder.path
        limits = Limits(max_bytes=config.dicom.max_instance_mb * 1_000_000)
        taker = Taker(store, pseudonym, tell)
        self._folder = (
            FolderDoor(config.folder, watched, config.storage.folder, taker, limits, tell)
            if watched is not None
            else None
        )
        silence_s = config.dicom.network_timeout_s
        self._web = (
            WebDoor(config.web, taker, limits, self._dicom.budget, silence_s, tell)
            if config.web.enabled
            else None
        )

    @property
    def counts(self) -> IntakeCounts:
        """What senders over DICOM did since the start."""
        return self._dicom.counts

    @property
    def revocation(self) -> RevocationState | None:
        """How ``[dicom] crl`` stands; None where there is none."""
        return self._dicom.revocation

    @property
    def senders(self) -> int:
        """How many are connected over DICOM."""
        return self._dicom.senders

    @property
    def instances(self) -> dict[str, int]:
        """Instances by what became of them, since the start."""
        dicom = self._dicom.counts
        files = FolderCounts() if self._folder is None else self._folder.counts
        web = WebCounts() if self._web is None else self._web.counts
        return {
            "stored": dicom.stored + files.stored + web.stored,
            "repeated": dicom.repeated + files.repeated + web.repeated,
            "refused": dicom.refused + files.refused + web.refused,
        }

    @property
    def running(self) -> bool:
        """Whether none has stopped by itself."""
        doors = (self._dicom, self._folder, self._web)
        return all(door is None or door.running for door in doors)

    def open(self) -> None:
        """Open every door, or none.

        Raises
        ------
        DoorError
            If a port is taken, or a folder cannot be watched.
        """
        with ExitStack() as opened:
            self._open_dicom()
            opened.callback(self._dicom.close)
            if self._folder is not None:
                self._open_folder(self._folder)
                opened.callback(self._folder.close)
            if self._web is not None:
                self._open_web(self._web)
                opened.callback(self._web.close)
            self._open = opened.pop_all()

    def close(self) -> None:
        """Close every door."""
        self._open.close()

    def _open_dicom(self) -> None:
        try:
            self._dicom.open()
        except PortTaken as error:
            raise DoorError(
                f"DICOM cannot listen on {error.filename}: {error.strerror}.\n"
                "  Another program may use the port: choose another [dicom] port or tls_port."
            ) from error

    def _open_folder(self, folder: FolderDoor) -> None:
        try:
            folder.open()
        except FolderError as error:
            raise DoorError(str(error)) from error

    def _open_web(self, web: WebDoor) -> None:
        settings = self._config.web
        try:
            web.open()
        except OSError as error:
            raise DoorError(
                f"DICOMweb cannot listen on {settings.host}:{settings.port}: {error.strerror}.\n"
                "  Another program may use the port: choose another [web] port."
            ) from error

    def announce(self) -> None:
        """Say in the log where images may come in."""
        self._announce_dicom()
        if self._folder is not None:
            log.info("Files are taken in from %s", self._config.folder.path)
        if self._web is not None:
            scheme, host = "https" if self._config.web.tls else "http", self._config.web.host
            log.info("DICOMweb: STOW-RS at %s://%s:%d/studies", scheme, host, self._web.port)

    def _announce_dicom(self) -> None:
        dicom = self._config.dicom
        if dicom.plain:
            log.info("DICOM: %s listens on %s:%d", dicom.ae_title, dicom.host, self._dicom.port)
        certificate = self._dicom.certificate
        if certificate is None:
            return
        log.info(
            "DICOM over TLS: %s listens on %s:%d as %s, by %s, until %s",
            dicom.ae_title,
            dicom.host,
            self._dicom.tls_port,
            certificate.name,
            certificate.issuer,
            f"{certificate.until:%Y-%m-%d}",
        )
        revocation = self._dicom.revocation
        if revocation is not None:
            log.info("Revocation list: %s, %d certificates", dicom.crl, revocation.lists.revoked)
        days = certificate.days_left(datetime.now(timezone.utc))
        if days < RENEW_DAYS:
            log.warning(
                "The certificate for DICOM over TLS %s: put a new one at [dicom] cert",
                "has EXPIRED" if days < 0 else f"has {days} days left",
            )
