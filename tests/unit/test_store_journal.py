"""The journal refuses what it cannot understand, and a transaction is whole or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.store.journal import Journal, JournalError
from edge.store.schema import MIGRATIONS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(file: Path) -> Iterator[Journal]:
    with closing(Journal(file)) as opened:
        yield opened


def set_version(file: Path, version: int) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {version}")


def pragma(journal: Journal, name: str) -> object:
    with journal.reading() as read:
        value: object = read.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def test_a_commit_is_on_the_disk_and_what_was_deleted_is_gone_from_it(journal: Journal) -> None:
    assert pragma(journal, "journal_mode") == "wal"
    assert pragma(journal, "synchronous") == 2
    assert pragma(journal, "secure_delete") == 1
    assert pragma(journal, "foreign_keys") == 1


def test_a_new_journal_has_the_latest_schema(journal: Journal) -> None:
    assert pragma(journal, "user_version") == len(MIGRATIONS)


def test_opening_a_journal_again_changes_nothing(file: Path) -> None:
    Journal(file).close()
    before = file.read_bytes()
    Journal(file).close()
    assert file.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_of_a_later_version_is_refused(file: Path, read_only: bool) -> None:
    Journal(file).close()
    set_version(file, len(MIGRATIONS) + 1)
    with pytest.raises(JournalError, match="Install the version that wrote it, or a later one"):
        Journal(file, read_only=read_only)


def test_a_migration_that_fails_leaves_the_journal_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(file).close()
    broken = (*MIGRATIONS, "CREATE TABLE later (id INTEGER); CREATE TABLE studies (id INTEGER);")
    with monkeypatch.context() as patched:
        patched.setattr("edge.store.journal.MIGRATIONS", broken)
        with pytest.raises(JournalError, match="already exists"):
            Journal(file)
    with closing(Journal(file)) as journal, journal.reading() as read:
        names = [row["name"] for row in read.execute("SELECT name FROM sqlite_master")]
        assert "later" not in names


def test_an_onlooker_does_not_bring_an_early_journal_up_to_date(file: Path) -> None:
    Journal(file).close()
    set_version(file, 0)
    with pytest.raises(JournalError, match="Start `scanside run` once"):
        Journal(file, read_only=True)


def test_an_onlooker_is_told_that_there_is_no_journal_yet(file: Path) -> None:
    with pytest.raises(JournalError, match="made when `scanside run` first starts"):
        Journal(file, read_only=True)
    assert not file.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_journal_is_told_as_such(file: Path, read_only: bool) -> None:
    file.write_bytes(b"this is not a database, but it is long enough to look at " * 20)
    with pytest.raises(JournalError, match=r"not a database\. Restore the file from a backup"):
        Journal(file, read_only=read_only)


def test_a_journal_that_cannot_be_opened_is_not_told_to_be_moved_away(file: Path) -> None:
    file.mkdir()
    with pytest.raises(JournalError, match=r"unable to open database file\. Is it of the user"):
        Journal(file)


def test_a_transaction_that_fails_leaves_nothing(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after_writing(journal)
    with journal.reading() as read:
        assert read.execute("SELECT COUNT(*) FROM results").fetchone()[0] == 0
    with journal.transaction() as write:  # and the next one can begin
        write.execute("SELECT 1")


def fail_after_writing(journal: Journal) -> None:
    with journal.transaction() as write:
        write.execute("PRAGMA defer_foreign_keys = ON")
        write.execute("INSERT INTO results VALUES (1, 1, 'final', x'00', 0)")
        raise ZeroDivisionError


def test_a_commit_that_fails_leaves_nothing_and_the_next_one_can_begin(journal: Journal) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        write_a_result_of_no_study(journal)
    with journal.transaction() as write:
        assert write.execute("SELECT COUNT(*) FROM results").fetchone()[0] == 0


def write_a_result_of_no_study(journal: Journal) -> None:
    with journal.transaction() as write:
        write.execute("PRAGMA defer_foreign_keys = ON")  # the study is looked for at the commit
        write.execute("INSERT INTO results VALUES (1, 1, 'final', x'00', 0)")
