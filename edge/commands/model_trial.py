"""``scanside models try``: one input through the engine that serves a model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edge.alerts.message import NOTICE
from edge.analysis.trial import Answer, NothingJudged, answers, input_of
from edge.commands.arguments import CommandError, config_to_look
from edge.imaging.conform import CannotConform, conform
from edge.imaging.nifti import UnreadableVolume, read_nifti
from edge.imaging.pair import pair
from edge.imaging.pixels import Limits, Slice, UnreadableInstance, decode
from edge.imaging.registration import CannotAlign, align
from edge.imaging.volume import NoVolume, Volume, assemble
from edge.packages import Shelf
from engines import ModelPackage, serve


def read_volume(file: Path, package: ModelPackage) -> NDArray[np.float32]:
    """Read one volume as a package's input, (channels, depth, height, width)."""
    if package.prior is not None:
        raise CommandError(
            f"{package.name} compares two studies: give `models try` the earlier one with --prior, "
            "and `models checkset` an npz."
        )
    try:
        volume = _volume(file)
        return conform(volume.voxels, volume.affine, package.input)
    except (CannotConform, UnreadableVolume) as error:
        raise CommandError(str(error)) from error


def read_pair(file: Path, earlier: Path, package: ModelPackage) -> NDArray[np.float32]:
    """Read two volumes as the input of a package that compares two studies."""
    if package.prior is None:
        raise CommandError(f"{package.name} looks at one study: leave --prior out.")
    try:
        current, prior = _volume(file), _volume(earlier)
        alignment = align(current, prior, least=package.prior.least_similarity)
        return pair(current, prior, alignment, package.input)
    except (CannotAlign, CannotConform, UnreadableVolume) as error:
        raise CommandError(str(error)) from error


def _volume(place: Path) -> Volume:
    """Read a NIfTI file, or the series in a folder."""
    if not place.is_dir():
        return Volume(*read_nifti(place))
    try:
        return assemble(_slices(place))
    except NoVolume as error:
        raise CommandError(
            f"{place}: the images make no volume: {error}. Give it a folder with every slice of "
            "one series and nothing else."
        ) from error


def try_model(options: argparse.Namespace) -> int:
    """Print what a model says of one input; raises `CommandError` where it cannot be read."""
    config = config_to_look(options)
    shelf = Shelf.of(config)
    found = shelf.find(options.name)
    if found.package is None:
        raise CommandError(found.problem)
    if options.prior is None:
        inputs = _inputs(options.file, found.package)
    else:
        inputs = read_pair(options.file, options.prior, found.package)[None]
    serving = serve(found.folder, shelf.store, threads=config.analysis.threads)
    with closing(serving.engine) as engine:
        began = time.perf_counter()
        said = answers(engine, serving.package, inputs)
        spent = time.perf_counter() - began
        runs = f"{engine.name} {engine.precision}"
    if options.json:
        print(json.dumps([asdict(one) for one in said], indent=2))
        return 0
    for note in serving.notes:
        print(note)
    shape = " x ".join(map(str, inputs.shape))
    print(f"{found.name} {serving.package.version} on {runs}: {shape} in {spent:.1f} s")
    _print(said)
    return 0


def _print(said: tuple[Answer, ...]) -> None:
    table = Table("finding", "value", "", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for one in said:
        value = f"{one.value:.1f}" if one.unit else f"{one.value:.3f}"
        bounds = "" if one.bounds is None else f" ({one.bounds[0]:.1f} to {one.bounds[1]:.1f})"
        table.add_row(one.label, value, one.unit, f"{one.verdict}{bounds}")
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(NOTICE)


def _inputs(file: Path, package: ModelPackage) -> NDArray[np.float32]:
    from engines.checkset import read_inputs  # noqa: PLC0415  # only for an npz

    if file.is_dir() and not package.volumes:
        try:
            return input_of(package, _slices(file))
        except NothingJudged as error:
            raise CommandError(f"{file}: {error}.") from error
    if file.suffix == ".npz":
        held = read_inputs(file, package)[0]
        return held.astype(np.float32) / np.float32(255) if held.dtype == np.uint8 else held
    if not package.volumes:
        raise CommandError(
            f"{package.name} takes slices: give it a folder of one DICOM series, or an npz with "
            f"{package.input.tensor!r}."
        )
    return read_volume(file, package)[None]


def _slices(folder: Path) -> list[Slice]:
    files = sorted(one for one in folder.iterdir() if one.is_file())
    read = [_decoded(file) for file in files]
    slices = [image for images in read for image in images]
    unread = sum(not images for images in read)
    if not slices:
        raise CommandError(f"{folder}: none of {unread} files is a DICOM image that can be read.")
    if unread:
        # Not among the answers: standard output may be JSON.
        print(
            f"scanside: {unread} of {len(files)} files are left out: they are no readable DICOM "
            "images.",
            file=sys.stderr,
        )
    return slices


def _decoded(file: Path) -> tuple[Slice, ...]:
    try:
        return decode(file.read_bytes(), limits=Limits())
    except UnreadableInstance:
        return ()
