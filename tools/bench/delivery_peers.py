"""What people do today, beside us in the same run, under the same faults.

``python -m tools.bench.delivery_peers WAY FOLDER PORT TOTAL PER_SECOND``, where `WAY` is

* ``paho``: paho-mqtt alone. QoS 1, its own reconnect, its own queue, which is in memory.
* ``drop``: what Frigate does: publish with QoS 0, and when there is no connection, drop it.

Both count on from where they were killed: the number is on the disk before it is published.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.alerts.broker import tls_context
from edge.alerts.topics import feedback_topic
from tools.bench.delivery_device import Place
from tools.broker import HOST

SITE = "bench"
WAYS = {"paho": "paho alone, without persistence", "drop": "publish or drop (Frigate's way)"}


def main() -> int:
    """Publish numbers until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("total", type=int)
    parser.add_argument("per_second", type=float)
    options = parser.parse_args()
    client = peer_client(Place(options.folder), options.port, options.way, keep_s=0)
    topic = feedback_topic(SITE, options.way)
    counter, work = options.folder / "counter", options.folder / "counter.new"
    last = int(counter.read_text()) if counter.exists() else 0
    began = time.monotonic()
    for count, number in enumerate(range(last + 1, options.total + 1), start=1):
        time.sleep(max(0.0, began + count / options.per_second - time.monotonic()))
        work.write_text(str(number))
        work.replace(counter)
        if options.way == "paho":
            client.publish(topic, str(number), qos=1)
        elif client.is_connected():
            client.publish(topic, str(number), qos=0)
    threading.Event().wait()
    return 0


def peer_client(place: Place, port: int, name: str, *, keep_s: int) -> mqtt.Client:
    """Return a client as the library's own guide makes one, connecting by itself.

    `keep_s` is how long the broker keeps its session, in seconds.
    """
    settings = place.settings(port, name)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    client.reconnect_delay_set(1, 5)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = keep_s
    client.connect_async(HOST, port, keepalive=5, properties=properties)
    client.loop_start()
    return client


class PeerReceiver:
    """Counts what the peers' messages bring. It is never killed and has a session that is kept."""

    def __init__(self, place: Place, port: int) -> None:
        self.got: dict[str, list[int]] = {way: [] for way in WAYS}
        self._client = peer_client(place, port, "peers", keep_s=3600)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect

    def stop(self) -> None:
        """Receive no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, *_: object) -> None:
        for way in WAYS:
            self._client.subscribe(feedback_topic(SITE, way), qos=1)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        way = message.topic.split("/")[3]
        self.got[way].append(int(message.payload))


if __name__ == "__main__":
    sys.exit(main())
