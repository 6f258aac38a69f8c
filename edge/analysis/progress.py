"""What is known of a study while it is coming in.

It lives in one thread, the coordinator's, and is made anew from the store after a restart.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge.alerts.decision import (
    CONFLICT,
    QUIET,
    Compared,
    SeriesFinding,
    SeriesResult,
    SeriesVolume,
    SliceId,
    doubts_of,
    find,
)
from edge.alerts.policy import Told
from edge.analysis.comparison import COMPARED_ALONE, NO_PRIOR, Earlier
from edge.analysis.completeness import Evidence, SeriesFacts
from edge.analysis.coverage import NONE_JUDGED, not_judged, outside
from edge.analysis.messages import (
    NO_ENGINE,
    Closed,
    EngineName,
    Looked,
    Measured,
    Seen,
    SliceScore,
)
from edge.analysis.routing import SeriesAbout
from edge.analysis.volume_messages import VolumeLooked
from edge.feedback.inputs import inputs_of
from edge.imaging.geometry import describe_stack
from edge.imaging.heatmap import Spot
from edge.imaging.quality import Flag, SliceMeasures, Stacked, flags
from edge.store.heatmaps import KeptHeatmap
from edge.store.records import StoredInstance, StoredStudy
from edge.store.study_key import StudyKey
from engines import ModelPackage

NO_MODEL = "no model for this kind of study"
NOTHING_TO_LOOK_AT = "no images to look at, only localizers, reports or derived images"


@dataclass(slots=True)
class SeriesInProgress:
    """One series: what came, who brought it, what the model says so far.

    `about` is of the first image that is looked at; `package` is chosen with it.
    """

    id: int
    series_uid: str
    about: SeriesAbout
    package: ModelPackage | None = None
    earlier: Earlier | None = None  # studies of the patient to compare it with
    failure: str | None = None  # why the chosen package cannot look
    refusal: str | None = None  # why it did not: the slices make no volume
    reopened: int = 0
    evidence: Evidence | None = None
    finished: bool = False
    instances: dict[int, str] = field(default_factory=dict)
    images: int = 0
    conflicts: int = 0
    positions: list[float] = field(default_factory=list)
    announced: dict[int | None, int] = field(default_factory=dict)
    brought: Counter[int] = field(default_factory=Counter)
    open_senders: set[int] = field(default_factory=set)
    orderly: bool = False
    latest: float = field(default_factory=time.monotonic)
    scores: dict[SliceId, tuple[float, ...]] = field(default_factory=dict)
    unfamiliar: set[SliceId] = field(default_factory=set)
    measures: dict[SliceId, SliceMeasures] = field(default_factory=dict)
    volumes: tuple[SeriesVolume, ...] = ()
    spots: dict[tuple[SliceId, int], Spot] = field(default_factory=dict)  # by slice and finding
    unreadable: dict[int, str] = field(default_factory=dict)
    inference_ms: float = 0.0
    engine: EngineName = NO_ENGINE  # that looked

    def add(self, instance: StoredInstance) -> None:
        """Count an instance, whether it is to be looked at or not."""
        self.instances[instance.id] = instance.instance_uid
        self.latest = time.monotonic()
        if instance.announced is not None:
            self.announced[instance.acquisition] = instance.announced
        if instance.conflict:
            self.conflicts += 1
        elif instance.set_aside is None:
            self.images += 1
            if instance.position_mm is not None:
                self.positions.append(instance.position_mm)

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
            brought_together=max(self.brought.values(), default=0),
            sender_open=bool(self.open_senders),
            sender_orderly=self.orderly,
            reopened=self.reopened,
            quiet_s=now - self.latest,
        )

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
        self.score(reply.scores, reply.inference_ms)
        if reply.engine != NO_ENGINE:
            self.engine = reply.engine
        if isinstance(reply, Looked):
            self.measured(reply.measured)
            if reply.unreadable is not None:
                self.unreadable[reply.instance] = reply.unreadable
        return tuple(self._map(one) for one in reply.seen)

    def heard_volume(self, looked: VolumeLooked) -> bool:
        """Take in what came of looking at the series as a volume; False if more came since."""
        if looked.job.revision != self.reopened or self.evidence is None:
            return False
        self.measured(looked.measured)
        self.unreadable.update(looked.unreadable)
        self.inference_ms += looked.inference_ms
        specs = () if self.package is None else self.package.volumes
        bounds = looked.bounds_ml or (None,) * len(looked.volumes_ml)
        each = zip(specs, looked.volumes_ml, bounds, strict=False)  # none, or one for each
        self.volumes = tuple(SeriesVolume(*one) for one in each)
        self.refusal = looked.reason
        self.engine = looked.engine
        self.finished = True
        return True

    def _map(self, seen: Seen) -> KeptHeatmap:
        """Note where a flagged finding is seen, and return its map."""
        assert self.package is not None  # noqa: S101  # a model saw it
        self.spots[(seen.instance, seen.frame), seen.finding] = seen.spot
        code = self.package.findings[seen.finding].code
        return KeptHeatmap(seen.instance, seen.frame, f"{code.scheme}:{code.value}", seen.values)

    def score(self, scores: tuple[SliceScore, ...], inference_ms: float) -> None:
        """Take in what the model said of some slices."""
        for one in scores:
            slice_id = (one.instance, one.frame)
            self.scores[slice_id] = one.probabilities
            if one.familiar:
                self.unfamiliar.discard(slice_id)
            else:
                self.unfamiliar.add(slice_id)
        self.inference_ms += inference_ms

    def measured(self, measured: tuple[Measured, ...]) -> None:
        """Take in what was measured of some images' quality."""
        for one in measured:
            self.measures[one.instance, one.frame] = one.measures

    @property
    def can_be_looked_at(self) -> bool:
        """Whether there is something to look at and a model to do it."""
        return self.images > 0 and self.package is not None and self.failure is None

    @property
    def is_volume(self) -> bool:
        """Whether it is looked at as a whole, once it is complete."""
        return self.package is not None and bool(self.package.volumes)

    def start_over(self) -> None:
        """Forget what a worker said that is no more."""
        self.scores.clear()
        self.unfamiliar.clear()
        self.measures.clear()
        self.spots.clear()
        self.volumes = ()
        self.refusal = None
        self.unreadable.clear()
        self.finished = False
        self.inference_ms = 0.0

    def result(self) -> SeriesResult:
        """Return the series as an alert tells of it."""
        left_out = self._left_out()
        judged = {place: one for place, one in self.scores.items() if place not in left_out}
        findings = self._findings(judged)
        analysed = bool(findings or self.volumes)
        return SeriesResult(
            series_uid=self.series_uid,
            modality=self.about.modality,
            body_part=self.about.body_part,
            acquired=self.about.acquired,
            instances=len(self.instances),
            evidence=None if self.evidence is None else self.evidence.value,
            package=self.package if analysed else None,
            findings=findings,
            reason=None if analysed or not self.finished else self._reason(left_out),
            is_image=self.images > 0,
            doubts=tuple(self._doubts(analysed, left_out)),
            quality=self._quality(),
            volumes=self.volumes,
            compared=self._compared(),
            inputs=inputs_of(tuple(self.measures.values())),
        )

    def _left_out(self) -> frozenset[SliceId]:
        """Return the slices with a score that the model does not judge."""
        spec = None if self.package is None else self.package.coverage
        return outside(spec, self.measures) & self.scores.keys()

    def _findings(self, judged: Mapping[SliceId, tuple[float, ...]]) -> tuple[SeriesFinding, ...]:
        # Which slices are judged depends on all of them, so until then nothing is foretold.
        if self.package is None or (self.package.coverage is not None and not self.finished):
            return ()
        return tuple(
            finding
            if finding.key_slice is None
            else replace(finding, spot=self.spots.get((finding.key_slice, number)))
            for number, finding in enumerate(find(self.package, judged, self.unfamiliar))
        )

    def _quality(self) -> tuple[Flag, ...]:
        stacked = Stacked(
            modality=self.about.modality,
            images=tuple(self.measures.values()),
            positions_mm=tuple(self.positions),
            complete=self.evidence is not None,
        )
        return flags(stacked)

    def _compared(self) -> Compared | None:
        prior = None if self.earlier is None else self.earlier.prior
        return Compared(prior.study_uid, prior.days) if prior and self.volumes else None

    def _reason(self, left_out: frozenset[SliceId]) -> str:
        if not self.images:
            return NOTHING_TO_LOOK_AT
        if self.package is None:
            return NO_MODEL
        if self.failure is not None:
            return self.failure
        if self.refusal is not None:
            return self.refusal
        if left_out:
            return NONE_JUDGED
        causes = ", ".join(sorted(set(self.unreadable.values())))
        return f"no image could be read: {causes}" if causes else "too few images"

    def _doubts(self, analysed: bool, left_out: frozenset[SliceId]) -> list[str]:
        doubts = []
        if analysed and self.package is not None:
            judged = len(self.scores) - len(left_out)
            doubts += doubts_of(self.package, judged, len(self.unfamiliar - left_out))
        if analysed and left_out:
            doubts.append(not_judged(len(left_out), len(self.scores)))
        if analysed and self.unreadable:
            doubts.append(f"{len(self.unreadable)} of {self.images} images could not be read.")
        if self.earlier is not None and self.earlier.asked and self.earlier.prior is None:
            doubts.append(NO_PRIOR)
        if analysed and self.earlier is not None and self.earlier.prior is not None:
            doubts.append(COMPARED_ALONE)
        if analysed and self.evidence is Evidence.QUIET:
            doubts.append(QUIET)
        if self.conflicts:
            doubts.append(CONFLICT)
        return doubts


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
