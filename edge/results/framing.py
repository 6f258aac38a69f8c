"""What both kinds of objects have around their content: patient, study, equipment, moments."""

from __future__ import annotations

import json
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset

from edge.results import vocabulary as say
from edge.results.identity import (
    MANUFACTURER,
    SERIES_DESCRIPTION,
    Device,
    ObjectNames,
    content_moment,
)
from edge.results.report import Report
from edge.results.source import INHERITED, SourceImage


def framing(
    report: Report, names: ObjectNames, device: Device, series_number: int, source: SourceImage
) -> dict[str, Any]:
    """Return what highdicom's documents take besides their content."""
    moment = content_moment(report.decided)
    return {
        "series_instance_uid": names.series_uid,
        "series_number": series_number,
        "sop_instance_uid": names.instance_uid,
        "instance_number": names.number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": device.software,
        "device_serial_number": device.name,
        "series_description": SERIES_DESCRIPTION,
        "content_date": moment.date(),
        "content_time": moment.time(),
        "specific_character_set": character_set(report, source),
        "coding_schemes": [
            CodingSchemeIdentificationItem(
                say.SCHEME, name=say.SCHEME_NAME, responsible_organization=MANUFACTURER
            )
        ],
    }


def character_set(report: Report, source: SourceImage) -> str | None:
    """Return what Specific Character Set (0008,0005) an object needs; None: ASCII will do."""
    texts = [
        *(text for _, text in source.subject),
        json.dumps(report.as_json(), ensure_ascii=False),
    ]
    return None if all(text.isascii() for text in texts) else "ISO_IR 192"


def device_observer(device: Device) -> sr.ObserverContext:
    """Return the appliance as the one who observed (PS3.16 TID 1002, TID 1004)."""
    return sr.ObserverContext(
        observer_type=sr.CodedConcept.from_code(say.DEVICE),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=device.uid,
            name=device.name,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MANUFACTURER} {device.software}",
            physical_location=device.site,
        ),
    )


def inherit(document: Dataset, source: Dataset) -> None:
    """Take over patient and study from an image, and nothing else of it."""
    for keyword in INHERITED:
        if keyword in source:
            setattr(document, keyword, source[keyword].value)


def finish(document: Dataset) -> Dataset:
    """Have a document made anew be the same document: no moment in it is that of its making."""
    # No time zone: it would say in which the scanner wrote the study's own times, too.
    document.InstanceCreationDate = document.ContentDate
    document.InstanceCreationTime = document.ContentTime
    if "ContributingEquipmentSequence" in document:  # highdicom's, with the moment of the making
        del document.ContributingEquipmentSequence
    return document
