"""Studies, alerts and checks as tables for a terminal, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.alerts.chance import chance
from edge.alerts.message import NOTICE, Alert
from edge.audit import Entry
from edge.grades import CheckResult, Grade
from edge.store.documents import DocumentLine, Kind
from edge.store.lookup import AlertLine, Delivery, ErasureLine, SeriesLine, StudyLine
from edge.timestamps import parse_rfc3339

URGENCY_STYLE = {
    "critical": "bold white on red",
    "urgent": "bold black on yellow",
    "routine": "",
    "drill": "cyan",
}
_OUTCOME = {
    "flagged": "flagged",
    "not_flagged": "nothing flagged",
    "uncertain": "uncertain",
    "not_analysed": "NOT ANALYSED",
}
_VERDICT = {
    "flagged": "flagged",
    "not_flagged": "not flagged",
    "uncertain": "uncertain",
    "not_reliable": "not reliable enough to flag",
}
_KIND = {Kind.REPORT: "report", Kind.KEY_IMAGES: "key images", Kind.HEATMAP: "heatmap"}
_GRADE = {
    Grade.GOOD: ("ok  ", "green"),
    Grade.WARNING: ("warn", "yellow"),
    Grade.BAD: ("FAIL", "bold red"),
}


def print_check(results: Sequence[CheckResult]) -> None:
    """Print one line a check, and what to do under those that are not good."""
    console = _console(soft_wrap=True)
    for result in results:
        word, style = _GRADE[result.grade]
        console.print(Text(word, style), Text(f"{result.name}: {result.text}"))
        if result.advice:
            console.print(Text(f"     {result.advice}"))


def print_studies(studies: Sequence[StudyLine], *, as_json: bool) -> None:
    """Print a list of studies."""
    if as_json:
        print(json.dumps([asdict(study) for study in studies], indent=2))
        return
    if not studies:
        print("No study has come in yet. To send one:")
        print("  scanside-scanner phantom head-ct --lesion --send SCANSIDE@HOST:PORT")
        return
    lines = table("study", "arrived", "images", "state", "outcome", "urgency", "alerts", "queued")
    for study in studies:
        lines.add_row(
            str(study.id),
            moment(study.first_byte),
            str(study.instances),
            study.state,
            _outcome(study),
            _urgency(study.told["urgency"] if study.told else ""),
            str(study.alerts),
            str(study.unpublished or ""),
        )
    _console().print(lines)


def print_study(
    study: StudyLine,
    series: Sequence[SeriesLine],
    alerts: Sequence[AlertLine],
    *,
    as_json: bool,
) -> None:
    """Print one study with its series and alerts."""
    if as_json:
        parts = {
            "study": asdict(study),
            "series": [asdict(one) for one in series],
            "alerts": [asdict(one) for one in alerts],
        }
        print(json.dumps(parts, indent=2))
        return
    console = _console()
    if study.erased is not None:
        _print_erased(console, study, study.erased)
        _print_alert_table(console, alerts)
        return
    console.print(
        f"Study {study.id}, patient {study.pseudonym}, {study.state}, "
        f"{_outcome(study) or 'no result yet'}"
    )
    console.print(f"First byte {moment(study.first_byte)}, last byte {moment(study.last_byte)}")
    for reason in study.told["reasons"] if study.told else ():
        console.print(f"  {reason}")
    lines = table("modality", "body part", "images", "set aside", "conflicts", "complete by")
    for one in series:
        lines.add_row(
            plain(one.about["modality"]),
            plain(one.about["body_part"]),
            str(one.instances),
            str(one.set_aside or ""),
            str(one.conflicts or ""),
            one.evidence or "still open",
        )
    console.print(lines)
    _print_alert_table(console, alerts)
    console.print(NOTICE)


def _print_erased(console: Console, study: StudyLine, erased: ErasureLine) -> None:
    console.print(f"Study {study.id}, ERASED {moment(erased.at)} by {erased.who}")
    console.print(f"Reason: {erased.reason}")
    console.print(f"It came {moment(study.first_byte)}. What was in it or said of it is gone.")


def print_alerts(alerts: Sequence[AlertLine], *, as_json: bool) -> None:
    """Print a list of alerts."""
    if as_json:
        print(json.dumps([asdict(alert) for alert in alerts], indent=2))
    elif not alerts:
        print("No alert was made yet.")
    else:
        _print_alert_table(_console(), alerts)


def _print_alert_table(console: Console, alerts: Sequence[AlertLine]) -> None:
    lines = table("alert", "study", "made", "urgency", "bytes", "sent", "delivery")
    for alert in alerts:
        lines.add_row(
            str(alert.sequence),
            "drill" if alert.study_id is None else str(alert.study_id),
            moment(alert.created),
            _urgency(alert.urgency),
            str(alert.size) if alert.size else "erased",
            str(alert.sent or ""),
            _delivery(alert),
        )
    console.print(lines)


def print_alert(body: bytes, latest: Sequence[int], *, as_json: bool) -> None:
    """Print an opened alert; `latest`: the number of the one that took its place, if any."""
    if as_json:
        print(json.dumps(json.loads(body), indent=2, ensure_ascii=False))
        return
    alert = Alert.from_json(body)
    console = _console()
    console.print(
        f"Alert {alert.sequence} of {alert.device} at {alert.site}, {alert.status}, "
        f"made {alert.created}"
    )
    for sequence in latest:
        console.print(f"No longer holds: alert {sequence} took its place.")
    console.print(_urgency(alert.urgency), _OUTCOME[alert.outcome])
    for finding in alert.findings:
        said = "flagged" if finding.flagged else "uncertain" if finding.abstained else "not flagged"
        console.print(
            f"  {finding.label}: {chance(finding.probability)} "
            f"(flagged from {finding.threshold:.0%}), {said}, by {finding.model}"
        )
    for one in alert.measurements:
        said = "flagged" if one.flagged else "not flagged"
        console.print(f"  {one.label}: {one.value:.1f} {one.unit}, {said}, by {one.model}")
    if alert.follow_up is not None:
        console.print(f"  Next: {alert.follow_up.words} ({alert.follow_up.source})")
    for flag in alert.quality:
        console.print(f"  Image quality: {flag.text}")
    for reason in alert.reasons:
        console.print(f"  {reason}")
    console.print(alert.notice)


def print_documents(documents: Sequence[DocumentLine], damaged: Collection[int]) -> None:
    """Print a list of what went to the PACS, or is to; `damaged`: those that do not open."""
    lines = table("result", "study", "what", "made", "state", "tries", "the PACS said")
    for one in documents:
        lines.add_row(
            str(one.id),
            str(one.study_id),
            _KIND[one.kind],
            moment(one.created),
            f"{_document_state(one)}{', DAMAGED' if one.id in damaged else ''}",
            str(one.attempts or ""),
            one.answer,
        )
    _console(soft_wrap=True).print(lines)


def print_document(document: DocumentLine, about: dict[str, Any] | None) -> None:
    """Print where an object stands and what it says; `about` None: its study was erased."""
    console = _console(soft_wrap=True)
    console.print(
        f"Result {document.id}, {_KIND[document.kind]} of study {document.study_id}, made "
        f"{moment(document.created)}, {_document_state(document)}"
    )
    if document.answer:
        console.print(f"The PACS: {document.answer}")
    if about is None:
        console.print("What it said is gone: its study was erased.")
        return
    names, report, before = about["names"], about["report"], about["predecessor"]
    console.print(f"SOP Instance UID {names['instance_uid']}")
    console.print(f"Series Instance UID {names['series_uid']}")
    if before is not None:
        console.print(f"Replaces {before['instance_uid']}")
    console.print(f"Outcome: {_OUTCOME[report['outcome']]}")
    lines = table("finding", "verdict", "figure", "from", "model")
    for one in report["findings"]:
        figures = chance(one["probability"]), f"{one['threshold']:.0%}"
        lines.add_row(plain(one["label"]), _VERDICT[one["verdict"]], *figures, one["model"])
    for one in report["volumes"]:
        figures = f"{one['ml']:.1f} ml", ""
        lines.add_row(plain(one["label"]), _VERDICT[one["verdict"]], *figures, one["model"])
    console.print(lines)
    for reason in report["reasons"]:
        console.print(f"  {plain(reason)}")
    console.print(NOTICE)


def _document_state(document: DocumentLine) -> str:
    if document.stored is not None:
        return f"in the PACS {moment(document.stored)}"
    if document.erased:
        return "ERASED"
    if document.refused is not None:
        return f"REFUSED {moment(document.refused)}"
    return f"waits, again {moment(document.due)}" if document.attempts else "waits"


def print_drill(delivery: Delivery) -> None:
    """Print how long each part of a drill's way took, from the moment it was made."""
    lines = table("drill", "after", "")
    lines.add_row("made", "0 ms", moment(delivery.created))
    taken = "no broker has it" if delivery.published is None else ""
    lines.add_row("broker has it", _after(delivery, delivery.published), taken)
    for receipt in delivery.receipts:
        said = f"{receipt.status} {receipt.stored} by its own clock"
        lines.add_row(f"receipt of {receipt.central}", _after(delivery, receipt.received), said)
    for central in delivery.owed_by:
        lines.add_row(f"receipt of {central}", "", "NONE")
    _console(soft_wrap=True).print(lines)


