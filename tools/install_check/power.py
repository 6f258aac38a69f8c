"""Power cuts: the machine is ended while a series is sent to it, and started again.

A sender counts only what was answered with Success, sends the rest again as scanners do, and
then asks for storage commitment: the appliance reads each image back and opens it. The machine
loses what its kernel had not written; what it had flushed to the disk stays.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom import FileDataset

from tools.gpu_check.part import Part, failed, passed
from tools.install_check.commitment import safe_instances
from tools.install_check.pair import PATIENCE_S, Pair, wait_for
from tools.scanner import SendError, head_ct_series, send

_SLICES = 12


@dataclass(slots=True)
class _Scanner:
    """Sends a series, and cuts the power when so many images were acknowledged."""

    series: Sequence[FileDataset]
    pair: Pair
    cut_at: threading.Event = field(default_factory=threading.Event)
    acknowledged: set[str] = field(default_factory=set)
    _after: int = 0

    def send(self, *, cut_after: int | None) -> None:
        """Send what was not acknowledged; the power goes after `cut_after` answers."""
        left = [one for one in self.series if str(one.SOPInstanceUID) not in self.acknowledged]
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


def cut_while_sending(pair: Pair, number: int, chance: random.Random) -> Part:
    """Cut the appliance's power while it takes a series in; with every third cut central's too."""
    name = f"power cut {number}"
    series = head_ct_series(lesion=number % 2 == 0, slices=_SLICES, seed=100 + number)
    study = str(series[0].StudyInstanceUID)
    scanner = _Scanner(series, pair)
    cut_after = chance.randint(1, _SLICES - 1)
    sending = threading.Thread(target=scanner.send, kwargs={"cut_after": cut_after})
    sending.start()
    if not scanner.cut_at.wait(PATIENCE_S):
        return failed(name, "the appliance took no image")
    # Somewhere in the next image: while it is received, sealed, synced or looked at.
    threading.Event().wait(chance.uniform(0.0, 1.0))
    both = number % 3 == 0
    pair.appliance.cut_power()
    if both:
        pair.central.cut_power()
        pair.central.start()
    sending.join()
    before = set(scanner.acknowledged)
    pair.appliance.start()
    wait_until_serving(pair)
    scanner.send(cut_after=None)
    body = pair.wait_for_final(study, len(series))
    analysed = all(one["analysed"] for one in body["study"]["series"])
    claimed = [one for one in series if str(one.SOPInstanceUID) in before]
    lost = before - safe_instances(pair.peer, claimed, "SCANNER")
    problems = [
        *([f"{len(lost)} acknowledged images are lost"] if lost else ()),
        *(() if analysed else ["the study was not analysed"]),
        *sequence_problems(pair),
    ]
    who = "appliance and central" if both else "appliance"
    if problems:
        return failed(name, f"{who}: {'; '.join(problems)}")
    return passed(
        name,
        f"{who}, after {len(before)} of {_SLICES} images: all {len(before)} are there, the study "
        "was analysed whole, no alert is missing or twice",
    )


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

    Nothing is, when both sides have the same from 1 to the last, each once.
    """
    wait_for(lambda: _settled(pair), "the receipts of all alerts")
    made = sorted(alert["sequence"] for alert in pair.made())
    stored = sorted(alert["sequence"] for alert in pair.alerts())
    return list(gaps(made, stored))


def gaps(made: Sequence[int], stored: Sequence[int]) -> Iterator[str]:
    """Say what is wrong with the numbers of alerts.

    Parameters
    ----------
    made : sequence of int
        Of the alerts that the appliance made.
    stored : sequence of int
        Of those that central stored.
    """
    wanted = list(range(1, len(made) + 1))
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
