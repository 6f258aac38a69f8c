"""A model on a server: MLServer runs it, and everything between here and there can go wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from kserve_parts import MlServer, Relay, describe, free_port, mlserver_python, serving, tls
from runtime_parts import write

from engines import EngineError
from engines.runtime import kserve
from engines.runtime.kserve import Endpoint
from engines.runtime.kserve_messages import FIELDS

ONES = {"x": np.ones((1, 2), np.float32)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlServer]:
    folder = tmp_path_factory.mktemp("served")
    write(folder)
    roots = folder / "roots.onnx"
    wide = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    models = {
        "roots": describe(roots),
        "takes-less-than-it-says": describe(roots, inputs=wide),
        "gives-more-than-it-says": describe(
            roots, outputs=[{"name": "logits", "datatype": "FP32", "shape": [-1, 1]}]
        ),
        "gives-another-name": describe(
            roots, outputs=[{"name": "other", "datatype": "FP32", "shape": [-1, 2]}]
        ),
        "says-nothing": describe(roots, inputs=[], outputs=[]),
        "speaks-in-words": describe(
            roots, inputs=[{"name": "x", "datatype": "BYTES", "shape": [-1]}]
        ),
    }
    with serving(folder / "server", models) as running:
        yield running


def here(server: MlServer, model: str = "roots", deadline_s: float = 30) -> Endpoint:
    return Endpoint(server.address, model, plain=True, deadline_s=deadline_s)


def test_the_messages_are_those_that_a_server_was_built_with(server: MlServer) -> None:
    script = (
        "import json\n"
        "from mlserver.grpc.dataplane_pb2 import DESCRIPTOR as file\n"
        "def fields(message):\n"
        "    return {f.number: [f.name, f.message_type.full_name if f.message_type else f.type,"
        " f.is_repeated] for f in message.fields}\n"
        "found = {}\n"
        "def walk(message):\n"
        "    found[message.full_name] = fields(message)\n"
        "    for inner in message.nested_types: walk(inner)\n"
        "for message in file.message_types_by_name.values(): walk(message)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [mlserver_python(), "-c", script], capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto  # noqa: PLC0415

    for message, fields in FIELDS.items():
        for number, (name, kind, repeated) in fields.items():
            if kind in FIELDS:
                wanted: object = f"inference.{kind}"
            else:
                wanted = FieldDescriptorProto.Type.Value(kind)
            assert theirs[f"inference.{message}"][str(number)] == [name, wanted, repeated]


def test_a_served_model_runs_and_takes_what_the_server_says(server: MlServer) -> None:
    with closing(kserve.load(here(server))) as engine:
        engine.warm_up()
        found = engine.infer({"x": np.full((3, 2), 9, np.float32)})["logits"]
        assert found.tolist() == [[3, 3]] * 3
        found += 1  # the caller's own, not a view of what came


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("absent", "the server has no such model"),
        ("says-nothing", "does not describe the model's tensors"),
        ("speaks-in-words", "tensor 'x' has type BYTES; known are BOOL"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_when_it_is_loaded(
    server: MlServer, model: str, says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        kserve.load(here(server, model))


def test_a_version_that_the_server_lacks_is_named(server: MlServer) -> None:
    with pytest.raises(EngineError, match=r"no such model in version '9'"):
        kserve.load(replace(here(server), version="9"))


@pytest.mark.parametrize(
    ("model", "columns", "says"),
    [
        ("takes-less-than-it-says", 3, "the server could not run it"),
        ("gives-more-than-it-says", 2, r"not what the server described.*'logits'.*\(n, 1\)"),
        ("gives-another-name", 2, "lacks output 'other'; it has logits"),
    ],
)
def test_a_server_that_does_other_than_it_says_is_refused(
    server: MlServer, model: str, columns: int, says: str
) -> None:
    with (
        closing(kserve.load(here(server, model))) as engine,
        pytest.raises(EngineError, match=says),
    ):
        engine.infer({"x": np.ones((1, columns), np.float32)})


def test_a_server_that_does_not_answer_in_time_is_slow_and_the_next_run_goes_on(
    server: MlServer,
) -> None:
    with (
        Relay(server.port) as relay,
        closing(kserve.load(Endpoint(relay.address, "roots", plain=True, deadline_s=2))) as engine,
    ):
        relay.hold()
        with pytest.raises(EngineError, match=r"no answer within 2 s\. The server is slow"):
            engine.infer(ONES)
        relay.release()
        assert engine.infer(ONES)["logits"].tolist() == [[1, 1]]


def test_a_server_that_is_gone_is_an_error_and_is_found_when_it_is_back(tmp_path: Path) -> None:
    write(tmp_path)
    with (
        serving(tmp_path / "server", {"roots": describe(tmp_path / "roots.onnx")}) as server,
        closing(kserve.load(here(server, deadline_s=2))) as engine,
    ):
        server.stop()
        with pytest.raises(EngineError, match=r"the server cannot be reached\. Check the address"):
            engine.infer(ONES)
        server.start()
        assert engine.infer(ONES)["logits"].tolist() == [[1, 1]]


def test_nobody_at_the_address_is_said_when_the_model_is_loaded() -> None:
    nobody = Endpoint(f"127.0.0.1:{free_port()}", "roots", plain=True, deadline_s=0.5)
    with pytest.raises(EngineError, match=r"the server cannot be reached\. Check the address"):
        kserve.load(nobody)


def test_a_batch_larger_than_the_server_takes_is_named(server: MlServer) -> None:
    with closing(kserve.load(here(server))) as engine:
        with pytest.raises(EngineError, match=r"larger than one side allows.*grpc_max_message_len"):
            engine.infer({"x": np.ones((10 << 20, 2), np.float32)})
        assert engine.infer(ONES)["logits"].shape == (1, 2)


def test_tls_with_certificates_on_both_sides(server: MlServer, tmp_path: Path) -> None:
    hospital = Authority(tmp_path, "hospital")
    appliance = hospital.issue("appliance")
    context = tls(hospital.issue("server"), authority=hospital.file)
    with Relay(server.port, context) as relay:
        mutual = Endpoint(relay.address, "roots", "", 20, False, hospital.file, *appliance)
        with closing(kserve.load(mutual)) as engine:
            assert engine.infer(ONES)["logits"].tolist() == [[1, 1]]


@pytest.mark.parametrize("wrong", ["authority", "name", "no certificate", "no TLS"])
def test_a_connection_that_cannot_be_trusted_is_refused_as_such(
    server: MlServer, tmp_path: Path, wrong: str
) -> None:
    hospital, other = Authority(tmp_path, "hospital"), Authority(tmp_path, "other")
    address = "127.0.0.2" if wrong == "name" else "127.0.0.1"
    context = tls(
        hospital.issue("server", address),
        authority=hospital.file if wrong == "no certificate" else None,
    )
    trusted = other.file if wrong == "authority" else hospital.file
    with Relay(server.port, None if wrong == "no TLS" else context) as relay:
        endpoint = Endpoint(relay.address, "roots", deadline_s=5, authority=trusted)
        with pytest.raises(EngineError) as caught:
            kserve.load(endpoint)
    # A server that lets nobody in without a certificate may just hang up on the client.
    expected = "reached" if wrong == "no certificate" else "no trusted connection"
    assert "no trusted connection" in str(caught.value) or expected in str(caught.value)


def test_what_listens_there_but_is_no_such_server_is_refused(server: MlServer) -> None:
    settings = json.loads((server.folder / "settings.json").read_text(encoding="utf-8"))
    web = Endpoint(f"127.0.0.1:{settings['http_port']}", "roots", plain=True, deadline_s=2)
    with pytest.raises(EngineError, match=r"cannot be reached|does not speak KServe"):
        kserve.load(web)
