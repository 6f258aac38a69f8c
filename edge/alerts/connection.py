"""One MQTT 5 connection, driven by one thread.

paho's own network loop is not used: with a second thread every message would cross a queue
and every variable would want a lock. Here the caller's thread waits on the socket and on
its own wake-up, hands paho what came in, and takes acknowledgements and messages out of
plain queues. Nothing in this module is safe to call from another thread.

A connection is used once. After an end, a new one is made, so that no unacknowledged
message lives on in the library: what is durable is the outbox's. Source: MQTT 5.0.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, BrokerSettings, read_password, tls_context

_FAILURE = 0x80  # reason codes from here on are errors: MQTT 5.0 section 2.4


@dataclass(frozen=True)
class Will:
    """What the broker says in our name, retained, when we vanish."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Session:
    """What the broker keeps of us: nothing (0 s, for a publisher) or what we miss."""

    expiry_s: int = 0
    receive_maximum: int = 100


@dataclass(frozen=True)
class Acknowledged:
    """The broker's answer to one PUBLISH; `failure` is its reason, None when it took it."""

    mid: int
    failure: str | None


@dataclass(frozen=True)
class Message:
    """A message from the broker, and when it came.

    Parameters
    ----------
    topic, payload, mid, qos, retain
        Of the PUBLISH.
    at : float
        Seconds, `time.time`.
    at_monotonic : float
        Seconds, `time.monotonic`.
    """

    topic: str
    payload: bytes
    mid: int
    qos: int
    retain: bool
    at: float
    at_monotonic: float


