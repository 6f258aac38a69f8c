"""For ``scanside check``: how long studies are kept, what they take, which should be gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

from edge.config import Config
from edge.grades import CheckResult, Grade
from edge.store.ages import ages
from edge.store.journal import Journal, JournalError
from edge.store.keeping import Rule, overdue, since, usage


def check_retention(config: Config) -> Iterator[CheckResult]:
    """Say how long studies are kept, and what they take."""
    rule, file = Rule.of(config.storage), config.storage.folder / "journal.db"
    ends = [] if rule.seconds is None else [f"for {rule.seconds / 86400:g} days"]
    ends += [] if rule.bytes is None else [f"up to {rule.bytes / 1e9:g} GB"]
    text = f"studies are kept {' and '.join(ends) or 'until somebody erases them'}"
    if not file.exists():
        yield CheckResult("retention", Grade.GOOD, text)
        return
    try:
        with closing(Journal(file, read_only=True)) as journal:
            now = time.time()
            here, come = usage(journal), ages(journal, now)
    except JournalError:
        return  # said of the journal
    held, first = overdue(come, rule, now), since(come)
    if first is not None:
        day = datetime.fromtimestamp(first).astimezone()
        text += f"; {here.studies} since {day:%Y-%m-%d}, {here.bytes / 1e9:.1f} GB"
    doubted = sum(age.doubted for age in come.values())
    if doubted:
        yield CheckResult(
            "retention clock",
            Grade.WARNING,
            f"{doubted} {'study' if doubted == 1 else 'studies'} came while the clock was wrong",
            "They count as come with the next study that came while it was right. Have the clock "
            "set by the network (systemd-timesyncd or chrony).",
        )
    if not held:
        yield CheckResult("retention", Grade.GOOD, text)
        return
    yield CheckResult(
        "retention",
        Grade.WARNING,
        f"{text}; {held} should be gone",
        "Their flags are not acknowledged, or central or the PACS has not had all of them. "
        "See them with: scanside studies list; erase one with: scanside studies erase",
    )
