"""The demo as a user runs it: three modalities through the whole chain, each told of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ENOUGH_S = 180
_QUICK = ("--once", "--slices", "16", "--rate", "40")


def test_the_demo_sends_three_modalities_and_says_what_came_of_each(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", *_QUICK, "--report", str(figures)],
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
        check=False,
        env={**os.environ, "COLUMNS": "80", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(figures.read_text(encoding="utf-8"))["studies"]
    assert [row["modality"] for row in rows] == ["CT", "DX", "MR", "CT", "DX", "DX"]
    assert [row["model"] for row in rows] == [
        ["head-ct-hemorrhage"],
        ["chest-xray-findings-adults"],
        ["brain-mri-tumour"],
        ["head-ct-hemorrhage"],
        ["chest-xray-pneumonia-children"],
        [],
    ]
    assert all(row["received_at_central"] and row["signature_ok"] for row in rows)
    assert rows[0]["outcome"] == "flagged"
    assert rows[-1]["outcome"] == "not_analysed"
    assert rows[-1]["reasons"] == ["no model for this kind of study"]
    assert "drawings, not patients" in " ".join(done.stdout.split())
    assert [one.name for one in tmp_path.iterdir()] == ["figures.json"], "it leaves nothing behind"
