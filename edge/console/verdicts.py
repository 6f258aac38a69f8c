"""The physician's word as the pages use it: what can be judged, what was said, what is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone

from edge.alerts.message import Alert, FindingResult
from edge.audit import Act, Audit
from edge.console.accounts import User
from edge.feedback.drift import BINS, Drift, compare
from edge.feedback.figures import Figures, Span, by_month, figures, subjects
from edge.feedback.inputs import PREFIX
from edge.feedback.message import Feedback, Finding, seal_feedback
from edge.feedback.split import Histogram, reference_and_recent
from edge.keys import DeviceKeys, PublicKey
from edge.store.feedback import FeedbackStore, Said, Subject, Verdict, VerdictCount, Word
from edge.timestamps import rfc3339

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding of the latest alert that has any, and what was said of it."""

    place: int
    finding: FindingResult
    mine: Said | None
    others: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """How the scores of a finding were distributed at first and are now."""

    reference: Histogram
    recent: Histogram
    drift: Drift


@dataclass(frozen=True, slots=True)
class Report:
    """Everything counted of one finding of one version of a model.

    `inputs` are measures of the images that the model looked at, in words, to be translated.
    """

    subject: Subject
    whole: Figures
    months: tuple[Span, ...]
    scores: Scores
    inputs: tuple[tuple[str, Scores], ...]


class Verdicts:
    """Threads may share it.

    Parameters
    ----------
    store : FeedbackStore
    audit : Audit
        Of the same journal: a word and its entry are one transaction.
    keys : callable
        Returns the device's keys of the moment.
    recipients : callable
        Returns whom messages are for at the moment.
    wake : callable
        Called when there is a new message; must not block.
    """

    def __init__(
        self,
        store: FeedbackStore,
        audit: Audit,
        *,
        keys: Callable[[], DeviceKeys],
        recipients: Callable[[], Sequence[PublicKey]],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._audit = audit
        self._keys = keys
        self._recipients = recipients
        self._wake = wake

    def of_study(self, study: int, alert: Alert, user: User) -> list[Judged]:
        """Return the findings of an alert with what was said of each."""
        said = self._store.of_study(study)
        judged = []
        for place, finding in enumerate(alert.findings):
            about = (finding.series_uid, _code(finding))
            here = [one for one in said if one.word.about[1:] == about]
            mine = next((one for one in here if one.word.who == user.name), None)
            others = tuple(one for one in here if one is not mine)
            judged.append(Judged(place, finding, mine, others))
        return judged

    def say(
        self, user: User, study: int, alert: Alert, place: int, verdict: Verdict, note: str
    ) -> None:
        """Keep somebody's word on a finding of an alert, count it, and send it.

        Raises
        ------
        IndexError
            If the alert has no finding at that place.
        LookupError
            If there is no such study, or the alert does not say which version of the model it was.
        MessageError
            If the note is too long.
        """
        finding = alert.findings[place]
        model = next((one for one in alert.model if one.name == finding.model), None)
        if model is None:  # an alert names 16 models at most
            raise LookupError(f"The alert does not tell the version of {finding.model}.")
        word = Word(
            subject=Subject(model.name, model.version, _code(finding), finding.label),
            series_uid=finding.series_uid,
            alert_id=alert.id,
            flagged=finding.flagged,
            verdict=verdict,
            note=note,
            who=user.name,
            role=user.role.value,
        )

        def message(number: int) -> bytes:
            # In the transaction: the entry stands if the word does. What was said is not in it.
            self._audit.note(Act(user.actor, "feedback.given", f"feedback:{number} study:{study}"))
            return self._sealed(number, word, alert.study.study_uid)

        self._store.keep(study, word, message)
        self._wake()

    def _sealed(self, number: int, word: Word, study_uid: str) -> bytes:
        keys = self._keys()
        feedback = Feedback(
            sequence=number,
            device=keys.device,
            site=keys.site,
            created=rfc3339(datetime.now(timezone.utc)),
            alert=word.alert_id,
            study_uid=study_uid,
            finding=Finding(
                word.subject.code,
                word.subject.label,
                word.series_uid,
                word.flagged,
                word.subject.model,
                word.subject.version,
            ),
            verdict=word.verdict.value,
            note=word.note,
            who=word.who,
            role=word.role,
        )
        return seal_feedback(feedback, signer=keys.signing, recipients=self._recipients())

    def reports(self, today: date) -> list[Report]:
        """Return what is counted of each finding of each model that judged or scored anything."""
        counts = self._store.verdicts()
        scores = self._store.scores(BINS)
        compared = {subject: _compared(days) for subject, days in scores.items()}
        findings = {*subjects(counts), *scores}
        return [
            _report(subject, counts, compared, today)
            for subject in sorted(findings, key=lambda one: (one.model, one.version, one.code))
            if not subject.code.startswith(PREFIX)
        ]


def _report(
    subject: Subject,
    counts: Sequence[VerdictCount],
    compared: Mapping[Subject, Scores],
    today: date,
) -> Report:
    mine = [count for count in counts if count.subject == subject]
    model = subject.model, subject.version
    return Report(
        subject,
        figures(mine),
        by_month(mine, today=today, months=MONTHS),
        compared.get(subject) or _compared({}),
        tuple(
            (one.label, scores)
            for one, scores in compared.items()
            if (one.model, one.version) == model and one.code.startswith(PREFIX)
        ),
    )


def _compared(days: Mapping[date, Sequence[int]]) -> Scores:
    histograms = reference_and_recent(days)
    return Scores(*histograms, compare(*histograms))


def _code(finding: FindingResult) -> str:
    return finding.code.key
