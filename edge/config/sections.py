"""The sections of the configuration: every key, its type, its bounds and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from edge.config.dicom import Dicom
from edge.config.folder import Folder
from edge.config.kinds import (
    ConfigError,
    File,
    Groups,
    HostName,
    Name,
    Names,
    Port,
    Section,
)
from edge.config.results import Results
from edge.config.web import Web


class Device(Section):
    """Who this appliance is. Both names appear in MQTT topics."""

    name: Name = Field(
        "scanside-1",
        description="Name of this appliance, unique at the site: letters, digits, dot, "
        "underscore, hyphen.",
    )
    site: Name = Field("hospital", description="Name of the site (hospital or department).")


class Storage(Section):
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
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="A study is erased so many days after its last image came; never before "
        "central has had all that was said of it and its flag was acknowledged. Unset: it is "
        "kept.",
    )
    keep_gb: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="When all images take more, in GB (10^9 bytes), the oldest studies are erased, "
        "on the same conditions. Unset: as much as there is.",
    )


class Analysis(Section):
    """When a series is complete, and what looks at it."""

    packages: File | None = Field(
        None,
        description="Folder of this site's model packages, beside those that ship; unset: models "
        "in the folder of [storage].",
    )
    engines_mb: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Disk for built engines, in MB; above it the least recently used go, but "
        "never one that serves or served before.",
    )
    remote: File | None = Field(
        None,
        description="File that says which models run on a server that speaks KServe V2 "
        "(docs/engines.md); unset: all run here.",
    )
    last_resort_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="A series with no other evidence of completeness is closed after this "
        "much silence, and the alert says so. From the second time on that images came after all, "
        "twice as much is waited for, up to eight times.",
    )
    threads: int = Field(1, ge=1, le=64, description="CPU threads for inference with ONNX Runtime.")
    slice_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="A worker that needs longer for one step is stopped. An image is tried "
        "once more, then left out.",
    )
    load_timeout_s: float = Field(
        300,
        gt=0,
        le=3600,
        description="An engine that takes longer to load is stopped; after three tries its model "
        "does not serve, and the others do.",
    )
    volume_timeout_s: float = Field(
        1800,
        gt=0,
        le=86400,
        description="A model of whole volumes that needs longer for one series is stopped, and the "
        "alert says so.",
    )


class Broker(Section):
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


class Alerts(Section):
    """What an alert says, and when it has arrived."""

    identity: bool = Field(
        False,
        description="Put the patient's identity inside the sealed alert. Off: only a keyed "
        "pseudonym.",
    )
    receipts: bool = Field(
        True,
        description="Send an alert again until the central servers have given their receipts. "
        "Off, for servers that give none: the broker's acknowledgement settles it.",
    )
    receipts_from: Names = Field(
        (),
        description="Names of the servers that owe a receipt; an empty list: each server that "
        "alerts are sealed for.",
    )
    escalate_after_s: float = Field(
        300,
        ge=1,
        le=86400,
        description="An alert without its receipts for so long also goes out on the topic "
        "'escalated', and the console and the metrics say so.",
    )
    drill_every_h: float = Field(
        0,
        ge=0,
        le=8760,
        description="Send a test alarm whenever the last is so many hours old; 0: only by "
        "`scanside drill`. A server that expects them says when one is missed.",
    )
    follow_up: File | None = Field(
        None,
        description="A TOML file with the next look that your protocol has for a flagged finding, "
        "by its code, with its source; see docs/alerts.md. It stands in the alert, on the "
        "console and in the report for the PACS. Unset: none is suggested.",
    )
    key_overlap_days: float = Field(
        30,
        gt=0,
        le=366,
        description="After `scanside keys rotate` the servers believe the old key for so long: "
        "longer than an alert may be held by a broker.",
    )


class Console(Section):
    """The pages for technician, physician and administrator."""

    enabled: bool = Field(True, description="Serve the console.")
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: Port = Field(8443, description="Port to listen on.")
    name: HostName | None = Field(
        None,
        description="Name or address by which browsers reach this appliance; it stands in the "
        "certificate. Unset: the machine's own name.",
    )
    tls: bool = Field(
        True, description="Serve HTTPS. Switch it off on loopback or behind a proxy only."
    )
    cert: File | None = Field(
        None, description="Certificate in PEM; unset: one that the device signs itself."
    )
    key: File | None = Field(None, description="The key of that certificate.")
    behind_https: bool = Field(
        False,
        description="A proxy before the console serves HTTPS: cookies are then for HTTPS alone "
        "although tls is off.",
    )
    session_hours: float = Field(
        12, gt=0, le=168, description="Everybody logs in again after so long: a shift."
    )
    idle_minutes: float = Field(
        60,
        gt=0,
        le=10080,
        description="And after so long without a request. An open board counts as one.",
    )
    metrics_token_file: File | None = Field(
        None,
        description="A file with the token that a monitoring server sends to read /metrics; "
        "this machine needs none.",
    )
    names_on_board: bool = Field(
        False,
        description="Show patients' names on the board to technicians and physicians. Off: the "
        "board, which stands in the room, shows pseudonyms; a study's own page has the name.",
    )
    escalate_after_s: float = Field(
        120,
        gt=0,
        le=86400,
        description="A critical or urgent flag that nobody acknowledged for so long is "
        "escalated: on the board, in the metrics and in the audit.",
    )
    require_certificate: bool = Field(
        False,
        description="Only who has passed the training's test, and not too long ago, may "
        "acknowledge a flag.",
    )
    course: File | None = Field(
        None,
        description="Folder of the site's own course (scanside training copy); unset: the one "
        "that ships with Scanside.",
    )
    cases: File | None = Field(
        None,
        description="Folder of the site's own practice cases, de-identified; they are shown "
        "after those that ship.",
    )


class Oidc(Section):
    """Logging in at the hospital's own log-in (OpenID Connect), beside the accounts here."""

    issuer: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="The provider's address, as it calls itself; unset: no such log-in.",
    )
    client_id: str | None = Field(None, description="This appliance's name at the provider.")
    client_secret_file: File | None = Field(
        None, description="A file that holds the client's secret; unset: a public client."
    )
    scope: str = Field("openid profile", description="What is asked for.")
    name_claim: str = Field(
        "preferred_username", description="The claim that holds the name to show."
    )
    role_claim: str = Field(
        "groups", description="The claim that holds the groups, a text or a list of them."
    )
    technicians: Groups = Field((), description="Groups whose members are technicians.")
    physicians: Groups = Field((), description="Groups whose members are physicians.")
    admins: Groups = Field((), description="Groups whose members are administrators.")
    service: Groups = Field((), description="Groups whose members are service.")


