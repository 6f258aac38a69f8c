"""FHIR R4: an alert as a DiagnosticReport with an Observation for each coded finding.

Nobody has confirmed what a model says, so nothing is ever `final` here: a final alert is
`preliminary`, too, and one that was taken back is `entered-in-error`. A finding that is not flagged
carries no code for "negative": that would read as normal. What is sent is checked with the
published model of FHIR (R4B, which is R4 for these resources). Sources: HL7 FHIR R4 (4.0.1)
DiagnosticReport, Observation, Bundle; DICOM PS3.20.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tools.central.hand_on.http import post
from tools.central.hand_on.item import HandOnError, Item

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "RADLEX": "http://radlex.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
}
_STATUS = {
    "provisional": "preliminary",
    "final": "preliminary",
    "retracted": "entered-in-error",
}
_REPORT = {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
_SECTION = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_IMAGING = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


class FhirTarget:
    """Sends a transaction an alert to a FHIR server.

    Parameters
    ----------
    base : str
        Its base address.
    token : str or None
        A bearer token.
    """

    name = "fhir"
    at_once = 1
    takes_events = False

    def __init__(self, base: str, token: str | None = None) -> None:
        self._base = base
        self._headers = {
            "Content-Type": "application/fhir+json",
            "Accept": "application/fhir+json",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def give(self, items: Sequence[Item]) -> None:
        """Send each; see `Target`."""
        for item in items:
            if item.alert is None:
                continue
            body = json.dumps(checked_bundle(item.alert)).encode()
            _check_answer(post(self._base, body, self._headers).body)


def checked_bundle(alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transaction for an alert, checked against the model of FHIR.

    Raises
    ------
    HandOnError
        When the alert cannot be told in FHIR: it is outside this version's schema.
    """
    from fhir.resources.R4B.bundle import Bundle  # noqa: PLC0415 - an extra, and slow to load

    try:
        document = bundle(alert)
        Bundle.model_validate(document)
    except (KeyError, TypeError, ValidationError) as error:
        msg = f"the alert cannot be told in FHIR ({type(error).__name__})"
        raise HandOnError(msg) from error
    return document


