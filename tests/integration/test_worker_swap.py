"""An engine is swapped in the running worker: the old one finishes what it began."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrivals import open_store
from worker_parts import LOAD, PACKAGE, Linked, close, keep_slices, linked_worker, look, scores_of

from edge.analysis.messages import Closed, Load, Loaded, Looked
from edge.store.studies import Store
from engines import Activated, EngineStore, compare, load_package, serve, shipped_packages
from engines.candidates import Bench, Candidate, candidates
from engines.graph.int8 import Calibrator

SHIPPED = shipped_packages() / PACKAGE


@pytest.fixture
def worker() -> Iterator[Linked]:
    with linked_worker() as linked:
        yield linked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "studies") as opened:
        yield opened


@pytest.fixture
def engines(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", limit=1 << 30)


def activate_int8(engines: EngineStore) -> None:
    """Build the shipped model's int8 engine for this CPU and have it serve."""
    package = load_package(SHIPPED)
    bench = Bench(engines, None, ())
    (made,) = candidates(package, "int8", Calibrator.MINMAX, bench)
    assert isinstance(made, Candidate)
    assert made.parity is not None
    engines.active.activate(package.name, Activated.now(made.key, made.parity))


def swap(engines: EngineStore, folder: Path = SHIPPED) -> Load:
    return Load(PACKAGE, folder, threads=1, store=engines)


def test_a_series_stays_with_the_engine_it_began_with(
    worker: Linked, store: Store, engines: EngineStore
) -> None:
    slices = keep_slices(store, 8)
    before = worker.ask(*map(look, slices[:4]))
    activate_int8(engines)
    (loaded,) = worker.ask(swap(engines))
    assert isinstance(loaded, Loaded)
    assert (loaded.engine, loaded.precision, loaded.failure) == ("onnxruntime", "int8", None)
    *after, closed = worker.ask(*map(look, slices[4:]), close(slices[0]))
    for reply in (*before, *after, closed):
        assert isinstance(reply, (Looked, Closed))
        assert reply.engine == ("onnxruntime", "fp32")
    old = scores_of([*before, *after, closed])

    again = worker.ask(*map(look, slices), close(slices[0]))
    assert {reply.engine for reply in again if isinstance(reply, (Looked, Closed))} == {
        ("onnxruntime", "int8")
    }
    new = scores_of(again)
    assert new.keys() == old.keys()
    assert new != old


def test_an_engine_that_cannot_be_loaded_leaves_the_one_at_work(
    worker: Linked, store: Store, engines: EngineStore, tmp_path: Path
) -> None:
    broken = shutil.copytree(SHIPPED, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"damaged")
    (loaded,) = worker.ask(swap(engines, broken))
    assert isinstance(loaded, Loaded)
    assert (loaded.engine, loaded.precision) == ("onnxruntime", "fp32")
    assert loaded.failure is not None
    assert "replaced or damaged" in loaded.failure
    slices = keep_slices(store, 3)
    *_, closed = worker.ask(*map(look, slices), close(slices[0]))
    assert isinstance(closed, Closed)
    assert closed.scores


def test_the_first_good_engine_is_kept_and_serves_when_the_model_is_damaged(
    worker: Linked, engines: EngineStore, tmp_path: Path
) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / PACKAGE)
    (loaded,) = worker.ask(swap(engines, folder))
    assert isinstance(loaded, Loaded)
    assert loaded.activated == engines.active.of(PACKAGE).current
    (folder / "model.onnx").write_bytes(b"damaged")
    with linked_worker() as fresh:
        (told,) = fresh.ask(swap(engines, folder))
    assert isinstance(told, Loaded)
    assert (told.engine, told.failure) == ("onnxruntime", None)
    assert "the model was replaced or damaged" in told.notes[0]
    assert compare(serve(folder, engines).engine, load_package(SHIPPED)).worst < 1e-4


def test_without_a_store_fp32_alone_is_loaded(worker: Linked) -> None:
    (loaded,) = worker.ask(LOAD)
    assert isinstance(loaded, Loaded)
    assert loaded.activated is None
