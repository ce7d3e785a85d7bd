"""Memory, load and temperature of the machine's NVIDIA devices, read now and then in a thread; nothing where there are none.

NVML's calls take milliseconds, and seconds where a driver hangs: a scrape shows what was read last. The library is optional.
"""

import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Final, NamedTuple

import structlog

from monitor.serving import series
from monitor.serving.tally import Tally

_logger = structlog.get_logger(__name__)

READ_SECONDS: Final = 5.0


class GpuReading(NamedTuple):
    """One device at one moment. `number` is NVML's, which need not be CUDA's: `uuid` is the same everywhere."""

    number: int
    uuid: str
    memory_bytes: int
    memory_used_bytes: int
    utilisation: float | None
    """Share of the time in which it computed; None where it does not tell, as parts of a device do not."""
    celsius: float | None


class Gpus:
    """Reads until the process ends. For one thread beside its own."""

    def __init__(self) -> None:
        self._latest: tuple[GpuReading, ...] = ()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begins to read, where there is something to read."""
        try:
            import pynvml  # type: ignore[import-untyped]  # it ships no types
        except ImportError:
            return
        threading.Thread(target=self.read, args=(pynvml,), name="gpus", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def __call__(self, tally: Tally) -> None:
        """Adds what was read last."""
        for gpu in self._latest:
            labels = (str(gpu.number), gpu.uuid)
            tally.add(series.DEVICE_MEMORY, labels, gpu.memory_bytes)
            tally.add(series.DEVICE_MEMORY_USED, labels, gpu.memory_used_bytes)
            if gpu.utilisation is not None:
                tally.add(series.DEVICE_UTILISATION, labels, gpu.utilisation)
            if gpu.celsius is not None:
                tally.add(series.DEVICE_TEMPERATURE, labels, gpu.celsius)

    def read(self, nvml: ModuleType) -> None:
        """Reads until it is stopped, and once at least. Returns where there is nothing to read."""
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            # No driver, or no device.
            return
        while True:
            try:
                self._latest = tuple(_readings(nvml))
            except nvml.NVMLError as error:
                _logger.warning("the devices cannot be read any more", reason=str(error))
                self._latest = ()
                return
            if self._stopping.wait(READ_SECONDS):
                return


def _readings(nvml: ModuleType) -> Iterator[GpuReading]:
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        try:
            utilisation = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        except nvml.NVMLError:
            utilisation = None
        try:
            celsius = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        except nvml.NVMLError:
            celsius = None
        yield GpuReading(number, nvml.nvmlDeviceGetUUID(handle), memory.total, memory.used, utilisation, celsius)
