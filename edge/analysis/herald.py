"""Writes a decision and its alert into the journal, and wakes the publisher."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone

from edge.alerts.compose import Names, StudyFacts, compose, identity_of
from edge.alerts.decision import StudyDecision
from edge.alerts.follow_up import FollowUps
from edge.alerts.message import Alert, new_id
from edge.alerts.policy import Step, Told
from edge.alerts.reception import ReceiptRules
from edge.alerts.sealing import body_digest, seal
from edge.analysis.messages import NO_ENGINE
from edge.analysis.progress import StudyInProgress
from edge.audit import DAEMON, Act, Audit
from edge.feedback.drift import bin_of
from edge.feedback.inputs import PREFIX, label_of
from edge.history.since import since
from edge.keys import KeyRing
from edge.metrics import Metrics
from edge.results.desk import Desk
from edge.results.report import report_of
from edge.store.feedback import Score, Subject
from edge.store.journal import StudyState
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.priors import KeptPrior

log = logging.getLogger("scanside.alerts")


class Herald:
    """Turns decisions into alerts in the outbox.

    Parameters
    ----------
    ring : KeyRing
        Signs, and knows whom the alerts are for.
    outbox : Outbox
        Where they wait.
    with_identity : bool
        Whether the patient's identity goes inside the seal.
    rules : ReceiptRules
        Who owes a receipt.
    wake : callable
        Called when there is a new alert; must not block.
    audit : Audit
        Of the journal that the outbox is in.
    metrics : Metrics
    on_told : callable
        Is given the study's number and the alert, once both are kept; must not block.
    follow_ups : FollowUps
        What the site does next, for what is flagged.
    results : Desk or None
        Queues what goes to the PACS; None: nothing does.
    """

    def __init__(
        self,
        ring: KeyRing,
        outbox: Outbox,
        *,
        with_identity: bool,
        rules: ReceiptRules,
        wake: Callable[[], None],
        audit: Audit,
        metrics: Metrics,
        on_told: Callable[[int, Alert], None],
        follow_ups: FollowUps,
        results: Desk | None = None,
    ) -> None:
        self._ring = ring
        self._outbox = outbox
        self._with_identity = with_identity
        self._rules = rules
        self._wake = wake
        self._audit = audit
        self._metrics = metrics
        self._on_told = on_told
        self._follow_ups = follow_ups
        self._results = results

    def tell(
        self,
        study: StudyInProgress,
        decision: StudyDecision,
        step: Step,
        state: StudyState,
        engines: Mapping[str, tuple[str, str]],
        priors: Sequence[KeptPrior] = (),
    ) -> Told:
        """Keep a decision and its alert in one transaction; return what is now told.

        `engines` says which engine, in which precision, runs a package; `priors` are the patient's
        other studies.
        """
        alert_id = new_id()
        told = Told.of(decision, step, alert_id, study.told)
        decided = datetime.now(timezone.utc)
        said: list[Alert] = []
        facts = replace(
            self._facts(study, engines),
            progression=since(decision, study.first_byte, priors),
            follow_up=None if step.status == "retracted" else self._follow_ups.of(decision),
        )
        keys = self._ring.current

        def make_alert(sequence: int) -> NewAlert:
            names = Names(alert_id, sequence, keys.own.device, keys.own.site)
            # In this transaction: the entry stands if the alert does.
            head = self._audit.note(
                Act(
                    DAEMON,
                    "alert.made",
                    f"alert:{sequence} study:{study.id}",
                    f"{step.status} {step.urgency}",
                )
            )
            alert = compose(names, step, decision, facts, decided, head)
            said.append(alert)
            self._report(study, decision, step, alert, facts)
            body = alert.to_json()
            sealed = seal(
                body,
                signer=keys.own.signing,
                device=alert.device,
                sequence=alert.sequence,
                created=alert.created,
                recipients=keys.readers,
            )
            owed_by = self._rules.owed_by(keys.readers_names)
            return NewAlert(alert.id, alert.urgency, sealed, body_digest(body), owed_by)

        outcome = Outcome(
            study.id,
            study.key,
            state,
            study.instances,
            step.status,
            asdict(told),
            _scores(decision) if step.status == "final" else (),
        )
        self._outbox.record(outcome, make_alert)
        self._wake()
        self._count(step, decision, facts, decided)
        self._on_told(study.id, said[-1])
        return told

    def _report(
        self,
        study: StudyInProgress,
        decision: StudyDecision,
        step: Step,
        alert: Alert,
        facts: StudyFacts,
    ) -> None:
        """Queue what goes to the PACS, in the transaction of the alert that says the same.

        A provisional alert is for those who look at once; a report is of the whole study.
        """
        if self._results is None or not decision.complete:
            return
        report = report_of(
            decision,
            alert_id=alert.id,
            status=alert.status,
            decided=alert.timing.decided,
            first_instances={
                one.series_uid: next(iter(one.instances))
                for one in study.series.values()
                if one.instances
            },
            engines=facts.engines,
            progression=facts.progression,
            follow_up=facts.follow_up,
        )
        replaces = step.supersedes is not None
        self._results.keep(study.id, study.key, report, replaces=replaces)

    def _count(
        self, step: Step, decision: StudyDecision, facts: StudyFacts, decided: datetime
    ) -> None:
        self._metrics.alerts_made.labels(step.urgency, step.status).inc()
        if decision.complete:
            self._metrics.last_byte_to_alert_s.observe(decided.timestamp() - facts.last_byte)
            self._metrics.inference_s.observe(facts.inference_ms / 1000.0)

    def _facts(self, study: StudyInProgress, engines: Mapping[str, tuple[str, str]]) -> StudyFacts:
        series = study.series.values()
        # A series stays with the engine it began with, whatever was activated meanwhile.
        used = {
            reading.package.name: reading.engine
            for one in series
            for reading in one.readings
            if reading.engine != NO_ENGINE
        }
        return StudyFacts(
            study_uid=study.study_uid,
            pseudonym=study.pseudonym,
            identity=identity_of(study.identity) if self._with_identity else None,
            images={id_: uid for one in series for id_, uid in one.instances.items()},
            engines={**engines, **used},
            first_byte=study.first_byte,
            last_byte=study.last_byte,
            inference_ms=sum(one.inference_ms for one in series),
            tail_inference_ms=study.tail_inference_ms,
        )


def _scores(decision: StudyDecision) -> tuple[Score, ...]:
    """Return what to count: each finding of each model that looked, and what it looked at."""
    scores = []
    for one in (model for series in decision.series for model in series.looked):
        model = one.package.name, one.package.version
        for finding in one.findings:
            code = finding.spec.code.key
            subject = Subject(*model, code, finding.spec.label)
            scores.append(Score(subject, bin_of(finding.probability)))
        for name, value in one.inputs:
            subject = Subject(*model, f"{PREFIX}{name}", label_of(name))
            scores.append(Score(subject, bin_of(value)))
    return tuple(scores)
