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
    """What a body holds: its events as they were sent, and (position, reason) for each that the daemon would refuse."""

    events: Sequence[Event]
    errors: Sequence[tuple[int, str]]


def parse_predictions_json(body: bytes, schemas: tuple[Schema, ...]) -> ParsedEvents:
    """One prediction or an array of them. Never raises; a body that is neither has one error, at position 0."""
    frames, rejected = json_frames.parse([_undated(body)])
    events = [event for frame in frames for event in frame.events]
    return _parsed(events, [*rejected, *(bad for frame in frames for bad in predictions_of(frame, schemas).rejected)])


def parse_labels_json(body: bytes, schemas: tuple[Schema, ...], model_required: bool) -> ParsedEvents:
    """The same for labels; `model_required` as in `decode_labels`."""
    frames, rejected = json_frames.parse([_undated(body)])
    events = [event for frame in frames for event in frame.events]
    values = LabelValues.of(schemas)
    return _parsed(events, [*rejected, *(bad for frame in frames for bad in labels_of(frame, schemas, values, model_required).rejected)])


def _undated(body: bytes) -> Record:
    """A record that no arrival lies ahead of: the door stamps it when it appends."""
    return Record(0, LAST_MILLISECOND, body)


def _parsed(events: Sequence[Event], rejected: Sequence[Rejection]) -> ParsedEvents:
    return ParsedEvents(events, sorted((rejection.row, rejection.reason) for rejection in rejected))
