"""What mosquitto is told of a site: its configuration and who may do what.

Pure text. The user name of a connection is the common name of its certificate, so that a device
can write below its own name and nowhere else, whatever its software does. Sources:
mosquitto.conf(5), MQTT 5.0 section 5.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.alerts.topics import (
    ROOT,
    central_keys_filter,
    central_keys_topic,
    keys_filter,
)
from edge.jose.envelope import MAX_MESSAGE
from edge.names import check_name

_CONFIGURATION = """\
# Made by scanside-central init; yours to change. mosquitto 2 or newer.
per_listener_settings false
listener {port}{address}
cafile {folder}/ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
crlfile {folder}/crl.pem
tls_version tlsv1.2

# Who has no certificate of this site is nobody here; its common name is the user name.
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder}/acl

# Bounds, so that one client cannot take the broker from the others.
max_connections {connections}
max_packet_size {packet}
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 1073741824
memory_limit 2147483648
max_keepalive 120

# Nagle's algorithm would hold an alert back for 40 ms.
set_tcp_nodelay true

# Sessions and states survive a restart. What was not yet saved in a power cut is sent again:
# a device keeps an alert until a server's receipt is in.
persistence true
persistence_location {folder}/data/
autosave_interval 30
persistent_client_expiration 14d
pid_file {folder}/mosquitto.pid
log_dest file {folder}/mosquitto.log
log_type error
log_type warning
log_type notice
connection_messages true
"""

_HEAD = """\
# Made by scanside-central; `enrol` and `revoke` write it anew, mosquitto reads it again on SIGHUP.
# No user: nobody may do anything.
"""


@dataclass(frozen=True)
class BrokerPlace:
    """Where the broker listens.

    Parameters
    ----------
    folder : Path
        With its certificate, key, rules and data, on the machine it runs on.
    port : int
    address : str
        To bind to; empty: every address of the machine.
    connections : int
        How many clients at once.
    """

    folder: Path
    port: int
    address: str = ""
    connections: int = 4000


def configuration(place: BrokerPlace) -> str:
    """Return mosquitto.conf."""
    return _CONFIGURATION.format(
        folder=place.folder,
        port=place.port,
        address=f" {place.address}" if place.address else "",
        connections=place.connections,
        packet=MAX_MESSAGE + 1024,  # the largest alert, its topic and its properties
    )


def access_rules(site: str, servers: Iterable[str], devices: Iterable[str]) -> str:
    """Return the file of access rules.

    Parameters
    ----------
    site : str
    servers, devices : iterable of str
        Common names of certificates.

    Raises
    ------
    InvalidNameError
        When a name cannot stand in a topic: in a rule it could give more than it should.
    """
    level = check_name(site, "site")
    servers_rules = (
        f"user {check_name(server, 'name')}\n"
        f"topic read {ROOT}/{level}/+/alert/+\n"
        f"topic read {ROOT}/{level}/+/escalated/+\n"
        f"topic read {ROOT}/{level}/+/feedback\n"
        f"topic read {ROOT}/{level}/+/state\n"
        f"topic write {ROOT}/{level}/+/receipt\n"
        f"topic read {keys_filter(site)}\n"
        f"topic write {central_keys_topic(server)}\n"
        for server in servers
    )
    devices_rules = (_device_rules(level, device) for device in devices)
    return "\n".join([_HEAD, *servers_rules, *devices_rules])


def _device_rules(level: str, device: str) -> str:
    own = f"{ROOT}/{level}/{check_name(device, 'device')}"
    return (
        f"user {device}\n"
        f"topic write {own}/alert/+\n"
        f"topic write {own}/escalated/+\n"
        f"topic write {own}/feedback\n"
        f"topic write {own}/state\n"
        f"topic read {own}/receipt\n"
        f"topic write {own}/keys\n"
        f"topic read {central_keys_filter()}\n"
    )
