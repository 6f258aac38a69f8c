"""Count a model's false alarms on whole series of people who do not have what it looks for.

Figures by picture say little of a series of fifty slices, any of which may raise the alarm. A
series goes the way of the product: read as DICOM, prepared, asked about and decided upon.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.alerts.decision import SeriesFinding, SliceId, find
from edge.analysis.trial import NothingJudged, input_of
from edge.imaging.header import Limits, UnreadableInstance
from edge.imaging.nifti import UnreadableVolume
from edge.imaging.pixels import Slice, decode
from engines import Engine, ModelPackage, calibrate, load_engine
from tools.scanner.nifti import NiftiError, series_from_nifti
from tools.train import judge
from tools.train.examples import DataError
from tools.train.measure import wilson

_BATCH = 8
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of one finding in one series.

    Parameters
    ----------
    finding : str
    probability : float
        Of the series.
    slices_above : int
        Judged slices at or above the threshold.
    verdict : str
        ``flagged``, ``uncertain``, ``not flagged``, or ``told of`` where it may never flag.
    """

    finding: str
    probability: float
    slices_above: int
    verdict: str


@dataclass(frozen=True, slots=True)
class SeriesAlarms:
    """One series: `outcome` is ``flagged``, ``uncertain``, ``not flagged`` or ``not judged``."""

    series: str
    slices: int
    judged: int
    unfamiliar: int
    outcome: str
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all series."""

    package: ModelPackage
    axial: bool
    series: tuple[SeriesAlarms, ...]

    @property
    def outcomes(self) -> Counter[str]:
        """How many series came to what."""
        return Counter(one.outcome for one in self.series)


def run(package: ModelPackage, paths: Sequence[Path], *, axial: bool, threads: int) -> Report:
    """Ask a package about series.

    Parameters
    ----------
    package : ModelPackage
        Of slices.
    paths : sequence of Path
        NIfTI files, or folders of one DICOM series each.
    axial : bool
        Cut NIfTI volumes axially.
    threads : int
        For the engine.

    Raises
    ------
    DataError
        If a path is neither, or the model is not of slices.
    """
    if package.volumes:
        raise DataError(f"{package.name} measures volumes; alarms are counted of slices.")
    engine = load_engine(package, threads=threads)
    asked = [_ask(engine, package, path, axial=axial) for path in paths]
    engine.close()
    return Report(package, axial, tuple(asked))


def _ask(engine: Engine, package: ModelPackage, path: Path, *, axial: bool) -> SeriesAlarms:
    slices = _slices(path, axial=axial)
    name = f"{path.parent.name}/{path.name}"
    try:
        inputs = input_of(package, slices)
    except NothingJudged:
        return SeriesAlarms(name, len(slices), 0, 0, "not judged", ())
    batches = (inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH))
    answers = judge.ask_loaded(engine, package, batches)
    columns = [
        calibrate(answers.logits[:, spec.output], *spec.calibration) for spec in package.findings
    ]
    scores: dict[SliceId, tuple[float, ...]] = {
        (place, 0): tuple(float(column[place]) for column in columns)
        for place in range(len(inputs))
    }
    limit = float("inf") if package.familiar is None else package.familiar.limit
    strange = {(place, 0) for place, far in enumerate(answers.distance) if far > limit}
    found = find(package, scores, strange)
    return SeriesAlarms(
        name,
        len(slices),
        len(inputs),
        len(strange),
        _outcome(found),
        tuple(
            Said(
                one.spec.label,
                round(one.probability, 4),
                int((column >= one.spec.threshold).sum()),
                _verdict(one),
            )
            for one, column in zip(found, columns, strict=True)
        ),
    )


def _outcome(found: Sequence[SeriesFinding]) -> str:
    if any(one.flagged for one in found):
        return "flagged"
    uncertain = any(one.abstained for one in found if one.spec.reliable)
    return "uncertain" if uncertain else "not flagged"


def _verdict(one: SeriesFinding) -> str:
    if not one.spec.reliable:
        return "told of"
    return "flagged" if one.flagged else "uncertain" if one.abstained else "not flagged"


def _slices(path: Path, *, axial: bool) -> list[Slice]:
    if path.is_dir():
        contents = [file.read_bytes() for file in sorted(path.iterdir()) if file.is_file()]
    elif path.name.endswith(_NIFTI) and path.is_file():
        try:
            contents = _as_dicom(path, axial=axial)
        except (NiftiError, UnreadableVolume) as error:
            raise DataError(str(error)) from error
    else:
        raise DataError(f"{path}: neither a NIfTI file (.nii, .nii.gz) nor a folder of DICOM.")
    found: list[Slice] = []
    for content in contents:
        with suppress(UnreadableInstance):
            found += decode(content, limits=Limits())
    if not found:
        raise DataError(f"{path}: none of its {len(contents)} files is a DICOM image.")
    return found


def _as_dicom(path: Path, *, axial: bool) -> list[bytes]:
    contents = []
    for instance in series_from_nifti(path, axial=axial):
        file = BytesIO()
        instance.save_as(file, enforce_file_format=True)
        contents.append(file.getvalue())
    return contents


def show(report: Report, say: Callable[[str], None]) -> None:
    """Print a line for each series, and how many were flagged."""
    table = Table("series", "slices", "judged", "outcome", box=None, pad_edge=False)
    for spec in report.package.findings:
        table.add_column(spec.label, justify="right")
    for one in report.series:
        said = [f"{item.probability:.2f} ({item.slices_above})" for item in one.said]
        table.add_row(one.series, str(one.slices), str(one.judged), one.outcome, *said)
    say("Probability of the series; in brackets, slices at or above the threshold.")
    Console(highlight=False, markup=False).print(table)
    outcomes, count = report.outcomes, len(report.series)
    held = wilson(outcomes["flagged"], count)
    say(
        f"{outcomes['flagged']} of {count} series flagged ({held.low:.0%} to {held.high:.0%}, if "
        f"each is of another person), {outcomes['uncertain']} uncertain, "
        f"{outcomes['not judged']} not judged."
    )


def write(report: Report, file: Path) -> None:
    """Write the report as JSON."""
    held = wilson(report.outcomes["flagged"], len(report.series))
    told = {
        "name": report.package.name,
        "version": report.package.version,
        "sha256": report.package.digest,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cut_axially": report.axial,
        "series": len(report.series),
        **{key.replace(" ", "_"): report.outcomes[key] for key in ("flagged", "uncertain")},
        "not_judged": report.outcomes["not judged"],
        "flagged_low": held.low,
        "flagged_high": held.high,
        "rows": [asdict(one) for one in report.series],
    }
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
