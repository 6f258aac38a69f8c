"""From what a header says to what the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from edge.imaging.geometry import slice_position
from edge.imaging.header import Header, Identity
from edge.imaging.screen import set_aside
from edge.store.records import Arrival


def arrival_of(
    header: Header,
    identity: Identity,
    pseudonym: Callable[[str, str], str],
    first_byte: float,
    last_byte: float,
) -> Arrival:
    """Return what the store needs to know of an instance.

    Parameters
    ----------
    header, identity
        As read from the instance.
    pseudonym : callable
        Makes a keyed pseudonym from issuer and patient ID.
    first_byte, last_byte : float
        When it came, seconds since the epoch.
    """
    aside = set_aside(header)
    position = (
        slice_position(header.position, header.orientation)
        # Many frames are a stack of their own, which comes whole.
        if header.position is not None and header.orientation is not None and header.frames == 1
        else None
    )
    return Arrival(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        instance_uid=header.instance_uid,
        pseudonym=pseudonym(identity.issuer, identity.patient_id),
        identity=asdict(identity),
        about=about(header),
        set_aside=None if aside is None else aside.text,
        position_mm=position,
        announced=header.series_instances or header.images_in_acquisition,
        acquisition=None if header.series_instances else header.acquisition_number,
        first_byte=first_byte,
        last_byte=last_byte,
    )


def about(header: Header) -> dict[str, object]:
    """Return what routes a series to a model, as JSON."""
    return {
        "modality": header.modality,
        "body_part": header.body_part,
        "descriptions": list(header.descriptions),
        "age_years": header.patient_age_years,
        "slice_thickness_mm": header.slice_thickness_mm,
        "view": header.view_position,
        "acquired": header.acquired,
    }
