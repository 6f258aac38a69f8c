"""Under which names an object stands in the PACS, fixed before it is first sent.

An object that is sent again has the same UIDs, so a PACS that has it already keeps it once. They
are made of random numbers (PS3.5 B.2) and say nothing of patient or site.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from edge.timestamps import parse_rfc3339

MANUFACTURER = "Scanside"
SERIES_DESCRIPTION = "Scanside: unverified machine reading"
_DEVICES = uuid.UUID("5a0b6a52-3c2e-5f5e-9d0a-7e0f3a1f6d11")  # names devices
_PARTS = uuid.UUID("0f6c2a3e-6b8f-5a55-8a3f-3f0e6f0c7a52")  # names parts of objects


@dataclass(frozen=True, slots=True)
class Device:
    """The appliance that speaks, and the version of Scanside that it ran then."""

    name: str
    site: str
    software: str

    @property
    def uid(self) -> str:
        """Its UID, the same for all that it says (PS3.16 TID 1004)."""
        return _uid(uuid.uuid5(_DEVICES, f"{self.site}/{self.name}"))


@dataclass(frozen=True, slots=True)
class ObjectNames:
    """What names one object.

    Parameters
    ----------
    series_uid, instance_uid : str
        Its own; objects of one kind and study share a series.
    number : int
        In its series, from 1.
    """

    series_uid: str
    instance_uid: str
    number: int


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The report that another replaces (PS3.3 C.17.2.3)."""

    series_uid: str
    instance_uid: str


def new_uid() -> str:
    """Return a UID that no other object has (PS3.5 B.2, ISO/IEC 9834-8)."""
    return _uid(uuid.uuid4())


def derived_uid(uid: str, number: int) -> str:
    """Return a UID for a part of an object, the same whenever the object is made."""
    return _uid(uuid.uuid5(_PARTS, f"{uid}/{number}"))


def content_moment(decided: str) -> datetime:
    """Return when it was decided, in the clock of this machine, as DICOM writes dates and times.

    Parameters
    ----------
    decided : str
        RFC 3339.
    """
    return parse_rfc3339(decided).astimezone()


def _uid(one: uuid.UUID) -> str:
    return f"2.25.{one.int}"
