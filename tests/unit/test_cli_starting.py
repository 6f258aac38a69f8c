"""How a command begins and ends: quickly, with what it needs and nothing more."""

from __future__ import annotations

import subprocess
import sys

from terminal import unread


def test_a_command_begins_without_loading_a_decoder_dicom_or_a_model() -> None:
    program = (
        "import sys, edge.cli\n"
        "print(*{'cv2', 'gdcm', 'onnx', 'onnxruntime', 'pydicom', 'pynetdicom'} & set(sys.modules))"
    )
    began = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert began.stdout.split() == []


def test_ctrl_c_while_a_command_is_still_loading_ends_it_without_a_word() -> None:
    program = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'edge.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from edge.__main__ import main\n"
        "sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_reader_that_is_gone_is_no_fault() -> None:
    assert unread([sys.executable, "-m", "edge.cli", "models", "list", "--json"]) == (0, b"")
