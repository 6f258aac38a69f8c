"""``[dicom]``: how scanners reach the appliance, in clear and over TLS."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from edge.config.kinds import AeTitle, File, Groups, Names, Port, Section
from edge.config.peers import Address, Peer, address_of, peer_of


class Dicom(Section):
    """How scanners reach the appliance."""

    ae_title: AeTitle = Field(
        "SCANSIDE", description="Called AE title: 1 to 16 characters of ASCII."
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: Port = Field(11112, description="Port to listen on without TLS.")
    cert: File | None = Field(
        None,
        description="This appliance's certificate in PEM, for DICOM over TLS: for TLS servers, "
        "then those of intermediate authorities.",
    )
    key: File | None = Field(None, description="The key of that certificate, without passphrase.")
    ca: File | None = Field(
        None, description="The authority, in PEM, that the senders' certificates must come from."
    )
    crl: File | None = Field(
        None,
        description="Revocation lists of that authority, in PEM, or one in DER: senders whose "
        "certificates are on it are refused. Read again when the file changes.",
    )
    tls_port: Port | None = Field(
        None,
        description="Port to listen on with TLS 1.2 or later, beside the other; 2762 is the "
        "registered one. Senders must show a certificate. Unset: no TLS.",
    )
    tls_peers: Names = Field(
        (),
        description="Names in the certificates (common name, or a DNS name or address of the "
        "alternative names) that may send over TLS; an empty list lets in every certificate of "
        "the authority.",
    )
    plain: bool = Field(
        True,
        description="Listen without TLS too. Switch it off when the last scanner speaks TLS.",
    )
    peers: Groups = Field(
        (),
        description="Calling AE titles that may send, each from anywhere or, as AE@address, from "
        "one address or network (CT1@10.0.0.5, CT2@10.0.1.0/24); an empty list lets every sender "
        "in.",
    )
    report_to: Groups = Field(
        (),
        description="Where scanners are told what became of a Storage Commitment request when "
        "they no longer hold the association: a list of AE@host:port.",
    )
    report_to_tls: Groups = Field(
        (), description="The same for scanners that are reached over TLS, with cert, key and ca."
    )
    max_associations: int = Field(
        20, ge=1, le=200, description="Senders at the same time; more are turned away for now."
    )
    # AES-GCM seals up to 2^31 - 1 bytes at once.
    max_instance_mb: int = Field(
        512, ge=1, le=2000, description="Largest instance taken, in MB (10^6 bytes)."
    )
    inbound_mb: int = Field(
        1024,
        ge=1,
        le=65536,
        description="Memory for instances on their way to disk, all senders together, in MB.",
    )
    network_timeout_s: float = Field(
        60, gt=0, le=3600, description="A sender silent for so long is cut off."
    )

    @field_validator("peers")
    @classmethod
    def _peers(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for text in peers:
            peer_of(text)
        return peers

    @field_validator("crl")
    @classmethod
    def _of_an_authority(cls, crl: Path | None, info: ValidationInfo) -> Path | None:
        if crl is not None and info.data.get("ca") is None:
            raise ValueError("needs ca in [dicom] too: the authority whose list it is")
        return crl

    @field_validator("tls_port")
    @classmethod
    def _all_that_tls_needs(cls, port: Port | None, info: ValidationInfo) -> Port | None:
        if port is None:
            return None
        missing = [key for key in ("cert", "key", "ca") if info.data.get(key) is None]
        if missing:
            raise ValueError(f"needs {' and '.join(missing)} in [dicom] too")
        if port == info.data.get("port"):
            raise ValueError("is the port without TLS too: choose another")
        return port

    @field_validator("plain")
    @classmethod
    def _some_port(cls, plain: bool, info: ValidationInfo) -> bool:
        if not plain and info.data.get("tls_port") is None:
            raise ValueError("no sender could come in: set tls_port, cert, key and ca first")
        return plain

    @field_validator("report_to", "report_to_tls")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for text in addresses:
            address_of(text)
        return addresses

    @field_validator("report_to_tls")
    @classmethod
    def _with_certificates(
        cls, addresses: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if addresses and any(info.data.get(key) is None for key in ("cert", "key", "ca")):
            raise ValueError("needs cert, key and ca in [dicom] too")
        return addresses

    @field_validator("inbound_mb")
    @classmethod
    def _room_for_the_largest(cls, inbound_mb: int, info: ValidationInfo) -> int:
        if inbound_mb < info.data.get("max_instance_mb", 0):
            raise ValueError("is less than max_instance_mb: the largest cannot come in")
        return inbound_mb

    @property
    def known_peers(self) -> tuple[Peer, ...]:
        """Return `peers`, read."""
        return tuple(map(peer_of, self.peers))

    @property
    def report_addresses(self) -> tuple[Address, ...]:
        """Return `report_to`, read."""
        return tuple(map(address_of, self.report_to))

    @property
    def report_tls_addresses(self) -> tuple[Address, ...]:
        """Return `report_to_tls`, read."""
        return tuple(map(address_of, self.report_to_tls))
