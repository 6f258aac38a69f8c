"""Dates, times and ages as DICOM writes them.

Sources: DICOM PS3.5 table 6.2-1 (AS, DA, DT, TM), PS3.3 C.12.1.1.8 (time zone).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
_DATE = re.compile(r"([0-9]{4})[.\-]?([0-9]{2})[.\-]?([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(?:\.([0-9]{1,6}))?")
_MOMENT = re.compile(r"([0-9]{8})([0-9]{2,6}(?:\.[0-9]{1,6})?)?([+-][0-9]{4})?")
_ZONE = re.compile(r"([+-])([0-9]{2})([0-9]{2})")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}
_OLDEST_YEARS = 150.0


def age_years(age: str, birth_date: str, study_date: str) -> float | None:
    """Return the patient's age at the study in years, None if it cannot be known.

    Parameters
    ----------
    age : str
        Patient's Age (0010,1010), such as ``"034Y"`` or ``"003W"``; counts first.
    birth_date, study_date : str
        ``YYYYMMDD``; used where there is no age.
    """
    match = _AGE.fullmatch(age.strip())
    if match:
        years = int(match[1]) * _DAYS[match[2]] / _DAYS["Y"]
        return years if years <= _OLDEST_YEARS else None
    born, studied = _date(birth_date), _date(study_date)
    if born is None or studied is None:
        return None
    years = (studied - born).days / _DAYS["Y"]
    return years if 0 <= years <= _OLDEST_YEARS else None


def acquired_at(moment: str, pairs: Sequence[tuple[str, str]], zone: str) -> str:
    """Return when the image was acquired in ISO 8601, or "" if nothing usable says it.

    Parameters
    ----------
    moment : str
        Acquisition DateTime (0008,002A); counts first.
    pairs : sequence of (str, str)
        Dates with their times, best first. A date without a usable time gives a date alone.
    zone : str
        Timezone Offset From UTC (0008,0201), for values that bring no zone of their own.
    """
    match = _MOMENT.fullmatch(moment.strip())
    if match:
        pairs = ((match[1], match[2] or ""), *pairs)
    for index, (day_text, time_text) in enumerate(pairs):
        day = _date(day_text)
        if day is None:
            continue
        offset = match[3] if match and index == 0 and match[3] else zone
        return _joined(day, time_text, offset)
    return ""


def _joined(day: date, time_text: str, offset: str) -> str:
    match = _TIME.fullmatch(time_text.strip())
    if match is None:
        return day.isoformat()
    hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3))
    micro = int((match[4] or "").ljust(6, "0"))
    if hour > 23 or minute > 59 or second > 60:
        return day.isoformat()
    # A leap second (60) is written by some clocks; Python has none.
    moment = datetime(  # noqa: DTZ001  (the zone follows, where the sender gives one)
        day.year, day.month, day.day, hour, minute, min(second, 59), micro
    )
    return moment.replace(tzinfo=_zone(offset)).isoformat()


def _zone(text: str) -> timezone | None:
    match = _ZONE.fullmatch(text.strip())
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if int(match[3]) > 59 or offset > timedelta(hours=14):
        return None
    return timezone(-offset if match[1] == "-" else offset)


def _date(text: str) -> date | None:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
