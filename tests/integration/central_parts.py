"""What central's tests share: alerts to keep, and a real HTTP server to hand them on to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from delivery_parts import Device, Watched

from edge.alerts.sealing import body_digest
from edge.keys import init_device
from edge.timestamps import rfc3339
from tools.central.records import Record


def make_lone_device(folder: Path) -> Device:
    """Make a device that no server knows: for the alerts it writes."""
    return Device(folder, init_device(folder, device="ct-1", site="north"))


def record_of(device: Device, sequence: int, urgency: str = "urgent") -> Record:
    alert = device.alert(sequence, urgency)
    body = alert.to_json()
    return Record(
        received=rfc3339(datetime.now(timezone.utc)),
        device=alert.device,
        site=alert.site,
        sequence=sequence,
        kid=device.keys.signing.kid,
        lineage=device.keys.signing.kid,
        created=alert.created,
        alert_id=alert.id,
        urgency=urgency,
        digest=body_digest(body),
        body=body.decode(),
    )


@dataclass
class Post:
    """One request as the server got it."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver(Watched):
    """What an HTTP server got, and how it answers: the statuses in turn, then 200."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    body: bytes = b"{}"

    def __post_init__(self) -> None:
        super().__init__()

    def take(self, post: Post) -> int:
        with self.changed:
            self.posts.append(post)
            self.changed.notify_all()
            return self.answers.pop(0) if self.answers else 200


@contextmanager
def http_server(receiver: Receiver) -> Iterator[Receiver]:
    """Run a real HTTP server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            post = Post(self.path, dict(self.headers.items()), self.rfile.read(size))
            status = receiver.take(post)
            answer = receiver.body or transaction_response(post.body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """A test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def transaction_response(bundle: bytes) -> bytes:
    """Answer a FHIR transaction as a server does that takes it all."""
    entries = [{"response": {"status": "201 Created"}} for _ in json.loads(bundle)["entry"]]
    response = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
    return json.dumps(response).encode()