def bundle(alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transaction: each resource is created once, however often it is sent."""
    observations = [_observation(alert, number) for number in range(len(alert["findings"]))]
    report = _report(alert, observations)
    resources = [report, *observations]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": _own_address(resource),
                "resource": resource,
                "request": {
                    "method": "POST",
                    "url": resource["resourceType"],
                    "ifNoneExist": f"identifier=urn:ietf:rfc:3986|{_name(resource)}",
                },
            }
            for resource in resources
        ],
    }


def _report(alert: Mapping[str, Any], observations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    about = alert["outcome"].replace("_", " ")
    reasons = "; ".join(alert["reasons"])
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [_identifier(f"urn:uuid:{alert['id']}")],
        "status": _STATUS[alert["status"]],
        "category": [{"coding": [_SECTION]}],
        "code": {"coding": [_REPORT], "text": "Automatic look at the images, not a diagnosis"},
        "subject": _patient(alert),
        "issued": alert["created"],
        "imagingStudy": [_study(alert)],
        "performer": [_device(alert)],
        "result": [{"reference": _own_address(one)} for one in observations],
        "conclusion": f"{about}{': ' + reasons if reasons else ''}. {alert['notice']}",
        "extension": [_extension("urgency", alert["urgency"])],
    }
    if alert["study"]["acquired"]:
        report["effectiveDateTime"] = _moment(alert["study"]["acquired"])
    if alert["supersedes"]:
        report["extension"].append(_extension("supersedes", alert["supersedes"]))
    if not report["result"]:
        del report["result"]
    return report


def _observation(alert: Mapping[str, Any], number: int) -> dict[str, Any]:
    finding = alert["findings"][number]
    code = finding["code"]
    scheme = _SYSTEMS.get(code["scheme"].upper(), f"urn:scanside:scheme:{code['scheme']}")
    coding = {"system": scheme, "code": code["value"], "display": code["meaning"]}
    return {
        "resourceType": "Observation",
        "identifier": [_identifier(f"urn:scanside:finding:{alert['id']}:{number}")],
        "status": _STATUS[alert["status"]],
        "category": [{"coding": [_IMAGING]}],
        "code": {"coding": [coding], "text": finding["label"]},
        "subject": _patient(alert),
        "issued": alert["created"],
        "derivedFrom": [_study(alert)],
        "device": _device(alert, finding["model"]),
        "valueQuantity": {
            "value": finding["probability"],
            "unit": "probability",
            "system": "http://unitsofmeasure.org",
            "code": "1",
        },
        "interpretation": [_interpretation(finding)],
        "referenceRange": [
            {
                "low": {"value": finding["threshold"]},
                "text": "flagged from this probability on",
            }
        ],
        "note": [{"text": alert["notice"]}],
    }


def _interpretation(finding: Mapping[str, Any]) -> dict[str, Any]:
    if finding["flagged"]:
        positive = {"system": _INTERPRETATION, "code": "POS", "display": "Positive"}
        return {"coding": [positive], "text": "flagged: a suggestion to look sooner"}
    if finding["abstained"]:
        unsure = {"system": _INTERPRETATION, "code": "IND", "display": "Indeterminate"}
        return {"coding": [unsure], "text": "the model says nothing either way"}
    return {"text": "not flagged, which is not a statement that it is absent"}


def _patient(alert: Mapping[str, Any]) -> dict[str, Any]:
    identity = alert["patient"]["identity"]
    if identity:
        system = f"urn:scanside:issuer:{identity['issuer'] or alert['site']}"
        return {
            "type": "Patient",
            "identifier": {"system": system, "value": identity["patient_id"]},
        }
    system = f"urn:scanside:pseudonym:{alert['site']}:{alert['device']}"
    value = alert["patient"]["pseudonym"]
    return {"type": "Patient", "identifier": {"system": system, "value": value}}


def _study(alert: Mapping[str, Any]) -> dict[str, Any]:
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{alert['study']['study_uid']}"}
    return {"type": "ImagingStudy", "identifier": identifier}


def _device(alert: Mapping[str, Any], model: str = "") -> dict[str, Any]:
    identifier = {
        "system": "urn:scanside:device",
        "value": f"{alert['site']}/{alert['device']}",
    }
    device: dict[str, Any] = {"type": "Device", "identifier": identifier}
    versions = {one["name"]: one["version"] for one in alert["model"]}
    if model in versions:
        device["display"] = f"Scanside, {model} {versions[model]}"
    return device


def _identifier(value: str) -> dict[str, Any]:
    return {"system": "urn:ietf:rfc:3986", "value": value}


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["identifier"][0]["value"])


def _own_address(resource: Mapping[str, Any]) -> str:
    name = _name(resource)
    return name if name.startswith("urn:uuid:") else f"urn:scanside:{name.rsplit('finding:')[-1]}"


def _extension(name: str, value: str) -> dict[str, Any]:
    return {"url": f"urn:scanside:{name}", "valueString": value}


def _moment(text: str) -> str:
    """Return a moment as FHIR takes it: a time needs a zone, without one the day is left."""
    has_zone = text.endswith("Z") or "+" in text[10:] or "-" in text[10:]
    return text if has_zone else text[:10]


def _check_answer(body: bytes) -> None:
    """Raise `HandOnError` when the server did not take every resource."""
    try:
        entries = json.loads(body)["entry"]
        states = [str(one["response"]["status"]) for one in entries]
    except (ValueError, KeyError, TypeError) as error:
        msg = "the FHIR server's answer is no transaction-response"
        raise HandOnError(msg) from error
    refused = [state for state in states if not state.startswith("2")]
    if refused:
        msg = f"the FHIR server refused a resource: {refused[0][:40]}"
        raise HandOnError(msg)
