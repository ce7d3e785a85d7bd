"""The one rule on floating values that are no numbers, whichever form they come in: NaN is a missing value, an infinity is refused.

In JSON, which can write neither, a missing value is null, and a number that would become an infinity (1e39 as FP32) is refused as out of
range; so is an infinity in gRPC's typed contents. In binary data every NaN bit pattern is a missing value, and an infinity is refused here.
Models see NaN for a missing value; answers in JSON write null for whatever a model gives that is no finite number, those in bytes its bits.
"""

import numpy as np

from monitor.serving import bfloat16
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import Tensor, TensorSpec


def refuse_infinities(spec: TensorSpec, tensor: Tensor) -> None:
    """Raises `BadRequest` with the first one's position; integers, booleans and strings have none."""
    if spec.datatype == "BF16":
        found = bfloat16.infinite(tensor)
    elif tensor.dtype.kind == "f":
        found = np.isinf(tensor)
    else:
        return
    if found.any():
        index = int(found.argmax())
        raise BadRequest(
            f'input "{spec.name}": element {index} is infinite: {spec.datatype} data must be finite, or NaN for a missing value'
        )
