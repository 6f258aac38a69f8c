"""Write the package of lesion change: ``python -m tools.train.change_package [FOLDER]``.

Its network is made, not trained (`tools.train.change_graph`); its two settings were chosen by
``scanside-bench change``, which also gives the figures below.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines import PackageError, load_package, shipped_packages
from engines.checkset import write_check_set
from tools.train.change_graph import Filter, change_graph

NAME = "brain-flair-change"
SHIPPED = Filter(noises=5.0, bright=0.09)
SPACING_MM = (3.0, 0.75, 0.75)
_FRAME = (24, 96, 96)

_TEXT = '''# Written by tools/train/change_package.py; docs/models.md explains every key.

[model]
name = "{name}"
version = "0.1.0"
sha256 = "{digest}"
licence = "Apache-2.0; the network is made, not trained: no data are in it"
intended_use = "Shows a physician where the white matter of a patient with known lesions became brighter or darker on FLAIR since an earlier study, and how much. It is no diagnosis, it never flags a study, and where it shows nothing the study is not therefore unchanged."
limits = """
Measured on two patients of one hospital and one scanner: nothing is known of others, and two figures have no interval. Dice against the readers' change was 0.63 and 0.55, with settings chosen on these two.
It counted too little in both: 2.9 ml where readers saw 3.4, and 2.2 ml where they saw 3.9. Small and faint changes are missed, and part of what it shows at the cortex is none.
The interval is of the threshold alone. It is not of the registration, the scanner or the readers, and was made wide enough to hold the readers' volume in these two patients.
It sees what is brighter or darker, not why: oedema, infarcts, bleeding, tumours and artefacts look alike.
Another scanner, another sequence or contrast medium between the two studies changes FLAIR; it was not measured how much.
FLAIR alone, of the head, with 2-D slices up to 4 mm or in 3-D. Children were not measured.
Never tested prospectively. Not a medical device; not for diagnosis.
"""
training_data = "None. Two settings were chosen on two patients with multiple sclerosis, two FLAIR studies each (Lesjak et al., Neuroinformatics 14(4), 2016, CC-BY), with the change that readers agreed on."

[input]
tensor = "pair"
layout = "NCDHW"
depth = 60
height = 288
width = 288
spacing_mm = [3.0, 0.75, 0.75]
axes = "SPL"
normalise = "brain"

[output]
kind = "segmentation"
tensor = "scores"

[prior]
description = "flair|dark.?fluid"
least_similarity = 0.93
least_days = 1

[[routes]]
modality = "MR"
body_parts = ["HEAD", "BRAIN"]
description = "flair|dark.?fluid"
max_slice_thickness_mm = 4.5

[[finding]]
code = {{ scheme = "99SCANSIDE", value = "FLAIR-BRIGHTER", meaning = "White matter brighter on FLAIR than before" }}
label = "Brighter than before"
classes = [1]
least_mm3 = 30
sweep = [2.0, -1.5]
urgency = "routine"

[[finding]]
code = {{ scheme = "99SCANSIDE", value = "FLAIR-DARKER", meaning = "White matter darker on FLAIR than before" }}
label = "Darker than before"
classes = [2]
least_mm3 = 30
sweep = [2.0, -1.5]
urgency = "routine"

[aggregate]
kind = "class_volume"

[checks]
parity_tolerance = 0.05
'''


def write(folder: Path) -> None:
    """Write the package into a folder, with a check set that is drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    model = change_graph(SHIPPED, SPACING_MM, NAME)
    content = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    text = _TEXT.format(name=NAME, digest=hashlib.sha256(content).hexdigest())
    (folder / "model.toml").write_text(text, encoding="utf-8")
    write_check_set(load_package(folder), [drawn_pair(seed) for seed in range(2)])


def drawn_pair(seed: int) -> NDArray[np.float32]:
    """Return a drawn pair, (2, 24, 96, 96): noise, a lesion that came and one that went."""
    noise = np.random.default_rng(seed)
    pair = noise.normal(0.4, 0.02, (2, *_FRAME)).astype(np.float32)
    pair[0, 8:12, 30:42, 30:42] += np.float32(0.25)
    pair[1, 12:15, 56:64, 52:62] += np.float32(0.25)
    pair[:, :2] = pair[:, -2:] = 0
    pair[:, :, :6] = pair[:, :, -6:] = 0
    return np.clip(pair, 0, 1)


def main() -> int:
    """Write it where the shipped packages are, or into the folder that is given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped_packages() / NAME
    try:
        write(folder)
    except (PackageError, OSError) as error:
        print(f"change_package: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
