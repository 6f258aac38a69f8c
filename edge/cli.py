"""``scanside``: run the appliance, check it, look at what it did."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from edge import listing
from edge.alerts.sealing import SealError, open_sealed
from edge.alerts.topics import InvalidNameError
from edge.check import check
from edge.config import Config, ConfigError, default_toml, load_config
from edge.key_files import KeyFileError
from edge.keys import DeviceKeys, add_recipient, init_device, load_recipients
from edge.store.journal import Journal, JournalError
from edge.store.lookup import (
    find_study,
    list_alerts,
    list_series,
    list_studies,
    sealed_alert,
)
from edge.store.study_key import SealBroken
from engines import PackageError

DEFAULT_CONFIG = Path("/etc/scanside/config.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong usage, configuration or keys (systemd does not try again).
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigError, KeyFileError) as error:
        print(f"scanside: {error}", file=sys.stderr)
        return 2
    except (
        InvalidNameError,
        JournalError,
        PackageError,
        SealBroken,
        SealError,
        CommandError,
    ) as error:
        print(f"scanside: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"scanside: {where}{error.strerror or error}.", file=sys.stderr)
        return 1
    return code


class CommandError(RuntimeError):
    """A command cannot do what was asked; the text says why and what to do."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scanside",
        description="Analyses images beside the scanner and publishes sealed alerts. "
        "A flag is a suggestion to look sooner, never a diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"scanside {version('scanside')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "serve until Ctrl-C or SIGTERM")
    _config_option(run)
    look = _command(commands, "check", _check, "say what is in order and what is not")
    _config_option(look)
    look.add_argument("--json", action="store_true", help="print JSON")

    config = _group(commands, "config", "the configuration file")
    init = _command(config, "init", _config_init, "write a commented default")
    init.add_argument("file", type=Path, nargs="?", default=DEFAULT_CONFIG)

    keys = _group(commands, "keys", "the device's keys, and who may read its alerts")
    _config_option(_command(keys, "init", _keys_init, "make this device's keys"))
    _config_option(_command(keys, "show", _keys_show, "show the device and its recipients"))
    add = _command(keys, "add-recipient", _keys_add, "let a central server read the alerts")
    add.add_argument("public_file", type=Path, help="the server's central.public.json")
    _config_option(add)

    studies = _group(commands, "studies", "what came in")
    _list_options(_command(studies, "list", _studies_list, "the latest studies"))
    show = _command(studies, "show", _studies_show, "one study")
    show.add_argument("study", type=_number, help="its number in `studies list`")
    _list_options(show)

    alerts = _group(commands, "alerts", "what went out")
    _list_options(_command(alerts, "list", _alerts_list, "the latest alerts"))
    show = _command(alerts, "show", _alerts_show, "one alert, opened")
    show.add_argument("sequence", type=_number, help="its number in `alerts list`")
    _list_options(show)
    return parser


_Commands = argparse._SubParsersAction


def _group(
    commands: _Commands[argparse.ArgumentParser], name: str, text: str
) -> _Commands[argparse.ArgumentParser]:
    group = commands.add_parser(name, help=text, description=text)
    return group.add_subparsers(required=True, metavar="COMMAND")


def _command(
    commands: _Commands[argparse.ArgumentParser], name: str, run: object, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"default: {DEFAULT_CONFIG}",
    )


def _list_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--limit", type=_number, default=20, help="how many at most (20)")


def _number(text: str) -> int:
    # SQLite counts to 2^63 - 1.
    if not text.isdecimal() or not 1 <= int(text[:20]) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from edge.daemon import Daemon, DaemonError  # noqa: PLC0415 - pulls in DICOM and MQTT

    config = load_config(options.config)
    logging.basicConfig(
        level=config.log.level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # The libraries' own lines can hold what a sender sent.
    for library in ("pynetdicom", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    try:
        Daemon(config).run()
    except DaemonError as error:
        raise CommandError(str(error)) from error
    return 0


def _check(options: argparse.Namespace) -> int:
    results = check(options.config)
    if options.json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    else:
        listing.print_check(results)
    return 1 if any(result.failed for result in results) else 0


def _config_init(options: argparse.Namespace) -> int:
    file: Path = options.file
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(default_toml())
    except FileExistsError:
        raise CommandError(f"{file} exists already; it was left as it is.") from None
    except FileNotFoundError:
        raise CommandError(f"{file.parent}: no such folder. Make it first.") from None
    print(f"Wrote {file}. Edit it, then: scanside keys init --config {file}")
    return 0


def _keys_init(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = init_device(config.storage.keys, device=config.device.name, site=config.device.site)
    public = config.storage.keys / "device.public.json"
    print(f"Made the keys of device {keys.device} at site {keys.site} in {config.storage.keys}.")
    print(f"Hand {public} to the central server: scanside-central keys trust FOLDER {public.name}")
    print("Then add the server here: scanside keys add-recipient central.public.json")
    return 0


def _keys_show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    print(f"Device {keys.device} at site {keys.site}, signing key {keys.signing.kid}")
    recipients = load_recipients(config.storage.keys)
    for recipient in recipients:
        print(f"Recipient {recipient.owner}, key {recipient.kid}")
    if not recipients:
        print("No recipients: nobody but this device can read its alerts.")
    return 0


def _keys_add(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    recipient = add_recipient(config.storage.keys, options.public_file)
    print(f"{recipient.owner} can read alerts once the daemon is restarted.")
    return 0


def _journal(config: Config) -> closing[Journal]:
    return closing(Journal(config.storage.folder / "journal.db", read_only=True))


def _studies_list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with _journal(config) as journal:
        studies = list_studies(journal, keys.storage, options.limit)
    listing.print_studies(studies, as_json=options.json)
    return 0


def _studies_show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with _journal(config) as journal:
        study = find_study(journal, keys.storage, options.study)
        if study is None:
            raise CommandError(f"There is no study {options.study}. See: scanside studies list")
        series = list_series(journal, keys.storage, study.id)
        alerts = list_alerts(journal, options.limit, study.id)
    listing.print_study(study, series, alerts, as_json=options.json)
    return 0


def _alerts_list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with _journal(config) as journal:
        alerts = list_alerts(journal, options.limit)
    listing.print_alerts(alerts, as_json=options.json)
    return 0


def _alerts_show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with _journal(config) as journal:
        sealed = sealed_alert(journal, options.sequence)
    if sealed is None:
        raise CommandError(f"There is no alert {options.sequence}. See: scanside alerts list")
    opened = open_sealed(
        sealed,
        me=keys.sealing,
        trusted=keys.trust_in_itself,
        now=datetime.now(timezone.utc),
        max_age=None,
    )
    listing.print_alert(opened.body, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
