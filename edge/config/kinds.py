"""What values a key of the configuration may have, and what every section is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

Port = Annotated[int, Field(ge=1, le=65535)]
# A level of an MQTT topic: letters, digits, dot, underscore, hyphen.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
# What a central server may be called (edge.alerts.topics.check_name): printable ASCII.
ServerName = Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]
# Printable ASCII without backslash, and not of spaces alone (PS3.5 table 6.2-1).
AeTitle = Annotated[str, Field(max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")]
# TOML has no type for these: a text and a list are what it gives.
# A DNS name in ASCII or an address (RFC 1123 section 2.1, RFC 4291 section 2.2).
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9:][A-Za-z0-9:.-]{0,252}$")]
File = Annotated[Path, Strict(False)]
Names = Annotated[tuple[ServerName, ...], Strict(False)]
Groups = Annotated[tuple[str, ...], Strict(False)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names file, line, key and what is allowed."""


class Section(BaseModel):
    """One table of the file. Unknown keys are refused."""

    # Strict: "8883" is not taken for a number, nor true for 1.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)
