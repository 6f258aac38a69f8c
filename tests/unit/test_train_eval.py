"""What a package has seen is never measured on it, and a model can be taught what it knows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx.utils
import onnxruntime
import pytest
from numpy.typing import NDArray

from engines import FamiliarSpec, ModelPackage, load_engine, load_package, shipped_packages
from engines.package import digest_of
from tools.train import acquaint, border, checks, cli, distance, judge, strangers

CHILDREN = shipped_packages() / "chest-xray-pneumonia-children"
MODALITIES = {
    "head-ct-hemorrhage": "CT",
    "chest-xray-pneumonia-children": "DX",
    "chest-xray-findings-adults": "DX",
    "brain-mri-tumour": "MR",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six noisy pictures of each class, each of a patient of its own."""
    rng = np.random.default_rng(5)
    for name, stem in (("normal", "IM-{:04d}-0001"), ("bacteria", "person{}_bacteria_1")):
        (tmp_path / name).mkdir()
        for number in range(6):
            picture = rng.integers(0, 255, (64, 64), np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{stem.format(number)}.jpg"), picture)
    (tmp_path / "virus").mkdir()
    return tmp_path


def checked(package: ModelPackage, modality: str) -> NDArray[np.float32]:
    """Return drawn pictures as the package eats them."""
    return np.asarray(checks.pictures(package.input, modality, seed=5) / 255, np.float32)


def evaluate(folder: Path, file: Path, *more: str) -> int:
    return cli.main(
        ["eval", "chest-xray-pneumonia-children", "--data", str(folder), "--json", str(file), *more]
    )


def test_figures_of_any_folder_are_written_with_their_counts(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert evaluate(folder, file) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["pictures"], found["left_out_as_seen"]) == (12, 0)
    assert found["abstained_as_unfamiliar"] == 1.0  # noise is no chest
    row = next(r for r in found["rows"] if (r["finding"], r["level"]) == ("Pneumonia", "study"))
    assert (row["n_pos"], row["n_neg"]) == (6, 6)
    assert row["auc_low"] <= row["auc"] <= row["auc_high"]
    assert {"sensitivity", "specificity_low"} <= set(row)


def test_what_trained_a_package_is_left_out_and_all_of_it_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for file in CHILDREN.iterdir():
        (package / file.name).write_bytes(file.read_bytes())
    seen = sorted(folder.rglob("*.jpg"))
    digests = np.array([hashlib.sha256(file.read_bytes()).hexdigest() for file in seen])
    np.save(package / judge.TRAINED_ON, judge.marks(digests[:2]))
    file = tmp_path / "figures.json"
    assert evaluate(folder, file, "--package", str(package)) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["left_out_as_seen"] == 2
    np.save(package / judge.TRAINED_ON, judge.marks(digests))
    assert evaluate(folder, file, "--package", str(package)) == 1
    assert "nothing to measure it on" in capsys.readouterr().err


def test_answers_out_of_fold_are_measured_where_every_picture_trained_the_package(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for source in CHILDREN.iterdir():
        (package / source.name).write_bytes(source.read_bytes())
    seen = sorted(folder.rglob("*.jpg"), reverse=True)  # kept in any order
    digests = np.array([hashlib.sha256(file.read_bytes()).hexdigest() for file in seen])
    ill = np.array([file.parent.name == "bacteria" for file in seen])
    np.save(package / judge.TRAINED_ON, judge.marks(digests))
    judge.keep_out_of_fold(package, digests, np.stack([ill * 4.0 - 2.0, ill * 0.0], axis=1))
    file = tmp_path / "figures.json"
    assert evaluate(folder, file, "--package", str(package)) == 0
    assert "by a network that had not seen the patient" in capsys.readouterr().out.replace(
        "\n", " "
    )
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["answers"], found["pictures"]) == ("out of fold", 12)
    assert found["abstained_as_unfamiliar"] is None  # the package itself was not asked
    row = next(r for r in found["rows"] if (r["finding"], r["level"]) == ("Pneumonia", "study"))
    assert row["auc"] == 1.0


def test_a_folder_that_is_laid_out_otherwise_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, tmp_path / "figures.json") == 1
    assert capsys.readouterr().err.startswith(f"scanside-train: {tmp_path}: no folder 'bacteria'")


@pytest.mark.parametrize("name", MODALITIES)
def test_at_least_95_of_100_strangers_make_a_shipped_model_abstain(name: str) -> None:
    package = load_package(shipped_packages() / name)
    assert package.familiar is not None
    kinds = strangers.drawn(6, seed=321)
    pictures = [picture for found in kinds.values() for picture in found]
    fed = strangers.as_input(pictures, package.input)
    drawn = checked(package, MODALITIES[name])
    far = judge.ask(package, [fed, 1 - drawn[:6]], threads=1).distance
    assert (far > package.familiar.limit).mean() >= 0.95
    own = judge.ask(package, [drawn], threads=1).distance
    assert np.median(own) <= package.familiar.limit


def test_a_model_that_is_taught_what_it_knows_keeps_its_logits(tmp_path: Path) -> None:
    package = load_package(CHILDREN)
    plain, taught = tmp_path / "plain.onnx", tmp_path / "model.onnx"
    onnx.utils.extract_model(str(package.model), str(plain), [package.input.tensor], ["logits"])
    pictures = checked(package, "DX")
    probe = acquaint.probe(plain)
    marks = probe.signatures([pictures])
    known = distance.learn(marks, marks)
    line = border.draw(marks, probe.signatures([1 - pictures]), marks)
    taught.write_bytes(probe.acquainted(known, line).SerializeToString())
    other = replace(package, path=tmp_path, familiar=FamiliarSpec("distance", known.limit))
    engine = load_engine(replace(other, digest=digest_of(taught)))
    before = load_engine(package).infer({package.input.tensor: pictures})
    after = engine.infer({package.input.tensor: pictures})
    np.testing.assert_allclose(after["logits"], before["logits"], atol=1e-5)
    np.testing.assert_allclose(after["distance"][:, 0], known.distance(marks), rtol=1e-3)
    turned = engine.infer({package.input.tensor: 1 - pictures})
    assert (turned["distance"] > known.limit).all()
    engine.close()
    again = probe_again(taught, pictures, known, line)
    np.testing.assert_allclose(again["distance"], after["distance"], rtol=1e-5)


def probe_again(
    model: Path, pictures: NDArray[np.float32], known: distance.Familiar, line: border.Border
) -> dict[str, NDArray[np.float32]]:
    """Teach a model that was taught before, and return its answers."""
    again = model.with_name("again.onnx")
    again.write_bytes(acquaint.probe(model).acquainted(known, line).SerializeToString())
    session = onnxruntime.InferenceSession(again, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    given = {session.get_inputs()[0].name: pictures}
    return dict(zip(names, session.run(names, given), strict=True))


def test_a_border_parts_strangers_that_lie_as_near_as_the_familiar() -> None:
    rng = np.random.default_rng(4)
    familiar = rng.normal(0, 1, (600, 20)).astype(np.float32)
    strange = rng.normal(0, 1, (300, 20)).astype(np.float32)
    strange[:, 3] += 6 * np.sign(strange[:, 3] + 10)
    line = border.draw(familiar[:400], strange[:150], familiar[400:])
    assert (line.beyond(familiar[400:]) > 0).mean() <= 0.005
    assert (line.beyond(strange[150:]) > 0).mean() > 0.95
