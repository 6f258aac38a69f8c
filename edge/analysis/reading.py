"""What one model makes of one series, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge.alerts.decision import (
    UNREADABLE,
    Compared,
    ModelResult,
    SeriesFinding,
    SeriesVolume,
    SliceId,
    doubts_of,
    find,
)
from edge.analysis.comparison import PriorSeries
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
from edge.analysis.volume_messages import VolumeLooked
from edge.feedback.inputs import inputs_of
from edge.imaging.quality.slice_measures import SliceMeasures
from edge.imaging.spot import Spot
from edge.store.heatmaps import KeptHeatmap
from engines import ModelPackage


@dataclass(slots=True)
class Reading:
    """One model at one series.

    Parameters
    ----------
    package : ModelPackage
        The model.
    prior : PriorSeries or None
        Of a two-study model: what it compares the series with.
    failure : str or None
        Why it cannot look.
    """

    package: ModelPackage
    prior: PriorSeries | None = None
    failure: str | None = None
    refusal: str | None = None  # why it did not: the slices make no volume
    finished: bool = False
    scores: dict[SliceId, tuple[float, ...]] = field(default_factory=dict)
    unfamiliar: set[SliceId] = field(default_factory=set)
    measures: dict[SliceId, SliceMeasures] = field(default_factory=dict)
    volumes: tuple[SeriesVolume, ...] = ()
    spots: dict[tuple[SliceId, int], Spot] = field(default_factory=dict)  # by slice and finding
    unreadable: dict[int, str] = field(default_factory=dict)
    inference_ms: float = 0.0
    engine: EngineName = NO_ENGINE  # that looked

    @property
    def is_volume(self) -> bool:
        """Whether the series is looked at as a whole, once it is complete."""
        return bool(self.package.volumes)

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

    def give_up(self, why: str) -> None:
        """Forget what the model said; it is not asked any more."""
        self.start_over()
        self.failure = why
        self.finished = True

    def heard(self, reply: Looked | Closed) -> tuple[KeptHeatmap, ...]:
        """Take in what the worker said; return the heatmaps that are to be kept."""
        self._score(reply.scores, reply.inference_ms)
        if reply.engine != NO_ENGINE:
            self.engine = reply.engine
        if isinstance(reply, Looked):
            self._measured(reply.measured)
            if reply.unreadable is not None:
                self.unreadable[reply.instance] = reply.unreadable
        return tuple(self._map(one) for one in reply.seen)

    def heard_volume(self, looked: VolumeLooked) -> None:
        """Take in what came of looking at the series as a volume."""
        self._measured(looked.measured)
        self.unreadable.update(looked.unreadable)
        self.inference_ms += looked.inference_ms
        bounds = looked.bounds_ml or (None,) * len(looked.volumes_ml)
        # None, or one for each.
        each = zip(self.package.volumes, looked.volumes_ml, bounds, strict=False)
        self.volumes = tuple(SeriesVolume(*one) for one in each)
        self.refusal = looked.reason
        self.engine = looked.engine
        self.finished = True

    def _map(self, seen: Seen) -> KeptHeatmap:
        """Note where a flagged finding is seen, and return its map."""
        self.spots[(seen.instance, seen.frame), seen.finding] = seen.spot
        code = self.package.findings[seen.finding].code
        return KeptHeatmap(seen.instance, seen.frame, code.key, seen.values)

    def _score(self, scores: tuple[SliceScore, ...], inference_ms: float) -> None:
        for one in scores:
            slice_id = (one.instance, one.frame)
            self.scores[slice_id] = one.probabilities
            if one.familiar:
                self.unfamiliar.discard(slice_id)
            else:
                self.unfamiliar.add(slice_id)
        self.inference_ms += inference_ms

    def _measured(self, measured: tuple[Measured, ...]) -> None:
        for one in measured:
            self.measures[one.instance, one.frame] = one.measures

    def result(self, images: int) -> ModelResult:
        """Return what the model says; `images` is how many there are to look at."""
        left_out = outside(self.package.coverage, self.measures) & self.scores.keys()
        judged = {place: one for place, one in self.scores.items() if place not in left_out}
        findings = self._findings(judged)
        analysed = bool(findings or self.volumes)
        prior = self.prior if self.volumes else None
        return ModelResult(
            package=self.package,
            findings=findings,
            volumes=self.volumes,
            reason=None if analysed or not self.finished else self._reason(left_out),
            doubts=self._doubts(left_out, images) if analysed else (),
            inputs=inputs_of(tuple(self.measures.values())),
            compared=None if prior is None else Compared(prior.study_uid, prior.days),
        )

    def _findings(self, judged: Mapping[SliceId, tuple[float, ...]]) -> tuple[SeriesFinding, ...]:
        # Which slices are judged depends on all of them, so until then nothing is foretold.
        if self.package.coverage is not None and not self.finished:
            return ()
        return tuple(
            finding
            if finding.key_slice is None
            else replace(finding, spot=self.spots.get((finding.key_slice, number)))
            for number, finding in enumerate(find(self.package, judged, self.unfamiliar))
        )

    def _reason(self, left_out: frozenset[SliceId]) -> str:
        if self.failure is not None:
            return self.failure
        if self.refusal is not None:
            return self.refusal
        if left_out:
            return NONE_JUDGED
        causes = ", ".join(sorted(set(self.unreadable.values())))
        return f"no image could be read: {causes}" if causes else "too few images"

    def _doubts(self, left_out: frozenset[SliceId], images: int) -> tuple[str, ...]:
        judged = len(self.scores) - len(left_out)
        doubts = doubts_of(self.package, judged, len(self.unfamiliar - left_out))
        if left_out:
            doubts.append(not_judged(len(left_out), len(self.scores)))
        if self.unreadable:
            doubts.append(f"{len(self.unreadable)} of {images} {UNREADABLE}")
        return tuple(doubts)
