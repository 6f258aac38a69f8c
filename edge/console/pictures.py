"""The images of a study for its page: which there are, in which order, and their pixels.

Decoded frames stay in memory for a while and nowhere else; the oldest leave first.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edge.console.decoder_link import Decoded, DecoderLink, Undecodable, Wanted
from edge.console.gone import Gone
from edge.store.heatmaps import KeptHeatmap
from edge.store.records import StoredInstance, StoredSeries, StoredStudy
from edge.store.studies import Store

_KEPT = 96 << 20  # bytes of packed frames: some 400 slices of CT
_STUDIES = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """One instance, by its number in the journal; `uid` is its SOP Instance UID."""

    instance: int
    uid: str
    position: float | None


@dataclass(frozen=True, slots=True)
class PictureSeries:
    """A series as the page shows it: its pictures in their order in the patient."""

    series: int
    uid: str
    modality: str
    body_part: str
    description: str
    pictures: tuple[Picture, ...]


class Pictures:
    """Reads and decodes images. Threads may share it.

    Parameters
    ----------
    store : Store
        Read only.
    heatmaps : callable
        Returns the maps of a study, by its number.
    gone : Gone
        Studies of which nothing is kept.
    """

    def __init__(
        self, store: Store, heatmaps: Callable[[int], Sequence[KeptHeatmap]], gone: Gone
    ) -> None:
        self._store = store
        self._gone = gone
        self.heatmaps = heatmaps
        self._link = DecoderLink()
        self._lock = threading.Lock()  # guards what is kept
        self._studies: OrderedDict[int, Mapping[int, Wanted]] = OrderedDict()
        self._frames: OrderedDict[tuple[int, int, int], Decoded] = OrderedDict()
        self._kept = 0

    @property
    def decoder_pid(self) -> int | None:
        """The decoder's process id, or None when there is none."""
        return self._link.pid

    def warm(self) -> None:
        """Get ready to decode: somebody is about to look."""
        self._link.warm()

    def rest(self, idle_s: float) -> None:
        """Let go of decoder and images that nobody wanted for so long."""
        if self._link.rest(idle_s):
            with self._lock:
                self._studies.clear()
                self._frames.clear()
                self._kept = 0

    def close(self) -> None:
        """End the decoder."""
        self._link.close()

    def forget(self, study: int) -> None:
        """Let go of the images of a study that is gone."""
        with self._lock:
            self._studies.pop(study, None)
            for place in [one for one in self._frames if one[0] == study]:
                self._kept -= len(self._frames.pop(place).packed)

    def series(self, study: int) -> tuple[PictureSeries, ...]:
        """Return the series of a study that have images, the one with most images first.

        None, when it was erased.
        """
        try:
            stored = self._store.study(study)
        except LookupError:  # erased, a moment ago
            return ()
        self._remember(stored)
        shown = [_series(one) for one in stored.series]
        return tuple(
            sorted((one for one in shown if one.pictures), key=lambda one: -len(one.pictures))
        )

    def frame(self, study: int, instance: int, frame: int) -> Decoded:
        """Return one frame.

        Raises
        ------
        Undecodable
            If there is no such image, or its pixels cannot be read.
        """
        wanted = self._wanted(study, instance)  # of this study: the number alone opens nothing
        place = (study, instance, frame)
        with self._lock:
            known = self._frames.get(place)
            if known is not None:
                self._frames.move_to_end(place)
                return known
        decoded = self._link.decode(Wanted(wanted.record, wanted.key, frame))
        with self._lock:
            # A study that was erased meanwhile is not known any more.
            if place not in self._frames and study in self._studies:
                self._frames[place] = decoded
                self._kept += len(decoded.packed)
            while self._kept > _KEPT and len(self._frames) > 1:
                _, oldest = self._frames.popitem(last=False)
                self._kept -= len(oldest.packed)
        return decoded

    def _wanted(self, study: int, instance: int) -> Wanted:
        with self._lock:
            known = self._studies.get(study, {}).get(instance)
        if known is None:
            with suppress(LookupError):  # it may have been erased
                known = self._remember(self._store.study(study)).get(instance)
        if known is None:
            raise Undecodable("there is no such image in this study")
        return known

    def _remember(self, stored: StoredStudy) -> Mapping[int, Wanted]:
        wanted = {
            one.id: Wanted(one.record, stored.key.raw, 0)
            for series in stored.series
            for one in series.instances
        }
        with self._lock:
            if stored.id in self._gone:  # read before it was erased
                return {}
            self._studies[stored.id] = wanted
            self._studies.move_to_end(stored.id)
            if len(self._studies) > _STUDIES:
                self._studies.popitem(last=False)
        return wanted


def _series(stored: StoredSeries) -> PictureSeries:
    shown = [one for one in stored.instances if one.set_aside is None and not one.conflict]
    about = stored.about
    return PictureSeries(
        series=stored.id,
        uid=stored.series_uid,
        modality=about["modality"],
        body_part=about["body_part"],
        description=next((text for text in about["descriptions"] if text), ""),
        pictures=tuple(
            Picture(one.id, one.instance_uid, one.position_mm) for one in sorted(shown, key=_place)
        ),
    )


def _place(one: StoredInstance) -> tuple[float, int]:
    """Return where an instance stands: by its position, those without one by their coming."""
    return math.inf if one.position_mm is None else one.position_mm, one.id
