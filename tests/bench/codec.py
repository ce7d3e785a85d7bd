"""Speed of the codec, each figure beside a floor of the same bytes in the same run.

`python -m tests.bench.codec`: 50,000 events a call, as a poll hands them over. The floor of Arrow is to read and check the messages and put
them together, that of JSON to parse it; neither hashes an id, applies a rule or makes a column. Times are the processor's, of all threads.
"""

import time
from collections.abc import Callable, Sequence

import mmh3
import numpy as np
import orjson
import pyarrow as pa

from monitor.codec import decode_labels, decode_predictions
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.codec.identity import digest, partition_hash
from monitor.events import FeatureKind, LabelValues, Schema, Task
from monitor.log import ARROW, JSON, Record

RECORDS = 100
ROWS = 500
EVENTS = RECORDS * ROWS
NUMERIC = [f"f{number}" for number in range(10)]
CATEGORICAL = ["carrier", "origin"]
TIME = 1_357_034_400_000


def schema(features: dict[str, FeatureKind]) -> tuple[Schema, ...]:
    return (Schema("bench", Task.BINARY, ("on_time", "late"), 1, 0.5, features),)


NUMBERS = schema(dict.fromkeys(NUMERIC, FeatureKind.NUMERIC))
MIXED = schema(dict.fromkeys(NUMERIC, FeatureKind.NUMERIC) | dict.fromkeys(CATEGORICAL, FeatureKind.CATEGORICAL))


class Rows:
    """One record's worth of events."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.ids = [f"{seed:08x}-{row:04x}-7000-8000-{generator.integers(2**48):012x}" for row in range(ROWS)]
        self.time = TIME + np.arange(ROWS)
        self.score = generator.random(ROWS)
        self.decided = np.where(self.score >= 0.5, "late", "on_time")
        self.numeric = {name: generator.normal(size=ROWS) for name in NUMERIC}
        self.categorical = {name: generator.choice(["UA", "DL", "B6", "AA"], ROWS) for name in CATEGORICAL}

    def predictions(self, *, categorical: bool = False) -> bytes:
        return encode_predictions(
            model="bench",
            version="1",
            ids=self.ids,
            time=self.time,
            arrival=self.time,
            prediction=self.decided,
            scores={"": self.score},
            features=self.numeric | self.categorical if categorical else self.numeric,
        )

    def labels(self) -> bytes:
        return encode_labels(ids=self.ids, label=self.decided, arrival=self.time, model="bench")

    def json(self) -> list[bytes]:
        return [
            orjson.dumps(
                {
                    "id": self.ids[row],
                    "time": int(self.time[row]),
                    "model": "bench",
                    "version": "1",
                    "features": {name: float(values[row]) for name, values in self.numeric.items()},
                    "score": float(self.score[row]),
                }
            )
            for row in range(ROWS)
        ]


def records(values: Sequence[bytes], content_type: str) -> list[Record]:
    return [Record(offset, TIME, value, content_type) for offset, value in enumerate(values)]


def only_read(values: Sequence[bytes]) -> None:
    batches = [batch for value in values for batch in pa.ipc.open_stream(value)]
    for batch in batches:
        batch.validate(full=True)
    pa.Table.from_batches(batches).combine_chunks()


def seconds(run: Callable[[], object], repeats: int = 7) -> float:
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best


def show(name: str, count: int, taken: float, floor_name: str, floor: float) -> None:
    each, least = taken / count * 1e9, floor / count * 1e9
    print(f"{name:44} {1e3 / each:8.2f} M/s {each:9.1f} ns   {floor_name} {least:.1f} ns, ratio {taken / floor:.2f}")


def main() -> None:
    rows = [Rows(seed) for seed in range(RECORDS)]
    numbers = [one.predictions() for one in rows]
    mixed = [one.predictions(categorical=True) for one in rows]
    labels = [one.labels() for one in rows]
    events = [value for one in rows for value in one.json()]
    values = LabelValues.of(NUMBERS)

    for name, messages, schemas in (
        ("predictions, 10 numbers", numbers, NUMBERS),
        ("predictions, 10 numbers and 2 categories", mixed, MIXED),
    ):
        read, floor = records(messages, ARROW), seconds(lambda messages=messages: only_read(messages))  # type: ignore[misc]  # bound now
        show(name, EVENTS, seconds(lambda read=read, schemas=schemas: decode_predictions(read, schemas)), "only read", floor)  # type: ignore[misc]
    read = records(labels, ARROW)
    show("labels", EVENTS, seconds(lambda: decode_labels(read, NUMBERS, values, False)), "only read", seconds(lambda: only_read(labels)))
    single = records(events, JSON)
    parsed = seconds(lambda: [orjson.loads(event) for event in events], 3)
    show("predictions as single JSON events", EVENTS, seconds(lambda: decode_predictions(single, NUMBERS), 3), "only parsed", parsed)

    ids = [name for one in rows for name in one.ids]
    column = pa.array(ids)
    show(
        "digest of 36-byte ids",
        EVENTS,
        seconds(lambda: digest(column)),
        "mmh3 in a loop",
        seconds(lambda: [mmh3.hash64(name) for name in ids]),
    )
    show("partition of 36-byte ids", EVENTS, seconds(lambda: partition_hash(column)), "digest", seconds(lambda: digest(column)))

    one = rows[0]
    table = pa.table({"id": one.ids, "decided": one.decided, **one.numeric})
    taken = seconds(one.predictions, 50)
    show(f"encode, a message of {ROWS} rows × 15 columns", ROWS, taken, "the table alone", seconds(lambda: written(table), 50))


def written(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


if __name__ == "__main__":
    main()
