"""Model packages, findings and series made up for tests of what is said about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.alerts.decision import ModelResult, SeriesFinding, SeriesResult, SeriesVolume
from engines import Aggregate, Code, FindingSpec, InputSpec, ModelPackage, Route

BLEED = FindingSpec(
    code=Code("SCT", "1386000", "Intracranial hemorrhage"),
    label="Hemorrhage",
    output=0,
    calibration=(1.0, 0.0),
    threshold=0.5,
    abstain=(0.4, 0.6),
    urgency="critical",
)
FRACTURE = replace(
    BLEED,
    code=Code("SCT", "71642004", "Fracture of skull"),
    label="Fracture",
    output=1,
    urgency="urgent",
)
HEAD_CT = Route("CT", ("HEAD", "BRAIN"), "head|brain", 18.0, None, None, 10.0)


def package(name: str = "head-ct", **changes: Any) -> ModelPackage:
    """Return a package that looks for a bleed and a fracture; `changes` are its fields."""
    made = ModelPackage(
        name=name,
        version="1.0.0",
        digest="ab" * 32,
        path=Path("/nowhere"),
        intended_use="tests",
        limits="tests",
        licence="Apache-2.0",
        training_data="none",
        measured=(),
        input=InputSpec("slices", 64, 64, ((40.0, 80.0),), 1),
        routes=(HEAD_CT,),
        findings=(BLEED, FRACTURE),
        aggregate=Aggregate("max"),
        parity_tolerance=0.01,
        check_set=None,
    )
    return replace(made, **changes)


def finding(
    probability: float, spec: FindingSpec = BLEED, *, key_instance: int | None = 1
) -> SeriesFinding:
    """Return what was found of one thing."""
    return SeriesFinding(spec, probability, key_instance)


def series(
    *findings: SeriesFinding,
    volumes: tuple[SeriesVolume, ...] = (),
    model: ModelPackage | None = None,
    reason: str | None = None,
    is_image: bool = True,
    **changes: Any,
) -> SeriesResult:
    """Return one head CT series; with findings or volumes it was analysed by one model."""
    looked = ModelResult(model or package(), findings, volumes)
    made = SeriesResult(
        series_uid="1.2.3.4",
        modality="CT",
        body_part="HEAD",
        acquired="2024-05-01T10:15:30",
        instances=40,
        evidence="geometry",
        models=(looked,) if looked.analysed else (),
        reasons=() if reason is None else (reason,),
        is_image=is_image,
        doubts=(),
    )
    return replace(made, **changes)
