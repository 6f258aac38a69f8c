"""The fused kernel's arithmetic: against OpenCV, and its own source against the specification."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_on_cpu import Place, built
from numpy.typing import NDArray

from edge.imaging.prepare import fit, prepare
from engines.cuda.fused import BLOCK, PIXELS, SOURCE, refusal, sizes_of, tables_of
from engines.cuda.recipe import TOLERANCE, Recipe, reference
from engines.cuda.resampling import method_for, taps

WINDOWS = ((40.0, 120.0), (700.0, 3200.0))
Array = NDArray[Any]

# Source, frame: halves, odd ratios, an image that grows, one that keeps its size, thin ones, and
# one whose pixels are so far from square that it grows along one axis alone.
SHAPES = [
    ((512, 512), (160, 160), None),
    ((512, 512), (256, 256), None),
    ((100, 100), (100, 100), None),
    ((61, 47), (160, 160), None),
    ((300, 500), (160, 200), None),
    ((513, 257), (97, 131), (0.7, 0.9)),
    ((7, 400), (64, 64), None),
    ((400, 60), (128, 128), (0.5, 2.5)),
    ((1, 1), (16, 16), None),
    ((64, 64), (1, 1), None),
]


def stack_of(shape: tuple[int, int], *, slices: int = 2, dtype: Any = np.int16) -> Array:
    rng = np.random.default_rng(11)
    smooth = np.add.outer(np.linspace(-300, 900, shape[0]), np.linspace(0, 400, shape[1]))
    stored = smooth + rng.normal(0, 200, (slices, *shape)) + 1024
    stack: Array = np.clip(stored, 0, 4095).astype(dtype)
    return stack


def recipe_for(
    shape: tuple[int, int], frame: tuple[int, int], spacing: tuple[float, float] | None
) -> Recipe:
    fitted = fit(shape, height=frame[0], width=frame[1], spacing=spacing)
    return Recipe(*shape, fitted, *frame, WINDOWS)


LINES = np.array([[1.0, -1024.0], [1.1, -1000.5]], np.float32)


@pytest.mark.parametrize(("shape", "frame", "spacing"), SHAPES)
def test_the_specification_agrees_with_opencv(
    shape: tuple[int, int], frame: tuple[int, int], spacing: tuple[float, float] | None
) -> None:
    stack = stack_of(shape)
    ours = reference(stack, LINES, recipe_for(shape, frame, spacing))
    for number, (slope, intercept) in enumerate(LINES):
        pixels = stack[number].astype(np.float32) * slope + intercept
        theirs = prepare(pixels, windows=WINDOWS, height=frame[0], width=frame[1], spacing=spacing)
        assert float(np.abs(ours[number] - theirs).max()) <= TOLERANCE
    assert float(ours.max()) > 0.3


@pytest.mark.parametrize(
    ("source", "target", "method"),
    [
        ((512, 512), (160, 160), "area"),
        ((100, 100), (160, 160), "linear"),
        ((100, 100), (100, 100), "linear"),
        ((400, 40), (50, 64), "area-growing"),
    ],
)
def test_what_shrinks_is_averaged_and_what_grows_is_interpolated(
    source: tuple[int, int], target: tuple[int, int], method: str
) -> None:
    assert method_for(source, target) == method


@pytest.mark.parametrize("target", [1, 3, 7, 97, 160, 400])
def test_every_target_pixel_is_a_weighted_mean_of_pixels_that_exist(target: int) -> None:
    for source in (1, 5, 160, 333):
        table = taps(source, target, "area" if target <= source else "linear")
        np.testing.assert_allclose(table.weights.sum(1), 1, atol=2.1e-3 if target <= source else 0)
        assert table.first.min() >= 0
        assert (table.first + table.count).max() <= source
        assert not table.weights[np.arange(table.weights.shape[1]) >= table.count[:, None]].any()


def test_normalising_comes_last_and_reaches_the_rim() -> None:
    stack = stack_of((40, 80))
    plain = recipe_for((40, 80), (32, 32), None)
    normal = Recipe(40, 80, plain.fitted, 32, 32, WINDOWS, ((0.5, 0.25), (0.0, 2.0)))
    before, after = (reference(stack, LINES, recipe) for recipe in (plain, normal))
    np.testing.assert_array_equal(after[:, 0], (before[:, 0] - np.float32(0.5)) * np.float32(4))
    np.testing.assert_array_equal(after[:, 1], before[:, 1] * np.float32(0.5))
    assert (after[:, 0, 0] == -2).all()  # the rim holds 0, normalised like everything


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"fitted": (41, 10)},
        {"windows": ()},
        {"windows": ((40.0, 0.0),)},
        {"normal": ((0.5, 0.0),)},
        {"normal": ((0.5, 1.0), (0.5, 1.0))},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "rows": 8,
        "columns": 8,
        "fitted": (40, 40),
        "height": 40,
        "width": 40,
        "windows": ((40.0, 80.0),),
    }
    with pytest.raises(ValueError, match=r"[a-z]"):
        Recipe(**{**good, **change})


def test_a_stack_that_does_not_fit_its_recipe_is_named() -> None:
    recipe = recipe_for((8, 8), (16, 16), None)
    lines = np.ones((2, 2), np.float32)
    assert refusal(np.zeros((2, 8, 8), np.int16), lines, recipe) is None
    for stack, said in (
        (np.zeros((2, 8, 8), np.int64), "a stack of int64"),
        (np.zeros((2, 8, 9), np.int16), "expected slices of 8 x 8"),
        (np.zeros((3, 8, 8), np.int16), r"came as (2, 2) for 3 slices"),
        (np.zeros((0, 8, 8), np.int16), "at least one"),
    ):
        assert said in (refusal(stack, lines, recipe) or "")


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Array, Array, Recipe], Array]:
    """The kernel's own source as C++."""
    library = built(tmp_path_factory.mktemp("kernel"))

    def run(stack: Array, lines: Array, recipe: Recipe) -> Array:
        shape = (len(stack), len(recipe.windows), recipe.height, recipe.width)
        planes = np.full(shape, np.nan, np.float32)
        held = [np.ascontiguousarray(stack), lines, *tables_of(recipe), planes]
        at = (ctypes.c_void_p * len(held))(*[array.ctypes.data for array in held])
        grid = Place(
            -(-recipe.width // BLOCK[0]), -(-recipe.height // BLOCK[1]), np.prod(shape[:2])
        )
        pixel = PIXELS.index(stack.dtype.name)
        library.run(pixel, grid, Place(*BLOCK), at, sizes_of(stack, recipe))
        return planes

    return run


@pytest.mark.parametrize("dtype", PIXELS)
@pytest.mark.parametrize(("shape", "frame", "spacing"), SHAPES)
def test_the_kernel_s_own_source_gives_the_specification_s_bits(
    on_cpu: Callable[[Array, Array, Recipe], Array],
    dtype: str,
    shape: tuple[int, int],
    frame: tuple[int, int],
    spacing: tuple[float, float] | None,
) -> None:
    stack = stack_of(shape, dtype=dtype)
    recipe = recipe_for(shape, frame, spacing)
    np.testing.assert_array_equal(on_cpu(stack, LINES, recipe), reference(stack, LINES, recipe))


def test_normalised_planes_have_the_specification_s_bits_too(
    on_cpu: Callable[[Array, Array, Recipe], Array],
) -> None:
    stack = stack_of((90, 120), slices=2)
    recipe = Recipe(90, 120, (48, 64), 50, 70, WINDOWS, ((0.449, 0.226), (0.5, 0.3)))
    np.testing.assert_array_equal(on_cpu(stack, LINES, recipe), reference(stack, LINES, recipe))


@pytest.mark.parametrize("architecture", ["sm_87", "sm_90", "sm_120"])
def test_nvidia_s_compiler_takes_the_kernel_and_fuses_nothing(
    architecture: str, tmp_path: Path
) -> None:
    """SM 87 is a Jetson Orin. A fused multiply-add would round once where OpenCV rounds twice."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("nvcc is not installed: the kernel cannot be compiled for a GPU")
    target = tmp_path / "prepare.ptx"
    command = [compiler, "-ptx", f"-arch={architecture}", "-o", str(target), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "is not defined for option" in done.stderr:
        pytest.skip(f"this nvcc does not know {architecture}")
    assert done.returncode == 0, done.stderr
    text = target.read_text(encoding="utf-8")
    assert all(f".entry prepare_{name}(" in text for name in PIXELS)
    assert "fma.rn.f32" not in text
    assert "mul.rn.f32" in text
