"""``[folder]``: images that come as files."""

from __future__ import annotations

from pydantic import Field

from edge.config.kinds import File, Section


class Folder(Section):
    """A folder whose files are taken in as over DICOM, and removed once they are safe here."""

    path: File | None = Field(
        None,
        description="The folder, with all below it; unset: none is watched. What is refused is put "
        "aside in its folder 'refused'. Files lie there in clear until they are taken.",
    )
    quiet_s: float = Field(
        5,
        gt=0,
        le=3600,
        description="A file of which the system does not say that it was closed is taken when it "
        "has not changed for so long; and what comes within it belongs together.",
    )
    polling: bool = Field(
        False,
        description="Look every two seconds and expect no word from the system: for a folder on "
        "another machine.",
    )
