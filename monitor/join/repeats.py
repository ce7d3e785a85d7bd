"""Which predictions repeat an earlier one: decided by the predictions log alone, so that every replay decides alike.

A row is a duplicate exactly while the log's watermark, its own row included, has not passed the expiry of the latest accepted row
of its identity (id, model and version). After that it is a prediction of its own, and the one that later rows are held against.
"""

from dataclasses import dataclass

import numpy as np

from monitor.events import Bools, Int32s, Int64s, UInt32s, UInt64s

IDENTITY_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Repeats:
    """For n rows: is it a `duplicate`, and `differing` from its first; `first` is that one's position, -1 if from an earlier batch."""

    duplicate: Bools
    differing: Bools
    first: Int64s


@dataclass(slots=True)
class Firsts:
    """The latest accepted row of each of n groups so far: its expiry, content, and position in the batch (-1: from before)."""

    expiry: Int64s
    content: UInt32s
    position: Int64s


def identity_groups(ids: UInt64s, identity: Int32s) -> Int64s:
    """A group number below n for each of n rows, equal for equal identities."""
    group = np.arange(len(ids))
    key = ids[:, 0] + identity.astype(np.uint64) * IDENTITY_MIX
    order = np.argsort(key)
    alike = key[order[1:]] == key[order[:-1]]
    if alike.any():
        suspects = order[np.append(alike, False) | np.append(False, alike)]
        ranked = suspects[np.lexsort((identity[suspects], ids[suspects, 1], ids[suspects, 0]))]
        fresh = np.ones(len(ranked), dtype=np.bool_)
        fresh[1:] = (ids[ranked[1:]] != ids[ranked[:-1]]).any(axis=1) | (identity[ranked[1:]] != identity[ranked[:-1]])
        group[ranked] = ranked[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
    return group


def repeats(group: Int64s, watermark: Int64s, expiry: Int64s, content: UInt32s, firsts: Firsts) -> Repeats:
    """Goes through the rows of each group in log order, all groups at once; `firsts` is used up.

    The watermark never falls, so a group's duplicates of one first are a run. A round takes that run off each group and accepts the row
    after it: as many rounds as the most often accepted identity has rows, which is one in all but odd batches.
    """
    duplicate = np.zeros(len(group), dtype=np.bool_)
    differing = np.zeros(len(group), dtype=np.bool_)
    first = np.full(len(group), -1, dtype=np.int64)
    left = np.argsort(group, kind="stable")
    while len(left):
        of = group[left]
        repeated = watermark[left] <= firsts.expiry[of]
        run, run_of = left[repeated], of[repeated]
        duplicate[run] = True
        differing[run] = content[run] != firsts.content[run_of]
        first[run] = firsts.position[run_of]
        left, of = left[~repeated], of[~repeated]
        leading = np.ones(len(left), dtype=np.bool_)
        leading[1:] = of[1:] != of[:-1]
        accepted, accepted_of = left[leading], of[leading]
        firsts.expiry[accepted_of] = expiry[accepted]
        firsts.content[accepted_of] = content[accepted]
        firsts.position[accepted_of] = accepted
        left = left[~leading]
    return Repeats(duplicate, differing, first)
