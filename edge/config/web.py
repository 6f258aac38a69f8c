"""``[web]``: images that come over HTTP (DICOMweb STOW-RS)."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from edge.config.kinds import File, Port, Section


class Web(Section):
    """Images that come over HTTP: DICOMweb, Store Transaction (STOW-RS)."""

    token_file: File | None = Field(
        None,
        description="A file with the token that senders show (Authorization: Bearer), of 16 "
        "characters or more; without one nobody may send.",
    )
    cert: File | None = Field(
        None, description="Certificate in PEM, then those of intermediate authorities."
    )
    key: File | None = Field(None, description="The key of that certificate.")
    tls: bool = Field(
        True, description="Serve HTTPS. Switch it off on loopback or behind a proxy only."
    )
    enabled: bool = Field(False, description="Take images in over HTTP.")
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: Port = Field(8042, description="Port to listen on.")
    max_requests: int = Field(
        8, ge=1, le=100, description="Requests at the same time; more are told to come again."
    )

    @field_validator("enabled")
    @classmethod
    def _complete(cls, enabled: bool, info: ValidationInfo) -> bool:
        if enabled and info.data.get("token_file") is None:
            raise ValueError("needs token_file: without a token everybody could send")
        if (
            enabled
            and info.data.get("tls")
            and None in (info.data.get("cert"), info.data.get("key"))
        ):
            raise ValueError("needs cert and key, or tls = false behind a proxy")
        return enabled
