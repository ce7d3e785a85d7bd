"""bfloat16, which NumPy lacks: the upper half of a float32. Tensors hold its bits as uint16; these turn them into numbers and back."""

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint16]

LARGEST = 3.3895313892515355e38
"""(2 − 2⁻⁷) · 2¹²⁷: what is half a step above it or more rounds to infinity."""


def floats(bits: Bits) -> npt.NDArray[np.float32]:
    """The numbers that the bits stand for, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bits(values: npt.NDArray[np.float64]) -> Bits:
    """Each number rounded to the nearest bfloat16, ties to even; a NaN stays one, and what is too large becomes an infinity.

    Rounding twice, to float32 and then to 16 bits, would turn a number just below a tie into the tie. So the first step rounds to odd: it
    cuts off, and leaves a trace of what it cut off in the last bit (Boldo and Melquiond 2008, "Emulation of FMA and Correctly Rounded
    Sums").
    """
    with np.errstate(over="ignore", invalid="ignore"):
        near = values.astype(np.float32)
        excess = np.abs(near.astype(np.float64)) - np.abs(values)
    words = near.view(np.uint32) - (excess > 0)
    words |= excess != 0
    rounded = (words + 0x7FFF + ((words >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def infinite(bits: Bits) -> npt.NDArray[np.bool_]:
    """Which of them are infinities."""
    found: npt.NDArray[np.bool_] = (bits & 0x7FFF) == 0x7F80
    return found
