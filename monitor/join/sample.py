"""Which ids are joined where only a share of them is.

Laws. The decision is a function of the id alone: the same in both logs, in every partition, for every model and version, and in each
replay. The sample of a smaller share lies within that of a greater one. It goes by the second word of the id's 128-bit hash: the
partition is another hash of the id (murmur2), and the index's buckets go by the first word, so neither sees a sample.
"""

import numpy as np

from monitor.events import Bools, UInt64s


def in_sample(ids: UInt64s, share: float) -> Bools:
    """Which of the ids, uint64 (n, 2), belong to the sample of this share, in (0, 1]: bool (n,)."""
    if share >= 1.0:
        return np.ones(len(ids), dtype=np.bool_)
    below: Bools = ids[:, 1] < np.uint64(int(share * 2**64))
    return below
