"""Inference on a server that speaks the KServe V2 protocol: NVIDIA Triton, MLServer, KServe.

For a site that outgrows one machine. Prepared pixels leave the appliance for that server, without
any name or number of a patient; so the way is TLS, except to this machine itself.

A server that restarts is waited for within the deadline of the run, unless another engine stands
ready; inference changes nothing, so asking again is safe. After that the answer is an error, and
the next run finds the server again.
Source: KServe, Open Inference Protocol (V2), gRPC API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.runtime import kserve_tensors
from engines.runtime.kserve_messages import SERVICE, messages
from engines.runtime.protocol import Array, EngineError, Precision, TensorSpec
from engines.runtime.tensors import check_feeds, check_results, zeros

if TYPE_CHECKING:
    import grpc

DEADLINE_S = 5.0
"""Seconds for one call unless it is told otherwise."""

_HERE = ("127.0.0.1", "localhost", "[::1]")
_MESSAGE = 512 << 20
_SAID = 300  # letters of a server's own words that an error passes on


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is served.

    Parameters
    ----------
    address : str
        ``host:port``; an IPv6 address in brackets.
    model : str
        As the server names it.
    version : str
        As the server names it; empty leaves the choice to the server.
    deadline_s : float
        Seconds for one call, above zero.
    plain : bool
        Without TLS; allowed to this machine alone.
    authority : pathlib.Path or None
        PEM of who signed the server's certificate; None trusts what gRPC ships with.
    certificate, key : pathlib.Path or None
        PEM of what this appliance shows to the server; both or none.
    """

    address: str
    model: str
    version: str = ""
    deadline_s: float = DEADLINE_S
    plain: bool = False
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return f"{self.address}, model {self.model!r}"

    def refusal(self) -> str | None:
        """Say why it cannot be used as it is written, or None."""
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            return f"address {self.address!r} is not host:port with a port from 1 to 65535."
        if not self.model:
            return "model is empty: name the model as the server does."
        if not self.deadline_s > 0:
            return f"deadline_s = {self.deadline_s:g} is not a number above 0."
        if self.plain and host not in _HERE:
            return (
                f"plain = true sends pixels unencrypted to {host}; that is allowed to "
                f"{' and '.join(_HERE)} alone. Put TLS before the server."
            )
        if (self.certificate is None) != (self.key is None):
            return "certificate and key go together: give both or none."
        return None


class KServeEngine:
    """A model on a server. Call it from one thread at a time.

    Use `load` to make one.
    """

    name = "kserve"

    def __init__(
        self,
        endpoint: Endpoint,
        channel: grpc.Channel,
        rpc_error: type[Any],
        *,
        precision: Precision,
        waits: bool,
    ) -> None:
        self._endpoint = endpoint
        self._waits = waits
        self._channel: grpc.Channel | None = channel
        self._rpc_error = rpc_error
        self.precision: Precision = precision
        self.inputs, self.outputs = self._describe()

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; see `engines.runtime.protocol.Engine.infer`.

        Raises
        ------
        EngineError
            Also if the server is slow, gone, has another model, or refuses; the message says which.
        """
        if self._channel is None:
            raise EngineError(f"{self._endpoint}: this engine is closed. Load it again to use it.")
        check_feeds(self.inputs, feeds)
        request = messages()["ModelInferRequest"](
            model_name=self._endpoint.model, model_version=self._endpoint.version
        )
        for spec in self.inputs:
            kserve_tensors.write(request, spec.name, feeds[spec.name])
        for spec in self.outputs:
            request.outputs.add(name=spec.name)
        response = self._call("ModelInfer", request, "ModelInferResponse")
        if response.model_name not in {"", self._endpoint.model}:
            raise EngineError(f"{self._endpoint}: {response.model_name!r} answered instead.")
        where = str(self._endpoint)
        results = {spec.name: kserve_tensors.read(response, spec, where) for spec in self.outputs}
        check_results(where, results)
        return results

    def warm_up(self) -> None:
        """Run once on zeros; a model that leaves more than its batch free waits for its first."""
        feeds = zeros(self.inputs)
        if feeds is not None:
            self.infer(feeds)

    def close(self) -> None:
        """Leave the server; closing twice is harmless."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _describe(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        where = str(self._endpoint)
        which = {"name": self._endpoint.model, "version": self._endpoint.version}
        metadata = self._call(
            "ModelMetadata", messages()["ModelMetadataRequest"](**which), "ModelMetadataResponse"
        )
        ready = self._call(
            "ModelReady", messages()["ModelReadyRequest"](**which), "ModelReadyResponse"
        )
        if not ready.ready:
            raise EngineError(f"{where}: the server has not loaded it. Look at the server's log.")
        if not metadata.inputs or not metadata.outputs:
            raise EngineError(
                f"{where}: the server does not describe the model's tensors. Give its inputs and "
                "outputs in the server's own settings of the model."
            )
        return (
            tuple(kserve_tensors.spec_of(item, where) for item in metadata.inputs),
            tuple(kserve_tensors.spec_of(item, where) for item in metadata.outputs),
        )

    def _call(self, method: str, request: Any, answer: str) -> Any:
        assert self._channel is not None  # noqa: S101  # callers have looked
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages()[answer].FromString,
        )
        until = time.monotonic() + self._endpoint.deadline_s
        try:
            return call(request, timeout=self._endpoint.deadline_s)
        except self._rpc_error as error:
            if _code(error) != "UNAVAILABLE" or _is_about_tls(error) or not self._waits:
                raise EngineError(_explain(self._endpoint, error)) from error
            first = error
        return self._again(call, request, until, first)

    def _again(self, call: Callable[..., Any], request: Any, until: float, first: Any) -> Any:
        """Wait for a server that is not there until the deadline."""
        try:
            left = max(until - time.monotonic(), 0.001)
            return call(request, timeout=left, wait_for_ready=True)
        except self._rpc_error as error:
            slow = _code(error) == "DEADLINE_EXCEEDED"
            raise EngineError(_explain(self._endpoint, first if slow else error)) from error


