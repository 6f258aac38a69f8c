"""What a hospital's IT would ask of the two services, once the page was carried out."""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom import FileDataset

from tools.gpu_check.part import Part, failed, passed
from tools.install_check.machine import Machine, MachineError
from tools.install_check.pair import Pair, wait_for
from tools.install_check.power import sequence_problems, wait_until_serving
from tools.scanner import SendError, head_ct_series, send

READY = "Engines ready; broker connected"
_EXPOSED = 2.2  # what systemd-analyze may count of 10.0; the network that it is for costs 0.5
_STOP_S = 30.0  # TimeoutStopSec of the unit
_SLICES = 20  # 8 mm apart; a model of head CT takes up to 10

Check = Callable[[Pair], Part]


def every(pair: Pair) -> Iterator[Part]:
    """Ask everything, in an order in which a later question finds the service up."""
    for check in (
        ready,
        confined,
        judged,
        memory,
        whole_study,
        killed,
        worker_killed,
        hung,
        stopped,
        restarted,
        silent,
    ):
        yield _asked(check, pair)


def _asked(check: Check, pair: Pair) -> Part:
    """Ask one thing; what does not come in time, or a command that fails, is its answer."""
    try:
        return check(pair)
    except (MachineError, SendError) as error:
        return failed(check.__name__, str(error))


def ready(pair: Pair) -> Part:
    """`systemctl status` says that it is ready, and is right."""
    wait_for(lambda: shown(pair.appliance, "StatusText") == READY or None, f"the status {READY!r}")
    return passed("ready", f"systemctl status says {READY!r}")


def confined(pair: Pair) -> Part:
    """The daemon and its worker run inside the sandbox of the unit."""
    processes = pair.appliance.run(
        "for pid in $(cat /sys/fs/cgroup/system.slice/scanside.service/cgroup.procs); do "
        "grep -h -E '^(Name|Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status "
        "| tr -s '\\t\\n' ' '; echo; done"
    ).splitlines()
    inside = re.compile(r"Uid: (?!0 ).* CapEff: 0+ NoNewPrivs: 1 Seccomp: 2")
    outside = [one for one in processes if not inside.search(one)]
    if len(processes) < 2 or outside:
        return failed("confined", f"daemon and worker should be confined: {processes}")
    return passed(
        "confined",
        f"{len(processes)} processes, each without capability, with a system call filter",
    )


def judged(pair: Pair) -> Part:
    """Return what systemd makes of the unit as it is installed."""
    said = {
        unit: pair_machine.run(f"systemd-analyze security --no-pager {unit}").splitlines()[-1]
        for pair_machine, unit in zip(pair.machines, ("scanside", "scanside-central"), strict=True)
    }
    figures = {unit: float(re.findall(r"(\d+\.\d+)", line)[0]) for unit, line in said.items()}
    text = ", ".join(f"{unit} {figure}" for unit, figure in figures.items())
    if max(figures.values()) > _EXPOSED:
        return failed("systemd-analyze security", f"{text}; at most {_EXPOSED} is meant")
    return passed("systemd-analyze security", f"{text} of 10.0")


def memory(pair: Pair) -> Part:
    """The service may not swap, and what it takes is known."""
    folder = "/sys/fs/cgroup/system.slice/scanside.service"
    swap, peak = pair.appliance.run(f"cat {folder}/memory.swap.max {folder}/memory.peak").split()
    if swap != "0":
        return failed("memory", f"memory.swap.max is {swap}")
    return passed("memory", f"no swap; at most {int(peak) / 1e6:.0f} MB so far, files included")


def whole_study(pair: Pair) -> Part:
    """A whole study is analysed and its alert stored, opened and verified at central."""
    body = _sent_whole(pair, head_ct_series(lesion=True, slices=_SLICES, seed=1))
    latest = pair.studies()[0]
    if not all(one["analysed"] for one in body["study"]["series"]):
        return failed("study", f"not analysed: {body['study']['series']}")
    return passed(
        "study",
        f"studies list says {latest['state']}, {latest['instances']} images; central has the alert",
    )


