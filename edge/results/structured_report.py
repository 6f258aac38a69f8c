"""The report: a Comprehensive SR after TID 1500, which a PACS files beside the images.

TID 1500, "Measurement Report" (PS3.16), is what viewers and the IHE AI Results profile expect of an
algorithm: a group for each finding, with its code, figures, algorithm (TID 4019) and source image.
The CAD templates (TID 4000, 4100) are for one organ each and know no abstaining. Comprehensive SR
rather than Comprehensive 3D SR, because more PACS take it and no coordinates are sent.

What a machine reading must not leave out stands before and behind the groups, in items of our own,
for TID 1500 is extensible: that it is a suggestion, what was not analysed and why, what is
doubtful. The verification flag is always UNVERIFIED, for no person has seen it, and the document is
preliminary, for the physician's report is still to come (PS3.3 C.17.2).

TID 1500 has no place for the next look that the hospital's own protocol has for a flag. It is a
section as in TID 2000, *Recommendations* (CID 7001) with a *Recommendation* (CID 7002), and has the
interval with which TID 4003 says when. That template's *Recommended Follow-up* itself is a code of
mammography (CID 6028), where a protocol's words are text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ComprehensiveSRStorage

from edge.alerts.message import NOTICE, FollowUp
from edge.results import vocabulary as say
from edge.results.framing import device_observer, finish, framing, inherit
from edge.results.identity import Device, ObjectNames, Predecessor, derived_uid
from edge.results.report import FindingLine, ImagePlace, ModelLine, Report, SeriesLine, VolumeLine
from edge.results.source import SourceImage
from engines import Code as FindingCode

_SERIES_NUMBER = 9901
_PARTIAL = "Some of it was not analysed, or may not have arrived"
_TAKEN_BACK = (
    "An earlier reading of this study flagged something. With the images that have arrived and "
    "were analysed the models no longer do, and the earlier flag is taken back."
)
_PROPERTY = Relationship.HAS_PROPERTIES
_LONGEST_MEANING = 64  # PS3.5 table 6.2-1, LO


class _ComprehensiveSR(sr.ComprehensiveSR):
    """Inherits what was read of patient and study, whatever kind the image is of."""

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Take over the attributes of patient and study."""
        inherit(self, dataset)


def structured_report(
    report: Report,
    names: ObjectNames,
    device: Device,
    sources: Mapping[int, SourceImage],
    predecessor: Predecessor | None,
    unnamed: Sequence[str] = (),
) -> Dataset:
    """Return the report as an SR document.

    Parameters
    ----------
    report : Report
        What it says.
    names : ObjectNames
        Its UIDs.
    device : Device
        Who says it.
    sources : mapping
        The images it refers to, by their ids in the journal; at least one.
    predecessor : Predecessor or None
        The report that it replaces.
    unnamed : sequence of str
        What it replaces and cannot name, in words.

    Raises
    ------
    ValueError
        If there is no image: it would not say whose it is.
    """
    evidence = [one.as_dataset() for one in sources.values()]
    document = _ComprehensiveSR(
        evidence=evidence,
        content=_content(report, names, device, sources, unnamed),
        is_complete=report.complete,
        is_final=False,
        is_verified=False,
        previous_versions=None if predecessor is None else [_reference(predecessor, evidence[0])],
        **framing(report, names, device, _SERIES_NUMBER, next(iter(sources.values()))),
    )
    if not report.complete:
        document.CompletionFlagDescription = _PARTIAL
    return finish(document)


def _reference(predecessor: Predecessor, image: Dataset) -> Dataset:
    reference = Dataset()
    reference.SOPClassUID = ComprehensiveSRStorage
    reference.SOPInstanceUID = predecessor.instance_uid
    reference.StudyInstanceUID = image.StudyInstanceUID
    reference.SeriesInstanceUID = predecessor.series_uid
    return reference


def _content(
    report: Report,
    names: ObjectNames,
    device: Device,
    sources: Mapping[int, SourceImage],
    unnamed: Sequence[str],
) -> Dataset:
    modalities = dict.fromkeys(one.modality for one in report.series)
    root = sr.ContainerContentItem(name=say.REPORT_TITLE, template_id="1500")
    root.ContentSequence = sr.ContentSequence(
        [
            *sr.LanguageOfContentItemAndDescendants(sr.CodedConcept.from_code(say.ENGLISH)),
            *sr.ObservationContext(observer_device_context=device_observer(device)),
            *(
                sr.CodeContentItem(say.PROCEDURE_REPORTED, code, Relationship.HAS_CONCEPT_MOD)
                for code in dict.fromkeys(say.procedure(one) for one in modalities)
            ),
            *_before(report),
            *_measurements(report, names, sources),
            *_next_look(report.follow_up),
            *_behind(report, unnamed),
        ]
    )
    return root


def _before(report: Report) -> Iterator[sr.ContentItem]:
    """Yield what is to be read before any finding."""
    yield _text(say.NOTICE, NOTICE)
    if report.status == "retracted":
        yield _text(say.WITHDRAWN, _TAKEN_BACK)
    yield sr.CodeContentItem(say.OUTCOME, say.OUTCOMES[report.outcome], Relationship.CONTAINS)
    received = sr.ContainerContentItem(say.RECEIVED, relationship_type=Relationship.CONTAINS)
    received.ContentSequence = sr.ContentSequence([_series(one) for one in report.series])
    yield received


