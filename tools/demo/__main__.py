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

from rich.console import Console, RenderableType
from rich.live import Live

from edge.console.accounts import Accounts, Role
from edge.console.database import ConsoleDatabase
from tools.broker import BrokerStartError
from tools.demo.board import board, report, shown_in
from tools.demo.studies import ROUND, drawn_study
from tools.scanner import SendError, send
from tools.site import LocalSite, SiteError
from tools.watch import Followed, Watch

FINAL_S = 60.0


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
        _finish(options.report, watch, console)
        return 130
    except (BrokerStartError, SiteError, SendError) as error:
        console.print(f"The demo cannot go on: {error}", markup=False)
        return 1
    return _finish(options.report, watch, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo.sh",
        description="Simulated head CTs, chest X-rays and brain MRIs go through the whole chain on "
        "this machine. Ctrl-C ends it and leaves nothing behind.",
    )
    parser.add_argument(
        "--once", action="store_true", help=f"end after {ROUND} studies, one of each kind"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--slices", type=int, default=40, help="slices a head CT (40)")
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

        def table() -> RenderableType:
            if stop.is_set():
                return board(watch.studies)
            return board(watch.studies, shown_in(console.height))

        with Live(console=console, get_renderable=table) as live:
            numbers = range(ROUND) if options.once else itertools.count()
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
    drawn = drawn_study(number, slices=options.slices)
    series = drawn.series
    uid = series[0].StudyInstanceUID
    study = watch.follow(drawn.name, uid, len(series), modality=drawn.modality)

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
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        if not console.is_terminal:
            console.line()  # the table ends without one there
        console.print(f"Wrote {file}.")
    return 0 if all(_arrived(study) for study in watch.studies) else 1


def _arrived(study: Followed) -> bool:
    return study.final is not None


if __name__ == "__main__":
    sys.exit(main())
