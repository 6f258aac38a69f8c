"""One configuration file: what it may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import Config, ConfigError, default_toml, load_config

SECTIONS = ("device", "storage", "dicom", "folder", "web", "analysis", "broker", "alerts", "log")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def refusal(file: Path, text: str) -> str:
    """Return what is said of a configuration that cannot be used."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    return str(refused.value)


def test_the_default_file_means_the_defaults(file: Path) -> None:
    file.write_text(default_toml(), encoding="utf-8")
    assert load_config(file) == Config()


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    assert load_config(file) == Config()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_stands_in_the_default_file_below_its_meaning(section: str) -> None:
    lines = default_toml().splitlines()
    start = lines.index(f"[{section}]")
    keys = getattr(Config(), section).__class__.model_fields
    for key, field in keys.items():
        line = next(
            number
            for number, text in enumerate(lines)
            if number > start and text.removeprefix("# ").startswith(f"{key} =")
        )
        above = " ".join(text.removeprefix("# ") for text in lines[start:line])
        assert field.description in above


def test_a_mark_that_an_editor_put_in_front_and_its_line_ends_do_not_matter(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[dicom]\r\nport = 104\r\n")
    assert load_config(file).dicom.port == 104


def test_every_value_of_a_full_file_arrives(file: Path) -> None:
    file.write_text(
        """
[device]
name = "ct-2"
site = "north"
[storage]
folder = "/data/studies"
keys = "/data/keys"
reserve_mb = 17
keep_days = 30
keep_gb = 500
[dicom]
ae_title = "EDGE 2"
host = "127.0.0.1"
port = 104
cert = "/data/dicom.pem"
key = "/data/dicom.key"
ca = "/data/senders.pem"
crl = "/data/scanners.crl"
tls_port = 2762
tls_peers = ["ct1.north"]
plain = false
report_to = ["CT1@10.0.0.5:104"]
report_to_tls = ["CT 2@[fe80::1]:2762"]
peers = ["CT1", "CT 2"]
max_associations = 3
max_instance_mb = 100
inbound_mb = 200
network_timeout_s = 2.5
[folder]
path = "/data/in"
quiet_s = 1
polling = true
[web]
token_file = "/data/token"
cert = "/data/web.pem"
key = "/data/web.key"
tls = false
enabled = true
host = "127.0.0.1"
port = 8080
max_requests = 3
[analysis]
packages = "/data/models"
remote = "/etc/scanside/remote.toml"
engines_mb = 512
last_resort_s = 3
threads = 2
slice_timeout_s = 10
load_timeout_s = 60
volume_timeout_s = 600
[broker]
host = "mqtt.north"
port = 1883
tls = false
ca = "/data/ca.pem"
cert = "/data/cert.pem"
key = "/data/key.pem"
username = "edge"
password_file = "/data/password"
keepalive_s = 15
[alerts]
identity = true
receipts = false
receipts_from = ["ward"]
escalate_after_s = 60
drill_every_h = 24
follow_up = "follow-up.toml"
key_overlap_days = 7
[log]
level = "debug"
""",
        encoding="utf-8",
    )
    config = load_config(file)
    default = Config()
    for section in SECTIONS:
        ours, theirs = getattr(config, section), getattr(default, section)
        for key in type(ours).model_fields:
            assert getattr(ours, key) != getattr(theirs, key), f"[{section}] {key}"
    assert config.dicom.peers == ("CT1", "CT 2")
    assert config.analysis.last_resort_s == 3.0
    assert config.storage.keys == Path("/data/keys")


def test_relative_paths_start_at_the_files_folder(file: Path) -> None:
    file.write_text(
        '[storage]\nfolder = "studies"\nkeys = "../keys"\n'
        '[analysis]\npackages = "models"\n[broker]\nca = "ca.pem"\n',
        encoding="utf-8",
    )
    config = load_config(file)
    assert config.storage.folder == file.parent / "studies"
    assert config.storage.keys == file.parent / "../keys"
    assert config.analysis.packages == file.parent / "models"
    assert config.broker.ca == file.parent / "ca.pem"
    assert config.broker.cert is None


def test_a_relative_name_of_the_file_gives_absolute_paths(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('[storage]\nfolder = "studies"\n', encoding="utf-8")
    monkeypatch.chdir(file.parent)
    assert load_config(Path("config.toml")).storage.folder == file.parent / "studies"


def test_a_misspelt_key_is_named_with_its_line_and_the_keys_there_are(file: Path) -> None:
    said = refusal(file, '# ours\n\n[broker]\nhots = "x"\n')
    assert said.startswith(f"{file} line 4: there is no [broker] hots.")
    assert "host, port, tls, ca, cert, key, username, password_file, keepalive_s" in said


def test_a_misspelt_section_is_named_with_its_line_and_the_sections_there_are(file: Path) -> None:
    said = refusal(file, '[device]\nname = "a"\n[brokers]\nport = 1\n')
    assert said.startswith(f"{file} line 3: there is no [brokers].")
    for section in SECTIONS:
        assert f"[{section}]" in said


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('[broker] port = "8883"', "is not a whole number"),
        ("[broker] port = true", "is not a whole number"),
        ("[broker] port = 8883.5", "is not a whole number"),
        ("[broker] port = 0", "greater than or equal to 1"),
        ("[broker] port = 65536", "less than or equal to 65535"),
        ("[broker] tls = 1", "is neither true nor false"),
        ('[broker] tls = "no"', "is neither true nor false"),
        ("[broker] host = 3", "is not a text in quotes"),
        ('[broker] host = ""', "at least 1 character"),
        ("[broker] ca = 3", "is not a path in quotes"),
        ('[analysis] last_resort_s = "30"', "is not a number"),
        ("[analysis] last_resort_s = false", "is not a number"),
        ("[analysis] last_resort_s = 0", "greater than 0"),
        ("[analysis] last_resort_s = nan", "less than or equal to 3600"),
        ("[analysis] last_resort_s = inf", "less than or equal to 3600"),
        ('[dicom] peers = "CT1"', "is not a list"),
        ("[dicom] peers = [1]", "is not a text in quotes"),
        ('[dicom] ae_title = "   "', "has characters that are not allowed"),
        ('[dicom] ae_title = "A\\\\B"', "has characters that are not allowed"),
        ('[dicom] ae_title = "SEVENTEEN LETTERS"', "at most 16 characters"),
        ("[dicom] max_instance_mb = 4096", "less than or equal to 2000"),
        ('[device] name = "ward/3"', "has characters that are not allowed"),
        ('[device] site = "#"', "has characters that are not allowed"),
        ('[log] level = "loud"', "'debug', 'info', 'warning' or 'error'"),
        ("[storage] folder = 3", "is not a path in quotes"),
        ("[storage] reserve_mb = 0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_shown_with_line_key_and_what_is_wrong(
    file: Path, line: str, wrong: str
) -> None:
    section, assignment = line.split(" ", 1)
    said = refusal(file, f"\n{section}\n\n{assignment}\n")
    assert said.startswith(f"{file} line 4: {section} {assignment.split(' = ')[0]} = ")
    assert wrong in said.splitlines()[0]


def test_what_is_allowed_follows_a_wrong_number(file: Path) -> None:
    assert "Allowed: 1 to 65535." in refusal(file, "[dicom]\nport = 70000\n")
    assert "Allowed: more than 0 to 3600." in refusal(file, "[analysis]\nslice_timeout_s = -1\n")


def test_every_wrong_key_is_told_at_once(file: Path) -> None:
    said = refusal(file, '[broker]\nport = 0\n[dicom]\nport = "x"\n[logs]\n')
    assert [f"line {number}" in said for number in (2, 4, 5)] == [True, True, True]


@pytest.mark.parametrize(
    "text", ['broker.port = "x"\n', 'broker = { port = "x" }\n', '[ broker ]\n"port" = "x"\n']
)
def test_a_key_is_found_however_toml_lets_it_be_written(file: Path, text: str) -> None:
    line = text.count("\n")
    assert refusal(file, text).startswith(
        f'{file} line {line}: [broker] port = "x" is not a whole number.'
    )


@pytest.mark.parametrize("text", ["device = 3\n", '[[device]]\nname = "a"\n'])
def test_a_section_that_is_no_section_is_refused(file: Path, text: str) -> None:
    assert refusal(file, text) == f"{file} line 1: [device] is not a section."


@pytest.mark.parametrize("key", ["cert", "key"])
def test_a_certificate_and_its_key_come_together(file: Path, key: str) -> None:
    said = refusal(file, f'\n[broker]\n{key} = "a.pem"\n')
    assert said.startswith(f"{file} line 2: [broker]: cert and key belong together")


def test_the_largest_instance_fits_into_the_memory_for_all(file: Path) -> None:
    said = refusal(file, "[dicom]\nmax_instance_mb = 100\ninbound_mb = 99\n")
    assert said.startswith(f"{file} line 3: [dicom] inbound_mb = 99: is less than max_instance_mb")
    said = refusal(file, "\n[dicom]\nmax_instance_mb = 1025\n")
    assert said.startswith(f"{file} line 2: [dicom] inbound_mb: is less than max_instance_mb")


CERTIFIED = '[dicom]\ncert = "a.pem"\nkey = "a.key"\n'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[dicom]\ntls_port = 2762\n", "2: [dicom] tls_port = 2762: needs cert and key and ca"),
        (f"{CERTIFIED}tls_port = 2762\n", "4: [dicom] tls_port = 2762: needs ca in"),
        (
            f'{CERTIFIED}ca = "ca.pem"\ntls_port = 11112\n',
            "5: [dicom] tls_port = 11112: is the port without TLS too",
        ),
        (
            '[dicom]\nreport_to = ["CT1@scanner"]\n',
            "2: [dicom] report_to = [\"CT1@scanner\"]: 'CT1@scanner' is not AE@host:port",
        ),
        (
            '[dicom]\nreport_to_tls = ["CT1@scanner:2762"]\n',
            '2: [dicom] report_to_tls = ["CT1@scanner:2762"]: needs cert, key and ca',
        ),
        ('[dicom]\ncrl = "list.pem"\n', '2: [dicom] crl = "list.pem": needs ca in [dicom] too'),
        ("[dicom]\n\nplain = false\n", "3: [dicom] plain = false: no sender could come in"),
    ],
)
def test_dicom_over_tls_is_refused_where_something_is_missing(
    file: Path, text: str, wrong: str
) -> None:
    assert refusal(file, text).startswith(f"{file} line {wrong}")


@pytest.mark.parametrize("text", ["port =", '[device]\nname = "a"\nname = "b"\n', "[broker\n"])
def test_text_that_is_not_toml_is_refused_with_its_place(file: Path, text: str) -> None:
    said = refusal(file, text)
    assert said.startswith(f"{file}: not TOML: ")
    assert "line" in said or "end of document" in said


def test_bytes_that_are_not_text_are_refused(file: Path) -> None:
    file.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 2\)"):
        load_config(file)


def test_a_missing_file_is_told_with_the_command_that_writes_one(file: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert str(refused.value) == (
        f"{file}: No such file or directory.\n"
        f"  Write a commented default with: scanside config init {file}"
    )


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


def test_keys_of_another_device_are_refused() -> None:
    config = Config()
    config.check_names("scanside-1", "hospital")
    with pytest.raises(ConfigError, match=r"of device 'other' at site 'hospital'.*scanside-1"):
        config.check_names("other", "hospital")
