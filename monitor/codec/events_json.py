"""JSON events at a door: the rules of the log, told at once and row by row, so that a bad body is refused instead of counted."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.codec import json_frames
from monitor.codec.json_frames import Event
from monitor.codec.labels import labels_of
from monitor.codec.predictions import predictions_of
from monitor.codec.times import LAST_MILLISECOND
from monitor.events import LabelValues, Rejection, Schema
from monitor.log import Record


@dataclass(frozen=True, slots=True)
class ParsedEvents:
    """What a body holds: its events as they were sent, and (position, reason) for each that the daemon would refuse.

    A position counts events from 0: those of an array, or bodies of one event each.
    """

    events: Sequence[Event]
    errors: Sequence[tuple[int, str]]


def parse_predictions_json(bodies: Sequence[bytes], schemas: tuple[Schema, ...]) -> ParsedEvents:
    """One prediction or an array of them, or several bodies of one each. Never raises; a body that is neither has one error."""
    frames, rejected = json_frames.parse(_undated(bodies))
    events = [event for frame in frames for event in frame.events]
    return _parsed(events, [*rejected, *(bad for frame in frames for bad in predictions_of(frame, schemas).rejected)])


def parse_labels_json(bodies: Sequence[bytes], schemas: tuple[Schema, ...], model_required: bool) -> ParsedEvents:
    """The same for labels; `model_required` as in `decode_labels`."""
    frames, rejected = json_frames.parse(_undated(bodies))
    events = [event for frame in frames for event in frame.events]
    values = LabelValues.of(schemas)
    return _parsed(events, [*rejected, *(bad for frame in frames for bad in labels_of(frame, schemas, values, model_required).rejected)])


def _undated(bodies: Sequence[bytes]) -> list[Record]:
    """Records that no arrival lies ahead of: the door stamps them when it appends."""
    return [Record(position, LAST_MILLISECOND, body) for position, body in enumerate(bodies)]


def _parsed(events: Sequence[Event], rejected: Sequence[Rejection]) -> ParsedEvents:
    return ParsedEvents(events, sorted((rejection.offset + rejection.row, rejection.reason) for rejection in rejected))
