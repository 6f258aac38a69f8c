"""Which models serve when a worker dies while it loads them, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from findings import package

from edge.analysis.messages import Load, Loaded
from edge.analysis.models import ENGINE_FAILED, EnginesState, Models
from edge.packages import Shelf
from engines import Code, EngineStore, ModelPackage, VolumeSpec

HEAD, CHEST, BRAIN = package("head"), package("chest"), package("brain")
SIZE = VolumeSpec(Code("99TEST", "B", "Size"), "Size", (1,), None, None, "routine")
VOLUMES = replace(package("volumes"), volumes=(SIZE,), findings=())
FP32 = ("onnxruntime", "fp32")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "packages", EngineStore(tmp_path / "engines", limit=1 << 30))


def models_of(*packages: ModelPackage, shelf: Shelf | None = None) -> Models:
    return Models(packages, 1, shelf)


def serve(models: Models, *loads: Load) -> None:
    for load in loads:
        models.loaded(Loaded(load.package, *FP32, None))


def names(loads: tuple[Load, ...]) -> list[str]:
    return [one.package for one in loads]


def test_a_fresh_worker_is_asked_for_an_engine_at_a_time_and_for_none_of_volumes() -> None:
    models = models_of(HEAD, VOLUMES, CHEST)
    loads = models.first()
    assert names(loads) == ["head", "chest"]
    assert str(models.state) == "Engines loading (0 of 2)"
    serve(models, loads[0])
    assert str(models.state) == "Engines loading (1 of 2)"
    assert models.state.counts == {"loaded": 1, "loading": 1, "failed": 0}
    serve(models, loads[1])
    assert models.state == EnginesState(ready=True, loaded=2, count=2)


def test_without_models_of_slices_the_engines_are_ready() -> None:
    models = models_of(VOLUMES)
    assert models.first() == ()
    assert str(models.state) == "Engines ready"
    assert not models.gone


def test_a_model_that_ends_the_worker_is_loaded_last_and_in_fp32_then(shelf: Shelf) -> None:
    models = models_of(HEAD, CHEST, BRAIN, shelf=shelf)
    head, chest, brain = models.first()
    assert head.store is chest.store is brain.store is shelf.store
    serve(models, head)
    models.died(chest)
    again = models.first()
    assert names(again) == ["head", "brain", "chest"]
    assert [one.store for one in again] == [shelf.store, shelf.store, None]


def test_after_three_deaths_a_model_does_not_serve_and_the_others_do() -> None:
    models = models_of(HEAD, CHEST)
    for _ in range(3):
        *_, chest = models.first()
        models.died(chest)
    assert not models.gone
    loads = models.first()
    assert names(loads) == ["head"]
    serve(models, *loads)
    assert models.failure(CHEST) == ENGINE_FAILED
    assert models.failure(HEAD) is None
    assert str(models.state) == "Engines ready, but could not be loaded: chest"


def test_deaths_count_in_a_row() -> None:
    models = models_of(HEAD)
    for _ in range(4):
        models.died(*models.first())
        models.died(*models.first())
        serve(models, *models.first())
    assert models.failure(HEAD) is None


def test_where_none_can_be_loaded_no_worker_is_needed_and_that_is_said() -> None:
    models = models_of(HEAD, CHEST, VOLUMES)
    while not models.gone:
        models.died(models.first()[0])
    assert models.failure(HEAD) == models.failure(CHEST) == ENGINE_FAILED
    assert models.failure(VOLUMES) is None, "it has processes of its own"
    assert str(models.state) == "Engines could not be loaded: head, chest"
    assert models.state.ready


def test_a_worker_that_dies_with_nothing_to_do_is_not_started_for_ever() -> None:
    models = models_of(HEAD)
    serve(models, *models.first())
    for _ in range(3):
        assert not models.gone
        models.died(None)
    assert models.gone
    assert models.failure(HEAD) == ENGINE_FAILED
