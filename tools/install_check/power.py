"""Power cuts: the machine is ended while a series is sent to it, and started again.

A sender counts only what was answered with Success, sends the rest again as scanners do, and
then asks for storage commitment: the appliance reads each image back and opens it. The machine
loses its memory, and its disk what was not flushed to it, or a part of that (`disk`).
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom import FileDataset

from tools.gpu_check.part import Part, failed, passed
from tools.install_check.commitment import safe_instances
from tools.install_check.disk import Loss
from tools.install_check.machine import MachineError
from tools.install_check.pair import PATIENCE_S, Pair, wait_for
from tools.scanner import SendError, head_ct_series, send

_SLICES = 20  # 8 mm apart; a model of head CT takes up to 10
# Until the next cut, where the last image was taken: the study is judged, told of, settled.
_UNTIL_SETTLED_S = 20.0
_CUTS_A_STUDY = 2  # after the second it takes up what it had taken up before
_MARK = "/root/mark"


@dataclass(slots=True)
class _Scanner:
    """Sends a series, and cuts the power when so many images were acknowledged."""

    series: Sequence[FileDataset]
    pair: Pair
    cut_at: threading.Event = field(default_factory=threading.Event)
    acknowledged: set[str] = field(default_factory=set)

    @property
    def left(self) -> list[FileDataset]:
        """What was not answered with Success."""
        return [one for one in self.series if str(one.SOPInstanceUID) not in self.acknowledged]

    def send(self, *, cut_after: int | None) -> None:
        """Send what was not acknowledged; the power goes after `cut_after` answers."""
        left = self.left
        if not left:
            self.cut_at.set()
            return
        answers = 0

        def on_sent(index: int, _before: int, _last: int, status: int | None) -> None:
            nonlocal answers
            if status == 0x0000:
                self.acknowledged.add(str(left[index].SOPInstanceUID))
                answers += 1
                if answers == cut_after:
                    self.cut_at.set()

        try:
            send(left, self.pair.peer, on_sent=on_sent)
        except SendError:
            # The power went before the association stood, or while it ended.
            if cut_after is None:
                raise
            self.cut_at.set()

    def begin(self, chance: random.Random) -> threading.Thread:
        """Send in a thread; `cut_at` is set when the power is to go."""
        self.cut_at.clear()
        cut_after = chance.randint(1, max(1, len(self.left)))
        sending = threading.Thread(target=self.send, kwargs={"cut_after": cut_after})
        sending.start()
        return sending


def every(pair: Pair, cuts: int, chance: random.Random) -> Iterator[Part]:
    """Show that a cut is one, cut the power so many times, and say what the disks lost of it."""
    yield real(pair)
    unflushed = lost = 0
    for number in range(1, cuts + 1):
        try:
            part, losses = cut_while_sending(pair, number, chance)
        except (MachineError, SendError) as error:
            yield failed(f"power cut {number}", str(error))
            return
        unflushed += sum(one.unflushed for one in losses)
        lost += sum(one.lost for one in losses)
        yield part
    said = f"in all, the disks lost {lost} of {unflushed} writes that were not flushed"
    yield passed("what was lost", said) if lost else failed("what was lost", said)


def real(pair: Pair) -> Part:
    """What the appliance wrote and did not sync is gone after a cut; what it synced is there."""
    name = "power cut"
    machine, disk = pair.appliance, pair.appliance.boot.disk
    machine.run(f"echo synced > {_MARK}-synced && sync {_MARK}-synced")
    before = disk.flushes
    machine.run(f"dd if=/dev/zero of={_MARK}-flush bs=4k count=1 conv=fsync status=none")
    reached = disk.flushes - before
    machine.run(f"echo unsynced > {_MARK}-unsynced")
    machine.cut_power()
    machine.start()
    wait_until_serving(pair)
    there = machine.run(f"cat {_MARK}-synced {_MARK}-unsynced 2>/dev/null || true").split()
    if there != ["synced"] or not reached:
        return failed(name, f"an fsync is {reached} flushes at the disk; there is {there}")
    return passed(name, "an fsync reaches the disk; what was not synced is gone after the cut")


def cut_while_sending(
    pair: Pair, number: int, chance: random.Random
) -> tuple[Part, tuple[Loss, ...]]:
    """Cut the appliance's power twice while a series comes; with every third, central's too."""
    name = f"power cut {number}"
    series = head_ct_series(lesion=number % 2 == 0, slices=_SLICES, seed=100 + number)
    study = str(series[0].StudyInstanceUID)
    scanner = _Scanner(series, pair)
    machines = pair.machines if number % 3 == 0 else (pair.appliance,)
    losses: list[Loss] = []
    claims: list[int] = []
    for _ in range(_CUTS_A_STUDY):
        sending = scanner.begin(chance)
        if not scanner.cut_at.wait(PATIENCE_S):
            return failed(name, "the appliance took no image"), ()
        # Somewhere in the next image: while it is received, sealed, synced or looked at.
        longest = 1.0 if scanner.left else _UNTIL_SETTLED_S
        threading.Event().wait(chance.uniform(0.0, longest))
        losses.extend(one.cut_power() for one in machines)
        sending.join()
        claims.append(len(scanner.acknowledged))
        for one in machines:
            one.start()
        wait_until_serving(pair)
    before = set(scanner.acknowledged)
    scanner.send(cut_after=None)
    body = pair.wait_for_final(study, len(series))
    analysed = all(one["analysed"] for one in body["study"]["series"])
    claimed = [one for one in series if str(one.SOPInstanceUID) in before]
    missing = before - safe_instances(pair.peer, claimed, "SCANNER")
    problems = [
        *([f"{len(missing)} acknowledged images are lost"] if missing else ()),
        *(() if analysed else ["the study was not analysed"]),
        *sequence_problems(pair),
    ]
    who = " and ".join(one.name for one in machines)
    if problems:
        return failed(name, f"{who}: {'; '.join(problems)}"), tuple(losses)
    said = (
        f"{who}, after {' and '.join(map(str, claims))} of {_SLICES} images: all are there, the "
        "study was analysed whole, no alert is missing or twice"
    )
    return passed(name, said), tuple(losses)


def wait_until_serving(pair: Pair) -> None:
    """Wait until systemd says of each service that it is up."""
    for machine, unit in zip(pair.machines, ("scanside", "scanside-central"), strict=True):
        wait_for(
            lambda machine=machine, unit=unit: (  # type: ignore[misc]
                machine.said(f"systemctl is-active {unit}") == "active" or None
            ),
            f"{unit} on {machine.name}",
        )


def sequence_problems(pair: Pair) -> list[str]:
    """Wait until the appliance waits for no receipt; return what is wrong with the alerts' numbers.

    Nothing is, when both sides have the same from the first that was made for central to the
    last, each once. What was made before the device was enrolled, nobody else can open.
    """
    wait_for(lambda: _settled(pair), "the receipts of all alerts")
    made = pair.made()
    first = first_for_central(made)
    numbers = sorted(alert["sequence"] for alert in made if alert["sequence"] >= first)
    return list(gaps(numbers, sorted(alert["sequence"] for alert in pair.alerts())))


def first_for_central(made: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the first alert that a server owed or gave a receipt for."""
    return min(int(one["sequence"]) for one in made if one["owed_by"] or one["receipts_of"])


def gaps(made: Sequence[int], stored: Sequence[int]) -> Iterator[str]:
    """Say what is wrong with the numbers of alerts.

    Parameters
    ----------
    made : sequence of int
        Of the alerts that the appliance made for central.
    stored : sequence of int
        Of those that central stored.
    """
    wanted = list(range(made[0], made[0] + len(made))) if made else []
    if list(made) != wanted:
        yield f"the appliance counted {made}"
    if missing := sorted(set(wanted) - set(stored)):
        yield f"central lacks {missing}"
    if twice := sorted(number for number, times in Counter(stored).items() if times > 1):
        yield f"central has {twice} more than once"
    if strange := sorted(set(stored) - set(wanted)):
        yield f"central has {strange}, which the appliance lost"


def _settled(pair: Pair) -> bool | None:
    return all(alert["settled"] for alert in pair.made()) or None
