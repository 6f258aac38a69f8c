"""What is sent of a decision, and its place in the queue, in the decision's own transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from edge.config import Results
from edge.results.identity import Device, ObjectNames, Predecessor, new_uid
from edge.results.report import Report
from edge.store.documents import Broken, Documents, Kind
from edge.store.study_key import StudyKey
from edge.timestamps import rfc3339

SCHEMA = 1  # of what is kept; another is of another version of Scanside


class ContentError(ValueError):
    """What was kept of an object is not of this version; its UIDs are known all the same."""


@dataclass(frozen=True, slots=True)
class Content:
    """All that an object is made of, beside the images.

    Parameters
    ----------
    report : Report
        What is said.
    names : ObjectNames
    device : Device
    predecessor : Predecessor or None
        Of a report: the one that it replaces.
    unnamed : tuple of str
        Of a report: what it replaces and cannot name, in words.
    """

    report: Report
    names: ObjectNames
    device: Device
    predecessor: Predecessor | None
    unnamed: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, to be sealed."""
        return {
            "schema": SCHEMA,
            "report": self.report.as_json(),
            "names": asdict(self.names),
            "device": asdict(self.device),
            "predecessor": None if self.predecessor is None else asdict(self.predecessor),
            "unnamed": self.unnamed,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Content:
        """Read what `as_json` gave.

        Raises
        ------
        ContentError
            If another version of Scanside wrote it.
        """
        if value["schema"] != SCHEMA:
            raise ContentError("it was queued by another version of Scanside")
        predecessor = value["predecessor"]
        return cls(
            Report.from_json(value["report"]),
            ObjectNames(**value["names"]),
            Device(**value["device"]),
            None if predecessor is None else Predecessor(**predecessor),
            tuple(value.get("unnamed", ())),  # queued before there was such
        )


class Desk:
    """Queues what a decision calls for.

    Parameters
    ----------
    documents : Documents
    device : Device
        Who speaks.
    settings : Results
        ``[results]`` of the configuration.
    """

    def __init__(self, documents: Documents, device: Device, settings: Results) -> None:
        self._documents = documents
        self._device = device
        self._settings = settings

    def keep(self, study_id: int, key: StudyKey, report: Report, *, replaces: bool) -> None:
        """Queue the objects of a report; call it in the transaction that keeps the decision.

        What says nothing new is not sent again: a PACS that forwards what it gets, our own report
        among it, would otherwise get another for each.

        Parameters
        ----------
        study_id : int
        key : StudyKey
            Seals what they say.
        report : Report
        replaces : bool
            Whether it takes the place of what was said of the study before.

        Raises
        ------
        DocumentsError
            If the journal cannot be written.
        """
        with self._documents.together():
            earlier = self._documents.about(study_id, key, Kind.REPORT)
            last = earlier.opened[-1] if earlier.opened else None
            said = None if last is None else _said(last)
            if said is not None and report.says_the_same(said) and not earlier.last_broken:
                return
            before = _predecessor(last) if last is not None and replaces else None
            unnamed = tuple(map(_unnamed, earlier.last_broken)) if replaces else ()
            stands = before is not None or any(one.had for one in earlier.last_broken)
            for kind in wanted(report, self._settings, replaces=replaces and stands):
                known = self._documents.about(study_id, key, kind)
                shown = known.opened[-1] if known.opened else None
                replaced: tuple[Predecessor | None, tuple[str, ...]]
                if kind is Kind.REPORT:
                    replaced = before, unnamed
                elif shown is not None and _shows_the_same(report, shown):
                    continue
                else:
                    replaced = None, ()
                series = _names(known.opened[0]).series_uid if known.opened else new_uid()
                names = ObjectNames(series, new_uid(), known.number + 1)
                content = Content(report, names, self._device, *replaced)
                self._documents.add(study_id, key, kind, content.as_json())


def _names(about: dict[str, Any]) -> ObjectNames:
    return ObjectNames(**about["names"])


def _predecessor(about: dict[str, Any]) -> Predecessor:
    names = _names(about)
    return Predecessor(names.series_uid, names.instance_uid)


def _unnamed(broken: Broken) -> str:
    """Say of a report that its name is not known any more."""
    made = rfc3339(datetime.fromtimestamp(broken.created, timezone.utc))
    where = "is in the PACS" if broken.had else "may be in the PACS"
    return (
        f"Report {broken.id} on the appliance, made {made}, {where} and cannot be named here: what "
        "was kept of it is damaged. This report takes its place too."
    )


def _shows_the_same(report: Report, about: dict[str, Any]) -> bool:
    """Whether key images that were queued before are those of a report."""
    before = _said(about)
    return before is not None and set(before.key_images) == set(report.key_images)


def _said(about: dict[str, Any]) -> Report | None:
    """Return what an object says that was queued before; None if another version queued it."""
    try:
        return Content.from_json(about).report
    except ContentError:
        return None


def wanted(report: Report, settings: Results, *, replaces: bool) -> tuple[Kind, ...]:
    """Return which objects a report calls for.

    A study that no model looked at is left out unless the site wants it: a page for each knee and
    dose report would teach people to look away. Where a report stands in the PACS already it is
    always replaced, for it no longer holds.
    """
    if report.outcome == "not_analysed" and not settings.not_analysed and not replaces:
        return ()
    if settings.key_images and report.key_images:
        return (Kind.REPORT, Kind.KEY_IMAGES)
    return (Kind.REPORT,)
