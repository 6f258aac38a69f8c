"""The audit: what was done stands in it, and every later change of it shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge.audit import Act, Anchor, Audit, Verdict, count_entries, read_entries, verify
from edge.keys import DeviceKeys, TrustedDevices, init_device
from edge.store.journal import Journal


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> DeviceKeys:
    return init_device(tmp_path_factory.mktemp("device") / "keys", device="ct-1", site="north")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def audit(journal: Journal, keys: DeviceKeys) -> Audit:
    return Audit(journal, lambda: keys.signing)


@pytest.fixture
def heads(audit: Audit) -> list[Anchor]:
    """Ten entries."""
    return [audit.note(Act("daemon", "alert.made", f"alert:{n}", "final")) for n in range(1, 11)]


def checked(journal: Journal, keys: DeviceKeys, *anchors: Anchor) -> Verdict:
    return verify(journal, keys.trust_in_itself, anchors)


def tamper(journal: Journal, *statements: str) -> None:
    """Change the table as one who has the file can: the triggers are no lock."""
    with journal.transaction() as write:
        for trigger in ("audit_stays", "audit_is_kept"):
            write.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            write.execute(statement)


def test_what_was_done_is_read_back_newest_first(
    journal: Journal, audit: Audit, keys: DeviceKeys
) -> None:
    audit.note(Act("cli:root", "keys.made", "key:abc"))
    audit.note(Act("console:anna (physician)", "study.viewed", "study:12", "refused: no such role"))
    newest, oldest = read_entries(journal, 10)
    assert (newest.number, newest.act.what) == (2, "study.viewed")
    assert (oldest.act.who, oldest.act.on, oldest.act.outcome) == ("cli:root", "key:abc", "done")
    assert oldest.when <= newest.when
    assert checked(journal, keys) == Verdict(2, 0, ())


def test_an_audit_with_nothing_in_it_is_whole(journal: Journal, keys: DeviceKeys) -> None:
    assert checked(journal, keys) == Verdict(0, 0, ())


def test_entries_outlive_the_process(tmp_path: Path, keys: DeviceKeys) -> None:
    for expected in (1, 2, 3):
        journal = Journal(tmp_path / "journal.db")
        audit = Audit(journal, lambda: keys.signing)
        assert audit.note(Act("daemon", "daemon.started")).entries == expected
        journal.close()


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
def test_the_table_itself_is_append_only(
    journal: Journal, heads: list[Anchor], statement: str
) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), journal.transaction() as write:
        write.execute(statement)


@pytest.mark.parametrize("column", ["moment", "who", "what", "target", "outcome"])
def test_any_edit_is_found(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor], column: str
) -> None:
    tamper(journal, f"UPDATE audit SET {column} = {column} || '!' WHERE number = 4")  # noqa: S608
    assert checked(journal, keys).problems == (
        "entry 4 is not as it was written, or not what followed",
    )


def test_an_entry_that_is_missing_in_the_middle_is_found(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor]
) -> None:
    tamper(journal, "DELETE FROM audit WHERE number IN (4, 5)")
    assert "entries 4 to 5 are missing" in checked(journal, keys).problems


def test_entries_that_moved_up_into_the_gap_are_found(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor]
) -> None:
    statements = ["DELETE FROM audit WHERE number = 4", "UPDATE audit SET number = -number"]
    back = "UPDATE audit SET number = -number - (number < -4)"
    tamper(journal, *statements, back)
    assert count_entries(journal) == 9
    problems = checked(journal, keys).problems
    assert problems[0].startswith("entry 4 is not as it was written")
    assert problems[-1] == "entry 10 is missing at the end"


def test_an_end_that_was_cut_off_is_found(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor]
) -> None:
    tamper(journal, "DELETE FROM audit WHERE number > 7")
    assert checked(journal, keys).problems == ("entries 8 to 10 are missing at the end",)


def test_everything_gone_is_found(journal: Journal, keys: DeviceKeys, heads: list[Anchor]) -> None:
    tamper(journal, "DELETE FROM audit")
    assert checked(journal, keys).problems == ("entries 1 to 10 are missing at the end",)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit_head", "UPDATE audit_head SET head = x'41'"]
)
def test_a_head_that_is_missing_or_damaged_is_found(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor], statement: str
) -> None:
    tamper(journal, statement)
    (problem,) = checked(journal, keys).problems
    assert "head" in problem


def test_a_chain_made_anew_is_not_signed_by_the_device(
    journal: Journal, tmp_path: Path, keys: DeviceKeys, heads: list[Anchor]
) -> None:
    """The whole history replaced by one that suits better, with a key at hand."""
    tamper(journal, "DELETE FROM audit")
    other = init_device(tmp_path / "other", device="ct-1", site="north")
    Audit(journal, lambda: other.signing).note(Act("daemon", "daemon.started"))
    (problem,) = checked(journal, keys).problems
    assert "not this device's" in problem


def test_an_old_copy_put_back_is_found_by_what_an_alert_knows(
    journal: Journal, keys: DeviceKeys, audit: Audit, tmp_path: Path
) -> None:
    for number in range(5):
        audit.note(Act("daemon", "alert.made", f"alert:{number}"))
    copy = sqlite3.connect(tmp_path / "copy.db")
    with journal.reading() as read:
        read.backup(copy)
    copy.close()
    known = audit.note(Act("daemon", "alert.made", "alert:6"))
    assert checked(journal, keys, known) == Verdict(6, 1, ())
    restored = Journal(tmp_path / "copy.db")
    assert checked(restored, keys) == Verdict(5, 0, ())  # by itself it looks whole
    (problem,) = checked(restored, keys, known).problems
    assert "an alert knows an entry 6" in problem
    restored.close()


def test_an_entry_is_part_of_the_transaction_it_is_written_in(
    journal: Journal, keys: DeviceKeys, audit: Audit
) -> None:
    audit.note(Act("daemon", "daemon.started"))

    def fail() -> None:
        with journal.transaction():
            audit.note(Act("daemon", "alert.made", "alert:1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert checked(journal, keys) == Verdict(1, 0, ())


def test_many_writers_make_one_chain(tmp_path: Path, journal: Journal, keys: DeviceKeys) -> None:
    others = [Journal(tmp_path / "journal.db") for _ in range(3)]
    writers = [Audit(one, lambda: keys.signing) for one in (journal, *others)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: writers[n % 4].note(Act("daemon", "x.y", str(n))), range(40)))
    assert checked(journal, keys) == Verdict(40, 0, ())
    assert count_entries(journal) == 40
    for one in others:
        one.close()


def test_a_name_cannot_write_on_a_terminal(journal: Journal, audit: Audit) -> None:
    audit.note(Act("console:\x1b[31mroot\n" + "x" * 500, "login.refused"))
    (entry,) = read_entries(journal, 1)
    assert entry.act.who.startswith("console:?[31mroot?xxx")
    assert len(entry.act.who) == 200


def test_nobody_is_trusted_without_keys(
    journal: Journal, keys: DeviceKeys, heads: list[Anchor]
) -> None:
    assert verify(journal, TrustedDevices({})).problems
