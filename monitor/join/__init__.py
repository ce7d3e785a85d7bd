"""The join of predictions with their labels: which pairs exist, as a function of a partition's two ordered logs.

`JoinTable` takes the rows of either log, batch by batch, and answers with an outcome for each row and with *changes*: pairs that
enter the sums and pairs that leave them again. It is NumPy throughout and costs no Python object per row.

*Words.* W_P and W_L are the logs' watermarks: the greatest arrival up to a row, that row included. D bounds disorder: a row that
arrives more than D behind its watermark is refused, and so is a prediction older than D when it arrives. E is how long before its
prediction a label may arrive, H (by model, at least D) how long after it.

Laws, each held by `tests/laws/test_join_laws.py` against an implementation that keeps everything and handles events one by one:

- *Outcomes* of the rows of a log depend on nothing but that log.
- *Pairs* depend on the two logs read so far, never on their interleaving or on where batches end: a prediction's actual is a
  function of the multiset of labels on time for it, and all changes add up to one +1 for each prediction that has an actual.
- *Freeing never changes a result.* A prediction goes when min(W_P, W_L) > time + H + D: a label that comes then arrived after
  time + H. A label goes when W_P > arrival + E + 2D, since every prediction that comes then was made more than E after it, and when the
  predictions that it met may go as well, so that the labels of a prediction that can still change are all there.
- *Restoring* from bytes at any point changes nothing that follows.

*A sample.* Where memory has to be less, only a share of the ids is joined (`monitor.join.sample`). A row outside it moves its log's
watermark and is judged like all others, then it is `unsampled`: it is not held, so its repeats cannot be told either. What comes out is
what the logs mean without those rows. Ratios of the sums are unbiased; supports, confusions and all other counts are those of the sample,
shown as they were counted and never scaled up, because a number that was not counted has no interval.

Two things stand outside the laws: the limit of rows, which depends on what has been freed (each row that it refuses is counted), and
equality of ids, which is that of their 128-bit hashes.
"""

from monitor.join.rows import (
    ACCEPTED,
    OUTCOMES,
    OVER_LIMIT,
    UNSAMPLED,
    Corrections,
    JoinRules,
    LabelRows,
    LabelsAdded,
    PairChanges,
    PairCounts,
    PredictionRows,
    PredictionsAdded,
)
from monitor.join.table import JoinTable

__all__ = [
    "ACCEPTED",
    "OUTCOMES",
    "OVER_LIMIT",
    "UNSAMPLED",
    "Corrections",
    "JoinRules",
    "JoinTable",
    "LabelRows",
    "LabelsAdded",
    "PairChanges",
    "PairCounts",
    "PredictionRows",
    "PredictionsAdded",
]
