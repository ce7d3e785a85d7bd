"""Whether a GPU that the configuration asks for can be used here, and if not, what is missing and what to do about it.

ONNX Runtime lists CUDA and TensorRT wherever its GPU wheel is installed, and falls back to the CPU without an error. So the driver is asked
for devices, and the loader for the libraries, before a session is.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.serving.run_options import Device, DeviceKind

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
CPU_PROVIDER: Final = "CPUExecutionProvider"

ProviderOptions = dict[str, str]

_DRIVER: Final = "libcuda.so.1"
_PROVIDER_LIBRARIES: Final[dict[DeviceKind, str]] = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """The installed runtime: what it says it was built with, and the folder of its libraries."""

    version: str
    listed: Sequence[str]
    libraries: Path


def providers(device: Device) -> list[tuple[str, ProviderOptions]]:
    """What to ask a session for, in the order of preference. Without the CPU where a GPU is required."""
    if not device.is_gpu:
        return [(CPU_PROVIDER, {})]
    cuda = {"device_id": str(device.id)}
    if device.memory_limit is not None:
        # Growing by what is asked for, not by powers of two, or the limit would be met at half of it.
        cuda |= {"gpu_mem_limit": str(device.memory_limit), "arena_extend_strategy": "kSameAsRequested"}
    asked = [(CUDA, cuda)]
    if device.kind == "tensorrt":
        asked.insert(0, (TENSORRT, {"device_id": str(device.id)}))
    return asked if device.require_gpu else [*asked, (CPU_PROVIDER, {})]


def wanted_provider(kind: DeviceKind) -> str:
    return {"cpu": CPU_PROVIDER, "cuda": CUDA, "tensorrt": TENSORRT}[kind]


def missing(device: Device, runtime: Runtime, driver: str = _DRIVER) -> str | None:
    """Why models cannot run on `device`, with the remedy, in one sentence; None where nothing is missing."""
    if not device.is_gpu:
        return None
    if wanted_provider(device.kind) not in runtime.listed:
        return (
            f"the installed ONNX Runtime {runtime.version} was built without {device.kind}: uninstall onnxruntime, then install "
            "model-monitor[gpu] (Linux x86-64 only)"
        )
    try:
        count = device_count(driver)
    except OSError:
        return (
            f"there is no NVIDIA driver ({driver} is not found): install it, or give the container its GPUs (docker run --gpus all; "
            "resources.limits nvidia.com/gpu)"
        )
    if count == 0:
        return "the NVIDIA driver sees no GPU: check nvidia-smi, CUDA_VISIBLE_DEVICES and which devices the container was given"
    if device.id >= count:
        return f"serving.device.id is {device.id}, and the driver sees {count} GPU{'s' if count > 1 else ''}: give 0 to {count - 1}"
    library = library_missing(runtime.libraries / _PROVIDER_LIBRARIES[device.kind])
    if library is None:
        return None
    remedy = (
        "install TensorRT 10 for CUDA 13 and put the folder of its libraries in LD_LIBRARY_PATH"
        if library.startswith(("libnvinfer", "libnvonnxparser"))
        else "install model-monitor[gpu], or CUDA 13 and cuDNN 9 where the loader finds them (LD_LIBRARY_PATH)"
    )
    return f"a library of {device.kind} is not found, {library}: {remedy}"


def device_count(driver: str = _DRIVER) -> int:
    """GPUs that the driver sees; 0 where it sees none or cannot be used. Raises `OSError` where there is no driver."""
    library = ctypes.CDLL(driver)
    count = ctypes.c_int(0)
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def library_missing(library: Path) -> str | None:
    """The first library without which `library` cannot be loaded, or why else it cannot; None where it can."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        # glibc: "libcublasLt.so.13: cannot open shared object file: No such file or directory"
        name, _, reason = str(error).partition(":")
        return name if "cannot open shared object file" in reason else str(error)
    return None
