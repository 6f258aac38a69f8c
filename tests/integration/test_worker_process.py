"""The worker is a process of its own: what it says of slices, and what is noticed when it dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from arrivals import arrival, open_store
from builders import ct_slice, radiograph
from worker_parts import (
    LOAD,
    PACKAGE,
    PATIENCE_S,
    Linked,
    close,
    keep_slices,
    linked_worker,
    look,
    scores_of,
)

from edge.analysis.messages import Closed, Load, Loaded, Looked
from edge.analysis.worker_link import Replied, WorkerGone
from edge.store.records import Receipt
from edge.store.studies import Store


@pytest.fixture(scope="module")
def worker() -> Iterator[Linked]:
    """One worker for the tests that leave it as it was."""
    with linked_worker() as linked:
        yield linked


@pytest.fixture
def own_worker() -> Iterator[Linked]:
    """A worker that a test may kill."""
    with linked_worker() as linked:
        yield linked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "studies") as opened:
        yield opened


def keep(store: Store, data: bytes, number: int = 1) -> Receipt:
    return store.keep(arrival(number), data)


# What it says


def test_every_slice_of_a_series_gets_its_probability(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 6)
    *looked, closed = worker.ask(*map(look, slices), close(slices[0]))
    assert all(isinstance(reply, Looked) and reply.unreadable is None for reply in looked)
    assert isinstance(closed, Closed)
    scores = scores_of([*looked, closed])
    assert sorted(scores) == [(one.instance.id, 0) for one in slices]
    assert all(0 <= probability <= 1 for values in scores.values() for probability in values)


def test_every_slice_of_a_series_is_measured_as_it_comes(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 3)
    *looked, _ = worker.ask(*map(look, slices), close(slices[0]))
    for reply, kept in zip(looked, slices, strict=True):
        assert isinstance(reply, Looked)
        (one,) = reply.measured
        assert (one.instance, one.frame) == (kept.instance.id, 0)
        assert one.measures.height_mm == kept.instance.position_mm
        assert one.measures.tilt_deg == 0


def test_slices_in_order_are_looked_at_one_behind_the_scanner(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 5)
    replies = worker.ask(*map(look, slices), close(slices[0]))
    ids = [one.instance.id for one in slices]
    assert [[score.instance for score in reply.scores] for reply in replies] == [  # type: ignore[union-attr]
        [],
        [],
        [ids[1]],
        [ids[2]],
        [ids[3]],
        [ids[0], ids[4]],
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_arrival_does_not_change_what_is_found(
    worker: Linked, store: Store, seed: int
) -> None:
    slices = keep_slices(store, 12)
    sorted_scores = scores_of(worker.ask(*map(look, slices), close(slices[0])))
    shuffled = random.Random(seed).sample(slices, len(slices))  # noqa: S311
    scores = scores_of(worker.ask(*map(look, shuffled), close(slices[0])))
    assert scores.keys() == sorted_scores.keys()
    for slice_id, probabilities in scores.items():
        assert probabilities == pytest.approx(sorted_scores[slice_id], abs=1e-6)


def test_a_series_longer_than_the_memory_for_slices_reads_them_again(
    worker: Linked, store: Store
) -> None:
    slices = keep_slices(store, 60)
    in_order = scores_of(worker.ask(*map(look, slices), close(slices[0])))
    far_apart = [*slices[::2], *slices[1::2]]
    scores = scores_of(worker.ask(*map(look, far_apart), close(slices[0])))
    assert [scores[one] for one in sorted(scores)] == [
        pytest.approx(in_order[one], abs=1e-6) for one in sorted(in_order)
    ]


def test_series_at_the_same_time_do_not_mix(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 5)
    again = [replace(look(one), series=99) for one in slices]
    mixed = [request for pair in zip(map(look, slices), again, strict=True) for request in pair]
    replies = worker.ask(*mixed, close(slices[0]), replace(close(slices[0]), series=99))
    ours = scores_of(one for one in replies if getattr(one, "series", None) != 99)
    theirs = scores_of(one for one in replies if getattr(one, "series", None) == 99)
    assert ours == theirs
    assert len(ours) == 5


def test_a_slice_sent_twice_under_two_names_counts_once(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 4)
    twin = keep(store, ct_slice(number=50, position_mm=5.0), 50)
    replies = worker.ask(*map(look, [*slices, twin]), close(slices[0]))
    assert len(scores_of(replies)) == 4


def test_frames_of_one_image_are_slices(worker: Linked, store: Store) -> None:
    frames = np.random.default_rng(3).integers(1000, 1100, (4, 32, 32), np.uint16)
    image = keep(store, ct_slice(stored=frames, ImagePositionPatient=None))
    scores = scores_of(worker.ask(look(image), close(image)))
    assert sorted(scores) == [(image.instance.id, frame) for frame in range(4)]


def test_an_image_without_a_position_is_looked_at_in_its_turn(worker: Linked, store: Store) -> None:
    image = keep(store, radiograph())
    assert len(scores_of(worker.ask(look(image), close(image)))) == 1


def test_a_series_that_was_never_looked_at_closes_empty(worker: Linked, store: Store) -> None:
    image = keep(store, ct_slice())
    assert worker.ask(close(image)) == [Closed(image.series_id, 0, (), 0.0)]


# What cannot be looked at


def test_pixels_that_cannot_be_read_are_said_and_the_series_goes_on(
    worker: Linked, store: Store
) -> None:
    slices = keep_slices(store, 3)
    poison = keep(store, b"this is no DICOM", 66)
    *_, refused, closed = worker.ask(*map(look, [*slices, poison]), close(slices[0]))
    assert isinstance(refused, Looked)
    assert (refused.unreadable, refused.scores) == ("not-dicom", ())
    assert isinstance(closed, Closed)
    assert len(closed.scores) == 2


def test_a_record_that_was_damaged_on_the_disk_is_said(worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 2)
    segment = slices[0].instance.record.path
    segment.write_bytes(segment.read_bytes()[: slices[0].instance.record.length + 5])
    whole, cut, closed = worker.ask(*map(look, slices), close(slices[0]))
    assert isinstance(whole, Looked)
    assert whole.unreadable is None
    assert isinstance(cut, Looked)
    assert cut.unreadable == "damaged on the disk"
    assert len(scores_of([closed])) == 1


def test_a_segment_that_is_gone_is_said(worker: Linked, store: Store) -> None:
    image = keep(store, ct_slice())
    image.instance.record.path.unlink()
    looked, _ = worker.ask(look(image), close(image))
    assert isinstance(looked, Looked)
    assert looked.unreadable == "damaged on the disk"


def test_a_model_that_could_not_be_loaded_is_answered_for(
    own_worker: Linked, store: Store, tmp_path: Path
) -> None:
    image = keep(store, ct_slice())
    missing = Load("broken", tmp_path / "nowhere", threads=1)
    loaded, looked, closed = own_worker.ask(missing, look(image, package="broken"), close(image))
    assert isinstance(loaded, Loaded)
    assert "nowhere" in (loaded.failure or "")
    assert looked == Looked(image.series_id, image.instance.id, (), "no engine", 0.0)
    assert closed == Closed(image.series_id, 0, (), 0.0)


# How it dies


def test_a_worker_that_is_killed_in_the_middle_is_noticed(own_worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 3)
    generation = own_worker.link.generation
    assert own_worker.link.pid is not None
    os.kill(own_worker.link.pid, signal.SIGSTOP)  # it cannot answer before it is killed
    own_worker.link.ask(look(slices[0]))
    own_worker.link.ask(look(slices[1]))
    os.kill(own_worker.link.pid, signal.SIGKILL)
    assert own_worker.told() == WorkerGone(generation)
    assert own_worker.link.at == look(slices[0])  # what it was at when it died
    assert own_worker.link.waiting == 2


def test_a_fresh_worker_knows_nothing_of_the_one_before(own_worker: Linked, store: Store) -> None:
    slices = keep_slices(store, 3)
    own_worker.ask(*map(look, slices))
    before = own_worker.link.generation
    own_worker.link.start()
    gone = own_worker.told()
    assert gone == WorkerGone(before)
    assert own_worker.link.generation == before + 1
    assert own_worker.link.waiting == 0
    loaded, *looked, closed = own_worker.ask(LOAD, *map(look, slices), close(slices[0]))
    assert isinstance(loaded, Loaded)
    assert len(scores_of([*looked, closed])) == 3


def test_a_worker_that_hangs_is_seen_and_ended(store: Store) -> None:
    image = keep(store, ct_slice())
    with linked_worker(slice_timeout_s=0.0) as hasty:
        assert hasty.link.pid is not None
        hasty.link.end_what_hangs()  # it is at nothing
        os.kill(hasty.link.pid, signal.SIGSTOP)
        hasty.link.ask(look(image))
        hasty.link.end_what_hangs()
        assert isinstance(hasty.told(), WorkerGone)


def test_what_loads_an_engine_may_take_longer_than_a_slice(store: Store) -> None:
    image = keep(store, ct_slice())
    with linked_worker(slice_timeout_s=0.0) as hasty:
        assert hasty.link.pid is not None
        os.kill(hasty.link.pid, signal.SIGSTOP)
        hasty.link.ask(LOAD, look(image))
        hasty.link.end_what_hangs()
        os.kill(hasty.link.pid, signal.SIGCONT)
        assert isinstance(hasty.reply(), Loaded)
        assert isinstance(hasty.reply(), Looked)


def test_what_may_be_critical_is_looked_at_before_what_waits_already(store: Store) -> None:
    (image,) = keep_slices(store, 1)
    with linked_worker() as linked:
        assert linked.link.pid is not None
        os.kill(linked.link.pid, signal.SIGSTOP)  # what fits the line is under way
        for number in range(20):
            linked.link.ask(replace(close(image), revision=number), urgency="routine")
        for number in range(20, 23):
            linked.link.ask(replace(close(image), revision=number), urgency="critical")
        os.kill(linked.link.pid, signal.SIGCONT)
        replies = [linked.reply() for _ in range(23)]
    order = [reply.revision for reply in replies if isinstance(reply, Closed)]
    assert order == [*range(8), 20, 21, 22, *range(8, 20)]


def test_more_requests_than_fit_the_line_are_answered_in_order(
    worker: Linked, store: Store
) -> None:
    (image,) = keep_slices(store, 1)
    requests = [replace(close(image), revision=number) for number in range(300)]
    replies = worker.ask(*requests)
    assert [reply.revision for reply in replies if isinstance(reply, Closed)] == list(range(300))


def test_a_worker_ends_when_its_daemon_is_killed() -> None:
    script = (
        "import os, sys\n"
        "from edge.analysis.worker_link import WorkerLink\n"
        "link = WorkerLink(lambda _: None, slice_timeout_s=60, load_timeout_s=60)\n"
        "link.start()\n"
        "print(link.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with daemon:
        assert daemon.stdout is not None
        process = psutil.Process(int(daemon.stdout.readline()))
        daemon.kill()
        daemon.wait()
        process.wait(PATIENCE_S)


def test_ctrl_c_is_the_daemons_to_answer(own_worker: Linked, store: Store) -> None:
    image = keep(store, ct_slice())
    assert own_worker.link.pid is not None
    os.kill(own_worker.link.pid, signal.SIGINT)
    looked, _ = own_worker.ask(look(image), close(image))
    assert isinstance(looked, Looked)


def test_a_reply_names_the_worker_it_came_from(own_worker: Linked, store: Store) -> None:
    image = keep(store, ct_slice())
    own_worker.link.ask(close(image))
    told = own_worker.told()
    assert isinstance(told, Replied)
    assert told.generation == own_worker.link.generation
    own_worker.link.answered()


def test_no_key_is_shown_when_a_request_is_printed(store: Store) -> None:
    image = keep(store, ct_slice())
    printed = repr(look(image))
    assert PACKAGE in printed
    assert repr(image.key.raw) not in printed


def test_a_request_that_breaks_the_worker_is_the_one_it_was_at(
    own_worker: Linked, store: Store
) -> None:
    image = keep(store, ct_slice())
    poison = replace(look(image), key=b"no key has this length")
    own_worker.link.ask(poison)
    own_worker.link.ask(close(image))
    assert isinstance(own_worker.told(), WorkerGone)
    assert own_worker.link.at == poison
