"""What a request says about its rows beside the tensors: ids, times, segments, and features that the model does not take."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from monitor.clock import Milliseconds
from monitor.codec.identity import ID_BYTES_LIMIT
from monitor.codec.times import LAST_MILLISECOND
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import json_type

REQUEST_ID_BYTES_LIMIT: Final = 500
"""A request's id becomes `<id>/<row>`, which has to fit too."""

Extras = dict[str, list[Any]]
"""Values per row by name: strings, numbers, booleans, None."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class RowParameters(NamedTuple):
    """`parameters.ids`, `times`, `segments` and `features`; None where a request has none."""

    ids: list[str] | None
    times: list[Milliseconds] | None
    segments: Extras | None
    features: Extras | None


NO_PARAMETERS: Final = RowParameters(None, None, None, None)


def row_parameters(parameters: Mapping[str, object], rows: int) -> RowParameters:
    """Those of a request of that many rows; `NO_PARAMETERS` itself where it has none, whatever else is there. Raises `BadRequest`."""
    ids, times, segments, features = (_given(parameters, key) for key in RowParameters._fields)
    if ids is None and times is None and segments is None and features is None:
        return NO_PARAMETERS
    return RowParameters(_ids(ids, rows), _times(times, rows), _extras("segments", segments, rows), _extras("features", features, rows))


def request_id(value: object) -> str:
    """The request's own id, "" where it has none. Raises `BadRequest`."""
    if value == "" or _is_id(value, REQUEST_ID_BYTES_LIMIT):
        return str(value)
    raise BadRequest(f'"id" must be a string of at most {REQUEST_ID_BYTES_LIMIT} bytes')


def parse_time(value: object) -> Milliseconds | None:
    """Milliseconds since the epoch from that number or from RFC 3339 with an offset; None for anything else."""
    if type(value) is int:
        time = value
    elif type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        # Integer arithmetic: a float of seconds is off by a millisecond now and then.
        time = (moment - _EPOCH) // _MILLISECOND
    else:
        return None
    return time if 0 <= time <= LAST_MILLISECOND else None


def _given(parameters: Mapping[str, object], key: str) -> object:
    """A parameter's value. In gRPC, and with tritonclient, a parameter is a string, a number or a boolean: a string holds the JSON."""
    value = parameters.get(key)
    if type(value) is not str:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f'"parameters.{key}" is a string that holds no JSON: {error}') from None


def _ids(ids: object, rows: int) -> list[str] | None:
    if ids is None:
        return None
    if type(ids) is not list or len(ids) != rows:
        raise BadRequest(f'"parameters.ids" must be an array with one id for each of the {rows} rows')
    for row, value in enumerate(ids):
        if not _is_id(value, ID_BYTES_LIMIT):
            raise BadRequest(f'"parameters.ids"[{row}] must be a string of 1 to {ID_BYTES_LIMIT} bytes')
    return ids


def _is_id(value: object, limit: int) -> bool:
    return type(value) is str and 0 < len(value) <= limit and (value.isascii() or len(value.encode()) <= limit)


def _times(values: object, rows: int) -> list[Milliseconds] | None:
    if values is None:
        return None
    if type(values) is not list or len(values) != rows:
        raise BadRequest(f'"parameters.times" must be an array with one time for each of the {rows} rows')
    times = []
    for row, value in enumerate(values):
        time = parse_time(value)
        if time is None:
            raise BadRequest(
                f'"parameters.times"[{row}] must be epoch milliseconds, or RFC 3339 with an offset such as 2013-03-01T05:15:00Z'
            )
        times.append(time)
    return times


def _extras(key: str, values: object, rows: int) -> Extras | None:
    if values is None:
        return None
    if type(values) is not dict:
        raise BadRequest(f'"parameters.{key}" must be an object of arrays, not {json_type(values)}')
    for name, column in values.items():
        if type(column) is not list or len(column) != rows:
            raise BadRequest(f'"parameters.{key}.{name[:80]}" must be an array with one value for each of the {rows} rows')
        for row, value in enumerate(column):
            if isinstance(value, list | dict):
                raise BadRequest(f'"parameters.{key}.{name[:80]}"[{row}] must be a string, number, boolean or null, not {json_type(value)}')
    return values