def _after(delivery: Delivery, moment: float | None) -> str:
    return "" if moment is None else f"{(moment - delivery.created) * 1000:.0f} ms"


def print_audit(entries: Sequence[Entry], *, as_json: bool) -> None:
    """Print audit entries; as JSON lines, for whoever collects them elsewhere."""
    if as_json:
        for entry in entries:
            line = {"number": entry.number, "when": entry.when, **asdict(entry.act)}
            print(json.dumps({**line, "digest": entry.digest}))
        return
    if not entries:
        print("Nothing has been done here yet.")
        return
    lines = table("entry", "when", "who", "what", "on", "outcome")
    for entry in entries:
        act = entry.act
        when = moment(parse_rfc3339(entry.when).timestamp())
        lines.add_row(str(entry.number), when, act.who, act.what, act.on, act.outcome)
    _console(soft_wrap=True).print(lines)


def _console(*, soft_wrap: bool = False) -> Console:
    # No markup: a text that a scanner or a person wrote may hold brackets.
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def table(*columns: str) -> Table:
    """Return an empty table in the form of every list."""
    # Without lines, so that 80 columns hold most; what they do not goes on below, and none is cut.
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        lines.add_column(column, overflow="fold")
    return lines


def plain(text: str) -> str:
    """Return what a scanner wrote without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _outcome(study: StudyLine) -> str:
    if study.erased is not None:
        return "ERASED"
    if study.damaged:
        return "DAMAGED"
    return "" if study.told is None else _OUTCOME[study.told["outcome"]]


def _urgency(urgency: str) -> Text:
    return Text(urgency, URGENCY_STYLE.get(urgency, ""))


def _delivery(alert: AlertLine) -> str:
    """Say where an alert stands, and whom it waits for."""
    if alert.settled is not None:
        return f"settled {moment(alert.settled)}"
    if alert.lapsed is not None:
        # A sealed alert is never empty but when its study was erased.
        return "lapsed, no receipt" if alert.size else "withdrawn, study erased"
    if alert.published is None:
        return "queued"
    owed = ", ".join(alert.owed_by)
    return f"{'ESCALATED' if alert.escalated else 'published'}, no receipt from {owed}"


def moment(seconds: float) -> str:
    """Say when, by this machine's clock: the time of today, else day and time."""
    local = datetime.fromtimestamp(seconds).astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M}"