class Connection:
    """One MQTT 5 connection, from CONNECT to its end."""

    def __init__(
        self,
        settings: BrokerSettings,
        session: Session,
        *,
        will: Will | None = None,
        manual_ack: bool = False,
    ) -> None:
        self.settings = settings
        self.session = session
        self.session_present = False
        self.receive_maximum = 65535  # MQTT 5.0 section 3.2.2.3.3: when the broker says nothing
        self.maximum_packet: int | None = None
        self.topic_alias_maximum = 0  # section 3.2.2.3.8: when the broker says nothing
        self.acknowledged: deque[Acknowledged] = deque()
        self.subscribed: deque[Acknowledged] = deque()
        self.received: deque[Message] = deque()
        self._connack: str | None = None  # the reason's name once it came
        self._refused = False
        self._ended: str | None = None
        self._aliases: dict[str, int] = {}
        self._client = self._make_client(will, manual_ack)

    def open(self, bell: Bell, stop: Callable[[], bool]) -> None:
        """Connect and wait for the broker's answer.

        Parameters
        ----------
        bell : Bell
            Rung to look at `stop` early.
        stop : callable
            Whether to give up.

        Raises
        ------
        BrokerError
            When the broker cannot be reached, its certificate is not trusted, it refuses
            us, or `stop` said so.
        """
        where = f"{self.settings.host}:{self.settings.port}"
        try:
            self._client.connect(
                self.settings.host,
                self.settings.port,
                keepalive=self.settings.keepalive_s,
                clean_start=self.session.expiry_s == 0,
                properties=_properties(
                    PacketTypes.CONNECT,
                    SessionExpiryInterval=self.session.expiry_s,
                    ReceiveMaximum=self.session.receive_maximum,
                ),
            )
            self._send_at_once()
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or error
            msg = f"{where}: TLS: {why}"
            raise BrokerError(msg) from error
        except UnicodeError as error:  # from the host name's encoding
            msg = f"{where}: not a host name"
            raise BrokerError(msg) from error
        except OSError as error:
            msg = f"{where}: {error.strerror or error}"
            raise BrokerError(msg) from error
        deadline = time.monotonic() + self.settings.connect_timeout_s
        while self._connack is None:
            left = deadline - time.monotonic()
            if stop() or left <= 0:
                self.drop()
                msg = f"{where}: no answer to CONNECT"
                raise BrokerError(msg)
            self.turn(left, bell)
        if self._refused:
            self.drop()
            msg = f"{where}: the broker refused us: {self._connack}"
            raise BrokerError(msg)

    def _send_at_once(self) -> None:
        """Switch off Nagle's algorithm: a message would wait 40 ms for the one before it."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):  # of TLS, too
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self, timeout_s: float, bell: Bell) -> bool:
        """Wait for the socket, the bell or the time, and handle what came.

        Returns
        -------
        bool
            Whether the bell rang.

        Raises
        ------
        BrokerError
            When the connection has ended.
        """
        sock = self._client.socket()
        if sock is None or sock.fileno() < 0:
            raise self._end("connection closed")
        # Bytes that TLS has already decrypted are not seen by a poll.
        waiting = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        timeout_s = 0.0 if waiting else max(0.0, min(timeout_s, 1.0))
        poll = select.poll()  # unlike select, it takes any file descriptor
        poll.register(bell, select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)
        poll.register(sock.fileno(), wanted)
        events = dict(poll.poll(timeout_s * 1000.0))
        rung = bell.fileno() in events
        if rung:
            bell.silence()
        ready = events.get(sock.fileno(), 0)
        if waiting or ready & ~select.POLLOUT:
            self._check(self._client.loop_read())
        if ready & select.POLLOUT:
            self._check(self._client.loop_write())
        self._check(self._client.loop_misc())
        return rung

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        content_type: str = "",
        expiry_s: int | None = None,
        user: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Write a PUBLISH with QoS 1 to the socket; returns its packet identifier.

        A topic that was written before on this connection goes as a number of two bytes, where
        the broker takes them (topic alias, section 3.3.2.3.4).

        Parameters
        ----------
        topic, payload, retain, content_type
        expiry_s : int or None
            The broker forgets the message after so many seconds.
        user : sequence of (str, str)
            User properties. They are in clear: never of a patient.

        Raises
        ------
        BrokerError
            When the connection has ended.
        """
        written, alias = self._address(topic)
        properties = _properties(
            PacketTypes.PUBLISH,
            ContentType=content_type or None,
            MessageExpiryInterval=expiry_s,
            UserProperty=list(user) or None,
            TopicAlias=alias,
        )
        info = self._client.publish(written, payload, qos=1, retain=retain, properties=properties)
        self._check(info.rc)
        return info.mid

    def subscribe(self, *topic_filters: str) -> None:
        """Subscribe with QoS 1; the answers come in `subscribed`."""
        rc, _ = self._client.subscribe([(one, 1) for one in topic_filters])
        self._check(rc)

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that it may forget a message (a manual PUBACK)."""
        if message.qos > 0:
            self._check(self._client.ack(message.mid, message.qos))

    def close(self, bell: Bell, timeout_s: float) -> None:
        """Say goodbye, so that the last will is not sent, and let go of the socket."""
        deadline = time.monotonic() + timeout_s
        try:
            self._client.disconnect()
            while self._client.want_write() and time.monotonic() < deadline:
                self.turn(deadline - time.monotonic(), bell)
        except BrokerError:
            return  # it is gone, which is what was wanted
        finally:
            self.drop()

    def drop(self) -> None:
        """Let go of the socket without a word."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _address(self, topic: str) -> tuple[str, int | None]:
        """Return what stands for a topic on this connection: its text, its alias, or both."""
        alias = self._aliases.get(topic)
        if alias is not None:
            return "", alias
        if len(self._aliases) >= self.topic_alias_maximum:
            return topic, None
        self._aliases[topic] = len(self._aliases) + 1
        return topic, self._aliases[topic]

    def _make_client(self, will: Will | None, manual_ack: bool) -> mqtt.Client:
        settings = self.settings
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        client.connect_timeout = settings.connect_timeout_s
        client.max_inflight_messages_set(65535)  # the caller counts; paho must not queue
        if settings.tls is not None:
            client.tls_set_context(tls_context(settings.tls))
        if settings.username is not None:
            client.username_pw_set(settings.username, read_password(settings.password_file))
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _check(self, rc: MQTTErrorCode) -> None:
        if rc not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN}:
            if self._refused:
                return  # `open` says it better
            raise self._end(mqtt.error_string(rc))

    def _end(self, reason: str) -> BrokerError:
        self.drop()
        where = f"{self.settings.host}:{self.settings.port}"
        return BrokerError(f"{where}: {self._ended or reason}")

    def _on_connect(
        self,
        _client: mqtt.Client,
        _data: object,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._connack = str(reason)
        self._refused = reason.is_failure
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", self.receive_maximum)
        self.maximum_packet = getattr(properties, "MaximumPacketSize", None)
        self.topic_alias_maximum = getattr(properties, "TopicAliasMaximum", 0)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: object,
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._ended = f"the broker ended the connection: {reason}"

    def _on_publish(
        self,
        _client: mqtt.Client,
        _data: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        failure = str(reason) if reason.value >= _FAILURE else None
        self.acknowledged.append(Acknowledged(mid, failure))

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        failures = [str(reason) for reason in reasons if reason.value >= _FAILURE]
        self.subscribed.append(Acknowledged(mid, failures[0] if failures else None))

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no topic of ours; whoever reads it will refuse it
        received = Message(
            topic,
            bytes(message.payload),
            message.mid,
            message.qos,
            message.retain,
            time.time(),
            time.monotonic(),
        )
        self.received.append(received)


def _properties(packet: int, **values: str | int | list[tuple[str, str]] | None) -> Properties:
    """Return MQTT 5 properties; those that are None are left out."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if value is not None:
            setattr(properties, name, value)
    return properties
