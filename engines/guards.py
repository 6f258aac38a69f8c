"""What a model is held to, as `model.toml` says it: what it knows, sees whole, compares with."""

from __future__ import annotations

import re

from engines.fields import Table
from engines.manifest import CoverageSpec, FamiliarSpec, PriorSpec


def familiar(table: Table) -> FamiliarSpec:
    """Read ``[familiar]``."""
    spec = FamiliarSpec(table.text("output", longest=256), table.number("limit", 0, 1e6))
    table.close()
    return spec


def coverage(table: Table) -> CoverageSpec:
    """Read ``[coverage]``."""
    spec = CoverageSpec(table.number("least_section", 0, 1), table.flag("axial", default=False))
    table.close()
    return spec


def prior(table: Table) -> PriorSpec:
    """Read ``[prior]``."""
    pattern = table.text("description")
    try:
        re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise table.refuse("description", f"a regular expression ({error})") from error
    spec = PriorSpec(
        pattern,
        table.number("least_similarity", 0, 1),
        table.number("least_days", 0, 36_525),
    )
    table.close()
    return spec


def swept(table: Table) -> tuple[float, float]:
    """Read a finding's ``sweep``."""
    strict, lax = table.pair("sweep", -1000, 1000)
    if not lax <= 0 <= strict:
        raise table.refuse("sweep", "[strict, lax] around 0, as in [2.0, -1.0]")
    return strict, lax
