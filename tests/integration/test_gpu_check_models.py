"""Without a GPU the GPU check still takes a model that nobody here made as far as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import MESHNETS, meshnet_file

from engines.build.plan import MODULES
from engines.gpu import gpu_here
from tools.gpu_check import third_party
from tools.gpu_check.machine import look

T1 = Path("data", "brain-mri", "t1.nii.gz")


@pytest.mark.skipif(gpu_here() is not None, reason="a GPU is here; tools/gpu_check.sh runs on it")
def test_a_meshnet_is_made_a_package_and_each_part_says_why_it_did_not_run(tmp_path: Path) -> None:
    model = meshnet_file(MESHNETS[0])
    shared = model.parent.parent
    if not (shared / T1).is_file():
        pytest.skip(f"{shared / T1} is not here")
    models = tmp_path / "models"
    models.mkdir()
    for file in (model, model.with_name(f"{model.stem}-labels.csv")):
        (models / file.name).symlink_to(file.resolve())
    (tmp_path / "data").symlink_to((shared / "data").resolve())

    machine = look()
    missing, *parts = third_party.every(machine, tmp_path / "made", models, quick=True)

    assert missing.said == f"{models / MESHNETS[1]} is not here."
    assert [part.name for part in parts] == [
        f"{model.stem}, {precision}, {module}"
        for precision in ("fp32", "fp16", "int8")
        for module in MODULES
    ]
    for part in parts:
        assert part.state == "could not run"
        if machine.installed["tensorrt_rtx"] and part.name.endswith("tensorrt_rtx"):
            assert "no GPU here; it was built for SM89 to see that it can be" in part.said
            (size,) = part.rows
            assert size.value is not None
            assert size.value > 0.1
        elif not any(machine.installed[module] for module in MODULES):
            assert "is not installed" in part.said
