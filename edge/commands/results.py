"""``scanside results``: what was sent to the PACS, and what of it is to be sent again."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from dataclasses import asdict
from typing import Any

from edge.audit import Act, Audit
from edge.commands import listing
from edge.commands.acting import actor
from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    config_option,
    group,
    list_options,
    number,
    open_journal,
)
from edge.config import Config, load_config
from edge.keys import DeviceKeys
from edge.store.documents import DocumentLine, Documents
from edge.store.journal import Journal
from edge.store.lookup import study_key
from edge.store.study_key import SealBroken


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    results = group(commands, "results", "what went to the PACS")
    list_options(command(results, "list", _list, "the latest reports and key images"))
    show = command(results, "show", _show, "one of them: where it stands, and what it says")
    show.add_argument("number", type=number, help="its number in `results list`")
    list_options(show)
    resend = command(results, "resend", _resend, "send some again, whatever became of them")
    resend.add_argument("number", type=number, nargs="*", help="numbers in `results list`")
    resend.add_argument("--refused", action="store_true", help="all that the PACS would not have")
    config_option(resend)


def _list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        documents = Documents(journal)
        lines, standing = documents.latest(options.limit), documents.standing()
        damaged = {one.id for one in lines if _is_damaged(journal, keys, documents, one)}
    if options.json:
        said = [{**_as_json(one), "damaged": one.id in damaged} for one in lines]
        print(json.dumps(said, indent=2))
        return 0
    if not lines:
        print("Nothing was to be sent to the PACS yet.")
        if not config.results.enabled:
            print("It is switched off: see [results] enabled in the configuration.")
        return 0
    listing.print_documents(lines, damaged)
    print(f"{standing.waiting} wait, {standing.refused} refused, {standing.stored} in the PACS.")
    if standing.refused:
        print("Mend what the PACS says, then: scanside results resend --refused")
    if damaged:
        print(
            f"Damaged here: {', '.join(map(str, sorted(damaged)))}. They cannot be sent again, and "
            "the next report of the study says that it cannot name them."
        )
    return 0


def _is_damaged(
    journal: Journal, keys: DeviceKeys, documents: Documents, line: DocumentLine
) -> bool:
    """Whether what an object says does not open any more."""
    try:
        key = study_key(journal, keys.storage, line.study_id)
        if key is not None:
            documents.opened(line.id, key)
    except SealBroken:
        return True
    return False


def _show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        documents = Documents(journal)
        line = documents.find(options.number)
        if line is None:
            raise _unknown(options.number)
        key = study_key(journal, keys.storage, line.study_id)
        about = None if key is None else documents.opened(line.id, key)
    if options.json:
        print(json.dumps({**_as_json(line), "says": about}, indent=2))
    else:
        listing.print_document(line, about)
    return 0


def _resend(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    file = config.storage.folder / "journal.db"
    if not file.exists():
        raise CommandError(f"{file}: there is no journal yet. Start the daemon: scanside run")
    with closing(Journal(file)) as journal:
        documents = Documents(journal)
        wanted = {*options.number, *(documents.given_up() if options.refused else ())}
        if not wanted:
            raise CommandError(
                "The PACS refused nothing."
                if options.refused
                else "Which? Give numbers of `scanside results list`, or --refused."
            )
        asked = _ask(config, journal, documents, wanted)
    if not config.results.enabled:
        print("They wait until [results] enabled is true and the daemon runs.")
    print(f"Sent again: {', '.join(map(str, asked))}. See: scanside results list")
    return 0


def _ask(config: Config, journal: Journal, documents: Documents, wanted: set[int]) -> list[int]:
    signing = DeviceKeys.load(config.storage.keys).signing
    with documents.together():
        asked = documents.ask_again(wanted)
        left = sorted(wanted - set(asked))
        if left:
            raise _unknown(left[0])
        on = " ".join(f"document:{one}" for one in asked)
        Audit(journal, lambda: signing).note(Act(actor(), "result.resent", on))
    return asked


def _unknown(wanted: int) -> CommandError:
    return CommandError(
        f"There is no result {wanted}, or its study was erased. See: scanside results list"
    )


def _as_json(line: DocumentLine) -> dict[str, Any]:
    return {**asdict(line), "kind": line.kind.value, "state": line.state.value}
