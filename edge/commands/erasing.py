"""``scanside studies erase``: a study, or all of a patient's, for good."""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, suppress

from edge.audit import Audit
from edge.commands.acting import actor
from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    config_option,
    number,
    open_journal,
)
from edge.config import Config, load_config
from edge.console.acknowledgements import Acknowledgements
from edge.console.database import ConsoleDatabase
from edge.console.history import History
from edge.keys import DeviceKeys, pseudonym
from edge.retention.eraser import Eraser, Surroundings
from edge.retention.reason import LONGEST, names_patient, reason_of
from edge.store.claim import FolderTaken
from edge.store.erasure import Erasures, Order
from edge.store.journal import Journal
from edge.store.lookup import find_identity, find_study, studies_of
from edge.store.studies import Store
from edge.store.study_key import SealBroken

_PATIENCE_S = 60.0
_ROUND_S = 0.2


def add(studies: Commands[argparse.ArgumentParser]) -> None:
    """Add the command to ``scanside studies``."""
    erase = command(
        studies, "erase", _erase, "destroy the key of a study, and all that is kept of it, for good"
    )
    what = erase.add_mutually_exclusive_group(required=True)
    what.add_argument("study", type=number, nargs="?", help="its number in `studies list`")
    what.add_argument(
        "--patient",
        metavar="ID",
        help="every study with this Patient ID (0010,0020); - asks for it, so that it is in no "
        "history of commands",
    )
    erase.add_argument(
        "--issuer", default="", help="Issuer of Patient ID (0010,0021), where the scanner gives one"
    )
    erase.add_argument(
        "--reason",
        type=_reason,
        required=True,
        metavar="TEXT",
        help="kept in the audit for good: a file number, no name",
    )
    erase.add_argument(
        "--undelivered",
        action="store_true",
        help="also if central has not had all that was said of it; central will miss those alerts",
    )
    erase.add_argument(
        "--unacknowledged", action="store_true", help="also if nobody acknowledged its flag"
    )
    config_option(erase)


def _reason(text: str) -> str:
    reason = reason_of(text)
    if reason is None:
        raise argparse.ArgumentTypeError(f"a reason has 1 to {LONGEST} printable characters")
    return reason


def _erase(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with open_journal(config) as journal:
        studies = _wanted(options, journal, keys)
        for study in studies:
            with suppress(SealBroken):  # damaged: nobody can read who it is of
                if names_patient(options.reason, find_identity(journal, keys.storage, study)):
                    raise CommandError(
                        "The reason names the patient, and it is kept for good.\n"
                        "  Say it without name, ID, accession number or date of birth; nothing was "
                        "erased."
                    )
    orders = [
        Order(study, actor(), options.reason, options.undelivered, options.unacknowledged)
        for study in studies
    ]
    with closing(Journal(config.storage.folder / "journal.db")) as journal:
        erasures = Erasures(journal)
        try:
            numbers = erasures.place(orders)
        except sqlite3.OperationalError as error:
            raise CommandError(
                f"The order was not kept: {error}; nothing was erased.\n"
                "  Make room on the disk, or wait until the journal is written, and ask again."
            ) from error
        answers = _answers(config, keys, erasures, numbers)
    return _tell(dict(zip(numbers, studies, strict=True)), answers)


def _wanted(options: argparse.Namespace, journal: Journal, keys: DeviceKeys) -> list[int]:
    """Return the numbers of the studies that are meant."""
    if options.patient is None:
        try:
            study = find_study(journal, keys.storage, options.study)
        except SealBroken:  # damaged, and here: it can go
            return [int(options.study)]
        if study is None:
            raise CommandError(f"There is no study {options.study}. See: scanside studies list")
        if study.erased is not None:
            raise CommandError(f"Study {options.study} is erased already.")
        return [study.id]
    patient = _asked_for() if options.patient == "-" else options.patient
    if not patient.strip():
        # Studies without an ID share a pseudonym, and are of many patients.
        raise CommandError("Give a Patient ID. A study without one is erased by its number.")
    studies = studies_of(journal, pseudonym(keys.pseudonym, options.issuer, patient))
    if not studies:
        issuer = f"issued by {options.issuer!r}" if options.issuer else "without an issuer"
        raise CommandError(
            f"There is no study of a patient with this ID {issuer}.\n"
            "  Scanners may state who issued the ID (0010,0021): give it as --issuer."
        )
    return studies


def _asked_for() -> str:
    try:
        return input("Patient ID: ")
    except EOFError as error:
        raise CommandError("No Patient ID was given.") from error


def _answers(
    config: Config, keys: DeviceKeys, erasures: Erasures, numbers: list[int]
) -> Mapping[int, str | None]:
    """Carry the orders out where no appliance runs; else wait until it has."""
    until = time.monotonic() + _PATIENCE_S
    try:
        _carry_out(config, keys)
    except FolderTaken:
        while time.monotonic() < until and len(erasures.answers(numbers)) < len(numbers):
            time.sleep(_ROUND_S)
    except KeyboardInterrupt:
        print("The order stands; the appliance carries it out.")
        raise
    return erasures.answers(numbers)


def _carry_out(config: Config, keys: DeviceKeys) -> None:
    """Do what the appliance would; raises `FolderTaken` when it runs."""
    with ExitStack() as open_now:
        store = Store(
            config.storage.folder,
            device_key=keys.storage,
            reserve_bytes=config.storage.reserve_mb * 1_000_000,
        )
        open_now.callback(store.close)
        pressing: Callable[[int], bool] = _nothing_to_acknowledge
        if config.console.enabled:
            database = ConsoleDatabase(config.storage.folder)
            open_now.callback(database.close)
            history = History(store.journal, lambda: keys, Acknowledgements(database))
            pressing = history.pressing
        around = Surroundings(
            alone=lambda _, erase: erase(), pressing=pressing, forget=lambda _: None
        )
        Eraser(store, Audit(store.journal, lambda: keys.signing), around).carry_out()


def _nothing_to_acknowledge(_: int) -> bool:
    return False


def _tell(studies: Mapping[int, int], answers: Mapping[int, str | None]) -> int:
    for order, study in studies.items():
        if order not in answers:
            print(f"Study {study}: the appliance has not answered yet; the order stands.")
        elif (refused := answers[order]) is not None:
            print(f"Study {study} was not erased: {refused}.")
        else:
            print(f"Study {study} is erased.")
    return 0 if _all_erased(studies, answers) else 1


def _all_erased(orders: Iterable[int], answers: Mapping[int, str | None]) -> bool:
    return all(order in answers and answers[order] is None for order in orders)
