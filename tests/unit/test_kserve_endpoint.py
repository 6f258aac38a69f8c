"""An endpoint that cannot be used is refused before anything is sent."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import EngineError, TensorSpec
from engines.runtime import kserve, kserve_tensors
from engines.runtime.kserve import Endpoint
from engines.runtime.kserve_messages import messages

GOOD = Endpoint("inference.hospital.example:8001", "head-ct")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"address": "inference"}, "address 'inference' is not host:port"),
        ({"address": "inference:0"}, "port from 1 to 65535"),
        ({"address": "inference:http"}, "port from 1 to 65535"),
        ({"model": ""}, "model is empty"),
        ({"deadline_s": 0.0}, "deadline_s = 0 is not a number above 0"),
        ({"deadline_s": float("nan")}, "deadline_s = nan"),
        ({"plain": True}, r"plain = true sends pixels unencrypted to inference\.hospital\.example"),
        ({"certificate": Path("a.pem")}, "certificate and key go together"),
        ({"authority": Path("/nowhere/ca.pem")}, r"/nowhere/ca\.pem: cannot be read"),
        ({"authority": Path(__file__)}, "not a PEM file"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said(change: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        kserve.load(replace(GOOD, **change))


@pytest.mark.parametrize("address", ["127.0.0.1:8001", "localhost:8001", "[::1]:8001"])
def test_this_machine_may_be_asked_without_tls(address: str) -> None:
    assert replace(GOOD, address=address, plain=True).refusal() is None


def test_grpc_is_needed_for_a_server_alone() -> None:
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "from engines import EngineError\n"
        "from engines.runtime import kserve\n"
        "try: kserve.load(kserve.Endpoint('127.0.0.1:1', 'm', plain=True))\n"
        "except EngineError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'scanside[remote]'" in done.stdout


def response(shape: tuple[int, ...], raw: bytes | None, **contents: object) -> Any:
    made = messages()["ModelInferResponse"](model_name="m")
    made.outputs.add(name="logits", datatype="FP32", shape=shape, contents=contents)
    if raw is not None:
        made.raw_output_contents.append(raw)
    return made


SPEC = TensorSpec("logits", np.dtype(np.float32), (None, 2))


def test_numbers_come_raw_or_one_by_one() -> None:
    raw = np.array([[1, 2]], "<f4").tobytes()
    single = response((1, 2), None, fp32_contents=[1, 2])
    for answer in (response((1, 2), raw), single):
        assert kserve_tensors.read(answer, SPEC, "server").tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("shape", "raw"),
    [
        ((1, 2), b""),
        ((1, 2), b"\0" * 7),
        ((1, 2), b"\0" * 12),
        ((-1, 2), b"\0" * 8),
        ((1 << 40, 2), b""),
    ],
)
def test_an_answer_with_too_few_or_too_many_numbers_is_refused(
    shape: tuple[int, ...], raw: bytes
) -> None:
    with pytest.raises(EngineError, match="output 'logits' came with"):
        kserve_tensors.read(response(shape, raw), SPEC, "server")


def test_every_type_of_an_engine_has_a_name_in_the_protocol() -> None:
    for dtype in (np.bool_, np.uint8, np.int8, np.int32, np.int64, np.float16, np.float32):
        request = messages()["ModelInferRequest"]()
        kserve_tensors.write(request, "x", np.zeros((2, 3), dtype, order="F"))
        assert len(request.raw_input_contents[0]) == 6 * np.dtype(dtype).itemsize
