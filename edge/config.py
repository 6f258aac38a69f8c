"""The one configuration of an appliance: TOML, typed, every key documented here.

The default file that ``scanside config init`` writes is made from the descriptions below,
so a key cannot be documented in one place and read in another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Port = Annotated[int, Field(ge=1, le=65535)]
# A level of an MQTT topic: letters, digits, dot, underscore, hyphen.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
# Printable ASCII without backslash, and not of spaces alone (PS3.5 table 6.2-1).
AeTitle = Annotated[str, Field(max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")]
# TOML has no type for these: a text and a list are what it gives.
File = Annotated[Path, Strict(False)]
Titles = Annotated[tuple[AeTitle, ...], Strict(False)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names file, line, key and what is allowed."""


class _Section(BaseModel):
    # Strict: "8883" is not taken for a number, nor true for 1.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)


class Device(_Section):
    """Who this appliance is. Both names appear in MQTT topics."""

    name: Name = Field(
        "scanside-1",
        description="Name of this appliance, unique at the site: letters, digits, dot, "
        "underscore, hyphen.",
    )
    site: Name = Field("hospital", description="Name of the site (hospital or department).")


class Storage(_Section):
    """Where studies and keys are kept."""

    folder: File = Field(
        Path("/var/lib/scanside"),
        description="Encrypted studies and the journal. A relative path starts at this file.",
    )
    keys: File = Field(
        Path("/etc/scanside/keys"), description="The device's keys (scanside keys init)."
    )
    reserve_mb: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Free disk kept for the journal and the alerts: below it, "
        "new images are answered with 0xA700 (out of resources).",
    )


class Dicom(_Section):
    """How scanners reach the appliance."""

    ae_title: AeTitle = Field(
        "SCANSIDE", description="Called AE title: 1 to 16 characters of ASCII."
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: Port = Field(11112, description="Port to listen on.")
    peers: Titles = Field(
        (),
        description="Calling AE titles that may send; an empty list lets every sender in.",
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


class Analysis(_Section):
    """When a series is complete, and what looks at it."""

    packages: File | None = Field(
        None, description="Folder of model packages; unset: those that ship with Scanside."
    )
    last_resort_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="A series with no other evidence of completeness is closed after this "
        "much silence, and the alert says so.",
    )
    threads: int = Field(1, ge=1, le=64, description="CPU threads for inference with ONNX Runtime.")
    slice_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="A worker that needs longer for one step is stopped, and the study is "
        "tried once more.",
    )


class Broker(_Section):
    """Where alerts go."""

    host: str = Field("localhost", min_length=1, description="Name or address of the broker.")
    port: Port = Field(8883, description="8883 with TLS, usually 1883 without.")
    tls: bool = Field(True, description="TLS 1.2 or later. Switch it off on loopback only.")
    ca: File | None = Field(None, description="Authority of the broker; unset: the system's.")
    cert: File | None = Field(None, description="This device's certificate, for mutual TLS.")
    key: File | None = Field(None, description="The key of that certificate.")
    username: str | None = Field(None, description="User name, where the broker asks for one.")
    password_file: File | None = Field(None, description="A file that holds the password.")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep alive.")


class Alerts(_Section):
    """What an alert says."""

    identity: bool = Field(
        False,
        description="Put the patient's identity inside the sealed alert. Off: only a keyed "
        "pseudonym.",
    )


class Log(_Section):
    """What the daemon writes to its log. Never patient data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


class Config(_Section):
    """One appliance."""

    device: Device = Device()
    storage: Storage = Storage()
    dicom: Dicom = Dicom()
    analysis: Analysis = Analysis()
    broker: Broker = Broker()
    alerts: Alerts = Alerts()
    log: Log = Log()

    @field_validator("broker")
    @classmethod
    def _tls_pair(cls, broker: Broker) -> Broker:
        if (broker.cert is None) != (broker.key is None):
            raise ValueError("cert and key belong together: set both or neither")
        return broker

    @field_validator("dicom")
    @classmethod
    def _room_for_the_largest(cls, dicom: Dicom) -> Dicom:
        if dicom.inbound_mb < dicom.max_instance_mb:
            raise ValueError("inbound_mb is less than max_instance_mb: the largest cannot come in")
        return dicom

    def check_names(self, device: str, site: str) -> None:
        """Refuse keys that were made for another device: alerts would carry another name.

        Raises
        ------
        ConfigError
            If the names differ.
        """
        if (device, site) != (self.device.name, self.device.site):
            raise ConfigError(
                f"The keys in {self.storage.keys} are of device {device!r} at site {site!r}, "
                f"the configuration says {self.device.name!r} at {self.device.site!r}.\n"
                "  Set [device] name and site to the keys', or make keys for the new names with "
                "`scanside keys init` in an empty folder."
            )


def load_config(path: Path) -> Config:
    """Read and validate a configuration; relative paths in it start at the file's folder.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or has a wrong key or value. The text names
        every wrong key with its line, its value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}.\n"
            f"  Write a commented default with: scanside config init {path}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from error
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_describe(path, text, raw, item) for item in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    return _resolve(config, path.resolve().parent)


