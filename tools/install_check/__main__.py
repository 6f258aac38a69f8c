"""``tools/install_check.sh``: docs/install.md on fresh systems, and what must hold then."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tools.gpu_check.part import Part, passed
from tools.install_check import holds, image, page, power, walk
from tools.install_check.disk import Disk
from tools.install_check.machine import ARCHES, Arch, Boot, Machine, MachineError
from tools.install_check.pair import DICOM_PORT, Pair
from tools.scanner import SendError, head_ct_series

_MARKS = {"passed": "ok", "failed": "FAILED", "could not run": "not run"}
# For what the page leaves to others: "any machine with DCMTK".
_ELSEWHERE = ("dcmtk",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it all; return 1 where something failed, 2 where it cannot run here."""
    parser = argparse.ArgumentParser(prog="tools/install_check.sh", description=__doc__)
    parser.add_argument("--arch", choices=sorted(ARCHES), default="x86_64")
    parser.add_argument(
        "--cuts", type=int, default=6, metavar="N", help="studies with power cuts (6)"
    )
    parser.add_argument("--seed", type=int, default=20261, help="when the power goes (20261)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=image.ROOT / "build" / "install-check",
        help="for disks and logs, 10 GB; what is there is used again (build/install-check)",
    )
    parser.add_argument(
        "--again", action="store_true", help="begin with the program set up by the last run"
    )
    parser.add_argument(
        "--kept", action="store_true", help="begin with the two machines as the last run left them"
    )
    parser.add_argument("--only", choices=("holds", "cuts"), help="with --kept, one of the two")
    options = parser.parse_args(arguments)
    arch = ARCHES[options.arch]
    if lacking := image.lacking(arch):
        print(f"not run: {'; '.join(lacking)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    parts = []
    try:
        for part in _parts(arch, options):
            minutes = (time.monotonic() - began) / 60
            print(f"{_MARKS[part.state]:8}{minutes:4.0f} min  {part.name}: {part.said}", flush=True)
            parts.append(part)
    except (MachineError, image.ImageError, SendError) as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    return int(any(part.state == "failed" for part in parts))


def _parts(arch: Arch, options: argparse.Namespace) -> Iterator[Part]:
    folder = (options.folder / arch.name).resolve()
    packages = (*page.packages(walk.PAGE.read_text("utf-8")), *_ELSEWHERE)
    fresh = image.make_image(folder, arch, packages)
    yield passed("image", f"Debian {image.SUITE} for {arch.name}, {' '.join(arch.acceleration())}")

    chance = random.Random(options.seed)  # noqa: S311 - no secret

    def machine(name: str, content: Path) -> Machine:
        disk = Disk(content, folder / f"{name}.disk", chance)
        boot = Boot(arch, disk, fresh.kernel, fresh.initrd, fresh.key)
        return Machine(name, boot, folder, ports=(DICOM_PORT,) if name == "appliance" else ())

    disks = [folder / f"{name}.raw" for name in ("appliance", "central")]
    kept = options.kept and all(disk.exists() for disk in disks)
    with_program = folder / "program.raw"
    again = options.again and with_program.exists()
    if not kept:
        if not again:
            yield _set_up(machine("appliance", image.copied(fresh.disk, folder / "new.raw")))
            (folder / "new.raw").rename(with_program)
        for disk in disks:
            image.copied(with_program, disk)
    pair = Pair(*(machine(disk.stem, disk) for disk in disks))
    with ExitStack() as running:
        for one in pair.machines:
            running.callback(one.cut_power)
            one.start()
            if again and not kept:
                walk.renew(one)
        if kept:
            walk.go_on(pair)
            power.wait_until_serving(pair)
        else:
            pair.central.run(f"apt-get install {' '.join(_ELSEWHERE)}")
            yield _connect(pair)
        if options.only != "cuts":
            yield from holds.every(pair)
        if options.only != "holds":
            yield from power.every(pair, options.cuts, chance)
        if not options.only:
            walk.update(pair.appliance, _say)
            yield passed("update", "carried out as the page has it")


def _set_up(fresh: Machine) -> Part:
    with ExitStack() as running:
        running.callback(fresh.cut_power)
        fresh.start()
        walk.set_up(fresh, _say)
        fresh.shut_down()
    return passed("set-up", "steps 1 to 3 of the page, without a network")


def _connect(pair: Pair) -> Part:
    (first,) = head_ct_series(lesion=True, slices=1)
    walk.connect(pair, first, _say)
    return passed("page", "every command ended well; central gave a receipt for the test alarm")


def _say(line: str) -> None:
    print(f"        {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
