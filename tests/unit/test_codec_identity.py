"""Ids to digests and partitions, against the hashes' own implementations."""

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from kafka.partitioner.default import murmur2

from monitor.codec.identity import digest, partition_hash, partitions_of

OF_EVERY_LENGTH = ["x" * length for length in range(201)]
UNICODE = ["é" * length for length in range(1, 40)] + ["漢字" * length + "!" for length in range(1, 40)] + ["🛩", "a\x00b", ""]


def _agree(ids: pa.Array) -> None:
    texts = ids.to_pylist()
    assert [tuple(row) for row in digest(ids).tolist()] == [mmh3.hash64(text.encode(), signed=False) for text in texts]
    assert partition_hash(ids).tolist() == [murmur2(text.encode()) & 0x7FFFFFFF for text in texts]


@pytest.mark.parametrize("texts", [OF_EVERY_LENGTH, UNICODE, ["same length 1", "same length 2"], [""], ["", ""], []])
def test_both_hashes_are_the_published_ones(texts: list[str]) -> None:
    _agree(pa.array(texts, pa.string()))
    _agree(pa.array(texts, pa.large_string()))


def test_a_slice_is_hashed_as_what_it_shows() -> None:
    _agree(pa.array(UNICODE).slice(3, 20))
    _agree(pa.array(["abc", "def", "ghi", "jkl"]).slice(1, 2))
    _agree(pa.array(OF_EVERY_LENGTH, pa.large_string()).slice(100))


def test_order_is_kept_over_more_rows_than_are_hashed_at_a_time() -> None:
    _agree(pa.array([f"flight-{number}" for number in range(20_000)]))
    _agree(pa.array([f"flight-{number:08}" for number in range(20_000)]))


def test_partitions_are_those_of_kafka_s_default_partitioner() -> None:
    ids = [f"2013-01-01-UA-{number}-EWR" for number in range(500)]
    expected = [(murmur2(text.encode()) & 0x7FFFFFFF) % 12 for text in ids]
    partitions = partitions_of(pa.array(ids), 12)
    assert partitions.tolist() == expected
    assert partitions.dtype == np.int32
