"""The key images: a Key Object Selection that leads a viewer to what is flagged.

Source: DICOM PS3.3 A.35.4, PS3.16 TID 2010. Its title is "Of Interest" (CID 7010): the others say
what images are for, and a machine cannot know it. There is no way to take one back in DICOM; the
report that replaces another says what holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset

from edge.alerts.message import NOTICE
from edge.results import vocabulary as say
from edge.results.framing import device_observer, finish, framing, inherit
from edge.results.identity import Device, ObjectNames
from edge.results.report import Report, Verdict
from edge.results.source import SourceImage

_SERIES_NUMBER = 9902


def key_images(
    report: Report, names: ObjectNames, device: Device, sources: Mapping[int, SourceImage]
) -> Dataset:
    """Return the selection of the images of what a report flags.

    Parameters
    ----------
    report : Report
        Flags something that an image shows.
    names : ObjectNames
        The selection's UIDs.
    device : Device
        Who selected.
    sources : mapping
        The images, by their ids in the journal.

    Raises
    ------
    ValueError
        If none of the images is there.
    """
    frames: dict[SourceImage, list[int]] = {}
    for place in report.key_images:
        if place.instance in sources:
            frames.setdefault(sources[place.instance], []).append(place.frame + 1)
    evidence = [one.as_dataset() for one in frames]
    content = KeyObjectSelection(
        document_title=say.OF_INTEREST,
        referenced_objects=evidence,
        observer_device_context=device_observer(device),
        description=_description(report),
    )
    images = [one for one in content[0].ContentSequence if one.ValueType == "IMAGE"]
    for image, (source, numbers) in zip(images, frames.items(), strict=True):
        if source.frames > 1:  # PS3.3 table C.17-3b: only of a multi-frame image
            image.ReferencedSOPSequence[0].ReferencedFrameNumber = sorted(numbers)
    document = KeyObjectSelectionDocument(
        evidence=evidence,
        content=content,
        **framing(report, names, device, _SERIES_NUMBER, next(iter(frames))),
    )
    inherit(document, evidence[0])
    return finish(document)


def _description(report: Report) -> str:
    flagged = [one for one in report.findings if one.verdict is Verdict.FLAGGED and one.image]
    labels = dict.fromkeys(f"{one.label} by {one.model}" for one in flagged)
    return f"Flagged by a machine, unverified: {', '.join(labels)}. {NOTICE}"
