"""``scanside training``: the site's own course, and certificates."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from edge.commands.arguments import (
    CommandError,
    Commands,
    command,
    config_option,
    group,
    list_options,
    open_journal,
)
from edge.config import load_config
from edge.keys import DeviceKeys
from edge.store.certificates import CertificateStore
from edge.training.cases import SHIPPED_CASES, read_cases
from edge.training.certificate import verify
from edge.training.content import SHIPPED, Course

_LONGEST = 16_384  # characters; a certificate has about 900


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    training = group(commands, "training", "the course, and who passed its test")
    copy = command(training, "copy", _copy, "copy the shipped course to edit or translate it")
    copy.add_argument("folder", type=Path, help="a new folder; then set [console] course")
    check = command(training, "check", _check, "say what is wrong in a course or its cases")
    check.add_argument("folder", type=Path, nargs="?", default=SHIPPED, help="of the course")
    check.add_argument("--cases", type=Path, metavar="FOLDER", help="of the site's own cases")
    list_options(command(training, "list", _list, "the latest certificates"))
    look = command(training, "verify", _verify, "check a certificate's signature")
    look.add_argument("file", type=Path, help="as saved from the certificate's page")
    config_option(look)


def _copy(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    if folder.exists():
        raise CommandError(f"{folder} exists already; it was left as it is.")
    shutil.copytree(SHIPPED, folder)
    print(f"Copied the course to {folder}. Edit it, then: scanside training check {folder}")
    print(f'To use it, set in the configuration: [console] course = "{folder.resolve()}"')
    return 0


def _check(options: argparse.Namespace) -> int:
    course = Course.read(options.folder)
    own = () if options.cases is None else (options.cases,)
    cases = read_cases(SHIPPED_CASES, *own)
    print(
        f"Course {course.id} {course.version} is in order: {len(course.steps)} steps, "
        f"{len(course.questions)} questions, in {', '.join(course.wordings)}; {len(cases)} cases."
    )
    return 0


def _list(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with open_journal(config) as journal:
        rows = CertificateStore(journal).all(options.limit)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    elif not rows:
        print("Nobody has passed the test yet. It is on the console, under Training.")
    else:
        for row in rows:
            print(f"{row.issued} to {row.expires}  {row.role:<10}  {row.who}  {row.id}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    keys = DeviceKeys.load(config.storage.keys)
    with options.file.open(encoding="utf-8", errors="replace") as file:
        one = verify(file.read(_LONGEST), keys.trust_in_itself)
    print(
        f"Signed by this device: {one.name}, {one.role}, passed {one.course} {one.version} with "
        f"{one.score} of {one.of} on {one.issued}."
    )
    if not one.holds(datetime.now().astimezone().date()):
        print(f"It is not valid any more: it expired on {one.expires}.")
        return 1
    print(f"It is valid until {one.expires}.")
    return 0
