"""The messages of the KServe V2 protocol, field by field.

Declared here by number and not by generated code, which would tie every installation to the
generator's version of protobuf. Numbers and names are those of ``grpc_predict_v2.proto`` (KServe's
Open Inference Protocol, also spoken by NVIDIA Triton and MLServer); what is not used here is left
out, as the wire format allows. A test holds them against a server's own.
"""

from __future__ import annotations

import functools
from typing import Any

SERVICE = "inference.GRPCInferenceService"

_BOOL, _BYTES, _DOUBLE, _FLOAT, _INT32, _INT64, _STRING, _UINT32, _UINT64 = (
    "TYPE_BOOL",
    "TYPE_BYTES",
    "TYPE_DOUBLE",
    "TYPE_FLOAT",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_STRING",
    "TYPE_UINT32",
    "TYPE_UINT64",
)
_TENSOR: dict[int, tuple[str, str, bool]] = {
    1: ("name", _STRING, False),
    2: ("datatype", _STRING, False),
    3: ("shape", _INT64, True),
}
_CONTENTS = {5: ("contents", "InferTensorContents", False)}

# Message: {number: (field, type or message, repeated)}.
FIELDS: dict[str, dict[int, tuple[str, str, bool]]] = {
    "ModelReadyRequest": {1: ("name", _STRING, False), 2: ("version", _STRING, False)},
    "ModelReadyResponse": {1: ("ready", _BOOL, False)},
    "ModelMetadataRequest": {1: ("name", _STRING, False), 2: ("version", _STRING, False)},
    "ModelMetadataResponse": {
        1: ("name", _STRING, False),
        2: ("versions", _STRING, True),
        3: ("platform", _STRING, False),
        4: ("inputs", "ModelMetadataResponse.TensorMetadata", True),
        5: ("outputs", "ModelMetadataResponse.TensorMetadata", True),
    },
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": {
        1: ("model_name", _STRING, False),
        2: ("model_version", _STRING, False),
        3: ("id", _STRING, False),
        5: ("inputs", "ModelInferRequest.InferInputTensor", True),
        6: ("outputs", "ModelInferRequest.InferRequestedOutputTensor", True),
        7: ("raw_input_contents", _BYTES, True),
    },
    "ModelInferRequest.InferInputTensor": _TENSOR | _CONTENTS,
    "ModelInferRequest.InferRequestedOutputTensor": {1: ("name", _STRING, False)},
    "ModelInferResponse": {
        1: ("model_name", _STRING, False),
        2: ("model_version", _STRING, False),
        3: ("id", _STRING, False),
        5: ("outputs", "ModelInferResponse.InferOutputTensor", True),
        6: ("raw_output_contents", _BYTES, True),
    },
    "ModelInferResponse.InferOutputTensor": _TENSOR | _CONTENTS,
    "InferTensorContents": {
        1: ("bool_contents", _BOOL, True),
        2: ("int_contents", _INT32, True),
        3: ("int64_contents", _INT64, True),
        4: ("uint_contents", _UINT32, True),
        5: ("uint64_contents", _UINT64, True),
        6: ("fp32_contents", _FLOAT, True),
        7: ("fp64_contents", _DOUBLE, True),
        8: ("bytes_contents", _BYTES, True),
    },
}


@functools.cache
def messages() -> dict[str, Any]:
    """Return the class of each message, by its name without the package.

    Raises
    ------
    ImportError
        If protobuf is not installed.
    """
    from google.protobuf import (  # noqa: PLC0415  # needed by the remote runtime alone
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(
        name="scanside/kserve_v2.proto", package="inference", syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name in sorted(FIELDS, key=lambda name: name.count(".")):  # the outer ones first
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        for number, (field, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            entry = made[name].field.add(name=field, number=number, label=label)
            if kind in FIELDS:
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".inference.{kind}"
            else:
                entry.type = getattr(kinds, kind)
    # A pool of its own: another client in this process may have brought the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))
        for name in FIELDS
    }
