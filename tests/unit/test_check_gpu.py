"""``scanside check`` says what would run models, what is missing for the GPU, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.check import accelerator
from edge.grades import Grade
from engines.gpu import Gpu
from engines.stack import Stack, stack_here

ORIN = Gpu("Orin", "SM87")
RUNTIMES = ("tensorrt 10.3.0",)
NO_PYCUDA = "pycuda cannot be imported (No module named 'pycuda')"
NO_TENSORRT = "tensorrt cannot be imported (No module named 'tensorrt'). It comes with JetPack"


@pytest.mark.parametrize(
    ("stack", "grade", "text", "advice"),
    [
        (
            Stack(True, ORIN, RUNTIMES, "2026.1", ()),
            Grade.GOOD,
            "Orin (SM87), tensorrt 10.3.0, pycuda 2026.1",
            "",
        ),
        (
            Stack(True, ORIN, RUNTIMES, "", (NO_PYCUDA,)),
            Grade.WARNING,
            f"Orin (SM87) is not used, models run on the processor: {NO_PYCUDA}",
            "Type: tools/setup.sh run --gpu",
        ),
        (
            Stack(False, ORIN, (), "", (NO_TENSORRT, NO_PYCUDA)),
            Grade.WARNING,
            f"Orin (SM87) is not used, models run on the processor: {NO_TENSORRT}; {NO_PYCUDA}",
            "Type: tools/setup.sh run --gpu",
        ),
        (
            Stack(True, None, RUNTIMES, "2026.1", ()),
            Grade.WARNING,
            "this is a Jetson, and its GPU does not answer this user",
            "Ask as the service's user, who must be in the groups video and render",
        ),
        (
            Stack(False, None, (), "", (NO_TENSORRT, NO_PYCUDA)),
            Grade.GOOD,
            "none: models run on the processor",
            "",
        ),
        (
            Stack(False, None, ("tensorrt_rtx 1.7.1",), "", (NO_PYCUDA,)),
            Grade.GOOD,
            "none: models run on the processor; tensorrt_rtx 1.7.1 can build engines here",
            "",
        ),
    ],
)
def test_the_gpu_is_told_in_plain_words(stack: Stack, grade: Grade, text: str, advice: str) -> None:
    found = accelerator(stack)
    assert (found.name, found.grade, found.text) == ("gpu", grade, text)
    assert found.advice.startswith(advice)
    assert bool(found.advice) is bool(advice)


def test_a_jetson_is_known_by_its_release_and_what_is_missing_is_said(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    assert not stack_here(release).jetson
    release.write_text("# R36 (release), REVISION: 4.3", encoding="utf-8")
    found = stack_here(release)
    assert found.jetson
    assert len(found.runtimes) + len(found.problems) + bool(found.pycuda) == 3
