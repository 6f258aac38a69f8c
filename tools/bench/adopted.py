"""Models that nobody here made, as packages: what docs/models.md does by command, at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from edge.imaging.conform import conform
from edge.imaging.nifti import read_nifti
from engines import ModelPackage, load_package
from engines.checkset import crops, write_check_set
from engines.draft import draft, read_answers, read_labels, to_toml
from engines.interview import interview

_ROOT = Path(__file__).parents[2]
_SHARED = _ROOT.parent / "shared"
_HEAD = _SHARED / "data" / "brain-mri" / "t1.nii.gz"


def adopted(folder: Path, *, most: int | None = None) -> Iterator[ModelPackage]:
    """Write a package for each model of ../shared/models whose answers are in docs/models.

    Parameters
    ----------
    folder : pathlib.Path
        Where the packages go.
    most : int, optional
        How many models at most, the smaller ones first.

    Yields
    ------
    ModelPackage
        With a check set of crops of a real head; none where ../shared is absent.
    """
    if not _HEAD.is_file():
        return
    written = (_ROOT / "docs" / "models").glob("*.toml")
    pairs = [(answers, _SHARED / "models" / f"{answers.stem}.onnx") for answers in written]
    there = [pair for pair in pairs if pair[1].is_file()]
    for answers, model in sorted(there, key=lambda pair: pair[1].stat().st_size)[:most]:
        place = folder / answers.stem
        place.mkdir(parents=True)
        shutil.copyfile(model, place / "model.onnx")
        labels = read_labels(model.with_name(f"{model.stem}-labels.csv"))
        tables = draft(interview(model), answers.stem, labels, read_answers(answers))
        (place / "model.toml").write_text(to_toml(tables, model.name), encoding="utf-8")
        package = load_package(place)
        write_check_set(package, list(crops(conform(*read_nifti(_HEAD), package.input))))
        yield load_package(place)
