"""Heatmaps are kept sealed beside their study, and found again by image and finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arrivals import DEVICE_KEY, arrival, open_store

from edge.store.heatmaps import KeptHeatmap, heatmaps, keep_heatmaps
from edge.store.study_key import SealBroken

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_a_map_comes_back_as_it_was_and_the_latest_of_one_place_stays(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        one, two = (store.keep(arrival(number), bytes([number])) for number in (1, 2))
        bleed = KeptHeatmap(one.instance.id, 0, "SCT:1386000", VALUES)
        crack = KeptHeatmap(one.instance.id, 0, "SCT:71642004", VALUES + 1)
        other = KeptHeatmap(two.instance.id, 3, "SCT:1386000", VALUES + 2)
        keep_heatmaps(store.journal, one.key, one.study_id, [bleed, crack, other])
        again = KeptHeatmap(one.instance.id, 0, "SCT:1386000", VALUES + 9)
        keep_heatmaps(store.journal, one.key, one.study_id, [again])
        found = heatmaps(store.journal, DEVICE_KEY, one.study_id)
        assert len(found) == 3
        (last,) = heatmaps(
            store.journal,
            DEVICE_KEY,
            one.study_id,
            instance=one.instance.id,
            finding="SCT:1386000",
        )
        assert np.array_equal(last.values, VALUES + 9)
        (far,) = heatmaps(store.journal, DEVICE_KEY, one.study_id, instance=two.instance.id)
        assert (far.frame, far.finding) == (3, "SCT:1386000")
        assert heatmaps(store.journal, DEVICE_KEY, one.study_id + 1) == ()


def test_neither_map_nor_finding_lies_open_in_the_journal(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        kept = store.keep(arrival(1), b"x")
        values = np.full((64, 64), 77, np.uint8)
        one = KeptHeatmap(kept.instance.id, 0, "SCT:1386000", values)
        keep_heatmaps(store.journal, kept.key, kept.study_id, [one])
    written = (tmp_path / "journal.db").read_bytes()
    assert b"1386000" not in written
    assert values.tobytes()[:32] not in written


def test_another_devices_key_opens_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        kept = store.keep(arrival(1), b"x")
        one = KeptHeatmap(kept.instance.id, 0, "SCT:1386000", VALUES)
        keep_heatmaps(store.journal, kept.key, kept.study_id, [one])
        with pytest.raises(SealBroken):
            heatmaps(store.journal, bytes(32), kept.study_id)
