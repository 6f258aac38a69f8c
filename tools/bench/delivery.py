"""``scanside-bench delivery``: is an alert ever lost, and how long does it take?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from edge.alerts.sealing import open_sealed, seal
from edge.keys import (
    CENTRAL_PUBLIC,
    CentralKeys,
    KeyRing,
    add_recipient,
    init_central,
    init_device,
    load_trusted,
    trust_device,
)
from tools.bench.delivery_device import MADE, Place, an_alert
from tools.bench.delivery_fleet import Fleet, Measured, central_process, read_log
from tools.bench.delivery_peers import SITE, WAYS
from tools.bench.delivery_storm import Harvest, Plan, Storm
from tools.bench.report import Row, percentile
from tools.broker import LocalBroker
from tools.postgres import LocalPostgres, find_postgres
from tools.site import SiteError

FULL = Plan(alerts=10_000, per_second=60.0, broker=20, device=50, central=50, faults=40)
TENTH = Plan(alerts=1_000, per_second=40.0, broker=2, device=5, central=5, faults=4)

_WITHIN_MS = 500.0
_FLEETS = (1000, 500, 450, 400, 350, 300, 250, 125, 60)


def run(quick: bool) -> list[Row]:
    """Measure; `quick` takes a tenth of the size."""
    plan = TENTH if quick else FULL
    with tempfile.TemporaryDirectory(prefix="scanside-bench-") as name:
        folder = Path(name)
        harvest = Storm(_made(folder / "storm"), plan).run()
        calm = _calm(_made(folder / "calm"), 100 if quick else 1000)
        fleet = _fleet(_made(folder / "fleet"), quick=quick)
    return [*storm_rows(plan, harvest), *calm, *fleet]


def storm_rows(plan: Plan, harvest: Harvest) -> list[Row]:
    """Return what the storm showed."""
    how = (
        f"{harvest.made} alerts in {harvest.took_s:.0f} s; broker stopped {plan.broker} times, "
        f"device killed {plan.device}, central killed {plan.central}, "
        f"network failed {plan.faults} times"
    )
    paho, drop = (harvest.peers[way] for way in WAYS)
    first, second = WAYS.values()
    refused = ", ".join(sorted(harvest.refused))
    return [
        Row("lost", harvest.lost, "alerts", first, paho[0], note=how),
        Row("lost_beside_dropping", harvest.lost, "alerts", second, drop[0]),
        Row("duplicated", harvest.duplicated, "alerts", first, paho[1]),
        Row("unexplained_gaps", harvest.gaps, "alerts"),
        Row("unsettled", harvest.unsettled, "alerts", note="without a receipt in the end"),
        Row("forged_accepted", harvest.forged_accepted, "alerts", note=f"refused as: {refused}"),
    ]


def _calm(folder: Path, alerts: int) -> list[Row]:
    """One device, one server on SQLite, a broker, and nothing else."""
    central = folder / "central"
    init_central(central, "central")
    place = Place(folder / "device")
    init_device(place.keys, device="ct-1", site=SITE)
    add_recipient(place.keys, central / CENTRAL_PUBLIC)
    trust_device(central, place.keys / "device.public.json")
    broker = LocalBroker(_made(folder / "broker"))
    broker.start()
    log = folder / "central.log"
    try:
        with central_process(central, broker.port, str(folder / "alerts.db"), log):
            made = _made_by_device(place, broker.port, alerts, log)
    finally:
        broker.stop()
    stored = read_log([log])
    latencies = [(stored["ct-1", number] - moment) * 1e3 for number, moment in made.items()]
    seal_ms, open_ms = _seal_ms(place, central, alerts)
    how = f"{alerts} alerts at 20/s: from the commit in the journal to the commit at central"
    return [
        Row(
            "seal_ms_p50",
            percentile(seal_ms, 0.5),
            "ms",
            note="processor time, for a server and a console",
        ),
        Row("open_ms_p50", percentile(open_ms, 0.5), "ms"),
        Row("publish_to_stored_ms_p50", percentile(latencies, 0.5), "ms", note=how),
        Row("publish_to_stored_ms_p99", percentile(latencies, 0.99), "ms"),
    ]


def _made_by_device(place: Place, port: int, alerts: int, log: Path) -> dict[int, float]:
    arguments = [str(place.folder), str(port), str(alerts), "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.delivery_device", *arguments],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + alerts / 20 + 60.0
    try:
        while len(read_log([log])) < alerts:
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"{len(read_log([log]))} of {alerts} alerts came"
                raise SiteError(msg)
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    lines = (place.folder / MADE).read_text("ascii").splitlines()
    return {int(number): float(moment) for number, moment in map(str.split, lines)}


def _seal_ms(place: Place, central: Path, times: int) -> tuple[list[float], list[float]]:
    """Return the processor time of sealing and of opening, in ms: others use the machine, too."""
    keys = KeyRing(place.keys).current
    servers, trusted = CentralKeys.load(central), load_trusted(central)
    alert = an_alert(keys.own, 1, "critical")
    body = alert.to_json()
    sealing, opening = [], []
    for _ in range(times):
        began = time.thread_time()
        message = seal(
            body,
            signer=keys.own.signing,
            device=alert.device,
            sequence=alert.sequence,
            created=alert.created,
            recipients=keys.readers,
        )
        between = time.thread_time()
        now = datetime.now(timezone.utc)
        open_sealed(message, me=servers.opening, trusted=trusted, now=now, max_age=None)
        sealing.append((between - began) * 1e3)
        opening.append((time.thread_time() - between) * 1e3)
    return sealing, opening


def _fleet(folder: Path, *, quick: bool) -> list[Row]:
    """Find how many devices two processes serve with a p99 under half a second."""
    metric = "fleet_publish_to_stored_ms_p99"
    if find_postgres() is None:
        why = "PostgreSQL is not installed (apt-get install postgresql)"
        return [Row(metric, None, "ms", note=why)]
    sizes = [size // 10 for size in _FLEETS] if quick else list(_FLEETS)
    init_central(folder / "central", "central")
    fleet = Fleet(folder, folder / "central", sizes[0])
    server = LocalPostgres()
    server.start()
    tried: list[Measured] = []
    try:
        for size in sizes:
            tried.append(fleet.run(server.database(f"fleet_{size}"), size, 5 if quick else 15))
            if not tried[-1].missing and tried[-1].percentile_ms(0.99) < _WITHIN_MS:
                break
    finally:
        server.stop()
    return fleet_rows(tried)


def fleet_rows(tried: list[Measured]) -> list[Row]:
    """Return what the last fleet showed, and in the note what the larger ones did."""
    last = tried[-1]
    larger = "".join(
        f"; {one.devices}/s: p99 {one.percentile_ms(0.99):.0f} ms, {one.missing} not in a minute"
        for one in tried[:-1]
    )
    how = f"{last.devices} devices at 1 alert/s for {last.seconds} s, two processes, PostgreSQL"
    return [
        Row("fleet_publish_to_stored_ms_p99", last.percentile_ms(0.99), "ms", note=how + larger),
        Row("fleet_publish_to_stored_ms_p50", last.percentile_ms(0.5), "ms"),
        Row("fleet_devices", last.devices, "devices", note="with that p99, at 1 alert/s each"),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
