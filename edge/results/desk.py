"""What is sent of a decision, and its place in the queue, in the decision's own transaction."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config import Results
from edge.results.identity import Device, ObjectNames, Predecessor, new_uid
from edge.results.report import FindingLine, ImagePlace, Report
from edge.store.documents import Broken, Documents, Kind, Queued
from edge.store.heatmaps import KeptHeatmap
from edge.store.study_key import SealBroken, StudyKey
from edge.timestamps import rfc3339

log = logging.getLogger("scanside.results")

SCHEMA = 1  # of what is kept; another is of another version of Scanside


class ContentError(ValueError):
    """What was kept of an object is not of this version; its UIDs are known all the same."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Where a model saw what it flagged, over its key image.

    Parameters
    ----------
    finding : str
        Its code, as in ``SCT:1386000``.
    image : ImagePlace
    height, width : int
    values : str
        uint8 (height, width), in base64.
    """

    finding: str
    image: ImagePlace
    height: int
    width: int
    values: str

    @classmethod
    def of(cls, kept: KeptHeatmap) -> Heat:
        """Return a map that the store has, to be kept with what is sent."""
        height, width = kept.values.shape
        values = b64encode(kept.values.tobytes()).decode()
        return cls(kept.finding, ImagePlace(kept.instance, kept.frame), height, width, values)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Heat:
        """Read what `dataclasses.asdict` gave."""
        return cls(**{**value, "image": ImagePlace(**value["image"])})

    @property
    def plane(self) -> NDArray[np.uint8]:
        """The map, uint8 (height, width)."""
        return np.frombuffer(b64decode(self.values), np.uint8).reshape(self.height, self.width)

    def line(self, report: Report) -> FindingLine:
        """Return the finding that it shows."""
        return next(
            one for one in report.flagged if (one.code.key, one.image) == (self.finding, self.image)
        )


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
    heat : Heat or None
        Of a heatmap.
    """

    report: Report
    names: ObjectNames
    device: Device
    predecessor: Predecessor | None
    unnamed: tuple[str, ...] = ()
    heat: Heat | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, to be sealed."""
        return {
            "schema": SCHEMA,
            "report": self.report.as_json(),
            "names": asdict(self.names),
            "device": asdict(self.device),
            "predecessor": None if self.predecessor is None else asdict(self.predecessor),
            "unnamed": self.unnamed,
            "heat": None if self.heat is None else asdict(self.heat),
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
        predecessor, heat = value["predecessor"], value.get("heat")
        return cls(
            Report.from_json(value["report"]),
            ObjectNames(**value["names"]),
            Device(**value["device"]),
            None if predecessor is None else Predecessor(**predecessor),
            tuple(value.get("unnamed", ())),  # queued before there was such
            None if heat is None else Heat.from_json(heat),
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
    heatmaps : callable
        Returns the maps that are kept of a study, by its number; raises `SealBroken`.
    """

    def __init__(
        self,
        documents: Documents,
        device: Device,
        settings: Results,
        heatmaps: Callable[[int], Sequence[KeptHeatmap]] = lambda _: (),
    ) -> None:
        self._documents = documents
        self._heatmaps = heatmaps
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
                if kind is Kind.HEATMAP:
                    self._add_heatmaps(study_id, key, report, known)
                    continue
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

    def _add_heatmaps(self, study_id: int, key: StudyKey, report: Report, known: Queued) -> None:
        """Queue a picture of each flagged finding of which there is none yet."""
        try:
            maps = self._heatmaps(study_id)
        except SealBroken as error:
            log.error("No heatmap of study %d goes to the PACS: %s", study_id, error)
            return
        before = {(one["heat"]["finding"], *one["heat"]["image"].values()) for one in known.opened}
        flagged = {(one.code.key, one.image) for one in report.flagged}
        heats = [Heat.of(one) for one in maps if one.values.any()]
        new = [
            one
            for one in heats
            if (one.finding, one.image) in flagged
            and (one.finding, one.image.instance, one.image.frame) not in before
        ]
        series = _names(known.opened[0]).series_uid if known.opened else new_uid()
        for number, heat in enumerate(new, start=known.number + 1):
            names = ObjectNames(series, new_uid(), number)
            content = Content(report, names, self._device, None, heat=heat)
            self._documents.add(study_id, key, Kind.HEATMAP, content.as_json())


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
    shown = ((Kind.KEY_IMAGES, settings.key_images), (Kind.HEATMAP, settings.heatmaps))
    return (Kind.REPORT, *(kind for kind, on in shown if on and report.key_images))
