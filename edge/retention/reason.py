"""The reason of an erasure: it outlives what is erased, so it names nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 120
_SHORTEST = 2  # letters of a part of a name: initials are in many reasons


def reason_of(text: str) -> str | None:
    """Return a reason as it is kept, or None for what cannot be one: empty, long, unprintable."""
    reason = text.strip()
    return reason if reason and len(reason) <= LONGEST and reason.isprintable() else None


def names_patient(reason: str, identity: Mapping[str, str]) -> bool:
    """Return whether a reason holds a part of the name, a number or the birth date of a patient.

    Parameters
    ----------
    reason : str
    identity : mapping of str
        As the scanner said: ``name``, ``patient_id``, ``accession``, ``birth_date``.
    """
    known = [identity.get(key, "").strip() for key in ("patient_id", "accession")]
    parts = re.split(r"[\^= ]", identity.get("name", ""))
    known += [part for part in parts if len(part) >= _SHORTEST]
    patterns = [re.escape(one) for one in known if one]
    patterns += _dates(identity.get("birth_date", "").strip())
    return any(
        re.search(rf"(?<!\w)(?:{one})(?!\w)", reason, re.IGNORECASE) is not None for one in patterns
    )


def _dates(dicom: str) -> list[str]:
    """Return patterns of how people write a DICOM date (PS3.5 6.2, DA) in digits."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", dicom)
    if found is None:
        return [re.escape(dicom)] if dicom else []
    year = found[1]
    month, day = (re.sub("^0", "0?", two) for two in found.groups()[1:])
    orders = ((year, month, day), (day, month, year), (month, day, year))
    return [r"[-./ ]*".join(order) for order in orders]
