"""A real MLServer, and a relay before it that speaks TLS, stalls and breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import onnx
import pytest
from onnx import TensorProto

_ROOT = Path(__file__).parents[2]
_VENV = _ROOT / "build" / "mlserver"
_WANTED = ("mlserver==1.7.1", "onnxruntime>=1.20")
_PATIENCE_S = 60
_NAMES = {TensorProto.FLOAT: "FP32", TensorProto.FLOAT16: "FP16", TensorProto.INT32: "INT32"}


def mlserver_python() -> Path:
    """Return the interpreter of an environment with MLServer, made at the first call.

    MLServer wants an older protobuf than ours, so it cannot live beside us.
    """
    python, stamp = _VENV / "bin" / "python", _VENV / "complete"
    if sys.version_info >= (3, 13):
        pytest.skip("MLServer 1.7.1 does not run on Python 3.13")
    _VENV.parent.mkdir(exist_ok=True)
    with (_VENV.parent / "mlserver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file():
            shutil.rmtree(_VENV, ignore_errors=True)
            for command in (
                [sys.executable, "-m", "venv", str(_VENV)],
                [
                    str(python),
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--only-binary",
                    ":all:",
                    *_WANTED,
                ],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    pytest.skip(f"MLServer cannot be installed here: {done.stderr[-300:]}")
            stamp.touch()
    return python


def _tensors(values: Any) -> list[dict[str, object]]:
    found = []
    for value in values:
        kind = value.type.tensor_type
        shape = [-1 if axis.dim_param else axis.dim_value for axis in kind.shape.dim]
        found.append({"name": value.name, "datatype": _NAMES[kind.elem_type], "shape": shape})
    return found


def describe(file: Path, **changes: object) -> dict[str, object]:
    """Return MLServer's settings for an ONNX file, as the file says or changed."""
    graph = onnx.load(file).graph
    return {
        "implementation": "served_model.OnnxModel",
        "inputs": _tensors(graph.input),
        "outputs": _tensors(graph.output),
        "parameters": {"uri": str(file)},
        **changes,
    }


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlServer:
    """MLServer as a process of its own.

    Parameters
    ----------
    folder : pathlib.Path
        Made here; holds its settings.
    models : mapping of str to dict
        Settings of each model, by name.
    """

    def __init__(self, folder: Path, models: Mapping[str, dict[str, object]]) -> None:
        self._python = mlserver_python()
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("served_model.py"), folder)
        settings = {
            "debug": False,
            "host": "127.0.0.1",
            "http_port": free_port(),
            "grpc_port": self.port,
            "grpc_max_message_length": 64 << 20,
            "metrics_endpoint": None,
            "parallel_workers": 0,
        }
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        for name, model in models.items():
            place = folder / name
            place.mkdir()
            text = json.dumps({"name": name, **model})
            (place / "model-settings.json").write_text(text, encoding="utf-8")

    @property
    def address(self) -> str:
        """Where it speaks gRPC."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until all its models are loaded."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python.with_name("mlserver")), "start", str(self.folder)],
                cwd=self.folder,
                env={"PATH": f"{self._python.parent}:/usr/bin:/bin", "PYTHONPATH": "."},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait_until_ready(self) -> None:
        with grpc.insecure_channel(self.address) as channel:
            ready = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerReady",
                request_serializer=bytes,
                response_deserializer=bytes,
            )
            try:
                while ready(b"", timeout=_PATIENCE_S, wait_for_ready=True) != b"\x08\x01":
                    pass  # the port is open before the models are loaded
            except grpc.RpcError:
                said = (self.folder / "log").read_text(errors="replace")[-3000:]
                pytest.fail(f"MLServer did not start: {said}")


class Relay:
    """Passes bytes on to a server; with a certificate it speaks TLS to whoever connects.

    Parameters
    ----------
    port : int
        Of the server, on this machine.
    context : ssl.SSLContext or None
        For those who connect.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._to = port
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_port()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Relay:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def hold(self) -> None:
        """Pass nothing on any more; connections stay open."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def release(self) -> None:
        """Pass on what was held."""
        self._loop.call_soon_threadsafe(self._passing.set)

    async def _open(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._context
        )

    async def _end(self) -> None:
        self._server.close()
        # Also those that were accepted a moment ago and have nobody to pass to yet.
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.add(back)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(self._pass(source, target))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while block := await source.read(1 << 16):
                await self._passing.wait()
                target.write(block)
                await target.drain()
        target.transport.abort()


def tls(certificate: tuple[Path, Path], *, authority: Path | None = None) -> ssl.SSLContext:
    """Return what a relay needs to speak TLS; with an authority it asks for a certificate too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"])
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def serving(folder: Path, models: Mapping[str, dict[str, object]]) -> Iterator[MlServer]:
    """A server that ends with the context."""
    server = MlServer(folder, models)
    try:
        server.start()
        yield server
    finally:
        server.stop()
