"""``scanside results``: what went to the PACS is listed, opened, and sent again on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from arrivals import NAME
from findings import finding, series
from reporting import DEVICE, report
from terminal import Terminal, fresh, with_two_studies

from edge.audit import read_entries
from edge.config import Results, load_config
from edge.keys import DeviceKeys
from edge.results.desk import Desk
from edge.store.documents import Documents, DocumentState
from edge.store.journal import Journal
from edge.store.studies import Store

# The MQTT library leaves the sockets of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@contextmanager
def journal_of(terminal: Terminal) -> Iterator[Journal]:
    journal = Journal(load_config(terminal.config).storage.folder / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance with a report in the PACS and key images that it refused."""
    terminal = with_two_studies(fresh(tmp_path, capsys))
    config = load_config(terminal.config)
    keys = DeviceKeys.load(config.storage.keys)
    store = Store(config.storage.folder, device_key=keys.storage, reserve_bytes=0)
    documents = Documents(store.journal)
    study = store.study(1)
    desk = Desk(documents, DEVICE, Results(host="pacs", enabled=True))
    desk.keep(1, study.key, report(series(finding(0.9))), replaces=False)
    documents.stored(1, "")
    documents.refused(2, "0xA900: the object does not match its SOP class")
    store.close()
    return terminal


def enable(terminal: Terminal, **settings: object) -> None:
    """Write ``[results]`` into the configuration."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    text = terminal.config.read_text("utf-8")
    head, _, rest = text.partition("[results]\n")
    _, mark, tail = rest.partition("\n[console]")
    terminal.config.write_text(f"{head}[results]\n{lines}\n# Pages.{mark}{tail}", "utf-8")


def test_the_list_says_what_stands_where_and_what_to_do(sent: Terminal) -> None:
    assert sent("results list") == 0
    assert "1 refused, 1 in the PACS" in sent.out
    assert "0xA900:" in sent.out
    assert "REFUSED" in sent.out
    assert "\u2026" not in sent.out  # no word is cut
    assert "scanside results resend --refused" in sent.out
    sent("results list", "--json")
    newest, oldest = json.loads(sent.out)
    assert (newest["kind"], newest["state"]) == ("key_images", "refused")
    assert (oldest["kind"], oldest["state"], oldest["study_id"]) == ("report", "stored", 1)


def test_the_list_names_what_is_damaged_here(sent: Terminal) -> None:
    sent("results list")
    assert "DAMAGED" not in sent.out
    with journal_of(sent) as journal, journal.transaction() as write:
        write.execute("UPDATE documents SET about = randomblob(60) WHERE id = 1")
    assert sent("results list") == 0
    assert "DAMAGED" in sent.out
    assert "Damaged here: 1. They cannot be sent again" in sent.out
    sent("results list", "--json")
    assert [one["damaged"] for one in json.loads(sent.out)] == [False, True]


def test_before_the_first_the_list_says_whether_it_is_switched_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = with_two_studies(fresh(tmp_path, capsys))
    assert used("results list") == 0
    assert "It is switched off: see [results] enabled" in used.out


def test_one_is_shown_with_its_names_and_findings_and_no_patient(sent: Terminal) -> None:
    assert sent("results show 1") == 0
    assert "Result 1, report of study 1" in sent.out
    assert "SOP Instance UID 2.25." in sent.out
    assert "Hemorrhage" in sent.out
    assert "not a diagnosis" in " ".join(sent.out.split())
    sent("results show 1", "--json")
    shown = json.loads(sent.out)
    assert shown["says"]["report"]["outcome"] == "flagged"
    for form in ([], ["--json"]):
        for command in ("results list", "results show 1"):
            sent(command, *form)
            assert NAME not in sent.out
            assert "SECRET" not in sent.out


def test_what_was_refused_is_sent_again_and_who_asked_is_in_the_audit(sent: Terminal) -> None:
    assert sent("results resend", "--refused") == 0
    assert "Sent again: 2." in sent.out
    assert "until [results] enabled is true" in sent.out
    with journal_of(sent) as journal:
        line = Documents(journal).find(2)
        assert line is not None
        assert line.state is DocumentState.WAITING
        act = read_entries(journal, 1)[-1].act
    assert (act.what, act.on) == ("result.resent", "document:2")
    assert act.who.startswith("cli:")
    assert sent.refused("results resend", "--refused") == "The PACS refused nothing."


def test_what_is_not_there_is_told_with_where_to_look_and_nothing_else_is_sent(
    sent: Terminal,
) -> None:
    assert sent.refused("results show 7").startswith("There is no result 7")
    assert sent.refused("results resend 2 7").startswith("There is no result 7")
    assert "Which? Give numbers" in sent.refused("results resend")
    with journal_of(sent) as journal:
        assert Documents(journal).standing().counts["refused"] == 1


def test_check_says_that_no_pacs_answers_and_how_much_was_refused(sent: Terminal) -> None:
    enable(sent, enabled=True, host="127.0.0.1", port=1, timeout_s=2.0)
    sent("check")
    assert "results: PACS@127.0.0.1:1 cannot be reached: connection refused" in sent.out
    assert "Results wait on the disk until it takes them" in sent.out
    assert "results sent: 0 wait, 1 refused, 1 in the PACS" in sent.out
    assert "pynetdicom" not in sent.err


def test_results_without_a_host_are_refused_with_the_line(sent: Terminal) -> None:
    enable(sent, enabled=True)
    said = sent.refused("results list")
    assert "[results] enabled = true: needs host in [results] too" in said