class Log(Section):
    """What the daemon writes to its log. Never patient data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


TlsPair = TypeVar("TlsPair", Dicom, Broker, Results, Console)


class Config(Section):
    """One appliance."""

    device: Device = Device()
    storage: Storage = Storage()
    dicom: Dicom = Dicom()
    folder: Folder = Folder()
    web: Web = Web()
    analysis: Analysis = Analysis()
    broker: Broker = Broker()
    alerts: Alerts = Alerts()
    results: Results = Results()
    console: Console = Console()
    oidc: Oidc = Oidc()
    log: Log = Log()

    @field_validator("dicom", "broker", "results", "console")
    @classmethod
    def _tls_pair(cls, section: TlsPair) -> TlsPair:
        if (section.cert is None) != (section.key is None):
            raise ValueError("cert and key belong together: set both or neither")
        return section

    @field_validator("oidc")
    @classmethod
    def _known_at_the_issuer(cls, oidc: Oidc) -> Oidc:
        if oidc.issuer is not None and oidc.client_id is None:
            raise ValueError("issuer needs a client_id: the appliance's name at the provider")
        return oidc

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


def keys_of(section: str) -> dict[str, FieldInfo]:
    """Return the keys of a section; none when there is no such section."""
    field = Config.model_fields.get(section)
    return type(field.default).model_fields if field is not None else {}


def bounds_of(key: FieldInfo) -> str:
    """Return what numbers a key allows, such as ``1 to 65535``; empty where it has no two ends."""
    least = [f"{one.ge}" for one in key.metadata if isinstance(one, Ge)]
    least += [f"more than {one.gt}" for one in key.metadata if isinstance(one, Gt)]
    most = [f"{one.le}" for one in key.metadata if isinstance(one, Le)]
    return f"{least[0]} to {most[0]}" if least and most else ""
