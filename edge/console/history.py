"""What the journal knows of the latest studies, as cards: the board after a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from edge.alerts.message import Alert, MessageError
from edge.alerts.sealing import SealError, open_sealed
from edge.analysis.news import Arrived
from edge.audit import latest_moments
from edge.console.acknowledgements import Acknowledgements
from edge.console.cards import Card, Delivery
from edge.keys import DeviceKeys
from edge.store.journal import Journal, StudyState
from edge.store.keeping import held, latest
from edge.store.lookup import (
    AlertLine,
    StudyLine,
    find_alerts,
    find_identity,
    find_study,
    list_alerts,
    list_priors,
    list_series,
    sealed_alert,
)
from edge.store.study_key import SealBroken

log = logging.getLogger("scanside.console")

UNACKNOWLEDGED = "alert.unacknowledged"
"""In the audit: nobody acknowledged a study's flag in time."""

_LATEST = 10
_DRILL_SHOWN_S = 600.0
_PRIORS = 10
_ALERTS = 20  # of one study: provisional and final, and again for every image that came late


class History:
    """Reads the journal for the console. Threads may share it.

    Parameters
    ----------
    journal : Journal
    keys : callable
        Returns the keys of the moment: they open what is sealed for this device.
    acknowledgements : Acknowledgements
    """

    def __init__(
        self, journal: Journal, keys: Callable[[], DeviceKeys], acknowledgements: Acknowledgements
    ) -> None:
        self._journal = journal
        self._keys = keys
        self._acknowledgements = acknowledgements

    def cards(self, limit: int) -> list[Card]:
        """Return the cards of the latest studies, newest first.

        A study that is damaged on the disk is one that nobody looked at, and hides no other. That
        the keys are not of another device is seen when the store is opened.
        """
        found: list[Card] = []
        escalated = latest_moments(self._journal, UNACKNOWLEDGED)
        for study in latest(self._journal, limit):
            try:
                card = self.card(study, escalated=escalated.get(f"study:{study}"))
            except SealBroken:
                log.warning("Study %d is damaged on the disk", study)
                card = self._damaged(study)
            if card is not None:
                found.append(card)
        return found

    def card(self, study: int, *, escalated: float | None = None) -> Card | None:
        """Return the card of one study, or None when there is no such study.

        `escalated`: when it was last said that nobody acknowledged its flag in time.
        """
        line = find_study(self._journal, self._keys().storage, study)
        known = line is not None and (line.instances or line.erased)
        return self._card(line, escalated) if line is not None and known else None

    def pressing(self, study: int) -> bool:
        """Return whether a study has a flag that nobody acknowledged, or may have one."""
        try:
            card = self.card(study)
        except SealBroken:  # damaged on the disk: nobody can see whether it has
            return True
        return card is not None and card.pressing

    def priors(self, study: int) -> list[Arrived]:
        """Return the latest other studies of the same patient, newest first.

        None for a study that does not say whose it is: such studies are of many patients.
        """
        if not self.identity(study).get("patient_id"):
            return []
        lines = list_priors(self._journal, self._keys().storage, study, _PRIORS)
        return [self._arrived(line) for line in lines if line.instances]

    def identity(self, study: int) -> dict[str, Any]:
        """Return who the patient is, as the scanner said."""
        return find_identity(self._journal, self._keys().storage, study)

    def alerts(self, study: int) -> list[tuple[AlertLine, Alert]]:
        """Return the alerts of a study, the first first. One no key opens any more is left out."""
        lines = reversed(list_alerts(self._journal, _ALERTS, study))
        return [(line, alert) for line in lines if (alert := self._open(line.sequence))]

    def deliveries(self, cards: Iterable[Card]) -> dict[int, Delivery]:
        """Return how far the alerts of these cards have come, by sequence."""
        sequences = [card.alert.sequence for card in cards if card.alert is not None]
        return {line.sequence: delivery_of(line) for line in find_alerts(self._journal, sequences)}

    def drill(self, now: float) -> tuple[float, Delivery | None]:
        """Return when a test alarm was made lately and how far it has come; 0 when none was."""
        for line in list_alerts(self._journal, _LATEST):
            if line.urgency == "drill" and now - line.created < _DRILL_SHOWN_S:
                return line.created, delivery_of(line)
        return 0.0, None

    def _damaged(self, study: int) -> Card | None:
        """Return the card of a study of which only its number and when it came can be read."""
        for one in held(self._journal, [study]):
            nothing = Arrived.nothing(study, one.first_byte, one.last_byte)
            return Card(replace(nothing, images=one.images, quarantined=True))
        return None

    def _card(self, line: StudyLine, escalated: float | None) -> Card:
        if line.erased is not None:
            nothing = Arrived.nothing(line.id, line.first_byte, line.last_byte)
            return Card(nothing, erased=True)
        card = Card(self._arrived(line))
        seen = self._acknowledgements.of_study(line.id)
        for alert_line, alert in self.alerts(line.id):
            card = replace(card.told(alert, alert_line.created), delivery=delivery_of(alert_line))
            if card.pressing and escalated is not None and escalated >= alert_line.created:
                card = replace(card, escalated=True)
            if alert_line.sequence in seen:
                card = card.acknowledge(seen[alert_line.sequence])
        return card

    def _arrived(self, line: StudyLine) -> Arrived:
        series = list_series(self._journal, self._keys().storage, line.id)
        looked_at = next((one for one in series if one.instances > one.set_aside), series[0])
        identity = find_identity(self._journal, self._keys().storage, line.id)
        return Arrived(
            study=line.id,
            pseudonym=line.pseudonym,
            name=identity.get("name", ""),
            modality=looked_at.about["modality"],
            body_part=looked_at.about["body_part"],
            first_byte=line.first_byte,
            last_byte=line.last_byte,
            series=line.series,
            images=line.instances,
            expected=None,
            quarantined=line.state == StudyState.QUARANTINED.value,
        )

    def _open(self, sequence: int) -> Alert | None:
        sealed = sealed_alert(self._journal, sequence)
        if sealed is None:
            return None
        try:
            opened = open_sealed(
                sealed,
                me=self._keys().opening,
                trusted=self._keys().trust_in_itself,
                now=datetime.now(timezone.utc),
                max_age=None,
            )
            return Alert.from_json(opened.body)
        except (SealError, MessageError):
            log.warning("Alert %d cannot be opened with the device's keys", sequence)
            return None


def delivery_of(line: AlertLine) -> Delivery:
    """Return how far an alert has come."""
    if line.settled is not None:
        return Delivery.RECEIVED
    if line.escalated is not None:
        return Delivery.ESCALATED
    return Delivery.QUEUED if line.published is None else Delivery.SENT
