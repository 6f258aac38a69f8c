"""What is known of a study while it is coming in.

It lives in one thread, the coordinator's, and is made anew from the store after a restart.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.alerts.decision import (
    CONFLICT,
    DISCONTINUED,
    QUIET,
    WRONG_ENTRY,
    ModelResult,
    SeriesResult,
    not_by,
    said_for,
)
from edge.alerts.policy import Told
from edge.analysis.comparison import COMPARED_ALONE, NO_PRIOR
from edge.analysis.completeness import Evidence, SeriesFacts
from edge.analysis.deaths import named
from edge.analysis.messages import Closed, Looked
from edge.analysis.reading import Reading
from edge.analysis.routing import SeriesAbout
from edge.analysis.volume_messages import VolumeLooked
from edge.imaging.geometry import describe_stack
from edge.imaging.quality.flags import Flag, Stacked, flags
from edge.store.heatmaps import KeptHeatmap
from edge.store.records import StoredInstance, StoredSeries, StoredStudy
from edge.store.steps import Performance
from edge.store.study_key import StudyKey

NO_MODEL = "no model for this kind of study"
NOTHING_TO_LOOK_AT = "no images to look at, only localizers, reports or derived images"
QUARANTINED = "analysis failed too often on this study; it is quarantined"
QUARANTINED_FLAGGED = f"{QUARANTINED}; the earlier alert stands"


@dataclass(slots=True)
class SeriesInProgress:
    """One series: what came, who brought it, what the model says so far.

    `about` is of the first image that is looked at; the models are chosen with it, and each has a
    reading.
    """

    id: int
    series_uid: str
    about: SeriesAbout
    readings: tuple[Reading, ...] = ()
    without_prior: bool = False  # a two-study model asked for an earlier study, and there is none
    reopened: int = 0
    committed: int = 0
    performance: Performance | None = None
    evidence: Evidence | None = None
    given_up: bool = False
    instances: dict[int, str] = field(default_factory=dict)
    images: int = 0
    conflicts: int = 0
    positions: list[float] = field(default_factory=list)
    places: dict[int, float] = field(default_factory=dict)  # of every image; inf: it says none
    left_out: set[int] = field(default_factory=set)  # images that ended the worker
    announced: dict[int | None, int] = field(default_factory=dict)
    brought: Counter[int] = field(default_factory=Counter)
    open_senders: set[int] = field(default_factory=set)
    orderly: bool = False
    latest: float = field(default_factory=time.monotonic)
    awaited: set[str] = field(default_factory=set)  # images that a step lists and that are not here

    @classmethod
    def of(cls, stored: StoredSeries) -> SeriesInProgress:
        """Return a series as the store has it, without its instances and its evidence."""
        return cls(
            stored.id,
            stored.series_uid,
            SeriesAbout.from_json(stored.about),
            reopened=stored.reopened,
            committed=stored.committed,
        )

    def performed_by(self, performance: Performance) -> None:
        """Note what the scanner's procedure steps say of it."""
        self.performance = performance
        self.awaited = set(performance.instances.difference(self.instances.values()))

    def add(self, instance: StoredInstance) -> None:
        """Count an instance, whether it is to be looked at or not."""
        self.instances[instance.id] = instance.instance_uid
        self.awaited.discard(instance.instance_uid)
        self.latest = time.monotonic()
        if instance.announced is not None:
            self.announced[instance.acquisition] = instance.announced
        if instance.conflict:
            self.conflicts += 1
        elif instance.set_aside is None:
            self.images += 1
            place = instance.position_mm
            self.places[instance.id] = math.inf if place is None else place
            if place is not None:
                self.positions.append(place)

    def brought_by(self, sender: int) -> None:
        """Note which association an instance came with, stored anew or again."""
        self.brought[sender] += 1
        self.open_senders.add(sender)

    def sender_gone(self, sender: int, *, orderly: bool) -> None:
        """Note that an association ended."""
        if sender in self.open_senders:
            self.open_senders.discard(sender)
            self.orderly = orderly

    def facts(self, now: float) -> SeriesFacts:
        """Return what bears on completeness; `now` is of the monotonic clock."""
        # One slice with a position is a stack too: of a sender with an association an image, it
        # is the first of many.
        stacked = bool(self.positions)
        return SeriesFacts(
            received=len(self.instances) - self.conflicts,
            announced=self.announced_images,
            stacked=stacked,
            gap_mm=self._gap_mm() if stacked and not self.open_senders else math.inf,
            performed=self._performed,
            discontinued=self._is_discontinued,
            committed=0 < self.committed == len(self.instances),
            brought_together=max(self.brought.values(), default=0),
            sender_open=bool(self.open_senders),
            sender_orderly=self.orderly,
            reopened=self.reopened,
            quiet_s=now - self.latest,
        )

    @property
    def _performed(self) -> bool:
        step = self.performance
        return step is not None and step.ended and bool(step.instances) and not self.awaited

    @property
    def _is_discontinued(self) -> bool:
        return self.performance is not None and self.performance.discontinued

    def _gap_mm(self) -> float:
        return describe_stack(self.positions).largest_gap_mm

    @property
    def announced_images(self) -> int | None:
        """How many images the sender said will come, or None."""
        whole = self.announced.get(None)
        if whole is not None:
            return whole
        # The sum grows with every acquisition that begins. Where each slice is one, or where the
        # sum was wrong before, it says nothing.
        counts = self.announced.values()
        if self.reopened or (self.positions and max(counts, default=0) <= 1):
            return None
        return sum(counts) or None

    def heard(self, reply: Looked | Closed) -> tuple[KeptHeatmap, ...]:
        """Take in what the worker said; return the heatmaps that are to be kept."""
        reading = self.of_slices
        if reading is None:
            return ()
        if isinstance(reply, Closed) and self._is_now(reply.revision):
            reading.finished = True
        return reading.heard(reply)

    def heard_volume(self, looked: VolumeLooked) -> Reading | None:
        """Take in what came of looking at the series as a volume.

        Returns the reading that it is of; None if more images came since.
        """
        if not self._is_now(looked.job.revision):
            return None
        for reading in self.readings:
            if reading.package.path == looked.job.package:
                reading.heard_volume(looked)
                return reading
        return None

    def _is_now(self, revision: int) -> bool:
        return self.evidence is not None and revision == self.reopened

    @property
    def of_slices(self) -> Reading | None:
        """The reading of the model that judges slices, if there is one."""
        return next((one for one in self.readings if not one.is_volume), None)

    @property
    def finished(self) -> bool:
        """Whether it is complete, and every model that can has looked at it."""
        closed = self.evidence is not None or self.given_up
        return closed and all(one.finished for one in self.readings)

    @property
    def inference_ms(self) -> float:
        """In the engines."""
        return sum(one.inference_ms for one in self.readings)

    def give_up(self, why: str) -> None:
        """Have no model look at it any more."""
        self.given_up = True
        for reading in self.readings:
            reading.give_up(why)

    def result(self) -> SeriesResult:
        """Return the series as an alert tells of it."""
        models = tuple(one.result(self.images) for one in self.readings)
        return SeriesResult(
            series_uid=self.series_uid,
            modality=self.about.modality,
            body_part=self.about.body_part,
            acquired=self.about.acquired,
            instances=len(self.instances),
            evidence=None if self.evidence is None else self.evidence.value,
            models=models,
            reasons=self._reasons(models),
            is_image=self.images > 0,
            doubts=self._doubts(models),
            quality=self._quality(),
        )

    def _reasons(self, models: Sequence[ModelResult]) -> tuple[str, ...]:
        if self.finished and not self.images:
            return (NOTHING_TO_LOOK_AT,)
        if self.finished and not models:
            return (NO_MODEL,)
        said = [(one.package.name, one.reason) for one in models if one.reason is not None]
        reasons = [reason for _, reason in said]
        if len(said) == len(models) and len(set(reasons)) == 1:
            return (reasons[0],)
        return tuple(not_by(*one) for one in said)

    def _doubts(self, models: Sequence[ModelResult]) -> tuple[str, ...]:
        doubts = [
            said_for(one.package.name, doubt) if len(models) > 1 else doubt
            for one in models
            for doubt in one.doubts
        ]
        looked = [one for one in models if one.analysed]
        if self.without_prior:
            doubts.append(NO_PRIOR)
        if looked and self.finished and all(one.compared for one in looked):
            doubts.append(COMPARED_ALONE)
        if looked:
            doubts += (named(number, self.images) for number in self._numbers_left_out())
        if looked and self.evidence is Evidence.QUIET:
            doubts.append(QUIET)
        if self._is_discontinued:
            doubts.append(DISCONTINUED)
        if self.performance is not None and self.performance.wrong_entry:
            doubts.append(WRONG_ENTRY)
        if self.conflicts:
            doubts.append(CONFLICT)
        return tuple(doubts)

    def _numbers_left_out(self) -> list[int]:
        """Return which images were left out, counted as the console shows them, from 1."""
        order = sorted(self.places, key=lambda one: (self.places[one], one))
        return [number for number, one in enumerate(order, start=1) if one in self.left_out]

    def _quality(self) -> tuple[Flag, ...]:
        # Each model's process measures what it reads; where two did, the first model's counts.
        measures = {
            place: one
            for reading in reversed(self.readings)
            for place, one in reading.measures.items()
        }
        stacked = Stacked(
            modality=self.about.modality,
            images=tuple(measures.values()),
            positions_mm=tuple(self.positions),
            complete=self.evidence is not None,
        )
        return flags(stacked)


