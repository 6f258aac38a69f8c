"""The words for states, urgencies and probabilities, to be translated.

`_` marks a text for the catalogue and leaves it as it is: it is said in the visitor's language
when the page is made.
"""

from __future__ import annotations

from edge.alerts.chance import chance as as_text
from edge.alerts.message import FindingResult, Measurement
from edge.console import sentences
from edge.console.cards import Delivery, Tone
from edge.console.language import Language
from edge.store.erasure import Hindrance
from edge.store.feedback import Verdict


def _(text: str) -> str:
    return text


TONES = {
    Tone.CRITICAL: _("Critical"),
    Tone.URGENT: _("Urgent"),
    Tone.DRILL: _("Drill"),
    Tone.RETRACTED: _("Retracted"),
    Tone.NOT_ANALYSED: _("Not analysed"),
    Tone.UNCERTAIN: _("Uncertain"),
    Tone.FLAGGED: _("Flagged"),
    Tone.CLEAR: _("Nothing flagged"),
    Tone.ERASED: _("Erased"),
    Tone.WAITING: _("Receiving"),
}
URGENCIES = {
    "critical": _("Critical"),
    "urgent": _("Urgent"),
    "routine": _("Routine"),
    "drill": _("Drill"),
}
STATUSES = {
    "provisional": _("Provisional"),
    "final": _("Final"),
    "retracted": _("Retracted"),
}
OUTCOMES = {
    "flagged": _("flagged"),
    "not_flagged": _("nothing flagged"),
    "uncertain": _("uncertain"),
    "not_analysed": _("not analysed"),
}
CHANGES = {
    "new": _("Newly flagged"),
    "larger": _("Larger"),
    "smaller": _("Smaller"),
    "unchanged": _("No clear change"),
    "resolved": _("No longer flagged"),
}
DELIVERIES = {
    Delivery.QUEUED: _("Waits for the network"),
    Delivery.SENT: _("Sent"),
    Delivery.RECEIVED: _("Received by central"),
    Delivery.ESCALATED: _("Central does not answer"),
}
ROLES = {
    "technician": _("Technician"),
    "physician": _("Physician"),
    "admin": _("Administrator"),
    "service": _("Service"),
}
VERDICTS = {
    Verdict.AGREE: _("Agree"),
    Verdict.DISAGREE: _("Disagree"),
    Verdict.UNSURE: _("Unsure"),
}
# Why a study is not erased.
HINDRANCES = {
    Hindrance.UNKNOWN: _("There is no such study."),
    Hindrance.ERASED: _("It was erased already."),
    Hindrance.BUSY: _("Its images are coming in or being looked at. Ask again when it is decided."),
    Hindrance.COMPARED: _(
        "Another study is being compared with it. Ask again when that one is decided."
    ),
    Hindrance.UNDELIVERED: _("Central has not had all that was said of it."),
    Hindrance.UNFILED: _("The PACS has not had all that is sent of it."),
    Hindrance.UNACKNOWLEDGED: _("Nobody acknowledged its flag."),
}
# Reasons and doubts come from the analysis as English texts.
REASONS = (
    _("no model for this kind of study"),
    _("no images to look at, only localizers, reports or derived images"),
    _("too few images"),
    _("no image shows the part of the body that the model judges"),
    _("the model's engine could not be loaded on this device"),
    _("analysis failed too often on this study; it is quarantined"),
    _("analysis failed too often on this study; it is quarantined; the earlier alert stands"),
    _("An image came twice with the same UID and different content; the second was left out."),
    _("The scanner reports that the examination was discontinued; images may be missing."),
    _(
        "The scanner reports that the wrong worklist entry was selected; the images may be of "
        "another patient."
    ),
    _("No sign that the series was complete but silence; images may be missing."),
)
# Why the hospital's own log-in let nobody in.
OIDC = (
    _("The log-in took too long or was begun elsewhere. Try again."),
    _("The hospital's log-in did not let you in."),
    _("The answer came from another log-in."),
    _("The hospital's log-in answered without an ID token."),
    _("The ID token is of another log-in."),
    _("The ID token's signature is not valid."),
    _("The ID token is not for this appliance, or too old."),
    _("You are known, but none of your groups may open this appliance."),
    _("The log-in calls itself otherwise than [oidc] issuer."),
    _("The log-in's discovery document or keys cannot be used."),
    _("The hospital's log-in cannot be reached. Ask its administrator."),
    _("The hospital's log-in refused. Ask its administrator."),
)
# Why the viewer shows no image.
UNDECODABLE = (
    _("it took too long to decode"),
    _("the decoder failed on it"),
    _("damaged on the disk"),
    _("too large"),
    _("there is no such frame"),
    _("there is no such image in this study"),
)
_CHANCE, _ML = _("%(word)s, %(share)s"), _("%(ml)s ml")
_GB, _MB = _("%(size)s GB"), _("%(size)s MB")
_LIKELY = (
    (0.95, _("very likely")),
    (0.75, _("likely")),
    (0.5, _("more likely than not")),
    (0.25, _("less likely than not")),
    (0.05, _("unlikely")),
    (0.0, _("very unlikely")),
)


def reason(text: str, speak: Language) -> str:
    """Return why something was not analysed, or what is odd about it, for people."""
    said = sentences.say(text, speak)
    return said[:1].upper() + said[1:]


def hindrance(why: str, speak: Language) -> str:
    """Return why a study is not erased, for people; as it is what an earlier Scanside wrote."""
    return speak.say(next((text for one, text in HINDRANCES.items() if one == why), why))


def size(number: int, speak: Language) -> str:
    """Return a number of bytes for people, in MB or GB of 10^6 and 10^9."""
    if number >= 1e9:
        return speak.say(_GB, size=speak.number(round(number / 1e9, 1)))
    return speak.say(_MB, size=speak.number(round(number / 1e6, 1)))


def place(text: str, speak: Language) -> str:
    """Return where a finding is seen, for people."""
    return sentences.say(text, speak)


def likelihood(finding: FindingResult) -> str:
    """Return a probability in words, to be translated: the model's, not a physician's."""
    return next(word for least, word in _LIKELY if finding.probability >= least)


def extent(said: FindingResult | Measurement, speak: Language) -> str:
    """Return how much speaks for a finding, in words and as a number, or how much was measured."""
    if isinstance(said, Measurement):
        return speak.say(_ML, ml=speak.number(round(said.value, 1)))
    return speak.say(_CHANCE, word=speak.say(likelihood(said)), share=chance(said, speak))


def chance(finding: FindingResult, speak: Language) -> str:
    """Return a probability as a number."""
    return sentences.chance(as_text(finding.probability), speak)
