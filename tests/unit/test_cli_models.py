"""`scanside models`: from an ONNX file that nobody here made to a served engine, by commands."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import onnx
import pytest
from builders import ct_slice
from graphs import detector
from segmenting import brightness_model
from terminal import Terminal

from edge.cli import main
from edge.commands import arguments
from edge.config import default_toml, load_config
from edge.packages import Shelf
from engines.build.support import present_modules
from engines.gpu import gpu_here

COMMANDS = ["list", "show", "add", "checkset", "check", "try", "build", "activate", "rollback"]
ANSWERS = """
[model]
licence = "MIT"
intended_use = "tests"
limits = "tests; not for diagnosis"
training_data = "none"
[input]
depth = 16
height = 16
width = 16
spacing_mm = [1.0, 1.0, 1.0]
axes = "RAS"
normalise = "percentile"
percentiles = [2, 98]
[[routes]]
modality = "MR"
body_parts = ["BRAIN"]
[[finding]]
code = { scheme = "99TEST", value = "GREY", meaning = "Grey voxels" }
label = "Grey"
classes = [1]
urgency = "routine"
[[finding]]
code = { scheme = "99TEST", value = "WHITE", meaning = "White voxels" }
label = "White"
classes = [2]
flag_above_ml = 1.0
urgency = "urgent"
[checks]
parity_tolerance = 0.05
"""


@pytest.fixture
def scanside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    config = tmp_path / "config.toml"
    ours = default_toml().replace("/var/lib/scanside", "studies").replace("/etc/scanside/", "")
    config.write_text(ours, encoding="utf-8")
    return Terminal(capsys, config)


@pytest.fixture
def shelf(scanside: Terminal) -> Shelf:
    return Shelf.of(load_config(scanside.config))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "Brightness 1.onnx"
    onnx.save(brightness_model(), file)
    return file


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A volume whose voxels rise from 0 to 1 along one axis, in a NIfTI file."""
    slope = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), (16, 16, 16))
    nibabel.Nifti1Image(np.array(slope), np.eye(4)).to_filename(tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


@pytest.fixture
def added(scanside: Terminal, model: Path, head: Path, tmp_path: Path) -> Terminal:
    """An appliance with the model added, answered for, and with a check set."""
    (tmp_path / "answers.toml").write_text(ANSWERS, encoding="utf-8")
    answers = str(tmp_path / "answers.toml")
    assert scanside("models add", str(model), "--name", "grey", "--answers", answers) == 0
    assert scanside("models checkset grey", str(head)) == 0
    return scanside


@pytest.mark.parametrize("command", ["", *COMMANDS, "remove"])
def test_every_command_explains_itself(scanside: Terminal, command: str) -> None:
    with pytest.raises(SystemExit) as left:
        scanside(f"models {command} --help", with_config=False)
    assert left.value.code == 0


def test_the_model_that_ships_is_listed_and_shown_with_its_limits(scanside: Terminal) -> None:
    assert scanside("models list") == 0
    assert "head-ct-hemorrhage" in scanside.out
    assert "Scanside" in scanside.out
    assert scanside("models show head-ct-hemorrhage") == 0
    for words in ("Intended use", "Limits", "not for diagnosis", "study AUC: 0.8", "SCT 1386000"):
        assert words in scanside.out
    assert "onnxruntime fp32 serves; nothing else was activated" in scanside.out
    assert "slices are prepared by OpenCV: onnxruntime runs on the CPU" in scanside.out


def test_an_added_model_is_a_draft_that_says_what_a_person_must_write(
    scanside: Terminal, model: Path, shelf: Shelf
) -> None:
    assert scanside("models add", str(model)) == 0
    assert "input     'volume' float32 [n, 1, d, h, w]" in scanside.out
    assert "operators 1 Conv" in scanside.out
    assert "A person must fill in" in scanside.out
    assert "[input] axes: which way" in scanside.out
    assert (shelf.own / "brightness-1" / "model.onnx").read_bytes() == model.read_bytes()
    scanside("models list", "--json")
    (line,) = [one for one in json.loads(scanside.out) if one["name"] == "brightness-1"]
    assert (line["state"], line["serves"], line["from"]) == ("draft", "", "this site")
    assert "still to be filled in" in scanside.refused("models check brightness-1")
    assert "still to be filled in" in scanside.refused("models build brightness-1")
    # A draft does not keep the appliance from starting.
    assert "brightness-1" not in {one.name for one in shelf.packages()}
    assert shelf.packages()


def test_what_is_changed_of_a_model_on_its_way_in_is_told(
    scanside: Terminal, tmp_path: Path, shelf: Shelf
) -> None:
    file = tmp_path / "grey.onnx"
    onnx.save(
        brightness_model(), file, save_as_external_data=True, location="grey.data", size_threshold=0
    )
    assert scanside("models add", str(file), "--mean", "0.5", "--std", "0.25") == 0
    assert "weights came in from grey.data" in scanside.out
    assert "changed   mean 0.5 and std 0.25 stand in front of it now" in scanside.out
    kept = onnx.load(shelf.own / "grey" / "model.onnx", load_external_data=False)
    assert [node.op_type for node in kept.graph.node] == ["Sub", "Div", "Conv"]
    assert "--output 'none' is not" in scanside.refused("models add", str(file), "--output", "none")


def test_a_detector_is_refused_and_not_drafted_as_a_classifier(
    scanside: Terminal, tmp_path: Path, shelf: Shelf
) -> None:
    file = tmp_path / "detector.onnx"
    onnx.save(detector(), file)
    assert scanside("models add", str(file)) != 0
    assert "one for each thing found, as of a detector" in scanside.err
    assert not shelf.own.exists()


def test_a_model_is_not_added_over_another(scanside: Terminal, model: Path) -> None:
    scanside("models add", str(model))
    assert "exists already; it was left as it is" in scanside.refused("models add", str(model))
    assert "'Grey 1' is not words" in scanside.refused("models add", str(model), "--name", "Grey 1")


def test_a_model_that_the_reference_does_not_run_is_told_before_anybody_describes_it(
    scanside: Terminal, model: Path, shelf: Shelf
) -> None:
    newer = onnx.load(model)
    newer.opset_import[0].version = 99
    onnx.save(newer, model)
    assert scanside("models add", str(model)) != 0
    assert "compared with ONNX Runtime, which does not run it" in scanside.err
    assert not shelf.own.exists()


def test_what_is_no_model_leaves_nothing_behind(
    scanside: Terminal, tmp_path: Path, shelf: Shelf
) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    assert "x.onnx" in scanside.refused("models add", str(tmp_path / "x.onnx"))
    assert not shelf.own.exists()


def test_from_the_file_to_the_served_engine(added: Terminal, head: Path) -> None:
    assert added("models check grey") == 0
    assert "off by 0.00e+00 at most" in added.out
    assert added("models try grey", str(head), "--json") == 0
    grey, white = json.loads(added.out)
    # Of 16 planes of 256 voxels those from 0.3 to 0.7 are grey, those above are white.
    assert (grey["value"], grey["unit"], grey["verdict"]) == (
        pytest.approx(6 * 0.256),
        "ml",
        "measured",
    )
    assert (white["value"], white["verdict"]) == (pytest.approx(5 * 0.256), "flagged")
    assert added("models build grey --precision fp32 fp16") == 0
    assert "No GPU is here" in added.out
    assert added.out.count("may serve") == 2
    assert added("models activate grey --precision fp16") == 0
    assert "onnxruntime" in added.out
    assert added("models show grey") == 0
    assert "fp16 serves; since" in added.out
    assert added("models check grey") == 0
    assert "onnxruntime fp16" in added.out


def test_rollback_brings_back_what_served(added: Terminal) -> None:
    assert "no engine served before" in added.refused("models rollback grey")
    added("models build grey --precision fp32 fp16")
    added("models activate grey")
    added("models activate grey --precision fp16")
    assert added("models rollback grey") == 0
    assert "fp32 serves grey again" in added.out
    assert added("models list") == 0
    assert "onnxruntime fp32" in added.out


def test_what_was_not_built_cannot_be_activated(added: Terminal) -> None:
    said = added.refused("models activate grey --precision int8")
    assert "scanside models build grey --precision int8" in said


def test_an_engine_that_disagrees_stays_out_with_figures(
    added: Terminal, shelf: Shelf, tmp_path: Path
) -> None:
    added("models build grey --precision fp32")
    folder = shelf.own / "grey"
    with np.load(folder / "check.npz") as held:
        volume, scores = held["volume"], held["scores"]
    np.savez(folder / "check.npz", volume=volume, scores=np.where(scores == 2, 1, scores))
    said = added.refused("models activate grey")
    assert "is off by 1.0000 from FP32 on 4 samples; the package allows 0.0500" in said
    assert "stays out" in said


def test_only_the_sites_own_packages_can_be_changed(added: Terminal, head: Path) -> None:
    said = added.refused("models remove head-ct-hemorrhage")
    assert "came with Scanside" in said
    assert "read-only" in added.refused("models checkset head-ct-hemorrhage", str(head))
    assert added("models remove grey") == 0
    assert "There is no package 'grey'" in added.refused("models show grey")


def test_a_damaged_model_is_told_of_and_its_last_good_engine_checks(
    added: Terminal, shelf: Shelf
) -> None:
    added("models build grey --precision fp32")
    added("models activate grey")
    (shelf.own / "grey" / "model.onnx").write_bytes(b"damaged")
    assert added("models check grey") == 0
    assert "replaced or damaged" in added.out
    assert added("check") == 1  # for the keys
    assert "warn model grey" in added.out
    assert "replaced or damaged" in added.refused("models build grey")
    added("models list")
    assert "damaged" in added.out


def test_a_series_of_slices_is_tried_from_its_folder(scanside: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    noise = np.random.default_rng(1)
    for number in range(3):
        pixels = noise.integers(1000, 1100, (64, 64), np.uint16)
        data = ct_slice(number=number, position_mm=5.0 * number, stored=pixels)
        (folder / f"{number}.dcm").write_bytes(data)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    assert scanside("models try head-ct-hemorrhage", str(folder)) == 0
    assert "1 of 4 files are left out" in scanside.err
    assert "on onnxruntime fp32: 3 x 6 x 112 x 112" in scanside.out
    assert "Intracranial hemorrhage" in scanside.out
    assert "A physician decides." in " ".join(scanside.out.split())
    assert scanside("models try head-ct-hemorrhage", str(folder), "--json") == 0
    assert json.loads(scanside.out)[0]["label"] == "Intracranial hemorrhage"
    assert "1 of 4 files are left out" in scanside.err


@pytest.mark.parametrize("content", [None, b"no image"])
def test_what_cannot_be_tried_is_told(
    scanside: Terminal, tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    if content is not None:
        (folder / "x.dcm").write_bytes(content)
    said = scanside.refused("models try head-ct-hemorrhage", str(folder))
    assert "is a DICOM image that can be read" in said
    said = scanside.refused("models try head-ct-hemorrhage", str(tmp_path / "none.nii.gz"))
    assert "takes slices: give it a folder" in said


@pytest.mark.skipif("tensorrt_rtx" not in present_modules(), reason="tensorrt_rtx is not installed")
def test_the_builder_makes_engines_where_there_is_no_gpu_and_says_that_none_was_run(
    added: Terminal, shelf: Shelf
) -> None:
    shelf.store.folder.mkdir(parents=True)
    left = shelf.store.folder / "tensorrt.timings.99999999.partial"  # above every process
    left.touch()
    assert added("models build grey --precision fp32") == 0
    assert not left.exists()
    assert "tensorrt_rtx" in added.out
    assert "no GPU here; it was built for SM89" in added.out
    if gpu_here() is None:
        added.refused("models activate grey --runtime tensorrt_rtx")
        added("models list")
        assert "tensorrt_rtx" not in added.out


def test_a_series_of_images_is_tried_as_a_volume_and_told_in_millilitres(
    added: Terminal, tmp_path: Path
) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(16):
        pixels = np.full((16, 16), 1000 + 100 * number, np.uint16)
        data = ct_slice(number=number, position_mm=float(number), stored=pixels)
        (folder / f"{number:02}.dcm").write_bytes(data)
    assert added("models try grey", str(folder)) == 0
    assert "1 x 1 x 16 x 16 x 16" in added.out
    assert "ml" in added.out.split()
    (folder / "07.dcm").unlink()
    said = added.refused("models try grey", str(folder))
    assert f"{folder}: the images make no volume: " in said
    assert "every slice of one series" in said


def test_a_card_is_read_before_anything_is_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arguments, "DEFAULT_CONFIG", tmp_path / "nobody-wrote-it.toml")
    assert main(["models", "show", "head-ct-hemorrhage"]) == 0
    card = capsys.readouterr().out
    assert "Intracranial hemorrhage (SCT 1386000), critical, flagged from" in card
    assert "Epidural hemorrhage (SCT 82999001), told of and never flagged" in card
    assert main(["models", "show", "x", "--config", str(tmp_path / "named.toml")]) != 0