def _series(one: SeriesLine) -> sr.ContentItem:
    what = " ".join(filter(None, (one.modality, one.body_part)))
    images = "1 instance" if one.instances == 1 else f"{one.instances} instances"
    if one.analysed:
        item = _text(say.SERIES, f"{what}, {images}: analysed")
    else:
        item = _text(say.NOT_ANALYSED, f"{what}, {images}: {one.reason or 'no model looked at it'}")
    uid = sr.UIDRefContentItem(say.SERIES_UID, one.series_uid, _PROPERTY)
    item.ContentSequence = sr.ContentSequence([uid])
    return item


def _measurements(
    report: Report, names: ObjectNames, sources: Mapping[int, SourceImage]
) -> Iterator[sr.ContentItem]:
    """Yield the container of all groups; nothing where no model looked."""
    models = {one.name: one for one in report.models}
    groups = sr.ContentSequence()
    lines: list[FindingLine | VolumeLine] = [*report.findings, *report.volumes]
    for number, line in enumerate(lines, start=1):
        tracking = sr.TrackingIdentifier(
            uid=derived_uid(names.instance_uid, number),
            identifier=f"{line.label} {number}, by {line.model}",
        )
        algorithm = _algorithm(models[line.model])
        if isinstance(line, FindingLine):
            groups += _finding(line, tracking, algorithm, sources)
        else:
            groups += _volume(line, tracking, algorithm)
    if groups:
        container = sr.ContainerContentItem(
            say.IMAGING_MEASUREMENTS, relationship_type=Relationship.CONTAINS
        )
        container.ContentSequence = groups
        yield container


def _algorithm(model: ModelLine) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[f"sha256 {model.digest}", f"{model.precision} in {model.engine}"],
    )


def _finding(
    line: FindingLine,
    tracking: sr.TrackingIdentifier,
    algorithm: sr.AlgorithmIdentification,
    sources: Mapping[int, SourceImage],
) -> sr.MeasurementsAndQualitativeEvaluations:
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking,
        finding_type=coded(line.code),
        algorithm_id=algorithm,
        measurements=[
            _figure(say.PROBABILITY, 100 * line.probability, say.PERCENT),
            _figure(say.THRESHOLD, 100 * line.threshold, say.PERCENT),
        ],
        qualitative_evaluations=[_assessment(line)],
        source_images=_shown(line.image, sources),
    )
    if line.place:
        group[0].ContentSequence.append(_text(say.PLACE, line.place))
    return group


def _volume(
    line: VolumeLine, tracking: sr.TrackingIdentifier, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    low, high = line.bounds_ml or (None, None)
    figures = (
        (say.VOLUME, line.ml),
        (say.LOWEST, low),
        (say.HIGHEST, high),
        (say.FLAG_BELOW, line.flag_below_ml),
        (say.FLAG_ABOVE, line.flag_above_ml),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking,
        finding_type=coded(line.code),
        algorithm_id=algorithm,
        measurements=[
            _figure(name, value, say.MILLILITRE) for name, value in figures if value is not None
        ],
        qualitative_evaluations=[_assessment(line)],
    )


def _assessment(line: FindingLine | VolumeLine) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(say.ASSESSMENT, say.VERDICTS[line.verdict])


def _figure(name: Code, value: float, unit: Code) -> sr.Measurement:
    return sr.Measurement(name=name, value=round(value, 3), unit=unit)


def _shown(
    image: ImagePlace | None, sources: Mapping[int, SourceImage]
) -> list[sr.SourceImageForMeasurementGroup] | None:
    source = None if image is None else sources.get(image.instance)
    if image is None or source is None:
        return None
    return [
        sr.SourceImageForMeasurementGroup(
            source.sop_class_uid,
            source.instance_uid,
            # PS3.3 table C.17-3b: only of a multi-frame image.
            [image.frame + 1] if source.frames > 1 else None,
        )
    ]


def _next_look(look: FollowUp | None) -> Iterator[sr.ContentItem]:
    """Yield what the hospital's protocol has next; nothing where it has nothing."""
    if look is None:
        return
    said = _text(say.RECOMMENDATION, look.words)
    said.ContentSequence = sr.ContentSequence(
        [
            sr.NumContentItem(
                say.FOLLOW_UP_INTERVAL, look.within_days, say.DAY, relationship_type=_PROPERTY
            ),
            sr.TextContentItem(say.PROTOCOL, look.source, _PROPERTY),
        ]
    )
    section = sr.ContainerContentItem(say.RECOMMENDATIONS, relationship_type=Relationship.CONTAINS)
    section.ContentSequence = sr.ContentSequence([said])
    yield section


def _behind(report: Report, unnamed: Sequence[str]) -> Iterator[sr.ContentItem]:
    """Yield what bears on all findings."""
    if report.change:
        yield _text(say.CHANGE, report.change)
    told = {one.reason for one in report.series}
    for reason in report.reasons:
        if reason not in told:
            yield _text(say.RESERVATION, reason)
    for text in unnamed:
        yield _text(say.RESERVATION, text)
    for doubt in report.quality:
        yield _text(say.QUALITY, doubt)


def coded(code: FindingCode) -> Code:
    """Return a package's code as DICOM writes it."""
    return Code(code.value, code.scheme, code.meaning[:_LONGEST_MEANING])


def _text(name: Code, value: str) -> sr.ContentItem:
    return sr.TextContentItem(name, value, Relationship.CONTAINS)
