"""What the world sends, in the order in which it happened: inference requests at departure, labels when flights landed.

A pure function of the flights: life's accidents (labels first sent wrong and then corrected, labels before their prediction) are
chosen by a hash of the id, and every flight's last word is the truth. Knows nothing of sockets or pace.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from monitor.clock import Milliseconds
from monitor.demo.flights import HOUR_MS, MINUTE_MS, NO_LABEL, Flights
from monitor.demo.recipe import CATEGORICAL, CLASSES, MODEL, MONITORED, NUMERIC
from monitor.events import Int64s, Stream

CORRECTED_PER_MILLE: Final = 3
EARLY_PER_MILLE: Final = 2
CORRECTED_WITHIN_MS: Final = 23 * HOUR_MS
"""A correction follows its first word by 1 to 24 hours; landing takes up to 33, and the horizon is three days."""
EARLY_WITHIN_MS: Final = 5 * HOUR_MS
"""An early label precedes its flight's departure by 1 to 6 hours; the join accepts 24."""
LABELS_TOGETHER_MS: Final = 30 * MINUTE_MS
"""Labels of one half hour, with their exact times, share an array, sent when the half hour is over."""


@dataclass(frozen=True, slots=True)
class Request:
    """One body for one of the server's doors, to be sent at `due` (event time)."""

    stream: Stream
    due: Milliseconds
    body: bytes
    events: int


@dataclass(frozen=True, slots=True)
class LabelEvents:
    """m labels in the order of their times: when each is sent, of which flight (its position), and what it says (1 is late)."""

    time: Int64s
    flight: Int64s
    late: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.time)


def requests(flights: Flights) -> Iterator[Request]:
    """Everything to send, by event time; at one instant the labels of the past come before the departures of the moment."""
    return merge(_predictions(flights), _labels(flights, label_events(flights)), key=_place)


def label_events(flights: Flights) -> LabelEvents:
    """Each labelled flight's label at its landing; a few corrected later, a few before departure."""
    flight = np.flatnonzero(flights.late != NO_LABEL)
    digest = np.fromiter((zlib.crc32(text.encode()) for text in flights.ids[flight]), np.int64, len(flight))
    draw, share = digest % 1000, digest // 1000 % 1000
    corrected = draw < CORRECTED_PER_MILLE
    early = (draw >= CORRECTED_PER_MILLE) & (draw < CORRECTED_PER_MILLE + EARLY_PER_MILLE)
    time = flights.landed[flight]
    correction = time + HOUR_MS + CORRECTED_WITHIN_MS * share // 1000
    before = flights.scheduled[flight] - HOUR_MS - EARLY_WITHIN_MS * share // 1000
    truth = flights.late[flight]
    all_times = np.concatenate([np.where(early, before, time), correction[corrected]])
    all_flights = np.concatenate([flight, flight[corrected]])
    all_late = np.concatenate([np.where(corrected, 1 - truth, truth), truth[corrected]]).astype(np.int8)
    order = np.argsort(all_times, kind="stable")
    return LabelEvents(all_times[order], all_flights[order], all_late[order])


def _predictions(flights: Flights) -> Iterator[Request]:
    """One Open Inference request for the flights of each minute, one input per feature; NaN is written as null."""
    for due, rows in _runs(flights.scheduled):
        count = rows.stop - rows.start
        shape = (count, 1)
        inputs = [{"name": name, "shape": shape, "datatype": "FP32", "data": flights.numeric[name][rows].tolist()} for name in NUMERIC] + [
            {"name": name, "shape": shape, "datatype": "BYTES", "data": flights.text[name][rows].tolist()} for name in CATEGORICAL
        ]
        parameters = {
            "ids": flights.ids[rows].tolist(),
            "times": [due] * count,
            "features": {name: flights.text[name][rows].tolist() for name in MONITORED},
        }
        yield Request(Stream.PREDICTIONS, due, orjson.dumps({"parameters": parameters, "inputs": inputs}), count)


def _labels(flights: Flights, labels: LabelEvents) -> Iterator[Request]:
    for bucket, rows in _runs(labels.time // LABELS_TOGETHER_MS):
        events = zip(flights.ids[labels.flight[rows]].tolist(), labels.late[rows].tolist(), labels.time[rows].tolist(), strict=True)
        body = [{"id": name, "model": MODEL, "label": CLASSES[late], "time": time} for name, late, time in events]
        yield Request(Stream.LABELS, (bucket + 1) * LABELS_TOGETHER_MS, orjson.dumps(body), len(body))


def _runs(ascending: Int64s) -> Iterator[tuple[int, slice]]:
    """Each distinct value with the positions it takes."""
    values, starts = np.unique(ascending, return_index=True)
    edges = [*starts.tolist(), len(ascending)]
    for value, (start, end) in zip(values.tolist(), pairwise(edges), strict=True):
        yield value, slice(start, end)


def _place(request: Request) -> tuple[Milliseconds, bool]:
    return request.due, request.stream is Stream.PREDICTIONS
