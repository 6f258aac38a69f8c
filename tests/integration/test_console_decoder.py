"""The console's decoder, a process of its own: what a bad file does to it, and to nobody else."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from arrivals import arrival, open_store
from builders import ct_slice

from edge.console.decoder_link import Undecodable
from edge.console.frames import unpack
from edge.console.gone import Gone
from edge.console.pictures import Pictures
from edge.imaging.pixels import Limits, decode
from edge.store.studies import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def gone() -> Gone:
    return Gone()


@pytest.fixture
def pictures(store: Store, gone: Gone) -> Iterator[Pictures]:
    opened = Pictures(store, lambda _study: (), gone)
    yield opened
    opened.close()


def test_a_stored_slice_comes_as_it_is_and_in_its_place(store: Store, pictures: Pictures) -> None:
    data = ct_slice()
    for instance in (3, 1, 2):
        store.keep(arrival(instance), data if instance == 2 else ct_slice(position_mm=instance))
    store.keep(arrival(9, set_aside="a localizer"), ct_slice())
    (series,) = pictures.series(1)
    assert [one.position for one in series.pictures] == [5.0, 10.0, 15.0]
    decoded = pictures.frame(1, series.pictures[1].instance, 0)
    facts = json.loads(decoded.facts)
    (wanted,) = decode(data, limits=Limits())
    back = unpack(decoded.packed, facts["rows"], facts["columns"])
    assert np.array_equal(back, wanted.pixels)


@pytest.mark.parametrize("bad", [b"no DICOM", ct_slice()[:900]], ids=["garbage", "cut off"])
def test_a_bad_file_is_said_to_be_bad_and_the_next_is_shown(
    store: Store, pictures: Pictures, bad: bytes
) -> None:
    store.keep(arrival(1), bad)
    store.keep(arrival(2), ct_slice())
    with pytest.raises(Undecodable):
        pictures.frame(1, 1, 0)
    assert pictures.frame(1, 2, 0).packed


def test_a_decoder_that_dies_is_started_again(store: Store, pictures: Pictures) -> None:
    store.keep(arrival(1), ct_slice())
    pictures.warm()
    process = pictures.decoder_pid
    assert process is not None
    os.kill(process, signal.SIGKILL)
    with pytest.raises(Undecodable, match="failed"):
        pictures.frame(1, 1, 0)
    assert pictures.frame(1, 1, 0).packed
    assert pictures.decoder_pid != process


def test_an_image_of_another_study_is_not_shown(store: Store, pictures: Pictures) -> None:
    store.keep(arrival(1), ct_slice())
    store.keep(arrival(2, study="1.2.3.4"), ct_slice())
    with pytest.raises(Undecodable, match="no such image"):
        pictures.frame(2, 1, 0)


def test_of_a_study_that_is_gone_no_image_is_shown_even_if_it_is_read_too_late(
    store: Store, pictures: Pictures, gone: Gone
) -> None:
    store.keep(arrival(1), ct_slice())
    assert pictures.frame(1, 1, 0).packed
    gone.add(1)
    pictures.forget(1)
    with pytest.raises(Undecodable, match="no such image"):
        pictures.frame(1, 1, 0)


def test_an_idle_decoder_gives_its_memory_back(store: Store, pictures: Pictures) -> None:
    store.keep(arrival(1), ct_slice())
    assert pictures.frame(1, 1, 0).packed
    pictures.rest(idle_s=3600.0)
    assert pictures.decoder_pid is not None
    pictures.rest(idle_s=0.0)
    assert pictures.decoder_pid is None
    assert pictures.frame(1, 1, 0).packed