def _resolve(config: Config, base: Path) -> Config:
    """Return `config` with every relative path made absolute against `base`."""
    sections: dict[str, _Section] = {}
    for name in type(config).model_fields:
        section: _Section = getattr(config, name)
        moved = {
            key: base / value
            for key in type(section).model_fields
            if isinstance(value := getattr(section, key), Path)
        }
        sections[name] = section.model_copy(update=moved)
    return config.model_copy(update=sections)


def _describe(path: Path, text: str, raw: dict[str, Any], item: ErrorDetails) -> str:
    """Say what is wrong with one key, for the person who can mend it."""
    section, *rest = [str(part) for part in item["loc"]]
    key = rest[0] if rest else ""
    name = f"[{section}] {key}".rstrip()
    where = f"{path} line {_line_of(text, section, key)}"
    if item["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(section) if key else _known_sections())
        return f"{where}: there is no {name}.\n  Known: {known}."
    value = raw.get(section)
    if key and isinstance(value, dict):
        value = value.get(key)
    shown = "" if isinstance(value, dict) or not key else f" = {_toml_value(value)}"
    what = item["msg"].removeprefix("Value error, ")
    wrong = _NOT_OF_TYPE.get(item["type"], f": {what[0].lower()}{what[1:]}")
    return f"{where}: {name}{shown}{wrong}.{_hint(section, key)}"


_NOT_OF_TYPE = {
    "int_type": " is not a whole number",
    "float_type": " is not a number",
    "bool_type": " is neither true nor false",
    "string_type": " is not a text in quotes",
    "path_type": " is not a path in quotes",
    "tuple_type": " is not a list",
    "model_type": " is not a section",
    "string_pattern_mismatch": " is too long, empty, or has characters that are not allowed",
}


def _known_sections() -> list[str]:
    return [f"[{name}]" for name in Config.model_fields]


def _known_keys(section: str) -> list[str]:
    return list(_fields(section))


def _fields(section: str) -> dict[str, FieldInfo]:
    """Return the keys of a section; none when there is no such section."""
    field = Config.model_fields.get(section)
    return type(field.default).model_fields if field is not None else {}


def _hint(section: str, key: str) -> str:
    field = _fields(section).get(key)
    if field is None:
        return ""
    bounds = field.metadata
    least = [f"{one.ge}" for one in bounds if isinstance(one, Ge)]
    least += [f"more than {one.gt}" for one in bounds if isinstance(one, Gt)]
    most = [f"{one.le}" for one in bounds if isinstance(one, Le)]
    allowed = f" Allowed: {least[0]} to {most[0]}." if least and most else ""
    return f"\n  {field.description}{allowed}"


def _line_of(text: str, section: str, key: str) -> int:
    """Return the 1-based line of `key` in `section`, or of the section when the key is absent."""
    current, found = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if table := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]", line):
            current = table[1]
            if current == section:
                found = number
        name = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line)
        if name and (
            (current == section and name[1] == key) or (not current and name[1] == section)
        ):
            return number
    return found


def default_toml() -> str:
    """Return a configuration file with every key, its meaning and its default."""
    return "\n".join(_default_lines()) + "\n"


def _default_lines() -> Iterator[str]:
    yield "# Scanside's configuration. Every key is here; a line that starts with '#' and a"
    yield "# key is unset or at its default. Check your changes with: scanside check --config FILE"
    for name, field in Config.model_fields.items():
        yield ""
        yield f"# {(type(field.default).__doc__ or '').strip()}"
        yield f"[{name}]"
        for key, spec in _fields(name).items():
            yield from _wrapped(spec.description or "")
            example = "" if spec.default is None else _toml_value(spec.default)
            yield f"{key} = {example}" if example else f"# {key} ="


def _wrapped(text: str, width: int = 92) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + len(word) >= width:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
