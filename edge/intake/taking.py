"""An instance that was read is taken in: the same for a DICOM sender and for a watched folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import UID

from edge.imaging.header import Header, Identity
from edge.intake.arrival import arrival_of
from edge.intake.events import InstanceKept
from edge.store.records import Kept
from edge.store.studies import Store
from edge.store.study_key import SealBroken


class NoPixels(ValueError):
    """An image without pixel data; nothing of it was kept."""

    def __init__(self) -> None:
        super().__init__("An image without pixel data")


class StudyDamaged(ValueError):
    """What is kept of the instance's study does not open; nothing of the instance was kept."""

    def __init__(self) -> None:
        super().__init__("Its study is damaged on the disk of the appliance")


@dataclass(frozen=True, slots=True)
class Came:
    """How an instance came: by which sender, and when (seconds since the epoch)."""

    sender: int
    first_byte: float
    last_byte: float


@dataclass(slots=True)
class Taker:
    """Takes instances in.

    Parameters
    ----------
    store : Store
        Where they go.
    pseudonym : callable
        Makes a patient's keyed pseudonym from issuer and patient ID.
    tell : callable
        Is told of every instance that is kept; must not block.
    """

    store: Store
    pseudonym: Callable[[str, str], str]
    tell: Callable[[InstanceKept], None]

    def take(self, data: bytes, header: Header, identity: Identity, came: Came) -> Kept:
        """Keep an instance durably and tell of it.

        Raises
        ------
        NoPixels
            If it is an image without any.
        StudyDamaged
            If what is kept of its study does not open.
        OutOfSpace
            If the disk has no room; nothing was kept.
        """
        if not header.has_pixels and "Image Storage" in UID(header.sop_class_uid).name:
            raise NoPixels
        arrival = arrival_of(header, identity, self.pseudonym, came.first_byte, came.last_byte)
        try:
            receipt = self.store.keep(arrival, data)
        except SealBroken as error:
            raise StudyDamaged from error
        self.tell(InstanceKept(came.sender, receipt, arrival.series_uid, arrival.about))
        return receipt.kept
