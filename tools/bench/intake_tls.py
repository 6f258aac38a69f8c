"""``scanside-bench intake-tls``: how fast images come in over TLS, beside DCMTK over TLS."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rich.progress import track

from tools.bench.report import Row
from tools.bench.storescp import Tls, installed, storescp, storescu_s
from tools.broker import HOST, free_port
from tools.central.authority import Authority, Role
from tools.scanner.head_ct import as_series, draw_head_ct
from tools.scanner.series import write_series
from tools.site import LocalSite
from tools.watch import Watch

_METRICS = ("intake_tls_200_s", "intake_tls_200_nodelay_s")


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a fifth of the slices and three rounds."""
    slices, rounds = (40, 3) if quick else (200, 5)
    if not installed():
        why = "DCMTK is not installed (apt-get install dcmtk)"
        return [Row(_METRICS[0], None, "s", "storescp +tls", note=why)]
    with tempfile.TemporaryDirectory(prefix="scanside-bench-") as name:
        folder = Path(name)
        authority = Authority.make(folder / "authority", "bench")
        server = _issue(authority, folder, "server", Role.BROKER)
        scanner = _issue(authority, folder, "scanner", Role.DEVICE)
        port = free_port()
        settings = {
            "dicom": {
                "host": HOST,
                "cert": str(server.cert),
                "key": str(server.key),
                "ca": str(server.ca),
                "tls_port": port,
            }
        }
        watch = Watch()
        with LocalSite(folder / "site", on_alert=watch.on_alert, settings=settings) as site:
            return _intake(site, folder, port, (server, scanner), slices, rounds)


def _issue(authority: Authority, folder: Path, name: str, role: Role) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = authority.sign(request.sign(key, hashes.SHA256()), name, role, hosts=[HOST])
    files = Tls(folder / "authority" / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
    files.cert.write_bytes(signed.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.key.write_bytes(private)
    return files


def _intake(
    site: LocalSite, folder: Path, port: int, tls: tuple[Tls, Tls], slices: int, rounds: int
) -> list[Row]:
    """Send the same files by the same sender to us, with TLS and without, and to storescp."""
    title = site.appliance.peer.ae_title
    server, scanner = tls
    peers = {
        "storescp +tls": {},
        "storescp +tls, TCP_NODELAY=1": {"TCP_NODELAY": "1"},
    }
    ours: list[float] = []
    plain: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for number in track(range(rounds), "Intake over TLS beside storescp"):
        # New UIDs each time: an instance that is known is answered without being stored.
        for made, way in enumerate((ours, plain)):
            files = folder / f"files-{number}-{made}"
            seed = 2 * number + made
            write_series(as_series(draw_head_ct(False, slices, seed=seed), seed=seed), files)
            if way is ours:
                way.append(storescu_s(files, title, port, scanner))
            else:
                way.append(storescu_s(files, title, site.appliance.port))
        for name, settings in peers.items():
            place = folder / f"received-{number}-{len(settings)}"
            place.mkdir()
            with storescp(place, settings, server) as theirs_at:
                theirs[name].append(storescu_s(files, title, theirs_at, scanner))
    how = f"{slices} slices by storescu +tls, median of {rounds}; ours encrypted and synced"
    rows = [
        Row(metric, statistics.median(ours), "s", name, statistics.median(theirs[name]), note=how)
        for metric, name in zip(_METRICS, peers, strict=True)
    ]
    cost = Row(
        "intake_tls_over_plain_s",
        statistics.median(ours),
        "s",
        "our port without TLS",
        statistics.median(plain),
        note="what TLS costs",
    )
    return [*rows, cost]
