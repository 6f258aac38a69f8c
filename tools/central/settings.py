"""What a central server is told of its site: ``central.toml``, typed, every key explained in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from edge.alerts.broker import BrokerSettings, TlsSettings
from edge.config import Broker, ConfigError
from edge.config.default_file import toml_value
from edge.config.kinds import File, Name, Port, Section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Address = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class Site(Section):
    """Whose alerts this server receives."""

    name: Name | None = Field(None, description="Only this site's; unset: every site's.")
    keys: File = Field(Path("keys"), description="This server's keys and the devices it believes.")


class Store(Section):
    """Where alerts are kept."""

    database: str = Field(
        "alerts.db",
        pattern=r"^(postgresql://[^\s:/@]+@[^\s/@]+/[^\s/]+|[^:]+)$",
        description="A file (SQLite), or postgresql://USER@HOST:PORT/NAME, which several "
        "processes can share.",
    )
    password_file: File | None = Field(None, description="Its first line is PostgreSQL's password.")
    ca: File | None = Field(
        None, description="Authority of the database's certificate; turns TLS to it on."
    )
    audit: File = Field(Path("audit.db"), description="File of the audit trail.")


class HandOn(Section):
    """Who else is told. Each alert waits in the database until it was taken."""

    lines: File | None = Field(None, description="A file that gets a JSON line an alert.")
    webhook: Address | None = Field(None, description="An address that gets each by HTTP POST.")
    webhook_secret_file: File | None = Field(
        None, description="A file whose first line is the secret that signs each POST (HMAC)."
    )
    fhir: Address | None = Field(
        None, description="Base address of a FHIR R4 server: a transaction an alert."
    )
    fhir_token_file: File | None = Field(
        None, description="A file whose first line is a bearer token for it."
    )
    give_up_h: float = Field(
        72, gt=0, le=8760, description="Hours after which an alert that is not taken is set aside."
    )


class Watch(Section):
    """When silence is an alarm of its own."""

    silent_after_min: float = Field(
        15, gt=0, le=10080, description="Minutes that a device may be offline."
    )
    drill_every_h: float | None = Field(
        None, gt=0, le=8760, description="Hours within which each device must have sent a drill."
    )
    gap_after_min: float = Field(
        15, gt=0, le=10080, description="Minutes that an alert may be missing between others."
    )


class Metrics(Section):
    """Figures for Prometheus."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port | None = Field(None, description="Unset: no figures are served.")


class CentralSettings(Section):
    """One central server."""

    site: Site = Site()
    broker: Broker = Broker()
    store: Store = Store()
    hand_on: HandOn = HandOn()
    watch: Watch = Watch()
    metrics: Metrics = Metrics()

    @field_validator("hand_on")
    @classmethod
    def _signed(cls, hand_on: HandOn) -> HandOn:
        if hand_on.webhook is not None and hand_on.webhook_secret_file is None:
            raise ValueError("webhook needs webhook_secret_file: an unsigned POST proves nothing")
        return hand_on

    def broker_settings(self, client_id: str) -> BrokerSettings:
        """Return how to reach the broker as `client_id`."""
        broker = self.broker
        return BrokerSettings(
            host=broker.host,
            port=broker.port,
            client_id=client_id,
            tls=TlsSettings(broker.ca, broker.cert, broker.key) if broker.tls else None,
            username=broker.username,
            password_file=broker.password_file,
            keepalive_s=broker.keepalive_s,
        )


def read_settings(file: Path) -> CentralSettings:
    """Read ``central.toml``; relative paths in it start at its folder.

    Raises
    ------
    ConfigError
        When it cannot be read, is not TOML, or has a wrong key or value; each is named.
    """
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        msg = f"{file}: {error.strerror}.\n  Make a site with: scanside-central init FOLDER"
        raise ConfigError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file}: not TOML: {error}."
        raise ConfigError(msg) from error
    try:
        settings = CentralSettings.model_validate(raw)
    except ValidationError as error:
        wrong = [
            f"{file}: [{'] '.join(str(part) for part in item['loc'])}: "
            f"{item['msg'].removeprefix('Value error, ')}."
            for item in error.errors()
        ]
        raise ConfigError("\n".join(wrong)) from error
    return _resolved(settings, file.resolve().parent)


def settings_toml(values: dict[str, dict[str, object]]) -> str:
    """Return a commented ``central.toml`` with every key; `values` are set, the others default."""
    lines = ["# A central server of Scanside. A line that starts with '#' and a key is unset."]
    for name, field in CentralSettings.model_fields.items():
        section = type(field.default)
        lines += ["", f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
        for key, spec in section.model_fields.items():
            value = values.get(name, {}).get(key, spec.default)
            lines.append(f"# {spec.description}")
            lines.append(f"# {key} =" if value is None else f"{key} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def first_line(file: Path, what: str) -> str:
    """Return the first line of a file with a secret; raises `ConfigError` when it has none."""
    try:
        line = file.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file}: the file with {what} cannot be read."
        raise ConfigError(msg) from error
    if not line:
        msg = f"{file}: its first line should be {what}; it is empty."
        raise ConfigError(msg)
    return line


def is_postgresql(database: str) -> bool:
    """Return whether the text names a PostgreSQL server and not a file."""
    return re.match(r"postgresql://", database) is not None


def _resolved(settings: CentralSettings, base: Path) -> CentralSettings:
    sections: dict[str, Section] = {}
    for name in type(settings).model_fields:
        section: Section = getattr(settings, name)
        moved: dict[str, object] = {
            key: base / value
            for key in type(section).model_fields
            if isinstance(value := getattr(section, key), Path)
        }
        if isinstance(section, Store) and not is_postgresql(section.database):
            moved["database"] = str(base / section.database)
        sections[name] = section.model_copy(update=moved)
    return settings.model_copy(update=sections)
