"""``scanside studies``: what came in, and what of it is to go."""

from __future__ import annotations

import argparse

from edge.commands import erasing, listing
from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    group,
    list_options,
    number,
    open_journal,
)
from edge.config import load_config
from edge.keys import DeviceKeys
from edge.store.key_check import check_key
from edge.store.lookup import find_study, list_alerts, list_series, list_studies
from edge.store.study_key import SealBroken


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    studies = group(commands, "studies", "what came in")
    list_options(command(studies, "list", _list, "the latest studies"))
    show = command(studies, "show", _show, "one study")
    show.add_argument("study", type=number, help="its number in `studies list`")
    list_options(show)
    erasing.add(studies)


def _list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        studies = list_studies(journal, keys.storage, options.limit)
    listing.print_studies(studies, as_json=options.json)
    return 0


def _show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        try:
            study = find_study(journal, keys.storage, options.study)
            series = list_series(journal, keys.storage, options.study)
        except SealBroken as error:
            check_key(journal, keys.storage)
            raise CommandError(
                f"Study {options.study} is damaged on the disk, and nobody can read what was "
                f"said of it. To erase it: scanside studies erase {options.study} --reason damaged"
            ) from error
        if study is None:
            raise CommandError(f"There is no study {options.study}. See: scanside studies list")
        alerts = list_alerts(journal, options.limit, study.id)
    listing.print_study(study, series, alerts, as_json=options.json)
    return 0
