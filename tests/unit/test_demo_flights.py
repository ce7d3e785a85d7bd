"""The flights' files have traps; each one that was found has a row here."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from monitor.demo.flights import NO_LABEL, Flights, read_flights

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
    "origin,dest,air_time,distance,hour,minute,time_hour\n"
)


def flight(
    day: str,
    leaves: int,
    arrives: int,
    delay: str,
    hour_utc: str,
    *,
    number: int = 1,
    destination: str = "BOS",
    origin: str = "JFK",
) -> str:
    year, month, date = day.split("-")
    place = f"{origin},{destination},60,187,{leaves // 100},{leaves % 100},{hour_utc}"
    return f"{year},{int(month)},{int(date)},NA,{leaves},NA,NA,{arrives},{delay},DL,{number},N1,{place}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "airports.csv").write_text(
        "faa,name,lat,lon,alt,tz,dst,tzone\n"
        "BOS,Boston,42,-71,20,-5,A,America/New_York\n"
        "LAX,Los Angeles,33,-118,126,-8,A,America/Los_Angeles\n"
    )
    (tmp_path / "weather.csv").write_text(
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n"
        "JFK,2013,3,1,8,39.02,26,59.37,270,NA,NA,0,1012,10,2013-03-01T13:00:00Z\n"
        "EWR,2013,3,1,8,35.06,26,50.01,270,5.5,NA,0,NA,10,2013-03-01T13:00:00Z\n"
    )
    return tmp_path


def read(folder: Path, *rows: str) -> Flights:
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", HEADER + "".join(rows))
    return read_flights(folder)


def utc(milliseconds: np.int64) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


def test_departure_is_the_utc_hour_and_the_local_minute(folder: Path) -> None:
    assert utc(read(folder, flight("2013-03-01", 830, 940, "0", "2013-03-01T13:00:00Z")).scheduled[0]) == "2013-03-01T13:30"


def test_arrival_is_told_in_the_destinations_zone(folder: Path) -> None:
    flights = read(folder, flight("2013-03-01", 830, 1140, "15", "2013-03-01T13:00:00Z", destination="LAX"))
    assert utc(flights.landed[0]) == "2013-03-01T19:55"


def test_an_airport_that_the_table_lacks_has_its_zone_all_the_same(folder: Path) -> None:
    flights = read(folder, flight("2013-03-01", 830, 1310, "0", "2013-03-01T13:00:00Z", destination="SJU"))
    assert utc(flights.landed[0]) == "2013-03-01T17:10"


def test_midnight_is_2400_of_the_same_day(folder: Path) -> None:
    assert utc(read(folder, flight("2013-03-01", 2200, 2400, "0", "2013-03-02T03:00:00Z")).landed[0]) == "2013-03-02T05:00"


def test_an_arrival_before_the_departure_is_of_the_next_day(folder: Path) -> None:
    assert utc(read(folder, flight("2013-03-01", 2300, 10, "5", "2013-03-02T04:00:00Z")).landed[0]) == "2013-03-02T05:15"


def test_the_next_day_begins_an_hour_later_when_the_clocks_go_back_in_between(folder: Path) -> None:
    assert utc(read(folder, flight("2013-11-03", 2245, 3, "-15", "2013-11-04T03:00:00Z")).landed[0]) == "2013-11-04T04:48"


@pytest.mark.parametrize(("delay", "late"), [("14", 0), ("15", 1), ("-3", 0), ("NA", NO_LABEL)])
def test_fifteen_minutes_are_late_and_an_unknown_delay_is_no_label(folder: Path, delay: str, late: int) -> None:
    assert read(folder, flight("2013-03-01", 830, 940, delay, "2013-03-01T13:00:00Z")).late.tolist() == [late]


def test_weather_comes_from_the_origin_and_what_was_not_reported_is_nan(folder: Path) -> None:
    here = flight("2013-03-01", 830, 940, "0", "2013-03-01T13:00:00Z", number=1)
    there = flight("2013-03-01", 840, 940, "0", "2013-03-01T13:00:00Z", number=2, origin="EWR")
    unreported = flight("2013-03-01", 930, 1040, "0", "2013-03-01T14:00:00Z", number=3)
    flights = read(folder, here, there, unreported)
    np.testing.assert_array_equal(flights.numeric["temp"], np.array([39.02, 35.06, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(flights.numeric["wind_speed"], np.array([np.nan, 5.5, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(flights.numeric["pressure"], np.array([1012, np.nan, np.nan], dtype=np.float32))


def test_flights_come_in_the_order_of_their_departure_whatever_the_files_order(folder: Path) -> None:
    october = flight("2013-10-01", 830, 940, "0", "2013-10-01T12:00:00Z")
    february = flight("2013-02-01", 830, 940, "0", "2013-02-01T13:00:00Z", number=7)
    assert read(folder, october, february).ids.tolist() == ["2013-02-01-DL-7-JFK", "2013-10-01-DL-1-JFK"]


def test_hour_and_weekday_are_local(folder: Path) -> None:
    flights = read(folder, flight("2013-03-01", 2230, 2340, "0", "2013-03-02T03:00:00Z"))
    assert (flights.numeric["sched_hour"][0], flights.numeric["weekday"][0]) == (22.5, 4)
