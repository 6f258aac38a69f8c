"""Which models look at a series, if any. A wrong model is worse than none, so all must fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.alerts.topics import URGENCIES
from engines import ModelPackage, PriorSpec, Route


@dataclass(frozen=True, slots=True)
class SeriesAbout:
    """What of a series chooses its models.

    Parameters
    ----------
    modality, body_part : str
        DICOM (0008,0060) and (0018,0015), upper case; empty when unknown.
    descriptions : tuple of str
        Study and series description, protocol name.
    age_years, slice_thickness_mm : float or None
        Of the patient; (0018,0050).
    view : str
        View Position (0018,5101), upper case; empty when unknown.
    acquired : str or None
        When the images were made, RFC 3339.
    """

    modality: str
    body_part: str
    descriptions: tuple[str, ...]
    age_years: float | None
    slice_thickness_mm: float | None
    view: str
    acquired: str | None

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> SeriesAbout:
        """Read what the store kept of a series."""
        return cls(
            modality=about["modality"],
            body_part=about["body_part"],
            descriptions=tuple(about["descriptions"]),
            age_years=about["age_years"],
            slice_thickness_mm=about["slice_thickness_mm"],
            view=about["view"],
            acquired=about["acquired"] or None,
        )


def choose(
    about: SeriesAbout,
    packages: Sequence[ModelPackage],
    comparable: Callable[[PriorSpec], bool] = lambda _: False,
) -> tuple[ModelPackage, ...]:
    """Return the packages that look at a series: those with a route that fits, but of a kind one.

    Of the models that judge slices the first, and of those that measure a volume: two of a kind
    would answer one question twice. And each that compares two studies, where `comparable` finds
    an earlier series for it.

    Parameters
    ----------
    about : SeriesAbout
        Of the series.
    packages : sequence of ModelPackage
        In order of preference.
    comparable : callable
        Returns whether there is an earlier series as a two-study package wants it.
    """
    fit = [one for one in packages if any(fits(about, route) for route in one.routes)]
    judging = [one for one in fit if one.prior is None and not one.volumes]
    measuring = [one for one in fit if one.prior is None and one.volumes]
    comparing = [one for one in fit if one.prior is not None and named(about, one.prior)]
    return (
        *judging[:1],
        *measuring[:1],
        *(one for one in comparing if one.prior is not None and comparable(one.prior)),
    )


def named(about: SeriesAbout, prior: PriorSpec) -> bool:
    """Return whether a series is called what a two-study package compares."""
    return bool(re.search(prior.description, " ".join(about.descriptions), re.IGNORECASE))


def fits(about: SeriesAbout, route: Route) -> bool:
    """Return whether a series is what a route asks for.

    The description decides only where the scanner gave no body part. An age or thickness
    that is unknown is not held against a series. A view must be known where one is asked for:
    a model of frontal images knows nothing of a lateral one.
    """
    if about.modality != route.modality:
        return False
    if route.views and about.view not in route.views:
        return False
    if about.body_part:
        if route.body_parts and about.body_part not in route.body_parts:
            return False
    elif route.body_parts or route.description:
        text = " ".join(about.descriptions)
        if not route.description or not re.search(route.description, text, re.IGNORECASE):
            return False
    return _within(about.age_years, route.min_age, route.max_age) and _within(
        about.slice_thickness_mm, route.min_slice_thickness_mm, route.max_slice_thickness_mm
    )


def _within(value: float | None, least: float | None, most: float | None) -> bool:
    if value is None:
        return True
    return (least is None or value >= least) and (most is None or value <= most)


def most_urgent(package: ModelPackage) -> str:
    """Return the urgency of the gravest that a model can flag."""
    flags = (one.urgency for one in package.findings if one.reliable)
    return min(flags, key=URGENCIES.index, default="routine")
