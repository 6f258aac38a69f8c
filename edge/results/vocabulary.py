"""The codes that the objects are written in.

What DICOM or SNOMED CT has a code for is said in it. What only a machine reading has, above all
that it is one, is in a scheme of our own, ``99SCANSIDE`` (PS3.16 section 8.2: 99 opens the name of
a private scheme), whose meanings say all that there is to know.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from edge.results.report import Verdict

SCHEME = "99SCANSIDE"
SCHEME_NAME = "Scanside machine readings"

# PS3.16 CID 7010, CID 5000 and annex D.
ENGLISH = Code("en", "RFC5646", "English")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
COMMENT = Code("121106", "DCM", "Comment")
DEVICE = Code("121007", "DCM", "Device")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
# CID 7001 and 7002, of the diagnostic imaging reports, and TID 4003, of the follow-up of a finding.
RECOMMENDATIONS = Code("18783-1", "LN", "Recommendations")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
FOLLOW_UP_INTERVAL = Code("111055", "DCM", "Recommended Follow-up Interval")
DAY = Code("d", "UCUM", "day")  # CID 6046
SERIES_UID = Code("112002", "DCM", "Series Instance UID")
VOLUME = Code("118565006", "SCT", "Volume")
PERCENT = Code("%", "UCUM", "Percent")
MILLILITRE = Code("ml", "UCUM", "milliliter")

PROBABILITY = Code("probability", SCHEME, "Probability by the model")
THRESHOLD = Code("threshold", SCHEME, "Flagged from this probability on")
LOWEST = Code("volume-low", SCHEME, "Volume at least")
HIGHEST = Code("volume-high", SCHEME, "Volume at most")
FLAG_BELOW = Code("flag-below", SCHEME, "Flagged below this volume")
FLAG_ABOVE = Code("flag-above", SCHEME, "Flagged above this volume")

NOTICE = Code("notice", SCHEME, "Notice")
OUTCOME = Code("outcome", SCHEME, "Outcome of the machine reading")
ASSESSMENT = Code("assessment", SCHEME, "Machine assessment, unverified")
RECEIVED = Code("series-received", SCHEME, "Series received")
SERIES = Code("series", SCHEME, "Series")
NOT_ANALYSED = Code("not-analysed", SCHEME, "NOT ANALYSED")
RESERVATION = Code("reservation", SCHEME, "Reservation")
QUALITY = Code("image-quality", SCHEME, "Image quality")
CHANGE = Code("change", SCHEME, "Change since an earlier study")
PLACE = Code("place", SCHEME, "Where the model saw it")
PROTOCOL = Code("protocol", SCHEME, "By this hospital's own protocol")
WITHDRAWN = Code("withdrawn", SCHEME, "WITHDRAWN")

VERDICTS = {
    Verdict.FLAGGED: Code("flagged", SCHEME, "Flagged: a suggestion to look sooner"),
    Verdict.NOT_FLAGGED: Code("not-flagged", SCHEME, "Not flagged, which does not mean absent"),
    Verdict.UNCERTAIN: Code("uncertain", SCHEME, "Uncertain: the model says neither"),
    Verdict.NOT_RELIABLE: Code("not-reliable", SCHEME, "Not reliable enough to flag"),
}
OUTCOMES = {
    "flagged": VERDICTS[Verdict.FLAGGED],
    "not_flagged": Code("none-flagged", SCHEME, "Nothing flagged, which does not mean normal"),
    "uncertain": VERDICTS[Verdict.UNCERTAIN],
    "not_analysed": NOT_ANALYSED,
}

_PROCEDURES = {
    "CT": Code("77477000", "SCT", "Computed tomography"),
    "MR": Code("113091000", "SCT", "Magnetic resonance imaging"),
    **dict.fromkeys(("CR", "DX"), Code("168537006", "SCT", "Plain radiography")),
}
_IMAGING = Code("363679005", "SCT", "Imaging procedure")


def procedure(modality: str) -> Code:
    """Return the kind of procedure that a modality stands for (PS3.16 CID 100, or any imaging)."""
    return _PROCEDURES.get(modality, _IMAGING)
