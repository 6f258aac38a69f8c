"""The systemd units: systemd takes them, they confine the services, and they agree."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tools import locks

UNITS = locks.ROOT / "systemd"
NAMES = ("scanside.service", "scanside-central.service")
SYSTEMD = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    SYSTEMD is None, reason="systemd-analyze is not installed (apt-get install systemd)"
)


class Unit(configparser.RawConfigParser):
    """A unit file as sections of keys; of a repeated key the last value is kept."""

    def __init__(self, file: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.read_string(file.read_text())

    def optionxform(self, optionstr: str) -> str:
        """Keep the case of keys."""
        return optionstr


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def verifiable(name: str, tmp_path: Path) -> Path:
    """Return a copy whose program exists here; `verify` asks for that."""
    text = (UNITS / name).read_text()
    copy = tmp_path / name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert SYSTEMD is not None
    return subprocess.run([SYSTEMD, *arguments], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_takes_the_unit_without_a_word(verifiable: Path) -> None:
    verified = analyze("verify", "--man=no", str(verifiable))
    assert verified.returncode == 0, verified.stderr
    complaints = [line for line in verified.stderr.splitlines() if verifiable.name in line]
    assert complaints == []


@needs_systemd
def test_systemd_counts_the_service_as_well_confined(verifiable: Path) -> None:
    if "--offline" not in analyze("--help").stdout:
        pytest.skip("this systemd-analyze cannot judge a file that is not installed")
    # Of 10.0 for no confinement at all; the network that a service is for costs 0.5 of it.
    judged = analyze("security", "--offline=true", "--threshold=22", str(verifiable))
    assert judged.returncode == 0, judged.stdout


def test_a_service_reports_that_it_is_ready_and_alive(name: str) -> None:
    service = Unit(UNITS / name)["Service"]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"]
    assert service["Restart"] == "on-failure"


def test_a_service_runs_as_the_user_that_sysusers_makes(name: str) -> None:
    made = re.findall(r"^u (\S+)", (UNITS / "scanside.sysusers").read_text(), re.MULTILINE)
    service = Unit(UNITS / name)["Service"]
    assert made == [service["User"]] == [service["Group"]]


def test_a_service_starts_a_command_that_the_project_installs(name: str) -> None:
    program = Path(Unit(UNITS / name)["Service"]["ExecStart"].split()[0])
    assert program.parent == Path("/opt/scanside/.venv/bin")
    assert program.name in locks.read_project(locks.ROOT)["project"]["scripts"]


def test_neither_service_may_swap_or_dump_what_it_holds_in_memory(name: str) -> None:
    service = Unit(UNITS / name)["Service"]
    assert (service["MemorySwapMax"], service["LimitCORE"]) == ("0", "0")


def test_the_devices_that_cuda_opens_are_open_and_a_disk_and_a_camera_are_not() -> None:
    text = (UNITS / "scanside.service").read_text()
    allowed = re.findall(r"^DeviceAllow=(\S+) rw$", text, re.MULTILINE)
    # As /proc/devices names them on a Jetson Orin, a Jetson Thor and a PC.
    for driver in ("17000000.gpu", "nvhost", "host1x-fence", "drm", "nvidia", "nvidia-uvm"):
        assert any(fnmatch(f"char-{driver}", one) for one in allowed), driver
    assert "/dev/nvmap" in allowed  # a misc device: its number is shared with others
    for closed in ("char-video4linux", "char-mem", "block-nvme", "char-input"):
        assert not any(fnmatch(closed, one) for one in allowed), closed


def test_the_service_s_user_is_in_the_groups_that_a_jetson_gives_its_gpu_to() -> None:
    joined = re.findall(
        r"^m scanside (\S+)", (UNITS / "scanside.sysusers").read_text(), re.MULTILINE
    )
    assert set(joined) == {"video", "render"}


def test_temporary_files_of_the_appliance_are_in_memory() -> None:
    service = Unit(UNITS / "scanside.service")["Service"]
    in_memory = {entry.split(":")[0] for entry in service["TemporaryFileSystem"].split()}
    assert in_memory == {"/tmp", "/var/tmp"}  # noqa: S108 - names to find in the unit


def test_the_folder_of_the_studies_is_there_before_the_service_first_starts() -> None:
    made = re.findall(
        r"^d (\S+) +(\d+) (\S+) +(\S+)", (UNITS / "scanside.tmpfiles").read_text(), re.MULTILINE
    )
    service = Unit(UNITS / "scanside.service")["Service"]
    folder = f"/var/lib/{service['StateDirectory']}"
    assert (folder, service["StateDirectoryMode"], service["User"], service["Group"]) in made
