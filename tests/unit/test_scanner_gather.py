"""What is sent, in which order, and on how many associations."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tools.scanner import GatherError
from tools.scanner.gather import Instance, NewUids, associations, from_memory, gather


def instance(series: str, number: int | None) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", series
    ds.FrameOfReferenceUID = "1.2.3.9"
    if number is not None:
        ds.InstanceNumber = number
    return ds


def test_a_series_goes_by_instance_number_whatever_its_files_are_called(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        instance("1.2.4", number).save_as(tmp_path / f"{name}.dcm")
    found = gather([tmp_path]).instances
    assert [i.load().InstanceNumber for i in found] == [1, 2, 3]


def test_files_without_instance_numbers_go_by_name_with_nine_before_ten(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        instance("1.2.4", None).save_as(tmp_path / f"im{number}.dcm")
    names = [Path(str(i.source)).name for i in gather([tmp_path]).instances]
    assert names == ["im1.dcm", "im9.dcm", "im10.dcm"]


def test_series_are_not_mixed_and_other_files_are_left_out(tmp_path: Path) -> None:
    for number, series in enumerate(("1.2.4", "1.2.5", "1.2.4", "1.2.5")):
        instance(series, number).save_as(tmp_path / f"im{number}.dcm")
    (tmp_path / "notes.txt").write_text("not DICOM")
    gathered = gather([tmp_path])
    assert [i.load().SeriesInstanceUID for i in gathered.instances] == [
        "1.2.4",
        "1.2.4",
        "1.2.5",
        "1.2.5",
    ]
    assert [path.name for path in gathered.ignored] == ["notes.txt"]


def test_a_named_file_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "notes.txt"
    wrong.write_text("not DICOM")
    with pytest.raises(GatherError, match=r"notes\.txt is not a DICOM instance"):
        gather([wrong])
    with pytest.raises(GatherError, match="does not exist"):
        gather([tmp_path / "nothing"])


def test_a_data_set_that_cannot_be_sent_says_what_it_lacks() -> None:
    with pytest.raises(GatherError, match="TransferSyntaxUID"):
        from_memory(Dataset())
    ds = instance("1.2.4", 1)
    del ds.SOPInstanceUID
    with pytest.raises(GatherError, match="no SOPInstanceUID"):
        from_memory(ds)


def test_more_than_128_contexts_are_spread_over_associations_in_order() -> None:
    many = [
        Instance(Dataset(), UID(f"1.2.{number}"), ExplicitVRLittleEndian) for number in range(300)
    ]
    runs = list(associations([*many, many[0]]))
    assert [len(run) for run in runs] == [128, 128, 45]
    assert [index for run in runs for index in run] == list(range(301))


def test_new_uids_keep_series_and_studies_together_and_leave_the_original_alone() -> None:
    first, second = instance("1.2.4", 1), instance("1.2.4", 2)
    before = first.SOPInstanceUID
    uids = NewUids()
    one, two = uids.apply(first), uids.apply(second)
    assert first.SOPInstanceUID == before
    assert first.file_meta.MediaStorageSOPInstanceUID == before
    assert one.SOPInstanceUID not in (before, two.SOPInstanceUID)
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID != "1.2.4"
    assert one.StudyInstanceUID == two.StudyInstanceUID != "1.2.3"
