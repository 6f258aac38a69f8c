"""The shipped model shows where it sees a bleed: in drawn heads, in real ones, in the worker."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from arrivals import arrival, open_store
from numpy.typing import NDArray
from worker_parts import Linked, close, keep_slices, linked_worker, look, scores_of

from edge.alerts.decision import find
from edge.analysis.messages import Closed, Looked
from edge.imaging.heatmap import heatmap, spot
from edge.imaging.pixels import Slice
from edge.imaging.prepare import prepare_for
from edge.store.studies import Store
from engines import Engine, load_package, shipped_packages
from engines.explain import ACTIVATION, load_explainer
from tools.scanner.head_ct import SPACING_MM, HeadCt, as_series, draw_head_ct
from tools.scanner.slices import ASSUMED_SPACING_MM, read_slices, rebuild_hu

PACKAGE = load_package(shipped_packages() / "head-ct-hemorrhage")
HEADS = Path(__file__).parents[3] / "shared" / "data" / "head-ct"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Hu = NDArray[np.float32]


@pytest.fixture(scope="module")
def explainer() -> Iterator[Engine]:
    engine = load_explainer(PACKAGE)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Linked]:
    with linked_worker() as linked:
        yield linked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "studies") as opened:
        yield opened


def asked(explainer: Engine, hu: Hu, spacing: float) -> tuple[float, NDArray[np.float32]]:
    """Return the logit and the activation of the middle one of three slices."""
    spec = PACKAGE.input
    planes = [prepare_for(spec, plane, spacing=(spacing, spacing)) for plane in hu]
    stack = np.stack(planes, axis=1).reshape(1, -1, spec.height, spec.width)
    found = explainer.infer({spec.tensor: stack})
    return float(found[PACKAGE.output.tensor][0, 0]), found[ACTIVATION][0, 0]


def middle_of(head: HeadCt) -> tuple[int, Slice]:
    """Return the slice nearest to the lesion's centre."""
    truth = head.truth["lesion"]
    assert isinstance(truth, dict)
    z = np.array(head.grid.positions_mm)
    index = int(np.abs(z - truth["centre_mm"][2]).argmin())
    pixels = head.hu[index].astype(np.float32)
    corner = -(pixels.shape[0] - 1) / 2 * SPACING_MM
    placed = (corner, corner, float(z[index]))
    return index, Slice(placed[2], pixels, 0, (SPACING_MM, SPACING_MM), None, None, placed, AXIAL)


@pytest.mark.parametrize(("bleed", "seed"), [("intraparenchymal", 2), ("epidural", 5)])
def test_the_peak_falls_into_the_drawn_bleed(explainer: Engine, bleed: str, seed: int) -> None:
    head = draw_head_ct(True, 30, seed, bleed=bleed)  # type: ignore[arg-type]
    index, image = middle_of(head)
    hu = head.hu[index - 1 : index + 2].astype(np.float32)
    logit, activation = asked(explainer, hu, SPACING_MM)
    assert logit > 2
    found = heatmap(activation, PACKAGE.input, image)
    at = spot(found.row, found.column, image)
    truth = head.truth["lesion"]
    assert isinstance(truth, dict)
    assert at.position_mm is not None
    off = (np.array(at.position_mm) - truth["centre_mm"])[:2] / truth["semi_axes_mm"][:2]
    assert np.hypot(*off) < 1
    side = "left" if truth["centre_mm"][0] > 0 else "right"
    assert side in at.text


def test_covering_the_peak_takes_the_evidence_away_in_real_bleeds(explainer: Engine) -> None:
    if not HEADS.is_dir():
        pytest.skip("../shared/data/head-ct is not there: real head CT slices are needed")
    drops = [
        _drops(explainer, patient) for patient in ("050", "066", "077", "081", "087", "088", "094")
    ]
    # The network compares both sides, so covering the mirrored place changes something as well.
    assert all(own > abs(mirrored) for own, mirrored in drops)
    own, mirrored = np.abs(drops).mean(axis=0)  # logits
    assert own > 1.5
    assert own > 4 * mirrored


def _drops(explainer: Engine, patient: str) -> tuple[float, float]:
    """Return by how much the logit falls with the peak covered, and with its mirror covered."""
    with (HEADS / "slices.csv").open() as file:
        bleeding = {
            int(row["slice"])
            for row in csv.DictReader(file)
            if row["patient"].zfill(3) == patient and row["no_hemorrhage"] == "0"
        }
    numbers, brain, bone = read_slices(HEADS / patient)
    hu = rebuild_hu(brain, bone).astype(np.float32)
    inner = [i for i in range(1, len(hu) - 1) if numbers[i] in bleeding]
    answers = [asked(explainer, hu[i - 1 : i + 2], ASSUMED_SPACING_MM) for i in inner]
    best = int(np.argmax([logit for logit, _ in answers]))
    logit, activation = answers[best]
    around = hu[inner[best] - 1 : inner[best] + 2]
    spacing = (ASSUMED_SPACING_MM, ASSUMED_SPACING_MM)
    found = heatmap(activation, PACKAGE.input, Slice(None, around[1], 0, spacing, None, None))
    middle = np.argwhere(around[1] > -400)[:, 1].mean()
    covered = [
        _covered(around, found.row, column) for column in (found.column, 2 * middle - found.column)
    ]
    own, mirrored = (asked(explainer, one, ASSUMED_SPACING_MM)[0] for one in covered)
    return logit - own, logit - mirrored


def _covered(hu: Hu, row: float, column: float, half: int = 28) -> Hu:
    """Return the slices with a square of 25 mm painted as even brain, bone left as it is."""
    painted = hu.copy()
    rows = slice(max(0, int(row) - half), int(row) + half)
    columns = slice(max(0, int(column) - half), int(column) + half)
    patch = painted[:, rows, columns]
    patch[(patch > 0) & (patch < 100)] = 34
    return painted


def test_the_worker_says_where_a_flagged_finding_is_and_brings_its_map(
    worker: Linked, store: Store
) -> None:
    head = draw_head_ct(True, 24, 3)
    kept = []
    for number, data_set in enumerate(as_series(head, 3)):
        file = BytesIO()
        data_set.save_as(file, enforce_file_format=True)
        kept.append(store.keep(arrival(number), file.getvalue()))
    replies = worker.ask(*map(look, kept), close(kept[0]))
    seen = [one for reply in replies if isinstance(reply, Looked | Closed) for one in reply.seen]
    assert seen, "a large drawn bleed is flagged, and so it is looked for"
    truth = head.truth["lesion"]
    assert isinstance(truth, dict)
    last = seen[-1]
    assert last.finding == 0
    assert last.values.max() > 200
    assert last.spot.position_mm is not None
    off = np.array(last.spot.position_mm) - truth["centre_mm"]
    assert np.abs(off / truth["semi_axes_mm"]).max() < 1.5


def test_the_worker_looks_for_a_place_only_where_a_finding_is_flagged(
    worker: Linked, store: Store
) -> None:
    kept = keep_slices(store, 6)
    replies = worker.ask(*map(look, kept), close(kept[0]))
    found = find(PACKAGE, scores_of(replies))
    seen = any(reply.seen for reply in replies if isinstance(reply, Looked | Closed))
    assert seen == any(finding.flagged for finding in found)
