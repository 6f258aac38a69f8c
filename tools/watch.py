"""Follows studies from the scanner's last byte to central: for the demo and the benchmarks.

Scanner, appliance and central are on one machine here, so their monotonic clocks agree.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge.alerts.message import Alert, FindingResult
from tools.central.subscriber import Received


@dataclass(slots=True)
class Followed:
    """One study, and what central has of it.

    Parameters
    ----------
    name : str
        For people.
    study_uid : str
    slices : int
        How many will be sent.
    modality : str
        DICOM (0008,0060).
    sent : int
        How many have been answered with Success.
    last_byte_ns : int
        When the last byte of the latest slice left the scanner, `time.monotonic_ns`.
    provisional, final : Received or None
        The first provisional alert, and the last final or retracted one.
    """

    name: str
    study_uid: str
    slices: int
    modality: str = "CT"
    sent: int = 0
    last_byte_ns: int = 0
    provisional: Received | None = None
    final: Received | None = None

    @property
    def alert(self) -> Alert | None:
        """The latest alert."""
        received = self.final or self.provisional
        return None if received is None else received.alert

    @property
    def finding(self) -> FindingResult | None:
        """The finding that matters most."""
        if self.alert is None:
            return None
        by_weight = sorted(
            self.alert.findings, key=lambda one: (one.flagged, not one.abstained, one.probability)
        )
        return by_weight[-1] if by_weight else None

    @property
    def last_byte_to_central_ms(self) -> float | None:
        """From the last byte leaving the scanner to the final alert, opened, at central."""
        if self.final is None:
            return None
        return self.final.at_monotonic * 1e3 - self.last_byte_ns / 1e6

    @property
    def provisional_lead_ms(self) -> float | None:
        """How long before the last byte left the scanner the provisional alert was at central."""
        if self.provisional is None or self.final is None:
            return None
        return self.last_byte_ns / 1e6 - self.provisional.at_monotonic * 1e3

    @property
    def tail_inference_ms(self) -> float | None:
        """The engine's time after the last byte."""
        alert = self.final.alert if self.final is not None else None
        return None if alert is None else alert.timing.tail_inference_ms


class Watch:
    """Threads may share it: scanner threads note what they sent, central's what it received."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards what is followed
        self._followed: dict[str, Followed] = {}

    @property
    def studies(self) -> list[Followed]:
        """All that is followed, in the order it began."""
        with self._changed:
            return list(self._followed.values())

    def follow(self, name: str, study_uid: str, slices: int, *, modality: str = "CT") -> Followed:
        """Begin to follow a study."""
        with self._changed:
            study = self._followed[study_uid] = Followed(name, study_uid, slices, modality)
        return study

    def sent(self, study: Followed, last_byte_ns: int, *, stored: bool) -> None:
        """Note that a slice was sent."""
        with self._changed:
            study.last_byte_ns = last_byte_ns
            study.sent += stored

    def on_alert(self, received: Received) -> None:
        """Take what central received; others' studies are passed over."""
        alert = received.alert
        if alert is None:
            return
        with self._changed:
            study = self._followed.get(alert.study.study_uid)
            if study is None:
                return
            if alert.status != "provisional":
                study.final = received
            elif study.provisional is None:
                study.provisional = received
            self._changed.notify_all()

    def wait_for_final(self, study: Followed, timeout_s: float) -> bool:
        """Wait for the final alert of a study; return whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: study.final is not None, timeout_s)
