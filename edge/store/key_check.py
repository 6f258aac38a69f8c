"""Whether a folder's studies are of the key at hand, or only damaged.

A study that does not open is damaged, or of another device. For one study alone nobody could tell.
So the folder holds a key of no study, wrapped by the device's: where that opens the key is right,
and what does not open is damaged. It may be damaged itself, or not be there in a folder of an
earlier Scanside; then a study that opens says the same, and it is made anew. Where neither opens,
key and folder are of two devices as far as can be known, and nothing goes on: an appliance that
called it all damaged would invite somebody to erase it all.
"""

from __future__ import annotations

from pathlib import Path

from edge.store.journal import Journal
from edge.store.study_key import SealBroken, StudyKey


def open_journal(file: Path, device_key: bytes) -> Journal:
    """Open a folder's journal, if its studies are of a device key.

    A folder without any becomes that key's.

    Raises
    ------
    JournalError
        If the journal cannot be used.
    SealBroken
        If they are not.
    """
    journal = Journal(file)
    try:
        _check(journal, device_key)
    except BaseException:
        journal.close()
        raise
    return journal


def check_key(journal: Journal, device_key: bytes) -> bool:
    """Raise `SealBroken` if a folder's studies are not of a device key; only reads.

    Returns
    -------
    bool
        Whether the key of no study said so, and not a study.
    """
    with journal.reading() as read:
        checks = read.execute("SELECT wrapped_key FROM device_key").fetchall()
        if any(_opens(row["wrapped_key"], device_key) for row in checks):
            return True
        rows = read.execute("SELECT wrapped_key FROM studies WHERE state != 'erased'").fetchall()
    if rows and not any(_opens(row["wrapped_key"], device_key) for row in rows):
        raise SealBroken(
            "The studies in [storage] folder do not open with this device's storage key. "
            "Check [storage] folder and keys: one of them may be of another device."
        )
    return False


def _check(journal: Journal, device_key: bytes) -> None:
    if check_key(journal, device_key):
        return
    with journal.transaction() as write:
        write.execute("DELETE FROM device_key")
        write.execute(
            "INSERT INTO device_key (wrapped_key) VALUES (?)",
            (StudyKey.new().wrapped(device_key),),
        )


def _opens(wrapped: bytes, device_key: bytes) -> bool:
    try:
        StudyKey.unwrap(wrapped, device_key)
    except SealBroken:
        return False
    return True
