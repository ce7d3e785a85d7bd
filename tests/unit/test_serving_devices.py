"""What a GPU needs, looked for where it has to be: a driver, devices, libraries; and memory that it reads itself.

There is no GPU in these tests: small libraries stand in for the driver and for CUDA's runtime, so that the calls themselves are real.
"""

import ctypes
import gc
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.serving.devices import Runtime, device_count, library_missing, missing, providers
from monitor.serving.pinned import SMALLEST_BYTES, CudaPageLock, Pool, leave_pageable
from monitor.serving.run_options import Device

CUDA, TENSORRT = Device("cuda"), Device("tensorrt")
LISTED = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")

needs_cc = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler, for stand-ins of CUDA's libraries"
)


def library(path: Path, source: str, *flags: str) -> Path:
    path.with_suffix(".c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, path.with_suffix(".c"), *flags], check=True)
    return path


def driver(folder: Path, *, code: int = 0, count: int = 1) -> str:
    source = (
        f"int cuInit(unsigned flags) {{ (void)flags; return {code}; }} int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}"
    )
    return str(library(folder / "libcuda.so.1", source))


def runtime(folder: Path) -> Runtime:
    return Runtime("1.31.1", LISTED, folder)


def test_the_cpu_misses_nothing(tmp_path: Path) -> None:
    assert missing(Device(), Runtime("1.31.1", (), tmp_path)) is None


def test_a_wheel_without_cuda_is_told_with_the_one_to_install(tmp_path: Path) -> None:
    reason = missing(CUDA, replace(runtime(tmp_path), listed=("CPUExecutionProvider",)))
    assert reason == (
        "the installed ONNX Runtime 1.31.1 was built without cuda: "
        "uninstall onnxruntime, then install model-monitor[gpu] (Linux x86-64 only)"
    )


def test_a_driver_that_is_not_there_is_told() -> None:
    reason = missing(CUDA, runtime(Path()), driver="libnosuchdriver.so.1")
    assert reason is not None
    assert reason.startswith("there is no NVIDIA driver (libnosuchdriver.so.1 is not found): install it, or give the container its GPUs")


@needs_cc
@pytest.mark.parametrize(("code", "count"), [(100, 1), (0, 0)], ids=["the driver cannot start", "it has no device"])
def test_a_driver_without_devices_is_told(tmp_path: Path, code: int, count: int) -> None:
    found = driver(tmp_path, code=code, count=count)
    assert device_count(found) == 0
    reason = missing(CUDA, runtime(tmp_path), found)
    assert reason is not None
    assert reason.startswith("the NVIDIA driver sees no GPU: check nvidia-smi, CUDA_VISIBLE_DEVICES")


@needs_cc
def test_a_device_beyond_those_there_are_is_told(tmp_path: Path) -> None:
    reason = missing(Device("cuda", id=2), runtime(tmp_path), driver(tmp_path, count=2))
    assert reason == "serving.device.id is 2, and the driver sees 2 GPUs: give 0 to 1"


@needs_cc
@pytest.mark.parametrize(
    ("device", "needed", "remedy"),
    [(CUDA, "libcublasLt.so.13", "install model-monitor[gpu]"), (TENSORRT, "libnvinfer.so.10", "install TensorRT 10 for CUDA 13")],
)
def test_a_library_that_is_missing_is_named(tmp_path: Path, device: Device, needed: str, remedy: str) -> None:
    found = driver(tmp_path)
    absent = library(tmp_path / needed, "int needed(void) { return 1; }", f"-Wl,-soname,{needed}")
    provider = tmp_path / f"libonnxruntime_providers_{device.kind}.so"
    library(provider, "int needed(void); int provider(void) { return needed(); }", str(absent))
    absent.unlink()
    reason = missing(device, runtime(tmp_path), found)
    assert reason is not None
    assert reason.startswith(f"a library of {device.kind} is not found, {needed}: {remedy}")


@needs_cc
def test_nothing_is_missing_where_driver_device_and_libraries_are_there(tmp_path: Path) -> None:
    found = driver(tmp_path)
    library(tmp_path / "libonnxruntime_providers_cuda.so", "int provider(void) { return 1; }")
    assert missing(CUDA, runtime(tmp_path), found) is None


def test_a_library_that_is_broken_is_told_as_the_loader_tells_it(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"no library")
    told = library_missing(tmp_path / "broken.so")
    assert told is not None
    assert "broken.so" in told


def test_sessions_are_asked_for_the_gpu_first_and_for_the_cpu_unless_the_gpu_is_required() -> None:
    cuda = ("CUDAExecutionProvider", {"device_id": "1"})
    assert providers(Device()) == [("CPUExecutionProvider", {})]
    assert providers(Device("cuda", id=1)) == [cuda, ("CPUExecutionProvider", {})]
    assert providers(Device("cuda", id=1, require_gpu=True)) == [cuda]
    assert providers(Device("tensorrt", id=1, require_gpu=True)) == [("TensorrtExecutionProvider", {"device_id": "1"}), cuda]


def test_a_memory_limit_is_not_met_by_growing_in_powers_of_two() -> None:
    (_, options), _ = providers(Device("cuda", memory_limit=1_000_000))
    assert options == {"device_id": "0", "gpu_mem_limit": "1000000", "arena_extend_strategy": "kSameAsRequested"}


def test_a_buffer_serves_the_next_run_of_about_the_same_size() -> None:
    pool = Pool(leave_pageable)
    with pool.borrowed(5_000) as first:
        address = first.ctypes.data
        with pool.borrowed(5_000) as at_the_same_time:
            assert at_the_same_time.ctypes.data != address
    with pool.borrowed(8_192) as later:
        assert later.ctypes.data == address
    with pool.borrowed(8_193) as greater:
        assert greater.ctypes.data != address
        assert len(greater) == 8_193


def test_every_buffer_is_locked_once() -> None:
    sizes: list[int] = []
    pool = Pool(lambda buffer: sizes.append(buffer.nbytes))
    for size in (1, 10, SMALLEST_BYTES, SMALLEST_BYTES + 1, 20_000):
        with pool.borrowed(size):
            pass
    assert sizes == [SMALLEST_BYTES, 2 * SMALLEST_BYTES, 8 * SMALLEST_BYTES]


@needs_cc
@pytest.mark.parametrize("code", [0, 2], ids=["locked", "the limit of locked memory is reached"])
def test_pages_are_locked_for_as_long_as_their_buffer_lives(tmp_path: Path, code: int) -> None:
    source = (
        "#include <stddef.h>\n"
        "size_t locked = 0; unsigned kind = 0; int unlocked = 0;"
        f"int cudaHostRegister(void *start, size_t size, unsigned flags) {{ (void)start; locked += size; kind = flags; return {code}; }}"
        "int cudaHostUnregister(void *start) { (void)start; unlocked += 1; return 0; }"
    )
    path = library(tmp_path / "libcudart.so.13", source)
    counted = ctypes.CDLL(str(path))
    pool = Pool(CudaPageLock(str(path)))
    with pool.borrowed(10_000):
        pass
    assert ctypes.c_size_t.in_dll(counted, "locked").value == 16_384
    assert ctypes.c_uint.in_dll(counted, "kind").value == 1
    assert ctypes.c_int.in_dll(counted, "unlocked").value == 0
    del pool
    gc.collect()
    assert ctypes.c_int.in_dll(counted, "unlocked").value == (1 if code == 0 else 0)
