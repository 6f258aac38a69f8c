"""``python -m tools.demo``: a broker, an appliance, a scanner and a central server, live."""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.live import Live

from edge.console.accounts import Accounts, Role
from edge.console.database import ConsoleDatabase
from tools.broker import BrokerStartError
from tools.demo.board import board, report
from tools.scanner import SendError, head_ct_series, send
from tools.site import LocalSite, SiteError
from tools.watch import Followed, Watch

FINAL_S = 60.0
STUDIES = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 when every study's alert came, 1 when not, 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    console = Console()
    watch = Watch()
    try:
        with tempfile.TemporaryDirectory(prefix="scanside-demo-") as folder:
            _run(options, Path(folder), watch, console)
    except KeyboardInterrupt:
        console.print("Stopped. Broker, appliance and their folder are gone.")
        return _finish(options.report, watch, console) or 130
    except (BrokerStartError, SiteError, SendError) as error:
        console.print(f"The demo cannot go on: {error}", markup=False)
        return 1
    return _finish(options.report, watch, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo.sh",
        description="Simulated head CT studies, with and without a bleed, go through the whole "
        "chain on this machine. Ctrl-C ends it and leaves nothing behind.",
    )
    parser.add_argument("--once", action="store_true", help=f"end after {STUDIES} studies")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--slices", type=int, default=40, help="slices a study (40)")
    parser.add_argument("--rate", type=float, default=10.0, help="slices a second (10)")
    return parser


def _run(options: argparse.Namespace, folder: Path, watch: Watch, console: Console) -> None:
    console.print("Starting a broker, an appliance and a central server on this machine ...")
    # Without TLS, on loopback: no browser warns of a certificate that nobody signed.
    settings = {"console": {"tls": False}}
    with LocalSite(folder, on_alert=watch.on_alert, settings=settings) as site:
        peer = site.appliance.peer
        password = _make_accounts(site)
        console.print(
            f"The appliance listens as {peer}, the broker is {site.broker.name} on port "
            f"{site.broker.port}. Every alert is opened at central with central's key.\n"
            f"\nOpen http://localhost:{site.appliance.console_port} in a browser and log in as "
            f"technician or as physician, password {password}\n"
            f"\nSend your own, beside the demo: dcmsend -aec {peer.ae_title} {peer.host} "
            f"{peer.port} FILES\n",
            highlight=False,
        )
        stop = threading.Event()
        with Live(console=console, get_renderable=lambda: board(watch.studies)) as live:
            numbers = range(STUDIES) if options.once else itertools.count()
            try:
                for number in numbers:
                    _one_study(options, number, site, watch, stop)
            finally:
                stop.set()
                live.refresh()


def _make_accounts(site: LocalSite) -> str:
    """Make an account for each of two roles; return their password."""
    password = secrets.token_urlsafe(9)
    with closing(ConsoleDatabase(site.appliance.folder / "studies")) as database:
        accounts = Accounts(database)
        for role in (Role.TECHNICIAN, Role.PHYSICIAN):
            accounts.add(role.value, role, password)
    return password


def _one_study(
    options: argparse.Namespace, number: int, site: LocalSite, watch: Watch, stop: threading.Event
) -> None:
    bleed = number % 2 == 0
    series = head_ct_series(bleed, slices=options.slices, seed=number)
    name = f"head CT {number + 1}\n{'bleed' if bleed else 'no bleed'}\ndrawn"
    study = watch.follow(name, series[0].StudyInstanceUID, len(series))

    def on_sent(_index: int, _began: int, last_byte_ns: int, status: int | None) -> None:
        watch.sent(study, last_byte_ns, stored=status == 0)

    send(series, site.appliance.peer, rate=options.rate, on_sent=on_sent, stop=stop)
    if not watch.wait_for_final(study, FINAL_S):
        raise SiteError(
            f"No alert came within {FINAL_S:.0f} s. The log says: {site.appliance.tail()}"
        )


def _finish(file: Path | None, watch: Watch, console: Console) -> int:
    figures = report(watch.studies)
    if file is not None:
        text = json.dumps(figures, indent=2) + "\n"
        file.write_text(text.replace("\\n", " "), encoding="utf-8")
        console.print(f"Wrote {file}.")
    return 0 if all(_arrived(study) for study in watch.studies) else 1


def _arrived(study: Followed) -> bool:
    return study.final is not None


if __name__ == "__main__":
    sys.exit(main())
