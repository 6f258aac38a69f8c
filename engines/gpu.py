"""Is there an NVIDIA GPU here? Asked of the driver itself, so nothing needs to be installed.

Source: CUDA Driver API, "Device Management" (cuDeviceGet, cuDeviceGetName, cuDeviceGetAttribute).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU.

    Parameters
    ----------
    name : str
        As the driver calls it.
    capability : str
        As in ``SM87``.
    """

    name: str
    capability: str


def gpu_here() -> Gpu | None:
    """Return this machine's first GPU, or None where there is none or no driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    calls = (
        (cuda.cuInit, (0,)),
        (cuda.cuDeviceGet, (ctypes.byref(device), 0)),
        (cuda.cuDeviceGetName, (name, len(name), device)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(major), _MAJOR, device)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(minor), _MINOR, device)),
    )
    if any(call(*arguments) for call, arguments in calls):  # each returns 0 where it succeeded
        return None
    return Gpu(name.value.decode("utf-8", "replace"), f"SM{major.value}{minor.value}")
