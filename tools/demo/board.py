"""The demo's live table, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge.alerts.chance import chance
from edge.alerts.message import NOTICE
from edge.commands.listing import URGENCY_STYLE
from tools.watch import Followed

_SHOWN = 12
_ROW_LINES, _AROUND = 5, 12  # lines of a row as a rule, and around all of them
_COLUMNS = (
    ("study", 9),
    ("slices", 6),
    ("finding", 12),
    ("urgency", 10),
    ("alert", 11),
    ("last byte\nto alert", 9),
    ("central", 9),
)

_EARLY = "Early: before the last byte left the scanner. To alert: until central had opened it."
_DRAWN = (
    "The images are drawings, not patients: the models may flag, miss or decline them, and none of "
    "that says how good a model is. For that: scanside models show NAME."
)

_OUTCOMES = {
    "flagged": "FLAGGED",
    "not_flagged": "not flagged",
    "uncertain": "uncertain",
    "not_analysed": "NOT ANALYSED",
}
_UNCLEAR = ("uncertain", "not_analysed")


def shown_in(lines: int) -> int:
    """Return how many studies a terminal of so many lines has room for, at least one."""
    return max(1, min(_SHOWN, (lines - _AROUND) // _ROW_LINES))


def board(studies: Sequence[Followed], shown: int = _SHOWN) -> RenderableType:
    """Return the table of the latest studies, and why some of them have no clear answer."""
    # Fits a terminal of 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1, 1, 0))
    for title, width in _COLUMNS:
        table.add_column(title, min_width=width)
    for study in studies[-shown:]:
        table.add_row(*_row(study))
    why = [Text(line) for study in studies[-shown:] for line in _why(study)]
    return Group(table, *why, *(Text(line, "dim") for line in (_EARLY, _DRAWN, NOTICE)))


def _why(study: Followed) -> list[str]:
    """Return what the alert says of a study without a clear answer."""
    alert = study.alert
    if alert is None or alert.outcome not in _UNCLEAR:
        return []
    reasons = " ".join(reason[:1].upper() + reason[1:] for reason in alert.reasons)
    return [f"{_first_line(study)}, {_OUTCOMES[alert.outcome].lower()}: {reasons}"]


def _first_line(study: Followed) -> str:
    return study.name.partition("\n")[0]


def _row(study: Followed) -> tuple[RenderableType, ...]:
    slices = f"{study.sent}/{study.slices}"
    alert = study.alert
    if alert is None:
        waiting = "receiving" if study.sent < study.slices else "analysing"
        return study.name, slices, Text(waiting, "dim"), "", "", "", ""
    finding = study.finding
    said = _OUTCOMES[alert.outcome]
    if finding is not None:
        said = f"{finding.label} {chance(finding.probability)}\n{said}"
    lead = study.provisional_lead_ms
    status = alert.status
    if lead is not None and lead > 0:
        status = f"{status}\nprovisional\n{lead / 1000:.1f} s early"
    latency = study.last_byte_to_central_ms
    return (
        study.name,
        slices,
        Text(said, "bold" if alert.outcome != "not_flagged" else ""),
        Text(f" {alert.urgency.upper()} ", URGENCY_STYLE[alert.urgency]),
        status,
        "" if latency is None else f"{latency:.0f} ms",
        Text("decrypted\nverified", "green"),
    )


def report(studies: Sequence[Followed]) -> dict[str, Any]:
    """Return the demo's figures, JSON-ready.

    ``provisional_ms`` is how long before the last byte the provisional alert was at central;
    ``last_byte_to_published_ms`` ends when central has the alert, so it includes the broker;
    ``inference_ms`` is all of the engine's time. Central keeps no alert whose signature is not
    valid, so ``signature_ok`` is false only where no alert came.
    """
    rows = [_figures(study) for study in studies]
    return {
        "studies": rows,
        "totals": {
            "studies": len(rows),
            "slices": sum(row["slices"] for row in rows),
            "received_at_central": sum(row["received_at_central"] for row in rows),
            **{outcome: sum(row["outcome"] == outcome for row in rows) for outcome in _OUTCOMES},
        },
    }


def _figures(study: Followed) -> dict[str, Any]:
    alert, finding = study.alert, study.finding
    return {
        "study": study.name.replace("\n", " "),
        "modality": study.modality,
        "slices": study.sent,
        "outcome": None if alert is None else alert.outcome,
        "finding": None if finding is None else finding.label,
        "probability": None if finding is None else finding.probability,
        "model": [] if alert is None else [one.name for one in alert.model],
        "reasons": [] if alert is None else list(alert.reasons),
        "urgency": None if alert is None else alert.urgency,
        "provisional_ms": _rounded(study.provisional_lead_ms),
        "last_byte_to_published_ms": _rounded(study.last_byte_to_central_ms),
        "inference_ms": None if alert is None else alert.timing.inference_ms,
        "received_at_central": study.final is not None,
        "signature_ok": alert is not None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
