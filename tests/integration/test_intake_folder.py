"""A watched folder: what is written into it is taken in whole and once, or put aside."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from arrivals import open_store
from builders import ct_slice, radiograph
from intake_parts import PATIENCE_S, Events

from edge.config import Folder
from edge.imaging.header import Limits
from edge.intake.folder import REFUSED, FolderDoor, FolderError
from edge.intake.resting import Resting, Sight
from edge.intake.taking import Taker
from edge.store.records import Kept
from edge.store.spool import read_record
from edge.store.studies import Store

MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class Watched:
    """A folder that is watched, what is behind it, and what was told."""

    folder: Path
    store: Store
    events: Events
    door: FolderDoor

    def write(self, name: str, data: bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def wait_for(self, happened: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.02)):
            if happened():
                return
            pause.wait(0.02)
        pytest.fail(f"{sorted(self.folder.rglob('*'))}, {self.events.told}")

    def wait_for_kept(self, number: int) -> list[bytes]:
        """Wait for so many instances and return what was stored of each."""
        self.events.wait_for(lambda events: len(events.kept) >= number)
        receipts = [event.receipt for event in self.events.kept]
        return [read_record(one.instance.record, one.key) for one in receipts]

    def refused(self) -> list[Path]:
        return sorted((self.folder / REFUSED).glob("*.reason.txt"))


@contextmanager
def watched(tmp_path: Path, *, reserve_bytes: int = 0, **changes: object) -> Iterator[Watched]:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    settings = Folder.model_validate({"path": folder, "quiet_s": 60.0, **changes})
    with ExitStack() as cleanup:
        store = cleanup.enter_context(open_store(tmp_path / "studies", reserve_bytes=reserve_bytes))
        events = Events()
        taker = Taker(store, lambda *_: "A" * 26, events)
        limits = Limits(max_bytes=MAX_BYTES)
        door = FolderDoor(settings, folder, tmp_path / "studies", taker, limits, events)
        door.open()
        cleanup.callback(door.close)
        yield Watched(folder, store, events, door)


def slice_of(number: int) -> bytes:
    return ct_slice(SOPInstanceUID=f"1.2.3.{number}")


# What is taken


def test_a_file_is_taken_as_soon_as_it_is_closed_and_is_gone_when_it_is_safe(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as one:
        file = one.write("scan.dcm", slice_of(1))
        assert one.wait_for_kept(1) == [slice_of(1)]
        one.wait_for(lambda: not file.exists())
        assert one.door.counts.stored == 1
        assert one.events.kept[0].sender < 0, "associations count upwards"


def test_files_in_new_folders_below_are_taken_too(tmp_path: Path) -> None:
    with watched(tmp_path, quiet_s=0.5) as one:
        for number in range(3):
            one.write(f"patient/series-{number}/{number}", slice_of(number))
        one.wait_for_kept(3)
        one.wait_for(lambda: not any(file.is_file() for file in one.folder.rglob("*")))


def test_a_file_that_is_moved_into_its_place_is_taken(tmp_path: Path) -> None:
    with watched(tmp_path) as one:
        hidden = one.write(".scan.dcm", slice_of(1))
        part = one.write("other.part", slice_of(2))
        hidden.rename(one.folder / "scan.dcm")
        assert one.wait_for_kept(1) == [slice_of(1)]
        assert part.exists(), "what is called a part is not whole"


def test_a_file_that_is_still_being_written_is_not_touched(tmp_path: Path) -> None:
    data = slice_of(1)
    with watched(tmp_path, quiet_s=0.1) as one:
        with (one.folder / "scan.dcm").open("wb", buffering=0) as file:
            file.write(data[:1000])
            one.write("another.dcm", slice_of(2))  # the folder is looked at meanwhile
            one.write("third.dcm", b"this is no DICOM")
            one.wait_for(lambda: len(one.refused()) == 1)
            assert (one.folder / "scan.dcm").exists()
            file.write(data[1000:])
        assert data in one.wait_for_kept(2)
        assert len(one.refused()) == 1


def test_a_change_of_rights_after_the_close_is_not_taken_for_writing(tmp_path: Path) -> None:
    with watched(tmp_path, quiet_s=1.0) as one:
        file = one.write("a.dcm", b"no DICOM, and so it is put aside when it rests")
        file.chmod(0o640)
        one.wait_for(lambda: bool(one.refused()))


def test_what_lay_there_at_the_start_is_taken_when_it_rests(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan.dcm").write_bytes(slice_of(1))
    with watched(tmp_path, quiet_s=0.1) as one:
        one.wait_for_kept(1)


def test_a_folder_on_another_machine_is_looked_at_again_and_again(tmp_path: Path) -> None:
    with watched(tmp_path, quiet_s=0.1, polling=True) as one:
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)
        one.wait_for(lambda: not (one.folder / "scan.dcm").exists())


def test_a_file_that_a_crash_left_after_it_was_stored_is_known_and_removed(tmp_path: Path) -> None:
    with watched(tmp_path) as one:
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)
    with watched(tmp_path) as one:
        again = one.write("scan.dcm", slice_of(1))
        one.events.wait_for(lambda events: len(events.kept) == 1)
        assert one.events.kept[0].receipt.kept is Kept.REPEATED
        one.wait_for(lambda: not again.exists())
        assert one.door.counts.repeated == 1


def test_what_came_together_ends_together_as_an_association_does(tmp_path: Path) -> None:
    with watched(tmp_path, quiet_s=0.3) as one:
        for number in range(3):
            one.write(f"{number}.dcm", slice_of(number))
        one.wait_for_kept(3)
        one.events.wait_for(lambda events: len(events.gone) == 1)
        (gone,) = one.events.gone
        assert gone.orderly
        assert {event.sender for event in one.events.kept} == {gone.sender}
        one.write("late.dcm", slice_of(9))
        one.wait_for_kept(4)
        assert one.events.kept[3].sender == gone.sender - 1


# What is refused


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"this is no DICOM", "not-dicom"),
        (slice_of(1)[:-700], "truncated"),
        (radiograph(PixelData=None, Rows=None, Columns=None), "An image without pixel data"),
        (bytes(MAX_BYTES + 1), "larger than [dicom] max_instance_mb"),
    ],
)
def test_what_cannot_be_taken_is_put_aside_with_the_reason(
    tmp_path: Path, data: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(tmp_path, quiet_s=0.1) as one, caplog.at_level(logging.INFO):
        file = one.write("Doe^Jane.dcm", data)
        one.wait_for(lambda: len(one.refused()) == 1)
        (reason,) = one.refused()
        assert why in reason.read_text(encoding="utf-8")
        assert (reason.parent / reason.name.removesuffix(".reason.txt")).read_bytes() == data
        assert not file.exists()
        one.wait_for(lambda: one.door.counts.refused == 1)
        assert one.events.kept == []
    assert why in caplog.text
    assert "Doe" not in caplog.text


def test_a_full_disk_leaves_the_files_where_they_are_until_there_is_room(tmp_path: Path) -> None:
    with watched(tmp_path, reserve_bytes=1 << 60, quiet_s=0.1) as one:
        file = one.write("scan.dcm", slice_of(1))
        one.wait_for(lambda: "reserve_mb" in one.door._said)
        assert file.exists()
        assert one.refused() == []
        one.store._spool._reserve = 0
        one.wait_for_kept(1)
        one.wait_for(lambda: not file.exists())


def test_links_pipes_and_folders_are_neither_followed_nor_moved(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "scan.dcm").write_bytes(slice_of(7))
    with watched(tmp_path, quiet_s=0.1) as one:
        (one.folder / "link.dcm").symlink_to(outside / "scan.dcm")
        (one.folder / "linked").symlink_to(outside, target_is_directory=True)
        os.mkfifo(one.folder / "pipe.dcm")
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)
        one.write("again.dcm", b"no DICOM")
        one.wait_for(lambda: len(one.refused()) == 1)
        assert len(one.events.kept) == 1
        assert (outside / "scan.dcm").exists()
        assert (one.folder / "link.dcm").is_symlink()
        assert (one.folder / "pipe.dcm").exists()


# Whether it can be watched


def test_a_folder_that_is_not_there_or_holds_the_studies_is_told_as_such(tmp_path: Path) -> None:
    store, limits = tmp_path / "studies", Limits()
    taker = Taker(None, lambda *_: "", lambda _: None)  # type: ignore[arg-type]
    for folder, why in (
        (tmp_path / "none", "is no folder"),
        (tmp_path, "lie one in the other"),
        (store / "spool", "lie one in the other"),
    ):
        door = FolderDoor(Folder(path=folder), folder, store, taker, limits, lambda _: None)
        with pytest.raises(FolderError, match=why):
            door.open()
        door.close()


def test_a_file_rests_when_it_looks_the_same_for_long_enough() -> None:
    first = Resting(Sight(1, 100, 5, 5), since=10.0)
    grown = first.seen(Sight(1, 200, 6, 6), 12.0)
    assert first.seen(Sight(1, 100, 5, 5), 12.0) is first
    assert first.rests(15.0, 5.0)
    assert not grown.rests(15.0, 5.0)
    assert grown.rests(17.0, 5.0)


# What one file may not do to the others


def test_a_file_of_a_damaged_study_is_left_and_the_others_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(tmp_path) as one:
        one.write("first.dcm", slice_of(1))
        one.wait_for_kept(1)
    with closing(sqlite3.connect(tmp_path / "studies" / "journal.db")) as journal, journal:
        journal.execute("UPDATE studies SET wrapped_key = randomblob(40)")
    with watched(tmp_path) as one:
        left = one.write("another.dcm", slice_of(2))
        one.write("other.dcm", ct_slice(StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1"))
        one.wait_for_kept(1)
        assert one.door.running
        assert left.exists(), "it is not the file's fault"
    assert "A file of the watched folder cannot be taken: Its study is damaged" in caplog.text


def test_folders_nested_too_deep_stop_nothing(tmp_path: Path) -> None:
    with watched(tmp_path, polling=True, quiet_s=0.1) as one:
        place = os.open(one.folder, os.O_RDONLY)
        for _ in range(1200):  # deeper than Python calls itself
            os.mkdir("x", dir_fd=place)
            below = os.open("x", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = below
        os.close(place)
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)
        assert one.door.running
    flatten(one.folder / "x")


def flatten(folder: Path) -> None:
    """Remove folders nested so deep that nothing that calls itself can."""
    below = folder.with_name("below")
    while (folder / "x").is_dir():
        (folder / "x").rename(below)
        folder.rmdir()
        below.rename(folder)
    folder.rmdir()


def test_a_folder_that_is_reached_by_a_link_is_watched(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "disk")
    with watched(tmp_path, polling=True, quiet_s=0.1) as one:
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)


def test_a_refused_file_with_the_longest_name_is_put_aside(tmp_path: Path) -> None:
    with watched(tmp_path, quiet_s=0.1) as one:
        file = one.write("ص" * 127, b"this is no DICOM")
        one.wait_for(lambda: len(one.refused()) == 1)
        assert not file.exists()


def test_what_can_never_be_taken_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.intake.folder._MOST", 3)
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"link-{number}").symlink_to(tmp_path)
    with watched(tmp_path, polling=True, quiet_s=0.1) as one:
        one.write("sub/scan.dcm", slice_of(1))
        one.wait_for_kept(1)


def test_a_file_that_the_journal_does_not_take_is_left_and_the_others_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "studies" / "journal.db")) as journal, journal:
        journal.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON instances WHEN new.instance_uid = '1.2.3.2' "
            "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    with watched(tmp_path) as one:
        left = one.write("another.dcm", slice_of(2))
        one.wait_for(lambda: str(left) in one.door._left)
        one.write("scan.dcm", slice_of(1))
        one.wait_for_kept(1)
        assert one.door.running
        assert left.exists()
    assert "cannot be taken: IntegrityError" in caplog.text


def test_a_file_that_is_moved_in_from_outside_is_taken_at_once(tmp_path: Path) -> None:
    outside = tmp_path / "scan.dcm"
    outside.write_bytes(slice_of(1))
    with watched(tmp_path) as one:  # it would rest only after a minute
        outside.rename(one.folder / "scan.dcm")
        assert one.wait_for_kept(1) == [slice_of(1)]
