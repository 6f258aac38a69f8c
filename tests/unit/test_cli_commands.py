"""The command line: what an administrator sees, and what is said when something is not in order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from arrivals import NAME
from terminal import Terminal, fresh, with_two_studies

from edge.config import default_toml, load_config
from edge.keys import CENTRAL_PUBLIC, DeviceKeys, init_central
from edge.store.studies import Store

# The MQTT library leaves the sockets of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

COMMANDS = [
    "run",
    "check",
    "config init",
    "keys init",
    "keys show",
    "keys add-recipient",
    "keys remove-recipient",
    "keys rotate",
    "keys csr",
    "keys install-cert",
    "studies list",
    "studies show",
    "studies erase",
    "alerts list",
    "alerts show",
    "results list",
    "results show",
    "results resend",
    "drill",
    "audit show",
    "audit verify",
    "training copy",
    "training check",
    "training list",
    "training verify",
]


@pytest.fixture
def scanside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """An appliance that has its configuration, and nothing else."""
    return fresh(tmp_path, capsys)


@pytest.fixture
def used(scanside: Terminal) -> Terminal:
    """An appliance that has had two studies, one of them with a bleed, told of by an alert."""
    return with_two_studies(scanside)


# Help


@pytest.mark.parametrize(
    "command", ["", *COMMANDS, "config", "keys", "studies", "results", "audit"]
)
def test_every_command_explains_itself(scanside: Terminal, command: str) -> None:
    with pytest.raises(SystemExit) as left:
        scanside(f"{command} --help", with_config=False)
    assert left.value.code == 0


def test_the_first_help_names_every_command_and_what_a_flag_is(
    scanside: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        scanside("--help", with_config=False)
    said = capsys.readouterr().out
    for command in ("run", "check", "config", "keys", "studies", "alerts", "results", "audit"):
        assert f"\n    {command} " in said
    assert "never a diagnosis" in " ".join(said.split())


def test_the_version_is_the_packages(
    scanside: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        scanside("--version", with_config=False)
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("scanside ")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "nonsense",
        "studies",
        "studies show x",
        "studies show 0",
        "studies show 99999999999999999999",
        "alerts list --limit -1",
    ],
)
def test_wrong_usage_is_told_with_code_2(
    scanside: Terminal, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        scanside(command, with_config=False)
    assert left.value.code == 2
    assert "usage: scanside" in capsys.readouterr().err


# The configuration and the keys


def test_config_init_writes_the_commented_default(scanside: Terminal, tmp_path: Path) -> None:
    new = tmp_path / "new.toml"
    assert scanside("config init", str(new), with_config=False) == 0
    assert new.read_text(encoding="utf-8") == default_toml()
    assert f"scanside keys init --config {new}" in scanside.out


def test_config_init_leaves_what_is_there(scanside: Terminal) -> None:
    before = scanside.config.read_bytes()
    assert scanside("config init", str(scanside.config), with_config=False) == 1
    assert scanside.err == f"scanside: {scanside.config} exists already; it was left as it is.\n"
    assert scanside.config.read_bytes() == before


def test_config_init_says_which_folder_is_missing(scanside: Terminal, tmp_path: Path) -> None:
    assert scanside("config init", str(tmp_path / "no" / "c.toml"), with_config=False) == 1
    assert scanside.err == f"scanside: {tmp_path / 'no'}: no such folder. Make it first.\n"


WITHOUT_CONFIGURATION = ("check", "config init", "training copy", "training check")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in WITHOUT_CONFIGURATION])
def test_without_a_configuration_every_command_says_how_to_get_one(
    scanside: Terminal, command: str
) -> None:
    scanside.config.unlink()
    needs = {
        "studies show": "1",
        "studies erase": "1 --reason=ours",
        "alerts show": "1",
        "results show": "1",
        "keys add-recipient": "x.json",
        "keys remove-recipient": "ward",
        "keys install-cert": "x.pem",
        "training verify": "x.jws",
    }
    arguments = needs.get(command, "").split()
    said = scanside.refused(command, *arguments)
    assert said == (
        f"{scanside.config}: No such file or directory.\n"
        f"  Write a commented default with: scanside config init {scanside.config}"
    )


@pytest.mark.parametrize("key", ["ports = 1", "port = true"])
def test_run_leaves_with_2_when_another_try_would_be_no_better(
    scanside: Terminal, key: str
) -> None:
    scanside.config.write_text(f"[broker]\n{key}\n", encoding="utf-8")
    assert scanside("run") == 2


def test_a_wrong_key_is_told_with_its_line(scanside: Terminal) -> None:
    scanside.config.write_text("[broker]\nports = 1\n", encoding="utf-8")
    assert "line 2: there is no [broker] ports." in scanside.refused("studies list")


@pytest.mark.parametrize("command", ["run", "keys show", "studies list", "alerts show 1"])
def test_without_keys_a_command_says_how_to_make_them(scanside: Terminal, command: str) -> None:
    assert "keys init" in scanside.refused(command)


def test_keys_are_made_once_and_shown_without_a_secret(scanside: Terminal) -> None:
    assert scanside("keys init") == 0
    assert "device scanside-1 at site hospital" in scanside.out
    keys = DeviceKeys.load(load_config(scanside.config).storage.keys)
    assert scanside("keys show") == 0
    assert "Device scanside-1 at site hospital" in scanside.out
    assert "No recipients" in scanside.out
    assert keys.storage.hex() not in scanside.out
    before = keys.storage
    scanside.refused("keys init")
    assert DeviceKeys.load(load_config(scanside.config).storage.keys).storage == before


def test_a_central_server_becomes_a_recipient(scanside: Terminal, tmp_path: Path) -> None:
    scanside("keys init")
    init_central(tmp_path / "central", "ward")
    assert scanside("keys add-recipient", str(tmp_path / "central" / CENTRAL_PUBLIC)) == 0
    assert scanside.out.startswith("ward can read alerts")
    scanside("keys show")
    assert "Recipient ward, key " in scanside.out


def test_a_file_that_is_no_public_key_is_refused(scanside: Terminal, tmp_path: Path) -> None:
    scanside("keys init")
    (tmp_path / "odd.json").write_text("[]", encoding="utf-8")
    assert "odd.json" in scanside.refused("keys add-recipient", str(tmp_path / "odd.json"))
    assert "none.json" in scanside.refused("keys add-recipient", str(tmp_path / "none.json"))


# What came in, what went out


def test_before_the_first_start_there_is_no_journal(scanside: Terminal) -> None:
    scanside("keys init")
    for command in (
        "studies list",
        "studies show 1",
        "alerts list",
        "alerts show 1",
        "results list",
    ):
        said = scanside.refused(command)
        assert "there is no journal yet. It is made when `scanside run` first starts." in said


def test_before_the_first_study_the_list_says_how_to_send_one(scanside: Terminal) -> None:
    scanside("keys init")
    config = load_config(scanside.config)
    keys = DeviceKeys.load(config.storage.keys)
    Store(config.storage.folder, device_key=keys.storage, reserve_bytes=0).close()
    assert scanside("studies list") == 0
    assert scanside.out.startswith("No study has come in yet. To send one:\n")
    assert scanside("alerts list") == 0
    assert scanside.out == "No alert was made yet.\n"
    assert scanside("studies list", "--json") == 0
    assert json.loads(scanside.out) == []


def test_the_list_of_studies_has_the_newest_first(used: Terminal) -> None:
    assert used("studies list") == 0
    words = [line.split() for line in used.out.splitlines() if line.strip()]
    rows = [row for row in words if row[0].isdigit()]
    assert [row[0] for row in rows] == ["2", "1"]
    assert "quarantined" in rows[0]
    assert {"decided", "flagged", "critical"} < set(rows[1])
    used("studies list", "--limit", "1", "--json")
    (study,) = json.loads(used.out)
    assert study["id"] == 2


def test_no_word_is_cut_on_a_narrow_terminal(
    used: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("studies list", "studies show 1", "alerts list", "alerts show 1", "audit show"):
        used(command)
        assert "\u2026" not in used.out


def test_no_list_names_the_patient(used: Terminal) -> None:
    for command in ("studies list", "studies show 1", "alerts list", "alerts show 1"):
        for form in ([], ["--json"]):
            assert used(command, *form) == 0
            assert NAME not in used.out
            assert "SECRET" not in used.out


def test_a_study_is_shown_with_its_series_and_alerts(used: Terminal) -> None:
    assert used("studies show 1") == 0
    assert "Study 1, patient ABCDEFGHIJKLMNOPQRSTUVWXYZ, decided, flagged" in used.out
    assert "no model for this kind of study" in used.out
    row = next(line for line in used.out.splitlines() if line.startswith("CT"))
    assert row.split() == ["CT", "HEAD", "5", "1", "1", "geometry"]
    assert "critical" in used.out
    assert "queued" in used.out
    assert "A physician decides." in " ".join(used.out.split())
    used("studies show 1", "--json")
    shown = json.loads(used.out)
    assert shown["series"][0]["conflicts"] == 1
    assert shown["alerts"][0]["urgency"] == "critical"


def test_words_in_brackets_are_words(used: Terminal) -> None:
    used("studies show 1")
    assert "[odd] :warning: doubt" in used.out
    used("alerts show 1")
    assert "[odd] :warning: doubt" in used.out


def test_what_a_scanner_wrote_cannot_command_the_terminal(used: Terminal) -> None:
    assert used("studies show 2") == 0
    assert "\x1b" not in used.out
    assert "[/b]" in used.out


def test_what_is_not_there_is_told_with_where_to_look(used: Terminal) -> None:
    assert used.refused("studies show 7") == "There is no study 7. See: scanside studies list"
    assert used.refused("alerts show 7") == "There is no alert 7. See: scanside alerts list"


def test_the_keys_of_another_device_do_not_open_the_journal(used: Terminal) -> None:
    keys = load_config(used.config).storage.keys
    keys.rename(keys.with_name("other"))
    used("keys init")
    assert "Check [storage] folder and keys" in used.refused("studies list")
    used.refused("alerts show 1")


def damage(journal: Path) -> None:
    journal.write_bytes(b"not a database at all, whatever it is called" * 100)


def grow_up(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("harm", "advice"),
    [(damage, "Restore the file from a backup"), (grow_up, "Install the version that wrote it")],
)
def test_a_journal_that_cannot_be_used_is_told_as_such(
    used: Terminal, harm: Callable[[Path], None], advice: str
) -> None:
    harm(load_config(used.config).storage.folder / "journal.db")
    for command in ("studies list", "alerts list"):
        assert advice in used.refused(command)


# Run and check


def test_run_refuses_keys_of_another_name(scanside: Terminal) -> None:
    scanside("keys init")
    text = scanside.config.read_text(encoding="utf-8")
    scanside.config.write_text(text.replace("scanside-1", "other-1"), encoding="utf-8")
    assert "are of device 'scanside-1'" in scanside.refused("run")


def test_run_refuses_a_folder_of_packages_that_is_not_there(scanside: Terminal) -> None:
    scanside("keys init")
    text = scanside.config.read_text(encoding="utf-8")
    scanside.config.write_text(
        text.replace("# packages =", 'packages = "nowhere"'), encoding="utf-8"
    )
    assert "nowhere: no such folder" in scanside.refused("run")


def test_check_on_a_fresh_configuration_says_what_to_do_first(scanside: Terminal) -> None:
    assert scanside("check") == 1
    assert f"ok   configuration: {scanside.config}" in scanside.out
    assert "FAIL keys: " in scanside.out
    assert "scanside keys init" in scanside.out
    assert "ok   journal: none yet; the first start makes it" in scanside.out
    assert "ok   model head-ct-hemorrhage: " in scanside.out
    assert "warn broker: " in scanside.out


def test_check_passes_with_warnings_before_the_first_start(scanside: Terminal) -> None:
    scanside("keys init")
    assert scanside("check", "--json") == 0
    grades = {one["name"]: one["grade"] for one in json.loads(scanside.out)}
    assert grades["keys"] == "good"
    assert grades["recipients"] == "warning"
    assert grades["broker"] == "warning"
    assert "bad" not in grades.values()


def test_check_says_what_is_wrong_with_the_configuration(scanside: Terminal) -> None:
    scanside.config.write_text("[dicom]\nport = 0\n", encoding="utf-8")
    assert scanside("check") == 1
    assert "FAIL configuration: " in scanside.out
    assert "line 2: [dicom] port = 0" in scanside.out


def test_check_says_that_a_journal_is_damaged(used: Terminal) -> None:
    damage(load_config(used.config).storage.folder / "journal.db")
    assert used("check") == 1
    assert "FAIL journal: " in used.out


def test_check_counts_the_alerts_that_wait(used: Terminal) -> None:
    assert used("check") == 0
    assert "ok   journal: 1 alerts wait for the broker" in used.out
