"""What there is to send: DICOM files under the given paths, in the order a scanner would send.

Only a few header elements are read here; the pixels stay on disk until their turn. Sources:
DICOM PS3.10 7.1 (File Meta Information), PS3.5 annex A (transfer syntaxes).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

MAX_CONTEXTS = 128
"""Presentation contexts one association can carry: odd IDs from 1 to 255 (PS3.8 9.3.2.2)."""

_HEADER = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
]
_NAME_PARTS = re.compile(r"(\d+)")


class GatherError(ValueError):
    """A path cannot be sent; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing to send.

    Parameters
    ----------
    source : pathlib.Path or pydicom.Dataset
        Where the data set is.
    sop_class : pydicom.uid.UID
        Its SOP class.
    transfer_syntax : pydicom.uid.UID
        How it is encoded.
    """

    source: Path | Dataset
    sop_class: UID
    transfer_syntax: UID

    @property
    def context(self) -> tuple[UID, UID]:
        """The presentation context this instance needs."""
        return self.sop_class, self.transfer_syntax

    def load(self) -> Dataset:
        """Return the whole data set, with its File Meta Information."""
        if isinstance(self.source, Dataset):
            return self.source
        return dcmread(self.source, force=True)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything found under some paths.

    Parameters
    ----------
    instances : tuple of Instance
        In sending order.
    ignored : tuple of pathlib.Path
        Files in folders that are no DICOM, or a DICOMDIR.
    """

    instances: tuple[Instance, ...]
    ignored: tuple[Path, ...]


def gather(paths: Sequence[Path]) -> Gathered:
    """Find the DICOM instances under files and folders.

    Folders are searched through. Instances keep the order of the paths given; within a series
    they go by instance number, then by file name with numbers read as numbers.

    Raises
    ------
    GatherError
        If a path does not exist, or a file that was named itself is no DICOM instance.
    """
    found: list[tuple[tuple[str, str], int, Instance]] = []
    ignored: list[Path] = []
    for path in paths:
        if not path.exists():
            raise GatherError(f"{path} does not exist; name a DICOM file or a folder of them.")
        for file in _files(path):
            read = _read_header(file)
            if read is not None:
                found.append(read)
            elif file == path:
                raise GatherError(
                    f"{path} is not a DICOM instance (no SOP class, or not DICOM at all);"
                    " it cannot be sent."
                )
            else:
                ignored.append(file)
    first_seen: dict[tuple[str, str], int] = {}
    for series, _, _ in found:
        first_seen.setdefault(series, len(first_seen))
    found.sort(key=lambda item: (first_seen[item[0]], item[1]))
    return Gathered(tuple(item[2] for item in found), tuple(ignored))


def from_memory(dataset: Dataset) -> Instance:
    """Describe a data set that is not in a file.

    Raises
    ------
    GatherError
        If it names no SOP class, SOP instance or transfer syntax.
    """
    meta = getattr(dataset, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        raise GatherError(
            "a data set has no file_meta.TransferSyntaxUID (0002,0010); set it before sending."
        )
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(keyword):
            raise GatherError(f"a data set has no {keyword}; it cannot be sent.")
    return Instance(dataset, UID(dataset.SOPClassUID), UID(meta.TransferSyntaxUID))


def associations(instances: Sequence[Instance]) -> Iterator[list[int]]:
    """Split instances, in order, into runs that need at most 128 presentation contexts each.

    Yields
    ------
    list of int
        Indices into `instances` for one association.
    """
    run: list[int] = []
    contexts: set[tuple[UID, UID]] = set()
    for index, instance in enumerate(instances):
        if instance.context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield run
            run, contexts = [], set()
        contexts.add(instance.context)
        run.append(index)
    if run:
        yield run


class NewUids:
    """Gives a set of instances new identities, the same old UID always the same new one.

    Only the UIDs that make the instance, its series, its study and its frame of reference are
    replaced; references from one instance to another keep the old ones.
    """

    _KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")

    def __init__(self) -> None:
        self._given: dict[str, UID] = {}

    def apply(self, dataset: Dataset) -> Dataset:
        """Return a copy of the data set with new UIDs."""
        renamed = copy.deepcopy(dataset)
        for keyword in self._KEYWORDS:
            if old := renamed.get(keyword):
                setattr(renamed, keyword, self._given.setdefault(str(old), generate_uid()))
        renamed.file_meta.MediaStorageSOPInstanceUID = renamed.SOPInstanceUID
        return renamed


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted((p for p in path.rglob("*") if p.is_file()), key=_natural)


def _natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts slice 9 before slice 10."""
    return tuple(
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part)
        for part in _NAME_PARTS.split(path.as_posix())
    )


def _read_header(file: Path) -> tuple[tuple[str, str], int, Instance] | None:
    """Return (study and series, instance number, instance), or None when it is no instance."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_HEADER))
    except (InvalidDicomError, EOFError, ValueError, NotImplementedError, AttributeError):
        # pydicom's ways of saying that the bytes are not DICOM, or are cut short.
        return None
    if not header.get("SOPClassUID") or not header.get("SOPInstanceUID"):
        return None
    syntax = UID(header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))
    series = (str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", "")))
    try:
        number = int(header.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return series, number, Instance(file, UID(header.SOPClassUID), syntax)
