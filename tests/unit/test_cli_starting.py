"""How a command begins: quickly, with what it needs and nothing more."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_begins_without_loading_a_decoder_dicom_or_a_model() -> None:
    program = (
        "import sys, edge.cli\n"
        "print(*{'cv2', 'gdcm', 'onnx', 'onnxruntime', 'pydicom', 'pynetdicom'} & set(sys.modules))"
    )
    began = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert began.stdout.split() == []