@dataclass(slots=True)
class StudyInProgress:
    """One study: its series, and what was last said of it."""

    id: int
    study_uid: str
    pseudonym: str
    identity: dict[str, str] = field(repr=False)
    key: StudyKey
    first_byte: float
    last_byte: float
    told: Told | None
    tail_inference_ms: float = 0.0  # in the engine, after the last byte
    series: dict[int, SeriesInProgress] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: StoredStudy, told: dict[str, Any] | None) -> StudyInProgress:
        """Return a study as the store has it, without its series; `told` was last said of it."""
        return cls(
            id=stored.id,
            study_uid=stored.study_uid,
            pseudonym=stored.pseudonym,
            identity=stored.identity,
            key=stored.key,
            first_byte=stored.first_byte,
            last_byte=stored.last_byte,
            told=None if told is None else Told.from_json(told),
        )

    @property
    def instances(self) -> int:
        """How many instances are known of."""
        return sum(len(series.instances) for series in self.series.values())

    @property
    def complete(self) -> bool:
        """Whether every series is complete and looked at."""
        return all(series.finished for series in self.series.values())

    def quarantine(self) -> None:
        """Have no model look at it any more, and say so; what was flagged before stands."""
        flagged = self.told is not None and bool(self.told.flagged)
        for series in self.series.values():
            series.give_up(QUARANTINED_FLAGGED if flagged else QUARANTINED)

    def compares_with(self, study: int) -> bool:
        """Return whether a model compares it with the study of that number."""
        return any(
            reading.prior is not None and reading.prior.study == study
            for series in self.series.values()
            for reading in series.readings
        )