def killed(pair: Pair) -> Part:
    """After `kill -9` of the daemon in the middle of a series, nothing is lost."""
    series = head_ct_series(lesion=False, slices=_SLICES, seed=2)
    before = shown(pair.appliance, "NRestarts")
    send(series[: _SLICES // 2], pair.peer)
    pair.appliance.run("kill -9 $(systemctl show -P MainPID scanside)")
    wait_for(lambda: shown(pair.appliance, "NRestarts") != before or None, "the restart")
    wait_until_serving(pair)
    send(series[_SLICES // 2 :], pair.peer)
    pair.wait_for_final(str(series[0].StudyInstanceUID), _SLICES)
    if problems := sequence_problems(pair):
        return failed("kill -9", "; ".join(problems))
    return passed("kill -9", "systemd started it again; the half that was acknowledged is there")


def worker_killed(pair: Pair) -> Part:
    """A worker that is killed is replaced, and the study is analysed."""
    main = shown(pair.appliance, "MainPID")
    wait_for(lambda: shown(pair.appliance, "StatusText") == READY or None, f"the status {READY!r}")
    pair.appliance.run(f"kill -9 $(pgrep -P {main})")
    body = _sent_whole(pair, head_ct_series(lesion=True, slices=_SLICES, seed=3))
    if shown(pair.appliance, "MainPID") != main:
        return failed("worker killed", "the daemon ended with its worker")
    if not all(one["analysed"] for one in body["study"]["series"]):
        return failed("worker killed", "the study was not analysed")
    return passed("worker killed", "the daemon went on, and the next study was analysed")


def hung(pair: Pair) -> Part:
    """A daemon that does not answer any more is ended by the watchdog, and started again."""
    before = shown(pair.appliance, "NRestarts")
    pair.appliance.run("kill -STOP $(systemctl show -P MainPID scanside)")
    wait_for(lambda: shown(pair.appliance, "NRestarts") != before or None, "the watchdog")
    wait_until_serving(pair)
    log = pair.appliance.run("journalctl -u scanside --no-pager -o cat")
    if "Watchdog timeout" not in log:
        return failed("watchdog", "it was started again, but not by the watchdog")
    return passed("watchdog", "a stopped daemon was ended after 30 s and started again")


def stopped(pair: Pair) -> Part:
    """`systemctl stop` ends it in time and in order, also while models are loaded."""
    began = time.monotonic()
    pair.appliance.run("systemctl stop scanside")
    took = time.monotonic() - began
    result = shown(pair.appliance, "Result")
    left = pair.appliance.said("pgrep -u scanside")
    if result != "success" or took > _STOP_S or left:
        return failed("systemctl stop", f"{result} after {took:.1f} s; left: {left or 'none'}")
    pair.appliance.run("systemctl start scanside")
    return passed("systemctl stop", f"in order after {took:.1f} s, no process left")


def restarted(pair: Pair) -> Part:
    """After a reboot of both machines all is back without a hand."""
    for machine in pair.machines:
        machine.shut_down()
    for machine in pair.machines:
        machine.start()
    wait_until_serving(pair)
    wait_for(lambda: shown(pair.appliance, "StatusText") == READY or None, f"the status {READY!r}")
    pair.scanside("drill --timeout 120")
    return passed("reboot", "both services are back, and a drill went through")


def silent(pair: Pair) -> Part:
    """Nothing about a patient is in the journal of either machine, or in clear on the disk."""
    series = head_ct_series(lesion=True, slices=_SLICES, seed=4)
    _sent_whole(pair, series)
    secrets = _secrets(series)
    for machine in pair.machines:
        log = machine.run("journalctl --no-pager -o json --all")
        if "Models: " not in log and "subscribed" not in log:
            return failed("privacy", f"the journal of {machine.name} says nothing of the service")
        found = [name for name, value in secrets.items() if value.decode("latin-1") in log]
        if found:
            return failed("privacy", f"the journal of {machine.name} has the {', '.join(found)}")
    del secrets["study's UID"]  # the journal of the studies has it; docs/secure.md says so
    pair.appliance.shut_down()
    disk = pair.appliance.boot.disk.file
    found = [name for name, value in secrets.items() if _is_in(value, disk)]
    pair.appliance.start()
    if found:
        return failed("privacy", f"the appliance's disk has the {', '.join(found)} in clear")
    return passed(
        "privacy",
        f"neither journal nor the appliance's disk has the {', '.join(secrets)} in clear, "
        "and no journal the study's UID",
    )


def _is_in(value: bytes, disk: Path) -> bool:
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(value) >= 0


def shown(machine: Machine, what: str) -> str:
    """Return a property of the service, as `systemctl show` has it."""
    return machine.said(f"systemctl show -P {what} scanside")


def _sent_whole(pair: Pair, series: Sequence[FileDataset]) -> Mapping[str, Any]:
    report = send(series, pair.peer)
    if not report.ok:
        raise MachineError(f"not every image was taken: {report.failures}")
    return pair.wait_for_final(str(series[0].StudyInstanceUID), len(series))


def _secrets(series: Sequence[FileDataset]) -> dict[str, bytes]:
    middle = series[len(series) // 2]
    pixels = middle.PixelData[len(middle.PixelData) // 2 :]
    return {
        "patient's name": str(middle.PatientName).encode(),
        "Patient ID": str(middle.PatientID).encode(),
        "study's UID": str(middle.StudyInstanceUID).encode(),
        "pixels": bytes(pixels[:48]),
    }
