"""What a command does stands in the audit, under the name of who typed it."""

from __future__ import annotations

import os
import pwd
from contextlib import closing

from edge.audit import Act, Audit
from edge.config import Config
from edge.keys import DeviceKeys
from edge.store.journal import Journal


def note(config: Config, what: str, on: str = "", outcome: str = "done") -> None:
    """Write an entry into the audit of the appliance.

    Before the daemon first ran there is no journal, and so no audit yet: it belongs to the
    daemon's user, who need not be the one who types.
    """
    file = config.storage.folder / "journal.db"
    if not file.exists():
        return
    signing = DeviceKeys.load(config.storage.keys).signing
    with closing(Journal(file)) as journal:
        Audit(journal, lambda: signing).note(Act(actor(), what, on, outcome))


def actor() -> str:
    """Return who types, for the audit: ``cli:root``."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a number without a name
        return f"cli:{os.getuid()}"
