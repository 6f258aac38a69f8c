"""``[results]``: what goes to the hospital's PACS, and how it is reached."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from edge.config.kinds import AeTitle, File, HostName, Port, Section


class Results(Section):
    """Reports and key images for the hospital's PACS. They name the patient, as the images do."""

    host: HostName | None = Field(None, description="Name or address of the PACS.")
    port: Port = Field(104, description="Its port; 104 and 11112 are usual, 2762 with TLS.")
    ae_title: AeTitle = Field(
        "PACS", description="Its AE title. Ours is that of [dicom]: the PACS must know it."
    )
    enabled: bool = Field(
        False, description="Send a report, and the key images of what is flagged, of each study."
    )
    key_images: bool = Field(
        True, description="Send key object selections too; off: reports alone, which name them."
    )
    heatmaps: bool = Field(
        False,
        description="Send a picture of each flagged finding too: its key image with the heatmap, a "
        "Secondary Capture with the notice in its pixels.",
    )
    not_analysed: bool = Field(
        False,
        description="Also send a report of studies that no model looked at. Off: the console and "
        "central alone tell of them; one that takes the place of an earlier report is always sent.",
    )
    tls: bool = Field(
        False,
        description="TLS 1.2 or later. Without it, names and findings cross the network clear.",
    )
    tls_name: HostName | None = Field(
        None, description="The name in the PACS's certificate; unset: the same as host."
    )
    ca: File | None = Field(
        None, description="Authority of the PACS's certificate, in PEM; unset: the system's."
    )
    cert: File | None = Field(
        None, description="Our certificate, in PEM, where the PACS wants to see one."
    )
    key: File | None = Field(None, description="The key of that certificate.")
    timeout_s: float = Field(
        30, gt=0, le=3600, description="A PACS silent for so long counts as away."
    )

    @field_validator("enabled")
    @classmethod
    def _somewhere(cls, enabled: bool, info: ValidationInfo) -> bool:
        if enabled and info.data.get("host") is None:
            raise ValueError("needs host in [results] too: the name or address of the PACS")
        return enabled
