"""Reports made up for tests of what a PACS is sent, and how a checker sees the objects."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from builders import ct_slice
from findings import finding, series
from pydicom.dataset import Dataset

from edge.alerts.decision import SeriesResult, decide
from edge.alerts.message import FollowUp, Progression
from edge.results.identity import Device, ObjectNames
from edge.results.report import Report, report_of
from edge.results.source import SourceImage, read_source

DEVICE = Device("ct-1", "north", "0.1.0")
NAMES = ObjectNames("2.25.1001", "2.25.1002", 1)
DECIDED = "2026-03-01T09:30:00.250Z"
LOOK = FollowUp(1, "Repeat the head CT.", "Stroke protocol, 2026, section 3")
GROWN = Progression("1.2.9", 120.0, "larger", 0.2, "1", "Larger than 120 days before.")


def report(
    *parts: SeriesResult,
    status: str = "final",
    change: Progression | None = None,
    look: FollowUp | None = None,
    first: int = 1,
) -> Report:
    """Return what is reported of series that are complete; one with a bleed if none is given.

    The first image of each series has the number `first`, and those after.
    """
    series_of_study = parts or (series(finding(0.9)),)
    return report_of(
        decide(series_of_study, complete=True),
        alert_id="01930000-0000-7000-8000-000000000000",
        status=status,
        decided=DECIDED,
        first_instances={one.series_uid: at for at, one in enumerate(series_of_study, first)},
        engines={
            model.package.name: ("onnxruntime", "fp32")
            for one in series_of_study
            for model in one.models
        },
        progression=change,
        follow_up=look,
    )


def sources(*files: bytes) -> dict[int, SourceImage]:
    """Return images by their ids in the journal, from 1 on; two CT slices if none is given."""
    made = files or (ct_slice(number=1), ct_slice(number=2))
    return {number: read_source(file) for number, file in enumerate(made, start=1)}


def said(document: Dataset, meaning: str) -> list[str]:
    """Return what the content items of one name say, in the order of the document."""
    return [
        _value(one)
        for one in items(document)
        if "ConceptNameCodeSequence" in one
        and one.ConceptNameCodeSequence[0].CodeMeaning == meaning
    ]


def items(document: Dataset) -> Iterator[Dataset]:
    """Yield every content item of a document."""
    for one in document.get("ContentSequence", ()):
        yield one
        yield from items(one)


def _value(item: Dataset) -> str:
    kind = item.ValueType
    if kind == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        return f"{float(measured.NumericValue):g} {unit}"
    if kind == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if kind == "IMAGE":
        return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    return str(item.get("TextValue", item.get("UID", "")))


def faults(document: Dataset, folder: Path) -> list[str]:
    """Return what dciodvfy calls an error in a document."""
    file = folder / "object.dcm"
    document.save_as(file, enforce_file_format=True)
    command: Sequence[str] = ["dciodvfy", "-new", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]
