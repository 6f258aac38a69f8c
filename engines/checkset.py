"""Make a package's check set: inputs, what FP32 says of them, and where known what is there.

For volumes it holds crops, cubes of a few centimetres around the middle of what there is, because
a whole one would be hundreds of megabytes; and of their answers only the classes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path

import numpy as np

from engines.aggregate import segment
from engines.durable import replace_file
from engines.manifest import PACKAGE_FILE, ModelPackage
from engines.package import PackageError
from engines.parity import LABELS
from engines.runtime.protocol import Array
from engines.serving import load_engine

CROP = 48
_CROPS = 4
CHECK_FILE = "check.npz"


def read_inputs(file: Path, package: ModelPackage) -> tuple[Array, Array | None]:
    """Read inputs, and labels where there are any, from an npz.

    Returns
    -------
    inputs : ndarray, shape (n, channels, ...)
        float32, or uint8 that stands for value / 255.
    labels : ndarray of int, shape (n, findings), or None

    Raises
    ------
    PackageError
        If the file is no npz, lacks the input tensor, or its shape is not the package's.
    """
    name = package.input.tensor
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            inputs, labels = held[name], held.get(LABELS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PackageError(f"{file}: not an npz with {name!r}: {error}") from error
    wanted = (package.input.channels, *package.input.sizes)
    fits = inputs.ndim == len(wanted) + 1 and inputs.shape[1] == wanted[0]
    if package.input.depth is None:
        fits = fits and inputs.shape[1:] == wanted
    if not fits or len(inputs) == 0 or inputs.dtype not in (np.float32, np.uint8):
        raise PackageError(
            f"{file}: {name!r} is {inputs.dtype} {inputs.shape}; expected float32 or uint8 "
            f"(n, {', '.join(map(str, wanted))})."
        )
    return inputs, labels


def crops(volume: Array) -> Array:
    """Return cubes of a volume, around the middle of what is not 0.

    Parameters
    ----------
    volume : ndarray of float32, shape (channels, depth, height, width)

    Returns
    -------
    ndarray of float32, shape (n, channels, 48, 48, 48)
        Smaller along an axis that is; always of the same places.
    """
    sizes = np.array(volume.shape[1:])
    inside = np.argwhere(volume[0] > 0)
    middle = inside.mean(axis=0) if len(inside) else sizes / 2
    edge = np.minimum(CROP, sizes)
    # Corners of a tetrahedron: left and right, front and back, above and below, in four cubes.
    corners = [one for one in product((-1, 1), repeat=3) if np.prod(one) == 1][:_CROPS]
    starts = [
        np.clip(np.rint(middle + np.array(one) * edge / 3 - edge / 2), 0, sizes - edge).astype(int)
        for one in corners
    ]
    cubes = []
    for at in starts:
        depth, height, width = map(slice, at, at + edge)
        cubes.append(volume[:, depth, height, width])
    return np.stack(cubes)


def write_check_set(
    package: ModelPackage, inputs: Sequence[Array], labels: Array | None = None, *, threads: int = 1
) -> Path:
    """Have FP32 answer, write the check set into the package's folder, and name it there.

    Parameters
    ----------
    package : ModelPackage
        Its folder must be writable.
    inputs : sequence of ndarray
        Each (channels, ...), as the package's input; crops of volumes. float32, or uint8 that
        stands for value / 255.
    labels : ndarray of int, shape (n, findings), optional
    threads : int
        For ONNX Runtime.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    PackageError
        If ``model.toml`` cannot be changed.
    EngineError
        If the model cannot run the inputs.
    """
    held = np.stack(inputs)
    answers = []
    with closing(load_engine(package, threads=threads)) as engine:
        for one in held:
            scaled = one.astype(np.float32) / np.float32(255) if one.dtype == np.uint8 else one
            found = engine.infer({package.input.tensor: scaled[None]})[package.output.tensor][0]
            answers.append(segment(found) if package.volumes else found)
    arrays = {package.input.tensor: held, package.output.tensor: np.stack(answers)}
    if labels is not None:
        arrays[LABELS] = labels
    file = package.path / CHECK_FILE
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are the arrays'
    if package.check_set != file:
        _name_in(package.path / PACKAGE_FILE)
    return file


def _name_in(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    without = re.sub(r"(?m)^check_set\s*=.*\n?", "", text)
    changed, count = re.subn(
        r"(?m)^\[checks\][^\n]*$", f'[checks]\ncheck_set = "{CHECK_FILE}"', without, count=1
    )
    if not count:
        raise PackageError(f'{file}: add check_set = "{CHECK_FILE}" to [checks] by hand.')
    replace_file(file, changed.encode())
