"""Accounts of the console: passwords, lock-out, sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import extract_parameters

from edge.console.accounts import AccountError, Accounts, Refused, Role, User
from edge.console.database import ConsoleDatabase
from edge.console.passwords import NOBODY, WeakPassword, keep, matches, wait_s
from edge.console.sessions import Sessions

PASSWORD = "a short sentence"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ConsoleDatabase]:
    database = ConsoleDatabase(tmp_path)
    yield database
    database.close()


@pytest.fixture
def accounts(database: ConsoleDatabase) -> Accounts:
    return Accounts(database)


def test_a_kept_password_is_argon2id_and_opens_with_itself_alone() -> None:
    kept = keep(PASSWORD)
    assert kept.startswith("$argon2id$")
    assert PASSWORD not in kept
    assert matches(kept, PASSWORD)
    assert not matches(kept, PASSWORD.upper())
    assert not matches(None, PASSWORD)


@pytest.mark.parametrize("weak", ["", "short", "aaaaaaaaaaaaaaaa", "x" * 257])
def test_a_weak_password_is_refused_with_a_reason(weak: str) -> None:
    with pytest.raises(WeakPassword, match="password"):
        keep(weak)


def test_a_name_that_nobody_has_costs_the_time_of_a_wrong_password() -> None:
    assert extract_parameters(NOBODY) == extract_parameters(keep("a horse on a bicycle"))
    assert not matches(None, "nobody has this password")


def test_wrong_passwords_cost_more_and_more_time_but_never_the_account() -> None:
    waits = [wait_s(failures) for failures in range(1, 40)]
    assert waits[:4] == [0, 0, 0, 0]
    assert waits[4:7] == [5, 10, 20]
    assert waits == sorted(waits)
    assert waits[-1] == 900


def test_a_name_is_the_same_in_upper_and_lower_case_and_taken_once(accounts: Accounts) -> None:
    accounts.add("Amina", Role.TECHNICIAN, PASSWORD)
    assert isinstance(accounts.sign_in(" amina ", PASSWORD, now=0), User)
    with pytest.raises(AccountError, match="already"):
        accounts.add("AMINA", Role.ADMIN, PASSWORD)


def test_an_account_is_closed_for_a_while_after_wrong_passwords(accounts: Accounts) -> None:
    accounts.add("amina", Role.TECHNICIAN, PASSWORD)
    for _ in range(5):
        answer = accounts.sign_in("amina", "not this one", now=100)
    assert isinstance(answer, Refused)
    assert answer.wait_s == 5
    closed = accounts.sign_in("amina", PASSWORD, now=103)
    assert isinstance(closed, Refused)
    assert closed.wait_s == pytest.approx(2)
    assert isinstance(accounts.sign_in("amina", PASSWORD, now=106), User)
    again = accounts.sign_in("amina", "not this one", now=107)
    assert isinstance(again, Refused)
    assert again.wait_s == 0, "the right password forgives the wrong ones"


def test_who_is_not_known_learns_nothing(accounts: Accounts) -> None:
    assert accounts.sign_in("nobody", PASSWORD, now=0) == Refused(None, 0.0)


def test_the_hospitals_log_in_makes_an_account_that_has_no_password(accounts: Accounts) -> None:
    first = accounts.external("https://login|7", "Dr. Layla", Role.PHYSICIAN)
    later = accounts.external("https://login|7", "Dr. Layla Hassan", Role.ADMIN)
    assert (later.id, later.role, later.name) == (first.id, Role.ADMIN, "Dr. Layla Hassan")
    assert isinstance(accounts.sign_in(later.name, "", now=0), Refused)
    with pytest.raises(AccountError, match="hospital's own log-in"):
        accounts.set_password(later.name, PASSWORD)


def test_a_session_ends_by_age_by_idleness_and_by_leaving(
    database: ConsoleDatabase, accounts: Accounts
) -> None:
    user = accounts.add("amina", Role.TECHNICIAN, PASSWORD)
    sessions = Sessions(database, longest_s=1000, idle_s=100)
    cookie = sessions.open(user, now=0)
    assert sessions.find(cookie, now=90) is not None
    assert sessions.find(cookie, now=180) is not None, "it was used at 90"
    assert sessions.find(cookie, now=290) is None, "idle for more than 100 s"
    cookie = sessions.open(user, now=300)
    for now in range(380, 1300, 80):
        assert sessions.find(cookie, now=now) is not None
    assert sessions.find(cookie, now=1301) is None, "older than 1000 s"
    session = sessions.find(cookie := sessions.open(user, now=2000), now=2000)
    assert session is not None
    sessions.end(session)
    assert sessions.find(cookie, now=2001) is None


def test_a_page_that_only_looks_on_does_not_keep_a_session_open(
    database: ConsoleDatabase, accounts: Accounts
) -> None:
    sessions = Sessions(database, longest_s=1000, idle_s=100)
    cookie = sessions.open(accounts.add("amina", Role.TECHNICIAN, PASSWORD), now=0)
    assert sessions.find(cookie, now=90, touch=False) is not None
    assert sessions.find(cookie, now=101) is None


@pytest.mark.parametrize("end", ["remove", "new password"])
def test_sessions_end_with_the_account_or_its_password(
    database: ConsoleDatabase, accounts: Accounts, end: str
) -> None:
    sessions = Sessions(database, longest_s=1000, idle_s=100)
    cookie = sessions.open(accounts.add("amina", Role.TECHNICIAN, PASSWORD), now=0)
    if end == "remove":
        accounts.remove("amina")
    else:
        accounts.set_password("amina", "another sentence")
    assert sessions.find(cookie, now=1) is None


def test_the_file_holds_no_cookie_and_is_for_its_owner_alone(
    tmp_path: Path, database: ConsoleDatabase, accounts: Accounts
) -> None:
    sessions = Sessions(database, longest_s=1000, idle_s=100)
    cookie = sessions.open(accounts.add("amina", Role.TECHNICIAN, PASSWORD), now=0)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert cookie.encode() not in kept
    assert PASSWORD.encode() not in kept
    assert (tmp_path / "console.db").stat().st_mode & 0o077 == 0
