"""The figures of each shipped package come again from the images, by `scanside-train eval`."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import load_package, shipped_packages
from tools.train import evaluating, plan_file

DATA = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = {
    "head-ct-hemorrhage": "head-ct",
    "chest-xray-pneumonia-children": "chest-xray-pneumonia",
    "chest-xray-findings-adults": "chest-xray",
    "brain-mri-tumour": "brain-mri-tumor",
}
# Where the package itself is asked, another machine sums in another order.
APART = 2e-3


@pytest.mark.parametrize("name", FOLDERS)
def test_the_figures_that_a_package_states_are_measured_again(name: str) -> None:
    folder = DATA / FOLDERS[name]
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the images are not part of the project")
    plan, package = plan_file.read(name), load_package(shipped_packages() / name)
    report = evaluating.run(plan, package, folder, threads=1)
    found = {}
    for one in report.figures:
        level = "image" if plan.words.unit == "image" else one.level
        if not one.group and (one.level == "study" or level == "slice"):
            found[f"{one.finding}: {level} {one.name}"] = one.interval
    assert set(found) == {one.figure for one in package.measured}
    for stated in package.measured:
        again = found[stated.figure]
        assert (again.value, again.low, again.high) == pytest.approx(
            (stated.value, stated.low, stated.high), abs=APART
        ), stated.figure
        assert again.n == stated.n
