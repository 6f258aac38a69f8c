"""What a subscriber takes, and which processes it shares it with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from edge.alerts.topics import (
    alert_filter,
    escalated_filter,
    feedback_filter,
    keys_filter,
    state_filter,
)


@dataclass(frozen=True)
class Rules:
    """What a subscriber takes.

    Parameters
    ----------
    site : str or None
        None: every site.
    share : str or None
        The name of a group of processes that share the alerts among them (MQTT 5.0 section
        4.8.2); None: this process receives all of them.
    max_age : timedelta or None
        See `edge.alerts.sealing.open_sealed`.
    """

    site: str | None = None
    share: str | None = None
    max_age: timedelta | None = None

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to. States and keys are retained, and each process wants them all."""
        group = "" if self.share is None else f"$share/{self.share}/"
        alerts = (alert_filter(self.site), escalated_filter(self.site), feedback_filter(self.site))
        states = (state_filter(self.site), keys_filter(self.site))
        return (*(group + one for one in alerts), *states)
