"""Performed procedure steps: what a scanner says it did is kept, and refused where it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from erasing import eraser, order
from intake_parts import HOST, Intake, open_intake
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from edge.intake.events import StepEnded
from edge.store import steps
from edge.store.journal import StudyState
from edge.store.steps import Performance, Steps
from tools.scanner import head_ct_series, send

# pynetdicom leaves the socket of an aborted connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

SUCCESS = 0x0000


class Modality:
    """A scanner that reports one procedure step."""

    def __init__(self, intake: Intake) -> None:
        ae = AE("CT1")
        ae.add_requested_context(ModalityPerformedProcedureStep)
        self.line = ae.associate(HOST, intake.door.port)
        assert self.line.is_established
        self.step = str(generate_uid())

    def __enter__(self) -> Modality:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.release()

    def create(self, status: str | None = "IN PROGRESS", **values: Any) -> int:
        """Say that the step has begun."""
        answer, _ = self.line.send_n_create(
            said(status, **values), ModalityPerformedProcedureStep, self.step
        )
        return int(answer.Status)

    def set(self, status: str | None, **values: Any) -> Dataset:
        """Say how the step stands; return the whole answer."""
        answer: Dataset = self.line.send_n_set(
            said(status, **values), ModalityPerformedProcedureStep, self.step
        )[0]
        return answer


def said(status: str | None, **values: Any) -> Dataset:
    """Return what a scanner says of a step, with a patient in it."""
    step = Dataset()
    step.PatientName, step.PatientID = "Nobody^Jane", "TEST-1"
    if status is not None:
        step.PerformedProcedureStepStatus = status
    for name, value in values.items():
        setattr(step, name, value)
    return step


def performed(images: Sequence[Any]) -> list[Dataset]:
    one = Dataset()
    one.SeriesInstanceUID = images[0].SeriesInstanceUID
    one.ReferencedImageSequence = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID = image.SOPClassUID
        item.ReferencedSOPInstanceUID = image.SOPInstanceUID
        one.ReferencedImageSequence.append(item)
    return [one]


def coded(value: str) -> list[Dataset]:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", "a reason"
    return [code]


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with open_intake(tmp_path / "studies") as opened:
        yield opened


@pytest.fixture(scope="module")
def series() -> list[Any]:
    return list(head_ct_series(True, slices=3, seed=1))


def told(intake: Intake) -> list[StepEnded]:
    return [event for event in intake.events.told if isinstance(event, StepEnded)]


def of_series(intake: Intake, series: list[Any]) -> Performance | None:
    return Steps(intake.store.journal, intake.store.fingerprint).of_series(
        series[0].SeriesInstanceUID
    )


def test_a_completed_step_lists_the_images_of_its_series(intake: Intake, series: list[Any]) -> None:
    uids = frozenset(one.SOPInstanceUID for one in series)
    with Modality(intake) as modality:
        assert modality.create() == SUCCESS
        assert modality.set(None, PerformedSeriesSequence=performed(series)).Status == SUCCESS
        assert of_series(intake, series) == Performance(False, False, False, uids)
        assert not told(intake)
        assert modality.set("COMPLETED").Status == SUCCESS
    assert of_series(intake, series) == Performance(True, False, False, uids)
    assert told(intake) == [StepEnded((series[0].SeriesInstanceUID,), ())]


def test_what_was_said_is_there_after_a_restart(tmp_path: Path, series: list[Any]) -> None:
    with open_intake(tmp_path) as intake, Modality(intake) as modality:
        assert modality.create() == SUCCESS
        step = modality.step
    with open_intake(tmp_path) as intake, Modality(intake) as modality:
        modality.step = step
        answer = modality.set("COMPLETED", PerformedSeriesSequence=performed(series))
        assert answer.Status == SUCCESS
    with open_intake(tmp_path) as intake:
        performance = of_series(intake, series)
    assert performance is not None
    assert performance.ended
    assert len(performance.instances) == len(series)


def test_a_discontinued_step_says_so_and_whether_the_patient_may_be_another(
    intake: Intake, series: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Modality(intake) as modality:
        modality.create(PerformedProcedureStepDiscontinuationReasonCodeSequence=[])
        answer = modality.set(
            "DISCONTINUED",
            PerformedSeriesSequence=performed(series[:2]),
            PerformedProcedureStepDiscontinuationReasonCodeSequence=coded("110514"),
        )
        assert answer.Status == SUCCESS
    performance = of_series(intake, series)
    assert performance is not None
    assert (performance.discontinued, performance.wrong_entry) == (True, True)
    assert (
        "A procedure step of 'CT1' was discontinued: the wrong worklist entry was selected"
        in caplog.messages
    )


def test_two_steps_of_one_series_count_together(intake: Intake, series: list[Any]) -> None:
    with Modality(intake) as first, Modality(intake) as second:
        for modality, images in ((first, series[:1]), (second, series[1:])):
            modality.create()
            modality.set(None, PerformedSeriesSequence=performed(images))
        first.set("COMPLETED")
        performance = of_series(intake, series)
        assert performance is not None
        assert not performance.ended
        second.set("COMPLETED")
    performance = of_series(intake, series)
    assert performance is not None
    assert performance.ended
    assert len(performance.instances) == 3


def test_a_step_whose_study_was_erased_is_not_known_any_more(
    intake: Intake, series: list[Any]
) -> None:
    with Modality(intake) as modality:
        modality.create()
        assert send(series, intake.peer).ok
        intake.store.study_state(1, StudyState.DECIDED, len(series))
        eraser(intake.store).erase(order())
        answer = modality.set("COMPLETED", PerformedSeriesSequence=performed(series))
        assert answer.Status == 0x0112
    assert of_series(intake, series) is None
    assert not told(intake)


def test_a_step_that_has_ended_is_not_changed_any_more(intake: Intake, series: list[Any]) -> None:
    with Modality(intake) as modality:
        modality.create()
        modality.set("COMPLETED", PerformedSeriesSequence=performed(series))
        answer = modality.set("DISCONTINUED", PerformedSeriesSequence=[])
        assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
        assert "no longer be updated" in answer.ErrorComment
    performance = of_series(intake, series)
    assert performance is not None
    assert not performance.discontinued


def test_what_cannot_be_is_refused_with_its_status(intake: Intake, series: list[Any]) -> None:
    nobody = performed(series)
    del nobody[0].SeriesInstanceUID
    with Modality(intake) as modality:
        assert modality.set("COMPLETED").Status == 0x0112  # it has not begun
        assert modality.create("COMPLETED") == 0x0106
        assert modality.create(None) == 0x0120
        assert modality.create("NEARLY DONE") == 0x0106
        assert modality.create(PerformedSeriesSequence=nobody) == 0x0106
        assert modality.create() == SUCCESS
        assert modality.create() == 0x0111
        assert modality.set("PAUSED").Status == 0x0106
        assert modality.set("COMPLETED").Status == SUCCESS
    assert not told(intake)  # it named no series


def test_an_operation_of_another_service_is_refused_and_the_association_goes_on(
    intake: Intake,
) -> None:
    with Modality(intake) as modality:
        answer, _ = modality.line.send_n_get([0x00400252], ModalityPerformedProcedureStep, "1.2.3")
        assert answer.Status == 0x0211
        answer, _ = modality.line.send_n_event_report(
            None, 1, ModalityPerformedProcedureStep, "1.2.3"
        )
        assert answer.Status == 0x0211
        assert modality.create() == SUCCESS


def test_a_disk_that_is_full_takes_no_step(tmp_path: Path) -> None:
    with open_intake(tmp_path, reserve_bytes=1 << 60) as intake, Modality(intake) as modality:
        assert modality.create() == 0x0213


def test_nothing_of_the_patient_is_kept_or_logged(
    tmp_path: Path, series: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scanside")
    with open_intake(tmp_path / "studies") as intake, Modality(intake) as modality:
        modality.create()
        modality.set("COMPLETED", PerformedSeriesSequence=performed(series))
        modality.set("COMPLETED")
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for secret in ("Nobody", "TEST-1"):
        assert not any(secret.encode() in content for content in written)
        assert secret not in caplog.text


def test_a_station_with_too_many_steps_begins_no_other(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MOST_STEPS", 0)
    with Modality(intake) as modality:
        assert modality.create() == 0x0213
