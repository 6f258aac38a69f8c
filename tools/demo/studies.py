"""What the demo sends: drawn studies of three modalities, in turn."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import FileDataset

from tools.scanner import brain_mri_series, chest_xray_series, head_ct_series

ROUND = 6
"""Studies until every kind has been sent."""

_CHILD = "004Y"
_MRI_SLICES = 0.7  # of a head CT's: its slices are thicker


@dataclass(frozen=True, slots=True)
class DrawnStudy:
    """One study to send.

    Parameters
    ----------
    name : str
        For the table: a line that names it, and lines that say what was drawn.
    modality : str
        DICOM (0008,0060).
    series : list of FileDataset
        Its images.
    """

    name: str
    modality: str
    series: list[FileDataset]


def drawn_study(number: int, *, slices: int) -> DrawnStudy:
    """Return the study that is sent as the `number`-th, from 0.

    Parameters
    ----------
    number : int
        Equal numbers are the same person.
    slices : int
        Of a head CT; a brain MRI has fewer, a radiograph is one image.
    """
    kind = number % ROUND
    if kind in (0, 3):
        bleed = kind == 0
        what = "bleed\ndrawn" if bleed else "no bleed\ndrawn"
        return _named(number, "head CT", what, head_ct_series(bleed, slices=slices, seed=number))
    if kind == 2:
        count = max(1, round(slices * _MRI_SLICES))
        return _named(number, "MRI", "head, mass\ndrawn", brain_mri_series(True, count, number))
    chest = chest_xray_series(lesion=True, seed=number)
    if kind == 1:
        return _named(number, "X-ray", "adult\nchest", chest)
    if kind == 4:
        chest[0].PatientAge = _CHILD
        return _named(number, "X-ray", "child\nchest", chest)
    del chest[0].ViewPosition  # a sender that leaves it out: no model may take it for frontal
    return _named(number, "X-ray", "no view\nis said", chest)


def _named(number: int, kind: str, what: str, series: list[FileDataset]) -> DrawnStudy:
    return DrawnStudy(f"{kind} {number + 1}\n{what}", str(series[0].Modality), series)
