"""One readable line for each alert, each state and the end. What came from outside is shown
as text, never as markup or as control characters of the terminal.
"""

from __future__ import annotations

from rich.text import Text

from edge.alerts.chance import chance
from edge.alerts.message import Alert, FindingResult, Measurement
from tools.central.records import Standing
from tools.central.store import DeviceState
from tools.central.subscriber import Counts, Received

_COLOURS = {
    "critical": "bold white on red",
    "urgent": "bold black on yellow",
    "routine": "cyan",
    "drill": "bold magenta",
}
_OUTCOMES = {
    "flagged": "FLAGGED",
    "not_flagged": "not flagged",
    "uncertain": "uncertain",
    "not_analysed": "NOT ANALYSED",
}


def alert_line(received: Received) -> Text:
    """Return time, device, urgency, outcome, finding, probability and status on one line."""
    record, alert = received.record, received.alert
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{record.received[11:23]}  ", "dim")
    line.append(f"{_safe(record.site)}/{_safe(record.device)} #{record.sequence}  ")
    if alert is None:
        line.append("UNREADABLE: kept as it is; update this server", "bold red")
    else:
        line.append(f" {alert.urgency.upper()} ", _COLOURS[alert.urgency])
        line.append(
            f"  {_OUTCOMES[alert.outcome]}", "bold" if alert.outcome != "not_flagged" else ""
        )
        line.append(f"  {_what(alert)}  {alert.status}")
    if received.missing:
        line.append(f"  {received.missing} missing before it", "yellow")
    if received.standing is Standing.RESTARTED:
        line.append("  the device counts from the beginning again", "yellow")
    if alert is not None and record.problem:
        line.append(f"  {record.problem}", "yellow")
    return line


def state_line(state: DeviceState) -> Text:
    """Return a line that says whether a device is online."""
    line = Text(f"{_safe(state.site)}/{_safe(state.device)} ", no_wrap=True)
    line.append("online" if state.online else "OFFLINE", "green" if state.online else "bold red")
    if state.since:
        line.append(f" since {_safe(state.since)}", "dim")
    if state.online and state.backlog:
        line.append(f", {state.backlog} alerts to come")
    return line


def counts_line(counts: Counts) -> str:
    """Return what was accepted, repeated and refused, by reason."""
    by_reason = counts.refused.most_common()
    refused = ", ".join(f"{reason.value} {count}" for reason, count in by_reason) or "0"
    return f"accepted {counts.accepted}, repeats dropped {counts.repeats}, refused: {refused}"


def _what(alert: Alert) -> str:
    """Return what matters most of what was found or measured, or why there is nothing."""
    found: list[FindingResult | Measurement] = [
        *sorted(alert.findings, key=lambda one: (one.flagged, one.probability), reverse=True),
        *alert.measurements,
    ]
    if found:
        top = max(found, key=lambda one: one.flagged)  # of two alike the first
        if isinstance(top, Measurement):
            return f"{_safe(top.label)} {top.value:.1f} {top.unit}"
        return f"{_safe(top.label)} {chance(top.probability)}"
    return _safe(alert.reasons[0]) if alert.reasons else "no finding"


def _safe(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
