"""A benchmark's figures: as a table for people, as JSON for comparison over time."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Parameters
    ----------
    metric : str
        Stable name.
    value : float or None
        None: it could not be measured; `note` says why.
    unit : str
    peer : str
        What it is compared with; empty without one.
    peer_value : float or None
    note : str
        How it was measured.
    """

    metric: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None
    note: str = field(default="", kw_only=True)

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        if self.value is None or not self.peer_value:
            return None
        return round(self.value / self.peer_value, 4)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie: nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def as_json(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures as the file holds them."""
    return {
        "name": name,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "processor": _processor(),
            "architecture": platform.machine(),
            "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
            "python": platform.python_version(),
        },
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }


def write(name: str, rows: Sequence[Row], file: Path | None) -> None:
    """Print the table; write the JSON file if one is asked for."""
    table = Table(title=f"scanside-bench {name}")
    for title in ("metric", "value", "unit", "peer", "peer's", "ratio"):
        table.add_column(title, no_wrap=title == "metric")
    for row in rows:
        table.add_row(
            row.metric,
            _shown(row.value),
            row.unit,
            row.peer,
            _shown(row.peer_value),
            _shown(row.ratio),
        )
    # Figures cut short are none: where the terminal is too narrow, lines wrap.
    roomy = Console(width=1000)
    wide = Measurement.get(roomy, roomy.options, table).maximum
    console = Console(highlight=False)
    console.width = max(wide, console.width)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.metric}: {row.note}")
    if file is not None:
        file.write_text(json.dumps(as_json(name, rows), indent=2) + "\n", encoding="utf-8")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
