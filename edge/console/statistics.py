"""The statistics page: what physicians said of each model, over time, and whether it drifts."""

from __future__ import annotations

from datetime import datetime, time

from starlette.responses import Response
from starlette.routing import Route

from edge.console import plots
from edge.console.accounts import Role
from edge.console.plots import bar_plot, share_plot
from edge.console.verdicts import Report
from edge.console.visits import Visit, page
from edge.feedback.drift import LEAST_RECENT, LEAST_REFERENCE, Standing
from edge.feedback.figures import FEW, Span

READERS = frozenset({Role.PHYSICIAN, Role.ADMIN})


def routes() -> list[Route]:
    """Return the routes of this room."""
    return [page("/statistics", _statistics, roles=READERS)]


def _statistics(visit: Visit) -> Response:
    reports = visit.desk.verdicts.reports(datetime.now().astimezone().date())
    return visit.render(
        "statistics.html",
        reports=[_drawn(visit, report) for report in reports],
        moved=[one for one in reports if one.scores.drift.standing is Standing.DRIFT],
        other_images=[
            (one, label)
            for one in reports
            for label, scores in one.inputs
            if scores.drift.standing is Standing.DRIFT
        ],
        plots=plots,
        few=FEW,
        least=(LEAST_REFERENCE, LEAST_RECENT),
    )


def _drawn(visit: Visit, report: Report) -> dict[str, object]:
    rtl = visit.language.direction == "rtl"
    return {
        "report": report,
        "ppv": share_plot([(one, one.figures.ppv) for one in report.months], rtl=rtl),
        "agreement": share_plot([(one, one.figures.agreement) for one in report.months], rtl=rtl),
        "scores": bar_plot(report.scores.reference, report.scores.recent, rtl=rtl),
        "inputs": [
            (label, scores.drift, bar_plot(scores.reference, scores.recent, rtl=rtl))
            for label, scores in report.inputs
        ],
        "months": [_month(visit, one) for one in report.months],
    }


def _month(visit: Visit, span: Span) -> tuple[str, str]:
    """Return a month's name, short for the axis and whole for the table."""
    middle = datetime.combine(span.first.replace(day=15), time(12)).astimezone().timestamp()
    return visit.language.month(middle, short=True), visit.language.month(middle, short=False)