def load(endpoint: Endpoint, *, precision: Precision = "fp32", waits: bool = True) -> KServeEngine:
    """Connect to a served model and ask what it takes and gives.

    Parameters
    ----------
    endpoint : Endpoint
        Where.
    precision : str
        What the served graph computes in; the caller's knowledge.
    waits : bool
        Whether a run waits within its deadline for a server that is not there. Where another engine
        stands ready it should not.

    Returns
    -------
    KServeEngine

    Raises
    ------
    EngineError
        If grpcio is not installed, the endpoint or a certificate cannot be used, the server is
        slow, gone or not to be trusted, or it does not have the model.
    """
    refusal = endpoint.refusal()
    if refusal is not None:
        raise EngineError(f"{endpoint}: {refusal}")
    try:
        import grpc  # noqa: PLC0415  # optional; imported when a server is used

        messages()
    except ImportError as error:
        raise EngineError(
            f"gRPC cannot be imported ({error}). Install it with: pip install 'scanside[remote]'"
        ) from error
    options = [
        ("grpc.max_send_message_length", _MESSAGE),
        ("grpc.max_receive_message_length", _MESSAGE),
        # gRPC itself waits up to two minutes between attempts; beside a scanner that is too long.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A connection that a firewall forgot is noticed within half a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # The way is the configured one, whatever proxy other programs use.
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if endpoint.plain:
        channel = grpc.insecure_channel(endpoint.address, options)
    else:
        credentials = grpc.ssl_channel_credentials(
            _pem(endpoint.authority), _pem(endpoint.key), _pem(endpoint.certificate)
        )
        channel = grpc.secure_channel(endpoint.address, credentials, options)
    try:
        return KServeEngine(endpoint, channel, grpc.RpcError, precision=precision, waits=waits)
    except EngineError:
        channel.close()
        raise


def _pem(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file}: cannot be read: {error.strerror}.") from error
    if b"-----BEGIN " not in content:
        raise EngineError(f"{file}: not a PEM file; it has no line -----BEGIN.")
    return content


def _code(error: Any) -> str:
    return str(error.code().name)


def _is_about_tls(error: Any) -> bool:
    said = str(error.details()).lower()
    return any(
        word in said for word in ("ssl", "tls", "certificate", "handshake", "alpn", "verification")
    )


def _explain(endpoint: Endpoint, error: Any) -> str:
    code, said = _code(error), " ".join(str(error.details()).split())[:_SAID]
    if code == "DEADLINE_EXCEEDED":
        return (
            f"{endpoint}: no answer within {endpoint.deadline_s:g} s. The server is slow or the "
            "way to it is blocked; allow more time, or give the server more to run on."
        )
    if code == "UNAVAILABLE" and _is_about_tls(error):
        return (
            f"{endpoint}: no trusted connection. Check the authority, this appliance's certificate "
            f"and key, and that the server speaks TLS under that name. It said: {said}"
        )
    if code == "UNAVAILABLE":
        return (
            f"{endpoint}: the server cannot be reached. Check the address and that it runs. "
            f"It said: {said}"
        )
    if code == "NOT_FOUND":
        version = f" in version {endpoint.version!r}" if endpoint.version else ""
        return f"{endpoint}: the server has no such model{version}. It said: {said}"
    if code == "UNIMPLEMENTED":
        return f"{endpoint}: what answers there does not speak KServe V2. It said: {said}"
    if code == "RESOURCE_EXHAUSTED":
        return (
            f"{endpoint}: the message is larger than one side allows. Raise the server's limit "
            f"(MLServer: grpc_max_message_length) or send fewer at once. It said: {said}"
        )
    if code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return f"{endpoint}: the server does not let this appliance in. It said: {said}"
    return f"{endpoint}: the server could not run it ({code}). It said: {said}"
